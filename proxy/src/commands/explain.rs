//! `explain`: why a decision is what it is, in sentences: who decided, from which record, after which attempts, where its trace
//! is, and what to do about a fault. Reads only, and knows what records say: not the policy, and not what MinIO did then.

mod find;
mod story;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use uuid::Uuid;

use super::Exit;
use super::readers::filter::instant;
use super::readers::minio_audit::{Operation, Operations};
use super::readers::noted;
use super::readers::progress::progress;
use super::readers::{Failure, Openers, ReaderArgs};
use crate::app::parts;
use crate::audit::lifecycle::ReadBy;
use crate::config;
use find::Wanted;
use story::Traces;

/// Why was this denied, or allowed
///
/// Give the id of a record (the header `X-Countersign-Decision`, a line of `tail`, an attribute of a span); or who, what and
/// when: `--account alice --object '2026/*' --time 2026-11-23T13:00:00Z`; or MinIO's request id, with the file of its audit
/// log: `--request-id 17F… --minio-audit audit.jsonl`. Exit codes: 0 allowed, 1 a deny was explained, 2 nothing was found or
/// could not run, 64 wrong usage or configuration.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Id of a record
    #[arg(value_name = "ID", conflicts_with_all = ["time", "request_id"])]
    pub id: Option<Uuid>,
    /// When it was, about: RFC 3339, or how long ago (`10m`)
    #[arg(long, value_name = "TIME", conflicts_with_all = ["since", "until"])]
    pub time: Option<String>,
    /// How far before and after `--time` to look
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = humantime::parse_duration, requires = "time")]
    pub within: Duration,
    /// What MinIO calls the request: `x-amz-request-id` of its answer
    #[arg(long, value_name = "ID", requires = "minio_audit", conflicts_with = "time")]
    pub request_id: Option<String>,
    /// File with MinIO's audit log, one JSON object a line
    #[arg(long, value_name = "FILE", requires = "request_id")]
    pub minio_audit: Option<PathBuf>,
    /// Decisions to explain at most
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,
    #[command(flatten)]
    pub reader: ReaderArgs,
}

pub fn run(args: &ExplainArgs, openers: &dyn Openers) -> Result<Exit, Failure> {
    let traces = traces(args)?;
    explain(args, openers, &traces, &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// What the configuration that was named says about traces.
fn traces(args: &ExplainArgs) -> Result<Traces, Failure> {
    let Some(path) = args.reader.from.configuration() else { return Ok(Traces::Unknown) };
    let config = config::load(&path)?.config;
    let generation = config.generation();
    Ok(match &config.otlp {
        None => Traces::Off { generation },
        Some(otlp) => Traces::On { sample: otlp.sample, always: parts::always(otlp), generation },
    })
}

fn explain(
    args: &ExplainArgs,
    openers: &dyn Openers,
    traces: &Traces,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<Exit, Failure> {
    let operation = operation(args, openers)?;
    let wanted = wanted(args, operation.as_ref())?;
    let place = args.reader.from.place(openers)?;
    noted::note(&place, ReadBy::Explain, wanted.begins_us(), wanted.ends_us());
    let found = find::find(&place, &wanted, args.limit.max(1), openers, &progress(&place))?;
    if let (Some(operation), false) = (&operation, args.reader.json) {
        write(out, &story::of_operation(operation, found.decisions.len()))?;
    }
    if found.decisions.is_empty() {
        // Nobody may be reading our complaints.
        drop(complaints.write_all(story::of_nothing(&wanted, &found).as_bytes()));
        return Ok(Exit::Failed);
    }
    for decision in &found.decisions {
        let story = story::of(decision, &found, traces);
        write(out, &if args.reader.json { story.json(decision, &found)? } else { story.text() })?;
    }
    if found.more > 0 {
        drop(writeln!(complaints, "{} more match; `--limit` shows more, or narrow it down", found.more));
    }
    Ok(if found.decisions.iter().any(find::is_deny) { Exit::Found } else { Exit::Fine })
}

fn write(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    Ok(out.write_all(text.as_bytes()).context("output cannot be written")?)
}

/// The entry of MinIO's audit log that is asked about.
fn operation(args: &ExplainArgs, openers: &dyn Openers) -> Result<Option<Operation>, Failure> {
    let (Some(id), Some(file)) = (&args.request_id, &args.minio_audit) else { return Ok(None) };
    let mut operations = Operations::open(file, openers)?;
    while let Some((operation, _)) = operations.read()? {
        if operation.request_id == *id {
            return Ok(Some(operation));
        }
    }
    let text = format!(
        "no entry of `{}` has the request id `{id}`. MinIO writes an entry when a request has ended, and drops entries \
         while its audit target is away",
        file.display()
    );
    Err(Failure::CouldNot(anyhow::anyhow!(text)))
}

fn wanted(args: &ExplainArgs, operation: Option<&Operation>) -> Result<Wanted, Failure> {
    let filter = args.reader.filter()?;
    if let Some(operation) = operation {
        let unsigned = || {
            let text = "the request was not signed in a way that its audit entry shows (anonymous, or a form upload): \
                        MinIO either asked nobody about it or asked without a signature. Look with `--object` and `--time`";
            Failure::CouldNot(anyhow::anyhow!(text))
        };
        let signature = operation.signature_sha256.clone().ok_or_else(unsigned)?;
        return Ok(Wanted::signed(signature, operation.began_us, operation.time_us, filter));
    }
    if let Some(id) = args.id {
        return Ok(Wanted::id(id, filter));
    }
    if !filter.names_members() {
        let text =
            "say which decision: its id, or `--account`, `--object` and the like with `--time`, or `--request-id`";
        return Err(Failure::Usage(text.to_owned()));
    }
    let time = args.time.as_deref().map(|time| instant("time", time, SystemTime::now())).transpose()?;
    if time.is_none() && filter.since_us().is_none() {
        return Err(Failure::Usage("say when: `--time`, or `--since` and `--until`".to_owned()));
    }
    Ok(Wanted::like(filter, time, args.within))
}

#[cfg(test)]
mod tests;
