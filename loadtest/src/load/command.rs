//! `loadtest run`: a load from the command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::{Load, Mix, QUESTION_SIZE};
use crate::question::Question;

/// Ask a decision endpoint MinIO's questions and measure the answers.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The endpoint, like http://127.0.0.1:8281/
    #[arg(long)]
    url: String,
    /// Sent as `Authorization`, verbatim
    #[arg(long, env = "LOADTEST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Kept connections, each with one question at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Of the measured time
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Time before the measured time
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Questions a second in an open loop; without it each connection asks as soon as it has its answer
    #[arg(long)]
    rate: Option<f64>,
    /// For one question
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Actions and their shares, like s3:GetObject=70,s3:PutObject=20,s3:ListBucket=10
    #[arg(long, default_value = "s3:GetObject")]
    mix: String,
    /// Different objects that are asked about, one after the other
    #[arg(long, default_value_t = 1)]
    objects: u64,
    #[arg(long, default_value = "alice")]
    account: String,
    #[arg(long, default_value = "photos")]
    bucket: String,
    /// Of a question's body, in bytes
    #[arg(long, default_value_t = QUESTION_SIZE)]
    size: usize,
    /// Of the load generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Write the report as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Command {
    /// 0: every question was answered; 1: some were not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mix = Mix::parse(&self.mix, |action| {
            // Listings and bucket calls name no object.
            let object = if action.ends_with("Object") { "2026/11/########.jpg" } else { "" };
            Question::new(&self.account, action, &self.bucket, object).size(self.size)
        })?;
        let mut load = Load::new(&self.url)
            .connections(self.connections)
            .warm_up(self.warm_up)
            .duration(self.duration)
            .timeout(self.timeout)
            .mix(mix.objects(self.objects));
        if let Some(rate) = self.rate {
            load = load.rate(rate);
        }
        if let Some(token) = self.token {
            load = load.token(token);
        }
        let runtime = crate::runtime(self.threads)?;
        let report = runtime.block_on(load.run())?;
        println!("{report}");
        if let Some(file) = self.json {
            let json = serde_json::to_string_pretty(&report)?;
            std::fs::write(&file, json + "\n").with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        let fine = report.failed() == 0 && report.unsent == 0 && report.answers() > 0;
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}
