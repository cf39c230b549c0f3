//! What is in the spool and how far it has been delivered, in memory. Filled by `recovery` and `writer`, thinned out by
//! `keeper`, read by `backlog` and the status page.

use std::sync::Arc;
use std::time::Instant;

use crate::audit::cursor::Cursor;
use crate::audit::epoch::EpochId;
use crate::audit::whole::Kept;

pub struct SegmentInfo {
    pub name: String,
    pub number: u64,
    pub first_seq: u64,
    /// The seq after the last record that is in it, if that is known.
    pub end: Option<u64>,
    /// On disk, the zeros at the end included.
    pub bytes: u64,
    /// Since when all of it is known to be delivered.
    pub delivered_since: Option<Instant>,
}

pub struct EpochInfo {
    pub id: EpochId,
    /// Behind a lock of its own: it is written to disk without holding up those who deliver.
    pub cursor: Arc<parking_lot::Mutex<Cursor>>,
    /// The first seq not delivered.
    pub delivered: u64,
    /// The seq after the last record.
    pub next: u64,
    pub segments: Vec<SegmentInfo>,
    /// This process writes it.
    pub live: bool,
    /// Payload bytes not delivered; for an epoch found at start an estimate that is never too small.
    pub undelivered_bytes: u64,
}

impl EpochInfo {
    pub fn closed(id: EpochId, cursor: Cursor, delivered: u64, next: u64, segments: Vec<SegmentInfo>) -> Self {
        let cursor = Arc::new(parking_lot::Mutex::new(cursor));
        let mut info = Self { id, cursor, delivered, next, segments, live: false, undelivered_bytes: 0 };
        info.undelivered_bytes =
            info.segments.iter().enumerate().filter(|(i, _)| !info.is_delivered(*i)).map(|(_, s)| s.bytes).sum();
        info
    }

    pub fn live(id: EpochId, cursor: Cursor) -> Self {
        Self { live: true, ..Self::closed(id, cursor, 0, 0, Vec::new()) }
    }

    /// Whether every record that the segment at `index` may hold is delivered, and nobody writes it.
    pub fn is_delivered(&self, index: usize) -> bool {
        // One that is begun behind records that were lost says nothing about how far there is something to deliver.
        self.is_done() || self.end_of(index).is_some_and(|end| end <= self.delivered)
    }

    /// The seq after the last record that may be in the segment at `index`. One that was given up after a failure may
    /// be the only one with records that those begun after it should have had, up to where the first of these ends that
    /// could be gone on from.
    pub fn end_of(&self, index: usize) -> Option<u64> {
        let segment = self.segments.get(index)?;
        let after = |first: u64| self.segments.iter().map(|s| s.first_seq).find(|s| *s > first);
        let end = segment.end.or_else(|| after(after(segment.first_seq)?));
        if self.live { end } else { Some(end.unwrap_or(self.next).min(self.next)) }
    }

    /// The seq after those that are gone with the first segment.
    pub fn end_of_first(&self) -> u64 {
        let following = self.segments.get(1).map_or(self.next, |s| s.first_seq);
        if self.live { following } else { following.min(self.next) }
    }

    /// Whether the end of the epoch may be in its first segment.
    pub fn is_end(&self) -> bool {
        let mut firsts: Vec<u64> = self.segments.iter().map(|s| s.first_seq).collect();
        firsts.dedup();
        firsts.len() <= 2
    }

    /// Nothing is left in it that anybody waits for.
    pub fn is_done(&self) -> bool {
        !self.live && self.delivered >= self.next
    }
}

#[derive(Default)]
pub struct Inventory {
    /// Oldest first; the last is the live one.
    pub epochs: Vec<EpochInfo>,
    /// Of the prepared segment, and of one that was taken and is not begun.
    pub spare_bytes: u64,
    /// Files of which nothing is needed any more, to be removed as soon as that is possible.
    pub rubbish: Vec<(String, u64)>,
    /// Records that Kafka has as stubs only.
    pub whole: Kept,
}

impl Inventory {
    pub fn bytes(&self) -> u64 {
        self.epochs.iter().flat_map(|e| &e.segments).map(|s| s.bytes).sum::<u64>()
            + self.spare_bytes
            + self.rubbish.iter().map(|(_, bytes)| bytes).sum::<u64>()
            + self.whole.values().sum::<u64>()
    }

    pub fn epoch(&mut self, id: &EpochId) -> Option<&mut EpochInfo> {
        self.epochs.iter_mut().find(|e| e.id == *id)
    }

    /// A segment of the live epoch that another one stands in for.
    pub fn discard(&mut self, name: &str) {
        let Some(live) = self.live() else { return };
        let Some(at) = live.segments.iter().position(|s| s.name == name) else { return };
        let segment = live.segments.remove(at);
        let path = format!("{}/{name}", live.id.directory());
        self.rubbish.push((path, segment.bytes));
    }

    /// The first with a segment.
    pub fn oldest(&self) -> Option<&EpochInfo> {
        self.epochs.iter().find(|e| !e.segments.is_empty())
    }

    pub fn live(&mut self) -> Option<&mut EpochInfo> {
        self.epochs.iter_mut().rev().find(|e| e.live)
    }

    /// Records and payload bytes that are not delivered.
    pub fn undelivered(&self) -> (u64, u64) {
        self.epochs.iter().fold((0, 0), |(records, bytes), e| {
            let here = e.next.saturating_sub(e.delivered);
            (records + here, bytes + if here > 0 { e.undelivered_bytes } else { 0 })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::disk::Disk;

    #[test]
    fn a_segment_is_delivered_when_all_that_it_may_hold_is() {
        let home = tempfile::tempdir().unwrap();
        let segment = |number, first_seq| SegmentInfo {
            name: String::new(),
            number,
            first_seq,
            end: None,
            bytes: 100,
            delivered_since: None,
        };
        let cursor = Cursor::load(&Disk::new(home.path()), "e");
        let mut info =
            EpochInfo::closed(EpochId::new(1, 1), cursor, 9, 30, vec![segment(0, 0), segment(1, 10), segment(2, 20)]);
        assert!(!info.is_delivered(0));
        assert_eq!(info.undelivered_bytes, 300);
        info.delivered = 10;
        assert!(!info.is_delivered(0), "if it was given up, records after 10 may be in it only");
        info.delivered = 20;
        assert!(info.is_delivered(0) && !info.is_delivered(1));
        info.delivered = 10;
        info.segments[0].end = Some(10);
        assert!(info.is_delivered(0) && !info.is_delivered(1));
        info.delivered = 30;
        assert!(info.is_delivered(2) && info.is_done());
        info.live = true;
        assert!(!info.is_delivered(2), "it may still grow");
    }
}
