//! The claims about memory: a cached key costs at most 250 bytes, seen with a million of them (`--keys`); and what waits for Kafka
//! waits on the disk, so that memory is flat however long the backlog is.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;

use super::countersign::{Proved, Setting};
use super::outcome::{Bound, Limit, Outcome, mebibytes};
use super::{Options, countersign, peers, process, scrape};
use crate::laboratory::Laboratory;
use crate::load::{Load, Mix, QUESTION_SIZE};
use crate::question::Question;
use crate::up;

/// Share of them that must be there at the end: shards fill unevenly.
const THERE: f64 = 0.95;
const BYTES: f64 = 250.0;
/// What may be resident more behind a backlog.
const MEBIBYTES: f64 = 16.0;
const SETTLE: Duration = Duration::from_secs(2);
/// Nobody listens there: everything waits.
const NOBODY: &str = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\ntopic = \"countersign.decisions\"\n";

pub(super) async fn prove(options: &Options) -> anyhow::Result<Outcome> {
    let binary = up::binary().await?;
    let lab = Laboratory::open()?;
    let constant = lab.pingora(&peers::loadtest()?).start().await?;
    let url = constant.url();
    let cache = format!("[cache]\nentries = {}\nallow_ttl = \"1h\"\n", options.keys);
    let start = async |tables: &str| {
        let setting = Setting { url: &url, durability: "written", tables };
        countersign::start_as(&lab, &binary, &options.spool_in, &peers::question(), &setting).await
    };
    let mut limits = vec![keys(options, &start(&cache).await?).await?];
    limits.push(backlog(options, &start(NOBODY).await?).await?);
    let setting =
        BTreeMap::from([("keys", options.keys.to_string()), ("records of the backlog", options.records.to_string())]);
    let (scenario, binary) = ("memory".to_owned(), binary.display().to_string());
    Ok(Outcome { scenario, binary, setting, rows: Vec::new(), ratios: BTreeMap::new(), limits })
}

/// Asks so many questions, spread over so many objects. Returns what is resident before and after.
async fn grown(options: &Options, proved: &Proved, questions: u64, objects: u64) -> anyhow::Result<(u64, u64)> {
    let question = Question::new("alice", "s3:GetObject", "reports", "home/alice/########.csv").size(QUESTION_SIZE);
    let load = || Load::new(proved.countersign.url()).connections(options.connections);
    // Buffers, threads and the first pages are not what is asked about.
    load().mix(Mix::of(peers::question())).duration(SETTLE).run().await?;
    let pid = peers::pid(&proved.countersign)?;
    let before = process::memory(pid)?.resident;
    let running = load().mix(Mix::of(question).objects(objects)).start().await?;
    let mut last = 0;
    while running.answers() < questions {
        tokio::time::sleep(SETTLE).await;
        ensure!(running.answers() > last, "it answers no more\n{}", proved.countersign.log_tail());
        last = running.answers();
        eprintln!("{last} of {questions}");
    }
    let report = running.stop().await?;
    ensure!(report.allow == report.answers() && report.failed() == 0, "it did not allow everything:\n{report}");
    Ok((before, process::memory(pid)?.resident))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
async fn keys(options: &Options, proved: &Proved) -> anyhow::Result<Limit> {
    let (before, after) = grown(options, proved, options.keys, options.keys).await?;
    let there = scrape::sum(proved, "countersign_cache_entries").await?;
    ensure!(there >= options.keys as f64 * THERE, "only {there} keys are cached");
    Ok(Limit::new("bytes a cached key", after.saturating_sub(before) as f64 / there, Bound::Below(BYTES)))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 records")]
async fn backlog(options: &Options, proved: &Proved) -> anyhow::Result<Limit> {
    let (before, after) = grown(options, proved, options.records, 1).await?;
    let waiting = scrape::sum(proved, "countersign_spool_undelivered_records").await?;
    ensure!(waiting >= options.records as f64, "only {waiting} records wait");
    let more = mebibytes(after) - mebibytes(before);
    Ok(Limit::new("MiB more behind a backlog", more, Bound::Below(MEBIBYTES)))
}
