//! Whether a process stays within bounds for hours: every strain after the other, over and over, and what it holds after each
//! round against what it held after the first. The short form is `bounds` among the proxy's tests; both put the same strains on.

pub mod bench;
mod log;
pub mod strain;
pub mod usage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::laboratory::Laboratory;
use crate::up;
use bench::{Bench, MAX_SIZE};
use strain::{Strain, Told};
use usage::{Usage, Watch};

const MINUTE: Duration = Duration::from_secs(60);
/// What may be there after a round that was not there after the first one.
const GROWTH: Usage = Usage { descriptors: 32, threads: 4, resident: 64 << 20, disk: MAX_SIZE };

/// Strain one process for a long time; exit code 1 says that it grows or miscounts
#[derive(Debug, clap::Args)]
pub struct Command {
    /// How long
    #[arg(long = "for", default_value = "24h", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Of one strain
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    each: Duration,
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Seen {
    rounds: u64,
    told: Told,
    first: Option<Usage>,
    most: Usage,
    printed: Option<Instant>,
}

impl Command {
    /// 0: it stayed within bounds; 1: it did not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        crate::runtime(2)?.block_on(async {
            tokio::select! {
                found = self.soak() => found,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    bail!("interrupted")
                }
            }
        })
    }

    async fn soak(&self) -> anyhow::Result<ExitCode> {
        let binary = up::binary().await?;
        let kafka = Laboratory::open()?.kafka().start().await?;
        let mut bench = Bench::start(&binary, kafka).await?;
        let (began, mut seen) = (Instant::now(), Seen::default());
        println!("{}: {}", binary.display(), bench.usage()?);
        while began.elapsed() < self.time {
            for strain in Strain::ALL {
                let found = seen.strained(&mut bench, strain, self.each).await?;
                seen.print(&bench, began, strain)?;
                if let Some(found) = found {
                    println!("{}: {found}", strain.name());
                    return Ok(ExitCode::from(1));
                }
            }
            let grown = seen.round(bench.usage()?);
            if !grown.is_empty() {
                println!("it grows: {}", grown.join("; "));
                return Ok(ExitCode::from(1));
            }
        }
        println!("{} rounds, at most {}, now {}", seen.rounds, seen.most, bench.usage()?);
        Ok(ExitCode::SUCCESS)
    }
}

impl Seen {
    /// What is wrong, if anything is.
    async fn strained(&mut self, bench: &mut Bench, strain: Strain, time: Duration) -> anyhow::Result<Option<String>> {
        let watch = Watch::start(bench.pid()?, bench.countersign.spool());
        let told = strain.put_on(bench, time).await?;
        bench.rested().await?;
        self.most = self.most.most(watch.most());
        self.told.answers += told.answers;
        self.told.refused += told.refused;
        self.told.late += told.late;
        let counts = told.counted.iter().any(|counted| *counted != told.refused);
        Ok((counts || told.failures > 0).then(|| format!("{told:?}")))
    }

    /// What has grown since the first round.
    fn round(&mut self, now: Usage) -> Vec<String> {
        self.rounds += 1;
        let first = *self.first.get_or_insert(now);
        now.above(first.plus(GROWTH))
    }

    /// A line a minute.
    fn print(&mut self, bench: &Bench, began: Instant, strain: Strain) -> anyhow::Result<()> {
        if self.printed.is_some_and(|printed| printed.elapsed() < MINUTE) {
            return Ok(());
        }
        self.printed = Some(Instant::now());
        let Told { answers, refused, late, .. } = self.told;
        let time = humantime::format_duration(Duration::from_secs(began.elapsed().as_secs()));
        println!(
            "{time}, round {}, {}: {}; {answers} answers, {refused} refused, {late} too late for their record",
            self.rounds + 1,
            strain.name(),
            bench.usage()?
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_a_full_house() {
        let mut seen = Seen::default();
        let first = Usage { descriptors: 100, threads: 20, resident: 50 << 20, disk: 10 << 20 };
        assert!(seen.round(first).is_empty());
        assert!(seen.round(Usage { resident: 60 << 20, ..first }).is_empty());
        assert_eq!(seen.round(Usage { descriptors: 133, ..first }), ["133 descriptors, at most 132"]);
        assert_eq!(seen.rounds, 3);
    }
}
