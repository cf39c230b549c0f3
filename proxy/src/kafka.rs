//! Kafka: the only place that knows rdkafka. `sink` is what the publisher hands records to, `reader` what commands read
//! them with, `inspect` looks at topics, `certificates` at files, `mock` is the broker of `demo`. Nothing here decides what a record says.

pub mod certificates;
mod checkpoints;
pub mod client;
pub mod inspect;
pub mod mock;
pub mod partition;
pub mod properties;
pub mod reader;
mod reports;
pub mod settings;
pub mod sink;
mod sizes;
mod token;

pub use client::Connection;
