//! What only a real broker does: topics that go and grow, settings that refuse, access rules, duplicates sorted out.

use std::sync::atomic::{AtomicBool, Ordering};

use loadtest::laboratory::{Laboratory, kafka::Kafka, require};

use super::*;

async fn broker() -> Option<Kafka> {
    require(Laboratory::open().unwrap().kafka().start().await)
}

fn options(kafka: &Kafka) -> SinkOptions {
    SinkOptions::new(connection(kafka.bootstrap()), TOPIC)
}

async fn topics(kafka: &Kafka, args: &[&str]) {
    let bootstrap = kafka.bootstrap();
    let all = [&["--bootstrap-server", &bootstrap, "--topic", TOPIC], args].concat();
    kafka.java_tool("org.apache.kafka.tools.TopicCommand", &all).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_and_made_again_gets_what_was_not_acknowledged() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic(TOPIC, 3).await.unwrap();
    let mut source = Numbers::new(500);
    source.end = 200;
    let (publisher, _) = ship(source.clone(), options(&kafka));
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    source.end = 500;
    source.at = 200;
    let (publisher, _) = ship(source.clone(), options(&kafka));
    wait_until("the rest", || source.delivered() == 500);
    topics(&kafka, &["--delete"]).await;
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    // Another publisher, which goes on where the chain was.
    let source = Numbers { at: 500, end: 900, ..source };
    let (publisher, metrics) = ship(source.clone(), options(&kafka));
    wait_until("the topic is missed", || {
        errors(&metrics, "unknown_topic_or_partition") + errors(&metrics, "unknown_topic") > 0
    });
    assert_eq!(source.delivered(), 500);
    kafka.create_topic(TOPIC, 3).await.unwrap();
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    assert_eq!(errors(&metrics, "fatal"), 0, "a topic that is not there yet is waited for");
    let found = read(kafka.bootstrap(), Start::Beginning);
    assert_eq!(found.first().map(|r| r.value.clone()), Some(value(500)), "from the first not acknowledged on");
    assert_eq!(found.len(), 400);
}

/// Deleted under a producer that is sending: librdkafka must not go on as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_records_flow_gets_the_rest_in_order() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic(TOPIC, 1).await.unwrap();
    let source = Trickle::new(60_000);
    let (publisher, _) = ship(source.clone(), options(&kafka));
    wait_until("the first records", || source.numbers.delivered() > 100);
    topics(&kafka, &["--delete"]).await;
    eventually_created(&kafka).await;
    source.flood();
    wait_until("the rest", || source.numbers.delivered() == 60_000);
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let found = read(kafka.bootstrap(), Start::Beginning);
    let mut seen = HashSet::new();
    let seqs = found.iter().map(|r| serde_json::from_slice::<serde_json::Value>(&r.value).unwrap()["seq"].as_u64());
    let first: Vec<u64> = seqs.map(Option::unwrap).filter(|seq| seen.insert(*seq)).collect();
    assert!(
        first.first().is_some_and(|seq| *seq > 100),
        "what the old topic had is not sent again: {:?}",
        first.first()
    );
    assert!(first.windows(2).all(|pair| pair[1] == pair[0] + 1), "without a gap from where the new topic begins");
    assert_eq!(first.last(), Some(&59_999));
}

/// Records that flow for as long as a test wants, however slow the tools are that it waits for.
#[derive(Clone)]
struct Trickle {
    numbers: Numbers,
    due: Instant,
    flooded: Arc<AtomicBool>,
}

impl Trickle {
    /// Between two records.
    const PAUSE: Duration = Duration::from_millis(5);

    fn new(end: u64) -> Self {
        Self { numbers: Numbers::new(end), due: Instant::now(), flooded: Arc::default() }
    }

    /// The rest without pauses.
    fn flood(&self) {
        self.flooded.store(true, Ordering::Relaxed);
    }
}

