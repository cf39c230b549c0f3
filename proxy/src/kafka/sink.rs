//! The publisher's [`Sink`] on an idempotent librdkafka producer. Owns no cursor and retries nothing itself: what
//! librdkafka gives up on is the publisher's to send again, from a new producer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::checkpoints::{Checkpoints, is_checkpoint};
use super::client::{Connection, Log, code_name, error_name};
use super::partition::Pins;
use crate::audit::publisher::{Entry, Event, Fault, SendError, Sink, Ticket};

/// Of the value: CloudEvents 1.0 in structured mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// A look-up of the topic holds the publisher's thread at most this long.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// Batches, before compression. Brokers take 1 MiB unless told otherwise; one that takes less gets smaller ones.
const BATCH_BYTES: u32 = 1_000_000;
const LEAST_BATCH_BYTES: u32 = 16 << 10;

/// Partitions looked up since the last rebuild, at most; then looked up again.
const MAX_CHAINS: usize = 1024;

/// Where to, and how much memory.
#[derive(Debug, Clone)]
pub struct Options {
    pub connection: Connection,
    pub topic: String,
    /// Where checkpoints go besides.
    pub checkpoint_topic: Option<String>,
    /// Records in librdkafka's queue, at most.
    pub queue_records: u32,
    /// Their bytes in KiB, at most.
    pub queue_kib: u32,
    /// Remembers across restarts which partition a chain is in.
    pub pins: Option<PathBuf>,
}

impl Options {
    /// Bounds a little above the publisher's own, so that those are met first.
    pub fn new(connection: Connection, topic: &str) -> Self {
        Self {
            connection,
            topic: topic.to_owned(),
            checkpoint_topic: None,
            queue_records: 60_000,
            queue_kib: 48 * 1024,
            pins: None,
        }
    }
}

/// Properties that do not fit each other, or name files that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("kafka client cannot be made: {0}")]
pub struct ClientError(String);

pub struct KafkaSink {
    options: Options,
    /// `None` between a rebuild and the next record.
    producer: Option<BaseProducer<Context>>,
    checkpoints: Option<Checkpoints>,
    pins: Pins,
    /// Since the last rebuild.
    partitions: BTreeMap<Arc<str>, i32>,
    batch_bytes: u32,
}

impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSink").field("options", &self.options).finish_non_exhaustive()
    }
}

impl KafkaSink {
    /// Connects in the background; a broker that is away is no error.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let pins = Pins::open(options.pins.clone());
        let wrong = |error: KafkaError| ClientError(error.to_string());
        let topic = options.checkpoint_topic.as_ref();
        let checkpoints = topic.map(|topic| Checkpoints::new(&options.connection, topic)).transpose().map_err(wrong)?;
        let mut sink =
            Self { options, producer: None, checkpoints, pins, partitions: BTreeMap::new(), batch_bytes: BATCH_BYTES };
        sink.producer = Some(sink.build().map_err(wrong)?);
        Ok(sink)
    }

    fn build(&self) -> Result<BaseProducer<Context>, KafkaError> {
        let options = &self.options;
        let config = options.connection.config(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // Otherwise a batch that the broker refuses is skipped, and what follows is stored: a gap until we come
            // back to it. With this, the producer stops for good at the refused batch.
            ("enable.gapless.guarantee", "true"),
            // Never give up by the clock; the default loses records after five minutes.
            ("message.timeout.ms", "0"),
            ("linger.ms", "5"),
            ("batch.num.messages", "10000"),
            ("batch.size", &self.batch_bytes.to_string()),
            ("compression.codec", "zstd"),
            ("queue.buffering.max.messages", &options.queue_records.to_string()),
            ("queue.buffering.max.kbytes", &options.queue_kib.to_string()),
        ]);
        config.create_with_context(Context::default())
    }

    fn producer(&mut self) -> Result<&BaseProducer<Context>, Fault> {
        if self.producer.is_none() {
            self.producer = Some(self.build().map_err(|error| fault(&error))?);
        }
        self.producer.as_ref().ok_or_else(|| Fault { code: "client".into(), text: "no producer".into() })
    }

    fn partition(&mut self, chain: &Arc<str>) -> Result<i32, Fault> {
        if let Some(&partition) = self.partitions.get(chain) {
            return Ok(partition);
        }
        let topic = self.options.topic.clone();
        let producer = self.producer()?;
        let metadata =
            producer.client().fetch_metadata(Some(&topic), METADATA_TIMEOUT).map_err(|error| fault(&error))?;
        let found = metadata.topics().iter().find(|t| t.name() == topic);
        if let Some(error) = found.and_then(|t| t.error()) {
            let code = RDKafkaErrorCode::from(error);
            return Err(Fault { code: code_name(code), text: format!("topic `{topic}`: {code}") });
        }
        let count = found.map_or(0, |t| i32::try_from(t.partitions().len()).unwrap_or(i32::MAX));
        if count == 0 {
            return Err(Fault { code: "unknown_topic".into(), text: format!("topic `{topic}` does not exist") });
        }
        let partition = self.pins.place(chain, count);
        if self.partitions.len() >= MAX_CHAINS {
            self.partitions.clear();
        }
        self.partitions.insert(Arc::clone(chain), partition);
        Ok(partition)
    }
}

