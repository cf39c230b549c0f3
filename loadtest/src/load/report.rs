//! What a load has seen: counts, latencies, and on request every single answer. As text for people, as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::answer::Verdict;
use super::client::Failure;
use super::setting::Setting;

/// The result of one run. Counts and latencies leave the warm-up out; [`Report::seen`] does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What was asked, and how.
    pub setting: Setting,
    /// Of the measured time.
    pub seconds: f64,
    /// Answers by what their body says.
    pub allow: u64,
    pub deny: u64,
    pub other: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers by `X-Countersign-Reason`, where it was read and there.
    pub reasons: BTreeMap<String, u64>,
    /// Of requests and answers, heads included; over HTTP/2 of bodies.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Questions without an answer, by cause.
    pub failures: BTreeMap<Failure, u64>,
    /// Questions that were due but that no connection was free to ask before the load ended (open loop only).
    pub unsent: u64,
    /// Answers that came within the measured time, for each second of it. An open loop that is behind at its end has later ones,
    /// which count above and not here: the server was not that fast.
    pub per_second: f64,
    /// Of answers; from the instant the question was due.
    pub latency: Latency,
    /// All latencies in nanoseconds: HdrHistogram's compressed form (V2) in base64, as its tools read it.
    pub histogram: String,
    /// Every question of the run in the order of their ends, if they were to be remembered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Seen>,
    /// Questions that were not remembered because there were too many.
    pub not_remembered: u64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// One question and what became of it: what a crash test compares with the records.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Counts from 0 over all connections.
    pub number: u64,
    /// The number in the object's name.
    pub object: u64,
    /// From the start of the load to the end of the question.
    pub at: Duration,
    pub end: End,
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Answered {
        status: u16,
        verdict: Verdict,
        /// `X-Countersign-Decision`: the record's id.
        decision: Option<String>,
        /// `X-Countersign-Reason`.
        reason: Option<String>,
    },
    Failed(Failure),
}

impl Report {
    pub fn answers(&self) -> u64 {
        self.allow + self.deny + self.other
    }

    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Record ids of the allows that were received, in the order in which they arrived.
    pub fn allowed(&self) -> impl Iterator<Item = &str> {
        self.seen.iter().filter_map(|seen| match &seen.end {
            End::Answered { verdict: Verdict::Allow, decision: Some(decision), .. } => Some(decision.as_str()),
            End::Answered { .. } | End::Failed(_) => None,
        })
    }
}

impl Latency {
    pub(super) fn of(nanoseconds: &Histogram<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "minutes in nanoseconds are far below 2^53")]
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let quantile = |quantile| microseconds(nanoseconds.value_at_quantile(quantile));
        Self {
            mean_us: nanoseconds.mean() / 1000.0,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: microseconds(nanoseconds.max()),
        }
    }
}

/// As a report holds it.
pub(super) fn encoded(nanoseconds: &Histogram<u64>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(nanoseconds, &mut bytes).context("a histogram that cannot be written")?;
    Ok(STANDARD.encode(bytes))
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.setting)?;
        writeln!(out, "answers   {} ({:.0}/s within {:.1} s)", self.answers(), self.per_second, self.seconds)?;
        writeln!(out, "          allow {}, deny {}, other {}", self.allow, self.deny, self.other)?;
        writeln!(out, "statuses  {}", list(self.statuses.iter().map(|(status, count)| format!("{status}: {count}"))))?;
        if !self.reasons.is_empty() {
            let reasons = self.reasons.iter().map(|(reason, count)| format!("{reason}: {count}"));
            writeln!(out, "reasons   {}", list(reasons))?;
        }
        writeln!(out, "bytes     {} sent, {} received", self.sent_bytes, self.received_bytes)?;
        let failures = self.failures.iter().map(|(failure, count)| format!("{}: {count}", name(*failure)));
        writeln!(out, "failures  {}", list(failures))?;
        if self.unsent > 0 {
            writeln!(out, "unsent    {} (no connection was free: the server cannot keep up)", self.unsent)?;
        }
        let Latency { mean_us, p50_us, p90_us, p99_us, p999_us, max_us } = self.latency;
        write!(
            out,
            "latency   mean {mean_us:.0} µs, p50 {p50_us:.0}, p90 {p90_us:.0}, p99 {p99_us:.0}, p99.9 {p999_us:.0}, \
             max {max_us:.0}"
        )
    }
}

fn name(failure: Failure) -> &'static str {
    match failure {
        Failure::Connect => "connect",
        Failure::Send => "send",
        Failure::Lost => "lost",
        Failure::Malformed => "malformed",
        Failure::Timeout => "timeout",
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
