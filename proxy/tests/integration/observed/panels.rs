//! Every query of every dashboard, asked of a real Prometheus while it scrapes a Countersign under mixed load: it is
//! accepted, and there is something to see, for each value of a variable that could be chosen and for no other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use loadtest::laboratory::prometheus::Prometheus;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::Value;

use crate::support::stand::TOPIC;
use crate::support::{Countersign, Running, eventually, mixed, question};

/// For all panels together: the rates need some scrapes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One query as a panel sends it.
#[derive(Debug, Clone)]
struct Query {
    panel: String,
    /// With `$variables`.
    promql: String,
    exemplars: bool,
}

/// A variable that offers the values of a label.
#[derive(Debug, Clone)]
struct Variable {
    page: String,
    name: String,
    /// Whose label of that name; with `$variables`.
    metric: String,
}

/// What Grafana puts in for its own variables: the shortest interval that it would choose for Prometheus' usual 15 s
/// between scrapes, and some range of time; and all values of the page's own, but for `chosen`.
fn substituted(expression: &str, chosen: Option<(&str, &str)>) -> String {
    let mut text = expression.replace("$__rate_interval", "1m").replace("$__range", "5m");
    if let Some((name, value)) = chosen {
        text = text.replace(&format!("${name}"), value);
    }
    for name in ["instance", "route", "authorizer"] {
        text = text.replace(&format!("${name}"), ".+");
    }
    assert!(!text.contains('$'), "a variable that nobody knows: {text}");
    text
}

fn dashboards() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

fn pages() -> Vec<(String, Value)> {
    let paths = std::fs::read_dir(dashboards()).unwrap().map(|entry| entry.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap())
    };
    let pages: Vec<(String, Value)> = pages.map(read).collect();
    assert_eq!(pages.len(), 3, "the dashboards were not found");
    pages
}

fn queries(name: &str, page: &Value) -> Vec<Query> {
    let mut found = Vec::new();
    for panel in page["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let promql = target["expr"].as_str().unwrap().to_owned();
            found.push(Query {
                panel: format!("{name}: {}", panel["title"]),
                promql,
                exemplars: target["exemplar"] == true,
            });
        }
    }
    assert!(found.len() > 8, "{name} has hardly a panel");
    found
}

fn variables(name: &str, page: &Value) -> Vec<Variable> {
    let all = page["templating"]["list"].as_array().unwrap().iter();
    let labels = all.filter(|variable| variable["type"] == "query").map(|variable| {
        let text = variable["query"]["query"].as_str().unwrap();
        let inside = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (metric, label) = inside.rsplit_once(", ").unwrap();
        assert_eq!(variable["name"], label, "a variable is called like its label");
        Variable { page: name.to_owned(), name: label.to_owned(), metric: metric.to_owned() }
    });
    labels.collect()
}

/// Anything that can be drawn. A share of nothing is not a number, and not drawn; nor is what is without end.
fn is_shown(result: &Value) -> bool {
    let number = |series: &Value| series["value"][1].as_str().and_then(|number| number.parse::<f64>().ok());
    let drawn = |series: &Value| number(series).is_some_and(f64::is_finite);
    result.as_array().is_some_and(|all| all.iter().any(drawn))
}

async fn asked(prometheus: &Prometheus, query: &Query, chosen: Option<(&str, &str)>) -> bool {
    let result = prometheus.query(&substituted(&query.promql, chosen)).await;
    is_shown(&result.unwrap_or_else(|why| panic!("{} is refused: {why}", query.panel)))
}

async fn shows(prometheus: &Prometheus, query: &Query) -> bool {
    let promql = substituted(&query.promql, None);
    let points = async || prometheus.exemplars(&promql).await.unwrap() != serde_json::json!([]);
    asked(prometheus, query, None).await && (!query.exemplars || points().await)
}

/// Every query that names the variable shows something for one of the values it offers, and nothing for another.
async fn check_variable(prometheus: &Prometheus, variable: &Variable, queries: &[Query]) {
    let Variable { page, name, metric } = variable;
    let offered = prometheus.query(&substituted(metric, None)).await.unwrap();
    let values = offered.as_array().unwrap().iter().map(|series| series["metric"][name].as_str().unwrap().to_owned());
    let values: BTreeSet<String> = values.collect();
    assert!(!values.is_empty(), "{page}: `{name}` offers nothing");
    let using = queries.iter().filter(|query| query.promql.contains(&format!("${name}")));
    let using: Vec<&Query> = using.collect();
    assert!(!using.is_empty(), "{page}: `{name}` changes nothing");
    for query in using {
        let mut shown = Vec::new();
        for value in &values {
            if asked(prometheus, query, Some((name, value))).await {
                shown.push(value);
            }
        }
        assert!(!shown.is_empty(), "{}: nothing for any of {name} {values:?}", query.panel);
        let nobody = asked(prometheus, query, Some((name, "nobody"))).await;
        assert!(!nobody, "{}: `{name}` does not choose", query.panel);
    }
}

