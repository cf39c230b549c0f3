//! Records that a topic does not take for their size, on a real broker: the mock measures nothing.

use std::process::Command;
use std::time::SystemTime;

use countersign::audit::chain::{Chain, link};
use countersign::audit::envelope::{Draft, Kind, Source as Origin};
use countersign::audit::scan::{Scan, Scanned};
use countersign::audit::stub;
use countersign::audit::verify::{Outcome, Seen, Verification};
use loadtest::laboratory::{Laboratory, kafka::Kafka, require};
use loadtest::stub::{Script, Stub};

use super::*;
use crate::support::{Countersign, binary, eventually, question};

/// Text that compresses by no more than a quarter: brokers look at what arrives.
fn noise(bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..bytes).map(|_| char::from(LETTERS[rand::Rng::random_range(&mut rand::rng(), 0..64)])).collect()
}

/// Records of [`CHAIN`] with so much in them.
fn records(sizes: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
    let mut chain = Chain::new(CHAIN.into());
    let one = |size: usize| {
        let data = serde_json::json!({"decision": "deny", "filler": noise(size)});
        let draft = Draft::new(&Origin::new("i"), Kind::Decision, uuid::Uuid::now_v7(), SystemTime::now(), None, &data);
        let mut value = Vec::new();
        chain.finish(&draft.unwrap().head, &mut value);
        value
    };
    sizes.map(one).collect()
}

async fn broker() -> Option<Kafka> {
    require(Laboratory::open().unwrap().kafka().start().await)
}

fn options(kafka: &Kafka, topic: &str) -> SinkOptions {
    SinkOptions::new(connection(kafka.bootstrap()), topic)
}

/// First occurrences, in order; that duplicates are the same record is for `verify` to say.
fn first_values(found: &[Record]) -> Vec<Vec<u8>> {
    let mut seen = HashSet::new();
    let values = found.iter().map(|record| record.value.clone());
    values.filter(|value| seen.insert(link(value).unwrap().seq)).collect()
}

fn assert_verifies(found: &[Record], stubs: u64) {
    let mut verification = Verification::default();
    found.iter().for_each(|record| verification.record(Seen::read(&record.value)));
    let report = verification.finish(&[]);
    let outcome = if stubs > 0 { Outcome::WholeGapsDeclared } else { Outcome::Whole };
    assert_eq!(report.outcome, outcome, "{:?}", report.findings);
    assert_eq!(report.chains[0].stubs, stubs);
}

/// Producers that ended over a refusal, each of them counted once beside `gapless_guarantee`, which is only sometimes heard:
/// under the first that failed. As a rule that is the refused batch. But librdkafka stops for good before it reports the batch, and its main thread then empties the queue
/// while the broker's thread reports: what waited may come first (`purge_queue`), or the next record may find the producer
/// stopped before anything is reported (`fatal`). So no code alone has an exact count, and there can be more of all three
/// than refused records, since a refusal that was not heard of is met again. It cannot be less: no record becomes a
/// stub while its producer goes on.
fn producers_lost(metrics: &Metrics) -> u64 {
    ["message_size_too_large", "purge_queue", "fatal"].iter().map(|code| errors(metrics, code)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_records_that_are_too_large_alone_become_stubs() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic_with("small", 1, &[("max.message.bytes", "8000")]).await.unwrap();
    // 300 records that fit, most of a batch together too large, three that do not fit; the last one does.
    let values = records((0..300).map(|n| if n % 100 == 50 { 14_000 + n } else { 500 + n }));
    let source = Numbers::of(values.clone());
    let (publisher, metrics) = ship(source.clone(), options(&kafka, "small"));
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let found = read_topic(&connection(kafka.bootstrap()), "small", Start::Beginning);
    let expected: Vec<Vec<u8>> = values
        .iter()
        .enumerate()
        .map(|(n, value)| if n % 100 == 50 { stub::of(value).unwrap() } else { value.clone() })
        .collect();
    let first = first_values(&found);
    let wrong: Vec<_> = (0..expected.len().max(first.len())).filter(|n| first.get(*n) != expected.get(*n)).collect();
    assert!(wrong.is_empty(), "not whole, not its stub where it does not fit, or out of order: {wrong:?}");
    assert_verifies(&found, 3);
    assert_eq!(*source.stubbed.lock(), [50, 150, 250]);
    assert_eq!(counted(&metrics, "countersign_kafka_stubs_total "), 3);
    let text = metrics.encode();
    let said: Vec<_> = text.lines().filter(|line| line.starts_with("countersign_kafka_errors_total")).collect();
    assert!(producers_lost(&metrics) >= 3, "{said:#?}");
    // Another process that begins anew sends the same bytes.
    let (publisher, _) = ship(Numbers::of(values), options(&kafka, "small"));
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let again = read_topic(&connection(kafka.bootstrap()), "small", Start::Beginning);
    assert!(again.len() >= 600);
    assert!(again.iter().all(|record| expected.contains(&record.value)), "duplicates are byte-identical");
}

/// What stood behind a refused first batch used to be stored before it, now and then: to a broker that knows nothing of a
/// producer, any batch can be its first.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_overtakes_a_first_record_that_is_too_large() {
    let Some(kafka) = broker().await else { return };
    for topic in (0..20).map(|n| format!("small-{n}")) {
        kafka.create_topic_with(&topic, 1, &[("max.message.bytes", "8000")]).await.unwrap();
        let values = records((0..40).map(|n| if n == 0 { 14_000 } else { 500 }));
        let (publisher, _) = ship(Numbers::of(values.clone()), options(&kafka, &topic));
        assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
        let found = first_values(&read_topic(&connection(kafka.bootstrap()), &topic, Start::Beginning));
        let places: Vec<u64> = found.iter().map(|value| link(value).unwrap().seq).collect();
        assert_eq!(places, (0..40).collect::<Vec<_>>(), "{topic}");
        assert_eq!((&found[0], &found[1..]), (&stub::of(&values[0]).unwrap(), &values[1..]));
    }
}