impl Sink for KafkaSink {
    fn topic(&self) -> &str {
        &self.options.topic
    }

    fn send(&mut self, entry: &Entry, ticket: Ticket) -> Result<(), SendError> {
        let partition = self.partition(&entry.chain).map_err(SendError::NotReady)?;
        let Some(producer) = &self.producer else { return Err(SendError::Full) };
        let headers =
            OwnedHeaders::new_with_capacity(1).insert(Header { key: "content-type", value: Some(CONTENT_TYPE) });
        let record = BaseRecord::with_opaque_to(&self.options.topic, ticket)
            .partition(partition)
            .key(&*entry.chain)
            .payload(&entry.value[..])
            .timestamp(entry.time_us.div_euclid(1000))
            .headers(headers);
        match producer.send(record) {
            Ok(()) => {
                if let Some(checkpoints) = self.checkpoints.as_ref().filter(|_| is_checkpoint(&entry.value)) {
                    checkpoints.send(entry);
                }
                Ok(())
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Err(SendError::Full),
            Err((error, _)) => Err(SendError::Refused(fault(&error))),
        }
    }

    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.poll(events);
        }
        let Some(producer) = &self.producer else {
            // Nothing is under way, but the caller counts on being slowed down.
            std::thread::sleep(timeout);
            return;
        };
        producer.poll(timeout);
        events.append(&mut producer.context().inbox.lock().events);
    }

    fn rebuild(&mut self) {
        if let Some(producer) = self.producer.take() {
            if producer.context().inbox.lock().too_large {
                // A broker measures whole batches against the limit of one record.
                self.batch_bytes = (self.batch_bytes / 4).max(LEAST_BATCH_BYTES);
                tracing::warn!(batch_bytes = self.batch_bytes, "topic refused a batch for its size, batches shrink");
            }
            // Purges what it holds: the spool has it.
            drop(producer);
        }
        self.partitions.clear();
    }
}

fn fault(error: &KafkaError) -> Fault {
    Fault { code: error_name(error), text: error.to_string() }
}

/// Collects, on the publisher's thread, what librdkafka reports during `poll`.
#[derive(Debug, Default)]
struct Context {
    inbox: Mutex<Inbox>,
    log: Log,
}

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<Event>,
    too_large: bool,
    /// The crate reports every error of a producer twice in a row.
    reported: Option<(KafkaError, String)>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.line(level, facility, text);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut inbox = self.inbox.lock();
        let report = (error, reason.to_owned());
        if inbox.reported.take().is_some_and(|before| before == report) {
            return;
        }
        let told = Fault { code: error_name(&report.0), text: reason.to_owned() };
        let fatal = report.0.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal);
        inbox.events.push(if fatal { Event::Fatal(told) } else { Event::Trouble(told) });
        inbox.reported = Some(report);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Ticket) {
        let mut inbox = self.inbox.lock();
        match result {
            Ok(_) => inbox.events.push(Event::Acked(ticket)),
            Err((error, _)) => {
                inbox.too_large |= error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
                inbox.events.push(Event::Failed(ticket, fault(error)));
            }
        }
    }
}
