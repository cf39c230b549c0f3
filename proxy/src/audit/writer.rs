//! The one thread that appends: gives records their place in the chain, frames them, writes once, syncs once, wakes
//! everyone. A state machine over `Files` and `Clock`: `turn` is one step, `run` only feeds it. Opening, rolling and what
//! follows a failure are in `writer::open`; what the writer says about itself is in `writer::report`.

mod checkpoint;
mod open;
mod report;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::audit::chain::{Chain, GENESIS};
use crate::audit::envelope::{CHAIN_ROOM, Draft, MAX_RECORD};
use crate::audit::epoch::EpochId;
use crate::audit::files::Handle;
use crate::audit::lifecycle::{Event, Previous};
use crate::audit::segment::{self, FRAME, HEADER, MAX_PAYLOAD, Meta};
use crate::audit::shared::Shared;
use crate::audit::waiting::{Late, Waiter, Waiting};
use crate::policy::verdict::Durability;
use crate::policy::verdict::Reason;

use report::Overload;

/// Records taken in one turn.
const MAX_BATCH: usize = 1024;
/// Unsynced bytes kept for writing again after a failure; beyond, a sync is due whoever waits.
const MAX_UNSYNCED: usize = 4 << 20;
/// Records nobody waits for are synced this much later at most.
const LINGER_SYNCED: Duration = Duration::from_millis(10);
const LINGER_WRITTEN: Duration = Duration::from_secs(1);
/// Longest wait without anything to do.
const IDLE: Duration = Duration::from_millis(500);

pub enum Item {
    Record(Append),
    /// Something else than a record waits, in `Shared`.
    Wake,
    Close,
}

pub struct Append {
    pub draft: Draft,
    pub level: Durability,
    pub waiter: Waiter,
    pub since: Instant,
}

/// The segment that is written.
struct Active {
    file: Handle,
    path: String,
    number: u64,
    salt: u64,
    /// Where the writer's buffer begins: everything before is synced.
    start: u64,
    capacity: u64,
}

/// Why records are refused, since when.
struct Outage {
    since: std::time::SystemTime,
    detail: String,
    /// `outage_started` is in the chain.
    recorded: bool,
    /// The chain is not open yet, and nothing has gone wrong so far.
    starting: bool,
}

pub struct Writer {
    shared: Arc<Shared>,
    epoch: Option<EpochId>,
    chain: Chain,
    opened: bool,
    previous: Option<Previous>,
    segment: Option<Active>,
    /// The name of the last segment in which everything was written again and not synced.
    attempt: Option<String>,
    next_number: u64,
    /// Frames since the last successful sync, the first `written` bytes of them handed to the kernel. They are kept
    /// because a failed sync may have lost any of them.
    buffer: Vec<u8>,
    written: usize,
    /// Seq and `prev` of the first record in `buffer`.
    durable: (u64, [u8; 32]),
    payload_bytes: u64,
    batch_records: usize,
    waiting: Vec<Waiting>,
    batches: VecDeque<(u64, Arc<()>)>,
    settled: u64,
    unsettled: Arc<()>,
    sync_due: Option<Instant>,
    outage: Option<Outage>,
    /// Since when the spool is being read for the first time.
    opening: Option<Instant>,
    retry_at: Instant,
    backoff: Duration,
    /// How long to wait for a segment that is being prepared.
    pub(in crate::audit) patience: Duration,
    overload: Option<Overload>,
    late: Vec<Late>,
    checkpoints: checkpoint::Checkpoints,
    /// Their amendments are in the buffer. Not settled before these are durable: a power cut may take an amendment and
    /// leave what was written after it.
    amended: Vec<Late>,
    ticked: Option<Instant>,
    /// Both clocks at the last look.
    clocks: Option<(Instant, std::time::SystemTime)>,
    attempts_reported: Option<Instant>,
    finished: bool,
}

/// Refuses everybody in the queue and before it: each look lets in as many as it holds. Nobody looks when the writer is gone,
/// and a channel keeps what is in it for as long as there is a sender.
pub fn refuse_all(shared: &Shared, queue: &flume::Receiver<Item>) {
    let mut left: Vec<Item> = queue.drain().collect();
    while !left.is_empty() {
        for item in left {
            if let Item::Record(append) = item {
                shared.refuse(append.waiter);
            }
        }
        left = queue.drain().collect();
    }
}

impl Writer {
    pub fn new(shared: Arc<Shared>) -> Self {
        let now = shared.clock.now();
        let since = shared.clock.wall();
        let detail = "not open yet".to_owned();
        Self {
            epoch: None,
            chain: Chain::new(Arc::from("")),
            opened: false,
            previous: None,
            segment: None,
            attempt: None,
            next_number: 0,
            buffer: Vec::new(),
            written: 0,
            durable: (0, GENESIS),
            payload_bytes: 0,
            batch_records: 0,
            waiting: Vec::new(),
            batches: VecDeque::new(),
            settled: 0,
            unsettled: Arc::new(()),
            sync_due: None,
            outage: Some(Outage { since, detail, recorded: false, starting: true }),
            opening: None,
            retry_at: now,
            backoff: open::FIRST_BACKOFF,
            patience: open::PATIENCE,
            overload: None,
            late: Vec::new(),
            checkpoints: checkpoint::Checkpoints::new(now),
            amended: Vec::new(),
            ticked: None,
            clocks: None,
            attempts_reported: None,
            finished: false,
            shared,
        }
    }

