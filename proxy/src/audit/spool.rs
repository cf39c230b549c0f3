//! The handle that request tasks hold, and the start and end of the spool. The work is done by `writer` and `keeper`, on
//! threads of their own, so that a runtime that is being shut down takes no record with it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::audit::backlog::Backlog;
use crate::audit::disk::Disk;
use crate::audit::envelope::{Draft, Source};
use crate::audit::files::{Clock, Files, SystemClock};
use crate::audit::journal;
use crate::audit::keeper::Keeper;
use crate::audit::lifecycle::{Event, Refusals};
use crate::audit::recent::Noted;
use crate::audit::shadow::ShadowData;
use crate::audit::shared::Shared;
use crate::audit::writer::{Append, Item, Writer, refuse_all};
use crate::metrics::Metrics;
use crate::policy::verdict::{Durability, Reason};

pub use crate::audit::disk::StartError;
pub use crate::audit::shared::{Options, Trouble};
pub use crate::audit::waiting::Receipt;

/// The spool as a status page shows it.
#[derive(Debug, Clone)]
pub struct Status {
    pub available: bool,
    /// Why not, since when.
    pub trouble: Option<Trouble>,
    pub bytes: u64,
    pub max_size: u64,
    pub undelivered_records: u64,
    pub undelivered_bytes: u64,
    /// `None` until the spool was opened.
    pub chain: Option<Arc<str>>,
    /// The last record that is durable.
    pub last_seq: Option<u64>,
    pub now: SystemTime,
}

#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
    queue: flume::Sender<Item>,
    keeper: Arc<KeeperThread>,
}

struct KeeperThread {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Spool {
    /// Returns at once; the spool is opened in the background, again and again until that succeeds. `append` waits for the
    /// first try; after it, and whenever records cannot be made durable, it answers `audit_unavailable`.
    /// Errors: only what waiting cannot mend.
    pub fn start(
        options: Options,
        source: Source,
        version: &str,
        generation: &str,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Backlog), StartError> {
        let disk = Disk::new(&options.directory);
        disk.check()?;
        let shared =
            Shared::new(options, source, (version, generation), metrics, Arc::new(disk), Arc::new(SystemClock));
        Self::start_on(shared)
    }

    /// The same on another file system and clock.
    pub fn start_with(
        options: Options,
        source: Source,
        (files, clock): (Arc<dyn Files>, Arc<dyn Clock>),
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Backlog), StartError> {
        Self::start_on(Shared::new(options, source, ("test", "test"), metrics, files, clock))
    }

    fn start_on(shared: Arc<Shared>) -> Result<(Self, Backlog), StartError> {
        shared.metrics.audit_available(false);
        let weak = Arc::downgrade(&shared);
        shared.metrics.watch_undelivered(move || {
            let shared = weak.upgrade().filter(|shared| shared.options.deliver)?;
            Some(shared.inventory.lock().undelivered())
        });
        let (queue, items) = flume::bounded(shared.options.queue);
        let gone = Gone { shared: shared.clone(), items: items.clone() };
        let writer = Writer::new(shared.clone());
        let work = move || {
            writer.run(&items);
            drop(gone);
        };
        std::thread::Builder::new().name("spool".to_owned()).spawn(work).map_err(StartError::Thread)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (keeper, stopped) = (Keeper::new(shared.clone()), stop.clone());
        let thread = std::thread::Builder::new()
            .name("spool-keeper".to_owned())
            .spawn(move || keeper.run(&stopped))
            .map_err(StartError::Thread)?;
        let keeper = Arc::new(KeeperThread { stop, thread: Mutex::new(Some(thread)) });
        Ok((Self { shared: shared.clone(), queue, keeper }, Backlog::new(shared)))
    }

    /// Waits until the record is durable at `level`. Cancelling the wait does not cancel the record.
    /// Errors: `audit_unavailable` (cannot be written now), `audit_timeout` (not durable by `deadline`),
    /// `overload` (the writer's queue is full until `deadline`). They are counted here.
    pub async fn append(&self, draft: Draft, level: Durability, deadline: Instant) -> Result<Receipt, Reason> {
        // Questions come as soon as the front listens. The few milliseconds that opening takes are no outage.
        if !self.shared.available.load(Ordering::Acquire) && !self.shared.starting.load(Ordering::Acquire) {
            return Err(self.refuse(Reason::AuditUnavailable));
        }
        let (waiter, mut told) = oneshot::channel();
        let since = self.shared.clock.now();
        match self.queue.try_send(Item::Record(Append { draft, level, waiter, since })) {
            Ok(()) => {}
            Err(flume::TrySendError::Disconnected(_)) => return Err(self.refuse(Reason::AuditUnavailable)),
            Err(flume::TrySendError::Full(item)) => {
                let sent = timeout_at(deadline, self.queue.send_async(item)).await;
                match sent {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(self.refuse(Reason::AuditUnavailable)),
                    // Given up. The writer may have taken it at that very moment, and has its sender then: such a record
                    // is amended and not counted.
                    Err(_) => match told.try_recv() {
                        Err(TryRecvError::Closed) => return Err(self.refuse(Reason::Overload)),
                        Err(TryRecvError::Empty) => {}
                        Ok(outcome) => return outcome,
                    },
                }
            }
        }
        let outcome = match timeout_at(deadline, &mut told).await {
            Ok(outcome) => outcome.ok(),
            Err(_) => {
                // From here on the writer knows that nobody waits, and amends the record. What it said before counts.
                told.close();
                match told.try_recv() {
                    Ok(outcome) => Some(outcome),
                    Err(_) => return Err(Reason::AuditTimeout),
                }
            }
        };
        outcome.unwrap_or_else(|| Err(self.refuse(Reason::AuditUnavailable)))
    }

