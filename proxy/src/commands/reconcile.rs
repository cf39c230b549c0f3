//! `reconcile`: the decisions beside MinIO's own audit log. The two know nothing of each other but the signature of a request,
//! so that what is missing from one shows in the other. Reads only.

mod report;
mod tables;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::Exit;
use super::readers::filter::{Filter, time_us};
use super::readers::minio_audit::Operations;
use super::readers::noted;
use super::readers::progress::progress;
use super::readers::stream::Stream;
use super::readers::{Failure, Openers, ReaderArgs, Where};
use crate::audit::lifecycle::ReadBy;
use crate::kafka::reader::Start;
use tables::Tables;

/// Compare the decisions with MinIO's audit log: operations without a decision, decisions without an operation
///
/// The audit log is what MinIO's audit webhook sends, one JSON object a line. `--since`, `--until` and `--client` (the MinIO whose
/// log it is) narrow both sides; other filters would make gaps of their own. Exit codes: 0 nothing is unexplained, 1 something
/// is, 2 could not run, 64 wrong usage or configuration.
#[derive(Debug, Clone, Args)]
pub struct ReconcileArgs {
    /// File with MinIO's audit log; several for several nodes, `-` is standard input
    #[arg(long, value_name = "FILE", required = true)]
    pub minio_audit: Vec<PathBuf>,
    /// Examples of each kind
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub examples: usize,
    #[command(flatten)]
    pub reader: ReaderArgs,
}

pub fn run(args: &ReconcileArgs, openers: &dyn Openers) -> Result<Exit, Failure> {
    reconcile(args, openers, &mut io::stdout().lock())
}

fn reconcile(args: &ReconcileArgs, openers: &dyn Openers, out: &mut dyn Write) -> Result<Exit, Failure> {
    let what = &args.reader.what;
    let others = [&what.principal, &what.account, &what.bucket, &what.object, &what.action, &what.reason, &what.route];
    if others.iter().any(|glob| glob.is_some()) {
        let text = "only `--since`, `--until` and `--client` narrow both sides alike; other filters would make gaps of their own";
        return Err(Failure::Usage(text.to_owned()));
    }
    let filter = args.reader.filter()?;
    let place = args.reader.from.place(openers)?;
    noted::note(&place, ReadBy::Reconcile, filter.since_us(), filter.until_us());
    let mut tables = Tables::new(args.examples);
    for file in &args.minio_audit {
        operations(&mut tables, file, &filter, openers)?;
    }
    decisions(&mut tables, &place, &filter, openers)?;
    let report = tables.report(&filter);
    let text = if args.reader.json {
        serde_json::to_string_pretty(&report).context("the report is not serializable")? + "\n"
    } else {
        report.text()
    };
    out.write_all(text.as_bytes()).context("output cannot be written")?;
    Ok(if report.is_explained() { Exit::Fine } else { Exit::Found })
}

fn operations(tables: &mut Tables, file: &Path, filter: &Filter, openers: &dyn Openers) -> Result<(), Failure> {
    let bar = progress(&Where::File(file.to_path_buf()));
    let mut operations = Operations::open(file, openers)?;
    while let Some((operation, bytes)) = operations.read()? {
        bar.inc(bytes);
        let since = filter.since_us().is_none_or(|since| operation.time_us.is_some_and(|ended| ended >= since));
        let until = filter.until_us().is_none_or(|until| operation.began_us.is_some_and(|began| began < until));
        if since && until {
            tables.operation(operation)?;
        }
    }
    tables.passed_over(operations.passed_over);
    bar.finish_and_clear();
    Ok(())
}

fn decisions(tables: &mut Tables, place: &Where, filter: &Filter, openers: &dyn Openers) -> Result<(), Failure> {
    let bar = progress(place);
    let start = filter.since_us().map_or(Start::Beginning, |since| Start::Since(since.div_euclid(1000)));
    let mut stream = Stream::open(place, start, false, openers)?;
    while let Some(found) = stream.read()? {
        bar.inc(found.value.len() as u64);
        let Ok(record) = serde_json::from_slice::<Value>(&found.value) else {
            tables.unreadable();
            continue;
        };
        // How far the trail goes is known from every record, of whatever kind.
        if let Some(time) = time_us(&record) {
            tables.seen(time);
        }
        if record.pointer("/data/decision").is_some() && filter.matches(&record) {
            tables.decision(&record);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

#[cfg(test)]
mod tests;
