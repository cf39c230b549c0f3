//! What a decision costs beside what its peers do with the same question: the ratios that are claimed, the scenarios
//! `cached`, `uncached` and `one-client`, and `loadtest peers`, which measures all of them and more in one run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::outcome::{Bound, Limit, Outcome, Row, mebibytes};
use super::roster::{Entrant, Roster};
use super::told::Run;
use super::turns::{self, ratio, spread};
use super::{Options, peers};

/// One rate over another.
struct Ratio {
    one: Entrant,
    other: Entrant,
    least: f64,
}

const fn of(one: Entrant, other: Entrant, least: f64) -> Ratio {
    Ratio { one, other, least }
}

const CACHED: [Ratio; 4] = [
    of(Entrant::CachedSynced, Entrant::PingoraConstant, 0.65),
    of(Entrant::CachedSynced, Entrant::NginxProxy, 1.0),
    of(Entrant::CachedSynced, Entrant::Opa, 6.0),
    of(Entrant::CachedSynced, Entrant::OpaLog, 10.0),
];
const UNCACHED: [Ratio; 2] =
    [of(Entrant::UncachedSynced, Entrant::PingoraProxy, 1.2), of(Entrant::UncachedOpa, Entrant::OpaLog, 1.0)];
/// Of resident memory, with the cache in use.
const MEBIBYTES: f64 = 150.0;
/// Of the load generator's one thread in a turn: beyond this it was the generator that was measured, and a peer that could do
/// more brings its ratio closer to one.
const GENERATOR_BUSY: f64 = 0.95;
/// What a decision of one client may take longer than one sync.
const BESIDE_A_SYNC_US: f64 = 40.0;

pub(super) async fn cached(options: &Options) -> anyhow::Result<Outcome> {
    let entrants =
        [Entrant::CachedSynced, Entrant::PingoraConstant, Entrant::NginxProxy, Entrant::Opa, Entrant::OpaLog];
    measured("cached", options, &entrants).await
}

pub(super) async fn uncached(options: &Options) -> anyhow::Result<Outcome> {
    let entrants = [Entrant::UncachedSynced, Entrant::PingoraProxy, Entrant::UncachedOpa, Entrant::OpaLog];
    measured("uncached", options, &entrants).await
}

pub(super) async fn one_client(options: &Options) -> anyhow::Result<Outcome> {
    measured("one-client", options, &[Entrant::OneClient, Entrant::Fdatasync]).await
}

