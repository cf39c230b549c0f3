//! The records that wait for Kafka, in order: oldest epoch first, then by seq. Called by `publisher`, from one thread.
//! Reads only what is durable at the spool's level; knows nothing of Kafka.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::audit::epoch::{Damage, EpochReader, Extent, Read};
use crate::audit::shared::Shared;
use crate::audit::waiting::Waiting;
use crate::audit::whole;
use crate::policy::verdict::Reason;

pub use crate::audit::epoch::{Entry, EpochId};

/// What cannot be read for this long is passed over, and named: it must not hold up everything behind it for ever.
const UNREADABLE: Duration = Duration::from_secs(60);

pub struct Backlog {
    shared: Arc<Shared>,
    reading: Option<Reading>,
    /// The last epoch that was read to its end.
    done: Option<EpochId>,
    /// Read and not delivered, in order. As long as the caller lets it become.
    flying: VecDeque<Flying>,
    /// Since when the record that is due cannot be read.
    failing: Option<Instant>,
    /// The same for the record that is to be kept whole.
    unkept: Option<Instant>,
}

struct Reading {
    id: EpochId,
    reader: EpochReader,
}

struct Flying {
    epoch: EpochId,
    seq: u64,
    time_us: i64,
    bytes: u64,
}

impl Backlog {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, reading: None, done: None, flying: VecDeque::new(), failing: None, unkept: None }
    }

    /// The next record; `None` if all that is durable has been returned. Damage on the way is recorded in the chain and
    /// skipped. After an error the same record is tried again; what stays unreadable for a minute counts as damaged.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: it goes on after `None`")]
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let Some(reading) = &mut self.reading else {
                self.reading = self.pick();
                if self.reading.is_none() {
                    return Ok(None);
                }
                continue;
            };
            let (extent, goes_on) = extent(&self.shared, &reading.id);
            let now = self.shared.clock.now();
            reading.reader.salvage = self.failing.is_some_and(|s| now.saturating_duration_since(s) >= UNREADABLE);
            let read = reading.reader.next(extent);
            match &read {
                Ok(_) => self.failing = None,
                Err(_) => drop(self.failing.get_or_insert(now)),
            }
            match read? {
                Read::Record(entry) => {
                    self.note(&entry);
                    return Ok(Some(entry));
                }
                Read::Damage(damage) => {
                    self.shared.damage(&damage);
                    self.refuse_lost(&damage);
                }
                Read::End if goes_on => return Ok(None),
                Read::End => {
                    if let Some(reading) = self.reading.take() {
                        self.leave(reading);
                    }
                }
            }
        }
    }

    /// Waits until there may be something for [`Self::next`]; false after `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut progress = self.shared.progress.lock();
        loop {
            let more = match &self.reading {
                Some(reading) if progress.epoch.as_ref() == Some(&reading.id) => {
                    progress.next > reading.reader.next_seq()
                }
                Some(_) => true,
                None => progress.next > 0 && self.done != progress.epoch,
            };
            if more {
                return true;
            }
            if self.shared.moved.wait_until(&mut progress, deadline).timed_out() {
                return false;
            }
        }
    }

    /// This record and all before it, of this epoch, are in Kafka.
    pub fn delivered(&mut self, epoch: &EpochId, seq: u64) {
        let mut bytes = 0;
        while let Some(first) = self.flying.front().filter(|f| f.epoch == *epoch && f.seq <= seq) {
            bytes += first.bytes;
            self.flying.pop_front();
        }
        self.shared.oldest_us.store(self.flying.front().map_or(0, |f| f.time_us), Ordering::Relaxed);
        let mut inventory = self.shared.inventory.lock();
        let Some(info) = inventory.epoch(epoch) else { return };
        info.delivered = info.delivered.max(seq + 1);
        info.undelivered_bytes = info.undelivered_bytes.saturating_sub(bytes);
        let live = info.live;
        drop(inventory);
        if live {
            self.wake_acknowledged(seq);
        }
    }

    /// Kafka has only a stub of this record: it is kept whole before the cursor moves over it.
    pub fn stubbed(&mut self, epoch: &EpochId, seq: u64) -> io::Result<()> {
        if self.shared.inventory.lock().whole.contains_key(&(epoch.clone(), seq)) {
            // By a process before this one, perhaps, that was killed before the file's name survived power loss.
            return whole::settle(self.shared.files.as_ref());
        }
        // Where it was read from for Kafka; rare enough to be read again.
        let mut reader = EpochReader::new(self.shared.files.clone(), epoch.clone(), Some(seq));
        let now = self.shared.clock.now();
        reader.salvage = self.unkept.is_some_and(|s| now.saturating_duration_since(s) >= UNREADABLE);
        let read = reader.next(extent(&self.shared, epoch).0);
        self.unkept = read.is_err().then(|| self.unkept.unwrap_or(now));
        match read? {
            Read::Record(entry) if entry.seq == seq => whole::keep(&self.shared, epoch, seq, &entry.value),
            Read::Record(_) | Read::Damage(_) | Read::End => {
                // It was there a moment ago. What is damaged does not mend, and must not hold up what is behind it.
                let epoch = epoch.as_str();
                tracing::error!(epoch, seq, "record that kafka has as a stub only cannot be read any more, or kept");
                Ok(())
            }
        }
    }

    /// Goes back to the first record that is not delivered.
    pub fn rewind(&mut self) {
        self.reading = None;
        self.done = None;
        self.flying.clear();
        self.shared.oldest_us.store(0, Ordering::Relaxed);
    }

    fn note(&mut self, entry: &Entry) {
        if self.flying.is_empty() {
            self.shared.oldest_us.store(entry.time_us, Ordering::Relaxed);
        }
        let (epoch, seq, time_us) = (entry.epoch.clone(), entry.seq, entry.time_us);
        self.flying.push_back(Flying { epoch, seq, time_us, bytes: entry.value.len() as u64 });
    }

    /// The next epoch in order; one that holds nothing undelivered is passed over.
    fn pick(&self) -> Option<Reading> {
        let inventory = self.shared.inventory.lock();
        let after = |done: &EpochId| inventory.epochs.iter().position(|e| e.id == *done).map(|i| i + 1);
        let from = self.done.as_ref().and_then(after).unwrap_or(0);
        let info = inventory.epochs.get(from..)?.iter().find(|e| self.done.as_ref() != Some(&e.id) && !e.is_done())?;
        let reader = EpochReader::new(self.shared.files.clone(), info.id.clone(), Some(info.delivered));
        Some(Reading { id: info.id.clone(), reader })
    }

    /// An epoch has been read to its end. What was there and is not any more is named. If nothing of it is on its way,
    /// nothing of it is left to deliver.
    fn leave(&mut self, Reading { id, reader }: Reading) {
        let mut missing = None;
        if let Some(info) = self.shared.inventory.lock().epoch(&id) {
            missing = reader.missing(info.next);
            info.next = info.next.min(reader.next_seq());
            if !self.flying.iter().any(|f| f.epoch == id) {
                info.delivered = info.next;
            }
        }
        if let Some(mut damage) = missing {
            if damage.chain.is_empty() {
                damage.chain = format!("{}/{}", self.shared.source.instance, id.random()).into();
            }
            self.shared.damage(&damage);
        }
        self.done = Some(id);
    }

    /// Whoever waits for Kafka to have one of these records waits in vain.
    fn refuse_lost(&self, damage: &Damage) {
        if self.shared.progress.lock().epoch.as_ref() != Some(&damage.epoch) {
            return;
        }
        let lost = |w: &Waiting| (damage.first_seq..=damage.last_seq).contains(&w.seq());
        let mut held = self.shared.acknowledged.lock();
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = held.drain(..).partition(lost);
        *held = kept;
        drop(held);
        self.shared.late.lock().extend(gone.into_iter().map(|w| w.refuse(Reason::AuditUnavailable)));
    }

    fn wake_acknowledged(&self, seq: u64) {
        let now = self.shared.clock.now();
        let Some(chain) = self.shared.progress.lock().chain.clone() else { return };
        let mut late = Vec::new();
        let mut held = self.shared.acknowledged.lock();
        while held.front().is_some_and(|w| w.seq() <= seq) {
            if let Some(waiting) = held.pop_front() {
                waiting.wake(&chain, now, &self.shared.metrics, &mut late);
            }
        }
        drop(held);
        self.shared.late.lock().append(&mut late);
    }
}

/// How much of it may be read, and whether more may come. What this process wrote counts only as far as it was made
/// durable, also when the chain has ended: one that ended in an outage has more in its files, which power loss may take.
fn extent(shared: &Shared, id: &EpochId) -> (Extent, bool) {
    let live = shared.inventory.lock().epoch(id).is_some_and(|e| e.live);
    let progress = shared.progress.lock();
    if progress.epoch.as_ref() != Some(id) {
        return (Extent::Closed, false);
    }
    (Extent::Live { next: progress.next, number: progress.number, offset: progress.offset }, live)
}
