//! Records from wherever they are, one after the other, as bytes. Nothing is parsed here but lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::{Openers, SpoolEntries, Where};
use crate::audit::envelope::micros;
use crate::kafka::reader::{Next, Reader, Start};

/// A line may be this long (bytes): records are far shorter, pretty-printed ones do not fit in a line anyway.
const MAX_LINE: u64 = 1 << 20;

/// Between looks at the brokers.
const KAFKA_POLL: Duration = Duration::from_secs(1);

/// A record's bytes and where they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub place: Place,
    pub value: Vec<u8>,
}

/// For messages about a record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Kafka {
        partition: i32,
        offset: i64,
    },
    Spool {
        chain: Arc<str>,
        seq: u64,
    },
    /// From 1.
    Line(u64),
}

impl Place {
    /// 0 outside of Kafka.
    pub fn partition(&self) -> i32 {
        match self {
            Self::Kafka { partition, .. } => *partition,
            Self::Spool { .. } | Self::Line(_) => 0,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kafka { partition, offset } => write!(f, "partition {partition} offset {offset}"),
            Self::Spool { chain, seq } => write!(f, "chain `{chain}` record {seq}"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// Records in the order of their place; of several partitions, in any order between them.
pub enum Stream {
    Kafka(Box<Reader>),
    /// With the time before which records are passed over (microseconds since 1970).
    Spool(SpoolEntries, i64),
    Lines {
        input: Box<dyn BufRead>,
        line: u64,
    },
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kafka(_) => "Kafka",
            Self::Spool(..) => "Spool",
            Self::Lines { .. } => "Lines",
        })
    }
}

impl Stream {
    /// A file is read from its beginning to its end whatever `start` and `follow` say.
    pub fn open(place: &Where, start: Start, follow: bool, openers: &dyn Openers) -> anyhow::Result<Self> {
        match place {
            Where::Kafka { connection, topic } => {
                Ok(Self::Kafka(Box::new(Reader::open(connection, topic, start, follow)?)))
            }
            Where::Spool(dir) => {
                let from_us = match start {
                    Start::Beginning => i64::MIN,
                    Start::End => micros(SystemTime::now()),
                    Start::Since(ms) => ms.saturating_mul(1000),
                };
                Ok(Self::Spool(openers.spool(dir, follow)?, from_us))
            }
            Where::File(path) if path == Path::new("-") => Ok(Self::lines(BufReader::new(io::stdin()))),
            Where::File(path) => {
                let file = File::open(path).with_context(|| format!("`{}` cannot be opened", path.display()))?;
                Ok(Self::lines(BufReader::new(file)))
            }
        }
    }

    pub(crate) fn lines(input: impl BufRead + 'static) -> Self {
        Self::Lines { input: Box::new(input), line: 0 }
    }

    /// Of a topic: its partitions, each with whether its first records are gone.
    pub fn cut(&self) -> Option<&BTreeMap<i32, bool>> {
        match self {
            Self::Kafka(reader) => Some(reader.cut()),
            Self::Spool(..) | Self::Lines { .. } => None,
        }
    }

    /// Of a spool: the oldest record that is there now, by chain and seq.
    pub fn oldest(&self) -> anyhow::Result<Option<(String, u64)>> {
        match self {
            Self::Spool(entries, _) => entries.oldest().context("spool cannot be read"),
            Self::Kafka(_) | Self::Lines { .. } => Ok(None),
        }
    }

    /// The next record; waits for it when following. `None`: the end.
    pub fn read(&mut self) -> anyhow::Result<Option<Found>> {
        match self {
            Self::Kafka(reader) => loop {
                match reader.next(KAFKA_POLL)? {
                    Next::Record(record) => {
                        let place = Place::Kafka { partition: record.partition, offset: record.offset };
                        return Ok(Some(Found { place, value: record.value }));
                    }
                    Next::Idle => {}
                    Next::End => return Ok(None),
                }
            },
            Self::Spool(entries, from_us) => {
                for entry in entries {
                    let entry = entry.context("spool cannot be read")?;
                    if entry.time_us >= *from_us {
                        let place = Place::Spool { chain: entry.chain, seq: entry.seq };
                        return Ok(Some(Found { place, value: entry.value.into() }));
                    }
                }
                Ok(None)
            }
            Self::Lines { input, line } => next_line(input.as_mut(), line),
        }
    }
}

/// Empty lines are passed over.
fn next_line(input: &mut dyn BufRead, line: &mut u64) -> anyhow::Result<Option<Found>> {
    loop {
        let mut value = Vec::new();
        let read = input.take(MAX_LINE + 1).read_until(b'\n', &mut value).context("file cannot be read")?;
        if read == 0 {
            return Ok(None);
        }
        *line += 1;
        if value.len() as u64 > MAX_LINE {
            anyhow::bail!("line {line} is longer than {MAX_LINE} bytes");
        }
        while value.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            value.pop();
        }
        if !value.is_empty() {
            return Ok(Some(Found { place: Place::Line(*line), value }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &'static str) -> Vec<(u64, String)> {
        let mut stream = Stream::lines(text.as_bytes());
        let mut found = Vec::new();
        while let Some(Found { place: Place::Line(line), value }) = stream.read().unwrap() {
            found.push((line, String::from_utf8(value).unwrap()));
        }
        found
    }

    #[test]
    fn lines_are_records() {
        assert_eq!(all("a\r\n\nb"), [(1, "a".to_owned()), (3, "b".to_owned())]);
        assert_eq!(all(""), []);
    }

    #[test]
    fn endless_lines_end() {
        let mut stream = Stream::lines(BufReader::new(io::repeat(b'x')));
        assert_eq!(stream.read().unwrap_err().to_string(), "line 1 is longer than 1048576 bytes");
    }
}