/// Measure Countersign and its peers side by side, in turns, and say which claimed ratios hold
#[derive(Debug, clap::Args)]
pub struct Command {
    #[command(flatten)]
    options: Options,
    /// Only these; all of them without it
    #[arg(long, value_delimiter = ',')]
    only: Vec<Entrant>,
    /// Write the outcome as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Command {
    /// 0: every ratio between those who took part holds; 1: one does not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let arguments = format!("peers {}{}", self.options, super::typed("--only", &self.only));
        let run = Run::begin(&self.options, arguments, self.only.is_empty())?;
        let entrants = if self.only.is_empty() { Entrant::value_variants().to_vec() } else { self.only.clone() };
        let outcome = super::interruptible(measured("peers", &self.options, &entrants))?;
        run.told(&outcome, self.json.as_deref())?;
        // Some peers alone have no ratio, and then there is nothing that could fail.
        Ok(if outcome.limits.iter().all(|limit| limit.holds) { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

async fn measured(scenario: &str, options: &Options, entrants: &[Entrant]) -> anyhow::Result<Outcome> {
    let roster = Roster::start(options, entrants).await?;
    let question = peers::question();
    let rows = turns::take(options, &question, &roster.contenders).await?;
    roster.check().await?;
    let (limits, ratios) = (limits(scenario, entrants, &rows), turns::ratios(&rows));
    let setting = setting(options)?;
    Ok(Outcome { scenario: scenario.to_owned(), binary: roster.binary, setting, rows, ratios, limits })
}

/// Those that these can be held to.
fn limits(scenario: &str, entrants: &[Entrant], rows: &[Row]) -> Vec<Limit> {
    let there = |entrant| entrants.contains(&entrant);
    let mut limits: Vec<_> = CACHED
        .iter()
        .chain(&UNCACHED)
        .filter(|Ratio { one, other, .. }| there(*one) && there(*other))
        .map(|Ratio { one, other, least }| {
            let (value, spread) = ratio(rows, one.name(), other.name());
            Limit::new(format!("{} / {}", one.name(), other.name()), value, Bound::AtLeast(*least)).spread(spread)
        })
        .collect();
    if !limits.is_empty() {
        let busiest = rows.iter().map(|row| row.client_busy).reduce(f64::max).unwrap_or(f64::NAN);
        let what = format!("busy share of the load generator of `{scenario}`, at most");
        limits.push(Limit::new(what, busiest, Bound::Below(GENERATOR_BUSY)));
    }
    if there(Entrant::CachedSynced) {
        let row = rows.iter().find(|row| row.contender == Entrant::CachedSynced.name());
        let resident = row.map_or(f64::NAN, |row| mebibytes(row.resident_most));
        limits.push(Limit::new("resident MiB, cached, synced", resident, Bound::Below(MEBIBYTES)));
    }
    if there(Entrant::OneClient) && there(Entrant::Fdatasync) {
        let (more, spread) = beside_a_sync(rows);
        let what = "one client's p50 less that of a sync, µs";
        limits.push(Limit::new(what, more, Bound::Below(BESIDE_A_SYNC_US)).spread(spread));
    }
    limits
}

/// Microseconds that a cached decision takes longer than one sync, and the spread of its rounds.
fn beside_a_sync(rows: &[Row]) -> (f64, Option<[f64; 2]>) {
    let of = |entrant: Entrant| rows.iter().find(|row| row.contender == entrant.name());
    let (Some(client), Some(sync)) = (of(Entrant::OneClient), of(Entrant::Fdatasync)) else { return (f64::NAN, None) };
    let rounds = client.p50s.iter().zip(&sync.p50s).map(|(client, sync)| client - sync);
    (client.p50_us - sync.p50_us, spread(rounds))
}

fn setting(options: &Options) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let Options { rounds, seconds, warm_up, connections, .. } = options;
    Ok(BTreeMap::from([
        ("connections", connections.to_string()),
        ("question bytes", peers::question().template().size().to_string()),
        ("turns", format!("{rounds} of {seconds} s after {warm_up} s")),
        ("versions", peers::versions()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entrant: Entrant, rate: f64, p50: f64) -> Row {
        let contender = entrant.name().to_owned();
        let (rates, p50s) = (vec![rate], vec![p50]);
        Row { contender, per_second: rate, p50_us: p50, resident_most: 149 << 20, rates, p50s, ..Row::default() }
    }

    #[test]
    fn every_ratio_can_fail() {
        for Ratio { one, other, least } in CACHED.iter().chain(&UNCACHED) {
            let holds = |rate| {
                let rows = [row(*one, rate, 1.0), row(*other, 1000.0, 1.0)];
                limits("peers", &[*one, *other], &rows).first().is_some_and(|limit| limit.holds)
            };
            assert!(holds(least * 1000.0) && !holds(least * 1000.0 - 1.0), "{} {}", one.name(), other.name());
        }
    }

    #[test]
    fn a_ratio_is_not_proved_by_a_generator_at_its_limit() {
        let Ratio { one, other, .. } = CACHED[0];
        let holds = |client_busy| {
            let peer = Row { client_busy, ..row(other, 1.0, 1.0) };
            limits("peers", &[one, other], &[row(one, 1000.0, 1.0), peer]).iter().all(|limit| limit.holds)
        };
        assert!(holds(0.94) && !holds(0.95));
    }

    #[test]
    fn memory_and_the_sync_are_limits_too() {
        let both = [Entrant::OneClient, Entrant::Fdatasync];
        let holds = |client| limits("peers", &both, &[row(both[0], 1.0, client), row(both[1], 1.0, 100.0)])[0].holds;
        assert!(holds(139.9) && !holds(140.0));
        let mut cached = row(Entrant::CachedSynced, 1.0, 1.0);
        let held = |row: &Row| limits("peers", &[Entrant::CachedSynced], std::slice::from_ref(row))[0].holds;
        assert!(held(&cached));
        cached.resident_most = 150 << 20;
        assert!(!held(&cached));
    }

    #[test]
    fn who_did_not_take_part_has_no_limit() {
        assert!(limits("peers", &[Entrant::PingoraConstant, Entrant::Opa], &[]).is_empty());
        assert!(
            limits("peers", Entrant::value_variants(), &[]).iter().all(|limit| !limit.holds),
            "nothing was measured"
        );
    }
}
