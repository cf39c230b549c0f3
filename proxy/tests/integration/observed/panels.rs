//! Every query of every dashboard, asked of a real Prometheus while it scrapes a Countersign under mixed load: it is
//! accepted, and there is something to see.

use std::time::{Duration, Instant};

use loadtest::laboratory::prometheus::Prometheus;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Answer, Script, Stub};
use serde_json::Value;

use crate::support::stand::TOPIC;
use crate::support::{Countersign, Running, eventually, question};

/// For all panels together: the rates need some scrapes.
const PATIENCE: Duration = Duration::from_secs(60);

/// One query as a panel sends it.
#[derive(Debug, Clone)]
struct Query {
    panel: String,
    promql: String,
    exemplars: bool,
}

/// What Grafana puts in for the variables: all instances, and the shortest interval that it would choose for Prometheus'
/// usual 15 s between scrapes.
fn substituted(expression: &str) -> String {
    expression.replace("$__rate_interval", "1m").replace("$instance", ".+")
}

fn queries() -> Vec<Query> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let page: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for panel in page["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let promql = substituted(target["expr"].as_str().unwrap());
                assert!(!promql.contains('$'), "a variable that nobody knows: {promql}");
                let title = format!("{}: {}", path.file_name().unwrap().display(), panel["title"]);
                found.push(Query { panel: title, promql, exemplars: target["exemplar"] == true });
            }
        }
    }
    assert!(found.len() > 30, "the dashboards were not found");
    found
}

/// Anything that can be drawn. A share of nothing is not a number, and not drawn.
fn is_shown(result: &Value) -> bool {
    let drawn = |series: &Value| series["value"][1].as_str().is_some_and(|number| number != "NaN");
    result.as_array().is_some_and(|all| all.iter().any(drawn))
}

async fn shows(prometheus: &Prometheus, query: &Query) -> bool {
    let result = prometheus.query(&query.promql).await;
    let result = result.unwrap_or_else(|why| panic!("{} is refused: {why}", query.panel));
    let points = async || prometheus.exemplars(&query.promql).await.unwrap() != serde_json::json!([]);
    is_shown(&result) && (!query.exemplars || points().await)
}

/// By account: alice may, bob may not, the authorizer fails over everybody else.
fn mixed() -> Script {
    Script::by(|received| {
        let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        match asked["input"]["account"].as_str() {
            Some("alice") => Answer::allow(),
            Some("bob") => Answer::deny(),
            Some(_) | None => Answer::new("{}"),
        }
    })
}

/// Allows, denies, faults of both sides, an advisory deny, hits, and MinIO's start-up probe.
async fn load(proxy: &Running, round: usize) {
    for account in ["alice", "bob", "mallory"] {
        for object in ["again", &format!("new-{round}")] {
            proxy.ask(&question(account, "s3:GetObject", "reports", object)).await;
        }
    }
    proxy.ask(&question("bob", "s3:ListAllMyBuckets", "", "")).await;
    proxy.post(b"{", &[]).await;
    proxy.post(b"", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something() {
    let lab = Laboratory::open().unwrap();
    let Some(kafka) = require(lab.kafka().start().await) else { return };
    let stub = Stub::start(mixed()).await.unwrap();
    // Spans are lost, but kept decisions have their exemplars all the same.
    let port = loadtest::laboratory::port::free().unwrap();
    let setup = Countersign::asking(&stub.url()).cache("allow_ttl = \"1h\"").kafka(&kafka.bootstrap(), TOPIC);
    let proxy = setup.with(&format!("[otlp]\nendpoint = \"http://127.0.0.1:{port}\"\nsample = 1.0")).start().await;
    let Some(prometheus) = require(lab.prometheus().scrape(&proxy.admin().to_string()).start().await) else { return };
    // Records have nowhere to go yet, which is what the panel of Kafka's errors is about.
    let errors = "sum(rate(countersign_kafka_errors_total[1m])) > 0";
    eventually("an error of Kafka is scraped", async || {
        proxy.ask(&question("alice", "s3:GetObject", "reports", "again")).await;
        is_shown(&prometheus.query(errors).await.unwrap()).then_some(())
    })
    .await;
    kafka.create_topic(TOPIC, 1).await.unwrap();

    let (mut waiting, until) = (queries(), Instant::now() + PATIENCE);
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
    // What the variable `instance` chooses from.
    let instances = prometheus.query("countersign_build_info").await.unwrap();
    assert_eq!(instances[0]["metric"]["instance"], proxy.admin().to_string());
}

#[test]
fn what_cannot_be_drawn_is_not_shown() {
    let result = |number: &str| serde_json::json!([{ "metric": {}, "value": [1, number] }]);
    assert!(is_shown(&result("0")) && !is_shown(&result("NaN")) && !is_shown(&serde_json::json!([])));
}