    /// Until `close`, or until the last handle is gone.
    pub fn run(mut self, queue: &flume::Receiver<Item>) {
        let mut items = Vec::with_capacity(MAX_BATCH);
        while !self.finished {
            match queue.recv_timeout(self.until_next()) {
                Ok(item) => {
                    items.push(item);
                    items.extend(queue.try_iter().take(MAX_BATCH - 1));
                }
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => items.push(Item::Close),
            }
            self.turn(&mut items);
        }
        refuse_all(&self.shared, queue);
    }

    /// One step: everything in `items` is decided when it returns, or waits for a sync that is due.
    pub fn turn(&mut self, items: &mut Vec<Item>) {
        let now = self.shared.clock.now();
        if self.outage.is_some() && now >= self.retry_at {
            self.try_recover(now);
        }
        self.shared.starting.store(false, Ordering::Release);
        self.begin_batch();
        let mut closing = false;
        for item in items.drain(..) {
            match item {
                Item::Record(append) => self.take(append),
                Item::Wake => {}
                Item::Close => closing = true,
            }
        }
        if self.outage.is_none() {
            self.report(now);
            self.checkpoint_if_due(now);
        }
        self.flush(self.sync_wanted(now));
        self.end_batch();
        if closing {
            self.close(now);
        }
    }

    pub fn is_finished(&self) -> bool {
        self.finished
    }

    fn until_next(&self) -> Duration {
        let now = self.shared.clock.now();
        let retry = self.outage.is_some().then_some(self.retry_at);
        let due = self.sync_due.into_iter().chain(retry).min();
        due.map_or(IDLE, |d| d.saturating_duration_since(now).min(IDLE))
    }

    fn take(&mut self, append: Append) {
        let placed = if self.outage.is_none() { self.place(&append.draft, false) } else { None };
        let Some(seq) = placed else { return self.shared.refuse(append.waiter) };
        let Append { draft, level, waiter, since } = append;
        self.waiting.push(Waiting::new((seq, draft.id), level, (waiter, since), self.unsettled.clone()));
    }

    /// Puts a record into the chain and the buffer. `reserve`: it may use the room kept for the writer's own records,
    /// and does not cause a roll. `None`: there is no room, and unless `reserve` this is an outage now.
    fn place(&mut self, draft: &Draft, reserve: bool) -> Option<u64> {
        let need = FRAME + draft.head.len() + CHAIN_ROOM;
        if !self.fits(need, reserve) {
            if reserve {
                return None;
            }
            self.flush(true);
            if self.outage.is_some() || !self.roll() {
                return None;
            }
        }
        let salt = self.segment.as_ref().map_or(0, |s| s.salt);
        let start = segment::begin(&mut self.buffer);
        let seq = self.chain.finish(&draft.head, &mut self.buffer);
        segment::seal(&mut self.buffer, start, salt, Meta { seq, time_us: draft.time_us, settled: self.settled });
        self.checkpoints.note(&self.chain.prev(), draft.time_us);
        self.payload_bytes += (self.buffer.len() - start - FRAME) as u64;
        self.batch_records += 1;
        Some(seq)
    }

    /// Whether it fits into this segment like a decision would.
    fn fits_beside(&self, draft: &Draft) -> bool {
        self.fits(FRAME + draft.head.len() + CHAIN_ROOM, false)
    }

    fn fits(&self, need: usize, reserve: bool) -> bool {
        let Some(segment) = &self.segment else { return reserve };
        let kept = if reserve { 0 } else { open::reserve(segment.capacity) };
        segment.start + (self.buffer.len() + need) as u64 + kept <= segment.capacity
    }

    fn sync_wanted(&self, now: Instant) -> bool {
        self.waiting.iter().any(|w| w.level() != Durability::Written)
            || self.sync_due.is_some_and(|d| d <= now)
            || self.buffer.len() > MAX_UNSYNCED
    }

    /// Writes what is not written, and syncs if asked to. After a failure the segment is not used again.
    fn flush(&mut self, sync: bool) {
        let done = self.write_buffer().and_then(|()| if sync { self.sync_buffer() } else { Ok(()) });
        if let Err(detail) = done {
            self.broken(detail);
        } else if !self.buffer.is_empty() && self.sync_due.is_none() {
            let linger = if self.spool_syncs() { LINGER_SYNCED } else { LINGER_WRITTEN };
            self.sync_due = Some(self.shared.clock.now() + linger);
        }
    }

    fn spool_syncs(&self) -> bool {
        self.shared.options.durability != Durability::Written
    }

