//! Timed claims and how each is proved: by name, side by side with its peers, in one run on one machine.
//!
//! `loadtest prove NAME` runs a scenario of [`SCENARIOS`] and fails when a limit does not hold. Every figure about speed
//! that a page of this project names has its scenario here. A scenario is one file beside `cached.rs` and one line in
//! the table; starting parts, taking turns and reading processes are shared.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::{PossibleValue, PossibleValuesParser};

mod aside;
mod bulkhead;
mod cached;
mod countersign;
mod drips;
mod expiry;
mod outcome;
mod peers;
mod process;
mod shadow;
mod telemetry;
mod turns;
mod verify;

pub use outcome::{Limit, Outcome, Row};

/// How long and how hard.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Turns of each contender
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Measured seconds of a turn
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,
    /// Seconds before them that do not count
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warm_up: f64,
    /// Kept connections of the load generator
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Directory for the spool; must be on a disk
    #[arg(long, default_value = "/var/tmp")]
    pub spool_in: PathBuf,
}

type Proving<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Outcome>> + 'a>>;

/// A claim that can be proved.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// The claim, in a line.
    pub about: &'static str,
    pub prove: fn(&Options) -> Proving<'_>,
}

/// Every timed claim.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bulkhead",
        about: "an authorizer that slows to 5 s: its breaker opens, memory is flat, other routes' p99 is within 10 %",
        prove: |options| Box::pin(bulkhead::prove(options)),
    },
    Scenario {
        name: "cached",
        about: "a cached allow with a synced record: at least 3 times OPA asked directly, below 150 MiB",
        prove: |options| Box::pin(cached::prove(options)),
    },
    Scenario {
        name: "drips",
        about: "2,000 connections that drip a byte every 5 s: each closed within 15 s, good questions' p99 at most doubled",
        prove: |options| Box::pin(drips::prove(options)),
    },
    Scenario {
        name: "expiry",
        about: "a cached allow ends with its lifetime: the last one is answered less than 20 ms after it",
        prove: |options| Box::pin(expiry::prove(options)),
    },
    Scenario {
        name: "shadow",
        about: "2,000 questions/s beside a shadow that hangs or always differs: p50, p99 and memory against without",
        prove: |options| Box::pin(shadow::prove(options)),
    },
    Scenario {
        name: "telemetry",
        about: "traces at the default sample, to a real collector, cost at most 3 % of the rate of cached allows",
        prove: |options| Box::pin(telemetry::prove(options)),
    },
    Scenario {
        name: "verify",
        about: "`verify` checks at least 200 MB of records a second, from a file and from a spool",
        prove: |options| Box::pin(verify::prove(options)),
    },
];

/// Prove a claim about speed; exit code 1 says that it does not hold.
#[derive(Debug, clap::Args)]
pub struct Command {
    #[arg(value_parser = names())]
    scenario: String,
    #[command(flatten)]
    options: Options,
    /// Write the outcome as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

fn names() -> PossibleValuesParser {
    SCENARIOS.iter().map(|scenario| PossibleValue::new(scenario.name).help(scenario.about)).collect::<Vec<_>>().into()
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if (0.0..=3600.0).contains(&seconds) { Ok(seconds) } else { Err(format!("`{text}` is not within 0 and 3600")) }
}

impl Options {
    fn turn(&self) -> (Duration, Duration) {
        (Duration::from_secs_f64(self.warm_up), Duration::from_secs_f64(self.seconds))
    }
}

impl Command {
    /// 0: the claim holds; 1: it does not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == self.scenario);
        let scenario = scenario.with_context(|| format!("`{}` is no scenario", self.scenario))?;
        // One thread: the client must leave the cores to the servers.
        let outcome = crate::runtime(1)?.block_on(async {
            tokio::select! {
                outcome = (scenario.prove)(&self.options) => outcome,
                // Returning drops the parts, which ends their processes.
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    bail!("interrupted")
                }
            }
        })?;
        println!("{outcome}");
        if let Some(file) = self.json {
            let json = serde_json::to_string_pretty(&outcome)?;
            std::fs::write(&file, json + "\n").with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        Ok(if outcome.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_have_names_of_their_own() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
        assert!(SCENARIOS.iter().all(|scenario| !scenario.about.is_empty()));
    }

    #[test]
    fn seconds_are_a_bounded_number() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["", "x", "-1", "nan", "inf", "3601"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
