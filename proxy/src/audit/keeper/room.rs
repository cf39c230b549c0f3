//! What gives way, to `max_size`, to age and to the end of the disk, and what is said before it does. Part of the keeper.

use std::io;
#[cfg(test)]
use std::time::Duration;
use std::time::Instant;

use super::{Keeper, log_failure};
use crate::audit::epoch::EpochId;
use crate::audit::inventory::{EpochInfo, Inventory};
use crate::audit::lifecycle::Event;
use crate::audit::reader::SegmentReader;
use crate::audit::shared::{Options, Shared};
#[cfg(test)]
use crate::audit::simulation::planted::{self, Bug};

impl Keeper {
    /// Removes the oldest segment if all of it is delivered. Without Kafka nothing gives way before `max_size`.
    pub(super) fn give_way(&mut self) -> io::Result<bool> {
        if !self.shared.options.deliver {
            return Ok(false);
        }
        self.store_cursors();
        self.remove_oldest(|_, _| true)
    }

    /// Removes old segments until `bytes` more fit into `max_size`. Without Kafka until one segment more would fit: what
    /// is to give way to that is named while this one is used.
    pub(super) fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let Options { max_size, deliver, .. } = self.shared.options;
        let segment = self.shared.options.segment_bytes();
        let taken = |shared: &Shared| shared.inventory.lock().bytes() + bytes;
        let ahead = if deliver { 0 } else { segment };
        if taken(&self.shared) + ahead <= max_size {
            return Ok(());
        }
        self.store_cursors();
        while taken(&self.shared) + ahead > max_size {
            if self.remove_oldest(|_, _| true)? {
                continue;
            }
            // What is delivered goes as soon as something is recorded, and to record that there must be room. So does
            // what is given up: after a failure it can be named in the segment only that is asked for.
            let mut inventory = self.shared.inventory.lock();
            let opening = !deliver && inventory.live().is_some_and(|e| e.next == 0);
            let waits = opening || inventory.oldest().is_some_and(|e| e.is_delivered(0));
            drop(inventory);
            let most = max_size + if deliver { 0 } else { 2 * segment };
            let goes = waits || taken(&self.shared) <= most;
            return if goes { Ok(()) } else { Err(io::Error::other("spool is full")) };
        }
        Ok(())
    }

    /// Removes what has been delivered for `retain_delivered`.
    pub(super) fn retire(&mut self, now: Instant) {
        let retain = self.shared.options.retain_delivered;
        #[cfg(test)]
        let retain = if planted::is(Bug::RetiredEarly) { Duration::ZERO } else { retain };
        for epoch in &mut self.shared.inventory.lock().epochs {
            for index in 0..epoch.segments.len() {
                let delivered = epoch.is_delivered(index);
                if let Some(segment) = epoch.segments.get_mut(index).filter(|_| delivered) {
                    segment.delivered_since.get_or_insert(now);
                }
            }
        }
        let ripe = |epoch: &EpochInfo, index: usize| {
            let segment = epoch.segments.get(index);
            segment.and_then(|s| s.delivered_since).is_some_and(|s| now.saturating_duration_since(s) >= retain)
        };
        while self.shared.options.deliver {
            match self.remove_oldest(ripe) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return log_failure("remove a delivered segment", Err(error)),
            }
        }
    }

    /// Removes the oldest segment that may go and that `ripe` agrees to. The cursor is durable before: otherwise a crash would
    /// leave a cursor that points at what is gone.
    fn remove_oldest(&mut self, ripe: impl Fn(&EpochInfo, usize) -> bool) -> io::Result<bool> {
        let deliver = self.shared.options.deliver;
        let mut inventory = self.shared.inventory.lock();
        // Until the new chain says how the one before ended, that one's end is the only place where it stands.
        let unnamed = inventory.live().is_some_and(|e| e.next == 0);
        let before = inventory.epochs.iter().rfind(|e| !e.live && e.next > 0).map(|e| e.id.clone());
        let before = before.filter(|_| unnamed);
        let goes = |e: &&EpochInfo| e.segments.is_empty() && e.is_done() && before.as_ref() != Some(&e.id);
        let empty = inventory.epochs.iter().find(goes).map(|e| e.id.clone());
        if let Some(id) = empty {
            inventory.epochs.retain(|e| e.id != id);
            drop(inventory);
            self.remove_epoch(&id)?;
            return Ok(true);
        }
        let is_free = |e: &EpochInfo| before.as_ref() != Some(&e.id) || !e.is_end();
        let Some(Leaving { id, name, kept, end }) = leaving(&inventory, deliver, |e| is_free(e) && ripe(e, 0)) else {
            return Ok(false);
        };
        drop(inventory);
        let path = format!("{}/{name}", id.directory());
        if kept < end && !self.is_named(&id, &path, (kept, end)) {
            return Ok(false);
        }
        match self.shared.files.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.shared.files.sync_dir(&id.directory())?;
        if let Some(epoch) = self.shared.inventory.lock().epoch(&id) {
            epoch.segments.retain(|s| s.name != name);
        }
        Ok(true)
    }

    /// Without Kafka: asks, once, for the record that says which records go with the segment: `kept` up to, without,
    /// `end`. It goes when that is durable, and the cursor after it: whatever then happens, it is there and said to go, or
    /// gone and said to be.
    fn is_named(&mut self, id: &EpochId, path: &str, (kept, end): (u64, u64)) -> bool {
        let leaving = (path.to_owned(), end);
        if self.leaving.as_ref() != Some(&leaving) {
            let opened = self.shared.files.open(path).and_then(SegmentReader::open);
            let header = opened.ok().flatten().map(|r| r.header().clone());
            // Its header names the record before its first.
            let before = header.as_ref().filter(|h| h.first_seq == kept && kept > 0).map(|h| hex::encode(h.prev));
            let chain = header.map(|h| h.chain);
            let chain = chain.unwrap_or_else(|| format!("{}/{}", self.shared.source.instance, id.random()));
            let event = Event::SegmentsDropped { chain, first_seq: kept, last_seq: end - 1, before };
            self.shared.give_up(id.clone(), end, event);
            self.leaving = Some(leaving);
        }
        #[cfg(test)]
        if planted::is(Bug::UnlinkBeforeNamed) {
            return true;
        }
        false
    }

    fn remove_epoch(&self, id: &EpochId) -> io::Result<()> {
        let files = &self.shared.files;
        for name in files.list(&id.directory())? {
            files.remove_file(&format!("{}/{name}", id.directory()))?;
        }
        files.remove_dir(&id.directory())?;
        files.sync_dir("epochs")
    }
}

/// A segment that may go, and what goes with it: from `kept` up to, without, `end` records that Kafka has not got, and
/// that nothing durable names.
struct Leaving {
    id: EpochId,
    name: String,
    kept: u64,
    end: u64,
}

/// The oldest segment that may go. With Kafka an epoch that something holds up does not hold up those after it: to record
/// what it waits for, there must be room.
fn leaving(inventory: &Inventory, deliver: bool, may_go: impl Fn(&EpochInfo) -> bool) -> Option<Leaving> {
    let first = |epoch: &EpochInfo| {
        let segment = epoch.segments.first().filter(|_| may_go(epoch))?;
        let stored = epoch.cursor.lock().next();
        let end = if deliver {
            epoch.end_of(0).filter(|end| epoch.is_delivered(0) && *end <= stored)
        } else {
            epoch.end_of_first()
        };
        let (id, name) = (epoch.id.clone(), segment.name.clone());
        Some(Leaving { id, name, kept: segment.first_seq.max(stored), end: end? })
    };
    #[cfg(test)]
    if planted::is(Bug::HeldUpByTheOldest) {
        return inventory.oldest().and_then(first);
    }
    if deliver { inventory.epochs.iter().find_map(first) } else { inventory.oldest().and_then(first) }
}
