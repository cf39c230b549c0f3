//! A spool that was copied, as by a snapshot of a virtual machine, and is used in both places at once: each process begins
//! a chain of its own, what both send again is the same bytes, and `verify` says that the trail forks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use countersign::kafka::reader::{Next, Reader, Start};
use countersign::kafka::{Connection, mock::MockBroker};
use loadtest::stub::{Script, Stub};

use crate::support::records::Raw;
use crate::support::{Countersign, Running, binary, question};

const TOPIC: &str = "decisions";

/// Asks, and returns the ids of the allows.
async fn ask(proxy: &Running, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        let answer = proxy.ask(&question("alice", "s3:GetObject", "reports", &n.to_string())).await;
        assert!(answer.allowed());
        ids.push(answer.decision().to_owned());
    }
    ids
}

/// All records of the topic, by chain and place. A place with two contents fails the test.
fn published(broker: &MockBroker) -> BTreeMap<(String, u64), Raw> {
    let connection =
        Connection { brokers: vec![broker.bootstrap()], properties: Vec::new(), client_id: "test".to_owned() };
    let mut reader = Reader::open(&connection, TOPIC, Start::Beginning, false).unwrap();
    let mut found = BTreeMap::new();
    loop {
        match reader.next(Duration::from_secs(60)).unwrap() {
            Next::Record(record) => {
                let raw = Raw::new(&record.value);
                let chain = &raw.value["data"]["chain"];
                let place = (chain["id"].as_str().unwrap().to_owned(), chain["seq"].as_u64().unwrap());
                if let Some(before) = found.insert(place.clone(), raw) {
                    assert!(before.bytes == found[&place].bytes, "{place:?} has two contents");
                }
            }
            Next::End => return found,
            Next::Idle => panic!("the topic has an end"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_of_a_cloned_spool_have_chains_of_their_own_and_verify_finds_the_fork() {
    let home = tempfile::tempdir().unwrap();
    let (spool, clone) = (home.path().join("spool"), home.path().join("clone"));
    let broker = MockBroker::start(&[(TOPIC, 1), ("countersign.checkpoints", 1)]).unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    // Nobody listens at port 1: the copy is of records that Kafka has not got.
    let mut first = Countersign::asking(&stub.url()).on(&spool).kafka("127.0.0.1:1", TOPIC).start().await;
    let mut allowed = ask(&first, 20).await;
    first.kill().await;
    assert!(Command::new("cp").arg("-a").args([&spool, &clone]).status().unwrap().success());
    let begin =
        async |at: &Path| Countersign::asking(&stub.url()).on(at).kafka(&broker.bootstrap(), TOPIC).start().await;
    let (mut original, mut copy) = (begin(&spool).await, begin(&clone).await);
    allowed.extend(ask(&original, 20).await);
    allowed.extend(ask(&copy, 20).await);
    original.delivered().await;
    copy.delivered().await;
    original.stop().await;
    copy.stop().await;

    let records = published(&broker);
    let ids: Vec<&str> = records.values().map(|raw| raw.value["id"].as_str().unwrap()).collect();
    assert!(allowed.iter().all(|id| ids.contains(&id.as_str())), "each allow has its record");
    let heads: Vec<_> = records.iter().filter(|((_, seq), _)| *seq == 0).collect();
    assert_eq!(heads.len(), 3, "the chain that was copied, and one of each process");
    let follows: Vec<_> =
        heads.iter().map(|(_, raw)| &raw.value["data"]["previous"]).filter(|p| !p.is_null()).collect();
    assert_eq!((follows.len(), follows[0]), (2, follows[1]), "both say that they follow the same one");
    let copied = follows[0]["id"].as_str().unwrap();

    let from = ["--brokers", &broker.bootstrap(), "--topic", TOPIC];
    let done = Command::new(binary()).arg("verify").args(from).output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    let found = said.lines().any(|line| line.contains(copied) && line.contains("several chains say that they follow"));
    assert!(said.starts_with("broken") && found, "{said}");
}
