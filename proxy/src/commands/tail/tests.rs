//! `tail` over files and over a spool that follows, as its caller sees it.

use std::path::Path;

use bytes::Bytes;
use clap::Parser;

use super::*;
use crate::audit::publisher::{Entry, EpochId};
use crate::commands::readers::{Configured, SpoolEntries, SpoolReading};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    tail: TailArgs,
}

/// A spool with three records, the last of which is of the far future.
struct Three;

/// They stay there.
struct Records(std::vec::IntoIter<Entry>);

impl Iterator for Records {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(Ok)
    }
}

impl SpoolReading for Records {
    fn oldest(&self) -> io::Result<Option<(String, u64)>> {
        Ok(Some(("c".to_owned(), 0)))
    }
}

impl Openers for Three {
    fn config(&self, _: &Path) -> Result<Configured, Failure> {
        Ok(Where::Spool("/spool".into()).into())
    }

    fn spool(&self, _: &Path, _: bool) -> anyhow::Result<SpoolEntries> {
        let times =
            [("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:01Z", 1_000_000), ("2100-01-01T00:00:00Z", i64::MAX)];
        let records: Vec<Entry> = times
            .into_iter()
            .enumerate()
            .map(|(i, (time, time_us))| {
                let value = Bytes::from(format!("{{\"id\":\"{i}\",\"time\":\"{time}\"}}"));
                Entry { epoch: EpochId::new(1, 1), chain: "c".into(), seq: i as u64, time_us, value, settled: 0 }
            })
            .collect();
        Ok(Box::new(Records(records.into_iter())))
    }
}

const FILE: &str = concat!(
    r#"{"id":"a","time":"2026-11-23T13:00:00Z","data":{"decision":"allow","advisory":false}}"#,
    "\n",
    r#"{"id":"b","time":"2026-11-23T13:00:01Z","data":{"decision":"deny","advisory":false,"resource":{"bucket":"x"}}}"#,
    "\nnonsense\n",
    r#"{"id":"c","time":"2026-11-23T13:00:02Z","data":{"decision":"deny","advisory":true}}"#,
    "\n",
    r#"{"id":"d","time":"2026-11-23T13:00:03Z","data":{"event":"chain_closed"}}"#,
    "\n"
);

fn tail(args: &[&str]) -> Result<(String, String), Failure> {
    let cli = Cli::try_parse_from([&["tail"], args].concat()).map_err(|e| Failure::Usage(e.to_string()))?;
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    show(&cli.tail, &Three, &mut out, &mut complaints, Style::Plain)?;
    Ok((String::from_utf8(out).unwrap(), String::from_utf8(complaints).unwrap()))
}

/// The last word of every line: the record id.
fn ids(args: &[&str]) -> String {
    let (out, _) = tail(args).unwrap();
    out.lines().filter_map(|line| line.split_whitespace().last()).collect::<Vec<_>>().join(" ")
}

fn file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    file
}

#[test]
fn denies_leave_out_the_advisory_ones_unless_all() {
    let file = file();
    let path = file.path().to_str().unwrap();
    assert_eq!(ids(&["--file", path]), "a b c d");
    assert_eq!(ids(&["--file", path, "--deny"]), "b");
    assert_eq!(ids(&["--file", path, "--deny", "--all"]), "b c");
    assert_eq!(ids(&["--file", path, "--bucket", "*"]), "b");
    assert_eq!(ids(&["--file", path, "--since", "2026-11-23T13:00:01Z", "--until", "2026-11-23T13:00:03Z"]), "b c");
}

#[test]
fn json_is_the_records_bytes() {
    let file = file();
    let (out, complaints) = tail(&["--file", file.path().to_str().unwrap(), "--json"]).unwrap();
    assert_eq!(out, FILE.replace("nonsense\n", ""));
    assert_eq!(complaints, "line 3: not a JSON record, passed over\n");
    let path = file.path().to_str().unwrap();
    assert_eq!(tail(&["--file", path, "--format", "json"]).unwrap().0, out);
    for both in ["json", "ocsf", "text"] {
        assert_eq!(tail(&["--file", path, "--json", "--format", both]).unwrap_err().code(), 64, "{both}");
    }
    let (events, _) = tail(&["--file", path, "--deny", "--format", "ocsf"]).unwrap();
    let event: Value = serde_json::from_str(&events).unwrap();
    assert_eq!((&event["metadata"]["uid"], events.lines().count()), (&"b".into(), 1));
}

#[test]
fn a_spool_is_read_from_now_on_unless_said_otherwise() {
    assert_eq!(ids(&["--spool", "/spool"]), "2");
    assert_eq!(ids(&["--config", "/config"]), "2");
    assert_eq!(ids(&["--spool", "/spool", "--from-start"]), "0 1 2");
    assert_eq!(ids(&["--spool", "/spool", "--no-follow"]), "0 1 2");
    assert_eq!(ids(&["--spool", "/spool", "--since", "1970-01-01T00:00:01Z"]), "1 2");
    assert_eq!(ids(&["--spool", "/spool", "--from-start", "--until", "1970-01-01T00:00:01Z"]), "0");
    assert_eq!(ids(&["--spool", "/spool", "--until", "10m"]), "0 1");
}

#[test]
fn wrong_usage_and_what_cannot_be_opened_differ() {
    assert_eq!(tail(&["--file", "x", "--all"]).unwrap_err().code(), 64);
    assert_eq!(tail(&["--file", "x", "--since", "never"]).unwrap_err().code(), 64);
    assert_eq!(tail(&["--file", "/does/not/exist"]).unwrap_err().code(), 2);
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_gone_is_recognised() {
    let file = file();
    let cli = Cli::try_parse_from(["tail", "--file", file.path().to_str().unwrap()]).unwrap();
    let failed = show(&cli.tail, &Three, &mut Closed, &mut io::sink(), Style::Plain);
    let Err(Failure::CouldNot(error)) = failed else { panic!("{failed:?}") };
    assert!(broken_pipe(&error));
}
