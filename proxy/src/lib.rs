//! Countersign: an audit-logging decision proxy between MinIO's external access management webhook and its
//! authorizers.
//!
//! # The request's path
//!
//! ```text
//! front        bytes in: limits, deadline, token
//! pipeline     the life of one decision, every failure becomes a deny here
//!   wire         strict reading of the question            ✗ → malformed_request, ambiguous_request
//!   decide       route → cache → authorizers               ✗ → the fault's reason
//!   audit        append, wait until durable                ✗ → audit_unavailable, audit_timeout
//!   wire         the exact bytes of the answer
//! front        bytes out
//! publisher    in the background: spool → Kafka
//! ```
//!
//! # The import rule
//!
//! A file imports only from rows above its own (the tidy test holds it):
//!
//! | row | modules |
//! |---|---|
//! | words | `version`, `policy::request`, `policy::verdict` |
//! | pure | `wire`, the rest of `policy`, `audit::record`, `audit::shadow`, `audit::lifecycle`, `audit::envelope`, `audit::json`, `audit::segment`, `audit::chain`, `audit::stub` |
//! | edges | `metrics`, `trace`, `small_file`, `certificates`, `authorizer`, the rest of `audit`, `kafka` |
//! | decide | `decide` |
//! | line | `pipeline` |
//! | doors | `front`, `admin`, `status` |
//! | root | `config`, `log`, `app`, `commands`, `main` |

pub mod admin;
pub mod app;
pub mod audit;
pub mod authorizer;
pub mod certificates;
pub mod commands;
pub mod config;
pub mod decide;
pub mod front;
pub mod kafka;
pub mod log;
pub mod metrics;
pub mod pipeline;
pub mod policy;
pub mod small_file;
pub mod status;
pub mod trace;
pub mod version;
pub mod wire;
