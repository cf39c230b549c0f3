//! One process, stepped by hand: writer, keeper, backlog and publisher over a simulated disk, clock and wire, and the
//! callers that wait for records. Knows what its callers were told; judges nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::broker::{Topic, Wire};
use super::disk::Disk;
use super::schedule::{Caller, Setup};
use crate::audit::backlog::Backlog;
use crate::audit::chance;
use crate::audit::envelope::{Draft, Kind, Source};
use crate::audit::epoch::Entry;
use crate::audit::files::Clock;
use crate::audit::keeper::Keeper;
use crate::audit::keys::SigningKey;
use crate::audit::publisher::worker::{Pace, Stop, Worker};
use crate::audit::publisher::{self, Ending, Ticket};
use crate::audit::shared::{Options, Shared};
use crate::audit::waiting::Receipt;
use crate::audit::writer::{Append, Item, Writer};
use crate::metrics::{Metrics, Names};
use crate::policy::verdict::{Durability, Reason};
use crate::trace::Tracer;

pub struct ManualClock {
    begin: Instant,
    micros: AtomicU64,
    /// How far wall time is from where it should be, milliseconds.
    skew: AtomicI64,
    /// For how long whoever reads wall time next is held up before, once.
    hold: AtomicU64,
}

impl ManualClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            micros: AtomicU64::new(0),
            skew: AtomicI64::new(0),
            hold: AtomicU64::new(0),
        })
    }

    pub fn pass(&self, time: Duration) {
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }

    pub fn hold(&self, time: Duration) {
        self.hold.store(u64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }

    pub fn jump(&self, millis: i64) {
        self.skew.store(millis, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.begin + Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn wall(&self) -> SystemTime {
        self.micros.fetch_add(self.hold.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        let millis = 1_795_439_107_000 + self.skew.load(Ordering::Relaxed);
        let micros = self.micros.load(Ordering::Relaxed);
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs()) + Duration::from_micros(micros)
    }
}

/// What became of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Receipt(Arc<str>, u64),
    Refused,
    /// It gave up before it was told anything.
    Vanished,
    /// The process ended before.
    Unknown,
}

pub struct Told {
    pub id: Uuid,
    pub level: Durability,
    pub fate: Fate,
}

struct Waiting {
    id: Uuid,
    level: Durability,
    caller: Caller,
    told: oneshot::Receiver<Result<Receipt, Reason>>,
}

/// What a process refused before the writer saw it.
#[derive(Debug, Default, Clone)]
pub struct Counted {
    pub door: u64,
    pub overload: u64,
    pub attempts: u64,
}

pub struct Process {
    pub shared: Arc<Shared>,
    pub writer: Writer,
    pub keeper: Keeper,
    worker: Worker<Backlog, Wire>,
    queue: Arc<Mutex<VecDeque<(Ticket, Entry)>>>,
    stop: Arc<Stop>,
    disk: Disk,
    paused: Option<Instant>,
    pub ending: Option<Ending>,
    waiting: Vec<Waiting>,
    /// Receipts of answers that have not left.
    pub held: Vec<Receipt>,
    pub counted: Counted,
}

thread_local! {
    /// Thousands of processes on a thread count into the same registry: making one takes longer than a short life.
    static METRICS: Arc<Metrics> = Metrics::new(&Names::default());
}

pub fn shared(setup: &Setup, disk: &Disk, clock: &Arc<ManualClock>) -> Arc<Shared> {
    let mut options = Options::new("");
    options.durability = setup.durability;
    (options.segment_size, options.segment_floor) = (setup.segment, setup.segment);
    (options.max_size, options.retain_delivered) = (setup.max_size, setup.retain);
    // One made in the spool would be another in every run.
    options.signing_key = SigningKey::parse(KEY).ok();
    options.checkpoint_every = setup.retain.clamp(Duration::from_secs(1), Duration::from_secs(10));
    let metrics = METRICS.with(Arc::clone);
    Shared::new(options, Source::new("i"), ("v", "g"), metrics, Arc::new(disk.clone()), clock.clone())
}

impl Process {
    pub fn start(setup: &Setup, disk: &Disk, clock: &Arc<ManualClock>, topic: &Topic) -> Self {
        let shared = shared(setup, disk, clock);
        let mut writer = Writer::new(shared.clone());
        writer.patience = Duration::ZERO;
        let wire = Wire::new(topic.clone(), disk.clone(), setup.room);
        let (queue, stop) = (wire.queue.clone(), Arc::new(Stop::default()));
        let options = publisher::Options { max_records: setup.window, max_bytes: 64 << 10, ..Default::default() };
        let backlog = Backlog::new(shared.clone());
        let outside = (stop.clone(), clock.clone() as Arc<dyn Clock>);
        let worker = Worker::new(backlog, wire, options, shared.metrics.clone(), Tracer::off(), outside);
        let (keeper, disk) = (Keeper::new(shared.clone()), disk.clone());
        let (waiting, held, counted) = (Vec::new(), Vec::new(), Counted::default());
        let (paused, ending) = (None, None);
        Self { shared, writer, keeper, worker, queue, stop, disk, paused, ending, waiting, held, counted }
    }

    pub fn chain(&self) -> Option<Arc<str>> {
        self.shared.progress.lock().chain.clone()
    }

    pub fn is_available(&self) -> bool {
        self.shared.available.load(Ordering::Acquire)
    }

    /// What the handle does: refuses at the door, or hands to the writer.
    pub fn ask(&mut self, level: Durability, size: usize, caller: Caller) -> Option<Item> {
        if !self.is_available() {
            self.shared.refused(Reason::AuditUnavailable);
            self.counted.door += 1;
            return None;
        }
        let time = self.shared.clock.wall();
        let id = chance::id(time);
        let data = Padding { pad: PAD.get(..size).unwrap_or(&PAD) };
        let draft = Draft::new(&self.shared.source, Kind::Decision, id, time, None, &data).unwrap();
        let (waiter, told) = oneshot::channel();
        self.waiting.push(Waiting { id, level, caller, told });
        Some(Item::Record(Append { draft, level, waiter, since: self.shared.clock.now() }))
    }

    /// A step of the writer, and perhaps one of the keeper.
    pub fn turn(&mut self, mut items: Vec<Item>, keep: bool) {
        if !self.writer.is_finished() {
            self.writer.turn(&mut items);
        }
        if keep && !self.disk.stopped() {
            self.keeper.turn();
        }
    }

    /// At most `steps` of the publisher.
    pub fn publish(&mut self, steps: usize) {
        for _ in 0..steps {
            let now = self.shared.clock.now();
            if self.ending.is_some() || self.disk.stopped() || self.paused.is_some_and(|until| now < until) {
                return;
            }
            self.paused = None;
            match self.worker.turn() {
                Pace::Now => {}
                Pace::Idle => return,
                Pace::Pause(pause) => self.paused = Some(now + pause),
                Pace::Ended(ending) => self.ending = Some(ending),
            }
        }
    }

    pub fn stop_publishing(&self, limit: Duration) {
        self.stop.request(self.shared.clock.now() + limit);
    }

    /// Takes what callers were told since the last look. What a process says that is gone, nobody hears; only receipts
    /// count even then, since nothing succeeds after its end.
    pub fn listen(&mut self, impatient: bool) -> Vec<Told> {
        let gone = self.disk.stopped();
        let (mut told, held) = (Vec::new(), &mut self.held);
        self.waiting.retain_mut(|w| {
            let fate = match w.told.try_recv() {
                Ok(Ok(receipt)) => {
                    let fate = Fate::Receipt(receipt.chain().clone(), receipt.seq());
                    if w.caller == Caller::Slow {
                        held.push(receipt);
                    }
                    fate
                }
                Err(oneshot::error::TryRecvError::Empty) if impatient && w.caller == Caller::Impatient && !gone => {
                    w.told.close();
                    Fate::Vanished
                }
                Err(oneshot::error::TryRecvError::Empty) => return true,
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) if gone => Fate::Unknown,
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => Fate::Refused,
            };
            told.push(Told { id: w.id, level: w.level, fate });
            false
        });
        told
    }

    /// The end of the process: who still waits is told nothing, what was on the wire may arrive.
    pub fn end(self, topic: &Topic) -> Vec<Told> {
        super::broker::arrive(topic, &self.queue);
        let unknown = |w: Waiting| Told { id: w.id, level: w.level, fate: Fate::Unknown };
        self.waiting.into_iter().map(unknown).collect()
    }
}

#[derive(serde::Serialize)]
struct Padding<'a> {
    pad: &'a str,
}

/// Of the tests of Go's signed notes.
const KEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

static PAD: LazyLock<String> = LazyLock::new(|| "x".repeat(8192));
