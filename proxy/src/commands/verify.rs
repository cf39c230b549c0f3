//! `countersign verify`: is the trail whole? Reads records from wherever they are and tells what `audit::verify` finds.
//! Changes nothing.

mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use anyhow::Context as _;
use indicatif::ProgressBar;

use super::Exit;
use super::readers::filter::instant;
use super::readers::noted;
use super::readers::progress::progress;
use super::readers::stream::Stream;
use super::readers::{Configured, Failure, FromArgs, Openers, Where};
use crate::audit::envelope::rfc3339;
use crate::audit::lifecycle::ReadBy;
use crate::audit::note::{NoteError, Verifier};
use crate::audit::verify::{Outcome, Report, Seen, TrustedKey, Verification};
use crate::kafka::partition::of_chain;
use crate::kafka::reader::Start;

/// Records that are read before they are looked at, by as many threads as there are cores.
const BATCH: usize = 8192;
/// Their bytes (one record more may be read): a few batches are in memory at a time.
const BATCH_BYTES: usize = 16 << 20;

/// Is the trail whole: nothing missing, changed, doubled with other bytes, forged
///
/// Says `whole`, `whole, gaps declared` (a record names what is missing, or how a process ended) or `broken`, and which
/// records. With a public key, an instance of which nothing is signed is broken, too; what came after a chain's last checkpoint
/// is signed by nothing, and counted. Exit codes: 0 whole, 1 broken, 2 could not run, 64 wrong usage or configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub from: FromArgs,
    /// Public half of the key that signs checkpoints: a file (`signing.pub` of the spool, or what `keygen` wrote) or the text
    /// itself. May be given several times. With `INSTANCE=` before it, it is trusted for that instance's chains only, so that
    /// nobody who has stolen one instance's key can sign for another; without, for all. Without any no signature is checked
    #[arg(long = "public-key", value_name = "[INSTANCE=]FILE|KEY")]
    pub public_keys: Vec<String>,
    /// Topic that keeps the checkpoints, at the same brokers. Shows records that were taken from the end, and whole chains.
    /// Where records are read from the topic of a configuration, it is the one that is named there
    #[arg(long, value_name = "TOPIC", requires = "brokers", conflicts_with = "checkpoints")]
    pub checkpoint_topic: Option<String>,
    /// File with kept checkpoint records, one a line, instead of the topic
    #[arg(long, value_name = "FILE")]
    pub checkpoints: Option<PathBuf>,
    /// Instances that must be there
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub instances: Vec<String>,
    /// From this time on everything must be there: RFC 3339, or how long ago (`90d`). What is cut at the start is retention's
    /// doing, or that of somebody who may delete; the records do not tell. Give what retention must have left
    #[arg(long, value_name = "TIME")]
    pub complete_since: Option<String>,
    /// Records were published again (`publish --again`): what comes behind later records fills the gap that it left, if it
    /// fits hash, tree and checkpoints. Without this, a changed order is a gap
    #[arg(long)]
    pub published_again: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &VerifyArgs, openers: &dyn Openers) -> Result<Exit, Failure> {
    let keys = args.public_keys.iter().map(|text| key(text)).collect::<Result<Vec<_>, _>>()?;
    let Configured { place, checkpoint_topic } = args.from.configured(openers)?;
    noted::note(&place, ReadBy::Verify, None, None);
    let mut verification = Verification::new(keys);
    if let Some(since) = &args.complete_since {
        verification.expect_complete_since(rfc3339(instant("complete-since", since, SystemTime::now())?));
    }
    if args.published_again {
        verification.expect_published_again();
    }
    if let Some(kept) = kept(args, &place, checkpoint_topic.as_deref()) {
        let mut stream = Stream::open(&kept, Start::Beginning, false, openers).with_context(|| unread(&kept))?;
        while let Some(found) = stream.read()? {
            verification.stated(&found.value);
        }
        verification.compare_elsewhere();
    }
    let mut stream = Stream::open(&place, Start::Beginning, false, openers)?;
    if let Some(cut) = stream.cut() {
        verification.from_topic(cut.iter().map(|(partition, cut)| (*partition, *cut)), of_chain);
    }
    feed(&mut verification, &mut stream, &progress(&place))?;
    if let Some((chain, seq)) = stream.oldest()? {
        verification.spool_still_has(chain, seq);
    }
    let report = verification.finish(&args.instances);
    print(&report, args.json, &mut io::stdout().lock())?;
    Ok(if report.outcome == Outcome::Broken { Exit::Found } else { Exit::Fine })
}

