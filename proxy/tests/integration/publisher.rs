//! Publisher, Kafka sink and reader against librdkafka's mock broker. The mock does not sort out an idempotent
//! producer's duplicates, so tests look at first occurrences.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign::audit::publisher::{Ending, Entry, EpochId, Options, Publisher, Source};
use countersign::kafka::partition::of_chain;
use countersign::kafka::reader::{Next, Reader, Record, Start};
use countersign::kafka::sink::{CONTENT_TYPE, KafkaSink, Options as SinkOptions};
use countersign::kafka::{Connection, mock::MockBroker};
use countersign::metrics::{Metrics, Names};
use countersign::trace::Tracer;
use parking_lot::Mutex;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::{PATIENCE, wait_until};

mod memory; // bounded, whatever the broker does
mod real; // what only a real broker does
mod secured; // TLS, users and tokens
mod sizes; // records that the topic does not take

const TOPIC: &str = "decisions";
const CHAIN: &str = "minio-eu1/9c1e";
const TIME_US: i64 = 1_795_439_107_123_456;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster
}

fn connection(bootstrap: String) -> Connection {
    let fast = [("reconnect.backoff.max.ms", "200"), ("retry.backoff.ms", "20"), ("retry.backoff.max.ms", "100")];
    let properties = fast.map(|(key, value)| (key.to_owned(), value.to_owned().into())).to_vec();
    Connection { brokers: vec![bootstrap], properties, client_id: "test".into() }
}

/// Records 0, 1, 2 … of one chain; what is delivered is durable at once.
#[derive(Clone)]
struct Numbers {
    at: u64,
    end: u64,
    /// No further, until a test moves it.
    gate: Arc<AtomicU64>,
    delivered: Arc<Mutex<u64>>,
    stubbed: Arc<Mutex<Vec<u64>>>,
    time_us: i64,
    values: Option<Arc<Vec<Vec<u8>>>>,
}

impl Numbers {
    fn new(end: u64) -> Self {
        let gate = Arc::new(AtomicU64::new(u64::MAX));
        Self { at: 0, end, gate, delivered: Arc::default(), stubbed: Arc::default(), time_us: TIME_US, values: None }
    }

    /// Values of a test's own, of the chain [`CHAIN`].
    fn of(values: Vec<Vec<u8>>) -> Self {
        Self { values: Some(Arc::new(values.clone())), ..Self::new(values.len() as u64) }
    }

    fn made_at(self, time_us: i64) -> Self {
        Self { time_us, ..self }
    }

    fn delivered(&self) -> u64 {
        *self.delivered.lock()
    }
}

fn value(seq: u64) -> Vec<u8> {
    format!("{{\"seq\":{seq},\"filler\":\"{}\"}}", "x".repeat(500)).into_bytes()
}

impl Source for Numbers {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        if self.at == self.end.min(self.gate.load(Ordering::Relaxed)) {
            return Ok(None);
        }
        let seq = self.at;
        self.at += 1;
        let (epoch, chain) = (EpochId::new(1, 1), CHAIN.into());
        let value = self.values.as_ref().map_or_else(|| value(seq), |values| values[seq as usize].clone()).into();
        Ok(Some(Entry { epoch, chain, seq, time_us: self.time_us, value, settled: 0 }))
    }
    fn wait(&self, timeout: Duration) -> bool {
        std::thread::sleep(timeout.min(Duration::from_millis(5)));
        false
    }
    fn delivered(&mut self, _: &EpochId, seq: u64) {
        let mut delivered = self.delivered.lock();
        *delivered = (*delivered).max(seq + 1);
    }
    fn stubbed(&mut self, _: &EpochId, seq: u64) -> io::Result<()> {
        self.stubbed.lock().push(seq);
        Ok(())
    }
    fn rewind(&mut self) {
        self.at = *self.delivered.lock();
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn publish(bootstrap: String, records: u64, change: impl FnOnce(&mut SinkOptions)) -> (Publisher, Numbers) {
    let source = Numbers::new(records);
    let mut options = SinkOptions::new(connection(bootstrap), TOPIC);
    change(&mut options);
    (ship(source.clone(), options).0, source)
}

fn ship(source: impl Source + 'static, sink: SinkOptions) -> (Publisher, Arc<Metrics>) {
    paced(source, sink, (Duration::from_millis(10), Duration::from_millis(100)))
}

fn paced(source: impl Source + 'static, sink: SinkOptions, backoff: (Duration, Duration)) -> (Publisher, Arc<Metrics>) {
    let sink = KafkaSink::new(sink).unwrap();
    let options = Options { backoff, ..Options::default() };
    let metrics = Metrics::new(&Names::default());
    (Publisher::spawn(source, sink, options, metrics.clone(), Tracer::off()).unwrap(), metrics)
}

/// Errors counted under this code so far.
fn errors(metrics: &Metrics, code: &str) -> u64 {
    counted(metrics, &format!("countersign_kafka_errors_total{{code=\"{code}\"}} "))
}

fn counted(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series}"));
    line.parse().unwrap()
}