    /// Writes a lifecycle record as soon as that is possible.
    pub fn record(&self, event: Event) {
        self.shared.event(event);
        // A full queue means that the writer will look anyway.
        drop(self.queue.try_send(Item::Wake));
    }

    /// Another configuration is about to be in force: its record, and what chains that open from now on say. Returns when
    /// the record has its place before all that are appended later; while records cannot be written, or after `limit`,
    /// without that. Blocks: not for a task.
    pub fn configured(&self, event: Event, generation: &str, limit: Duration) {
        generation.clone_into(&mut self.shared.generation.lock());
        self.record(event);
        let since = std::time::Instant::now();
        while self.is_available() && !self.shared.events.lock().is_empty() && since.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether a difference could be written now: not above half of `max_size`, which is kept for decisions.
    pub fn has_room_for_shadows(&self) -> bool {
        self.shared.has_room_for_shadows()
    }

    /// Writes a shadow record when there is room beside decisions; nothing waits for it. False: there is no room now.
    pub fn shadow(&self, data: &ShadowData<'_>) -> bool {
        if !self.has_room_for_shadows() {
            return false;
        }
        let Some(draft) = journal::shadow(&self.shared.source, self.shared.clock.wall(), data) else { return false };
        self.shared.shadows.lock().push_back(draft);
        drop(self.queue.try_send(Item::Wake));
        true
    }

    /// Records that the answer to `id`, whose receipt this is, is a deny, as soon as that is possible.
    pub fn amend(&self, receipt: Receipt, id: Uuid) {
        self.shared.late.lock().push(receipt.denied(id));
        // A full queue means that the writer will look anyway.
        drop(self.queue.try_send(Item::Wake));
    }

    /// Counts an answer that was refused elsewhere for overload or want of a record.
    pub fn refused(&self, reason: Reason) {
        self.shared.refused(reason);
    }

    /// Counts a question without a valid token; one record at most every 10 s.
    pub fn unauthorized(&self, peer: IpAddr) {
        self.shared.attempt(peer);
    }

    pub fn is_available(&self) -> bool {
        self.shared.available.load(Ordering::Acquire)
    }

    pub fn status(&self) -> Status {
        let inventory = self.shared.inventory.lock();
        let (bytes, (undelivered_records, undelivered_bytes)) = (inventory.bytes(), inventory.undelivered());
        drop(inventory);
        let progress = self.shared.progress.lock().clone();
        Status {
            available: self.is_available(),
            trouble: self.shared.trouble.lock().clone(),
            bytes,
            max_size: self.shared.options.max_size,
            undelivered_records,
            undelivered_bytes,
            chain: progress.chain,
            last_seq: progress.next.checked_sub(1),
            now: self.shared.clock.wall(),
        }
    }

    /// The last lifecycle events, the newest first.
    pub fn recent(&self) -> Vec<Noted> {
        self.shared.recent.newest()
    }

    /// Writes and syncs `chain_closed`. Blocks; false if that took longer than `limit`. Records are refused from now on;
    /// the backlog can still be read and delivered.
    pub fn close(&self, limit: Duration) -> bool {
        let deadline = std::time::Instant::now() + limit;
        if self.queue.send_deadline(Item::Close, deadline).is_err() && !self.queue.is_disconnected() {
            return false;
        }
        let mut progress = self.shared.progress.lock();
        while !self.shared.closed.load(Ordering::Acquire) {
            if self.shared.moved.wait_until(&mut progress, deadline).timed_out() {
                return self.shared.closed.load(Ordering::Acquire);
            }
        }
        true
    }

    /// Stores the cursors and lets go of the lock, after the publisher has ended. Blocks for as long as the disk does.
    pub fn unlock(&self) {
        self.keeper.stop.store(true, Ordering::Release);
        drop(self.shared.spare.lock());
        self.shared.spare_moved.notify_all();
        if let Some(thread) = self.keeper.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("keeper of the spool ended with a panic");
        }
        let left = self.shared.take_audit_refusals();
        if left != Refusals::default() {
            tracing::error!(?left, "refused after the chain had ended: these are in no record");
        }
        // A writer that hangs in the disk may still write: then the lock is held for as long as the process lives.
        if self.shared.closed.load(Ordering::Acquire) {
            *self.shared.lock.lock() = None;
        }
    }

    fn refuse(&self, reason: Reason) -> Reason {
        self.shared.refused(reason);
        reason
    }
}

/// Whatever ends the writer, nobody is told that records are taken.
struct Gone {
    shared: Arc<Shared>,
    items: flume::Receiver<Item>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.shared.available.store(false, Ordering::Release);
        if std::thread::panicking() {
            let detail = "the spool's writer ended with a panic; restart the process".to_owned();
            tracing::error!(detail, "every question is denied");
            *self.shared.trouble.lock() = Some(Trouble { since: self.shared.clock.wall(), detail });
        }
        refuse_all(&self.shared, &self.items);
        self.shared.closed.store(true, Ordering::Release);
        self.shared.metrics.audit_available(false);
        // Taken so that the notice cannot fall between a waiter's look and its wait.
        drop(self.shared.progress.lock());
        self.shared.moved.notify_all();
    }
}
