//! Reads the records of one epoch in order, across its segments: leaves out duplicates, goes past damage and says which
//! records it took. Called by `backlog`, `recovery` and `scan`. Never writes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::audit::files::Files;
use crate::audit::reader::{SegmentReader, Step};

/// The name of an epoch's directory: the start of its process in milliseconds since 1970, and its random part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(Arc<str>);

impl EpochId {
    pub fn new(millis: u64, random: u64) -> Self {
        Self(format!("{millis:013}-{random:016x}").into())
    }

    /// `None` if no epoch's directory is called so.
    pub fn parse(name: &str) -> Option<Self> {
        let (millis, random) = name.split_once('-')?;
        let hex = random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
        (millis.len() >= 13 && millis.bytes().all(|b| b.is_ascii_digit()) && hex).then(|| Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The random part, which is the end of the chain's id.
    pub fn random(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, random)| random)
    }

    /// Relative to the spool's directory.
    pub fn directory(&self) -> String {
        format!("epochs/{}", self.0)
    }
}

/// A record as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub epoch: EpochId,
    pub chain: Arc<str>,
    pub seq: u64,
    /// Microseconds since 1970: the record's `time`.
    pub time_us: i64,
    pub value: Bytes,
    /// When it was written, the answers to all records before this seq had left.
    pub settled: u64,
}

/// Records that are not there, and where they would be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Damage {
    pub epoch: EpochId,
    pub chain: Arc<str>,
    pub segment: String,
    pub offset: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

#[derive(Debug)]
pub enum Read {
    Record(Entry),
    Damage(Damage),
    End,
}

/// How much of the epoch is there to be read.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// Its process is gone.
    Closed,
    /// This process writes it: up to, without, `next`; in segment `number` up to `offset`.
    Live { next: u64, number: u64, offset: u64 },
    /// Another process may be writing it.
    Followed,
}

/// `<first seq>-<number>.seg`.
pub fn segment_name(first_seq: u64, number: u64) -> String {
    format!("{first_seq:020}-{number:06}.seg")
}

/// First seq and number; `None` for other files.
pub fn parse_segment_name(name: &str) -> Option<(u64, u64)> {
    let (first, number) = name.strip_suffix(".seg")?.split_once('-')?;
    Some((first.parse().ok()?, number.parse().ok()?))
}

/// Names of the epoch's segments in the order in which they were begun.
pub fn list_segments(files: &dyn Files, epoch: &EpochId) -> io::Result<Vec<String>> {
    let mut names = files.list(&epoch.directory())?;
    names.retain(|n| parse_segment_name(n).is_some());
    names.sort_by_key(|n| parse_segment_name(n).map(|(first, number)| (number, first)));
    Ok(names)
}

pub struct EpochReader {
    files: Arc<dyn Files>,
    epoch: EpochId,
    chain: Arc<str>,
    /// Not begun yet, in order.
    ahead: VecDeque<String>,
    current: Option<(String, SegmentReader)>,
    /// Numbers up to this have been seen in a listing.
    listed: Option<u64>,
    next_seq: Option<u64>,
    /// Bytes that were skipped since the last record.
    skipped: (u64, u64),
    /// Segments left because the record that is due was not in them, while a later one may hold it too.
    left: Vec<String>,
    /// The record that is due is in no segment.
    lost: Option<u64>,
    /// What cannot be read is passed over as damage; otherwise it is an error.
    pub salvage: bool,
}

impl EpochReader {
    /// Reads from `from`; `None` is from the first record that is there.
    pub fn new(files: Arc<dyn Files>, epoch: EpochId, from: Option<u64>) -> Self {
        Self {
            files,
            chain: Arc::from(""),
            epoch,
            ahead: VecDeque::new(),
            current: None,
            listed: None,
            next_seq: from,
            skipped: (0, 0),
            left: Vec::new(),
            lost: None,
            salvage: false,
        }
    }

    /// Reads the last `segments` of a closed epoch.
    pub fn tail(files: Arc<dyn Files>, epoch: EpochId, segments: usize) -> io::Result<Self> {
        let mut reader = Self::new(files, epoch, None);
        reader.list()?;
        let surplus = reader.ahead.len().saturating_sub(segments);
        reader.ahead.drain(..surplus);
        Ok(reader)
    }

    /// The seq that is read next.
    pub fn next_seq(&self) -> u64 {
        self.next_seq.unwrap_or(0)
    }

    /// At the end: the records up to, without, `end` that were not found.
    pub fn missing(&self, end: u64) -> Option<Damage> {
        let first_seq = self.next_seq();
        (first_seq < end).then(|| Damage {
            epoch: self.epoch.clone(),
            chain: self.chain.clone(),
            segment: String::new(),
            offset: self.skipped.0,
            bytes: self.skipped.1,
            first_seq,
            last_seq: end - 1,
        })
    }

