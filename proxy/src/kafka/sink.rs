//! The publisher's [`Sink`] on an idempotent librdkafka producer. Owns no cursor and retries nothing itself: what
//! librdkafka gives up on is the publisher's to send again, from a new producer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::checkpoints::{Checkpoints, is_checkpoint};
use super::client::{Connection, code_name, said};
use super::inspect::{self, Topic};
use super::partition::Pins;
use super::reports::{Reports, fault};
use super::settings::{Layout, larger_line};
use super::sizes::{Lesson, Sizes};
use crate::audit::publisher::{Entry, Event, Fault, SendError, Sink, Ticket};
use crate::audit::stub;

/// Of the value: CloudEvents 1.0 in structured mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// A look-up of the topic holds the publisher's thread at most this long; the first one, with the look at its limit behind it,
/// three times as long.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// For what became of a batch, and of those beside it, to be told after the fatal error that it led to.
const EXPLANATION: Duration = Duration::from_millis(500);
/// A wait looks so many times whether something has come.
const LOOKS: u32 = 5;
/// Between two lines of the log about records that the topic does not take.
const REMIND: Duration = Duration::from_secs(600);

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
    producer: Option<BaseProducer<Reports>>,
    checkpoints: Option<Checkpoints>,
    pins: Pins,
    /// Since the last rebuild.
    partitions: BTreeMap<Arc<str>, i32>,
    /// Partitions to which this producer was handed a record.
    begun: BTreeSet<i32>,
    sizes: Sizes,
    /// The topic's limit was asked for.
    looked: bool,
    /// When stubs, or their refusal, were last spoken of.
    said: [Option<Instant>; 2],
}

impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSink").field("options", &self.options).finish_non_exhaustive()
    }
}

impl KafkaSink {
    /// Connects in the background; a broker that is away is no error.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let pins = Pins::new(options.pins.clone());
        let wrong = |error: KafkaError| ClientError(said(&error));
        let topic = options.checkpoint_topic.as_ref();
        let checkpoints = topic.map(|topic| Checkpoints::new(&options.connection, topic)).transpose().map_err(wrong)?;
        let (partitions, begun) = (BTreeMap::new(), BTreeSet::new());
        let (sizes, looked, said) = (Sizes::new(Instant::now()), false, [None; 2]);
        let mut sink = Self { options, producer: None, checkpoints, pins, partitions, begun, sizes, looked, said };
        sink.producer = Some(sink.build().map_err(wrong)?);
        Ok(sink)
    }

    fn build(&self) -> Result<BaseProducer<Reports>, KafkaError> {
        let options = &self.options;
        let config = options.connection.producer_config(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // Otherwise a batch that the broker refuses is skipped, and what follows is stored: a gap until we come
            // back to it. With this, the producer stops for good at the refused batch.
            ("enable.gapless.guarantee", "true"),
            // Never give up by the clock; the default loses records after five minutes.
            ("message.timeout.ms", "0"),
            // Where a topic is known to refuse batches, little is sent for nothing behind one that it refuses.
            ("max.in.flight.requests.per.connection", if self.sizes.is_careful() { "1" } else { "5" }),
            ("batch.num.messages", &self.sizes.batch_records().to_string()),
            ("batch.size", &self.sizes.batch_bytes().to_string()),
            ("queue.buffering.max.messages", &options.queue_records.to_string()),
            ("queue.buffering.max.kbytes", &options.queue_kib.to_string()),
        ]);
        let producer: BaseProducer<Reports> = config.create_with_context(Reports::default())?;
        // What the brokers are to be shown is asked for in here, and without it a look-up of the topic waits in vain.
        producer.poll(Duration::ZERO);
        Ok(producer)
    }

    fn producer(&mut self) -> Result<&BaseProducer<Reports>, Fault> {
        if self.producer.is_none() {
            self.begun.clear();
            self.producer = Some(self.build().map_err(|error| fault(&error))?);
        }
        self.producer.as_ref().ok_or_else(|| Fault { code: "client".into(), text: "no producer".into() })
    }

    /// Larger batches need a new producer, which must not overtake the old one. False while that has something under way.
    fn grown(&mut self, now: Instant) -> bool {
        let idle = self.producer.as_ref().is_none_or(|producer| producer.context().is_idle());
        if idle {
            self.sizes.ended(&[]);
            self.sizes.grow(now);
            self.producer = None;
            self.partitions.clear();
        }
        idle
    }

    fn speak(&mut self, lesson: Lesson) {
        let at = usize::from(lesson == Lesson::Hopeless);
        if let Lesson::Smaller(batch_bytes) = lesson {
            return tracing::warn!(batch_bytes, "topic refused a batch for its size, batches shrink");
        }
        let Some(said) = self.said.get_mut(at) else { return };
        if said.replace(Instant::now()).is_some_and(|before| before.elapsed() < REMIND) {
            return;
        }
        let line = larger_line(&self.options.connection, &self.options.topic);
        if lesson == Lesson::Hopeless {
            tracing::error!(
                "the topic does not even take a record in its shortest form, as a stub if that is shorter, and nothing behind it is published: {line}"
            );
        } else {
            tracing::warn!(
                "the topic does not take a record for its size; a stub with its hash is published, the spool keeps the whole: {line}"
            );
        }
    }

    /// Where brokers tell how much the topic takes, no batch is larger: what is under way beside a refusal is sent again
    /// one by one. A limit that is not known is found out.
    fn look(&mut self) {
        let Options { connection, topic, .. } = &self.options;
        let settings = match inspect::topic(connection, topic, METADATA_TIMEOUT) {
            Ok(Topic::Present(Layout { settings: Ok(settings), .. })) => settings,
            other => return tracing::debug!(?other, "the topic's limit is not known"),
        };
        let takes = settings.get("max.message.bytes").and_then(|bytes| bytes.parse().ok());
        if takes.is_some_and(|takes| self.sizes.begin(takes)) {
            self.producer = None;
        }
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
        if !std::mem::replace(&mut self.looked, true) {
            self.look();
            self.producer()?;
        }
        let partition = self.pins.place(chain, count);
        if self.partitions.len() >= MAX_CHAINS {
            self.partitions.clear();
        }
        self.partitions.insert(Arc::clone(chain), partition);
        Ok(partition)
    }
}

