//! `tail`: records as they arrive, one a line. Reads only; not the stream's consumer of record.

pub(super) mod line;
mod ocsf;

use std::io::{self, IsTerminal as _, Write};
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::readers::filter::{Filter, time_us};
use super::readers::noted;
use super::readers::stream::{Found, Place, Stream};
use super::readers::{Failure, Openers, ReaderArgs, Where};
use crate::audit::envelope::micros;
use crate::audit::lifecycle::ReadBy;
use crate::kafka::reader::Start;
pub use line::Style;

/// Show decisions as they are made
///
/// Reads the Kafka topic or the spool from now on and waits for more; a file is read from its beginning to its end.
/// A line is: time, decision, principal, action, resource, reason, origin, latency, record id. Exit codes: 0 fine,
/// 2 could not run, 64 wrong usage or configuration.
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    #[command(flatten)]
    pub reader: ReaderArgs,
    /// Denies only, without the advisory ones (where a deny is not an outcome)
    #[arg(long)]
    pub deny: bool,
    /// With `--deny`: advisory denies too
    #[arg(long, requires = "deny")]
    pub all: bool,
    /// Begin with the oldest record, not with the next one
    #[arg(long, conflicts_with = "since")]
    pub from_start: bool,
    /// End with the newest record; begins with the oldest unless `--since` says otherwise. So does an `--until` that has
    /// passed
    #[arg(long)]
    pub no_follow: bool,
    /// How records are shown. `json`, which is `--json`: their bytes, one a line; `ocsf`: as events of OCSF, mostly API
    /// Activity, one a line
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "json")]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
    Ocsf,
}

impl TailArgs {
    fn format(&self) -> Format {
        if self.reader.json { Format::Json } else { self.format }
    }
}

/// To standard output. The caller prints a failure and exits with its code.
pub fn run(args: &TailArgs, openers: &dyn Openers) -> Result<(), Failure> {
    let stdout = io::stdout();
    let style = Style::of(stdout.is_terminal(), std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()));
    let shown = show(args, openers, &mut stdout.lock(), &mut io::stderr().lock(), style);
    match shown {
        // Whoever read our output has seen enough.
        Err(Failure::CouldNot(error)) if broken_pipe(&error) => Ok(()),
        other => other,
    }
}

fn show(
    args: &TailArgs,
    openers: &dyn Openers,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
    style: Style,
) -> Result<(), Failure> {
    let filter = args.reader.filter()?;
    let place = args.reader.from.place(openers)?;
    let (start, follow) = span(args, &filter, &place);
    noted::note(&place, ReadBy::Tail, filter.since_us(), filter.until_us());
    let mut stream = Stream::open(&place, start, follow, openers)?;
    let ordered = !matches!(place, Where::Kafka { .. });
    while let Some(found) = stream.read()? {
        let Ok(record) = serde_json::from_slice::<Value>(&found.value) else {
            unreadable(complaints, &found.place);
            continue;
        };
        // Spool and file are in the order of time, so that nothing wanted can follow.
        if ordered && filter.until_us().zip(time_us(&record)).is_some_and(|(until, time)| time >= until) {
            return Ok(());
        }
        if filter.matches(&record) && (!args.deny || is_deny(&record, args.all)) {
            print(args, out, &found, &record, style).context("output cannot be written")?;
        }
    }
    Ok(())
}

fn span(args: &TailArgs, filter: &Filter, place: &Where) -> (Start, bool) {
    // Nothing that is still to come is from before now.
    let over = filter.until_us().is_some_and(|until| until <= micros(SystemTime::now()));
    let follow = !args.no_follow && !over && !matches!(place, Where::File(_));
    let start = match filter.since_us() {
        Some(since) => Start::Since(since.div_euclid(1000)),
        None if args.from_start || !follow => Start::Beginning,
        None => Start::End,
    };
    (start, follow)
}

fn print(args: &TailArgs, out: &mut dyn Write, found: &Found, record: &Value, style: Style) -> io::Result<()> {
    match args.format() {
        Format::Text => out.write_all(line::text(record, style).as_bytes())?,
        Format::Json => out.write_all(&found.value)?,
        Format::Ocsf => out.write_all(ocsf::event(record).to_string().as_bytes())?,
    }
    out.write_all(b"\n")?;
    out.flush()
}

/// Only decisions are denies.
fn is_deny(record: &Value, advisory_too: bool) -> bool {
    let denied = record.pointer("/data/decision").and_then(Value::as_str) == Some("deny");
    let advisory = record.pointer("/data/advisory").and_then(Value::as_bool).unwrap_or(false);
    denied && (advisory_too || !advisory)
}

fn unreadable(complaints: &mut dyn Write, place: &Place) {
    // Nobody may be reading our complaints; that is no reason to stop.
    drop(writeln!(complaints, "{place}: not a JSON record, passed over"));
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
