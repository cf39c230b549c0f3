//! The claim about a cached allow: with its record synced to the disk, Countersign answers at least three times as many
//! questions as OPA asked directly, and stays small.

use std::collections::BTreeMap;

use anyhow::ensure;

use super::outcome::{Bound, Limit, Outcome, Row, mebibytes};
use super::turns::{self, Contender};
use super::{Options, countersign, peers};
use crate::laboratory::Laboratory;
use crate::stub::{Script, Stub};
use crate::up;

/// Countersign's rate divided by OPA's.
const TIMES_OPA: f64 = 3.0;
/// Of resident memory.
const MEBIBYTES: f64 = 150.0;
/// Share of decisions for which the authorizer may be asked, since an allow lives for seconds only. More, and the claim
/// would not be about the cache.
const MISSES: f64 = 0.01;

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    eprintln!("proving `{}`", binary.display());
    let lab = Laboratory::open()?;
    let question = peers::question();
    let stub = Stub::start(Script::allow()).await?;
    let proved = countersign::start(&lab, &binary, &stub.url(), &options.spool_in, &question).await?;
    let (_nginx, nginx) = peers::nginx(&lab).await?;
    let (_opa, opa) = peers::opa(&lab).await?;
    let pid = peers::pid(&proved.countersign)?;
    let countersign = Contender { name: "Countersign", url: proved.countersign.url(), pid };
    let rows = turns::take(options, &question, &[countersign, nginx, opa]).await?;
    from_cache(stub.asked(), &rows, options)?;
    let ratios = turns::ratios(&rows);
    let limits = limits(&rows, &ratios);
    let setting = setting(options, stub.asked())?;
    Ok(Outcome { scenario: "cached".to_owned(), binary: binary.display().to_string(), setting, rows, ratios, limits })
}

fn limits(rows: &[Row], ratios: &BTreeMap<String, f64>) -> Vec<Limit> {
    // What is missing is no number, and a limit does not hold for that.
    let ratio = ratios.get("OPA").copied().unwrap_or(f64::NAN);
    let resident = rows.first().map_or(f64::NAN, |row| mebibytes(row.resident));
    vec![
        Limit::new("Countersign / OPA", ratio, Bound::AtLeast(TIMES_OPA)),
        Limit::new("Countersign's resident memory in MiB", resident, Bound::Below(MEBIBYTES)),
    ]
}

/// Whether `asked` questions at the authorizer are few beside the decisions of the first row.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 questions")]
pub(super) fn from_cache(asked: u64, rows: &[Row], options: &Options) -> anyhow::Result<()> {
    let decisions: f64 = rows.first().map_or(0.0, |row| row.rates.iter().sum::<f64>()) * options.seconds;
    let said = format!("the authorizer was asked {asked} times for some {decisions:.0} decisions");
    ensure!(asked as f64 <= decisions * MISSES, "{said}: these are no cached decisions");
    ensure!(asked > 0, "{said}: whatever allowed, it was not the authorizer");
    Ok(())
}

fn setting(options: &Options, asked: u64) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let Options { rounds, seconds, warm_up, connections, .. } = options;
    Ok(BTreeMap::from([
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("kernel", release.trim().to_owned()),
        ("connections", connections.to_string()),
        ("question bytes", peers::question().template().size().to_string()),
        ("turns", format!("{rounds} of {seconds} s after {warm_up} s")),
        ("durability", "synced".to_owned()),
        ("authorizer asked", asked.to_string()),
    ]))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn row(resident: u64, rates: &[f64]) -> Row {
        let zero = 0.0;
        let rates = rates.to_vec();
        let contender = "Countersign".to_owned();
        Row {
            contender,
            per_second: zero,
            p50_us: zero,
            p99_us: zero,
            cpu_us: zero,
            client_busy: zero,
            resident,
            peak: 0,
            rates,
        }
    }

    #[test]
    fn both_limits_can_fail() {
        let holds = |ratio: f64, mebibytes: u64| {
            let ratios = BTreeMap::from([("OPA".to_owned(), ratio)]);
            limits(&[row(mebibytes << 20, &[])], &ratios).iter().map(|limit| limit.holds).collect::<Vec<_>>()
        };
        assert_eq!(holds(3.0, 149), [true, true]);
        assert_eq!(holds(2.99, 149), [false, true]);
        assert_eq!(holds(3.0, 150), [true, false]);
        assert!(limits(&[], &BTreeMap::new()).iter().all(|limit| !limit.holds));
    }

    #[test]
    fn decisions_that_are_not_cached_prove_nothing() {
        let options =
            Options { rounds: 2, seconds: 3.0, warm_up: 1.0, connections: 64, spool_in: PathBuf::from("/var/tmp") };
        let check = |asked| from_cache(asked, &[row(0, &[1000.0, 1000.0])], &options);
        assert!(check(60).is_ok());
        assert!(check(61).unwrap_err().to_string().contains("no cached decisions"));
        assert!(check(0).is_err());
    }

    #[test]
    fn the_question_has_the_size_that_is_claimed() {
        assert_eq!(peers::question().body().len(), 1024);
    }
}
