//! Reads a topic for commands: all partitions, from a place until its end or for ever. Joins no group and commits
//! nothing, so that reading leaves no trace on the cluster. Records come as they are; nothing is parsed here.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Connection, Log, said};
use super::token;

/// For brokers to answer when the topic is opened.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Without a record, an end or a broker before reading up to an end gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Beginning,
    /// What arrives after [`Reader::open`].
    End,
    /// The first record with this timestamp or a later one (milliseconds since 1970).
    Since(i64),
}

/// A record with its place in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What [`Reader::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Record(Record),
    /// Nothing within the timeout.
    Idle,
    /// Everything that was there when the reader was opened has been read.
    End,
}

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("kafka client cannot be made: {0}")]
    Client(String),
    #[error("no broker of `{brokers}` answered: {error}")]
    Unreachable { brokers: String, error: String },
    #[error("topic `{0}` does not exist")]
    NoTopic(String),
    #[error("topic `{topic}` cannot be read: {error}")]
    Refused { topic: String, error: String },
    #[error("topic `{topic}`: nothing came from the brokers for {} s", PATIENCE.as_secs())]
    Stalled { topic: String },
}

pub struct Reader {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    follow: bool,
    /// Partitions that have not been read to their end, with that end's offset; unused when following.
    ends: BTreeMap<i32, i64>,
    /// All partitions, with whether their first records were gone when the reader was opened.
    cut: BTreeMap<i32, bool>,
    heard: Instant,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topic", &self.topic).field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Reader {
    /// `follow`: wait for more at the end, for ever.
    pub fn open(connection: &Connection, topic: &str, start: Start, follow: bool) -> Result<Self, ReadError> {
        let consumer: BaseConsumer<Quiet> = connection
            .config(&[
                // Needed to assign partitions; never joined, never committed to.
                ("group.id", "countersign-reader"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
                ("enable.partition.eof", "true"),
                ("queued.max.messages.kbytes", "16384"),
            ])
            .create_with_context(Quiet::default())
            .map_err(|error: KafkaError| ReadError::Client(said(&error)))?;
        let mut reader = Self {
            consumer,
            topic: topic.to_owned(),
            follow,
            ends: BTreeMap::new(),
            cut: BTreeMap::new(),
            heard: Instant::now(),
        };
        // A token is asked for in here, and without one the brokers are waited for in vain.
        drop(reader.consumer.poll(Duration::ZERO));
        let partitions = reader.partitions(connection)?;
        reader.assign(&partitions, start)?;
        Ok(reader)
    }

    /// The next record of any partition; of one partition in order.
    pub fn next(&mut self, timeout: Duration) -> Result<Next, ReadError> {
        let deadline = Instant::now() + timeout;
        loop {
            if !self.follow && self.ends.is_empty() {
                return Ok(Next::End);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left) {
                None if !self.follow && self.heard.elapsed() > PATIENCE => {
                    return Err(ReadError::Stalled { topic: self.topic.clone() });
                }
                None if left.is_zero() => return Ok(Next::Idle),
                None => {}
                Some(Ok(message)) => {
                    let record = owned(&message);
                    drop(message);
                    self.heard = Instant::now();
                    if self.ends.get(&record.partition).is_some_and(|end| record.offset + 1 >= *end) {
                        self.ends.remove(&record.partition);
                    }
                    return Ok(Next::Record(record));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.heard = Instant::now();
                    self.ends.remove(&partition);
                }
                Some(Err(error)) if lasts(&error) => return Err(self.refused(&error)),
                Some(Err(_)) => {}
            }
        }
    }

    /// The topic's partitions, each with whether its first records, from offset 0 on, are gone: by retention, or deleted.
    pub fn cut(&self) -> &BTreeMap<i32, bool> {
        &self.cut
    }

    fn partitions(&self, connection: &Connection) -> Result<Vec<i32>, ReadError> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(&self.topic), OPEN_TIMEOUT)
            .map_err(|error| ReadError::Unreachable { brokers: connection.brokers.join(","), error: said(&error) })?;
        let Some(found) = metadata.topics().iter().find(|t| t.name() == self.topic) else {
            return Err(ReadError::NoTopic(self.topic.clone()));
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(found.partitions().iter().map(|p| p.id()).collect()),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Err(ReadError::NoTopic(self.topic.clone()))
            }
            Some(code) => Err(ReadError::Refused { topic: self.topic.clone(), error: code.to_string() }),
        }
    }

    fn assign(&mut self, partitions: &[i32], start: Start) -> Result<(), ReadError> {
        let mut places = BTreeMap::new();
        for &partition in partitions {
            let (low, high) = self
                .consumer
                .fetch_watermarks(&self.topic, partition, OPEN_TIMEOUT)
                .map_err(|error| self.refused(&error))?;
            self.cut.insert(partition, low > 0);
            let from = if start == Start::End { high } else { low };
            places.insert(partition, (from, high));
        }
        if let Start::Since(timestamp_ms) = start {
            self.seek(&mut places, timestamp_ms)?;
        }
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (&partition, &(from, high)) in &places {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(from))
                .map_err(|error| self.refused(&error))?;
            if from < high {
                self.ends.insert(partition, high);
            }
        }
        self.consumer.assign(&list).map_err(|error| self.refused(&error))
    }

    fn seek(&self, places: &mut BTreeMap<i32, (i64, i64)>, timestamp_ms: i64) -> Result<(), ReadError> {
        let mut times = TopicPartitionList::with_capacity(places.len());
        for &partition in places.keys() {
            times
                .add_partition_offset(&self.topic, partition, Offset::Offset(timestamp_ms.max(0)))
                .map_err(|error| self.refused(&error))?;
        }
        let found = self.consumer.offsets_for_times(times, OPEN_TIMEOUT).map_err(|error| self.refused(&error))?;
        for element in found.elements() {
            if let Some((from, high)) = places.get_mut(&element.partition()) {
                // No such record means that all are earlier.
                *from = match element.offset() {
                    Offset::Offset(offset) => offset,
                    _ => *high,
                };
            }
        }
        Ok(())
    }

    fn refused(&self, error: &KafkaError) -> ReadError {
        ReadError::Refused { topic: self.topic.clone(), error: said(error) }
    }
}

/// What waiting does not mend. The rest librdkafka tries again by itself.
fn lasts(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::Fatal
        )
    )
}

fn owned(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().unwrap_or_default().to_vec(),
        headers,
    }
}

/// librdkafka's log, limited; its errors come back from calls.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    log: Log,
    /// Says more than the time-out of a call that it made fail.
    last: Mutex<Option<String>>,
}

impl Quiet {
    pub(super) fn last_error(&self) -> Option<String> {
        self.last.lock().clone()
    }
}

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token::current(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.line(level, facility, text);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        // That all brokers are down is said right after why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last.lock() = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Quiet {}
