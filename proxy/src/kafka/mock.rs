//! librdkafka's mock broker, for `demo` and tests: real TCP on loopback, real Kafka clients can read from it. Keeps
//! everything in memory, knows no TLS and no users, and does not sort out an idempotent producer's duplicates.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::client::said;

/// One broker on a free port of 127.0.0.1. Ends when dropped.
pub struct MockBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

/// The mock broker did not start.
#[derive(Debug, thiserror::Error)]
#[error("mock broker cannot be started: {0}")]
pub struct MockError(String);

impl MockBroker {
    /// With these topics, of so many partitions each.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, MockError> {
        let cluster = MockCluster::new(1).map_err(|error| MockError(said(&error)))?;
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).map_err(|error| MockError(said(&error)))?;
        }
        Ok(Self { cluster })
    }

    /// `host:port`, for `brokers`.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}

impl std::fmt::Debug for MockBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MockBroker").field("bootstrap", &self.bootstrap()).finish()
    }
}