impl Source for Trickle {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let now = Instant::now();
        if now < self.due && !self.flooded.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.due = now + Self::PAUSE;
        self.numbers.next()
    }
    fn wait(&self, timeout: Duration) -> bool {
        self.numbers.wait(timeout)
    }
    fn delivered(&mut self, epoch: &EpochId, seq: u64) {
        Source::delivered(&mut self.numbers, epoch, seq);
    }
    fn stubbed(&mut self, epoch: &EpochId, seq: u64) -> io::Result<()> {
        self.numbers.stubbed(epoch, seq)
    }
    fn rewind(&mut self) {
        self.numbers.rewind();
    }
    fn flush(&mut self) -> io::Result<()> {
        self.numbers.flush()
    }
}

/// A topic of the same name is refused until the old one is quite gone.
async fn eventually_created(kafka: &Kafka) {
    crate::support::eventually("the topic is made again", async || kafka.create_topic(TOPIC, 1).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_grows_leaves_a_chain_where_it_was() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic(TOPIC, 3).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let pinned = || SinkOptions { pins: Some(home.path().join("partitions.json")), ..options(&kafka) };
    let (publisher, _) = ship(Numbers::new(100), pinned());
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    topics(&kafka, &["--alter", "--partitions", "8"]).await;
    assert_ne!(of_chain(CHAIN, 3), of_chain(CHAIN, 8), "the test needs a chain that would move");
    let source = Numbers { at: 100, ..Numbers::new(200) };
    *source.delivered.lock() = 100;
    let (publisher, _) = ship(source, pinned());
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let found = read(kafka.bootstrap(), Start::Beginning);
    assert!(found.iter().all(|record| record.partition == of_chain(CHAIN, 3)));
    assert_whole(&found, 200);
}

/// Acknowledgements are lost while it stands still. A broker sorts out what one producer sends again, so nothing is
/// there twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_freezes_and_thaws_has_everything_once_and_in_order() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic(TOPIC, 1).await.unwrap();
    let source = Numbers::new(60_000);
    let mut impatient = options(&kafka);
    for (name, ms) in [("request.timeout.ms", "1000"), ("socket.timeout.ms", "1500")] {
        impatient.connection.properties.push((name.to_owned(), ms.to_owned().into()));
    }
    let (publisher, metrics) = ship(source.clone(), impatient);
    wait_until("the first records", || source.delivered() > 500);
    kafka.freeze();
    let told = || {
        ["request_timed_out", "operation_timed_out", "broker_transport_failure", "all_brokers_down"]
            .iter()
            .map(|code| errors(&metrics, code))
            .sum::<u64>()
    };
    wait_until("the publisher notices", || told() > 0);
    kafka.thaw();
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let found = read(kafka.bootstrap(), Start::Beginning);
    assert_whole(&found, 60_000);
    assert_eq!(found.len(), 60_000, "one producer, so nothing is there twice");
}

/// After an outage records are older than some topics take.
#[tokio::test(flavor = "multi_thread")]
async fn records_too_old_for_the_topic_wait_until_it_takes_them() {
    let Some(kafka) = broker().await else { return };
    kafka.create_topic_with(TOPIC, 1, &[("message.timestamp.before.max.ms", "3600000")]).await.unwrap();
    let source = Numbers::new(10).made_at(1_700_000_000_000_000);
    let (publisher, metrics) = ship(source.clone(), options(&kafka));
    // Of several refused in one batch, librdkafka says only that they are invalid.
    let refused = || errors(&metrics, "invalid_timestamp") + errors(&metrics, "invalid_record");
    wait_until("they are refused", || refused() >= 3);
    assert_eq!(source.delivered(), 0);
    let args = ["--bootstrap-server", &kafka.bootstrap(), "--alter", "--topic", TOPIC, "--add-config"];
    let takes = "message.timestamp.before.max.ms=9223372036854775807,retention.ms=-1";
    kafka.java_tool("kafka.admin.ConfigCommand", &[&args[..], &[takes]].concat()).await.unwrap();
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    assert_whole(&read(kafka.bootstrap(), Start::Beginning), 10);
}
