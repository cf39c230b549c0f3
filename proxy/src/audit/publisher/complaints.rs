//! Errors in the log: the first at once, then one summary a minute, then one line when it is over. A broker that is away
//! for an hour must not fill the disk that the spool needs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Fault;

const EVERY: Duration = Duration::from_secs(60);

/// Without a further error before it is called over: one broker of three being away is one trouble, not many.
const CALM: Duration = Duration::from_secs(5);

/// Codes come from closed lists, but nothing here depends on it.
const MAX_CODES: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// Since the last line, by code.
    since: BTreeMap<Cow<'static, str>, u64>,
    total: u64,
    said: Option<Instant>,
    last: Option<Instant>,
}

impl Complaints {
    pub(super) fn add(&mut self, fault: &Fault, now: Instant) {
        self.total += 1;
        self.last = Some(now);
        if self.since.contains_key(&fault.code) || self.since.len() < MAX_CODES {
            *self.since.entry(fault.code.clone()).or_default() += 1;
        }
        if self.said.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return;
        }
        let codes = self.codes();
        let (code, total) = (&fault.code, self.total);
        tracing::warn!(%code, total, codes, "error while publishing, records stay in the spool: {}", fault.text);
        self.said = Some(now);
        self.since.clear();
    }

    /// Something was delivered that could not be before.
    pub(super) fn over(&mut self, now: Instant) {
        if self.last.is_some_and(|at| now.saturating_duration_since(at) >= CALM) {
            tracing::info!(errors = self.total, "publishing again");
            *self = Self::default();
        }
    }

    fn codes(&self) -> String {
        let codes: Vec<_> = self.since.iter().map(|(code, n)| format!("{code}:{n}")).collect();
        codes.join(" ")
    }
}