/// Brokers have two words for it; the mock says either when it is told to.
#[test]
fn both_refusals_for_a_size_lead_to_a_stub() {
    for (refusal, code) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "message_size_too_large"),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, "message_batch_too_large"),
    ] {
        let cluster = cluster(1);
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
        let values = records([2000].into_iter());
        let source = Numbers::of(values.clone());
        let (publisher, metrics) =
            ship(source.clone(), SinkOptions::new(connection(cluster.bootstrap_servers()), TOPIC));
        assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
        let found = read_topic(&connection(cluster.bootstrap_servers()), TOPIC, Start::Beginning);
        assert_eq!(first_values(&found), [stub::of(&values[0]).unwrap()], "{code}");
        assert_eq!((errors(&metrics, code), source.stubbed.lock().len()), (1, 1));
        // What stopped the producer used to be counted as an error that nobody knows.
        assert_eq!((errors(&metrics, "gapless_guarantee"), errors(&metrics, "other")), (1, 0), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_hardly_anything_holds_up_nothing() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic_with("tiny", 1, &[("max.message.bytes", "1100")]).await.unwrap();
    let values = records((0..200).map(|_| 2000));
    let (publisher, metrics) = ship(Numbers::of(values.clone()), options(&kafka, "tiny"));
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let found = read_topic(&connection(kafka.bootstrap()), "tiny", Start::Beginning);
    assert!(first_values(&found) == values.iter().map(|v| stub::of(v).unwrap()).collect::<Vec<_>>());
    // Refusals cost new producers; after a few of them the rest is not tried, but for what may have been stored beside
    // a batch that was refused.
    let refusals = errors(&metrics, "message_size_too_large");
    assert!(refusals < 40, "{refusals} refusals for 200 records");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_not_even_a_stub_fits_everything_waits_until_it_does() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic_with("none", 1, &[("max.message.bytes", "300")]).await.unwrap();
    let values = records([2000, 10].into_iter());
    let source = Numbers::of(values.clone());
    let (publisher, metrics) = ship(source.clone(), options(&kafka, "none"));
    wait_until("refusals", || errors(&metrics, "message_size_too_large") >= 8);
    assert_eq!(source.delivered(), 0, "nothing is skipped");
    let larger = ["--bootstrap-server", &kafka.bootstrap(), "--alter", "--topic", "none", "--add-config"];
    kafka.java_tool("kafka.admin.ConfigCommand", &[&larger[..], &["max.message.bytes=100000"]].concat()).await.unwrap();
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let found = read_topic(&connection(kafka.bootstrap()), "none", Start::Beginning);
    // Not for `verify`: it takes no stub for the record that opens a chain.
    assert!(first_values(&found) == [stub::of(&values[0]).unwrap(), values[1].clone()], "a stub, and the rest whole");
}

/// The whole way: a question with a long list of groups, `acknowledged`, and what is left of it everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_decision_is_answered_published_as_a_stub_and_kept_whole() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic_with("decisions", 1, &[("max.message.bytes", "4000")]).await.unwrap();
    kafka.create_topic("countersign.checkpoints", 1).await.unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let setup = Countersign::asking(&stub.url()).on(home.path()).listen("deadline = \"20s\"");
    let setup = setup.audit("durability = \"acknowledged\"\nretain_delivered = \"0s\"");
    let mut proxy = setup.kafka(&kafka.bootstrap(), "decisions").start().await;
    let mut large = question("alice", "s3:GetObject", "reports", "large");
    large["input"]["groups"] = (0..120).map(|_| noise(100)).collect::<Vec<_>>().into();
    let ask = async |question: &serde_json::Value| proxy.ask(question).await;
    let small = question("alice", "s3:GetObject", "reports", "small");
    eventually("the first allow", async || ask(&small).await.allowed().then_some(())).await;
    let answer = ask(&large).await;
    assert!(answer.allowed(), "{}", answer.reason());
    assert!(ask(&small).await.allowed(), "it holds up nobody");
    assert_eq!(proxy.metric("countersign_kafka_stubs_total ").await, 1.0);
    assert_eq!(proxy.log().matches("does not take a record for its size").count(), 1, "{}", proxy.log());
    let (kept, was) = (proxy.spool().join("whole"), value_of(&proxy.spool(), &answer));
    proxy.stop().await;
    // By a later process all of the first one's segments go: everything is delivered, and its age is enough.
    proxy.start_again().await;
    let retired = async || proxy.records().iter().all(|r| r["id"] != answer.decision()).then_some(());
    eventually("the segment is gone", retired).await;
    proxy.stop().await;
    let files: Vec<_> = std::fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("one record was too large: {files:?}") };
    let mut line = std::fs::read(file).unwrap();
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(line == was, "kept byte for byte");
    let whole: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!((&whole["id"], &whole["data"]["resource"]["object"]), (&answer.decision().into(), &"large".into()));
    let tail = Command::new(binary()).args(["tail", "--file"]).arg(file).output().unwrap();
    let said = String::from_utf8(tail.stdout).unwrap();
    assert!(tail.status.success() && said.contains("large"), "{said}");
    let found = kafka.records("decisions").await.unwrap();
    let published: Vec<serde_json::Value> =
        found.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect();
    let stub = published.iter().find(|record| record["id"] == answer.decision()).expect("by the same id");
    assert_eq!(stub["type"], "io.countersign.stub.v1");
    assert_eq!(stub["data"]["chain"], whole["data"]["chain"]);
    assert_eq!(stub["data"]["sha256"], hex::encode(countersign::audit::chain::hash(&line)));
    crate::support::records::checked(in_order(&found));
    let args = ["verify", "--brokers", &kafka.bootstrap(), "--topic", "decisions"];
    let done =
        Command::new(binary()).args(args).args(["--checkpoint-topic", "countersign.checkpoints"]).output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.starts_with("whole, gaps declared: "), "{said}");
    assert!(script_agrees(&found), "the script of the documentation knows stubs");
}