/// Allows, denies, faults of both sides, an advisory deny, hits, and MinIO's start-up probe.
async fn load(proxy: &Running, round: usize) {
    for account in ["alice", "bob", "mallory"] {
        for object in ["again", &format!("new-{round}")] {
            proxy.ask(&question(account, "s3:GetObject", "reports", object)).await;
        }
    }
    proxy.ask(&question("bob", "s3:ListAllMyBuckets", "", "")).await;
    proxy.ask(&question("alice", "s3:GetObject", "elsewhere", "nobody answers")).await;
    proxy.post(b"{", &[]).await;
    proxy.post(b"", &[]).await;
}

/// A second authorizer behind TLS, at an address where nobody listens, for a bucket of its own; a third is a shadow of
/// the first.
fn authorizers(stub: &Stub, trial: &Stub, nobody: u16) -> String {
    format!(
        "[[authorizer]]\nname = \"authz\"\nurl = \"{}\"\n\
         [[authorizer]]\nname = \"away\"\nurl = \"https://127.0.0.1:{nobody}/\"\n\
         tls = {{ ca = \"{{dir}}/ca.pem\", server_name = \"away.test\" }}\n\
         [[authorizer]]\nname = \"trial\"\nurl = \"{}\"\n\
         [[route]]\nname = \"elsewhere\"\nmatch = {{ bucket = [\"elsewhere\"] }}\nask = [\"away\"]\n\
         [[route]]\nname = \"default\"\nask = [\"authz\"]\nshadow = [\"trial\"]\n",
        stub.url(),
        trial.url()
    )
}

/// An authority that nobody needs.
fn authority() -> String {
    let key = PKey::generate_ed25519().unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    // Ed25519 has a digest of its own.
    builder.sign(&key, MessageDigest::null()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something() {
    let lab = Laboratory::open().unwrap();
    let Some(kafka) = require(lab.kafka().start().await) else { return };
    let (stub, trial) = (Stub::start(mixed()).await.unwrap(), Stub::start(Script::deny()).await.unwrap());
    // Spans are lost, but kept decisions have their exemplars all the same.
    let held = loadtest::laboratory::port::free().unwrap();
    let port = held.number();
    let setup = Countersign::custom(&authorizers(&stub, &trial, port)).file("ca.pem", &authority());
    let setup = setup.cache("allow_ttl = \"1h\"").kafka(&kafka.bootstrap(), TOPIC);
    let proxy = setup.with(&format!("[otlp]\nendpoint = \"http://127.0.0.1:{port}\"\nsample = 1.0")).start().await;
    let rules = std::fs::read_to_string(dashboards().join("alerts.yml")).unwrap();
    let setup = lab.prometheus().scrape(&proxy.admin().to_string()).rules(&rules);
    let Some(prometheus) = require(setup.start().await) else { return };
    // Records have nowhere to go yet, which is what the panel of Kafka's errors is about.
    let errors = "sum(rate(countersign_kafka_errors_total[1m])) > 0";
    eventually("an error of Kafka is scraped", async || {
        proxy.ask(&question("alice", "s3:GetObject", "reports", "again")).await;
        is_shown(&prometheus.query(errors).await.unwrap()).then_some(())
    })
    .await;
    kafka.create_topic(TOPIC, 1).await.unwrap();

    let pages = pages();
    let mut waiting: Vec<Query> = pages.iter().flat_map(|(name, page)| queries(name, page)).collect();
    let until = Instant::now() + PATIENCE;
    for round in 0.. {
        load(&proxy, round).await;
        let mut empty = Vec::new();
        for query in waiting {
            if !shows(&prometheus, &query).await {
                empty.push(query);
            }
        }
        waiting = empty;
        if waiting.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "panels that show nothing: {waiting:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (name, page) in &pages {
        let queries = queries(name, page);
        let variables = variables(name, page);
        assert!(!variables.is_empty(), "{name} offers nothing to choose");
        for variable in variables {
            check_variable(&prometheus, &variable, &queries).await;
        }
    }
    check_rules(&prometheus).await;
}

/// Every alert rule can be evaluated with the series that a process really has, and what the two that this load is
/// bound to wake would say to people is whole. They wait for their `for`; whether alerts fire is tested in `alerts`.
async fn check_rules(prometheus: &Prometheus) {
    let groups = prometheus.api("rules").await.unwrap()["groups"].take();
    let rules: Vec<&Value> =
        groups.as_array().unwrap().iter().flat_map(|one| one["rules"].as_array().unwrap()).collect();
    assert!(rules.len() >= 15, "the rules were not found");
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
    for name in ["CountersignAuthorizerDown", "CountersignFailsClosedAuthorizer"] {
        let rule = rules.iter().find(|rule| rule["name"] == name).unwrap();
        let alert = &rule["alerts"][0];
        // Firing where the panels took longer than its `for`.
        assert!(["pending", "firing"].contains(&alert["state"].as_str().unwrap()), "{rule:#}");
        let said = alert["annotations"].to_string();
        assert!(["<no value>", "<error", "{{", "%!"].iter().all(|sign| !said.contains(sign)), "{said}");
        assert!(said.contains(alert["labels"]["instance"].as_str().unwrap()), "{said}");
    }
}

#[test]
fn what_cannot_be_drawn_is_not_shown() {
    let result = |number: &str| serde_json::json!([{ "metric": {}, "value": [1, number] }]);
    assert!(is_shown(&result("0")) && !is_shown(&serde_json::json!([])));
    assert!(!is_shown(&result("NaN")) && !is_shown(&result("+Inf")));
}
