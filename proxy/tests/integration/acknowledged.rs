//! `durability = "acknowledged"`: an allow leaves when Kafka has its record, and not otherwise; what Kafka gets too late is
//! amended, and nothing else is.

use std::collections::BTreeSet;

use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};

use crate::support::stand::{TOPIC, in_kafka, published};
use crate::support::{Countersign, eventually, question};

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_is_in_kafka_before_it_leaves_and_a_late_one_is_amended() {
    let Some(kafka) = require(Laboratory::open().unwrap().kafka().start().await) else { return };
    kafka.create_topic(TOPIC, 3).await.unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let setup = Countersign::asking(&stub.url()).audit("durability = \"acknowledged\"").listen("deadline = \"3s\"");
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
    let mut late = BTreeSet::new();
    for n in 0..3 {
        let answer = ask(&format!("late {n}")).await;
        assert_eq!((answer.status, answer.reason(), answer.allowed()), (503, "audit_timeout", false));
        late.insert(answer.decision().to_owned());
    }
    kafka.thaw();
    eventually("allows again", async || ask("after").await.allowed().then_some(())).await;
    // Attempts at "first" and "after" may have been refused and amended too, so the late ones are waited for by name.
    let amended = async || {
        let records = proxy.records();
        let of: BTreeSet<String> = records
            .iter()
            .filter(|r| r["type"] == "io.countersign.amendment.v1" && r["data"]["answer"] == "deny")
            .filter_map(|r| r["data"]["of"].as_str().map(str::to_owned))
            .collect();
        late.is_subset(&of).then_some((records, of))
    };
    let (records, of) = eventually("the amendment of each late allow", amended).await;
    let decisions = || records.iter().filter(|r| r["type"] == "io.countersign.decision.v1").skip(early);
    for record in decisions().filter(|r| r["data"]["resource"]["object"] != "after") {
        let id = record["id"].as_str().unwrap();
        assert_eq!(of.contains(id), late.contains(id), "{record:#}");
        assert_eq!(record["data"]["durability"], "acknowledged");
    }
    published(&kafka, &proxy).await;
    proxy.stop().await;
}
