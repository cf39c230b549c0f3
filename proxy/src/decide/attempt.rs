//! One authorizer within a decision, or beside it: its breaker, its attempts, its time, its bulkhead. Not which
//! authorizers are asked; that is `decide::combine` for those that decide, and `decide::shadow` for those that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::authorizer::{Authorizer, Question};
use crate::decide::breaker::{self, Breaker, Sign};
use crate::decide::complaints::Complaints;
use crate::metrics::Metrics;
use crate::policy::decided::{Call, Outcome};
use crate::policy::request::Request;
use crate::policy::verdict::Reason;
use crate::trace;

/// How one authorizer is treated.
#[derive(Debug, Clone)]
pub struct Limits {
    /// One attempt, and separately the wait for a place in the bulkhead.
    pub timeout: Duration,
    /// Further attempts after the first.
    pub retries: u32,
    pub retry_on: Vec<RetryOn>,
    /// Attempts at a time; at least 1.
    pub max_in_flight: usize,
    pub breaker: breaker::Options,
    pub deny_only: DenyOnly,
    pub cache_control: CacheControl,
}

/// After what an attempt is repeated. A question changes nothing, so asking twice is always safe; the rest of the
/// faults would be the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    Dns,
    Connect,
    Tls,
    ConnectionLost,
    Timeout,
    BadStatus,
}

impl RetryOn {
    pub const ALL: [Self; 6] =
        [Self::Dns, Self::Connect, Self::Tls, Self::ConnectionLost, Self::Timeout, Self::BadStatus];

    pub const fn reason(self) -> Reason {
        match self {
            Self::Dns => Reason::Dns,
            Self::Connect => Reason::Connect,
            Self::Tls => Reason::Tls,
            Self::ConnectionLost => Reason::ConnectionLost,
            Self::Timeout => Reason::Timeout,
            Self::BadStatus => Reason::BadStatus,
        }
    }
}

/// What becomes of a `denyOnly` question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenyOnly {
    Ask,
    /// The authorizer would not look at `denyOnly` and grant what only explicit denies may decide.
    Deny,
}

/// Whether the authorizer's own `Cache-Control` shortens how long its answer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheControl {
    Honour,
    Ignore,
}

/// What an authorizer's word is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Decides,
    /// It is only tried out. That it fails, or is left alone, denies nobody, and is not counted like it: operators are
    /// called at night for those that decide.
    Shadow,
}

/// One decision's question and its limits.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub request: &'a Request,
    pub trace: &'a trace::Context,
    pub tracer: &'a trace::Tracer,
    /// When the decision must stand, so that its record can still be written.
    pub cutoff: Instant,
}

/// What one authorizer said in the end.
#[derive(Debug)]
pub struct Verdict {
    pub outcome: Outcome,
    /// When the attempt that gave it began.
    pub sent: Instant,
    /// How long the authorizer lets it be kept; `None` where it says nothing or is not listened to.
    pub keep_at_most: Option<Duration>,
}

/// An authorizer and what guards it.
pub struct Guarded {
    authorizer: Arc<dyn Authorizer>,
    role: Role,
    limits: Limits,
    places: Semaphore,
    breaker: Breaker,
    metrics: Arc<Metrics>,
    complaints: Complaints,
    /// Another one of this name counts now.
    retired: Arc<AtomicBool>,
}

