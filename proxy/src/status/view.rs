//! What the page shows, as plain values: the present sample, and what changed since those before. Pure; the names of its
//! members are those of `/status.json`. Shares are between 0 and 1, durations in seconds unless a name says otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::problems::{self, Problem};
use super::sample::{self, Buckets, Counts, Sample};
use super::{Look, Options};
use crate::audit::envelope::{micros, rfc3339};
use crate::audit::recent::Noted;
use crate::audit::spool::Status as Spool;

/// What rates and latencies are of.
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
pub(super) struct View {
    pub state: State,
    pub problems: Vec<Problem>,
    pub process: Process,
    pub decisions: Decisions,
    pub authorizers: Vec<Authorizer>,
    pub cache: Cache,
    pub audit: Audit,
    pub kafka: Kafka,
    /// The last lifecycle events, the newest first.
    pub events: Vec<Event>,
}

/// What MinIO gets from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Deciding,
    /// Everything is denied: records cannot be made durable.
    Refusing,
    /// On the way to its end; still answers.
    Draining,
}

#[derive(Debug, Serialize)]
pub(super) struct Process {
    pub instance: String,
    pub version: String,
    /// What the program was built from, or `unknown`.
    pub commit: String,
    pub config_generation: String,
    pub as_of: String,
    pub uptime_seconds: f64,
    pub resident_bytes: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Decisions {
    pub per_second: f64,
    /// Of those with an outcome in the last minute; null where there was none.
    pub denied_share: Option<f64>,
    pub failed_share: Option<f64>,
    pub in_flight: f64,
    /// Null where there was none since the start.
    pub last_decision_age_seconds: Option<f64>,
    /// Of the last minute, by where the verdict came from.
    pub latency: BTreeMap<String, Latency>,
    /// Refusals because something failed, since the beginning of `series`.
    pub faults: Counts,
    pub advisory_denies: f64,
    pub series: Series,
}

/// Per second, the oldest first.
#[derive(Debug, Default, Serialize)]
pub(super) struct Series {
    /// How far back it begins.
    pub seconds: f64,
    /// When each value ends, counted back from now.
    pub ages: Vec<f64>,
    pub allowed: Vec<f64>,
    pub denied: Vec<f64>,
    pub failed: Vec<f64>,
}

/// Null where nothing was observed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Latency {
    pub p50_seconds: Option<f64>,
    pub p99_seconds: Option<f64>,
}

