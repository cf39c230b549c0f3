//! The publisher's loop: fill the sink, collect acknowledgements, move the cursor, start anew after trouble. `turn` is one
//! step, `run` only paces it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::backoff::Backoff;
use super::complaints::Complaints;
use super::window::Window;
use super::{Ending, Entry, EpochId, Event, Fault, Options, SendError, Sink, Source, Ticket};
use crate::audit::files::Clock;
use crate::metrics::Metrics;
use crate::trace::Tracer;

/// Between looks at acknowledgements while they arrive, and while they have not for [`STALLED`].
const ACK_POLL: Duration = Duration::from_millis(5);
const STALL_POLL: Duration = Duration::from_millis(100);
const STALLED: Duration = Duration::from_secs(1);
/// Between looks at the sink and at the stop flag when there is nothing to ship.
const IDLE: Duration = Duration::from_millis(250);
/// Long enough to take every event that waits.
const GLANCE: Duration = Duration::from_millis(1);
/// Records handed over between looks at acknowledgements.
const BURST: usize = 256;

/// The request to stop, with its deadline.
#[derive(Debug, Default)]
pub struct Stop {
    deadline: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Stop {
    pub fn request(&self, deadline: Instant) {
        *self.deadline.lock() = Some(deadline);
        self.changed.notify_all();
    }

    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock()
    }

    /// Sleeps, unless or until a stop is requested; never beyond its deadline.
    fn sleep(&self, pause: Duration) {
        let mut deadline = self.deadline.lock();
        match *deadline {
            Some(at) => {
                drop(deadline);
                std::thread::sleep(pause.min(at.saturating_duration_since(Instant::now())));
            }
            None => {
                self.changed.wait_for(&mut deadline, pause);
            }
        }
    }
}

/// When to take the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Now,
    /// When something new is durable, or after a while.
    Idle,
    /// After this long, or when a stop is requested.
    Pause(Duration),
    Ended(Ending),
}

/// What [`Worker::fill`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// Nothing more to hand over now.
    Dry,
    /// No more may be under way.
    Full,
    /// Look at acknowledgements, then go on.
    Burst,
    /// Wait before the next try.
    Later,
    /// The sink must be rebuilt.
    Broken,
}

pub struct Worker<S, K> {
    source: S,
    sink: K,
    options: Options,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    stop: Arc<Stop>,
    clock: Arc<dyn Clock>,
    window: Window,
    /// Taken from the source, not yet by the sink.
    held: Option<Entry>,
    events: Vec<Event>,
    /// Acknowledged as stubs, and not yet kept whole.
    stubs: VecDeque<Ticket>,
    /// When to try that again.
    keep_at: Option<Instant>,
    backoff: Backoff,
    complaints: Complaints,
    /// Where the last trouble was; only getting past it makes pauses short again.
    stuck: Option<(EpochId, u64)>,
    progress: Instant,
    /// There was nothing to do in the last step.
    idle: bool,
}

/// Until stopped.
pub(super) fn run<S: Source, K: Sink>(mut worker: Worker<S, K>) -> Ending {
    loop {
        match worker.guarded_turn() {
            Pace::Now => {}
            Pace::Idle => {
                worker.source.wait(IDLE);
            }
            Pace::Pause(pause) => worker.stop.sleep(pause),
            Pace::Ended(ending) => return ending,
        }
    }
}

impl<S: Source, K: Sink> Worker<S, K> {
    pub fn new(
        source: S,
        sink: K,
        options: Options,
        metrics: Arc<Metrics>,
        tracer: Tracer,
        (stop, clock): (Arc<Stop>, Arc<dyn Clock>),
    ) -> Self {
        let backoff = Backoff::new(options.backoff);
        Self {
            source,
            sink,
            options,
            metrics,
            tracer,
            stop,
            progress: clock.now(),
            clock,
            idle: false,
            window: Window::default(),
            held: None,
            events: Vec::new(),
            stubs: VecDeque::new(),
            keep_at: None,
            backoff,
            complaints: Complaints::default(),
            stuck: None,
        }
    }

    /// One step: hands over what there is, looks at what became of the rest, starts anew after trouble. Waits for
    /// nothing but the sink's own poll.
    pub fn turn(&mut self) -> Pace {
        let filled = self.fill();
        let deadline = self.stop.deadline();
        let drained = filled == Filled::Dry && self.window.len() == 0;
        if deadline.is_some_and(|at| drained || self.clock.now() >= at) {
            return Pace::Ended(self.end(drained));
        }
        let idle = std::mem::replace(&mut self.idle, drained);
        let well = match filled {
            Filled::Dry if drained => self.collect(if idle { GLANCE } else { Duration::ZERO }),
            Filled::Dry | Filled::Full => self.collect(self.poll_for()),
            Filled::Burst => self.collect(Duration::ZERO),
            Filled::Later => self.collect(GLANCE),
            Filled::Broken => false,
        };
        match filled {
            _ if !well => Pace::Pause(self.start_anew()),
            Filled::Later => Pace::Pause(self.backoff.pause()),
            Filled::Dry if drained => Pace::Idle,
            _ => Pace::Now,
        }
    }

