//! What the handle, the writer, the keeper and the backlog know together. Each lock covers one thing and is held for a
//! few instructions; none is held while waiting for the disk, except a cursor's own and that of the spool's lock: the first
//! is the keeper's, the other the writer's, and nobody else waits for them.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::audit::envelope::{Draft, Source};
use crate::audit::epoch::{Damage, EpochId};
use crate::audit::files::{Clock, Files, Handle, Lock};
use crate::audit::inventory::Inventory;
use crate::audit::keys::SigningKey;
use crate::audit::lifecycle::{Event, Refusals};
use crate::audit::recent::Recent;
use crate::audit::waiting::{Late, Waiter, Waiting};
use crate::metrics::Metrics;
use crate::policy::privacy::Privacy;
use crate::policy::verdict::{Durability, Reason};

/// Events kept while they cannot be written; beyond, the oldest are dropped and counted in the log.
const MAX_EVENTS: usize = 1024;
/// Shadow records that wait for the writer; further differences are only counted.
const MAX_SHADOWS: usize = 32;
/// Addresses named in one `unauthorized_attempts`.
const MAX_PEERS: usize = 16;

#[derive(Debug, Clone)]
pub struct Options {
    pub directory: PathBuf,
    /// The strictest level records are appended at; decides how soon those that nobody waits for are synced.
    pub durability: Durability,
    /// Of everything in the spool, bytes.
    pub max_size: u64,
    /// Delivered segments stay this long, while there is room.
    pub retain_delivered: Duration,
    /// Bytes of one segment; less if `max_size` is small.
    pub segment_size: u64,
    /// No segment is smaller; the largest record must fit. Only tests go below the default.
    pub segment_floor: u64,
    /// Records that may wait for the writer.
    pub queue: usize,
    /// A checkpoint at least this often.
    pub checkpoint_every: Duration,
    /// Signs checkpoints; without it a key is made in the spool.
    pub signing_key: Option<SigningKey>,
    /// For the addresses of unauthorized attempts.
    pub privacy: Privacy,
    /// There is a publisher. Without one the oldest segments give way when the spool is full.
    pub deliver: bool,
}

impl Options {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::Synced,
            max_size: 20 << 30,
            retain_delivered: Duration::from_secs(3600),
            segment_size: 64 << 20,
            segment_floor: 256 << 10,
            queue: 8192,
            checkpoint_every: Duration::from_secs(10),
            signing_key: None,
            privacy: Privacy::PLAIN,
            deliver: true,
        }
    }

    /// What a segment really gets: at least eight fit into the spool, and each can hold the largest record.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_size.min(self.max_size / 8).max(self.segment_floor)
    }
}

/// How far the live epoch is readable.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub epoch: Option<EpochId>,
    pub chain: Option<Arc<str>>,
    /// The first seq that is not durable at the spool's level.
    pub next: u64,
    /// The segment that `next` will be in, and its end.
    pub number: u64,
    pub offset: u64,
}

/// The segment prepared ahead.
pub enum Spare {
    /// There is no epoch to prepare one in.
    Idle,
    Wanted,
    Ready {
        file: Handle,
        path: String,
        bytes: u64,
    },
    Failed(String),
}

#[derive(Debug, Default)]
pub struct Attempts {
    pub count: u64,
    pub first: Option<SystemTime>,
    pub last: Option<SystemTime>,
    pub peers: Vec<IpAddr>,
    /// Attempts by peers that are not listed.
    pub omitted: u64,
}

impl Attempts {
    fn add(&mut self, peer: IpAddr) {
        if self.peers.contains(&peer) {
            return;
        }
        if self.peers.len() < MAX_PEERS {
            self.peers.push(peer);
        } else {
            self.omitted += 1;
        }
    }
}

/// An outage as the status page shows it.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub since: SystemTime,
    pub detail: String,
}

pub struct Unnamed {
    epoch: EpochId,
    first_seq: u64,
    /// The seq of the record that names it, once it has one.
    record: Option<u64>,
}

