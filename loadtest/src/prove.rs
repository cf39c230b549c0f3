//! Timed claims and how each is proved: by name, side by side with its peers, in one run on one machine.
//!
//! `loadtest prove NAME` runs a scenario of [`SCENARIOS`] and fails when a limit does not hold. Every figure about speed
//! that a page of this project names has its scenario here. A scenario is a function of a file in `prove/` and an entry of
//! the table; starting parts, taking turns and reading processes are shared.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::{PossibleValue, PossibleValuesParser};

mod aside;
mod bare;
mod builds;
mod bulkhead;
mod catch_up;
mod countersign;
mod drips;
mod expiry;
mod machine;
mod memory;
mod outcome;
mod peers;
mod process;
mod profile;
mod ratios;
mod roster;
mod s3;
mod scale;
mod scrape;
mod shadow;
mod telemetry;
mod told;
mod turns;
mod verify;

pub use builds::Command as Builds;
pub use outcome::{Bound, Limit, Outcome, Row};
pub use profile::Command as Profile;
pub use ratios::Command as Peers;
pub use s3::Command as S3;
pub use scale::Command as Scale;

pub(crate) use outcome::mebibytes;
use told::Run;

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
    /// Of a backlog, where there is one; each takes about 1.6 KiB of that disk, in `scale backlog` 2.6 KiB
    #[arg(long, default_value_t = 2_000_000)]
    pub records: u64,
    /// Of a cache that is filled
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    pub keys: u64,
}

impl Default for Options {
    fn default() -> Self {
        let spool_in = PathBuf::from("/var/tmp");
        Self { rounds: 5, seconds: 3.0, warm_up: 1.0, connections: 64, spool_in, records: 2_000_000, keys: 1_000_000 }
    }
}

/// For something to happen that was set off.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

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
        about: "cached allows, synced, beside pingora and nginx (0.65 and 1.0) and OPA (6; with its decision log 10); 150 MiB",
        prove: |options| Box::pin(ratios::cached(options)),
    },
    Scenario {
        name: "catch-up",
        about: "after an outage Kafka gets records at least 5 times as fast as new ones arrive",
        prove: |options| Box::pin(catch_up::prove(options)),
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
        name: "memory",
        about: "at most 250 bytes a cached key with a million of them; flat behind a backlog (`--records`)",
        prove: |options| Box::pin(memory::prove(options)),
    },
    Scenario {
        name: "one-client",
        about: "one client's cached allow, synced, takes at most 40 µs longer than one fdatasync",
        prove: |options| Box::pin(ratios::one_client(options)),
    },
    Scenario {
        name: "s3",
        about: "a real MinIO's HEADs, cached, beside the same MinIO asking OPA: 1.2, 1.4, 1.5 synced; 1.5, 1.55, 1.5 written",
        prove: |options| Box::pin(s3::prove(options)),
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
        name: "uncached",
        about: "uncached, synced, beside pingora's proxy (1.2); OPA behind, beside OPA with its decision log (1.0)",
        prove: |options| Box::pin(ratios::uncached(options)),
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
        let run = Run::begin(&self.options, format!("prove {} {}", scenario.name, self.options), true)?;
        let outcome = interruptible((scenario.prove)(&self.options))?;
        run.told(&outcome, self.json.as_deref())?;
        Ok(if outcome.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

/// Runs to its end or until Ctrl-C; returning drops the parts, which ends their processes.
pub(crate) fn interruptible<T>(measuring: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // One thread: the client must leave the cores to the servers.
    crate::runtime(1)?.block_on(async {
        tokio::select! {
            outcome = measuring => outcome,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                bail!("interrupted")
            }
        }
    })
}

/// An option with these values, as it is typed; nothing without any.
fn typed<T: clap::ValueEnum>(option: &str, values: &[T]) -> String {
    let values: Vec<_> = values.iter().filter_map(clap::ValueEnum::to_possible_value).collect();
    let values: Vec<_> = values.iter().map(PossibleValue::get_name).collect();
    if values.is_empty() { String::new() } else { format!(" {option} {}", values.join(",")) }
}

/// As they are typed.
impl fmt::Display for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let Self { rounds, seconds, warm_up, connections, spool_in, records, keys } = self;
        write!(out, "--rounds {rounds} --seconds {seconds} --warm-up {warm_up} --connections {connections}")?;
        if *spool_in != default.spool_in {
            write!(out, " --spool-in {}", spool_in.display())?;
        }
        if *records != default.records {
            write!(out, " --records {records}")?;
        }
        if *keys != default.keys {
            write!(out, " --keys {keys}")?;
        }
        Ok(())
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
    fn a_command_that_is_told_can_be_typed() {
        let options = Options { rounds: 2, seconds: 0.5, keys: 2000, ..Options::default() };
        let told = "--rounds 2 --seconds 0.5 --warm-up 1 --connections 64 --keys 2000";
        assert_eq!(options.to_string(), told);
        let elsewhere = Options { spool_in: "/srv/disk".into(), ..options };
        assert!(elsewhere.to_string().ends_with(" --connections 64 --spool-in /srv/disk --keys 2000"));
        assert_eq!(typed("--call", &[s3::Call::Head, s3::Call::MultiDelete]), " --call head,multi-delete");
        assert_eq!(typed::<s3::Call>("--call", &[]), "");
    }

    #[test]
    fn seconds_are_a_bounded_number() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["", "x", "-1", "nan", "inf", "3601"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
