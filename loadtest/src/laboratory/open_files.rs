//! As many descriptors as thousands of connections take, for this process and for what it starts, which inherits them. Called by
//! `prove drips` and by tests; users mostly have 1,024.

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// # Errors
/// When this user may not have as many.
pub fn at_least(count: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    ensure!(limit.maximum.is_none_or(|most| most >= count), "needs {count} descriptors: `ulimit -Hn`");
    let more = Rlimit { current: Some(count), maximum: limit.maximum };
    setrlimit(Resource::Nofile, more).context("no more descriptors can be had")
}
