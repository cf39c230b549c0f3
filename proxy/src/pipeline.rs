//! The life of one decision: parse → decide → record → answer. Every failure becomes a deny here, and nothing else
//! builds an answer. Not the sockets (`front`), not the waiting for authorizers (`decide`), not the disk (`audit`).

pub mod purge;
pub mod reply;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use uuid::Uuid;

use crate::audit::envelope::{Draft, Source};
use crate::audit::record::Facts;
use crate::audit::spool::{Receipt, Spool};
use crate::decide::shadow::Beside;
use crate::decide::{Decider, Fresh, RECORD_RESERVE};
use crate::metrics::{DecisionPoint, Metrics};
use crate::pipeline::reply::Reply;
use crate::policy::decided::Decided;
use crate::policy::privacy::Privacy;
use crate::policy::purpose::{ActionClass, Purpose};
use crate::policy::request::Request;
use crate::policy::signs;
use crate::policy::verdict::{Decision, Durability, Reason};
use crate::trace::{Context, Finished, Tracer};
use crate::wire::question;

/// What becomes of questions that bear signs of forging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicious {
    Record,
    Deny,
}

#[derive(Debug, Clone)]
pub struct Options {
    /// From the last byte of the question to its answer.
    pub deadline: Duration,
    /// Decisions at once; one more waits until its deadline.
    pub max_in_flight: usize,
    pub durability: Durability,
    /// For metadata probes.
    pub probes: Durability,
    pub suspicious: Suspicious,
    pub privacy: Privacy,
    pub generation: Arc<str>,
    pub source: Source,
}

/// A whole question whose sender is known.
#[derive(Debug)]
pub struct Inbound {
    /// The token's name, or `local`.
    pub client: Arc<str>,
    pub peer: Option<SocketAddr>,
    /// As sent, unchecked.
    pub traceparent: Option<Vec<u8>>,
    pub body: Bytes,
    /// When its last byte arrived.
    pub received: Instant,
}

/// The parts a decision passes through.
pub struct Pipeline {
    in_force: ArcSwap<InForce>,
    spool: Spool,
    tracer: Tracer,
    metrics: Arc<Metrics>,
}

/// What a reload replaces, all of it at once. A question keeps to the end what was in force when it came.
struct InForce {
    decider: Arc<Decider>,
    places: Arc<Semaphore>,
    options: Options,
}

impl InForce {
    fn new(decider: Arc<Decider>, options: Options) -> Self {
        Self { decider, places: Arc::new(Semaphore::new(options.max_in_flight)), options }
    }

    /// What comes after this. As long as the limit is the same, so are the places: reloads must not add up to more. What is
    /// hidden, and how, changes with a restart only: a key that nobody has tells equal questions apart until then.
    fn followed_by(&self, decider: Option<Arc<Decider>>, options: impl FnOnce(Privacy) -> Options) -> Self {
        let options = options(self.options.privacy.clone());
        let next = Self::new(decider.unwrap_or_else(|| self.decider.clone()), options);
        let is_same = next.options.max_in_flight == self.options.max_in_flight;
        if is_same { Self { places: self.places.clone(), ..next } } else { next }
    }

    /// A place among those in flight, or `None` once too little time is left to decide anything with it.
    async fn place(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        let last = deadline.checked_sub(RECORD_RESERVE).unwrap_or(deadline);
        let place = tokio::time::timeout_at(last, self.places.clone().acquire_owned()).await.ok()?.ok()?;
        // Places that come free at the last moment come too late for everybody who waited as long.
        (Instant::now() < last).then_some(place)
    }

    fn level(&self, request: Option<&Request>) -> Durability {
        match request.map(Purpose::of) {
            Some(Purpose::MetadataProbe) => self.options.probes,
            _ => self.options.durability,
        }
    }
}

/// A question on its way through.
struct Case {
    in_force: Arc<InForce>,
    inbound: Inbound,
    id: Uuid,
    context: Context,
    deadline: Instant,
}

/// What is known once it has been decided; nothing is promised to anybody yet.
struct Judged {
    /// Boxed: it is handed on from here a few times.
    request: Option<Box<Request>>,
    decided: Decided,
    fresh: Option<Fresh>,
}

impl Judged {
    fn fault(reason: Reason) -> Self {
        Self { request: None, decided: Decided::fault(reason), fresh: None }
    }
}