/// Takes what has come, as soon as something has, and at the latest after `timeout`. The crate's own way to wait comes back at the
/// end of its time only, and spends the last millisecond of that spinning, since librdkafka waits for whole ones:
/// two hundred such waits a second took a fifth of a processor.
fn await_events(producer: &BaseProducer<Reports>, timeout: Duration, events: &mut Vec<Event>) {
    let until = Instant::now() + timeout;
    loop {
        // Of a batch at most.
        producer.poll(Duration::ZERO);
        producer.context().take(events);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || !events.is_empty() {
            return;
        }
        std::thread::sleep(left.min(timeout / LOOKS));
    }
}

/// Of what a producer sends to a partition, the first record is alone on its way until it is stored. A broker that knows
/// nothing of a producer takes whatever place its first batch has: if that one is refused, it takes the next, which
/// librdkafka may have ready and sends although it has stopped. Later on the places tell the broker that one is missing.
impl Sink for KafkaSink {
    fn topic(&self) -> &str {
        &self.options.topic
    }

    fn send(&mut self, entry: &Entry, ticket: Ticket) -> Result<(), SendError> {
        let now = Instant::now();
        if self.sizes.may_grow(now) && !self.grown(now) {
            return Err(SendError::Full);
        }
        if self.producer.as_ref().is_some_and(|p| self.sizes.are_enough(p.context().under_way())) {
            return Err(SendError::Full);
        }
        let partition = self.partition(&entry.chain).map_err(SendError::NotReady)?;
        let large = self.sizes.is_too_large(&entry.chain, entry.seq, &entry.value, now);
        let stub = large.then(|| stub::of(&entry.value)).flatten();
        let Some(producer) = &self.producer else { return Err(SendError::Full) };
        if self.begun.contains(&partition) && !producer.context().has_opened(partition) {
            return Err(SendError::Full);
        }
        let headers =
            OwnedHeaders::new_with_capacity(1).insert(Header { key: "content-type", value: Some(CONTENT_TYPE) });
        let record = BaseRecord::with_opaque_to(&self.options.topic, ticket)
            .partition(partition)
            .key(&*entry.chain)
            .payload(stub.as_deref().unwrap_or(&entry.value))
            .timestamp(entry.time_us.div_euclid(1000))
            .headers(headers);
        match producer.send(record) {
            Ok(()) => {
                let bytes = stub.as_ref().map_or(entry.value.len(), Vec::len);
                producer.context().sent(ticket, bytes, stub.is_some());
                self.begun.insert(partition);
                if stub.is_none() {
                    self.sizes.sent_whole(&entry.chain, entry.seq);
                }
                if let Some(checkpoints) = self.checkpoints.as_mut().filter(|_| is_checkpoint(&entry.value)) {
                    checkpoints.send(entry);
                }
                Ok(())
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Err(SendError::Full),
            Err((error, _)) => Err(SendError::Refused(fault(&error))),
        }
    }

    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.poll(events);
        }
        let Some(producer) = &self.producer else {
            // Nothing is under way, but the caller counts on being slowed down.
            std::thread::sleep(timeout);
            return;
        };
        await_events(producer, timeout, events);
    }

    fn rebuild(&mut self) {
        if let Some(producer) = self.producer.take() {
            let reports = producer.context();
            // What was refused may be presumed to be too large, once it is known.
            let until = Instant::now() + EXPLANATION;
            let is_over = producer.client().fatal_error().is_some();
            while is_over && !reports.is_idle() && Instant::now() < until {
                producer.poll(Duration::ZERO);
                std::thread::sleep(EXPLANATION / 100);
            }
            let refused = reports.refused();
            self.sizes.ended(&refused);
            if !refused.is_empty() {
                let lesson = self.sizes.learn(&refused, Instant::now());
                self.speak(lesson);
            }
            // Purges what it holds: the spool has it.
            drop(producer);
        }
        self.partitions.clear();
    }
}