/// `INSTANCE=` before a key or a file binds it, unless there is a file that is called so.
fn key(text: &str) -> Result<TrustedKey, Failure> {
    let wrong = |error: NoteError| Failure::Usage(format!("`--public-key {text}`: {error}"));
    match (public(text)?, text.split_once('=')) {
        (Ok(key), _) => Ok(key.into()),
        (Err(_), Some((instance, rest))) if !instance.is_empty() && !Path::new(text).exists() => {
            Ok(TrustedKey { key: public(rest)?.map_err(wrong)?, instance: Some(instance.to_owned()) })
        }
        (Err(error), _) => Err(wrong(error)),
    }
}

/// A file's, or the text itself.
fn public(text: &str) -> Result<Result<Verifier, NoteError>, Failure> {
    let given = if Path::new(text).exists() {
        std::fs::read_to_string(text).with_context(|| format!("cannot read `{text}`"))?
    } else {
        text.to_owned()
    };
    Ok(Verifier::parse(&given))
}

/// Where the checkpoints are that were kept elsewhere: where the command line says, or else the configuration.
fn kept(args: &VerifyArgs, place: &Where, configured: Option<&str>) -> Option<Where> {
    if let Some(file) = &args.checkpoints {
        return Some(Where::File(file.clone()));
    }
    match (args.checkpoint_topic.as_deref().or(configured), place) {
        (Some(topic), Where::Kafka { connection, .. }) => {
            Some(Where::Kafka { connection: connection.clone(), topic: topic.to_owned() })
        }
        _ => None,
    }
}

/// A checkpoint topic that is gone is no reason to verify less without a word.
fn unread(kept: &Where) -> String {
    match kept {
        Where::Kafka { topic, .. } => {
            format!("checkpoints of `{topic}` cannot be read; `--brokers` and `--topic` verify without them")
        }
        Where::Spool(_) | Where::File(_) => "checkpoints cannot be read".to_owned(),
    }
}

/// What was read and is to be looked at together, each with its partition.
#[derive(Default)]
struct Batch {
    records: Vec<(i32, Vec<u8>)>,
    bytes: usize,
}

impl Batch {
    /// Adds one, and gives all away once they are enough.
    fn add(&mut self, partition: i32, value: Vec<u8>) -> Option<Vec<(i32, Vec<u8>)>> {
        self.bytes += value.len();
        self.records.push((partition, value));
        let is_full = self.records.len() >= BATCH || self.bytes >= BATCH_BYTES;
        is_full.then(|| std::mem::take(self).records)
    }
}

/// Hashing and reading JSON take the time: all cores do it for one batch while the next is read.
fn feed(verification: &mut Verification, stream: &mut Stream, bar: &ProgressBar) -> Result<(), Failure> {
    let (to_read, batches) = flume::bounded::<Vec<(i32, Vec<u8>)>>(2);
    let (to_check, checked) = flume::bounded::<Vec<(i32, Result<Seen, String>)>>(2);
    let looking = thread::spawn(move || {
        while let Ok(batch) = batches.recv() {
            if to_check.send(looked_at(&batch)).is_err() {
                return;
            }
        }
    });
    let mut take = |seen: Vec<(i32, Result<Seen, String>)>| {
        bar.inc(seen.iter().flat_map(|(_, seen)| seen).map(|s| s.bytes).sum());
        seen.into_iter().for_each(|(partition, seen)| verification.record_from(partition, seen));
    };
    let mut batch = Batch::default();
    while let Some(found) = stream.read()? {
        if let Some(full) = batch.add(found.place.partition(), found.value) {
            to_read.send(full).map_err(|_| anyhow::anyhow!("records cannot be looked at"))?;
            checked.try_iter().for_each(&mut take);
        }
    }
    drop(to_read.send(batch.records));
    drop(to_read);
    checked.iter().for_each(&mut take);
    bar.finish_and_clear();
    looking.join().map_err(|_| anyhow::anyhow!("looking at records ended with a panic"))?;
    Ok(())
}

fn looked_at(batch: &[(i32, Vec<u8>)]) -> Vec<(i32, Result<Seen, String>)> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = batch.len().div_ceil(cores).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = batch
            .chunks(share)
            .map(|part| {
                scope.spawn(move || part.iter().map(|(at, value)| (*at, Seen::read(value))).collect::<Vec<_>>())
            })
            .collect();
        let lost = || vec![(0, Err("looking at a record ended with a panic".to_owned()))];
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|_| lost())).collect()
    })
}

fn print(report: &Report, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string_pretty(report).context("the report is not serializable")? + "\n"
    } else {
        text::of(report)
    };
    out.write_all(text.as_bytes()).context("output cannot be written")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_records_fill_a_batch_by_their_bytes() {
        let fill = |size: usize| {
            let mut batch = Batch::default();
            std::iter::repeat_with(|| batch.add(0, vec![b' '; size])).flatten().next().map(|full| full.len())
        };
        assert_eq!(fill(100), Some(BATCH));
        assert_eq!(fill(64 << 10), Some(256), "8192 of these are half a GiB");
    }
}
