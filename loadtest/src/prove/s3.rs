//! What a decision costs a real MinIO: S3 calls a second with different ways to decide, side by side, in turns, in one run.
//! `loadtest s3`, and the scenario of the same name for the claimed ratios.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::ValueEnum;

mod call;
mod stand;

pub use call::Call;
pub use stand::Decider;

use super::outcome::{Bound, Limit, Outcome, Row};
use super::told::Run;
use super::turns::{self, Turn, ratio};
use super::{Options, peers};
use crate::load::{Load, Mix, Report};
use stand::{Side, Stand};

/// HEADs a second over those of the same MinIO that asks OPA: for so many clients, with `synced` and with `written`.
const CLAIMED: [(usize, f64, f64); 3] = [(1, 1.2, 1.5), (16, 1.4, 1.55), (64, 1.5, 1.5)];

/// The scenario of what is claimed.
const HEADS: &str = "s3";
/// That of other calls.
const CALLS: &str = "s3-calls";

/// Drive a real MinIO with S3 calls and compare who decides them, side by side
#[derive(Debug, clap::Args)]
pub struct Command {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    what: What,
    /// Write the outcome as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct What {
    /// What clients do
    #[arg(long = "call", value_delimiter = ',', default_value = "head")]
    calls: Vec<Call>,
    /// Clients at once, each with one call at a time on a kept connection
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: Vec<u16>,
    /// Only these; all of them without it
    #[arg(long, value_delimiter = ',')]
    only: Vec<Decider>,
}

impl Command {
    /// 0: every claimed ratio between those who took part holds; 1: one does not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let What { calls, clients, only } = &self.what;
        // What is claimed about has a table of its own.
        let claimed = CLAIMED.iter().all(|(count, ..)| clients.iter().any(|clients| usize::from(*clients) == *count));
        let fits = if heads(calls) { claimed } else { !calls.contains(&Call::Head) };
        let whole = only.is_empty() && fits;
        let clients: Vec<_> = clients.iter().map(u16::to_string).collect();
        let (calls, only) = (super::typed("--call", calls), super::typed("--only", only));
        let arguments = format!("s3 {}{calls} --clients {}{only}", self.options, clients.join(","));
        let run = Run::begin(&self.options, arguments, whole)?;
        let outcome = super::interruptible(measured(&self.options, &self.what))?;
        run.told(&outcome, self.json.as_deref())?;
        Ok(if outcome.limits.iter().all(|limit| limit.holds) { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let what = What { calls: vec![Call::Head], clients: vec![1, 16, 64], only: Vec::new() };
    measured(options, &what).await
}

/// One cell: who decides what, for how many.
#[derive(Debug, Clone)]
struct Cell<'a> {
    side: &'a Side,
    call: Call,
    clients: u16,
    turns: Vec<Turn>,
}

async fn measured(options: &Options, what: &What) -> anyhow::Result<Outcome> {
    let deciders = if what.only.is_empty() { Decider::value_variants().to_vec() } else { what.only.clone() };
    let stand = Stand::start(options, &deciders).await?;
    let mut cells = Vec::new();
    for call in &what.calls {
        for clients in &what.clients {
            let cell = |side| Cell { side, call: *call, clients: *clients, turns: Vec::new() };
            cells.extend(stand.sides.iter().map(cell));
        }
    }
    let sides = stand.sides.len().max(1);
    for round in 0..options.rounds {
        for group in cells.chunks_mut(sides) {
            for index in turns::order(round, sides) {
                let Some(cell) = group.get_mut(index) else { continue };
                let turn = turn(options, cell).await?;
                eprintln!("round {} {:<32} {:>8.0}/s", round + 1, cell.name(), turn.per_second);
                cell.turns.push(turn);
            }
        }
    }
    let rows = cells.iter().map(|cell| turns::row(&cell.name(), &cell.turns)).collect::<anyhow::Result<Vec<_>>>()?;
    let limits = limits(&rows);
    let scenario = if heads(&what.calls) { HEADS } else { CALLS };
    let (scenario, binary) = (scenario.to_owned(), stand.binary.clone());
    Ok(Outcome { scenario, binary, setting: setting(options), rows, ratios: BTreeMap::new(), limits })
}

fn heads(calls: &[Call]) -> bool {
    calls == [Call::Head]
}

impl Cell<'_> {
    fn name(&self) -> String {
        name(self.call, self.side.decider, self.clients.into())
    }
}

fn name(call: Call, decider: Decider, clients: usize) -> String {
    format!("{}, {}, {clients}", call.name(), decider.name())
}

async fn turn(options: &Options, cell: &Cell<'_>) -> anyhow::Result<Turn> {
    let (warm_up, duration) = options.turn();
    let requests = cell.call.requests(&cell.side.host)?;
    let load = Load::new(format!("http://{}/", cell.side.host)).connections(cell.clients.into());
    let load = load.mix(Mix::raw(requests)).warm_up(warm_up).duration(duration);
    let load = if cell.call == Call::Head { load.bodiless() } else { load };
    turns::under(load, &cell.side.pids, options, |report| {
        ensure!(granted(report), "{} was not granted every time:\n{report}", cell.name());
        Ok(())
    })
    .await
}

/// Every call was answered, and with success.
fn granted(report: &Report) -> bool {
    let fine = report.statuses.keys().all(|status| (200..300).contains(status));
    fine && report.answers() > 0 && report.failed() == 0
}

/// Those that these can be held to.
fn limits(rows: &[Row]) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (clients, synced, written) in CLAIMED {
        for (decider, least) in [(Decider::Synced, synced), (Decider::Written, written)] {
            let (one, other) = (name(Call::Head, decider, clients), name(Call::Head, Decider::Opa, clients));
            let (value, spread) = ratio(rows, &one, &other);
            if !value.is_nan() {
                let plural = if clients == 1 { "client" } else { "clients" };
                let what = format!("MinIO's HEADs, {}, {clients} {plural} / OPA", decider.name());
                limits.push(Limit::new(what, value, Bound::AtLeast(least)).spread(spread));
            }
        }
    }
    limits
}

fn setting(options: &Options) -> BTreeMap<&'static str, String> {
    let Options { rounds, seconds, warm_up, .. } = options;
    BTreeMap::from([
        ("turns", format!("{rounds} of {seconds} s after {warm_up} s")),
        ("versions", peers::versions()),
        ("CPU", "of MinIO and of whoever decides".to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claimed_ratio_can_fail() {
        for (clients, synced, written) in CLAIMED {
            for (decider, least) in [(Decider::Synced, synced), (Decider::Written, written)] {
                let row = |decider, rate| Row {
                    contender: name(Call::Head, decider, clients),
                    per_second: rate,
                    rates: vec![rate],
                    ..Row::default()
                };
                let holds = |rate| {
                    let limits = limits(&[row(decider, rate), row(Decider::Opa, 1000.0)]);
                    assert_eq!(limits.len(), 1);
                    limits[0].holds
                };
                assert!(holds(least * 1000.0) && !holds(least * 1000.0 - 1.0));
            }
        }
        assert!(limits(&[]).is_empty());
    }
}
