//! One decision, followed from its record to its spans in a real collector and to the exemplar in a real Prometheus.

use loadtest::laboratory::collector::Collector;
use loadtest::laboratory::prometheus::Prometheus;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};
use serde_json::Value;

use super::printed::{Span, spans};
use crate::support::stand::TOPIC;
use crate::support::{Countersign, Running, eventually, question};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const DURATION: &str = "countersign_decision_duration_seconds_bucket";

/// Asks once, with what the caller says of its own trace. Returns the record's data.
async fn decided(proxy: &Running, object: &str, traceparent: Option<&str>) -> Value {
    let asked = question("bob", "s3:GetObject", "reports", object).to_string();
    let headers: Vec<_> = traceparent.map(|value| ("traceparent", value)).into_iter().collect();
    let answer = proxy.post(asked.as_bytes(), &headers).await;
    proxy.record_of(&answer)["data"].clone()
}

/// The spans of a trace, once they are as many as the four of a published decision: three of its own, and the batch
/// that links to it.
async fn arrived(collector: &Collector, data: &Value) -> Vec<Span> {
    let at = (text(data, "trace_id"), text(data, "span_id"));
    eventually("the decision's spans arrive", async || {
        let mut all = spans(collector);
        all.retain(|span| span.trace == at.0 || span.links.contains(&at));
        (all.len() >= 4).then_some(all)
    })
    .await
}

fn text(data: &Value, member: &str) -> String {
    data[member].as_str().unwrap().to_owned()
}

/// The traces that the histogram's exemplars lead to.
async fn exemplars(prometheus: &Prometheus) -> Vec<String> {
    let found = prometheus.exemplars(DURATION).await.unwrap();
    let series = found.as_array().cloned().unwrap_or_default();
    let all = series.iter().flat_map(|one| one["exemplars"].as_array().unwrap());
    all.map(|exemplar| text(&exemplar["labels"], "trace_id")).collect()
}

/// The spans of one decision hang together, and the authorizer was told of its own.
fn check_family(found: &[Span], data: &Value, parent: &str, told: &str) {
    let named = |name: &str| {
        let mut all = found.iter().filter(|span| span.name == name);
        let first = all.next().unwrap_or_else(|| panic!("no span `{name}` among {found:#?}"));
        assert!(all.next().is_none(), "`{name}` twice: {found:#?}");
        first
    };
    let (trace, own) = (text(data, "trace_id"), text(data, "span_id"));
    let root = named("decide");
    assert_eq!((&root.trace, &root.id, root.parent.as_str()), (&trace, &own, parent));
    assert!(root.has("countersign.reason", "denied") && root.has("countersign.action", "s3:GetObject"), "{root:#?}");
    for child in ["authorizer authz", "audit append"] {
        assert_eq!((&named(child).trace, &named(child).parent), (&trace, &own), "{child}");
    }
    assert_eq!(told, format!("00-{trace}-{}-00", named("authorizer authz").id), "what the authorizer was told");
    let send = named(&format!("send {TOPIC}"));
    assert!(send.parent.is_empty() && send.trace != trace, "a batch belongs to many decisions: {send:#?}");
    assert_eq!(send.links, [(trace, own)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deny_leads_from_its_record_to_its_trace_and_back() {
    let lab = Laboratory::open().unwrap();
    let Some(kafka) = require(lab.kafka().start().await) else { return };
    let Some(collector) = require(lab.collector().start().await) else { return };
    kafka.create_topic(TOPIC, 1).await.unwrap();
    let stub = Stub::start(Script::deny()).await.unwrap();
    let otlp = format!("[otlp]\nendpoint = \"{}\"\nsample = 0.0\nalways = [\"deny\", \"fault\"]", collector.endpoint());
    let proxy = Countersign::asking(&stub.url()).kafka(&kafka.bootstrap(), TOPIC).with(&otlp).start().await;
    let Some(prometheus) = require(lab.prometheus().scrape(&proxy.admin().to_string()).start().await) else { return };
    let told = |index: usize| stub.questions()[index].header("traceparent").unwrap().to_owned();

    let continued = decided(&proxy, "a", Some(&format!("00-{TRACE}-{CALLER}-01"))).await;
    assert_eq!(continued["trace_id"], TRACE, "the caller's trace goes on in the record");
    check_family(&arrived(&collector, &continued).await, &continued, CALLER, &told(0));
    eventually("its exemplar is scraped", async || (exemplars(&prometheus).await == [TRACE]).then_some(())).await;

    let own = decided(&proxy, "b", None).await;
    check_family(&arrived(&collector, &own).await, &own, "", &told(1));
    let id = text(&own, "trace_id");
    assert_ne!(id, TRACE);
    eventually("another exemplar", async || exemplars(&prometheus).await.contains(&id).then_some(())).await;

    // What is not kept has ids all the same, and no exemplar that would lead nowhere. The deny after it shows that
    // spans and scrapes have come by since.
    stub.set(Script::allow());
    let allowed = text(&decided(&proxy, "c", None).await, "trace_id");
    assert!(told(2).contains(&allowed));
    eventually("a scrape after the allow", async || {
        let counted = prometheus.query("sum(countersign_decisions_total{decision=\"allow\"})").await.unwrap();
        (counted[0]["value"][1] == "1").then_some(())
    })
    .await;
    stub.set(Script::deny());
    arrived(&collector, &decided(&proxy, "d", None).await).await;
    assert!(!spans(&collector).iter().any(|span| span.trace == allowed), "an allow that nobody sampled was exported");
    assert!(!exemplars(&prometheus).await.contains(&allowed), "an exemplar leads to a trace that does not exist");
}
