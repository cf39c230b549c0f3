//! What earlier processes left in the spool: their epochs, oldest first, and the head of the newest. Called when the
//! writer opens, until that succeeds, and by `orphan`. Writes nothing new, and never fails for what it reads: damage costs
//! what it covers.

use std::io;
use std::sync::Arc;

use crate::audit::chain;
use crate::audit::cursor::Cursor;
use crate::audit::epoch::{self, Damage, EpochId, EpochReader, Extent, Read};
use crate::audit::files::{Files, Handle};
use crate::audit::inventory::{EpochInfo, SegmentInfo};
use crate::audit::lifecycle::{Previous, SeqRange};
use crate::audit::segment::{self, Header};
use crate::audit::whole::{self, Kept};

pub struct Found {
    /// Oldest first.
    pub epochs: Vec<EpochInfo>,
    /// The head of the newest epoch that has a record.
    pub previous: Option<Previous>,
    pub damages: Vec<Damage>,
    /// Records that Kafka has as stubs only.
    pub whole: Kept,
}

/// The end of an epoch.
struct Tail {
    previous: Option<Previous>,
    /// The seq after the last record.
    next: u64,
    damages: Vec<Damage>,
    /// A part of it could not be read.
    unreadable: bool,
}

/// `Err` if the directories cannot be listed, if a later version wrote them and, unless `lenient`, if a segment cannot be read.
pub fn recover(files: &Arc<dyn Files>, lenient: bool) -> io::Result<Found> {
    let mut found =
        Found { epochs: Vec::new(), previous: None, damages: Vec::new(), whole: whole::list(files.as_ref()) };
    let names = match files.list("epochs") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        names => names?,
    };
    let mut ids: Vec<_> = names.iter().filter_map(|n| EpochId::parse(n)).collect();
    ids.sort();
    for id in ids {
        settle(files, &id);
        let mut tail = read_tail(files, &id, lenient)?;
        let segments = list_segments(files, &id)?;
        let cursor = Cursor::load(files.as_ref(), &id.directory());
        if tail.unreadable {
            // Where it ends is not known. It must not pass for delivered, or what is in it would be removed.
            let last = segments.iter().map(|s| s.first_seq).max().unwrap_or(0);
            tail.next = tail.next.max(last.saturating_add(1)).max(cursor.next().saturating_add(1));
        }
        if cursor.next() > tail.next {
            tracing::warn!(
                epoch = id.as_str(),
                cursor = cursor.next(),
                end = tail.next,
                "cursor is beyond the last record"
            );
        }
        let delivered = cursor.next().min(tail.next);
        found.epochs.push(EpochInfo::closed(id, cursor, delivered, tail.next, segments));
        found.damages.extend(tail.damages);
        found.previous = tail.previous.or(found.previous);
    }
    Ok(found)
}

/// The process before may have ended before its last sync: what is about to be named as its end must survive power loss
/// as well as the record that names it. The segments given up before the last may hold a part of that end.
fn settle(files: &Arc<dyn Files>, id: &EpochId) {
    let directory = id.directory();
    let synced = epoch::list_segments(files.as_ref(), id).and_then(|names| {
        let first = |name: &String| epoch::parse_segment_name(name).map(|(first, _)| first);
        let mut firsts: Vec<_> = names.iter().filter_map(first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let last_two = firsts.iter().rev().take(2).next_back().copied();
        for name in names.iter().filter(|n| first(n) >= last_two) {
            files.open(&format!("{directory}/{name}"))?.sync_data()?;
        }
        files.sync_dir(&directory)?;
        files.sync_dir("epochs")
    });
    if let Err(error) = synced {
        tracing::error!(epoch = id.as_str(), %error, "cannot sync what an earlier process wrote");
    }
}

fn head(file: &Handle) -> Option<Vec<u8>> {
    let mut head = vec![0; segment::HEADER];
    let read = file.read_at(&mut head, 0).ok()?;
    head.truncate(read);
    Some(head)
}

fn list_segments(files: &Arc<dyn Files>, id: &EpochId) -> io::Result<Vec<SegmentInfo>> {
    let mut segments = Vec::new();
    for name in epoch::list_segments(files.as_ref(), id)? {
        let opened = files.open(&format!("{}/{name}", id.directory()));
        let head = opened.as_ref().ok().and_then(head);
        if let Some(version) = head.as_deref().and_then(segment::later_version) {
            // Left as it is: its records would pass for none, and be removed.
            let id = id.as_str();
            let why =
                format!("segment `{id}/{name}` has format {version}, of a later version of countersign; use that one");
            return Err(io::Error::other(why));
        }
        let size = opened.and_then(|f| f.size());
        let bytes = size.unwrap_or_else(|error| {
            tracing::error!(epoch = id.as_str(), segment = name, %error, "cannot open segment");
            0
        });
        // The name may be another's; then the header knows which records would go with the segment.
        let header = head.and_then(|h| Header::decode(&h)).filter(|h| h.chain.ends_with(id.random()));
        let meant = header.map(|h| (h.first_seq, h.number)).or_else(|| epoch::parse_segment_name(&name));
        if let Some((first_seq, number)) = meant {
            segments.push(SegmentInfo { name, number, first_seq, end: None, bytes, delivered_since: None });
        }
    }
    segments.sort_by_key(|s| (s.first_seq, s.number));
    Ok(segments)
}

/// The last segments are read and, since these may be unfinished attempts at what the one before them holds, that one;
/// more only while they hold no record.
fn read_tail(files: &Arc<dyn Files>, id: &EpochId, lenient: bool) -> io::Result<Tail> {
    let mut groups = 2;
    loop {
        let mut tail = Tail { previous: None, next: 0, damages: Vec::new(), unreadable: false };
        let mut read = read_segments(files, id, (groups, false), &mut tail);
        if let Err(error) = read {
            tracing::error!(epoch = id.as_str(), %error, "cannot read the end of an epoch");
            if !lenient {
                return Err(error);
            }
            tail = Tail { previous: None, next: 0, damages: Vec::new(), unreadable: true };
            read = read_segments(files, id, (groups, true), &mut tail);
        }
        if tail.previous.is_some() || !matches!(read, Ok(more) if more) {
            return Ok(tail);
        }
        groups *= 2;
    }
}

/// Returns whether there are more segments before these.
fn read_segments(
    files: &Arc<dyn Files>,
    id: &EpochId,
    (groups, salvage): (usize, bool),
    tail: &mut Tail,
) -> io::Result<bool> {
    let (mut reader, more) = EpochReader::tail(files.clone(), id.clone(), groups, salvage)?;
    let mut last = None;
    let read = loop {
        match reader.next(Extent::Closed) {
            Ok(Read::Record(entry)) => last = Some(entry),
            Ok(Read::Damage(damage)) => tail.damages.push(damage),
            Ok(Read::End) => break Ok(more),
            Err(error) => break Err(error),
        }
    };
    if let Some(entry) = last {
        let clean = is_closing(&entry.value);
        // The closing record itself answers nothing.
        let end = if clean { entry.seq } else { entry.seq + 1 };
        let unknown = (entry.settled < end).then(|| SeqRange { first: entry.settled, last: end - 1 });
        tail.next = entry.seq + 1;
        tail.previous = Some(Previous {
            id: entry.chain.to_string(),
            seq: entry.seq,
            hash: hex::encode(chain::hash(&entry.value)),
            clean,
            unknown,
        });
    }
    read
}

fn is_closing(value: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Data {
        event: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Record {
        data: Data,
    }
    serde_json::from_slice::<Record>(value).is_ok_and(|r| r.data.event.as_deref() == Some("chain_closed"))
}