pub struct Shared {
    pub options: Options,
    pub source: Source,
    pub version: String,
    /// Of the configuration in force.
    pub generation: Mutex<String>,
    pub files: Arc<dyn Files>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    /// Records are taken.
    pub available: AtomicBool,
    /// The first try to open has not ended: what is queued is decided by what comes of it.
    pub starting: AtomicBool,
    /// `close` was called, or the writer is gone.
    pub closed: AtomicBool,
    pub unavailable: AtomicU64,
    pub timeout: AtomicU64,
    pub overload: AtomicU64,
    pub progress: Mutex<Progress>,
    pub moved: Condvar,
    pub inventory: Mutex<Inventory>,
    pub spare: Mutex<Spare>,
    pub spare_moved: Condvar,
    pub events: Mutex<VecDeque<(SystemTime, Event)>>,
    pub attempts: Mutex<Attempts>,
    /// Shadow records that wait for a place beside the others.
    pub shadows: Mutex<VecDeque<Draft>>,
    /// Records whose waiters gave up before they were durable.
    pub late: Mutex<Vec<Late>>,
    /// Waiting for Kafka, in order of seq. Those that gave up are taken out every second: while Kafka is away nothing else
    /// would, and every question adds one.
    pub acknowledged: Mutex<VecDeque<Waiting>>,
    pub reported: Mutex<HashSet<Damage>>,
    /// Damage whose record is not durable, in the order of the events. No cursor goes past it: a crash would leave a gap
    /// that nothing names.
    pub unnamed: Mutex<VecDeque<Unnamed>>,
    pub lock: Mutex<Option<Box<dyn Lock>>>,
    /// `time` of the oldest record that was read and not delivered; 0 if there is none.
    pub oldest_us: AtomicI64,
    pub trouble: Mutex<Option<Trouble>>,
    /// What the status page shows of the events that are in the chain.
    pub recent: Recent,
}

impl Shared {
    pub fn new(
        options: Options,
        source: Source,
        (version, generation): (&str, &str),
        metrics: Arc<Metrics>,
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let trouble = Some(Trouble { since: clock.wall(), detail: "not open yet".to_owned() });
        Arc::new(Self {
            options,
            source,
            version: version.to_owned(),
            generation: Mutex::new(generation.to_owned()),
            files,
            clock,
            metrics,
            available: AtomicBool::new(false),
            starting: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            unavailable: AtomicU64::new(0),
            timeout: AtomicU64::new(0),
            overload: AtomicU64::new(0),
            progress: Mutex::new(Progress::default()),
            moved: Condvar::new(),
            inventory: Mutex::new(Inventory::default()),
            spare: Mutex::new(Spare::Idle),
            spare_moved: Condvar::new(),
            events: Mutex::new(VecDeque::new()),
            attempts: Mutex::new(Attempts::default()),
            shadows: Mutex::new(VecDeque::new()),
            late: Mutex::new(Vec::new()),
            acknowledged: Mutex::new(VecDeque::new()),
            reported: Mutex::new(HashSet::new()),
            unnamed: Mutex::new(VecDeque::new()),
            lock: Mutex::new(None),
            oldest_us: AtomicI64::new(0),
            trouble: Mutex::new(trouble),
            recent: Recent::default(),
        })
    }

