//! The load generator: asks a decision endpoint MinIO's questions over kept connections and measures the answers.
//!
//! Cheap, because it shares its cores with the server that it measures: requests are encoded once, connections are bare
//! sockets, one thread serves them all unless the caller's runtime has more. It judges nothing; `prove` compares, tests
//! assert.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use loadtest::load::Load;
//! let report = Load::new("http://127.0.0.1:8281/").connections(16).duration(Duration::from_secs(3)).run().await?;
//! println!("{report}");
//!
//! // A crash test's oracle: which answers, with which record, were received before, during and after the crash.
//! let running = Load::new("http://127.0.0.1:8281/").connections(16).remember().start().await?;
//! assert!(running.answered(1000).await);
//! // … kill the server, start it again …
//! let report = running.stop().await?;
//! for decision in report.allowed() { /* must be in the stream */ }
//! # Ok(()) }
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use parking_lot::Mutex;
use tokio::task::JoinSet;

mod answer;
mod client;
mod command;
mod compare;
mod http2;
mod mix;
mod pace;
mod report;
mod setting;
mod tally;
mod target;
mod transport;
mod worker;

pub use answer::Verdict;
pub use client::Failure;
pub use command::Command;
pub use compare::Command as Compare;
pub use mix::Mix;
pub use report::{End, Latency, Report, Seen};
pub use setting::Setting;

use crate::question::Question;
use answer::Wanted;
use pace::{Pace, Schedule};
use tally::Tally;
use target::{Speaking, Target};
use worker::Shared;

/// The size of the question that the figures are about, in bytes.
pub const QUESTION_SIZE: usize = 1024;
/// Questions a second at most: beyond this the schedule's instants are no longer apart.
const MAX_RATE: f64 = 10_000_000.0;
/// Questions at once on one connection: as many as servers allow without being asked.
const MAX_STREAMS: usize = 100;
/// How long [`Running::answered`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A load to be run. By default: 16 connections in a closed loop asking one 1 KiB question until stopped.
#[derive(Debug, Clone)]
pub struct Load {
    url: String,
    token: Option<String>,
    connections: usize,
    warm_up: Duration,
    duration: Option<Duration>,
    rate: Option<f64>,
    timeout: Duration,
    speaking: Speaking,
    streams: usize,
    mix: Mix,
    remember: bool,
    reasons: bool,
    bodiless: bool,
}

