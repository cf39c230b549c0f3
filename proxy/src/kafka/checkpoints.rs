//! Checkpoints on their way to a topic of their own, beside the decisions. A producer of its own, because nothing here may
//! hold up a decision: what this topic refuses is reported and left; the chain has it, and the next checkpoint covers
//! more. Owned by `sink`.

use std::error::Error;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::client::{Connection, Log, error_name, said};
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
/// For the last checkpoint to arrive when the process ends.
const FLUSH: Duration = Duration::from_secs(1);

pub fn is_checkpoint(value: &[u8]) -> bool {
    value.get(..ENVELOPE).unwrap_or(value).windows(TYPE.len()).any(|window| window == TYPE)
}

pub struct Checkpoints {
    topic: String,
    producer: BaseProducer<Context>,
}

impl Checkpoints {
    pub fn new(connection: &Connection, topic: &str) -> Result<Self, KafkaError> {
        let producer = connection
            .producer_config(&[
                ("enable.idempotence", "true"),
                ("acks", "all"),
                ("message.timeout.ms", PATIENCE),
                // By the chain's id, so that a chain's checkpoints are in order.
                ("partitioner", "murmur2_random"),
                ("queue.buffering.max.messages", MOST),
                ("queue.buffering.max.kbytes", "4096"),
            ])
            .create_with_context(Context::default())?;
        Ok(Self { topic: topic.to_owned(), producer })
    }

    /// The same value, key, header and time as in the topic of the decisions.
    pub fn send(&self, entry: &Entry) {
        let headers =
            OwnedHeaders::new_with_capacity(1).insert(Header { key: "content-type", value: Some(CONTENT_TYPE) });
        let record = BaseRecord::to(&self.topic)
            .key(&*entry.chain)
            .payload(&entry.value[..])
            .timestamp(entry.time_us.div_euclid(1000))
            .headers(headers);
        if let Err((error, _)) = self.producer.send(record) {
            self.producer.context().report(&self.topic, &error);
        }
    }

    /// Appends what went wrong.
    pub fn poll(&self, events: &mut Vec<Event>) {
        self.producer.poll(Duration::ZERO);
        events.append(&mut self.producer.context().inbox.lock());
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Err(error) = self.producer.flush(FLUSH) {
            tracing::warn!(%error, topic = self.topic, "the last checkpoints may not have arrived");
        }
    }
}

#[derive(Default)]
struct Context {
    inbox: Mutex<Vec<Event>>,
    log: Log,
}

impl Context {
    fn report(&self, topic: &str, error: &KafkaError) {
        let text = format!("checkpoint for topic `{topic}` was left out: {}", said(error));
        self.inbox.lock().push(Event::Trouble(Fault { code: error_name(error), text }));
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
            self.report(message.topic(), error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::audit::envelope::Source;
    use crate::audit::journal;
    use crate::audit::lifecycle::{CheckpointData, Event as Lifecycle};

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
