//! Ships the spool: a thread of its own takes durable records from a [`Source`] and hands them to a [`Sink`], and tells
//! the source how far everything is acknowledged. Knows neither the spool's files nor Kafka. Started and stopped by `app`.
//!
//! At least once, first occurrences in order: what was not acknowledged when something went wrong is read again from
//! the source's cursor. Nothing is ever given up; what cannot be delivered stays in the spool and is tried again.

mod backoff;
mod complaints;
mod window;
pub(in crate::audit) mod worker;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::backlog::Backlog;
use crate::audit::files::SystemClock;
use crate::metrics::Metrics;
use crate::trace::Tracer;

pub use crate::audit::epoch::{Entry, EpochId};

/// Where records come from: the spool from its cursor on.
pub trait Source: Send {
    /// After the last one handed out: chain order, oldest epoch first. `None`: caught up with what is durable.
    fn next(&mut self) -> io::Result<Option<Entry>>;

    /// Until something new is durable, at most `timeout`. Says whether there is.
    fn wait(&self, timeout: Duration) -> bool;

    /// Everything up to and including `seq` of `epoch`, and all earlier epochs, is acknowledged. After a rewind it is
    /// called again for what was acknowledged before.
    fn delivered(&mut self, epoch: &EpochId, seq: u64);

    /// This record is in Kafka as a stub only: it is kept whole here, durably, before it counts as acknowledged. After
    /// an error the same is asked again.
    fn stubbed(&mut self, epoch: &EpochId, seq: u64) -> io::Result<()>;

    /// Hand out again from the durable cursor on.
    fn rewind(&mut self);

    /// Makes the cursor durable now; it may lag behind [`Source::delivered`] otherwise.
    fn flush(&mut self) -> io::Result<()>;
}

impl Source for Backlog {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        Self::next(self)
    }

    fn wait(&self, timeout: Duration) -> bool {
        Self::wait(self, timeout)
    }

    fn delivered(&mut self, epoch: &EpochId, seq: u64) {
        Self::delivered(self, epoch, seq);
    }

    fn stubbed(&mut self, epoch: &EpochId, seq: u64) -> io::Result<()> {
        Self::stubbed(self, epoch, seq)
    }

    fn rewind(&mut self) {
        Self::rewind(self);
    }

    /// The spool stores its cursors itself, once a second and when it is unlocked.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Names a record between [`Sink::send`] and its acknowledgement; counts up by one a record.
pub type Ticket = usize;

/// What went wrong, in words for the log and a short name for the metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: Cow<'static, str>,
    pub text: String,
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// As many records wait for acknowledgement as the sink holds.
    #[error("queue is full")]
    Full,
    /// Not now; the sink itself is well.
    #[error("{}", .0.text)]
    NotReady(Fault),
    /// The sink must be rebuilt.
    #[error("{}", .0.text)]
    Refused(Fault),
}

/// What became of records, or of the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Acked(Ticket),
    /// Acknowledged, but only a stub of it: the topic does not take a record of its size.
    Stubbed(Ticket),
    /// Not delivered, or not known to be.
    Failed(Ticket, Fault),
    /// Nothing more is known of any record. A sink that does not go on trying by itself fails what it holds besides.
    Trouble(Fault),
}

/// Where records go.
pub trait Sink: Send {
    /// For spans.
    fn topic(&self) -> &str;

    /// Takes a copy of the record, or says why not. Records of a chain are stored in the order in which they are sent.
    /// A sink that fails one record of a chain fails all later ones until it is rebuilt.
    fn send(&mut self, entry: &Entry, ticket: Ticket) -> Result<(), SendError>;

    /// Does what is due for at most `timeout` and appends what happened to `events`.
    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>);

    /// Forgets everything under way and starts anew.
    fn rebuild(&mut self);
}

/// Limits of the publisher.
#[derive(Debug, Clone)]
pub struct Options {
    /// Records handed over and not yet acknowledged, at most.
    pub max_records: usize,
    /// Their bytes, at most (one record more may be under way).
    pub max_bytes: usize,
    /// Pauses after errors grow from the first to the second, jittered.
    pub backoff: (Duration, Duration),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_records: 50_000,
            max_bytes: 32 << 20,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
        }
    }
}

/// How publishing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything durable is acknowledged, and the cursor says so.
    Drained,
    /// The rest is shipped at the next start.
    Left,
}

/// The running publisher.
#[derive(Debug)]
pub struct Publisher {
    stop: Arc<worker::Stop>,
    ending: flume::Receiver<Ending>,
}

impl Publisher {
    /// Starts the thread. Errors: the operating system has no thread for us.
    pub fn spawn(
        source: impl Source + 'static,
        sink: impl Sink + 'static,
        options: Options,
        metrics: Arc<Metrics>,
        tracer: Tracer,
    ) -> io::Result<Self> {
        let stop = Arc::new(worker::Stop::default());
        let (ended, ending) = flume::bounded(1);
        let worker =
            worker::Worker::new(source, sink, options, metrics, tracer, (Arc::clone(&stop), Arc::new(SystemClock)));
        thread::Builder::new().name("publisher".into()).spawn(move || {
            let result = worker::run(worker);
            if ended.send(result).is_err() {
                tracing::debug!("nobody waited for the publisher's end");
            }
        })?;
        Ok(Self { stop, ending })
    }

    /// Ships what is left for at most `limit`, then makes the cursor durable. To be called when nothing is appended any
    /// more. Waits a little longer than `limit` for a call to the broker that is under way.
    pub fn shutdown(self, limit: Duration) -> Ending {
        /// A look-up of metadata (1 s) and the end of librdkafka's threads may be under way at the limit. The first look-up of
        /// all may take longer: then there is nothing whose cursor could be lost.
        const GRACE: Duration = Duration::from_secs(3);
        self.stop.request(Instant::now() + limit);
        let ending = self.ending.recv_timeout(limit + GRACE).unwrap_or(Ending::Left);
        if ending == Ending::Left {
            tracing::warn!("publisher stopped with records left in the spool; they are shipped at the next start");
        }
        ending
    }
}

/// A publisher that is merely dropped stops at once; the cursor loses nothing by it.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.request(Instant::now());
    }
}

#[cfg(test)]
mod tests;