    /// Counts an answer that was refused without a record. Reasons that have a record or a counter of their own are
    /// none of the spool's business.
    pub fn refused(&self, reason: Reason) {
        let counter = match reason {
            Reason::AuditUnavailable => &self.unavailable,
            Reason::AuditTimeout => &self.timeout,
            Reason::Overload => &self.overload,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Refuses what has no place in the chain. Counted as what its waiter was told or, if it gave up, what it told.
    pub fn refuse(&self, waiter: Waiter) {
        let told = waiter.send(Err(Reason::AuditUnavailable));
        self.refused(if told.is_ok() { Reason::AuditUnavailable } else { Reason::AuditTimeout });
    }

    /// Takes what was counted since the last call: every refusal is in exactly one record.
    pub fn take_audit_refusals(&self) -> Refusals {
        Refusals {
            audit_unavailable: self.unavailable.swap(0, Ordering::Relaxed),
            audit_timeout: self.timeout.swap(0, Ordering::Relaxed),
            overload: 0,
        }
    }

    /// Counts again what was taken and could not be written.
    pub fn put_back(&self, refused: Refusals) {
        self.unavailable.fetch_add(refused.audit_unavailable, Ordering::Relaxed);
        self.timeout.fetch_add(refused.audit_timeout, Ordering::Relaxed);
        self.overload.fetch_add(refused.overload, Ordering::Relaxed);
    }

    /// The same for questions without a token.
    pub fn put_back_attempts(&self, old: Attempts) {
        let mut attempts = self.attempts.lock();
        let new = std::mem::replace(&mut *attempts, old);
        attempts.count += new.count;
        attempts.last = new.last.or(attempts.last);
        attempts.omitted += new.omitted;
        for peer in new.peers {
            attempts.add(peer);
        }
    }

    pub fn event(&self, event: Event) {
        let mut events = self.events.lock();
        // What is missing is never dropped: nothing else would name the gap.
        let names_a_gap = |e: &Event| matches!(e, Event::DamageFound { .. } | Event::SegmentsDropped { .. });
        if events.len() >= MAX_EVENTS
            && let Some(at) = events.iter().position(|(_, e)| !names_a_gap(e))
        {
            // Without its members, which can name people.
            drop(events.remove(at));
            tracing::error!("too many events wait for the audit spool, one was dropped");
        }
        events.push_back((self.clock.wall(), event));
    }

    /// Whether there is room for what only compares: the spool is not above half of its size, and few wait.
    pub fn has_room_for_shadows(&self) -> bool {
        self.available.load(Ordering::Acquire)
            && self.shadows.lock().len() < MAX_SHADOWS
            && self.inventory.lock().bytes() <= self.options.max_size / 2
    }

    /// Records damage once, however often it is read.
    pub fn damage(&self, damage: &Damage) {
        let mut reported = self.reported.lock();
        if reported.len() >= MAX_EVENTS {
            // Twice is better than never.
            reported.clear();
        }
        // The same damage, whether or not the record before it was read this time.
        if reported.insert(Damage { before: None, ..damage.clone() }) {
            drop(reported);
            tracing::error!(?damage, "records of the spool are damaged");
            let mut unnamed = self.unnamed.lock();
            unnamed.push_back(Unnamed { epoch: damage.epoch.clone(), first_seq: damage.first_seq, record: None });
            // Under the lock, so that both queues have one order.
            self.event(Event::DamageFound {
                chain: damage.chain.to_string(),
                segment: format!("{}/{}", damage.epoch.as_str(), damage.segment),
                offset: damage.offset,
                bytes: damage.bytes,
                first_seq: Some(damage.first_seq),
                last_seq: Some(damage.last_seq),
                before: damage.before.map(hex::encode),
            });
        }
    }

    /// The oldest damage that was not in the chain is, at `seq`.
    pub fn naming(&self, seq: u64) {
        if let Some(oldest) = self.unnamed.lock().iter_mut().find(|u| u.record.is_none()) {
            oldest.record = Some(seq);
        }
    }

    /// Records before `next` are durable.
    pub fn named(&self, next: u64) {
        self.unnamed.lock().retain(|u| u.record.is_none_or(|seq| seq >= next));
    }

    /// How far the epoch's cursor may go, of what is delivered.
    pub fn cursor_limit(&self, epoch: &EpochId, delivered: u64) -> u64 {
        let unnamed = self.unnamed.lock();
        unnamed.iter().filter(|u| u.epoch == *epoch).map(|u| u.first_seq).fold(delivered, u64::min)
    }

    /// Makes every cursor durable, as far as it may go. All are tried; returns the first failure.
    pub fn store_cursors(&self) -> std::io::Result<()> {
        let inventory = self.inventory.lock();
        let moved: Vec<_> = inventory.epochs.iter().map(|e| (e.id.clone(), e.cursor.clone(), e.delivered)).collect();
        drop(inventory);
        let mut done = Ok(());
        for (id, cursor, delivered) in moved {
            let mut cursor = cursor.lock();
            // What was damaged after its delivery does not take the cursor back.
            let next = self.cursor_limit(&id, delivered).max(cursor.next().min(delivered));
            done = done.and(cursor.store(self.files.as_ref(), next));
        }
        done
    }

    pub fn attempt(&self, peer: IpAddr) {
        let now = self.clock.wall();
        let mut attempts = self.attempts.lock();
        attempts.count += 1;
        attempts.first.get_or_insert(now);
        attempts.last = Some(now);
        attempts.add(peer);
    }
}
