//! Kafka: the only place that knows rdkafka. `sink` is what the publisher hands records to, `reader` what commands read
//! them with, `inspect` looks at topics, `mock` is the broker of `demo`. Nothing here decides what a record says.

mod checkpoints;
pub mod client;
pub mod inspect;
pub mod mock;
pub mod partition;
pub mod reader;
pub mod sink;

pub use client::Connection;
