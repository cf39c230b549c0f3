//! Reads the records of one epoch in order, across its segments: leaves out duplicates, goes past damage and says which
//! records it took. Called by `backlog`, `recovery` and `scan`. Never writes.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::audit::chain;
use crate::audit::files::Files;
use crate::audit::reader::{SegmentReader, Step};
use crate::audit::segment::Meta;

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
    /// SHA-256 of the record before `first_seq`, where that one was read or a segment names it.
    pub before: Option<[u8; 32]>,
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

/// A segment that has not been read to its end.
struct Candidate {
    name: String,
    number: u64,
    first_seq: u64,
    /// Opened when it is looked into.
    reader: Option<SegmentReader>,
    /// The frame that comes next in it.
    pending: Option<Meta>,
    /// Bytes before that frame which are none.
    skipped: Option<(u64, u64)>,
}

/// How far a candidate is.
enum Stand {
    /// Its next frame is the record that is due.
    Due,
    /// Its next frame is a later one.
    Ahead,
    /// Nothing yet; it may be written to.
    Waiting,
    /// Nothing any more.
    Ended,
}

/// A record may be in several segments: in one that was given up after a failure and, byte-identical, in those begun after
/// it; or in somebody's copy. So all segments that can hold the record that is due are looked into, in the order of
/// their headers. What is whole in any of them is read; what is whole in none is damage.
pub struct EpochReader {
    files: Arc<dyn Files>,
    epoch: EpochId,
    chain: Arc<str>,
    /// The last listing was whole.
    listed: bool,
    /// Names that were seen in it.
    known: HashSet<String>,
    /// The highest number of a segment that was found.
    newest: Option<u64>,
    /// Not looked into yet, by first seq and number.
    ahead: VecDeque<Candidate>,
    /// Those that can hold the record that is due.
    active: Vec<Candidate>,
    next_seq: Option<u64>,
    /// The last record that was read, with its seq.
    last: Option<(u64, Bytes)>,
    /// A segment that was listed is not there any more.
    gone: bool,
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
            listed: false,
            known: HashSet::new(),
            newest: None,
            ahead: VecDeque::new(),
            active: Vec::new(),
            next_seq: from,
            last: None,
            gone: false,
            salvage: false,
        }
    }

    /// Reads the end of a closed epoch: the segments with the `groups` highest first seqs. And whether there are others.
    pub fn tail(files: Arc<dyn Files>, epoch: EpochId, groups: usize, salvage: bool) -> io::Result<(Self, bool)> {
        let mut reader = Self { salvage, ..Self::new(files, epoch, None) };
        reader.list()?;
        let all = reader.ahead.len();
        keep_groups(&mut reader.ahead, all, groups);
        let more = reader.ahead.len() < all;
        Ok((reader, more))
    }

    /// The seq that is read next.
    pub fn next_seq(&self) -> u64 {
        self.next_seq.unwrap_or(0)
    }

    /// The same, if that is known by now.
    pub fn due_seq(&self) -> Option<u64> {
        self.next_seq
    }

    /// Whether segments were removed since they were listed. Others may have come and gone meanwhile that never were.
    pub fn has_lost_segments(&self) -> bool {
        self.gone
    }

    /// At the end: the records up to, without, `end` that were not found.
    pub fn missing(&self, end: u64) -> Option<Damage> {
        let first_seq = self.next_seq();
        (first_seq < end).then(|| self.damage(String::new(), (0, 0), first_seq, end - 1))
    }

    pub fn next(&mut self, extent: Extent) -> io::Result<Read> {
        if let Extent::Live { next, .. } = extent
            && self.next_seq() >= next
        {
            self.forget();
            return Ok(Read::End);
        }
        if !self.listed {
            self.list().or_else(|error| if self.salvage { Ok(()) } else { Err(error) })?;
        }
        loop {
            self.activate(self.next_seq());
            if let Some(index) = self.due(extent)?
                && let Some(entry) = self.take(index)
            {
                return Ok(Read::Record(entry));
            }
            if self.list_again(extent)? {
                continue;
            }
            let lowest = self.active.iter().filter_map(|c| c.pending).map(|m| m.seq).min();
            // One that begins before it may hold what is due, or at least what comes before.
            let before = self.ahead.front().map(|c| c.first_seq).filter(|f| lowest.is_none_or(|l| *f <= l));
            if let Some(first) = before {
                self.activate(first);
                continue;
            }
            let Some(lowest) = lowest.filter(|_| !self.may_come(extent)) else {
                self.forget();
                return Ok(Read::End);
            };
            if let Some(next) = self.next_seq.replace(lowest) {
                return Ok(Read::Damage(self.named(next, lowest)));
            }
        }
    }

    /// Takes up the segments that begin up to `seq`. Of many, those that can hold it and what follows.
    fn activate(&mut self, seq: u64) {
        let reached = self.ahead.iter().take_while(|c| c.first_seq <= seq).count();
        // What a segment holds beyond the beginning of the next one, since it was given up, is all in the next one that
        // begins later, since that one was begun only after it had been written again and synced.
        let reached = keep_groups(&mut self.ahead, reached, 2);
        self.active.extend(self.ahead.drain(..reached));
    }

    /// The candidate that has the record that is due. Candidates that have ended are let go.
    fn due(&mut self, extent: Extent) -> io::Result<Option<usize>> {
        let mut index = 0;
        while index < self.active.len() {
            match self.advance(index, extent)? {
                Stand::Due => return Ok(Some(index)),
                Stand::Ahead | Stand::Waiting => index += 1,
                Stand::Ended => drop(self.active.remove(index)),
            }
        }
        Ok(None)
    }

    fn advance(&mut self, index: usize, extent: Extent) -> io::Result<Stand> {
        let newest = self.newest;
        let Some(candidate) = self.active.get_mut(index) else { return Ok(Stand::Ended) };
        let (limit, closed) = match extent {
            Extent::Closed => (u64::MAX, true),
            Extent::Live { number, offset, .. } if number == candidate.number => (offset, true),
            Extent::Live { number, .. } if number < candidate.number => return Ok(Stand::Waiting),
            Extent::Live { .. } => (u64::MAX, true),
            Extent::Followed => (u64::MAX, newest > Some(candidate.number)),
        };
        let reader = match &mut candidate.reader {
            Some(reader) => reader,
            empty => {
                let path = format!("{}/{}", self.epoch.directory(), candidate.name);
                match open(self.files.as_ref(), &path, self.salvage)? {
                    Opened::Segment(opened) => empty.insert(opened),
                    Opened::Gone => {
                        self.gone = true;
                        return Ok(Stand::Ended);
                    }
                    Opened::NoHeader => return Ok(Stand::Ended),
                }
            }
        };
        reader.salvage = self.salvage;
        loop {
            if let Some(meta) = candidate.pending {
                match self.next_seq {
                    Some(next) if meta.seq < next => {
                        reader.consume(meta);
                        (candidate.pending, candidate.skipped) = (None, None);
                    }
                    Some(next) if meta.seq == next => return Ok(Stand::Due),
                    Some(_) | None => return Ok(Stand::Ahead),
                }
            }
            match reader.step(limit, closed)? {
                Step::Skipped { offset, bytes } => candidate.skipped = Some((offset, bytes)),
                Step::Frame(meta) => candidate.pending = Some(meta),
                Step::End if closed && limit == u64::MAX => return Ok(Stand::Ended),
                Step::End => return Ok(Stand::Waiting),
            }
        }
    }

    fn take(&mut self, index: usize) -> Option<Entry> {
        let candidate = self.active.get_mut(index)?;
        let (meta, reader) = (candidate.pending.take()?, candidate.reader.as_mut()?);
        let value = Bytes::copy_from_slice(reader.payload());
        reader.consume(meta);
        candidate.skipped = None;
        self.next_seq = Some(meta.seq + 1);
        self.last = Some((meta.seq, value.clone()));
        let (epoch, chain) = (self.epoch.clone(), self.chain.clone());
        let Meta { seq, time_us, settled } = meta;
        Some(Entry { epoch, chain, seq, time_us, value, settled })
    }

    /// The records from `next` up to, without, `found` are nowhere.
    fn named(&self, next: u64, found: u64) -> Damage {
        let skipped = self.active.iter().find_map(|c| Some((c.name.clone(), c.skipped?)));
        let (segment, place) = skipped.unwrap_or_else(|| {
            let holder = self.active.iter().find(|c| c.pending.is_some_and(|m| m.seq == found));
            let offset = holder.and_then(|c| c.reader.as_ref()).map_or(0, SegmentReader::offset);
            (holder.map_or(String::new(), |c| c.name.clone()), (offset, 0))
        });
        self.damage(segment, place, next, found - 1)
    }

    fn damage(&self, segment: String, (offset, bytes): (u64, u64), first_seq: u64, last_seq: u64) -> Damage {
        let (epoch, chain) = (self.epoch.clone(), self.chain.clone());
        Damage { epoch, chain, segment, offset, bytes, first_seq, last_seq, before: self.before(first_seq) }
    }

    /// SHA-256 of the record before the one that was due.
    fn before(&self, first_seq: u64) -> Option<[u8; 32]> {
        let headers = self.active.iter().filter_map(|c| c.reader.as_ref()).map(SegmentReader::header);
        let named = headers.into_iter().find(|header| header.first_seq == first_seq && first_seq > 0);
        let read = self.last.as_ref().filter(|(seq, _)| seq + 1 == first_seq);
        read.map(|(_, value)| chain::hash(value)).or_else(|| named.map(|header| header.prev))
    }

    /// Whether the record that is due may still be written where it would be read.
    fn may_come(&self, extent: Extent) -> bool {
        let next = self.next_seq();
        let open = |c: &Candidate| c.pending.is_none() && c.first_seq <= next;
        matches!(extent, Extent::Followed) && self.active.iter().any(open)
    }

    fn forget(&mut self) {
        for candidate in self.active.iter_mut().filter(|c| c.pending.is_none()) {
            if let Some(reader) = &mut candidate.reader {
                reader.forget();
            }
        }
    }

    /// Whether there are new segments. A closed epoch is listed once.
    fn list_again(&mut self, extent: Extent) -> io::Result<bool> {
        let may_be = match extent {
            Extent::Closed => false,
            Extent::Live { number, .. } => self.newest < Some(number),
            Extent::Followed => true,
        };
        let before = self.newest;
        if may_be {
            self.list()?;
        }
        Ok(self.newest != before)
    }

    /// Takes up what is new. The header says what a segment is, its name may be another's.
    fn list(&mut self) -> io::Result<()> {
        self.listed = false;
        let names = list_segments(self.files.as_ref(), &self.epoch)?;
        let listed: HashSet<&String> = names.iter().collect();
        let known = self.known.len();
        self.known.retain(|name| listed.contains(name));
        self.gone |= self.known.len() < known;
        for name in names {
            if self.known.contains(&name) {
                continue;
            }
            let path = format!("{}/{name}", self.epoch.directory());
            let opened = open(self.files.as_ref(), &path, self.salvage)?;
            self.gone |= matches!(opened, Opened::Gone);
            self.known.insert(name.clone());
            let Opened::Segment(opened) = opened else { continue };
            let header = opened.header();
            if !header.chain.ends_with(self.epoch.random()) {
                continue;
            }
            let (number, first_seq) = (header.number, header.first_seq);
            self.chain = header.chain.as_str().into();
            self.newest = self.newest.max(Some(number));
            let at = self.ahead.partition_point(|c| (c.first_seq, c.number) <= (first_seq, number));
            self.ahead.insert(at, Candidate { name, number, first_seq, reader: None, pending: None, skipped: None });
        }
        self.listed = true;
        Ok(())
    }
}

/// Of the first `reached` leaves only those with the `groups` highest first seqs, and says how many these are.
fn keep_groups(ahead: &mut VecDeque<Candidate>, reached: usize, groups: usize) -> usize {
    let mut firsts: Vec<u64> = ahead.iter().take(reached).map(|c| c.first_seq).collect();
    firsts.dedup();
    let Some(lowest) = firsts.iter().rev().take(groups).next_back() else { return reached };
    let surplus = ahead.iter().take_while(|c| c.first_seq < *lowest).count();
    ahead.drain(..surplus);
    reached - surplus
}

enum Opened {
    Segment(SegmentReader),
    /// It has given way between the listing and now.
    Gone,
    /// Neither copy of its header is whole.
    NoHeader,
}

fn open(files: &dyn Files, path: &str, salvage: bool) -> io::Result<Opened> {
    match files.open(path).and_then(SegmentReader::open) {
        Ok(opened) => Ok(opened.map_or(Opened::NoHeader, Opened::Segment)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Opened::Gone),
        Err(_) if salvage => Ok(Opened::NoHeader),
        Err(error) => Err(error),
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
