//! The audit trail: the record compliance reads, and the spool that makes it durable before an answer leaves.
//! Kafka is not here; `publisher` hands records to a `Sink`.

pub mod accessed;
pub mod again;
pub mod backlog;
pub mod chain;
pub mod chance;
pub mod cursor;
pub mod disk;
pub mod envelope;
pub mod epoch;
pub mod files;
#[doc(hidden)]
pub mod fuzz;
pub mod inventory;
pub mod journal;
pub mod json;
pub mod keeper;
pub mod keys;
pub mod lifecycle;
pub mod note;
pub mod orphan;
pub mod publisher;
pub mod reader;
pub mod recent;
pub mod record;
pub mod recovery;
pub mod scan;
pub mod schema;
pub mod segment;
pub mod shadow;
pub mod shared;
#[cfg(test)]
pub mod simulation;
pub mod spool;
pub mod stub;
pub mod tally;
pub mod tree;
pub mod verify;
pub mod waiting;
pub mod whole;
pub mod writer;