/// The record's bytes in the spool.
fn value_of(spool: &std::path::Path, answer: &crate::support::Answer) -> Vec<u8> {
    let mut scan = Scan::new(spool);
    while let Some(found) = scan.next().unwrap() {
        if let Scanned::Record(entry) = found
            && serde_json::from_slice::<serde_json::Value>(&entry.value).unwrap()["id"] == answer.decision()
        {
            return entry.value.to_vec();
        }
    }
    panic!("the spool has no record of the answer");
}

fn in_order(found: &[loadtest::laboratory::kafka::Record]) -> Vec<crate::support::records::Raw> {
    found.iter().map(|record| crate::support::records::Raw::new(&record.value)).collect()
}

/// The first chain only, which is the one with the stub.
fn script_agrees(found: &[loadtest::laboratory::kafka::Record]) -> bool {
    let chain = link(&found[0].value).unwrap().id;
    let mut values: Vec<Vec<u8>> = found.iter().map(|record| record.value.clone()).collect();
    values.retain(|value| link(value).unwrap().id == chain);
    assert!(values.iter().any(|value| String::from_utf8_lossy(value).contains("io.countersign.stub.v1")));
    let mut seen = HashSet::new();
    values.retain(|value| seen.insert(link(value).unwrap().seq));
    crate::verify::script_accepts(&values)
}