impl Pipeline {
    pub fn new(decider: Decider, spool: Spool, tracer: Tracer, metrics: Arc<Metrics>, options: Options) -> Self {
        decider.report_to(spool.clone(), options.privacy.clone());
        let in_force = ArcSwap::from_pointee(InForce::new(Arc::new(decider), options));
        Self { in_force, spool, tracer, metrics }
    }

    /// From the next question on, other options, made with the privacy that stays in force, and another decider if there is
    /// one. Questions on their way are decided by what was in force when they came.
    pub fn replace(&self, decider: Option<Decider>, options: impl FnOnce(Privacy) -> Options) {
        let before = self.in_force.load_full();
        let decider = decider.map(|decider| {
            decider.report_to(self.spool.clone(), before.options.privacy.clone());
            before.decider.retire();
            Arc::new(decider)
        });
        self.in_force.store(Arc::new(before.followed_by(decider, options)));
    }

    /// Takes what every decision takes, and gives it back: returns only where nothing in here is stuck. Says whether records
    /// can be made durable.
    pub fn pulse(&self) -> bool {
        self.in_force.load_full().decider.pulse();
        self.spool.is_available()
    }

    /// The life of one question. Always ends in an answer, and in an allow only with a durable record.
    pub async fn answer(&self, inbound: Inbound) -> Reply {
        let in_force = self.in_force.load_full();
        let deadline = inbound.received + in_force.options.deadline;
        let Some(_place) = pin!(in_force.place(deadline)).await else { return self.refuse(Reason::Overload) };
        let _in_flight = self.metrics.decision_in_flight();
        let context = self.tracer.begin(inbound.traceparent.as_deref());
        let case = Case { in_force, id: record_id(context.started_wall), context, deadline, inbound };

        let judged = guarded(pin!(self.judge(&case))).await.unwrap_or_else(|| Judged::fault(Reason::Internal));
        let recorded = guarded(pin!(self.record(&case, judged))).await;
        match recorded {
            Some(Ok((judged, recorded))) => self.conclude(&case, judged, recorded),
            // The spool has counted what it refused.
            Some(Err(reason)) => {
                self.metrics.fault(reason);
                Reply::refused(reason)
            }
            None => self.refuse(Reason::AuditUnavailable),
        }
    }

    /// Parse and decide. A panic in here is caught by the caller and recorded as `internal`.
    async fn judge(&self, case: &Case) -> Judged {
        let request = match question::read(case.inbound.body.clone()) {
            Ok(request) => Box::new(request),
            Err(reason) => return Judged::fault(reason),
        };
        if case.in_force.options.suspicious == Suspicious::Deny && !signs::signs(&request).is_empty() {
            let decided = Decided::fault(Reason::SuspiciousRequest);
            return Judged { request: Some(request), decided, fresh: None };
        }
        let decider = &case.in_force.decider;
        let ask = decider.decide(&request, &case.inbound.client, case.id, case.deadline, &case.context, &self.tracer);
        // A panic while asking must not lose what was asked: the record of a defect names the question.
        let (decided, fresh) = guarded(pin!(ask)).await.unwrap_or_else(|| (Decided::fault(Reason::Internal), None));
        Judged { request: Some(request), decided, fresh }
    }

    /// Builds the record and waits until it is durable. What it gives back is what was recorded.
    async fn record(&self, case: &Case, judged: Judged) -> Result<(Judged, Recorded), Reason> {
        let durability = case.in_force.level(judged.request.as_deref());
        let (judged, draft) = self.drafted(case, judged, durability)?;
        let began = Instant::now();
        let receipt = self.spool.append(draft, durability, case.deadline).await?;
        let took = began.elapsed();
        Ok((judged, Recorded { receipt, durability, began, took }))
    }

    /// A record that cannot be built is a defect of ours and no fault of the spool: the question is then denied as
    /// `internal`, and its record holds what cannot be too much.
    fn drafted(&self, case: &Case, judged: Judged, durability: Durability) -> Result<(Judged, Draft), Reason> {
        if let Some(draft) = self.draft(case, &judged, durability) {
            return Ok((judged, draft));
        }
        let bare = Judged::fault(Reason::Internal);
        let Some(draft) = self.draft(case, &bare, durability) else {
            self.spool.refused(Reason::AuditUnavailable);
            return Err(Reason::AuditUnavailable);
        };
        Ok((bare, draft))
    }

