//! The claim about `verify`: it checks at least 200 MB of records a second, hashes, tree and signatures, whether they are in
//! a file or in a spool. The records are those of a real Countersign that was asked until it had enough of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::outcome::{Bound, Limit, Outcome};
use super::{Options, countersign, peers, turns};
use crate::figures::Claim;
use crate::laboratory::Laboratory;
use crate::load::{Load, Mix};
use crate::stub::{Script, Stub};
use crate::up;

/// Millions of bytes a second.
const LEAST: f64 = 200.0;
/// About half a gigabyte: seconds of work, so that starting the process does not matter.
const RECORDS: u64 = 400_000;
const FILL: Duration = Duration::from_secs(2);
const COMMAND: &str = "cargo run --release -p loadtest -- prove verify";

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    eprintln!("proving `{}`", binary.display());
    let lab = Laboratory::open()?;
    let question = peers::question();
    let stub = Stub::start(Script::allow()).await?;
    let mut proved = countersign::start(&lab, &binary, &stub.url(), &options.spool_in, &question).await?;
    let mut answers = 0;
    while answers < RECORDS {
        let load = Load::new(proved.countersign.url()).connections(options.connections).mix(Mix::of(question.clone()));
        answers += load.duration(FILL).run().await?.answers();
        eprintln!("{answers} of {RECORDS} records");
    }
    proved.countersign.stop().await;
    let spool = proved.spool.path();
    let home = tempfile::tempdir_in(&options.spool_in)?;
    let file = home.path().join("records.jsonl");
    let bytes = written(&binary, spool, &file).await?;

    let key = spool.join("signing.pub");
    let mut rates = BTreeMap::from([("file", Vec::new()), ("spool", Vec::new())]);
    for round in 0..options.rounds {
        for (name, from, place) in [("file", "--file", file.as_path()), ("spool", "--spool", spool)] {
            let rate = rate(bytes, verified(&binary, &key, from, place).await?);
            eprintln!("round {} {name:<6} {rate:>6.0} MB/s", round + 1);
            rates.entry(name).or_default().push(rate);
        }
    }
    let medians = rates.iter().map(|(name, rates)| Ok((*name, turns::median(rates.clone())?)));
    let medians = medians.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    tell(bytes, options.rounds, &medians)?;
    let limits = medians.iter().map(|(name, rate)| {
        let rounds = rates.get(name).and_then(|rates| turns::spread(rates.iter().copied()));
        Limit::new(format!("MB/s of a {name}"), *rate, Bound::AtLeast(LEAST)).spread(rounds)
    });
    let setting = setting(bytes, options.rounds)?;
    let (binary, limits) = (binary.display().to_string(), limits.collect());
    Ok(Outcome { scenario: "verify".to_owned(), binary, setting, rows: Vec::new(), ratios: BTreeMap::new(), limits })
}

/// The spool's records as a file, one a line. Returns its bytes.
async fn written(binary: &Path, spool: &Path, file: &Path) -> anyhow::Result<u64> {
    let out = std::fs::File::create(file)?;
    let mut tail = Command::new(binary);
    let tail = tail.arg("tail").arg("--spool").arg(spool).args(["--no-follow", "--json"]).stdout(out);
    let done = tail.kill_on_drop(true).status().await.context("running `tail`")?;
    ensure!(done.success(), "`tail` ended with {done}");
    Ok(std::fs::metadata(file)?.len())
}

/// How long it took to find everything whole, with signatures.
async fn verified(binary: &Path, key: &Path, from: &str, place: &Path) -> anyhow::Result<Duration> {
    let mut verify = Command::new(binary);
    verify.arg("verify").arg(from).arg(place).arg("--public-key").arg(key).stderr(Stdio::inherit());
    let began = Instant::now();
    let done = verify.kill_on_drop(true).output().await.context("running `verify`")?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success() && said.starts_with("whole: "), "`verify` says:\n{said}");
    ensure!(said.contains("signed checkpoints state"), "no signature was checked:\n{said}");
    Ok(took)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

/// For docs/RELIABILITY.md.
fn tell(bytes: u64, rounds: usize, medians: &BTreeMap<&str, f64>) -> anyhow::Result<()> {
    let mut claim = Claim::new("verify-speed", COMMAND).figure("MB of records", bytes / 1_000_000);
    for (name, rate) in medians {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is small and positive")]
        let rate = *rate as u64;
        claim = claim.figure(&format!("MB/s of a {name}, median of {rounds}"), rate);
    }
    Ok(claim.write()?)
}

fn setting(bytes: u64, rounds: usize) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(BTreeMap::from([
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("kernel", release.trim().to_owned()),
        ("MB", (bytes / 1_000_000).to_string()),
        ("turns", rounds.to_string()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_millions_of_bytes_a_second() {
        assert!((rate(500_000_000, Duration::from_secs(2)) - 250.0).abs() < 1e-9);
        assert!(!Limit::new("x", rate(399_000_000, Duration::from_secs(2)), Bound::AtLeast(LEAST)).holds);
    }
}
