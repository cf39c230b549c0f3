//! Looks at topics without changing anything: is it there, how is it laid out, what are its settings. For the log at start
//! and for `check --probe`; what settings mean is in `settings`.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use secrecy::ExposeSecret as _;

use super::client::{Connection, said};
use super::reader::Quiet;
use super::settings::{Layout, Settings};

/// A topic as brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// Not there, or not ours to see.
    Missing {
        brokers: usize,
    },
    Present(Layout),
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

/// Between looks at what the client has to say while brokers are waited for.
const STEP: Duration = Duration::from_secs(1);

/// Waits for the brokers at most `timeout`, and as long again for the settings.
pub fn topic(connection: &Connection, topic: &str, timeout: Duration) -> Result<Topic, InspectError> {
    let consumer: BaseConsumer<Quiet> = connection
        .config(&[])
        .create_with_context(Quiet::default())
        .map_err(|error: KafkaError| InspectError::Client(said(&error)))?;
    let deadline = Instant::now() + timeout;
    let metadata = loop {
        // Tokens and errors come only while it is polled.
        drop(consumer.poll(Duration::ZERO));
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.fetch_metadata(Some(topic), STEP.min(left)) {
            Ok(metadata) => break metadata,
            Err(_) if Instant::now() < deadline => {}
            Err(error) => {
                let error = consumer.context().last_error().unwrap_or_else(|| said(&error));
                return Err(InspectError::Unreachable { brokers: connection.brokers.join(","), error });
            }
        }
    };
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
    let settings = settings(connection, topic, timeout);
    Ok(Topic::Present(Layout { partitions: found.partitions().len(), replicas, brokers, settings }))
}

/// Errors, in words: what is not known and why.
fn settings(connection: &Connection, topic: &str, timeout: Duration) -> Result<Settings, String> {
    // The crate's admin client never polls the queue on which librdkafka asks for a token.
    if is_oauthbearer(connection) {
        return Err(
            "with OAUTHBEARER settings cannot be asked for; `kafka-configs.sh --describe` shows them".to_owned()
        );
    }
    let admin: AdminClient<Quiet> =
        connection.config(&[]).create_with_context(Quiet::default()).map_err(|error| said(&error))?;
    let waiting = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let described = waiting.block_on(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options));
    let resources = described.map_err(|error| said(&error))?;
    let entries = resources.into_iter().flatten().flat_map(|resource| resource.entries);
    let settings: Settings = entries.filter_map(|entry| Some((entry.name, entry.value?))).collect();
    if settings.is_empty() {
        return Err("no permission to see them; allow the principal `DescribeConfigs` on the topic".to_owned());
    }
    Ok(settings)
}

fn is_oauthbearer(connection: &Connection) -> bool {
    let names = ["sasl.mechanism", "sasl.mechanisms"];
    let mechanism = connection.properties.iter().filter(|(name, _)| names.contains(&name.as_str()));
    mechanism.into_iter().any(|(_, value)| value.expose_secret().eq_ignore_ascii_case("OAUTHBEARER"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::mock::MockBroker;

    fn connection(brokers: &str) -> Connection {
        Connection { brokers: vec![brokers.to_owned()], properties: Vec::new(), client_id: "test".into() }
    }

    /// The mock broker knows no settings and does not answer who asks for them.
    #[test]
    fn tells_missing_from_present_and_creates_nothing() {
        let broker = MockBroker::start(&[("there", 4)]).unwrap();
        let connection = connection(&broker.bootstrap());
        let limit = Duration::from_secs(20);
        let Topic::Present(layout) = topic(&connection, "there", limit).unwrap() else { panic!("it is there") };
        assert_eq!((layout.partitions, layout.replicas, layout.brokers), (4, 1, 1));
        assert!(layout.settings.is_err());
        for _ in 0..2 {
            assert_eq!(topic(&connection, "elsewhere", limit).unwrap(), Topic::Missing { brokers: 1 });
        }
    }

    #[test]
    fn nobody_there_is_said_in_time() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = topic(&connection(&nobody.to_string()), "t", Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, InspectError::Unreachable { .. }), "{error}");
    }
}
