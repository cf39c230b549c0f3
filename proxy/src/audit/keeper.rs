//! The thread beside the writer: prepares the next segment, stores cursors, removes what is delivered. Whatever here
//! takes long must not hold up an answer. `turn` is one step, `run` only paces it. What gives way to what is in `room`.

mod room;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::audit::epoch::EpochId;
use crate::audit::files::Handle;
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
    /// Without Kafka: the segment that is to give way next, and the seq after what goes with it. Its record is asked for.
    leaving: Option<(String, u64)>,
    cleaned: bool,
    ticked: Option<Instant>,
    /// Since when there are undelivered records that nobody has read.
    unread_since: Option<Instant>,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, prepared: 0, leaving: None, cleaned: false, ticked: None, unread_since: None }
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
            *self.shared.spare.lock() = made.unwrap_or_else(|error| {
                tracing::error!(%error, "cannot prepare a segment");
                Spare::Failed(error.to_string())
            });
            self.shared.spare_moved.notify_all();
        }
        let now = self.shared.clock.now();
        if self.ticked.is_none_or(|t| now.saturating_duration_since(t) >= TICK) {
            self.ticked = Some(now);
            self.sweep();
            self.store_cursors();
            self.retire(now);
            if !self.shared.options.deliver {
                log_failure("drop the oldest segment", self.make_room(0));
            }
            self.measure(now);
        }
    }

    /// Stores the cursors and gives back the prepared segment.
    pub fn finish(&mut self) {
        self.store_cursors();
        self.sweep();
        let mut spare = self.shared.spare.lock();
        if let Spare::Ready { path, .. } = &*spare {
            log_failure("remove the prepared segment", self.shared.files.remove_file(path));
        }
        *spare = Spare::Idle;
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
        self.shared.inventory.lock().spare_bytes = bytes;
        Ok(Spare::Ready { file, path, bytes })
    }

    fn make_spare(&self, path: &str, bytes: u64) -> io::Result<Handle> {
        let files = &self.shared.files;
        match files.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = files.create(path)?;
        if let Err(error) = file.fill_zero(bytes).and_then(|()| file.sync_data()) {
            // What could not be made whole must not take the room that others need.
            log_failure("remove an unfinished segment", files.remove_file(path));
            return Err(error);
        }
        Ok(file)
    }

    /// Removes segments that earlier processes prepared and never used.
    fn clean(&mut self) {
        if std::mem::replace(&mut self.cleaned, true) {
            return;
        }
        let closed: Vec<EpochId> =
            self.shared.inventory.lock().epochs.iter().filter(|e| !e.live).map(|e| e.id.clone()).collect();
        for id in closed {
            let names = self.shared.files.list(&id.directory());
            // An epoch that gave way has no directory.
            self.cleaned &= names.as_ref().map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |_| true);
            let spares = names.unwrap_or_default().into_iter().filter(|name| name.starts_with("spare-"));
            let unused = spares.map(|name| (format!("{}/{name}", id.directory()), 0));
            self.shared.inventory.lock().rubbish.extend(unused);
        }
    }

    /// Removes what failures left. What cannot be removed is tried again, and counts as long.
    fn sweep(&self) {
        let rubbish = std::mem::take(&mut self.shared.inventory.lock().rubbish);
        for (path, bytes) in rubbish {
            match self.shared.files.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(%error, path, "cannot remove what a failure left");
                    self.shared.inventory.lock().rubbish.push((path, bytes));
                }
                _ => {}
            }
        }
    }

    fn store_cursors(&self) {
        log_failure("store a cursor", self.shared.store_cursors());
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

/// The disk, or the user's share of it.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn log_failure(what: &str, done: io::Result<()>) {
    if let Err(error) = done {
        tracing::error!(%error, "cannot {what}");
    }
}
