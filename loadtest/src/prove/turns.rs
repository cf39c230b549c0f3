//! Contenders take turns under the same load, so that whatever else the machine does meanwhile hits all of them.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use super::outcome::Row;
use super::{Options, process};
use crate::load::{Load, Mix, Report};
use crate::question::Question;

/// A server that answers the same question.
#[derive(Debug, Clone)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) url: String,
    pub(super) pid: u32,
}

/// One turn of one contender.
#[derive(Debug, Clone)]
struct Turn {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
    client_busy: f64,
    memory: process::Memory,
}

/// All turns; a row for each contender in the order given. Every question must be allowed by all of them: a deny or a
/// failure would be another work than the one that is compared.
pub(super) async fn take(options: &Options, question: &Question, contenders: &[Contender]) -> anyhow::Result<Vec<Row>> {
    let mut turns: Vec<Vec<Turn>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        // Each round begins with another one: nobody always follows the same neighbour.
        for index in (0..contenders.len()).map(|offset| (round + offset) % contenders.len()) {
            if let (Some(contender), Some(turns)) = (contenders.get(index), turns.get_mut(index)) {
                let turn = take_one(options, question, contender).await?;
                eprintln!("round {} {:<24} {:>8.0}/s", round + 1, contender.name, turn.per_second);
                turns.push(turn);
            }
        }
    }
    contenders.iter().zip(&turns).map(|(contender, turns)| row(contender.name, turns)).collect()
}

async fn take_one(options: &Options, question: &Question, contender: &Contender) -> anyhow::Result<Turn> {
    let (warm_up, duration) = options.turn();
    let load = Load::new(&contender.url).connections(options.connections).mix(Mix::of(question.clone()));
    let running = load.warm_up(warm_up).duration(duration).start().await?;
    tokio::time::sleep(warm_up).await;
    let (before, ours) = (process::cpu(contender.pid)?, process::own_cpu()?);
    let report = running.wait().await?;
    let used = process::cpu(contender.pid)?.saturating_sub(before);
    only_allows(contender.name, &report)?;
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 answers")]
    let cpu_us = used.as_secs_f64() * 1e6 / report.answers() as f64;
    let client_busy = process::own_cpu()?.saturating_sub(ours).as_secs_f64() / duration.as_secs_f64();
    let memory = process::memory(contender.pid)?;
    let (p50_us, p99_us) = (report.latency.p50_us, report.latency.p99_us);
    Ok(Turn { per_second: report.per_second, p50_us, p99_us, cpu_us, client_busy, memory })
}

fn only_allows(name: &str, report: &Report) -> anyhow::Result<()> {
    let fine = report.allow > 0 && report.allow == report.answers() && report.failed() == 0;
    ensure!(fine, "{name} did not allow every question, which is not the work to be compared:\n{report}");
    Ok(())
}

fn row(name: &str, turns: &[Turn]) -> anyhow::Result<Row> {
    let of = |figure: fn(&Turn) -> f64| median(turns.iter().map(figure).collect());
    Ok(Row {
        contender: name.to_owned(),
        per_second: of(|turn| turn.per_second)?,
        p50_us: of(|turn| turn.p50_us)?,
        p99_us: of(|turn| turn.p99_us)?,
        cpu_us: of(|turn| turn.cpu_us)?,
        client_busy: of(|turn| turn.client_busy)?,
        resident: turns.iter().map(|turn| turn.memory.resident).max().unwrap_or(0),
        peak: turns.iter().map(|turn| turn.memory.peak).max().unwrap_or(0),
        rates: turns.iter().map(|turn| turn.per_second).collect(),
    })
}

/// The first row's rate divided by each other's.
pub(super) fn ratios(rows: &[Row]) -> BTreeMap<String, f64> {
    let Some((first, others)) = rows.split_first() else { return BTreeMap::new() };
    others.iter().map(|other| (other.contender.clone(), first.per_second / other.per_second)).collect()
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
    use std::path::PathBuf;

    use super::*;
    use crate::stub::{Answer, Script, Stub};

    fn options() -> Options {
        Options { rounds: 2, seconds: 0.05, warm_up: 0.02, connections: 2, spool_in: PathBuf::new() }
    }

    async fn contender(name: &'static str, script: impl Into<Script>) -> (Stub, Contender) {
        let stub = Stub::start(script).await.unwrap();
        let url = stub.url();
        (stub, Contender { name, url, pid: std::process::id() })
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]).unwrap(), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]).unwrap(), 3.0);
        assert!(median(Vec::new()).is_err());
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

    #[tokio::test]
    async fn a_contender_that_denies_is_no_contender() {
        let (_stub, one) = contender("denier", Script::deny()).await;
        let error = take(&options(), &Question::read(), &[one]).await.unwrap_err().to_string();
        assert!(error.contains("denier did not allow every question"), "{error}");
        let (_stub, one) = contender("closer", Answer::allow().close_in_body(3)).await;
        assert!(take(&options(), &Question::read(), &[one]).await.is_err());
    }
}