    /// A panic is a defect of ours or of a library: logged, and shipping starts anew, because a publisher that ends
    /// silently fills the spool.
    fn guarded_turn(&mut self) -> Pace {
        catch_unwind(AssertUnwindSafe(|| self.turn())).unwrap_or_else(|_| {
            tracing::error!("publisher panicked; it starts anew from the cursor");
            self.complain(Fault { code: "internal".into(), text: "publisher panicked".into() });
            Pace::Pause(self.start_anew())
        })
    }

    fn poll_for(&self) -> Duration {
        if self.clock.now().saturating_duration_since(self.progress) < STALLED { ACK_POLL } else { STALL_POLL }
    }

    fn fill(&mut self) -> Filled {
        for _ in 0..BURST {
            if self.window.len() >= self.options.max_records || self.window.bytes() >= self.options.max_bytes {
                return Filled::Full;
            }
            let entry = match self.held.take().map_or_else(|| self.source.next(), |entry| Ok(Some(entry))) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Filled::Dry,
                Err(error) => {
                    self.complain(Fault { code: "spool".into(), text: format!("spool is unreadable: {error}") });
                    return Filled::Later;
                }
            };
            if self.window.len() == 0 {
                self.progress = self.clock.now();
            }
            let outcome = match self.sink.send(&entry, self.window.next_ticket()) {
                Ok(()) => {
                    self.window.push(&entry, self.clock.now());
                    continue;
                }
                // The sink's own bound is lower than ours: acknowledgements make room, unless none are under way.
                Err(SendError::Full) if self.window.len() > 0 => Filled::Full,
                Err(SendError::Full) => Filled::Later,
                Err(SendError::NotReady(fault)) => {
                    self.complain(fault);
                    Filled::Later
                }
                Err(SendError::Refused(fault)) => {
                    self.complain(fault);
                    self.stuck.get_or_insert((entry.epoch.clone(), entry.seq));
                    Filled::Broken
                }
            };
            self.held = Some(entry);
            return outcome;
        }
        Filled::Burst
    }

    /// Looks at acknowledgements and moves the cursor. False: the sink must be rebuilt.
    fn collect(&mut self, timeout: Duration) -> bool {
        let mut events = std::mem::take(&mut self.events);
        self.sink.poll(timeout, &mut events);
        let mut well = true;
        for event in events.drain(..) {
            match event {
                Event::Acked(ticket) => self.window.ack(ticket),
                Event::Stubbed(ticket) => self.stubs.push_back(ticket),
                Event::Failed(ticket, fault) => {
                    // Once the sink is to be rebuilt, what else it fails is the same trouble.
                    if well && self.window.holds(ticket) {
                        self.complain(fault);
                        well = false;
                    }
                }
                Event::Trouble(fault) => self.complain(fault),
            }
        }
        self.events = events;
        self.keep_stubs();
        self.advance();
        well
    }

    /// The cursor waits for what is kept whole: until then the segment is the only place where the record is.
    fn keep_stubs(&mut self) {
        if self.keep_at.is_some_and(|at| self.clock.now() < at) {
            return;
        }
        self.keep_at = None;
        while let Some(ticket) = self.stubs.front().copied() {
            if let Some((epoch, seq)) = self.window.place(ticket) {
                if let Err(error) = self.source.stubbed(&epoch, seq) {
                    let text = format!("record that went out as a stub cannot be kept whole: {error}");
                    self.complain(Fault { code: "spool".into(), text });
                    self.stuck.get_or_insert((epoch, seq));
                    self.keep_at = Some(self.clock.now() + self.backoff.pause());
                    return;
                }
                self.metrics.kafka_stub();
            }
            self.window.ack(ticket);
            self.stubs.pop_front();
        }
    }

    fn advance(&mut self) {
        while let Some(batch) = self.window.take() {
            self.source.delivered(&batch.epoch, batch.last);
            let now = self.clock.now();
            let took = now.saturating_duration_since(batch.sent);
            self.metrics.kafka_delivered(batch.records, took);
            self.tracer.sent(self.sink.topic(), &batch.chain, batch.first, batch.last, batch.sent.into(), took);
            self.progress = now;
            match &self.stuck {
                Some((epoch, seq)) if batch.epoch == *epoch && batch.last < *seq => {}
                Some(_) | None => {
                    self.stuck = None;
                    self.backoff.reset();
                    self.complaints.over(now);
                }
            }
        }
    }

    /// Returns how long to wait before the next try.
    fn start_anew(&mut self) -> Duration {
        self.stuck = self
            .window
            .head()
            .or(self.stuck.take())
            .or_else(|| self.held.as_ref().map(|entry| (entry.epoch.clone(), entry.seq)));
        self.held = None;
        self.window.clear();
        self.events.clear();
        self.stubs.clear();
        self.keep_at = None;
        // First of all: what the old sink still held must not overtake what is sent again.
        self.sink.rebuild();
        self.source.rewind();
        self.backoff.pause()
    }

    fn complain(&mut self, fault: Fault) {
        self.metrics.kafka_error(&fault.code);
        self.complaints.add(&fault, self.clock.now());
    }

    fn end(&mut self, drained: bool) -> Ending {
        match self.source.flush() {
            Ok(()) if drained => Ending::Drained,
            Ok(()) => Ending::Left,
            Err(error) => {
                tracing::error!("publisher's cursor could not be written, records will be sent again: {error}");
                Ending::Left
            }
        }
    }
}
