//! What can go wrong in the laboratory, and what a test does about a part that cannot be had on this machine.

use std::io::Write;
use std::path::Path;

/// Everything the laboratory reports. The text carries the last lines of the part's own log where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks a tool that a part is made with or run by.
    #[error("{part} needs `{tool}`, which this machine does not have: {hint}")]
    Missing { tool: String, part: String, hint: String },
    /// A step of an installation failed.
    #[error("installing {part} failed at `{step}`\n{log}")]
    Install { part: String, step: String, log: String },
    /// The part ended early or was not ready within its time.
    #[error("{part} did not start: {why}\n{log}")]
    Start { part: &'static str, why: String, log: String },
    /// The part runs but did not do what it was asked.
    #[error("{part}: {why}")]
    Asked { part: &'static str, why: String },
    /// A file or process could not be handled.
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(super) fn path(doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(format!("{doing} `{}`", path.display()))
    }

    /// Somebody else took a port between its choice and its use: worth another try with other ports.
    pub(super) fn is_port_taken(&self) -> bool {
        let Self::Start { log, .. } = self else { return false };
        let log = log.to_lowercase();
        ["address already in use", "address in use", "failed to bind", "port is already in use"]
            .iter()
            .any(|sign| log.contains(sign))
    }
}

/// For tests: the part, or `None` after saying loudly that the test did not run, when the machine lacks a tool for it.
/// ```no_run
/// # use loadtest::laboratory::{Laboratory, require};
/// # async fn test(lab: Laboratory) {
/// let Some(kafka) = require(lab.kafka().start().await) else { return };
/// # }
/// ```
/// # Panics
/// On every other error, and where the environment variable `CI` is set on a missing tool too: a build machine that
/// cannot run a test must not look as if it had passed.
pub fn require<T>(outcome: Result<T>) -> Option<T> {
    // Straight to the stream: the test harness hides what a passing test prints.
    require_on(outcome, std::env::var_os("CI").is_some(), &mut std::io::stderr())
}

#[expect(clippy::panic, reason = "this is how a test fails")]
pub(super) fn require_on<T>(outcome: Result<T>, ci: bool, people: &mut dyn Write) -> Option<T> {
    match outcome {
        Ok(part) => Some(part),
        Err(why @ Error::Missing { .. }) if !ci => {
            let thread = std::thread::current();
            writeln!(people, "NOT RUN: {}: {why}", thread.name().unwrap_or("a test")).ok();
            None
        }
        Err(why) => panic!("{why}"),
    }
}