/// Of the last minute.
#[derive(Debug, Serialize)]
pub(super) struct Authorizer {
    pub name: String,
    pub state: AuthorizerState,
    pub attempts_per_second: f64,
    pub outcomes: Counts,
    pub latency: Latency,
    pub in_flight: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AuthorizerState {
    Answers,
    /// Nobody asked it.
    Idle,
    /// Some attempts got no usable answer.
    Falters,
    /// None did.
    Fails,
    /// Its breaker is open.
    LeftAlone,
}

#[derive(Debug, Serialize)]
pub(super) struct Cache {
    pub entries: f64,
    pub waiting: f64,
    /// Of what the cache was asked in the last minute; null where it was not.
    pub hit_share: Option<f64>,
    pub routes: BTreeMap<String, bool>,
}

#[derive(Debug, Serialize)]
pub(super) struct Audit {
    pub available: bool,
    /// Why records cannot be made durable.
    pub trouble: Option<String>,
    pub append: Latency,
    pub spool_bytes: f64,
    /// What the spool may grow to: its own limit, or what the disk has.
    pub room_bytes: f64,
    /// Until undelivered records fill that room at the present rate, if none is delivered any more; null where nothing is
    /// written, and without Kafka, where the oldest records give way.
    pub hours_left: Option<f64>,
    pub chain: Option<String>,
    pub last_seq: Option<u64>,
    pub checkpoint_age_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Kafka {
    /// Records are delivered to Kafka at all.
    pub configured: bool,
    pub lag_records: f64,
    pub lag_bytes: f64,
    pub lag_seconds: f64,
    pub delivered_per_second: f64,
    pub stubs: f64,
    /// By librdkafka's code, since the beginning of the series.
    pub errors: Counts,
}

#[derive(Debug, Serialize)]
pub(super) struct Event {
    pub time: String,
    pub event: &'static str,
    pub about: String,
}

/// The newest sample and those it is compared with.
pub(super) struct Span<'a> {
    pub now: &'a Sample,
    /// A minute ago, or as long as we look.
    pub minute: &'a Sample,
    pub minute_seconds: f64,
    /// The oldest.
    pub first: &'a Sample,
}

impl View {
    /// `looks` are in order and end with the present.
    pub fn of(
        looks: &[Look],
        spool: &Spool,
        recent: Vec<Noted>,
        options: &Options,
        ready: bool,
        wall: SystemTime,
    ) -> Self {
        let fallback = Look { at: tokio::time::Instant::now(), sample: Arc::default() };
        let span = Span::of(looks, &fallback);
        let wall_seconds = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let state = match (spool.available, ready) {
            (_, false) => State::Draining,
            (false, true) => State::Refusing,
            (true, true) => State::Deciding,
        };
        let mut view = Self {
            state,
            problems: Vec::new(),
            process: Process {
                instance: options.instance.clone(),
                version: span.now.version.clone(),
                commit: span.now.commit.clone(),
                config_generation: span.now.generation.clone(),
                as_of: rfc3339(micros(wall)),
                uptime_seconds: (wall_seconds - span.now.started).max(0.0),
                resident_bytes: span.now.resident,
            },
            decisions: span.decisions(looks, wall_seconds),
            authorizers: span.authorizers(),
            cache: span.cache(),
            audit: span.audit(spool, options.kafka, wall_seconds),
            kafka: span.kafka(options.kafka),
            events: recent.into_iter().map(event).collect(),
        };
        view.problems = problems::of(&view, &span, wall_seconds);
        view
    }
}

impl<'a> Span<'a> {
    fn of(looks: &'a [Look], fallback: &'a Look) -> Self {
        let now = looks.last().unwrap_or(fallback);
        let first = looks.first().unwrap_or(now);
        let age = |look: &Look| now.at.saturating_duration_since(look.at);
        let minute = looks.iter().rev().find(|look| age(look) >= MINUTE).unwrap_or(first);
        Self {
            now: &now.sample,
            minute: &minute.sample,
            minute_seconds: age(minute).as_secs_f64(),
            first: &first.sample,
        }
    }

    /// A second, over the last minute.
    fn rate(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        ratio(of(self.now) - of(self.minute), self.minute_seconds).unwrap_or(0.0)
    }

    fn decisions(&self, looks: &[Look], wall: f64) -> Decisions {
        let grown = |of: fn(&Sample) -> f64| of(self.now) - of(self.minute);
        let (allowed, denied, failed) = (grown(|s| s.allowed), grown(|s| s.denied), grown(failures));
        let with_outcome = allowed + denied + failed;
        let latency = self.now.latency.iter().filter_map(|(origin, now)| {
            let before = self.minute.latency.get(origin).cloned().unwrap_or_default();
            let latency = Latency::of(&now.since(&before));
            latency.p50_seconds.is_some().then(|| (origin.clone(), latency))
        });
        let last = self.now.last_decision;
        Decisions {
            per_second: self.rate(|s| s.decisions),
            denied_share: ratio(denied, with_outcome),
            failed_share: ratio(failed, with_outcome),
            in_flight: self.now.in_flight,
            last_decision_age_seconds: (last > 0.0).then_some((wall - last).max(0.0)),
            latency: latency.collect(),
            faults: sample::growth(&self.now.faults, &self.first.faults),
            advisory_denies: self.now.advisory - self.first.advisory,
            series: series(looks),
        }
    }

    fn authorizers(&self) -> Vec<Authorizer> {
        // The one for names that are not configured is there from the start, and never moves.
        let known = self.now.authorizers.iter().filter(|(name, it)| *name != "unknown" || !it.outcomes.is_empty());
        let nothing = sample::Authorizer::default();
        known
            .map(|(name, now)| {
                let before = self.minute.authorizers.get(name).unwrap_or(&nothing);
                let outcomes = sample::growth(&now.outcomes, &before.outcomes);
                // The sum of nothing is -0.0.
                let attempts = 0.0 + outcomes.values().sum::<f64>();
                Authorizer {
                    name: name.clone(),
                    state: AuthorizerState::of(&outcomes, now.breaker_open),
                    attempts_per_second: ratio(attempts, self.minute_seconds).unwrap_or(0.0),
                    latency: Latency::of(&now.duration.since(&before.duration)),
                    in_flight: now.in_flight,
                    outcomes,
                }
            })
            .collect()
    }

