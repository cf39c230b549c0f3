//! Looks at topics without changing anything: is it there, how is it laid out, and which command would create one that
//! fits. For the warning at start and for `check`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::client::Connection;
use super::reader::Quiet;

/// A topic as brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// Not there, or not ours to see.
    Missing {
        brokers: usize,
    },
    Present {
        partitions: usize,
        replicas: usize,
        brokers: usize,
    },
}

/// Why nothing is known about a topic.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("kafka client cannot be made: {0}")]
    Client(String),
    #[error("no broker of `{brokers}` answered: {error}")]
    Unreachable { brokers: String, error: String },
    #[error("topic `{topic}`: {error}")]
    Refused { topic: String, error: String },
}

/// Waits for the brokers at most `timeout`.
pub fn topic(connection: &Connection, topic: &str, timeout: Duration) -> Result<Topic, InspectError> {
    let consumer: BaseConsumer<Quiet> = connection
        .config(&[])
        .create_with_context(Quiet::default())
        .map_err(|error: KafkaError| InspectError::Client(error.to_string()))?;
    let metadata = consumer.fetch_metadata(Some(topic), timeout).map_err(|error| InspectError::Unreachable {
        brokers: connection.brokers.join(","),
        error: error.to_string(),
    })?;
    let brokers = metadata.brokers().len();
    let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else {
        return Ok(Topic::Missing { brokers });
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            return Ok(Topic::Missing { brokers });
        }
        Some(code) => return Err(InspectError::Refused { topic: topic.to_owned(), error: code.to_string() }),
    }
    let replicas = found.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0);
    Ok(Topic::Present { partitions: found.partitions().len(), replicas, brokers })
}

/// The command that creates a topic fit for records: as many replicas as the brokers allow up to three, and an
/// acknowledgement that means more than one of them.
pub fn create_line(connection: &Connection, topic: &str, brokers: usize) -> String {
    let replicas = brokers.clamp(1, 3);
    let in_sync = replicas.saturating_sub(1).max(1);
    format!(
        "kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions 6 --replication-factor {replicas} \
         --config min.insync.replicas={in_sync} --config cleanup.policy=delete --config retention.ms=-1 \
         --config unclean.leader.election.enable=false",
        connection.brokers.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::mock::MockBroker;

    fn connection(brokers: &str) -> Connection {
        Connection { brokers: vec![brokers.to_owned()], properties: Vec::new(), client_id: "test".into() }
    }

    #[test]
    fn tells_missing_from_present_and_creates_nothing() {
        let broker = MockBroker::start(&[("there", 4)]).unwrap();
        let connection = connection(&broker.bootstrap());
        let limit = Duration::from_secs(20);
        let present = Topic::Present { partitions: 4, replicas: 1, brokers: 1 };
        assert_eq!(topic(&connection, "there", limit).unwrap(), present);
        for _ in 0..2 {
            assert_eq!(topic(&connection, "elsewhere", limit).unwrap(), Topic::Missing { brokers: 1 });
        }
    }

    #[test]
    fn the_command_fits_the_cluster() {
        let line = create_line(&connection("k:9092"), "t", 5);
        assert!(line.contains("--replication-factor 3 --config min.insync.replicas=2"), "{line}");
        let line = create_line(&connection("k:9092"), "t", 1);
        assert!(line.contains("--replication-factor 1 --config min.insync.replicas=1"), "{line}");
    }
}