impl Guarded {
    pub fn new(authorizer: Arc<dyn Authorizer>, role: Role, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let places = Semaphore::new(limits.max_in_flight.clamp(1, Semaphore::MAX_PERMITS));
        let retired = Arc::new(AtomicBool::new(false));
        let changed = told(authorizer.name().clone(), role, limits.breaker, metrics.clone(), retired.clone());
        let breaker = Breaker::new(limits.breaker, changed);
        Self { authorizer, role, limits, places, breaker, metrics, complaints: Complaints::default(), retired }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn name(&self) -> &Arc<str> {
        self.authorizer.name()
    }

    /// From now on its breaker shows nowhere.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// What this authorizer says to a question. Every attempt is added to `calls`, and one where it was not asked.
    pub async fn ask(&self, asking: Asking<'_>, calls: &mut Vec<Call>) -> Verdict {
        if asking.request.deny_only && self.limits.deny_only == DenyOnly::Deny {
            return self.not_asked(Outcome::Declared, calls);
        }
        let Some(passed) = self.breaker.enter(Instant::now()) else {
            if self.role == Role::Decides {
                self.metrics.authorizer_not_asked(self.name(), Reason::BreakerOpen);
            }
            return self.not_asked(Outcome::Fault(Reason::BreakerOpen), calls);
        };
        let verdict = self.attempts(asking, calls).await;
        passed.end(Sign::of(&verdict.outcome), Instant::now());
        self.note(&verdict.outcome);
        verdict
    }

    /// Asks until there is an answer, a fault that asking again would not mend, or no attempt or time left. The last
    /// attempt counts.
    async fn attempts(&self, asking: Asking<'_>, calls: &mut Vec<Call>) -> Verdict {
        let mut attempt = 1;
        loop {
            let verdict = self.attempt(asking, attempt, calls).await;
            let again = match &verdict.outcome {
                Outcome::Answered(_) | Outcome::Declared => false,
                Outcome::Fault(reason) => self.limits.retry_on.iter().any(|on| on.reason() == *reason),
            };
            if !again || attempt > self.limits.retries || Instant::now() >= asking.cutoff {
                return verdict;
            }
            attempt += 1;
        }
    }

    fn note(&self, outcome: &Outcome) {
        let fault = match outcome {
            Outcome::Answered(_) | Outcome::Declared => None,
            Outcome::Fault(reason) => Some(*reason),
        };
        self.complaints.note((self.role, self.name()), fault, Instant::now());
    }

    fn not_asked(&self, outcome: Outcome, calls: &mut Vec<Call>) -> Verdict {
        let sent = Instant::now();
        calls.push(Call {
            authorizer: self.name().clone(),
            outcome: outcome.clone(),
            status: None,
            attempt: 0,
            started: sent,
            latency: Duration::ZERO,
            span_id: 0,
        });
        Verdict { outcome, sent, keep_at_most: None }
    }

    async fn attempt(&self, asking: Asking<'_>, attempt: u32, calls: &mut Vec<Call>) -> Verdict {
        let started = Instant::now();
        let span_id = asking.tracer.span_id();
        let mut call = Call {
            authorizer: self.name().clone(),
            outcome: Outcome::Fault(Reason::Deadline),
            status: None,
            attempt,
            started,
            latency: Duration::ZERO,
            span_id,
        };
        let mut sent = started;
        let mut keep_at_most = None;
        match self.guard(asking.cutoff).await {
            Err(reason) => call.outcome = Outcome::Fault(reason),
            Ok(_place) => {
                sent = Instant::now();
                let _counted = (self.role == Role::Decides).then(|| self.metrics.authorizer_in_flight(self.name()));
                let (limit, over) = self.limit(asking.cutoff, Reason::Timeout);
                let traceparent = asking.trace.traceparent(span_id);
                let question = Question { request: asking.request, traceparent: &traceparent };
                let came = self.authorizer.ask(&question, limit).await;
                call.status = came.status;
                call.outcome = match came.outcome {
                    Ok(answer) => Outcome::Answered(answer),
                    Err(Reason::Timeout) => Outcome::Fault(over),
                    Err(reason) => Outcome::Fault(reason),
                };
                keep_at_most = came.keep_at_most.filter(|_| self.limits.cache_control == CacheControl::Honour);
            }
        }
        call.latency = started.elapsed();
        self.measured(&call, asking.trace);
        let outcome = call.outcome.clone();
        calls.push(call);
        Verdict { outcome, sent, keep_at_most }
    }

    fn measured(&self, call: &Call, trace: &trace::Context) {
        match self.role {
            Role::Decides => {
                let exemplar = trace.sampled.then_some(trace.trace_id);
                self.metrics.authorizer_call(self.name(), call.outcome.reason(), call.latency, exemplar);
            }
            Role::Shadow => self.metrics.shadow_call(self.name(), call.latency),
        }
    }

    /// Whether the authorizer may be asked now: a place in its bulkhead, waited for in turn.
    async fn guard(&self, cutoff: Instant) -> Result<SemaphorePermit<'_>, Reason> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let (limit, over) = self.limit(cutoff, Reason::AuthorizerBusy);
        match timeout(limit, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(over),
        }
    }

    /// How long may be waited, and what it means when that is over: the decision's own end is not this
    /// authorizer's fault.
    fn limit(&self, cutoff: Instant, fault: Reason) -> (Duration, Reason) {
        let left = cutoff.saturating_duration_since(Instant::now());
        if left < self.limits.timeout { (left, Reason::Deadline) } else { (self.limits.timeout, fault) }
    }
}

/// What becomes known of a breaker: the metric, and a line in the log.
fn told(
    name: Arc<str>,
    role: Role,
    options: breaker::Options,
    metrics: Arc<Metrics>,
    retired: Arc<AtomicBool>,
) -> impl Fn(bool) + Send + Sync + 'static {
    let show = move |name: &str, open| {
        if role == Role::Decides {
            metrics.authorizer_breaker(name, open);
        }
    };
    show(&name, false);
    move |open| {
        if retired.load(Ordering::Relaxed) {
            return;
        }
        show(&name, open);
        let breaker::Options { failures, open_for } = options;
        match (open, role) {
            (true, Role::Decides) => {
                tracing::warn!(authorizer = %name, failures, ?open_for, "breaker open: the authorizer is left alone");
            }
            (true, Role::Shadow) => {
                tracing::info!(authorizer = %name, failures, ?open_for, "breaker open: the shadow is left alone");
            }
            (false, Role::Decides) => {
                tracing::info!(authorizer = %name, "breaker closed: the authorizer is asked again");
            }
            (false, Role::Shadow) => tracing::info!(authorizer = %name, "breaker closed: the shadow is asked again"),
        }
    }
}
