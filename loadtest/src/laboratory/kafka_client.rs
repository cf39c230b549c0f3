//! What a test asks a broker, through librdkafka: is it there, make a topic, what does the topic hold.

use super::error::{Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

const PROBE: Duration = Duration::from_millis(1_000);
const ADMIN: Duration = Duration::from_secs(20);
const READ: Duration = Duration::from_secs(20);

/// One record of a topic.
#[derive(Debug, Clone)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Since the epoch; `None` when the broker gives none.
    pub timestamp_ms: Option<i64>,
}

/// Whether the broker serves metadata and names itself in it, which a broker does only when its controller let it in.
pub(super) async fn probe(bootstrap: &str) -> std::result::Result<(), String> {
    let bootstrap = bootstrap.to_owned();
    // Without this the client would print a line for every try before the broker listens.
    tokio::net::TcpStream::connect(&bootstrap).await.map_err(|why| why.to_string())?;
    blocking(move || {
        let metadata = consumer(&bootstrap)?.fetch_metadata(None, PROBE).map_err(asked)?;
        match metadata.brokers() {
            [] => Err(Error::Asked { part: "kafka", why: "the metadata names no broker".to_owned() }),
            [..] => Ok(()),
        }
    })
    .await
    .map_err(|why| why.to_string())
}

pub(super) async fn create_topic(bootstrap: &str, name: &str, partitions: u16, set: &[(&str, &str)]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create().map_err(asked)?;
    let topic = NewTopic::new(name, i32::from(partitions), TopicReplication::Fixed(1));
    let topic = set.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let options = AdminOptions::new().operation_timeout(Some(ADMIN)).request_timeout(Some(ADMIN));
    for outcome in admin.create_topics([&topic], &options).await.map_err(asked)? {
        outcome.map_err(|(topic, code)| Error::Asked { part: "kafka", why: format!("creating `{topic}`: {code}") })?;
    }
    Ok(())
}

pub(super) async fn records(bootstrap: String, topic: String) -> Result<Vec<Record>> {
    blocking(move || read(&consumer(&bootstrap)?, &topic)).await
}

fn read(consumer: &BaseConsumer, topic: &str) -> Result<Vec<Record>> {
    let metadata = consumer.fetch_metadata(Some(topic), ADMIN).map_err(asked)?;
    let partitions: Vec<i32> =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    if partitions.is_empty() {
        return Err(Error::Asked { part: "kafka", why: format!("there is no topic `{topic}`") });
    }
    let mut wanted = TopicPartitionList::new();
    for partition in &partitions {
        wanted.add_partition_offset(topic, *partition, Offset::Beginning).map_err(asked)?;
    }
    consumer.assign(&wanted).map_err(asked)?;
    let until = Instant::now() + READ;
    let mut records = Vec::new();
    let mut ended = std::collections::BTreeSet::new();
    while ended.len() < partitions.len() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(Record::from(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(why)) => return Err(asked(why)),
            None => {}
        }
        if Instant::now() > until {
            return Err(Error::Asked { part: "kafka", why: format!("`{topic}` could not be read to its end") });
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

impl From<&BorrowedMessage<'_>> for Record {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: headers.map(|one| (one.key.to_owned(), one.value.unwrap_or_default().to_vec())).collect(),
            timestamp_ms: message.timestamp().to_millis(),
        }
    }
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    let mut config = config(bootstrap);
    // A group must be named even though partitions are assigned by hand and no offset is ever stored.
    config.set("group.id", "laboratory").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.create().map_err(asked)
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set_log_level(RDKafkaLogLevel::Emerg);
    config
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(why) => Err(Error::Asked { part: "kafka", why: why.to_string() }),
    }
}

fn asked(why: KafkaError) -> Error {
    Error::Asked { part: "kafka", why: why.to_string() }
}
