//! Checkpoints on their way to a topic of their own, beside the decisions. A producer of its own, because nothing here may
//! hold up a decision: what this topic refuses is reported and left; the chain has it, and the next checkpoint covers
//! more. Owned by `sink`.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::client::{Connection, Log, code_name, error_name, said};
use super::sink::CONTENT_TYPE;
use super::token;
use crate::audit::publisher::{Entry, Event, Fault};

/// In a record's first bytes; the envelope's order is fixed.
const TYPE: &[u8] = b"\"type\":\"io.countersign.checkpoint.v1\"";
const ENVELOPE: usize = 512;
/// Checkpoints that may wait for the brokers; further ones are reported and left out.
const MOST: &str = "1000";
/// After this long without the brokers a checkpoint is left out.
const PATIENCE: &str = "600000";
/// Between two producers, where one after another fails for good.
const AGAIN: Duration = Duration::from_secs(10);
/// For the last checkpoint to arrive when the process ends.
const FLUSH: Duration = Duration::from_secs(1);

pub fn is_checkpoint(value: &[u8]) -> bool {
    value.get(..ENVELOPE).unwrap_or(value).windows(TYPE.len()).any(|window| window == TYPE)
}

pub struct Checkpoints {
    connection: Connection,
    topic: String,
    producer: BaseProducer<Context>,
    /// Outlives producers: one that is replaced still says what it left out.
    inbox: Arc<Inbox>,
    /// When a producer was last replaced.
    replaced: Option<Instant>,
}

impl Checkpoints {
    pub fn new(connection: &Connection, topic: &str) -> Result<Self, KafkaError> {
        let inbox = Arc::default();
        let producer = Self::producer(connection, &inbox)?;
        Ok(Self { connection: connection.clone(), topic: topic.to_owned(), producer, inbox, replaced: None })
    }

    fn producer(connection: &Connection, inbox: &Arc<Inbox>) -> Result<BaseProducer<Context>, KafkaError> {
        connection
            .producer_config(&[
                ("enable.idempotence", "true"),
                ("acks", "all"),
                ("message.timeout.ms", PATIENCE),
                // By the chain's id, so that a chain's checkpoints are in order.
                ("partitioner", "murmur2_random"),
                ("queue.buffering.max.messages", MOST),
                ("queue.buffering.max.kbytes", "4096"),
            ])
            .create_with_context(Context { inbox: Arc::clone(inbox), log: Log::default() })
    }

    /// An idempotent producer that has failed for good sends nothing more.
    fn mend(&mut self, now: Instant) {
        let Some((code, why)) = self.producer.client().fatal_error() else { return };
        if !is_due(self.replaced, now) {
            return;
        }
        self.replaced = Some(now);
        let text = format!("topic `{}`: {why}; checkpoints go on with a new producer", self.topic);
        self.inbox.trouble(Fault { code: code_name(code), text });
        match Self::producer(&self.connection, &self.inbox) {
            Ok(producer) => self.producer = producer,
            Err(error) => self.inbox.left_out(&self.topic, &error),
        }
    }

    /// The same value, key, header and time as in the topic of the decisions.
    pub fn send(&mut self, entry: &Entry) {
        self.mend(Instant::now());
        let headers =
            OwnedHeaders::new_with_capacity(1).insert(Header { key: "content-type", value: Some(CONTENT_TYPE) });
        let record = BaseRecord::to(&self.topic)
            .key(&*entry.chain)
            .payload(&entry.value[..])
            .timestamp(entry.time_us.div_euclid(1000))
            .headers(headers);
        if let Err((error, _)) = self.producer.send(record) {
            self.inbox.left_out(&self.topic, &error);
        }
    }

    /// Appends what went wrong.
    pub fn poll(&mut self, events: &mut Vec<Event>) {
        self.mend(Instant::now());
        self.producer.poll(Duration::ZERO);
        events.append(&mut self.inbox.0.lock());
    }
}

fn is_due(replaced: Option<Instant>, now: Instant) -> bool {
    replaced.is_none_or(|before| now.saturating_duration_since(before) >= AGAIN)
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Err(error) = self.producer.flush(FLUSH) {
            tracing::warn!(%error, topic = self.topic, "the last checkpoints may not have arrived");
        }
    }
}

struct Context {
    inbox: Arc<Inbox>,
    log: Log,
}

#[derive(Default)]
struct Inbox(Mutex<Vec<Event>>);

impl Inbox {
    fn trouble(&self, fault: Fault) {
        self.0.lock().push(Event::Trouble(fault));
    }

    fn left_out(&self, topic: &str, error: &KafkaError) {
        let text = format!("checkpoint was left out of topic `{topic}`, the decisions' has it: {}", said(error));
        self.trouble(Fault { code: error_name(error), text });
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token::current(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.line(level, facility, text);
    }

    fn stats_raw(&self, _: &[u8]) {}

    /// The decisions' producer tells the same of the brokers.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            use rdkafka::Message as _;
            self.inbox.left_out(message.topic(), error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::audit::envelope::Source;
    use crate::audit::journal;
    use crate::audit::lifecycle::{CheckpointData, Event as Lifecycle};
    use crate::audit::publisher::EpochId;
    use crate::kafka::reader::{Next, Reader, Start};

    #[test]
    fn a_producer_that_failed_for_good_is_replaced_and_said_once() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("checkpoints", 1, 1).unwrap();
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal]);
        let connection =
            Connection { brokers: vec![cluster.bootstrap_servers()], properties: vec![], client_id: "t".into() };
        let mut checkpoints = Checkpoints::new(&connection, "checkpoints").unwrap();
        let (mut events, begun) = (Vec::new(), Instant::now());
        while events.is_empty() {
            checkpoints.poll(&mut events);
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing was said");
            std::thread::yield_now();
        }
        let value = b"checkpoint"[..].into();
        checkpoints.send(&Entry {
            epoch: EpochId::new(0, 1),
            chain: "c".into(),
            seq: 1,
            time_us: 0,
            value,
            settled: 0,
        });
        checkpoints.producer.flush(Duration::from_secs(60)).unwrap();
        checkpoints.poll(&mut events);
        let [Event::Trouble(fault)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(fault.code, "cluster_authorization_failed");
        let mut reader = Reader::open(&connection, "checkpoints", Start::Beginning, false).unwrap();
        let Next::Record(record) = reader.next(Duration::from_secs(60)).unwrap() else { panic!("it did not arrive") };
        assert_eq!(record.value, b"checkpoint");
    }

    #[test]
    fn producers_that_fail_one_after_another_are_not_replaced_at_once() {
        let now = Instant::now();
        assert!(is_due(None, now));
        assert!(!is_due(Some(now), now + Duration::from_secs(9)) && is_due(Some(now), now + AGAIN));
    }

    #[test]
    fn checkpoints_are_told_from_others() {
        // As long an instance's name as the configuration takes.
        let source = Source::new(&"i".repeat(64));
        let data = CheckpointData { note: "n".into(), head: "h".into(), tree: vec![] };
        let checkpoint = journal::checkpoint(&source, SystemTime::UNIX_EPOCH, &data).unwrap();
        assert!(is_checkpoint(&checkpoint.head));
        let closed = journal::lifecycle(&source, SystemTime::UNIX_EPOCH, &Lifecycle::ChainClosed {}).unwrap();
        assert!(!is_checkpoint(&closed.head));
    }
}
