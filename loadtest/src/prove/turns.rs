//! Contenders take turns under the same load, so that whatever else the machine does meanwhile hits all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::bare::{Producer, Synced};
use super::machine::{self, Times};
use super::outcome::Row;
use super::{Options, process};
use crate::load::{Load, Mix, Report};
use crate::question::Question;

/// Who takes turns.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(super) name: Cow<'static, str>,
    pub(super) work: Work,
}

/// What is done in a turn.
#[derive(Debug)]
pub(super) enum Work {
    /// A server answers the question, over as many connections as the options say or over its own number; in an open loop
    /// where it has a rate.
    Server { url: String, pid: u32, connections: Option<usize>, rate: Option<f64> },
    /// This process hands records to Kafka.
    Produce(Producer),
    /// This process writes a record and syncs, again and again.
    Sync(Synced),
}

impl Contender {
    pub(super) fn server(name: impl Into<Cow<'static, str>>, url: String, pid: u32) -> Self {
        Self { name: name.into(), work: Work::Server { url, pid, connections: None, rate: None } }
    }
}

/// One turn of one contender.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) cpu_us: f64,
    pub(super) client_busy: f64,
    pub(super) memory: process::Memory,
    pub(super) machine: machine::Cores,
}

/// All turns; a row for each contender in the order given. Every question must be allowed by all of them: a deny or a
/// failure would be another work than the one that is compared.
pub(super) async fn take(options: &Options, question: &Question, contenders: &[Contender]) -> anyhow::Result<Vec<Row>> {
    let mut turns: Vec<Vec<Turn>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for index in order(round, contenders.len()) {
            if let (Some(contender), Some(turns)) = (contenders.get(index), turns.get_mut(index)) {
                let turn = take_one(options, question, contender).await?;
                eprintln!("round {} {:<28} {:>8.0}/s", round + 1, contender.name, turn.per_second);
                turns.push(turn);
            }
        }
    }
    contenders.iter().zip(&turns).map(|(contender, turns)| row(&contender.name, turns)).collect()
}

/// Who comes when in a round of so many. Each round begins with another one, and every second one goes backwards: else all but
/// those that begin one would follow the same neighbour in each.
pub(super) fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (round + if round.is_multiple_of(2) { place } else { count - place }) % count)
}

async fn take_one(options: &Options, question: &Question, contender: &Contender) -> anyhow::Result<Turn> {
    let (warm_up, duration) = options.turn();
    match &contender.work {
        Work::Server { url, pid, connections, rate } => {
            let load = Load::new(url).connections(connections.unwrap_or(options.connections));
            let load = rate
                .map_or(load.clone(), |rate| load.rate(rate))
                .mix(Mix::of(question.clone()))
                .warm_up(warm_up)
                .duration(duration);
            under(load, &[*pid], options, |report| only_allows(&contender.name, report)).await
        }
        Work::Produce(producer) => {
            let producer = producer.clone();
            tokio::task::spawn_blocking(move || producer.turn(warm_up, duration)).await?
        }
        Work::Sync(synced) => {
            let synced = synced.clone();
            tokio::task::spawn_blocking(move || synced.turn(warm_up, duration)).await?
        }
    }
}

/// A turn of these processes together under this load, whose answers must be those that were to be measured.
pub(super) async fn under(
    load: Load,
    pids: &[u32],
    options: &Options,
    check: impl Fn(&Report) -> anyhow::Result<()>,
) -> anyhow::Result<Turn> {
    let (warm_up, duration) = options.turn();
    let all = || pids.iter().map(|pid| process::cpu(*pid)).sum::<anyhow::Result<Duration>>();
    let running = load.start().await?;
    tokio::time::sleep(warm_up).await;
    let (before, ours, then) = (all()?, process::own_cpu()?, Times::now()?);
    // Not when the last answer is there: an open loop that is behind at the end goes on for a while.
    tokio::time::sleep(duration).await;
    let (used, machine) = (all()?.saturating_sub(before), Times::now()?.since(then));
    let client_busy = process::own_cpu()?.saturating_sub(ours).as_secs_f64() / duration.as_secs_f64();
    let report = running.wait().await?;
    check(&report)?;
    let cpu_us = used.as_secs_f64() * 1e6 / (report.per_second * report.seconds);
    let mut memory = process::Memory { resident: 0, peak: 0 };
    for pid in pids {
        let process::Memory { resident, peak } = process::memory(*pid)?;
        memory = process::Memory { resident: memory.resident + resident, peak: memory.peak + peak };
    }
    let (p50_us, p99_us, p999_us) = (report.latency.p50_us, report.latency.p99_us, report.latency.p999_us);
    Ok(Turn { per_second: report.per_second, p50_us, p99_us, p999_us, cpu_us, client_busy, memory, machine })
}

/// Microseconds for each of so many.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 answers")]
pub(super) fn each(used: Duration, count: u64) -> f64 {
    used.as_secs_f64() * 1e6 / count as f64
}

/// Everything that was due was asked and allowed. What an open loop could not send has no latency: it must not be left out.
pub(super) fn only_allows(name: &str, report: &Report) -> anyhow::Result<()> {
    let fine = report.allow > 0 && report.allow == report.answers() && report.failed() == 0 && report.unsent == 0;
    ensure!(fine, "{name} did not allow every question, which is not the work to be compared:\n{report}");
    Ok(())
}

