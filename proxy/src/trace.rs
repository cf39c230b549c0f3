//! One trace a decision: its ids, whether it is kept, and the export of what is. Ids exist always, spans only once a
//! decision is over and kept, so that a deny is never lost to sampling and an allow costs nothing.
//! The only place that knows OpenTelemetry. Called by `pipeline`, `decide` (ids) and the Kafka sink (`sent`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::policy::decided::Decided;
use crate::policy::verdict::{Decision, Reason};
use export::Export;
use ids::Ratio;
use kept::Kept;

mod client;
mod export;
pub mod ids;
mod kept;
mod spans;

/// Where spans go and which decisions are worth it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the collector takes traces, with its path. `http` or `https`.
    pub endpoint: String,
    /// Sent with every export; may hold credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Share of plain allows and advisory denies, 0 to 1.
    pub sample: f64,
    pub always: Always,
    /// One export, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// `service.instance.id`.
    pub instance: String,
    /// `service.version`.
    pub version: String,
}

/// What is kept whatever the sample says.
#[derive(Debug, Clone, Copy)]
pub struct Always {
    /// Denies that are an outcome, that is, all but advisory ones.
    pub deny: bool,
    /// Decisions that failed, advisory or not.
    pub fault: bool,
    /// Decisions that took at least this long.
    pub slow: Option<Duration>,
}

/// Why a decision is kept whatever the sample says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    Deny,
    Fault,
    Slow,
}

impl Always {
    pub fn keeps(self, decision: Decision, reason: Reason, advisory: bool, latency: Duration) -> Option<Keeps> {
        if self.deny && decision == Decision::Deny && !advisory {
            Some(Keeps::Deny)
        } else if self.fault && reason.side().is_some() {
            Some(Keeps::Fault)
        } else {
            self.slow.filter(|slow| latency >= *slow).map(|_| Keeps::Slow)
        }
    }
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("`{0}` is not the address of a collector: write `http://host:4318` or `https://host:4318`")]
    Endpoint(String),
    #[error("cannot start a thread for spans")]
    Runtime(#[source] std::io::Error),
    #[error("cannot set up the export of spans: {0}")]
    Exporter(String),
}

/// The trace that one decision belongs to. Ids exist whether or not anything is exported: they are in the record.
#[derive(Debug, Clone)]
pub struct Context {
    pub trace_id: u128,
    /// The `decide` span.
    pub span_id: u64,
    /// From an incoming `traceparent`.
    pub parent: Option<u64>,
    /// Our ratio's verdict on the trace id. The sender's own flag is not asked: it would let any client make us
    /// export everything.
    pub sampled: bool,
    pub started: Instant,
    pub started_wall: SystemTime,
}

impl Context {
    /// A W3C `traceparent` that names `span_id` as the parent.
    pub fn traceparent(&self, span_id: u64) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, span_id, u8::from(self.sampled))
    }
}

/// What a finished decision's spans say. `advisory` denies are sampled like allows.
#[derive(Debug)]
pub struct Finished<'a> {
    pub decision: Decision,
    pub reason: Reason,
    pub advisory: bool,
    pub action: Option<&'a str>,
    pub client: &'a str,
    pub peer: Option<std::net::SocketAddr>,
    pub decided: &'a Decided,
    /// When the append began, how long it took, at which durability.
    pub append: Option<(Instant, Duration, &'static str)>,
    pub latency: Duration,
    /// Chain and sequence number of the record, so that the producer's span can link here.
    pub record: Option<(&'a Arc<str>, u64)>,
}

/// Makes ids, decides what is kept and exports it. Costs nothing but ids when export is off.
#[derive(Debug, Clone)]
pub struct Tracer {
    on: Option<Arc<On>>,
}

#[derive(Debug)]
struct On {
    ratio: Ratio,
    always: Always,
    export: Export,
    kept: Kept,
}

/// A batch that Kafka acknowledged.
struct Sent<'a> {
    topic: &'a str,
    chain: &'a str,
    first_seq: u64,
    last_seq: u64,
    started: Instant,
    took: Duration,
}

impl Tracer {
    /// Ids only.
    pub fn off() -> Self {
        Self { on: None }
    }

    /// Starts the threads of the export; spans that are lost are counted in `metrics`.
    ///
    /// # Errors
    /// An endpoint that is no `http` or `https` address, or no threads. Not a collector that is away.
    pub fn start(options: &Options, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let export = Export::start(options, metrics)?;
        let on = On { ratio: Ratio::new(options.sample), always: options.always, export, kept: Kept::default() };
        Ok(Self { on: Some(Arc::new(on)) })
    }

    /// `traceparent` is what the client sent, unchecked: an invalid one starts a new trace.
    pub fn begin(&self, traceparent: Option<&[u8]>) -> Context {
        let parent = traceparent.and_then(ids::parse_traceparent);
        let trace_id = parent.map_or_else(ids::new_trace_id, |parent| parent.trace_id);
        Context {
            trace_id,
            span_id: ids::new_span_id(),
            parent: parent.map(|parent| parent.span_id),
            sampled: self.on.as_ref().is_some_and(|on| on.ratio.takes(trace_id)),
            started: Instant::now(),
            started_wall: SystemTime::now(),
        }
    }

    /// A new span id for an attempt at an authorizer.
    pub fn span_id(&self) -> u64 {
        ids::new_span_id()
    }

    /// Exports the decision's spans if they are to be kept; says whether they were.
    pub fn finish(&self, context: &Context, finished: &Finished<'_>) -> bool {
        let Some(on) = self.on.as_ref().filter(|on| on.keeps(context, finished)) else { return false };
        for span in spans::of_decision(context, finished) {
            on.export.offer(span);
        }
        if let Some((chain, seq)) = finished.record {
            on.kept.remember(chain, seq, context.trace_id, context.span_id);
        }
        true
    }

    /// One producer span for a batch that Kafka acknowledged, linked to the kept decisions in it. A batch without
    /// any has no span.
    pub fn sent(&self, topic: &str, chain: &str, first_seq: u64, last_seq: u64, started: Instant, took: Duration) {
        let Some(on) = &self.on else { return };
        let decisions = on.kept.take(chain, first_seq, last_seq);
        if decisions.is_empty() {
            return;
        }
        let links = decisions.into_iter().map(|(trace_id, span_id)| spans::span_context(trace_id, span_id));
        let sent = Sent { topic, chain, first_seq, last_seq, started, took };
        on.export.offer(spans::of_batch(&sent, links.collect()));
    }

    /// Exports what is left, for at most `limit`. Blocks the thread; spans offered later are counted as dropped.
    pub fn shutdown(&self, limit: Duration) {
        if let Some(on) = &self.on {
            on.export.shutdown(limit);
        }
    }
}

impl On {
    fn keeps(&self, context: &Context, finished: &Finished<'_>) -> bool {
        let Finished { decision, reason, advisory, latency, .. } = *finished;
        context.sampled || self.always.keeps(decision, reason, advisory, latency).is_some()
    }
}