fn read(bootstrap: String, start: Start) -> Vec<Record> {
    read_topic(&connection(bootstrap), TOPIC, start)
}

fn read_topic(connection: &Connection, topic: &str, start: Start) -> Vec<Record> {
    let mut reader = Reader::open(connection, topic, start, false).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.next(PATIENCE).unwrap() {
            Next::Record(record) => records.push(record),
            Next::Idle => panic!("nothing came after {} records", records.len()),
            Next::End => return records,
        }
    }
}

/// Every record, first occurrences in order; duplicates are the same bytes.
fn assert_whole(records: &[Record], count: u64) {
    let mut seen = HashSet::new();
    let mut first = Vec::new();
    for record in records {
        let json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        let seq = json["seq"].as_u64().unwrap();
        assert_eq!(record.value, value(seq));
        if seen.insert(seq) {
            first.push(seq);
        }
    }
    assert_eq!(first, (0..count).collect::<Vec<_>>());
}

#[test]
fn records_arrive_with_key_partition_header_and_timestamp() {
    let broker = MockBroker::start(&[(TOPIC, 7)]).unwrap();
    let (publisher, _) = publish(broker.bootstrap(), 1000, |_| {});
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let records = read(broker.bootstrap(), Start::Beginning);
    assert_whole(&records, 1000);
    assert_eq!(records.len(), 1000, "nothing went wrong, so nothing was sent twice");
    let content_type = ("content-type".to_owned(), CONTENT_TYPE.as_bytes().to_vec());
    for record in &records {
        assert_eq!(record.key.as_deref(), Some(CHAIN.as_bytes()));
        assert_eq!(record.partition, of_chain(CHAIN, 7));
        assert_eq!(record.timestamp_ms, Some(TIME_US / 1000));
        assert_eq!(record.headers, std::slice::from_ref(&content_type));
    }
    assert_eq!(read(broker.bootstrap(), Start::End), []);
}

/// Produce requests fail with `errors`, and then with one that is counted. Each request takes one, and until they are used
/// up the first record is alone on its way: what follows is sent when that one is stored.
fn fail(cluster: &Cluster, errors: &[RDKafkaRespErr]) {
    let counted = RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
    cluster.request_errors(RDKafkaApiKey::Produce, &[errors, &[counted; 2]].concat());
}

/// Whoever met the last ones has met all: librdkafka tries some again by itself, and tells nobody.
fn assert_met(metrics: &Metrics, what: impl std::fmt::Debug) {
    assert!(errors(metrics, "policy_violation") > 0, "{what:?} was never met:\n{}", metrics.encode());
}

#[test]
fn errors_that_pass_are_outlived() {
    let cluster = cluster(1);
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    fail(&cluster, &errors);
    let sink = SinkOptions::new(connection(cluster.bootstrap_servers()), TOPIC);
    let (publisher, metrics) = ship(Numbers::new(5000), sink);
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    assert_met(&metrics, errors);
    assert_whole(&read(cluster.bootstrap_servers(), Start::Beginning), 5000);
}

#[test]
fn errors_that_last_for_librdkafka_do_not_last_for_us() {
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_MSG,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    ] {
        let cluster = cluster(1);
        fail(&cluster, &[error; 3]);
        let sink = SinkOptions::new(connection(cluster.bootstrap_servers()), TOPIC);
        let (publisher, metrics) = ship(Numbers::new(5000), sink);
        assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained, "{error:?}");
        assert_met(&metrics, error);
        assert_whole(&read(cluster.bootstrap_servers(), Start::Beginning), 5000);
    }
}

