//! Bytes on the wire: strict JSON, the question MinIO asks, the answers authorizers give, the exact bytes we send.
//! No I/O. Called by `authorizer` (answers) and `pipeline` (questions, replies).

pub mod answer;
pub mod authzen;
#[doc(hidden)]
pub mod fuzz;
pub mod lax;
pub mod plain;
pub mod question;
pub mod reply;
pub mod strict;
