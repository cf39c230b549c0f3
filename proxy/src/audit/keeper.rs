//! The thread beside the writer: prepares the next segment, stores cursors, removes what is delivered. Whatever here
//! takes long must not hold up an answer. `turn` is one step, `run` only paces it.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::audit::epoch::EpochId;
use crate::audit::files::{Handle, is_full, unless_gone};
use crate::audit::inventory::EpochInfo;
use crate::audit::lifecycle::Event;
use crate::audit::reader::SegmentReader;
use crate::audit::shared::{Shared, Spare};

/// Between two attempts at what failed.
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks at cursors, ages and sizes.
const TICK: Duration = Duration::from_secs(1);
/// The first segment of an epoch is small: it must be there before the first answer.
const FIRST_SEGMENT: u64 = 4 << 20;

pub struct Keeper {
    shared: Arc<Shared>,
    prepared: u64,
    cleaned: bool,
    ticked: Option<Instant>,
    /// Since when there are undelivered records that nobody has read.
    unread_since: Option<Instant>,
    told: Told,
}

/// What failed at the last attempt, by what it was: it is tried again every second or sooner, and a fault that lasts is
/// told once.
#[derive(Default)]
struct Told(BTreeMap<&'static str, String>);

impl Told {
    /// What came of an attempt; `None`: it went well. Says whether that is another fault than the one told last.
    fn is_news(&mut self, what: &'static str, error: Option<&io::Error>) -> bool {
        let Some(error) = error.map(ToString::to_string) else {
            self.0.remove(what);
            return false;
        };
        let known = self.0.get(what) == Some(&error);
        self.0.insert(what, error);
        !known
    }
}

impl Keeper {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, prepared: 0, cleaned: false, ticked: None, unread_since: None, told: Told::default() }
    }

    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            // A keeper that ends silently leaves the writer without segments and the disk full.
            if catch_unwind(AssertUnwindSafe(|| self.turn())).is_err() {
                tracing::error!("keeper of the spool panicked; it goes on");
                let mut spare = self.shared.spare.lock();
                if matches!(*spare, Spare::Wanted) {
                    *spare = Spare::Failed("preparing a segment panicked".to_owned());
                }
            }
            let mut spare = self.shared.spare.lock();
            // Under the lock: who says so between this look and the wait would not be heard before the next tick.
            if stop.load(Ordering::Acquire) {
                break;
            }
            let wait = match &*spare {
                Spare::Wanted => continue,
                Spare::Failed(_) => RETRY,
                Spare::Idle | Spare::Ready { .. } => TICK,
            };
            self.shared.spare_moved.wait_for(&mut spare, wait);
        }
        self.finish();
    }

    pub fn turn(&mut self) {
        let wanted = matches!(&*self.shared.spare.lock(), Spare::Wanted | Spare::Failed(_));
        if wanted {
            let made = self.prepare();
            self.tell("prepare a segment", made.as_ref().err());
            *self.shared.spare.lock() = made.unwrap_or_else(|error| Spare::Failed(error.to_string()));
            self.shared.spare_moved.notify_all();
        }
        let now = self.shared.clock.now();
        if self.ticked.is_none_or(|t| now.saturating_duration_since(t) >= TICK) {
            self.ticked = Some(now);
            self.sweep();
            self.store_cursors();
            self.retire(now);
            self.measure(now);
        }
    }

    /// Stores the cursors and gives back the prepared segment.
    pub fn finish(&mut self) {
        self.store_cursors();
        self.sweep();
        let spare = std::mem::replace(&mut *self.shared.spare.lock(), Spare::Idle);
        if let Spare::Ready { path, .. } = spare {
            log_failure("remove the prepared segment", self.shared.files.remove_file(&path));
        }
    }

    fn prepare(&mut self) -> io::Result<Spare> {
        let Some(id) = self.shared.inventory.lock().live().map(|e| e.id.clone()) else { return Ok(Spare::Idle) };
        let size = self.shared.options.segment_bytes();
        let bytes = if self.prepared == 0 { size.min(FIRST_SEGMENT) } else { size };
        self.clean();
        self.sweep();
        self.make_room(bytes)?;
        let path = format!("{}/spare-{:06}", id.directory(), self.prepared);
        let file = loop {
            match self.make_spare(&path, bytes) {
                // The disk ends before `max_size` does. What is delivered gives way to that limit, too.
                Err(error) if is_full(&error) && self.give_way()? => {}
                made => break made?,
            }
        };
        self.prepared += 1;
        self.shared.inventory.lock().spare_bytes += bytes;
        Ok(Spare::Ready { file, path, bytes })
    }

    fn make_spare(&self, path: &str, bytes: u64) -> io::Result<Handle> {
        let files = &self.shared.files;
        unless_gone(files.remove_file(path))?;
        let file = files.create(path)?;
        if let Err(error) = file.fill_zero(bytes).and_then(|()| file.sync_data()) {
            // What could not be made whole must not take the room that others need.
            log_failure("remove an unfinished segment", files.remove_file(path));
            return Err(error);
        }
        Ok(file)
    }

    /// Removes the oldest segment if all of it is delivered. Without Kafka nothing gives way before `max_size`.
    fn give_way(&mut self) -> io::Result<bool> {
        if !self.shared.options.deliver {
            return Ok(false);
        }
        self.store_cursors();
        self.remove_oldest(|_, _| true)
    }

    /// Removes segments that earlier processes prepared and never used.
    fn clean(&mut self) {
        if std::mem::replace(&mut self.cleaned, true) {
            return;
        }
        let closed: Vec<EpochId> =
            self.shared.inventory.lock().epochs.iter().filter(|e| !e.live).map(|e| e.id.clone()).collect();
        for id in closed {
            for name in self.shared.files.list(&id.directory()).unwrap_or_default() {
                if name.starts_with("spare-") {
                    let path = format!("{}/{name}", id.directory());
                    log_failure("remove an unused segment", self.shared.files.remove_file(&path));
                }
            }
        }
    }

    /// Removes what failures left. What cannot be removed is tried again, and counts as long.
    fn sweep(&mut self) {
        let rubbish = std::mem::take(&mut self.shared.inventory.lock().rubbish);
        let mut failed = None;
        for (path, bytes) in rubbish {
            if let Err(error) = unless_gone(self.shared.files.remove_file(&path)) {
                failed.get_or_insert_with(|| io::Error::other(format!("{path}: {error}")));
                self.shared.inventory.lock().rubbish.push((path, bytes));
            }
        }
        self.tell("remove what a failure left", failed.as_ref());
    }

    /// Removes old segments until `bytes` more fit into `max_size`.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let limit = self.shared.options.max_size;
        let fits = |shared: &Shared| shared.inventory.lock().bytes() + bytes <= limit;
        if fits(&self.shared) {
            return Ok(());
        }
        self.store_cursors();
        while !fits(&self.shared) {
            if !self.remove_oldest(|_, _| true)? && !self.forget_removed() {
                // What is delivered goes as soon as something is recorded, and to record that there must be room.
                let mut inventory = self.shared.inventory.lock();
                let opening = !self.shared.options.deliver && inventory.live().is_some_and(|e| e.next == 0);
                let waits = opening || inventory.oldest().is_some_and(|e| e.is_delivered(0));
                drop(inventory);
                return if waits { Ok(()) } else { Err(io::Error::other("spool is full")) };
            }
        }
        Ok(())
    }

    /// Removes what has been delivered for `retain_delivered`.
    fn retire(&mut self, now: Instant) {
        let retain = self.shared.options.retain_delivered;
        for epoch in &mut self.shared.inventory.lock().epochs {
            for index in 0..epoch.segments.len() {
                // None goes before this one; and a backlog may be of thousands, while the writer waits for this lock.
                if !epoch.is_delivered(index) {
                    break;
                }
                if let Some(segment) = epoch.segments.get_mut(index) {
                    segment.delivered_since.get_or_insert(now);
                }
            }
        }
        let ripe = |epoch: &EpochInfo, index: usize| {
            let segment = epoch.segments.get(index);
            segment.and_then(|s| s.delivered_since).is_some_and(|s| now.saturating_duration_since(s) >= retain)
        };
        while self.shared.options.deliver {
            let removed = self.remove_oldest(ripe);
            self.tell("remove a delivered segment", removed.as_ref().err());
            if !matches!(removed, Ok(true)) {
                return;
            }
        }
    }

    /// Removes the oldest segment if it may go and `ripe` agrees. The cursor is durable before: otherwise a crash would
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
        let Some(epoch) = inventory.oldest() else { return Ok(false) };
        if before.as_ref() == Some(&epoch.id) && epoch.is_end() {
            return Ok(false);
        }
        let last = epoch.segments.len() == 1;
        let may_go = if deliver {
            let stored = epoch.cursor.lock().next();
            epoch.is_delivered(0) && epoch.end_of(0).is_some_and(|end| end <= stored)
        } else {
            !(epoch.live && last)
        };
        if !may_go {
            let done = epoch.is_done().then(|| epoch.id.clone());
            drop(inventory);
            return Ok(done.is_some_and(|id| self.forget_gone(&id)));
        }
        if !ripe(epoch, 0) {
            return Ok(false);
        }
        let end = epoch.end_of_first();
        let id = epoch.id.clone();
        let Some((name, first)) = epoch.segments.first().map(|s| (s.name.clone(), s.first_seq)) else {
            return Ok(false);
        };
        drop(inventory);
        let path = format!("{}/{name}", id.directory());
        if !deliver && end > first {
            self.tell_dropped(&path, first, end - 1);
        }
        unless_gone(self.shared.files.remove_file(&path))?;
        unless_gone(self.shared.files.sync_dir(&id.directory()))?;
        if let Some(epoch) = self.shared.inventory.lock().epoch(&id) {
            epoch.segments.retain(|s| s.name != name);
            if !deliver {
                epoch.delivered = epoch.delivered.max(end);
            }
        }
        Ok(true)
    }

    fn tell_dropped(&self, path: &str, first_seq: u64, last_seq: u64) {
        let opened = self.shared.files.open(path).and_then(SegmentReader::open);
        let header = opened.ok().flatten().map(|r| r.header().clone());
        // Its header names the record before its first.
        let before = header.as_ref().filter(|h| h.first_seq == first_seq && first_seq > 0).map(|h| hex::encode(h.prev));
        let chain = header.map_or(String::new(), |h| h.chain);
        self.shared.event(Event::SegmentsDropped { chain, first_seq, last_seq, before });
    }

    /// Forgets the oldest segment if somebody has removed it: it takes no room. What was in it is missed, and named, by
    /// whoever reads the epoch. False: it is there.
    fn forget_removed(&self) -> bool {
        let oldest = |epoch: &EpochInfo| Some((epoch.id.clone(), epoch.segments.first()?.name.clone()));
        let Some((id, name)) = self.shared.inventory.lock().oldest().and_then(oldest) else { return false };
        let opened = self.shared.files.open(&format!("{}/{name}", id.directory()));
        let is_gone = opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_gone && let Some(epoch) = self.shared.inventory.lock().epoch(&id) {
            tracing::error!(epoch = id.as_str(), name, "segment was removed by somebody else");
            epoch.segments.retain(|s| s.name != name);
        }
        is_gone
    }

    /// Forgets an epoch whose directory somebody has removed: it would count as long as the process lives, since there is no
    /// place for the cursor that must be durable before its segments may go. False: it is there.
    fn forget_gone(&self, id: &EpochId) -> bool {
        let listed = self.shared.files.list(&id.directory());
        let is_gone = listed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_gone {
            tracing::error!(epoch = id.as_str(), "directory of an epoch was removed by somebody else");
            self.shared.inventory.lock().epochs.retain(|e| e.id != *id);
        }
        is_gone
    }

    fn remove_epoch(&self, id: &EpochId) -> io::Result<()> {
        let files = &self.shared.files;
        let names = match files.list(&id.directory()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names?,
        };
        for name in names {
            files.remove_file(&format!("{}/{name}", id.directory()))?;
        }
        files.remove_dir(&id.directory())?;
        files.sync_dir("epochs")
    }

    fn store_cursors(&mut self) {
        let stored = self.shared.store_cursors();
        self.tell("store a cursor", stored.as_ref().err());
    }

    fn tell(&mut self, what: &'static str, error: Option<&io::Error>) {
        let is_news = self.told.is_news(what, error);
        if let Some(error) = error.filter(|_| is_news) {
            tracing::error!(%error, "cannot {what}");
        }
    }

    fn measure(&mut self, now: Instant) {
        let inventory = self.shared.inventory.lock();
        let (bytes, (records, undelivered)) = (inventory.bytes(), inventory.undelivered());
        drop(inventory);
        let available = self.shared.files.available().unwrap_or(0);
        self.shared.metrics.spool_size(bytes, self.shared.options.max_size, available);
        if records == 0 || !self.shared.options.deliver {
            self.unread_since = None;
            return self.shared.metrics.spool_undelivered(0, 0, Duration::ZERO);
        }
        let unread = now.saturating_duration_since(*self.unread_since.get_or_insert(now));
        let oldest = u64::try_from(self.shared.oldest_us.load(Ordering::Relaxed)).unwrap_or(0);
        let wall = self.shared.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = if oldest == 0 { unread } else { wall.saturating_sub(Duration::from_micros(oldest)) };
        self.shared.metrics.spool_undelivered(records, undelivered, age);
    }
}

fn log_failure(what: &str, done: io::Result<()>) {
    if let Err(error) = done {
        tracing::error!(%error, "cannot {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_lasts_is_told_once() {
        let (full, gone) = (io::Error::other("full"), io::Error::other("gone"));
        let mut told = Told::default();
        assert!(told.is_news("prepare", Some(&full)));
        assert!((0..1000).all(|_| !told.is_news("prepare", Some(&full))));
        assert!(told.is_news("store", Some(&full)), "something else fails, too");
        assert!(told.is_news("prepare", Some(&gone)), "for another reason");
        assert!(!told.is_news("prepare", None));
        assert!(told.is_news("prepare", Some(&gone)), "again");
    }
}
