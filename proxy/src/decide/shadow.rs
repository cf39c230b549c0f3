//! Asks authorizers that are only tried out what those that decide were asked, after the answer has left, and counts and
//! records where they differ. Nobody waits for one: what finds no place is dropped and counted. Each has a connection pool,
//! a breaker and a limit of its own, so that one that hangs or always differs costs the decisions beside it nothing but the
//! cores it shares with them.
//!
//! Part of a decider, so that a reload replaces shadows together with routes. Called by `decide`; begun by the pipeline's
//! reply.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use crate::audit::shadow::{Compared, DecidedPart};
use crate::audit::spool::Spool;
use crate::decide::attempt::{Asking, Guarded};
use crate::metrics::{Metrics, ShadowName};
use crate::policy::compare::Difference;
use crate::policy::decided::{Call, Decided, Outcome};
use crate::policy::privacy::Privacy;
use crate::policy::request::Request;
use crate::policy::route::{Route, Routes};
use crate::trace::{Context, Tracer};

/// Bytes that questions hold while they wait for shadows, all of them together. Beyond, further ones are dropped.
pub const MAX_HELD: usize = 16 << 20;
/// What one holds beside its own bytes: those are often a small piece of the 8 KiB that were read at once, which stay with
/// them, and what was made of them stands beside.
pub const BESIDE_A_QUESTION: usize = 12 << 10;
/// Records a second at most; the other differences are only counted.
const RECORDS: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

/// The authorizers that are tried out, and by which routes.
pub struct Shadows {
    /// Routes name them by their place here.
    candidates: Vec<Candidate>,
    /// One permit a byte that is held.
    room: Arc<Semaphore>,
    records: Records,
    metrics: Arc<Metrics>,
}

struct Candidate {
    guarded: Guarded,
    /// As many as its `max_in_flight`: nothing ever waits for its bulkhead.
    places: Arc<Semaphore>,
}

/// A decision that shadows are to be asked about once its answer has left.
pub struct Beside {
    shadows: Arc<Shadows>,
    asked: Vec<Asked>,
    case: Case,
}

/// One shadow of the route.
struct Asked {
    place: usize,
    name: ShadowName,
}

/// What was asked and decided.
struct Case {
    id: Uuid,
    route: Arc<str>,
    request: Box<Request>,
    /// For the comparison, and for the record.
    outcome: Outcome,
    decided: DecidedPart,
    trace: Context,
}

impl Shadows {
    pub fn new(candidates: Vec<Guarded>, metrics: Arc<Metrics>) -> Self {
        let candidate = |guarded: Guarded| {
            let places = guarded.limits().max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
            Candidate { guarded, places: Arc::new(Semaphore::new(places)) }
        };
        let candidates = candidates.into_iter().map(candidate).collect();
        Self { candidates, room: Arc::new(Semaphore::new(MAX_HELD)), records: Records::default(), metrics }
    }

    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Where differences are recorded, and what of an authorizer's words may be told. Only the first call counts.
    pub fn report_to(&self, spool: Spool, privacy: Privacy) {
        self.records.journal.get_or_init(|| (spool, privacy));
    }

    /// What is to be asked beside a decision of which this is the record's id. `None` where nothing is: no shadow, or
    /// nobody was asked, because the answer was known.
    pub fn beside(
        self: &Arc<Self>,
        routes: &Routes,
        (id, trace): (Uuid, &Context),
        request: Box<Request>,
        decided: &Decided,
    ) -> Option<Box<Beside>> {
        if self.is_empty() || decided.calls.is_empty() {
            return None;
        }
        let route = routes.iter().find(|route| Some(&route.name) == decided.route.as_ref())?;
        if route.shadow.is_empty() {
            return None;
        }
        let case = Case {
            id,
            route: route.name.clone(),
            request,
            outcome: decided.outcome.clone(),
            decided: DecidedPart::of(decided),
            // Its own spans are exported with the decision, and a shadow has none: it only learns which trace it was.
            trace: Context { sampled: false, ..trace.clone() },
        };
        // Boxed: most answers have none, and all carry the room for it.
        Some(Box::new(Beside { shadows: self.clone(), asked: self.asked(route), case }))
    }

    fn asked(&self, route: &Route) -> Vec<Asked> {
        let of = |place: &usize| {
            let name = self.candidates.get(*place)?.guarded.name();
            Some(Asked { place: *place, name: ShadowName::new(&route.name, name) })
        };
        route.shadow.iter().filter_map(of).collect()
    }

