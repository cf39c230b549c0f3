//! The claim about telemetry: with traces exported to a real collector at the default sample, a cached allow costs at most three
//! percent of the rate that it has without. Metrics, exemplars and the looks of the status page are always on, in both.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::outcome::{Bound, Limit, Outcome, Row};
use super::turns::{self, Contender};
use super::{Options, countersign, peers, scrape};
use crate::laboratory::Laboratory;
use crate::laboratory::collector::Collector;
use crate::question::Question;
use crate::stub::{Script, Stub};
use crate::up;

/// Rate with telemetry divided by the rate without.
const RATIO: f64 = 0.97;
const SAMPLE: f64 = 0.01;
const WITH: &str = "with traces";
const WITHOUT: &str = "without traces";
/// Spans that did not leave.
const DROPPED: &str = "countersign_otlp_spans_dropped_total";
/// Share of decisions for which the authorizer may be asked, since an allow lives for seconds only. More, and the claim
/// would not be about the cache.
const MISSES: f64 = 0.01;
/// For spans to arrive after the last turn; they leave every few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    eprintln!("proving `{}`", binary.display());
    let lab = Laboratory::open()?;
    let question = peers::question();
    let stub = Stub::start(Script::allow()).await?;
    let collector = lab.collector().start().await?;
    let traced = format!("[otlp]\nendpoint = \"{}\"\nsample = {SAMPLE}\n", collector.endpoint());
    let with = start(&lab, &binary, &stub, options, &question, &traced).await?;
    let without = start(&lab, &binary, &stub, options, &question, "").await?;
    let contender = |name, proved: &countersign::Proved| -> anyhow::Result<Contender> {
        Ok(Contender::server(name, proved.countersign.url(), peers::pid(&proved.countersign)?))
    };
    let contenders = [contender(WITH, &with)?, contender(WITHOUT, &without)?];
    let rows = turns::take(options, &question, &contenders).await?;
    // Both ask the same one.
    from_cache(stub.asked().div_ceil(2), &rows, options)?;
    let spans = arrived(&collector).await?;
    ensure!(scrape::sum(&with, DROPPED).await? == 0.0, "spans were dropped: that is less work than is claimed about");
    let (ratio, spread) = turns::ratio(&rows, WITH, WITHOUT);
    let limits = vec![Limit::new("rate with traces / without", ratio, Bound::AtLeast(RATIO)).spread(spread)];
    let ratios = turns::ratios(&rows);
    let setting = BTreeMap::from([
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("connections", options.connections.to_string()),
        ("turns", format!("{} of {} s after {} s", options.rounds, options.seconds, options.warm_up)),
        ("sample", SAMPLE.to_string()),
        ("traces at the collector", spans.to_string()),
    ]);
    Ok(Outcome {
        scenario: "telemetry".to_owned(),
        binary: binary.display().to_string(),
        setting,
        rows,
        ratios,
        limits,
    })
}

async fn start(
    lab: &Laboratory,
    binary: &Path,
    stub: &Stub,
    options: &Options,
    question: &Question,
    tables: &str,
) -> anyhow::Result<countersign::Proved> {
    countersign::start_with(lab, binary, &stub.url(), &options.spool_in, question, tables).await
}

/// Whether `asked` questions at the authorizer are few beside the decisions of the first row.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 questions")]
fn from_cache(asked: u64, rows: &[Row], options: &Options) -> anyhow::Result<()> {
    let decisions: f64 = rows.first().map_or(0.0, |row| row.rates.iter().sum::<f64>()) * options.seconds;
    let said = format!("the authorizer was asked {asked} times for some {decisions:.0} decisions");
    ensure!(asked as f64 <= decisions * MISSES, "{said}: these are no cached decisions");
    ensure!(asked > 0, "{said}: whatever allowed, it was not the authorizer");
    Ok(())
}

/// Decisions that the collector has printed; at least one must have come all the way.
async fn arrived(collector: &Collector) -> anyhow::Result<usize> {
    let until = Instant::now() + PATIENCE;
    loop {
        let spans = decisions(&collector.output());
        if spans > 0 {
            return Ok(spans);
        }
        if Instant::now() > until {
            bail!("no span reached the collector: there was nothing to compare\n{}", collector.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn decisions(printed: &str) -> usize {
    let names = printed.lines().filter_map(|line| line.trim().strip_prefix("Name"));
    names.filter(|rest| rest.trim_start_matches([' ', ':']) == "decide").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_counted_as_the_collector_prints_them() {
        let printed = "Span #0\n    Trace ID       : ff\n    Name           : decide\n    Kind : Server\n\
                       Span #1\n    Name           : authorizer constant\n    Name           : decide\n";
        assert_eq!(decisions(printed), 2);
        assert_eq!(decisions(""), 0);
    }

    #[test]
    fn three_percent_are_the_limit() {
        let holds = |ratio| Limit::new("x", ratio, Bound::AtLeast(RATIO)).holds;
        assert!(holds(0.97) && holds(1.1) && !holds(0.969) && !holds(f64::NAN));
    }

    #[test]
    fn decisions_that_are_not_cached_prove_nothing() {
        let options = Options { rounds: 2, seconds: 3.0, ..Options::default() };
        let row = Row { rates: vec![1000.0, 1000.0], ..Row::default() };
        let check = |asked| from_cache(asked, std::slice::from_ref(&row), &options);
        assert!(check(60).is_ok());
        assert!(check(61).unwrap_err().to_string().contains("no cached decisions"));
        assert!(check(0).is_err());
    }
}
