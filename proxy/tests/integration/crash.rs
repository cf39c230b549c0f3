//! `kill -9` under load, again and again: every answer that a client received has its record in Kafka.

use std::collections::{HashMap, HashSet};

use loadtest::figures::Claim;
use loadtest::laboratory::{Laboratory, require};
use loadtest::load::{End, Load};
use loadtest::stub::{Script, Stub};
use serde_json::Value;

use crate::support::records::events;
use crate::support::stand::{TOPIC, published};
use crate::support::{Countersign, count};

const ANSWERS_BETWEEN: u64 = 300;
const COMMAND: &str = "cargo test -p countersign --test integration crash";

fn kills() -> usize {
    count("COUNTERSIGN_KILLS", 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_without_its_record_after_kills() {
    let Some(kafka) = require(Laboratory::open().unwrap().kafka().start().await) else { return };
    kafka.create_topic(TOPIC, 3).await.unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url()).kafka(&kafka.bootstrap(), TOPIC).start().await;

    let load = Load::new(proxy.url()).connections(16).remember().start().await.unwrap();
    for _ in 0..kills() {
        assert!(load.answered(ANSWERS_BETWEEN).await);
        proxy.kill().await;
        proxy.start_again().await;
    }
    assert!(load.answered(ANSWERS_BETWEEN).await);
    let report = load.stop().await.unwrap();
    assert!(report.failed() > 0, "no question was cut off: the kills hit nothing");

    let records = published(&kafka, &proxy).await;
    let recorded: HashSet<&str> = records.iter().filter_map(|record| record["id"].as_str()).collect();
    let answered: Vec<&str> = report
        .seen
        .iter()
        .filter_map(|seen| match &seen.end {
            End::Answered { decision, .. } => decision.as_deref(),
            End::Failed(_) => None,
        })
        .collect();
    assert!(answered.len() as u64 >= ANSWERS_BETWEEN * (kills() as u64 + 1));
    let missing: Vec<_> = answered.iter().filter(|id| !recorded.contains(*id)).collect();
    assert!(missing.is_empty(), "{} of {} answers have no record: {missing:?}", missing.len(), answered.len());
    chains_name_each_other(&records);
    // The negative control: the records of one chain left out.
    let some = records[0]["data"]["chain"]["id"].as_str().unwrap();
    let others = records.iter().filter(|record| record["data"]["chain"]["id"] != some);
    let fewer: HashSet<&str> = others.filter_map(|record| record["id"].as_str()).collect();
    assert!(answered.iter().any(|id| !fewer.contains(id)), "a chain that nobody needs");
    Claim::new("kills", COMMAND)
        .figure("kills", kills())
        .figure("answers acknowledged", answered.len())
        .figure("acknowledged missing", missing.len())
        .figure("records sent twice", records.len() - recorded.len())
        .control("answers whose records are left out of what is compared are found missing")
        .write()
        .unwrap();
}

/// The weaker level promises this much, too: what the kernel has taken survives the end of the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_written_record_survives_a_kill() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = Countersign::asking(&stub.url()).audit("durability = \"written\"").start().await;
    let load = Load::new(proxy.url()).connections(16).remember().start().await.unwrap();
    for _ in 0..3 {
        assert!(load.answered(ANSWERS_BETWEEN).await);
        proxy.kill().await;
        proxy.start_again().await;
    }
    let report = load.stop().await.unwrap();
    let records = proxy.records();
    let recorded: HashSet<&str> = records.iter().filter_map(|record| record["id"].as_str()).collect();
    let missing: Vec<&str> = report.allowed().filter(|id| !recorded.contains(id)).collect();
    assert!(missing.is_empty(), "{} of {} are missing", missing.len(), report.answers());
    assert!(report.allowed().count() as u64 >= 3 * ANSWERS_BETWEEN);
    let levels: HashSet<&str> = records.iter().filter_map(|record| record["data"]["durability"].as_str()).collect();
    assert_eq!(levels, HashSet::from(["written"]));
}

/// Each chain's first record names the true head of the one before, and that it did not end in order.
fn chains_name_each_other(records: &[Value]) {
    let mut heads: HashMap<&str, &Value> = HashMap::new();
    for record in records {
        let chain = record["data"]["chain"]["id"].as_str().unwrap();
        let head = heads.entry(chain).or_insert(record);
        if record["data"]["chain"]["seq"].as_u64() > head["data"]["chain"]["seq"].as_u64() {
            *head = record;
        }
    }
    let opened = events(records, "chain_opened");
    let previous: Vec<&Value> = opened.iter().map(|o| &o["data"]["previous"]).filter(|p| !p.is_null()).collect();
    let distinct: HashSet<&str> = previous.iter().map(|p| p["id"].as_str().unwrap()).collect();
    assert_eq!(distinct.len(), kills(), "each chain but the last is named by its successor");
    for previous in previous {
        let head = heads[previous["id"].as_str().unwrap()];
        assert_eq!(previous["seq"], head["data"]["chain"]["seq"]);
        assert_eq!(previous["clean"], false);
        assert!(!previous["unknown"].is_null(), "a crash leaves answers unknown");
    }
}