pub(super) fn row(name: &str, turns: &[Turn]) -> anyhow::Result<Row> {
    let all = |figure: fn(&Turn) -> f64| turns.iter().map(figure).collect::<Vec<f64>>();
    let of = |figure: fn(&Turn) -> f64| median(all(figure));
    let mut resident: Vec<u64> = turns.iter().map(|turn| turn.memory.resident).collect();
    resident.sort_unstable();
    Ok(Row {
        contender: name.to_owned(),
        per_second: of(|turn| turn.per_second)?,
        p50_us: of(|turn| turn.p50_us)?,
        p99_us: of(|turn| turn.p99_us)?,
        p999_us: of(|turn| turn.p999_us)?,
        cpu_us: of(|turn| turn.cpu_us)?,
        client_busy: of(|turn| turn.client_busy)?,
        idle_cores: of(|turn| turn.machine.idle)?,
        stolen_cores: of(|turn| turn.machine.stolen)?,
        interrupt_cores: of(|turn| turn.machine.interrupts)?,
        resident: resident.get(resident.len() / 2).copied().unwrap_or(0),
        resident_most: resident.last().copied().unwrap_or(0),
        peak: turns.iter().map(|turn| turn.memory.peak).max().unwrap_or(0),
        rates: all(|turn| turn.per_second),
        p50s: all(|turn| turn.p50_us),
        p99s: all(|turn| turn.p99_us),
        p999s: all(|turn| turn.p999_us),
        cpus: all(|turn| turn.cpu_us),
    })
}

/// The first row's rate divided by each other's.
pub(super) fn ratios(rows: &[Row]) -> BTreeMap<String, f64> {
    let Some((first, others)) = rows.split_first() else { return BTreeMap::new() };
    others.iter().map(|other| (other.contender.clone(), first.per_second / other.per_second)).collect()
}

/// The rate of one row over that of another: of their middles, and the least and the most of their rounds.
pub(super) fn ratio(rows: &[Row], one: &str, other: &str) -> (f64, Option<[f64; 2]>) {
    let of = |name: &str| rows.iter().find(|row| row.contender == name);
    // What is missing is no number, and a limit does not hold for that.
    let (Some(one), Some(other)) = (of(one), of(other)) else { return (f64::NAN, None) };
    let rounds = one.rates.iter().zip(&other.rates).map(|(one, other)| one / other);
    (one.per_second / other.per_second, spread(rounds))
}

/// The least and the most.
pub(super) fn spread(values: impl Iterator<Item = f64> + Clone) -> Option<[f64; 2]> {
    Some([values.clone().reduce(f64::min)?, values.reduce(f64::max)?])
}

/// The middle value, or the mean of the two in the middle.
pub(super) fn median(mut values: Vec<f64>) -> anyhow::Result<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle).context("no turn was taken")?;
    let lower = if values.len() % 2 == 1 { upper } else { *values.get(middle.saturating_sub(1)).unwrap_or(&upper) };
    Ok(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::{Answer, Script, Stub};

    fn options() -> Options {
        Options { rounds: 2, seconds: 0.05, warm_up: 0.02, connections: 2, ..Options::default() }
    }

    async fn contender(name: &'static str, script: impl Into<Script>) -> (Stub, Contender) {
        let stub = Stub::start(script).await.unwrap();
        let url = stub.url();
        (stub, Contender::server(name, url, std::process::id()))
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]).unwrap(), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]).unwrap(), 3.0);
        assert!(median(Vec::new()).is_err());
    }

    #[test]
    fn nobody_always_follows_the_same_neighbour() {
        let round = |number| order(number, 5).collect::<Vec<_>>();
        assert_eq!(round(0), [0, 1, 2, 3, 4]);
        assert_eq!(round(1), [1, 0, 4, 3, 2]);
        assert_eq!(round(2), [2, 3, 4, 0, 1]);
        assert_eq!(order(7, 2).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(order(7, 0).count(), 0);
    }

    #[tokio::test]
    async fn everyone_has_its_turns() {
        let (fast, one) = contender("fast", Script::allow()).await;
        let (slow, two) = contender("slow", Answer::allow().after(std::time::Duration::from_millis(4))).await;
        let rows = take(&options(), &Question::read(), &[one, two]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.contender.as_str()).collect::<Vec<_>>(), ["fast", "slow"]);
        assert!(rows.iter().all(|row| row.rates.len() == 2 && row.per_second > 0.0), "{rows:?}");
        // 2 connections that wait 4 ms each cannot have more than 500 answers a second.
        assert!(rows[1].per_second < 550.0 && rows[1].p50_us >= 4000.0, "{rows:?}");
        assert_eq!(ratios(&rows)["slow"], rows[0].per_second / rows[1].per_second);
        assert!(fast.asked() > 0 && slow.asked() > 0);
    }

    #[test]
    fn a_ratio_has_the_spread_of_its_rounds() {
        let row = |name: &str, rates: &[f64]| Row {
            contender: name.to_owned(),
            per_second: median(rates.to_vec()).unwrap(),
            rates: rates.to_vec(),
            ..Row::default()
        };
        let rows = [row("a", &[10.0, 20.0, 90.0]), row("b", &[10.0, 10.0, 30.0])];
        assert_eq!(ratio(&rows, "a", "b"), (2.0, Some([1.0, 3.0])));
        assert!(ratio(&rows, "a", "c").0.is_nan());
    }

    #[tokio::test]
    async fn a_contender_that_denies_is_no_contender() {
        let (_stub, one) = contender("denier", Script::deny()).await;
        let error = take(&options(), &Question::read(), &[one]).await.unwrap_err().to_string();
        assert!(error.contains("denier did not allow every question"), "{error}");
        let (_stub, one) = contender("closer", Answer::allow().close_in_body(3)).await;
        assert!(take(&options(), &Question::read(), &[one]).await.is_err());
    }
}