    fn write_buffer(&mut self) -> Result<(), String> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let fresh = self.buffer.get(self.written..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(());
        }
        let offset = segment.start + self.written as u64;
        segment.file.write_at(fresh, offset).map_err(|e| format!("cannot write the spool: {e}"))?;
        self.shared.metrics.spool_appended(fresh.len() as u64);
        self.shared.metrics.audit_batch(self.batch_records);
        self.batch_records = 0;
        self.written = self.buffer.len();
        if !self.spool_syncs() {
            self.publish();
        }
        self.wake(|level| level == Durability::Written);
        Ok(())
    }

    fn sync_buffer(&mut self) -> Result<(), String> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        let before = self.shared.clock.now();
        segment.file.sync_data().map_err(|e| format!("cannot sync the spool: {e}"))?;
        self.shared.metrics.spool_synced(self.shared.clock.now().saturating_duration_since(before));
        segment.start += self.buffer.len() as u64;
        self.buffer.clear();
        self.written = 0;
        self.durable = (self.chain.next(), self.chain.prev());
        self.sync_due = None;
        self.shared.named(self.durable.0);
        self.amended.clear();
        self.hold_for_kafka();
        self.publish();
        self.wake(|level| level != Durability::Acknowledged);
        Ok(())
    }

    /// Moves the waiters that need Kafka, before the publisher can see their records.
    fn hold_for_kafka(&mut self) {
        if self.waiting.iter().any(|w| w.level() == Durability::Acknowledged) {
            let held = self.waiting.extract_if(.., |w| w.level() == Durability::Acknowledged);
            self.shared.acknowledged.lock().extend(held);
        }
    }

    /// Lets the backlog see what is durable at the spool's level.
    fn publish(&mut self) {
        let Some(segment) = &self.segment else { return };
        let (next, offset) = (self.chain.next(), segment.start + self.written as u64);
        let number = segment.number;
        if let Some(live) = self.shared.inventory.lock().live() {
            live.next = next;
            live.undelivered_bytes += std::mem::take(&mut self.payload_bytes);
        }
        let mut progress = self.shared.progress.lock();
        (progress.next, progress.number, progress.offset) = (next, number, offset);
        drop(progress);
        self.shared.moved.notify_all();
    }

    fn wake(&mut self, reached: impl Fn(Durability) -> bool) {
        let now = self.shared.clock.now();
        for waiting in self.waiting.extract_if(.., |w| reached(w.level())) {
            waiting.wake(self.chain.id(), now, &self.shared.metrics, &mut self.late);
        }
    }

    /// Every receipt of a batch, and every wait for one, holds the batch's token. A batch whose token nobody else holds
    /// is settled: its answers have left or were given up. Each frame says how far that was when it was written, so
    /// that after a crash it is known which answers are unknown.
    fn begin_batch(&mut self) {
        while self.batches.front().is_some_and(|(_, token)| Arc::strong_count(token) == 1) {
            self.batches.pop_front();
        }
        self.settled = self.batches.front().map_or(self.chain.next(), |(first, _)| *first);
        self.batches.push_back((self.chain.next(), self.unsettled.clone()));
    }

    fn end_batch(&mut self) {
        self.unsettled = Arc::new(());
    }

    /// Ends the chain, if it can be written to.
    fn close(&mut self, now: Instant) {
        // From here on nobody is refused without being counted below.
        self.shared.available.store(false, Ordering::Release);
        if self.outage.is_some() && self.opened {
            self.try_recover(now);
        }
        // Whoever still waits is told now: one that gave up has its amendment before the end.
        self.flush(true);
        let held = std::mem::take(&mut *self.shared.acknowledged.lock());
        self.late.extend(held.into_iter().map(|waiting| waiting.refuse(Reason::AuditUnavailable)));
        if self.outage.is_none() {
            self.report_last();
            self.place_checkpoint(now);
        }
        // A chain that could not say everything is not closed: it would claim to be complete.
        if self.outage.is_none() {
            self.begin_batch();
            self.place_event(&Event::ChainClosed {});
            self.flush(true);
        }
        self.shared.available.store(false, Ordering::Release);
        if let Some(outage) = &self.outage {
            let refused = self.shared.take_audit_refusals();
            tracing::error!(
                detail = outage.detail,
                ?refused,
                "chain ends without its last record; these are in no record"
            );
        }
        self.shared.closed.store(true, Ordering::Release);
        let mut inventory = self.shared.inventory.lock();
        if let Some(live) = inventory.live() {
            live.live = false;
        }
        drop(inventory);
        self.finished = true;
        // Taken so that the notice cannot fall between a waiter's look and its wait.
        drop(self.shared.progress.lock());
        self.shared.moved.notify_all();
    }
}

/// The smallest segment outside of tests; an eighth of it is kept for the writer's own records.
const SMALLEST: usize = 256 << 10;
const _: () = assert!(HEADER + FRAME + MAX_RECORD + SMALLEST / 8 <= SMALLEST, "a segment holds the largest record");
const _: () = assert!(MAX_RECORD <= MAX_PAYLOAD, "what is longer is read as damage");