#[test]
fn leaders_that_move_and_brokers_that_restart_one_by_one_keep_the_order() {
    const PORTION: u64 = 7_500;
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 1, 3).unwrap();
    cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
    let source = Numbers::new(4 * PORTION);
    source.gate.store(PORTION, Ordering::Relaxed);
    let (publisher, _) = ship(source.clone(), SinkOptions::new(connection(cluster.bootstrap_servers()), TOPIC));
    wait_until("the first records", || source.delivered() > 0);
    for broker in 1..=3 {
        cluster.broker_down(broker).unwrap();
        // Whatever was under way when the leader went, these come while there is none.
        let before = source.gate.fetch_add(PORTION, Ordering::Relaxed);
        cluster.partition_leader(TOPIC, 0, Some(broker % 3 + 1)).unwrap();
        wait_until("records arrive at the next leader", || source.delivered() > before);
        cluster.broker_up(broker).unwrap();
    }
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    assert_whole(&read(cluster.bootstrap_servers(), Start::Beginning), 4 * PORTION);
}

/// A broker that refuses everything, for ever, is not asked faster and faster: each try is a new producer, after a pause.
#[test]
fn a_refusal_that_lasts_is_retried_with_pauses_and_counted() {
    const PAUSE: Duration = Duration::from_millis(300);
    for (error, code) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "topic_authorization_failed"),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, "invalid_record"),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "policy_violation"),
    ] {
        let cluster = cluster(1);
        cluster.request_errors(RDKafkaApiKey::Produce, &[error; 500]);
        let source = Numbers::new(50);
        let sink = SinkOptions::new(connection(cluster.bootstrap_servers()), TOPIC);
        let (publisher, metrics) = paced(source.clone(), sink, (PAUSE, PAUSE));
        wait_until(code, || errors(&metrics, code) >= 1);
        let (tries, since) = (errors(&metrics, code), Instant::now());
        wait_until("more tries", || errors(&metrics, code) >= tries + 5);
        // Four whole pauses, each at least half of it: on a slow machine it takes longer, never less.
        assert!(since.elapsed() >= 2 * PAUSE, "{code}: five tries in {:?}", since.elapsed());
        assert_eq!(source.delivered(), 0, "{code}: nothing is skipped");
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained, "{code}");
        assert_whole(&read(cluster.bootstrap_servers(), Start::Beginning), 50);
    }
}

#[test]
fn a_broker_that_goes_and_comes_back_gets_everything() {
    let cluster = cluster(1);
    cluster.broker_down(1).unwrap();
    let (publisher, source) = publish(cluster.bootstrap_servers(), 20_000, |_| {});
    cluster.broker_up(1).unwrap();
    wait_until("the first records", || *source.delivered.lock() > 0);
    cluster.broker_down(1).unwrap();
    cluster.broker_up(1).unwrap();
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    assert_whole(&read(cluster.bootstrap_servers(), Start::Beginning), 20_000);
}

#[test]
fn a_broker_that_stays_away_ends_the_shutdown_in_time() {
    let cluster = cluster(1);
    cluster.broker_down(1).unwrap();
    let (publisher, source) = publish(cluster.bootstrap_servers(), 10, |_| {});
    let started = Instant::now();
    assert_eq!(publisher.shutdown(Duration::from_millis(300)), Ending::Left);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(*source.delivered.lock(), 0);
}

#[test]
fn a_missing_topic_is_waited_for_and_never_created() {
    let cluster = MockCluster::new(1).unwrap();
    let (publisher, _) = publish(cluster.bootstrap_servers(), 100, |_| {});
    let other = connection(cluster.bootstrap_servers());
    let missing = Reader::open(&other, TOPIC, Start::Beginning, false).unwrap_err();
    assert_eq!(missing.to_string(), format!("topic `{TOPIC}` does not exist"));
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    assert_whole(&read(cluster.bootstrap_servers(), Start::Beginning), 100);
}

#[test]
fn a_small_queue_slows_down_and_loses_nothing() {
    let cluster = cluster(1);
    let (publisher, _) = publish(cluster.bootstrap_servers(), 5000, |options| {
        options.queue_records = 10;
    });
    assert_eq!(publisher.shutdown(PATIENCE), Ending::Drained);
    let records = read(cluster.bootstrap_servers(), Start::Beginning);
    assert_whole(&records, 5000);
    assert_eq!(records.len(), 5000);
}
