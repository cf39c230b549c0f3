//! `countersign --version`: which build this is and what it was built with, for reports and packages. `-V` is the version
//! alone. Nothing here names a path.

use std::sync::LazyLock;

use crate::kafka::client;
use crate::version::{COMMIT_OR_UNKNOWN, VERSION};

/// Lines after the program's name.
pub fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let (librdkafka, features) = client::library();
        let openssl = openssl::version::version();
        format!(
            "{VERSION}\ncommit: {COMMIT_OR_UNKNOWN}\nfeatures: {features}\nbuilt with: {openssl}, librdkafka {librdkafka}"
        )
    });
    &TEXT
}