impl Load {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            connections: 16,
            warm_up: Duration::ZERO,
            duration: None,
            rate: None,
            timeout: Duration::from_secs(10),
            mix: Mix::of(Question::read().size(QUESTION_SIZE)),
            speaking: Speaking::default(),
            streams: 1,
            remember: false,
            reasons: false,
            bodiless: false,
        }
    }

    /// Sent as `Authorization`, verbatim.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Time before the measured time in which answers do not count.
    #[must_use]
    pub fn warm_up(mut self, warm_up: Duration) -> Self {
        self.warm_up = warm_up;
        self
    }

    /// The measured time, after the warm-up.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// An open loop of this many questions a second; latency then counts from when a question was due.
    #[must_use]
    pub fn rate(mut self, per_second: f64) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// For one question, connecting included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    #[must_use]
    pub fn mix(mut self, mix: Mix) -> Self {
        self.mix = mix;
        self
    }

    /// Speaks HTTP/2, over https agreed upon by ALPN, else by prior knowledge; so many questions at once on each connection.
    #[must_use]
    pub fn http2(mut self, streams: usize) -> Self {
        self.speaking.http2 = true;
        self.streams = streams;
        self
    }

    /// Whom to trust over https: a PEM file, instead of the machine's.
    #[must_use]
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.speaking.ca = Some(file.into());
        self
    }

    /// Counts answers by their `X-Countersign-Reason`.
    #[must_use]
    pub fn reasons(mut self) -> Self {
        self.reasons = true;
        self
    }

    /// Answers have no body, whatever their length says: the requests are HEAD.
    #[must_use]
    pub fn bodiless(mut self) -> Self {
        self.bodiless = true;
        self
    }

    /// Keeps every answer with its record's id and reason in [`Report::seen`] (at most 5 million).
    #[must_use]
    pub fn remember(mut self) -> Self {
        self.remember = true;
        self
    }

    /// Runs for the duration, which must have been given, and waits for the last answers.
    pub async fn run(self) -> anyhow::Result<Report> {
        ensure!(self.duration.is_some(), "a load without a duration would never end");
        self.start().await?.wait().await
    }

    /// Starts on the current runtime and returns at once.
    pub async fn start(self) -> anyhow::Result<Running> {
        ensure!(self.connections > 0, "a load needs at least one connection");
        let rate_fits = self.rate.is_none_or(|rate| rate > 0.0 && rate <= MAX_RATE);
        ensure!(rate_fits, "the rate must be above 0 and at most {MAX_RATE} questions a second");
        ensure!((1..=MAX_STREAMS).contains(&self.streams), "a connection has 1 to {MAX_STREAMS} streams");
        let target = Target::resolve(&self.url, self.token.as_deref(), &self.speaking).await?;
        let prepared = self.mix.prepare(&target);
        let start = Instant::now();
        let measure_from = start + self.warm_up;
        let end = self.duration.map(|duration| measure_from + duration);
        let pace = match self.rate {
            None => Pace::closed(end),
            Some(rate) => Pace::open(Schedule::new(start, rate), end)?,
        };
        let tally = Mutex::new(Tally::new(self.remember)?);
        let shared = Arc::new(Shared {
            target,
            prepared,
            pace,
            tally,
            start,
            measure_from,
            end,
            wanted: Wanted { decision: self.remember, reason: self.remember || self.reasons, bodiless: self.bodiless },
            timeout: self.timeout,
        });
        let mut workers = JoinSet::new();
        for _ in 0..self.connections {
            let http2 = self.speaking.http2.then(http2::Connection::default);
            for _ in 0..self.streams {
                workers.spawn(worker::work(Arc::clone(&shared), http2.clone()));
            }
        }
        Ok(Running { shared, workers, setting: self.setting() })
    }

    /// What the report says of it.
    fn setting(&self) -> Setting {
        let (objects, accounts, hits) = self.mix.counts();
        Setting {
            url: self.url.clone(),
            protocol: if self.speaking.http2 { "HTTP/2" } else { "HTTP/1.1" }.to_owned(),
            connections: self.connections,
            streams: self.streams,
            rate: self.rate,
            warm_up_seconds: self.warm_up.as_secs_f64(),
            duration_seconds: self.duration.map(|duration| duration.as_secs_f64()),
            timeout_seconds: self.timeout.as_secs_f64(),
            threads: tokio::runtime::Handle::current().metrics().num_workers(),
            questions: self.mix.told(),
            objects,
            accounts,
            hits,
        }
    }
}

/// A load under way. Dropping it cuts its connections.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
    setting: Setting,
}

impl Running {
    /// Answers so far, warm-up and all.
    pub fn answers(&self) -> u64 {
        self.shared.tally.lock().answered
    }

    /// Waits until that many answers more than now have come. False: half a minute has passed without them.
    pub async fn answered(&self, more: u64) -> bool {
        let wanted = self.answers() + more;
        let wait = async {
            while self.answers() < wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.is_ok()
    }

    /// Asks nothing more, waits for the answers under way, and reports.
    pub async fn stop(self) -> anyhow::Result<Report> {
        self.shared.pace.stop();
        self.wait().await
    }

    /// Waits for the end of its duration and reports. Never returns for a load without one: stop that.
    pub async fn wait(mut self) -> anyhow::Result<Report> {
        while let Some(worker) = self.workers.join_next().await {
            worker?;
        }
        let now = Instant::now();
        self.shared.pace.stop();
        let until = self.shared.end.map_or(now, |end| now.min(end));
        let time = until.saturating_duration_since(self.shared.measure_from);
        let unsent = self.shared.pace.unsent(now);
        self.shared.tally.lock().report(self.setting.clone(), time, unsent)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The releasing thread of an open loop looks at this.
        self.shared.pace.stop();
    }
}

#[cfg(test)]
mod tests;
