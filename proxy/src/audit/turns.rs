//! Whose turn the writer is: that of its own thread, which takes everything that has gathered in the queue, or that of a
//! question that is alone and waits for no sync, which is spared the way to another thread and back. One at a time. Called
//! by `spool`; what is done in a turn is the writer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::audit::shared::{Shared, Trouble};
use crate::audit::writer::{Append, Item, Writer};
use crate::policy::verdict::Durability;

/// Records taken in one turn.
const MAX_BATCH: usize = 1024;

pub struct Turns {
    /// Taken out for a turn: one that ends with a panic leaves nothing half done to go on with.
    writer: Mutex<Option<Box<Writer>>>,
    shared: Arc<Shared>,
    /// For the thread, which has to come back where a sync is due. Does not keep the queue open.
    queue: flume::WeakSender<Item>,
    appending: AtomicUsize,
}

/// A record that is being appended, for as long as this is held.
pub struct Appending<'a> {
    turns: &'a Turns,
    alone: bool,
}

impl Turns {
    pub fn new(writer: Writer, shared: Arc<Shared>, queue: &flume::Sender<Item>) -> Self {
        let writer = Mutex::new(Some(Box::new(writer)));
        Self { writer, shared, queue: queue.downgrade(), appending: AtomicUsize::new(0) }
    }

    /// The thread's part: until `close`, or until the last handle is gone.
    pub fn run(&self, queue: &flume::Receiver<Item>) {
        let mut items = Vec::with_capacity(MAX_BATCH);
        while let Some(wait) = self.until_next() {
            match queue.recv_timeout(wait) {
                Ok(item) => {
                    items.push(item);
                    items.extend(queue.try_iter().take(MAX_BATCH - 1));
                }
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => items.push(Item::Close),
            }
            self.turn(&mut self.writer.lock(), &mut items);
        }
        for item in items.into_iter().chain(queue.drain()) {
            if let Item::Record(append) = item {
                append.refuse(&self.shared);
            }
        }
    }

    /// `None` once the writer has ended.
    fn until_next(&self) -> Option<Duration> {
        self.writer.lock().as_ref().map(|writer| writer.until_next())
    }

    fn turn(&self, slot: &mut Option<Box<Writer>>, items: &mut Vec<Item>) {
        let Some(mut writer) = slot.take() else { return };
        let mut gone = Gone(Some(&self.shared));
        writer.turn(items);
        if !writer.is_finished() {
            gone.0 = None;
            *slot = Some(writer);
        }
    }

    #[cfg(test)]
    pub fn is_taken(&self) -> bool {
        self.writer.try_lock().is_none()
    }

    pub fn begin(&self) -> Appending<'_> {
        Appending { turns: self, alone: self.appending.fetch_add(1, Ordering::Relaxed) == 0 }
    }
}

impl Appending<'_> {
    /// Takes the record in a turn of its own, if that is allowed; gives it back otherwise. Its waiter has been told when
    /// this returns.
    ///
    /// Only where it is alone: a turn for each of many would cost more than one for all of them. And only where nothing is
    /// to be synced: a disk that hangs in a sync would hold an answer beyond its deadline, and so it holds the thread's
    /// turn instead, in which nobody is let here.
    pub fn at_once(&self, append: Append) -> Result<(), Append> {
        let turns = self.turns;
        if !self.alone || append.level != Durability::Written || !may_block() {
            return Err(append);
        }
        let Some(mut slot) = turns.writer.try_lock() else { return Err(append) };
        let Some(had_sync_due) = slot.as_ref().map(|writer| writer.has_sync_due()) else { return Err(append) };
        // A write may wait for the disk, too. Others are served meanwhile.
        tokio::task::block_in_place(|| turns.turn(&mut slot, &mut vec![Item::Record(append)]));
        let has_sync_due = slot.as_ref().is_some_and(|writer| writer.has_sync_due());
        drop(slot);
        if has_sync_due
            && !had_sync_due
            && let Some(queue) = turns.queue.upgrade()
        {
            // A full queue means that the thread will look anyway.
            drop(queue.try_send(Item::Wake));
        }
        Ok(())
    }
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        self.turns.appending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// On a runtime with one thread nobody would be there to serve the others.
fn may_block() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Whatever ends the writer, nobody is told that records are taken.
struct Gone<'a>(Option<&'a Shared>);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let Some(shared) = self.0 else { return };
        shared.available.store(false, Ordering::Release);
        if std::thread::panicking() {
            let detail = "the spool's writer ended with a panic; restart the process".to_owned();
            tracing::error!(detail, "every question is denied");
            *shared.trouble.lock() = Some(Trouble { since: shared.clock.wall(), detail });
        }
        shared.closed.store(true, Ordering::Release);
        shared.metrics.audit_available(false);
        shared.moved.notify_all();
    }
}