    pub fn next(&mut self, extent: Extent) -> io::Result<Read> {
        if let Extent::Live { next, .. } = extent
            && self.next_seq() >= next
        {
            self.forget();
            return Ok(Read::End);
        }
        loop {
            if self.current.is_none() && !self.open_next()? {
                if self.go_back() {
                    continue;
                }
                return Ok(Read::End);
            }
            let more = self.has_more(extent)?;
            let Some((name, reader)) = &mut self.current else { continue };
            let (limit, closed) = match extent {
                Extent::Closed => (u64::MAX, true),
                Extent::Live { number, offset, .. } if number == reader.header().number => (offset, true),
                Extent::Live { .. } => (u64::MAX, true),
                Extent::Followed => (u64::MAX, more),
            };
            reader.salvage = self.salvage;
            match reader.step(limit, closed)? {
                Step::Skipped { offset, bytes } => self.skipped = (offset, bytes),
                Step::Frame(meta) => {
                    let next = *self.next_seq.get_or_insert(meta.seq);
                    if meta.seq > next && self.lost != Some(next) {
                        self.look_further(next);
                        continue;
                    }
                    if meta.seq > next {
                        let damage = Damage {
                            epoch: self.epoch.clone(),
                            chain: self.chain.clone(),
                            segment: name.clone(),
                            offset: if self.skipped.1 > 0 { self.skipped.0 } else { reader.offset() },
                            bytes: self.skipped.1,
                            first_seq: next,
                            last_seq: meta.seq - 1,
                        };
                        self.next_seq = Some(meta.seq);
                        self.skipped = (0, 0);
                        return Ok(Read::Damage(damage));
                    }
                    let value = if meta.seq == next { Some(Bytes::copy_from_slice(reader.payload())) } else { None };
                    reader.consume(meta);
                    self.skipped = (0, 0);
                    if let Some(value) = value {
                        self.left.clear();
                        self.next_seq = Some(next + 1);
                        let (epoch, chain) = (self.epoch.clone(), self.chain.clone());
                        let (seq, time_us, settled) = (meta.seq, meta.time_us, meta.settled);
                        return Ok(Read::Record(Entry { epoch, chain, seq, time_us, value, settled }));
                    }
                }
                Step::End if !self.left.is_empty() => self.look_further(self.next_seq()),
                Step::End if more => self.current = None,
                Step::End => {
                    self.forget();
                    return Ok(Read::End);
                }
            }
        }
    }

    /// The record `next` is not where it should be. The segment may have been given up after a failure, and what it had
    /// lost written again to the one after it; only if that has not got it either, it is lost.
    fn look_further(&mut self, next: u64) {
        let following = self.ahead.front().and_then(|n| parse_segment_name(n)).map(|(first, _)| first);
        let nowhere = following.is_none_or(|first| first > next);
        if nowhere && self.left.is_empty() {
            self.lost = Some(next);
            return;
        }
        self.left.extend(self.current.take().map(|(name, _)| name));
        if nowhere {
            self.go_back();
        }
    }

    /// To the segments that were left, to go past what is lost. False if there are none.
    fn go_back(&mut self) -> bool {
        let back = !self.left.is_empty();
        if back {
            self.lost = self.next_seq;
            while let Some(name) = self.left.pop() {
                self.ahead.push_front(name);
            }
        }
        back
    }

    fn forget(&mut self) {
        if let Some((_, reader)) = &mut self.current {
            reader.forget();
        }
    }

    /// Whether a later segment exists. One that is being written is listed again; a closed epoch once.
    fn has_more(&mut self, extent: Extent) -> io::Result<bool> {
        let Some((_, reader)) = &self.current else { return Ok(false) };
        let number = reader.header().number;
        match extent {
            Extent::Closed => {}
            Extent::Live { number: writing, .. } if writing > number && self.ahead.is_empty() => self.list()?,
            Extent::Live { .. } => {}
            Extent::Followed if self.ahead.is_empty() => self.list()?,
            Extent::Followed => {}
        }
        Ok(!self.ahead.is_empty())
    }

    fn list(&mut self) -> io::Result<()> {
        for name in list_segments(self.files.as_ref(), &self.epoch)? {
            let number = parse_segment_name(&name).map(|(_, number)| number);
            if number > self.listed {
                self.listed = number;
                self.ahead.push_back(name);
            }
        }
        Ok(())
    }

    /// Begins the next segment with a whole header, of this epoch, that can hold records from `next_seq` on.
    fn open_next(&mut self) -> io::Result<bool> {
        if self.ahead.is_empty() && self.current.is_none() {
            self.list().or_else(|error| if self.salvage { Ok(()) } else { Err(error) })?;
        }
        while let Some(name) = self.ahead.pop_front() {
            if self.skippable(&name) {
                continue;
            }
            let path = format!("{}/{name}", self.epoch.directory());
            let opened = match self.files.open(&path).and_then(SegmentReader::open) {
                Ok(opened) => opened,
                // Given way between the listing and now.
                Err(error) if self.salvage || error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    self.ahead.push_front(name);
                    return Err(error);
                }
            };
            let Some(reader) = opened.filter(|r| r.header().chain.ends_with(self.epoch.random())) else { continue };
            self.chain = reader.header().chain.as_str().into();
            self.current = Some((name, reader));
            return Ok(true);
        }
        Ok(false)
    }

    /// All that the segment just taken could hold is behind us: the one after it begins before `next_seq`. One that
    /// begins just there may be the second attempt at what this one holds too, and the worse of the two. One that begins
    /// before the segment itself is out of place, somebody's copy, and says nothing.
    fn skippable(&self, name: &str) -> bool {
        let first = |name: &str| parse_segment_name(name).map(|(first, _)| first);
        let following = self.ahead.front().and_then(|following| first(following));
        self.lost != self.next_seq
            && following
                .zip(self.next_seq)
                .is_some_and(|(following, next)| following < next && Some(following) >= first(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_and_are_read_back() {
        let id = EpochId::new(1_795_439_107_000, 0x9c1e);
        assert_eq!(id.as_str(), "1795439107000-0000000000009c1e");
        assert_eq!(EpochId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.random(), "0000000000009c1e");
        assert!(EpochId::new(7, 1) < id);
        assert_eq!(EpochId::parse("lost+found"), None);
        assert_eq!(parse_segment_name(&segment_name(184_467, 3)), Some((184_467, 3)));
        assert_eq!(parse_segment_name("spare-000003"), None);
    }
}
