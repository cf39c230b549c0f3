//! `loadtest run`: a load from the command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::mix::MAX_ACCOUNTS;
use super::{Load, Mix, QUESTION_SIZE, Report};
use crate::question::Question;

/// How often progress is shown on a terminal.
const TICK: Duration = Duration::from_millis(200);
/// How often a line says it elsewhere, in a log.
const LINE: Duration = Duration::from_secs(5);

/// Ask a decision endpoint MinIO's questions and measure the answers
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The endpoint, like http://127.0.0.1:8281/
    #[arg(long)]
    url: String,
    /// Sent as `Authorization`, verbatim
    #[arg(long, env = "LOADTEST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// PEM file of whom to trust over https, instead of the machine's
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Speak HTTP/2: over https agreed upon by ALPN, else by prior knowledge
    #[arg(long)]
    http2: bool,
    /// Questions at once on each HTTP/2 connection
    #[arg(long, default_value_t = 1, requires = "http2")]
    streams: usize,
    /// Kept connections, each with one question at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Of the measured time
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Time before the measured time
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Questions a second in an open loop, whose latencies count from when a question was due; without it each connection
    /// asks as soon as it has its answer
    #[arg(long)]
    rate: Option<f64>,
    /// For one question
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Actions and their shares, like s3:GetObject=70,s3:PutObject=20,s3:ListBucket=10
    #[arg(long, default_value = "s3:GetObject")]
    mix: String,
    /// Different objects that are asked about, one after the other; with `--hits`, so many of the latest are asked about again
    #[arg(long, default_value_t = 1)]
    objects: u64,
    /// Share of the questions that were asked before, from 0 to 1; all others are about an object of their own
    #[arg(long, value_parser = share)]
    hits: Option<f64>,
    #[arg(long, default_value = "alice")]
    account: String,
    /// Different accounts that ask; several are numbered: alice-0, alice-1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ACCOUNTS)))]
    accounts: u32,
    #[arg(long, default_value = "photos")]
    bucket: String,
    /// Key of the object; a run of # is the place of its number. Not of actions that name none, such as listings
    #[arg(long, default_value = "2026/11/########.jpg")]
    object: String,
    /// Of a question's body, in bytes; several with their shares, like 1024=90,16384=10
    #[arg(long, default_value_t = QUESTION_SIZE.to_string())]
    size: String,
    /// Of the load generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Write the report as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("`{text}` is not within 0 and 1")) }
}

impl Command {
    /// 0: every question was answered; 1: some were not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let load = self.load()?;
        let runtime = crate::runtime(self.threads)?;
        let report = runtime.block_on(watched(load, self.warm_up + self.duration))?;
        println!("{report}");
        if let Some(file) = self.json {
            let json = serde_json::to_string_pretty(&report)?;
            std::fs::write(&file, json + "\n").with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        let fine = report.failed() == 0 && report.unsent == 0 && report.answers() > 0;
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn load(&self) -> anyhow::Result<Load> {
        ensure!(self.streams == 1 || self.http2, "several streams need --http2");
        let mix = Mix::parse(&self.mix, |action| {
            // Listings and bucket calls name no object.
            let object = if action.ends_with("Object") { &self.object } else { "" };
            Question::new(&self.account, action, &self.bucket, object)
        })?;
        let mut mix = mix.sizes(&self.size)?.objects(self.objects).accounts(self.accounts);
        if let Some(hits) = self.hits {
            mix = mix.hits(hits);
        }
        let mut load = Load::new(&self.url)
            .connections(self.connections)
            .warm_up(self.warm_up)
            .duration(self.duration)
            .timeout(self.timeout)
            .reasons()
            .mix(mix);
        if let Some(rate) = self.rate {
            load = load.rate(rate);
        }
        if let Some(token) = &self.token {
            load = load.token(token);
        }
        if let Some(ca) = &self.ca {
            load = load.ca(ca);
        }
        Ok(if self.http2 { load.http2(self.streams) } else { load })
    }
}

/// Runs it, with a bar where standard error is a terminal and a line now and then elsewhere.
async fn watched(load: Load, time: Duration) -> anyhow::Result<Report> {
    let running = load.start().await?;
    let length = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::new(length).with_style(ProgressStyle::with_template("{wide_bar} {msg}")?);
    let tick = if bar.is_hidden() { LINE } else { TICK };
    let began = Instant::now();
    let mut last = (began, 0);
    while began.elapsed() < time {
        tokio::time::sleep(tick.min(time.saturating_sub(began.elapsed()))).await;
        let (now, answers) = (Instant::now(), running.answers());
        let since = now.duration_since(last.0).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 answers")]
        let rate = (answers - last.1) as f64 / since.max(f64::EPSILON);
        last = (now, answers);
        let (passed, said) = (began.elapsed(), format!("{answers} answers, {rate:.0}/s"));
        bar.set_position(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).min(length));
        if bar.is_hidden() && passed < time {
            eprintln!("{:.0} s of {:.0} s: {said}", passed.as_secs_f64(), time.as_secs_f64());
        }
        bar.set_message(said);
    }
    bar.finish_and_clear();
    running.wait().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_within_one() {
        assert_eq!(share("0.9"), Ok(0.9));
        for bad in ["x", "-0.1", "1.1", "nan"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