    fn draft(&self, case: &Case, judged: &Judged, durability: Durability) -> Option<Draft> {
        let options = &case.in_force.options;
        let facts = Facts {
            id: case.id,
            time: case.context.started_wall,
            client: &case.inbound.client,
            peer: case.inbound.peer.map(|address| address.ip()),
            request: judged.request.as_deref(),
            body: &case.inbound.body,
            decided: &judged.decided,
            latency: case.inbound.received.elapsed(),
            durability,
            generation: &options.generation,
            privacy: &options.privacy,
            trace_id: case.context.trace_id,
            span_id: case.context.span_id,
        };
        // The panic of a defect is logged by the process's panic hook.
        let built = std::panic::catch_unwind(AssertUnwindSafe(|| facts.draft(&options.source))).ok()?;
        built.inspect_err(|error| tracing::error!(%error, id = %case.id, "a record could not be built")).ok()
    }

    /// The record is durable, and the answer is what it says. Unless counting, tracing or remembering it panics: then
    /// nothing is allowed, and an allow that is recorded is amended.
    fn conclude(&self, case: &Case, mut judged: Judged, recorded: Recorded) -> Reply {
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| self.tell(case, &mut judged, &recorded)));
        let outcome = judged.decided.outcome;
        if told.is_err() && outcome.decision() == Decision::Allow {
            self.spool.amend(recorded.receipt, case.id);
            // Counting may be what panicked; the answer does not depend on it.
            let counted = std::panic::catch_unwind(AssertUnwindSafe(|| self.metrics.fault(Reason::Internal)));
            tracing::error!(id = %case.id, counted = counted.is_ok(), "an allow is denied over a defect, and amended");
            return Reply::amended(Reason::Internal, case.id);
        }
        Reply::decided(&outcome, recorded.receipt, case.id, told.ok().flatten())
    }

    /// Trace, count, remember the verdict. What it gives back is asked of shadows once the answer has left.
    fn tell(&self, case: &Case, judged: &mut Judged, recorded: &Recorded) -> Option<Box<Beside>> {
        #[cfg(test)]
        tests::defect(&case.inbound.client);
        let Judged { request, decided, fresh } = judged;
        let (decision, reason) = (decided.outcome.decision(), decided.outcome.reason());
        let purpose = request.as_deref().map(Purpose::of);
        let advisory = purpose.is_some_and(Purpose::advisory);
        let latency = case.inbound.received.elapsed();
        let kept = self.tracer.finish(
            &case.context,
            &Finished {
                decision,
                reason,
                advisory,
                action: request.as_ref().map(|r| r.action.as_str()),
                client: &case.inbound.client,
                peer: case.inbound.peer,
                decided,
                append: Some((recorded.began, recorded.took, recorded.durability.as_str())),
                latency,
                record: Some((recorded.receipt.chain(), recorded.receipt.seq())),
            },
        );
        self.metrics.decision(&DecisionPoint {
            decision,
            reason,
            origin: decided.origin,
            route: decided.route.as_deref(),
            action_class: request.as_ref().map(|r| ActionClass::of(&r.action)),
            advisory,
            latency,
            exemplar: kept.then_some(case.context.trace_id),
        });
        if let Some(fresh) = fresh.take() {
            case.in_force.decider.remember(fresh);
        }
        let request = request.take()?;
        case.in_force.decider.beside(request, decided, case.id, &case.context)
    }

    /// A question turned away before it got a record of its own.
    fn refuse(&self, reason: Reason) -> Reply {
        self.spool.refused(reason);
        self.metrics.fault(reason);
        Reply::refused(reason)
    }
}

/// A durable record and how it got there.
struct Recorded {
    receipt: Receipt,
    durability: Durability,
    began: Instant,
    took: Duration,
}

/// `None` where the future panicked. The panic itself is logged by the process's panic hook. It stays where it is: a future
/// of some kilobytes would be moved into each that waits for it.
async fn guarded<T>(work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

/// A version 7 id: sorts by the record's time, and says nothing but that.
fn record_id(time: SystemTime) -> Uuid {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

#[cfg(test)]
mod tests;
