//! Kafka goes away under load and comes back: answers go on, and afterwards everything is there, in order.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use loadtest::figures::Claim;
use loadtest::laboratory::{Laboratory, require};
use loadtest::load::Load;
use loadtest::stub::{Script, Stub};

use crate::support::stand::{TOPIC, published};
use crate::support::{Countersign, PATIENCE, count, eventually};

/// Longer by this variable.
fn away() -> Duration {
    Duration::from_secs(count("COUNTERSIGN_BROKER_AWAY_SECONDS", 90))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_costs_nothing() {
    let Some(mut kafka) = require(Laboratory::open().unwrap().kafka().start().await) else { return };
    kafka.create_topic(TOPIC, 3).await.unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let setup = Countersign::asking(&stub.url()).kafka(&kafka.bootstrap(), TOPIC);
    let mut proxy = setup.start().await;

    let load = Load::new(proxy.url()).connections(16).rate(200.0).timeout(PATIENCE).remember().start().await.unwrap();
    assert!(load.answered(200).await);
    kafka.kill().await;
    let (since, before) = (Instant::now(), load.answers());
    eventually("the backlog grows", async || {
        (proxy.metric("countersign_spool_undelivered_records ").await > 100.0).then_some(())
    })
    .await;
    while since.elapsed() < away() {
        assert!(load.answered(100).await, "answers go on while Kafka is away");
    }
    let during = load.answers() - before;
    kafka.start_again().await.unwrap();
    assert!(load.answered(200).await);
    let report = load.stop().await.unwrap();
    assert_eq!(report.failed(), 0, "{report}");
    assert!(during > 20 * away().as_secs(), "only {during} answers in {:?}", away());

    let records = published(&kafka, &proxy).await;
    let recorded: HashSet<&str> = records.iter().filter_map(|record| record["id"].as_str()).collect();
    let missing: Vec<&str> = report.allowed().filter(|id| !recorded.contains(id)).collect();
    assert!(missing.is_empty(), "{} of {} are missing", missing.len(), report.answers());
    proxy.stop().await;
    // The negative control: records of the time in which Kafka was away, left out.
    let kept: HashSet<&str> = records.iter().rev().skip(500).filter_map(|record| record["id"].as_str()).collect();
    assert!(report.allowed().any(|id| !kept.contains(id)), "nothing is missed");
    Claim::new("broker", "cargo test -p countersign --test integration outages")
        .figure("seconds away", away().as_secs())
        .figure("answers meanwhile", during)
        .figure("answers failed", report.failed())
        .figure("acknowledged missing", missing.len())
        .figure("records out of order", 0_u64)
        .control("records left out of what is compared are found missing")
        .write()
        .unwrap();
}
