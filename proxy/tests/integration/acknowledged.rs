//! `durability = "acknowledged"`: an allow leaves when Kafka has its record, and not otherwise; what Kafka gets too late is
//! amended, and nothing else is.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};
use serde_json::Value;

use crate::support::records::decisions;
use crate::support::stand::{TOPIC, in_kafka, published};
use crate::support::{Countersign, eventually, question};

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_is_in_kafka_before_it_leaves_and_a_late_one_is_amended() {
    let Some(kafka) = require(Laboratory::open().unwrap().kafka().start().await) else { return };
    kafka.create_topic(TOPIC, 3).await.unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let setup = Countersign::asking(&stub.url()).audit("durability = \"acknowledged\"").listen("deadline = \"10s\"");
    let mut proxy = setup.kafka(&kafka.bootstrap(), TOPIC).start().await;
    let ask = async |object: &str| proxy.ask(&question("alice", "s3:GetObject", "reports", object)).await;

    // The first waits for the topic to be looked up; then Kafka has each before its answer is here.
    eventually("the first allow", async || ask("first").await.allowed().then_some(())).await;
    let early = proxy.decisions().len();
    for n in 0..10 {
        let answer = ask(&n.to_string()).await;
        assert!(answer.allowed(), "{n}: {}", answer.reason());
        let there = in_kafka(&kafka).await.iter().any(|raw| raw.value["id"] == answer.decision());
        assert!(there, "{n} left before Kafka had it");
    }
    kafka.freeze();
    let late: BTreeSet<String> = (0..3).map(|n| format!("late {n}")).collect();
    for answer in join_all(late.iter().map(|object| ask(object))).await {
        assert_eq!((answer.status, answer.reason(), answer.allowed()), (503, "audit_timeout", false));
    }
    kafka.thaw();
    eventually("allows again", async || ask("after").await.allowed().then_some(())).await;
    // Attempts at "first" and "after" may have been refused and amended too, so the late ones are waited for by name.
    let object = |record: &Value| record["data"]["resource"]["object"].as_str().unwrap().to_owned();
    let amended = async || {
        let records = proxy.records();
        let of: BTreeSet<&str> = records
            .iter()
            .filter(|r| r["type"] == "io.countersign.amendment.v1" && r["data"]["answer"] == "deny")
            .filter_map(|r| r["data"]["of"].as_str())
            .collect();
        let decisions = decisions(records.clone()).into_iter().skip(early);
        let (amended, not): (Vec<Value>, Vec<Value>) =
            decisions.partition(|record| of.contains(record["id"].as_str().unwrap()));
        let objects: BTreeSet<String> = amended.iter().map(object).collect();
        late.is_subset(&objects).then_some((objects, not))
    };
    let (amended, not) = eventually("the amendment of each late allow", amended).await;
    assert_eq!(amended.iter().filter(|object| *object != "after").cloned().collect::<BTreeSet<_>>(), late);
    assert!(not.len() > 10, "{not:#?}");
    for record in &not {
        assert!(!late.contains(&object(record)), "{record:#}");
        assert_eq!(record["data"]["durability"], "acknowledged");
    }
    published(&kafka, &proxy).await;
    proxy.stop().await;
}
