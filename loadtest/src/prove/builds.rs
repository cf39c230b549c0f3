//! `loadtest builds`: builds of Countersign under the same load, in turns, each round's figures over those of the first build
//! in the same round. How a change is judged on a machine whose own speed differs from minute to minute by more than the
//! change does. It claims nothing, and no page gets it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::countersign::{Proved, Setting};
use super::outcome::{Outcome, Row};
use super::turns::{self, Contender, Work, median, spread};
use super::{Options, countersign, machine, peers};
use crate::figures::OTHERS;
use crate::laboratory::Laboratory;

/// Compare builds of Countersign in turns, in one run: each with the first
#[derive(Debug, clap::Args)]
pub struct Command {
    /// Their binaries, two or more
    #[arg(required = true, num_args = 2..)]
    builds: Vec<PathBuf>,
    #[command(flatten)]
    of: Kind,
    #[command(flatten)]
    options: Options,
    /// Write the outcome as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Which decision is looked at, here and by `profile`.
#[derive(Debug, clap::Args)]
pub(super) struct Kind {
    /// Before an answer leaves its record is this
    #[arg(long, default_value = "synced", value_parser = ["written", "synced"])]
    pub(super) durability: String,
    /// Ask the authorizer every time
    #[arg(long)]
    pub(super) uncached: bool,
    /// Questions a second, in an open loop; without it as fast as they are answered
    #[arg(long)]
    pub(super) rate: Option<f64>,
}

impl Kind {
    pub(super) fn tables(&self) -> &'static str {
        if self.uncached { peers::NO_CACHE } else { "" }
    }
}

/// One figure of a build over that of the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Ratio {
    build: String,
    figure: &'static str,
    /// The middle of the rounds' ratios.
    ratio: f64,
    spread: Option<[f64; 2]>,
}

#[derive(Debug, Serialize)]
struct Compared {
    #[serde(flatten)]
    outcome: Outcome,
    compared: Vec<Ratio>,
}

impl Command {
    /// 0: they were compared. Which is better is for people: no bound is known.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let busy = machine::busy_before()?;
        let mut outcome = super::interruptible(self.measured())?;
        outcome.setting.insert(OTHERS, format!("{busy:.2} cores"));
        let compared = compared(&outcome.rows)?;
        println!("{outcome}");
        for ratio in &compared {
            println!("{ratio}");
        }
        if let Some(file) = &self.json {
            let json = serde_json::to_string_pretty(&Compared { outcome, compared })?;
            std::fs::write(file, json + "\n").with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn measured(&self) -> anyhow::Result<Outcome> {
        let lab = Laboratory::open()?;
        let constant = lab.pingora(&peers::loadtest()?).start().await?;
        let (mut running, mut contenders) = (Vec::new(), Vec::new());
        for build in &self.builds {
            let proved = self.start(&lab, &constant.url(), build).await.with_context(|| build.display().to_string())?;
            let (url, pid) = (proved.countersign.url(), peers::pid(&proved.countersign)?);
            let work = Work::Server { url, pid, connections: None, rate: self.of.rate };
            contenders.push(Contender { name: build.display().to_string().into(), work });
            running.push(proved);
        }
        let names: Vec<_> = contenders.iter().map(|contender| contender.name.clone()).collect();
        let different = names.iter().collect::<BTreeSet<_>>().len();
        ensure!(different == names.len(), "a build is named twice: {}", names.join(", "));
        let rows = turns::take(&self.options, &peers::question(), &contenders).await?;
        let Options { rounds, seconds, warm_up, connections, .. } = &self.options;
        let setting = BTreeMap::from([
            ("connections", connections.to_string()),
            ("durability", self.of.durability.clone()),
            ("rate", self.of.rate.map_or("closed loop".to_owned(), |rate| format!("{rate} a second"))),
            ("cache", if self.of.uncached { "off" } else { "on" }.to_owned()),
            ("turns", format!("{rounds} of {seconds} s after {warm_up} s")),
        ]);
        let (scenario, binary, ratios) = ("builds".to_owned(), names.join(", "), turns::ratios(&rows));
        Ok(Outcome { scenario, binary, setting, rows, ratios, limits: Vec::new() })
    }

    async fn start(&self, lab: &Laboratory, url: &str, build: &Path) -> anyhow::Result<Proved> {
        let setting = Setting { url, durability: &self.of.durability, tables: self.of.tables() };
        // It is started in another directory.
        let build = &std::path::absolute(build)?;
        countersign::start_as(lab, build, &self.options.spool_in, &peers::question(), &setting).await
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { build, figure, ratio, spread } = self;
        let rounds = spread.map_or(String::new(), |[low, high]| format!(" ({low:.3} – {high:.3})"));
        write!(out, "{build}: {figure} {ratio:.3}{rounds} of the first")
    }
}

fn compared(rows: &[Row]) -> anyhow::Result<Vec<Ratio>> {
    let Some((first, others)) = rows.split_first() else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for other in others {
        let figures = [
            ("a second", &other.rates, &first.rates),
            ("p50", &other.p50s, &first.p50s),
            ("p99", &other.p99s, &first.p99s),
            ("p99.9", &other.p999s, &first.p999s),
            ("CPU", &other.cpus, &first.cpus),
        ];
        for (figure, other_rounds, first_rounds) in figures {
            let rounds = other_rounds.iter().zip(first_rounds).map(|(other, first)| other / first);
            let (ratio, spread) = (median(rounds.clone().collect())?, spread(rounds));
            all.push(Ratio { build: other.contender.clone(), figure, ratio, spread });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_compared_round_by_round() {
        // The machine was four times as fast in one round: the middles alone would say 1.2.
        let row = |name: &str, rates: [f64; 3]| Row {
            contender: name.to_owned(),
            rates: rates.to_vec(),
            p50s: vec![1.0; 3],
            p99s: vec![1.0; 3],
            p999s: vec![1.0; 3],
            cpus: rates.map(|rate| 1e6 / rate).to_vec(),
            ..Row::default()
        };
        let all = compared(&[row("old", [100.0, 400.0, 100.0]), row("new", [110.0, 440.0, 120.0])]).unwrap();
        let of = |figure: &str| all.iter().find(|ratio| ratio.figure == figure).unwrap();
        assert!((of("a second").ratio - 1.1).abs() < 1e-9 && (of("CPU").ratio - 1.0 / 1.1).abs() < 1e-9, "{all:?}");
        assert_eq!(of("a second").to_string(), "new: a second 1.100 (1.100 – 1.200) of the first");
        assert!(compared(&[]).unwrap().is_empty());
    }
}