    fn cache(&self) -> Cache {
        let asked = sample::growth(&self.now.cache, &self.minute.cache);
        let count = |result: &str| asked.get(result).copied().unwrap_or(0.0);
        Cache {
            entries: self.now.cache_entries,
            waiting: self.now.cache_waiting,
            hit_share: ratio(count("hit"), count("hit") + count("miss") + count("coalesced")),
            routes: self.now.cache_enabled.clone(),
        }
    }

    fn audit(&self, spool: &Spool, kafka: bool, wall: f64) -> Audit {
        let now = self.now;
        let room = now.spool_limit.min(now.spool_bytes + now.spool_available);
        let rate = self.rate(|s| s.spool_appended);
        let left = ratio((room - now.undelivered_bytes).max(0.0), rate).map(|seconds| seconds / 3600.0);
        Audit {
            available: spool.available,
            trouble: spool.trouble.as_ref().filter(|_| !spool.available).map(|trouble| trouble.detail.clone()),
            append: Latency::of(&now.append.since(&self.minute.append)),
            spool_bytes: now.spool_bytes,
            room_bytes: room,
            hours_left: left.filter(|_| kafka),
            chain: spool.chain.as_deref().map(str::to_owned),
            last_seq: spool.last_seq,
            checkpoint_age_seconds: (now.checkpoint_last > 0.0).then_some((wall - now.checkpoint_last).max(0.0)),
        }
    }

    fn kafka(&self, configured: bool) -> Kafka {
        Kafka {
            configured,
            lag_records: self.now.undelivered_records,
            lag_bytes: self.now.undelivered_bytes,
            lag_seconds: self.now.oldest_age,
            delivered_per_second: self.rate(|s| s.delivered),
            stubs: self.now.stubs,
            errors: sample::growth(&self.now.kafka_errors, &self.first.kafka_errors),
        }
    }
}

fn series(looks: &[Look]) -> Series {
    let mut series = Series::default();
    let (Some(first), Some(now)) = (looks.first(), looks.last()) else { return series };
    series.seconds = now.at.saturating_duration_since(first.at).as_secs_f64();
    for (before, look) in looks.iter().zip(looks.iter().skip(1)) {
        let seconds = look.at.saturating_duration_since(before.at).as_secs_f64();
        let rate = |of: fn(&Sample) -> f64| ratio(of(&look.sample) - of(&before.sample), seconds).unwrap_or(0.0);
        series.ages.push(now.at.saturating_duration_since(look.at).as_secs_f64());
        series.allowed.push(rate(|s| s.allowed));
        series.denied.push(rate(|s| s.denied));
        series.failed.push(rate(failures));
    }
    series
}

fn failures(sample: &Sample) -> f64 {
    sample.faults.values().sum()
}

fn event(noted: Noted) -> Event {
    Event { time: rfc3339(micros(noted.time)), event: noted.event, about: noted.about }
}

/// `None` where it would be no number.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then_some(part / whole)
}

impl Latency {
    fn of(buckets: &Buckets) -> Self {
        Self { p50_seconds: buckets.quantile(0.5), p99_seconds: buckets.quantile(0.99) }
    }
}

impl AuthorizerState {
    fn of(outcomes: &Counts, breaker_open: bool) -> Self {
        let said = |outcome: &str| outcomes.contains_key(outcome);
        let verdicts = said("allowed") || said("denied");
        match outcomes.keys().any(|outcome| !matches!(outcome.as_str(), "allowed" | "denied")) {
            _ if breaker_open => Self::LeftAlone,
            false if !verdicts => Self::Idle,
            false => Self::Answers,
            true if verdicts => Self::Falters,
            true => Self::Fails,
        }
    }

    pub const fn said(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Idle => "not asked",
            Self::Falters => "falters",
            Self::Fails => "fails",
            Self::LeftAlone => "left alone",
        }
    }
}

#[cfg(test)]
mod tests;