    /// Asks one shadow and tells what it said. Ends within its own limits.
    async fn ask(&self, Asked { place, name }: &Asked, case: &Case) {
        let Some(Candidate { guarded, .. }) = self.candidates.get(*place) else { return };
        let limits = guarded.limits();
        // More than all of its attempts can take: its own timeouts end them.
        let cutoff = Instant::now() + limits.timeout * (limits.retries + 2);
        let tracer = Tracer::off();
        let asking = Asking { request: &case.request, trace: &case.trace, tracer: &tracer, cutoff };
        let mut calls = Vec::with_capacity(1);
        let verdict = guarded.ask(asking, &mut calls).await;
        let difference = Difference::between(&case.outcome, &verdict.outcome);
        self.metrics.shadow_comparison(name, difference);
        let Some(call) = calls.last() else { return };
        match difference {
            Difference::None | Difference::Undecided | Difference::Dropped => {}
            // Left alone by its breaker, it said nothing that is worth a record.
            Difference::Fault if call.attempt == 0 => {}
            Difference::WouldAllow | Difference::WouldDeny | Difference::Fault => {
                if !self.records.write(case, difference, call) {
                    self.metrics.shadow_unrecorded();
                }
            }
        }
    }
}

impl Beside {
    /// Asks, in the background. What finds no place is dropped.
    pub fn begin(self) {
        let Self { shadows, asked, case } = self;
        let held = u32::try_from(case.request.bytes.len() + BESIDE_A_QUESTION).unwrap_or(u32::MAX);
        let case = Arc::new(case);
        for asked in asked {
            let place = shadows.candidates.get(asked.place).and_then(|it| it.places.clone().try_acquire_owned().ok());
            let room = shadows.room.clone().try_acquire_many_owned(held).ok();
            let (Some(place), Some(room)) = (place, room) else {
                shadows.metrics.shadow_comparison(&asked.name, Difference::Dropped);
                continue;
            };
            let (shadows, case) = (shadows.clone(), case.clone());
            tokio::spawn(async move {
                shadows.ask(&asked, &case).await;
                drop((place, room));
            });
        }
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").field("id", &self.case.id).field("asked", &self.asked.len()).finish_non_exhaustive()
    }
}

/// Differences that become records: few a second, and none that could take a decision's room.
#[derive(Default)]
struct Records {
    journal: OnceLock<(Spool, Privacy)>,
    /// When the latest were written.
    latest: Mutex<VecDeque<Instant>>,
    /// Since the last one that was.
    unrecorded: AtomicU64,
}

impl Records {
    /// False: it is only counted.
    fn write(&self, case: &Case, difference: Difference, call: &Call) -> bool {
        let written = self.try_write(case, difference, call);
        if !written {
            self.unrecorded.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn try_write(&self, case: &Case, difference: Difference, call: &Call) -> bool {
        let Some((spool, privacy)) = self.journal.get() else { return false };
        if !self.is_due(Instant::now(), || spool.has_room_for_shadows()) {
            return false;
        }
        let Case { id, route, request, decided, .. } = case;
        let compared = Compared { of: *id, route, request, decided, difference, call, privacy };
        let unrecorded = self.unrecorded.swap(0, Ordering::Relaxed);
        let written = spool.shadow(&compared.data(unrecorded));
        if !written {
            self.unrecorded.fetch_add(unrecorded, Ordering::Relaxed);
        }
        written
    }

    /// Takes one of the places of this second, if there is one; then whether there is room. It is looked for no more often
    /// than records are written.
    fn is_due(&self, now: Instant, has_room: impl FnOnce() -> bool) -> bool {
        let mut latest = self.latest.lock();
        while latest.front().is_some_and(|then| now.saturating_duration_since(*then) >= SECOND) {
            latest.pop_front();
        }
        if latest.len() >= RECORDS {
            return false;
        }
        latest.push_back(now);
        drop(latest);
        has_room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_ten_records_in_any_second() {
        let records = Records::default();
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let due = |millis| records.is_due(at(millis), || true);
        assert_eq!((900..1000).filter(|millis| due(*millis)).count(), RECORDS);
        // Not ten more right after a boundary.
        assert!(!due(1000) && !due(1899));
        assert!(due(1900) && !due(1900));
        // Room is not looked for more often, either.
        let looked = std::cell::Cell::new(0);
        let no_room = || {
            looked.set(looked.get() + 1);
            false
        };
        assert!(!(5000..5100).any(|millis| records.is_due(at(millis), no_room)));
        assert_eq!(looked.get(), RECORDS);
    }
}
