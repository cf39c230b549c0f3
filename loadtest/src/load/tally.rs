//! Counts while a load runs, one for all connections: the client has one thread by default, so that its lock is free.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::answer::{Answer, Verdict};
use super::client::Failure;
use super::report::{self, End, Latency, Report, Seen};
use super::setting::Setting;

/// Latencies from 100 ns to 10 minutes with three digits; what is longer counts as 10 minutes.
const RANGE: (u64, u64, u8) = (100, 600_000_000_000, 3);

/// Different reasons that are told apart.
const REASONS: usize = 100;

/// Questions kept for [`Report::seen`]: some 100 bytes each.
const REMEMBERED: usize = 5_000_000;

#[derive(Debug)]
pub(super) struct Tally {
    verdicts: BTreeMap<Verdict, u64>,
    statuses: BTreeMap<u16, u64>,
    reasons: BTreeMap<String, u64>,
    sent_bytes: u64,
    received_bytes: u64,
    failures: BTreeMap<Failure, u64>,
    latency: Histogram<u64>,
    /// Answers that came within the measured time.
    in_time: u64,
    remember: bool,
    seen: Vec<Seen>,
    not_remembered: u64,
    /// Answers of the whole run, warm-up and all.
    pub(super) answered: u64,
}

impl Tally {
    pub(super) fn new(remember: bool) -> anyhow::Result<Self> {
        let (low, high, digits) = RANGE;
        Ok(Self {
            verdicts: BTreeMap::new(),
            statuses: BTreeMap::new(),
            reasons: BTreeMap::new(),
            sent_bytes: 0,
            received_bytes: 0,
            failures: BTreeMap::new(),
            latency: Histogram::new_with_bounds(low, high, digits)?,
            in_time: 0,
            remember,
            seen: Vec::new(),
            not_remembered: 0,
            answered: 0,
        })
    }

    /// Counts the end of a question of so many bytes; `latency` is none for those of the warm-up, and `in_time` says whether
    /// the measured time had begun and was not over.
    pub(super) fn count(
        &mut self,
        result: &Result<Answer, Failure>,
        sent: usize,
        latency: Option<Duration>,
        in_time: bool,
    ) {
        self.answered += u64::from(result.is_ok());
        self.in_time += u64::from(result.is_ok() && in_time);
        let Some(latency) = latency else { return };
        self.sent_bytes += sent as u64;
        match result {
            Ok(answer) => {
                *self.verdicts.entry(answer.verdict).or_default() += 1;
                *self.statuses.entry(answer.status).or_default() += 1;
                self.received_bytes += answer.bytes as u64;
                if let Some(reason) = &answer.reason {
                    self.reason(reason);
                }
                self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            }
            Err(failure) => *self.failures.entry(*failure).or_default() += 1,
        }
    }

    /// A server that makes up a reason for each answer fills no memory.
    fn reason(&mut self, reason: &str) {
        let known = self.reasons.len();
        match self.reasons.get_mut(reason) {
            Some(count) => *count += 1,
            None if known < REASONS => drop(self.reasons.insert(reason.to_owned(), 1)),
            None => *self.reasons.entry("(others)".to_owned()).or_default() += 1,
        }
    }

    /// Remembers a question for crash tests, if this is wanted and there is room.
    pub(super) fn remember(&mut self, number: u64, object: u64, at: Duration, result: Result<Answer, Failure>) {
        if !self.remember {
            return;
        }
        if self.seen.len() >= REMEMBERED {
            self.not_remembered += 1;
            return;
        }
        let end = match result {
            Ok(Answer { status, verdict, decision, reason, .. }) => End::Answered { status, verdict, decision, reason },
            Err(failure) => End::Failed(failure),
        };
        self.seen.push(Seen { number, object, at, end });
    }

    /// Takes everything counted so far.
    pub(super) fn report(&mut self, setting: Setting, time: Duration, unsent: u64) -> anyhow::Result<Report> {
        let of = |verdict| self.verdicts.get(&verdict).copied().unwrap_or(0);
        let (allow, deny, other) = (of(Verdict::Allow), of(Verdict::Deny), of(Verdict::Other));
        let seconds = time.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 answers")]
        let per_second = if seconds > 0.0 { self.in_time as f64 / seconds } else { 0.0 };
        Ok(Report {
            setting,
            seconds,
            allow,
            deny,
            other,
            statuses: std::mem::take(&mut self.statuses),
            reasons: std::mem::take(&mut self.reasons),
            sent_bytes: self.sent_bytes,
            received_bytes: self.received_bytes,
            failures: std::mem::take(&mut self.failures),
            unsent,
            per_second,
            latency: Latency::of(&self.latency),
            histogram: report::encoded(&self.latency)?,
            seen: std::mem::take(&mut self.seen),
            not_remembered: self.not_remembered,
        })
    }
}
