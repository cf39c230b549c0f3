//! Proves the cache key on live questions: a share of those that were answered from the cache is asked again, after the
//! answer. When the fresh verdict is another one, the policy may have changed, or the key takes for equal what is not:
//! then the question whose answer was kept and the one that was answered from it are asked side by side. Only if those
//! two go on differing is the route's cache switched off. Called by `decide`.
//!
//! No answer waits for it, but it takes a place at each authorizer like any question: of a few at a time; what finds no
//! place is skipped and counted. A fault proves nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use crate::audit::lifecycle::Event;
use crate::audit::spool::Spool;
use crate::decide::Decider;
use crate::decide::attempt::Asking;
use crate::decide::cache::witnesses::Witnesses;
use crate::decide::memory::Known;
use crate::metrics::names::Recheck;
use crate::policy::decided::Outcome;
use crate::policy::key::Key;
use crate::policy::request::Request;
use crate::policy::route::Routes;
use crate::policy::verdict::Decision;
use crate::trace::Tracer;
use crate::wire::question;

/// Hits asked again at a time.
const AT_ONCE: usize = 4;
/// One question asked again. The authorizers' own timeouts are shorter.
const LIMIT: Duration = Duration::from_secs(5);
/// How often two questions must differ in the same way, and how far apart: authorizers that are being rolled over to a
/// new policy answer now by one and now by the other.
const ROUNDS: u32 = 3;
const APART: Duration = Duration::from_millis(500);

/// What is needed to prove keys.
pub struct Rechecks {
    /// Of hits, above 0.
    share: f64,
    witnesses: Witnesses,
    places: Arc<Semaphore>,
    /// By route. Off for good: until a reload, or the next start.
    on: Vec<(Arc<str>, AtomicBool)>,
    journal: OnceLock<Spool>,
}

/// A hit that is to be proved once its record is durable.
#[derive(Debug)]
pub struct Due {
    key: Key,
    route: Arc<str>,
    /// The record of the decision that the answer was first given for, and of the one that it was given for again.
    filled_by: Uuid,
    hit_by: Uuid,
    kept: Decision,
    /// The question that the answer was first given to; absent where it is no longer held.
    filled: Option<Bytes>,
    hit: Bytes,
}

impl Rechecks {
    /// `None` where no hit is to be proved.
    pub fn new(share: f64, routes: &Routes) -> Option<Self> {
        let on = routes.iter().map(|route| (route.name.clone(), AtomicBool::new(true))).collect();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        (share > 0.0).then(|| Self { share, witnesses: Witnesses::default(), places, on, journal: OnceLock::new() })
    }

    /// Where a cache that is switched off is recorded. Only the first call counts.
    pub fn report_to(&self, spool: Spool) {
        self.journal.get_or_init(|| spool);
    }

    pub fn is_on(&self, route: &str) -> bool {
        self.on.iter().any(|(name, on)| **name == *route && on.load(Ordering::Relaxed))
    }

    pub fn witness(&self, key: Key, record_id: Uuid, question: &[u8]) {
        self.witnesses.keep(key, record_id, question);
    }

    /// Whether this hit, whose record will be `hit_by`, is one of those that are asked again.
    pub fn due(&self, known: &Known, request: &Request, route: &Arc<str>, hit_by: Uuid) -> Option<Due> {
        let filled_by = known.entry.record_id;
        (rand::random::<f64>() < self.share).then(|| Due {
            key: known.key,
            route: route.clone(),
            filled_by,
            hit_by,
            kept: known.entry.answer.decision(),
            filled: self.witnesses.question(&known.key, filled_by),
            hit: request.bytes.clone(),
        })
    }

    /// False where it was off already.
    fn switch_off(&self, due: &Due) -> bool {
        let switched = self.on.iter().any(|(name, on)| *name == due.route && on.swap(false, Ordering::Relaxed));
        if switched && let Some(spool) = self.journal.get() {
            spool.record(Event::CacheSwitchedOff {
                route: due.route.to_string(),
                filled_by: due.filled_by.to_string(),
                hit_by: due.hit_by.to_string(),
            });
        }
        switched
    }
}

/// Asks again, in the background.
pub fn begin(decider: &Arc<Decider>, due: Due) {
    let Some(rechecks) = decider.memory.rechecks() else { return };
    let place = rechecks.places.clone().try_acquire_owned();
    let (Ok(place), Some(filled)) = (place, due.filled.clone()) else {
        return decider.metrics.cache_recheck(Recheck::Skipped);
    };
    let decider = Arc::clone(decider);
    tokio::spawn(async move {
        let outcome = decider.compare(&due, &filled).await.unwrap_or(Recheck::Unanswered);
        decider.concluded(&due, outcome);
        drop(place);
    });
}

impl Decider {
    /// `None` where an authorizer failed.
    async fn compare(&self, due: &Due, filled: &Bytes) -> Option<Recheck> {
        if self.verdict(due, &due.hit).await? == due.kept {
            return Some(Recheck::Same);
        }
        let mut first = None;
        for round in 0..ROUNDS {
            // Now the one first, now the other: two authorizers that take turns would differ in turn as well.
            let (of_filled, of_hit) = if round.is_multiple_of(2) {
                let of_filled = self.verdict(due, filled).await?;
                (of_filled, self.verdict(due, &due.hit).await?)
            } else {
                let of_hit = self.verdict(due, &due.hit).await?;
                (self.verdict(due, filled).await?, of_hit)
            };
            if of_filled == of_hit || *first.get_or_insert(of_hit) != of_hit {
                return Some(Recheck::Stale);
            }
            if round + 1 < ROUNDS {
                tokio::time::sleep(APART).await;
            }
        }
        Some(Recheck::Different)
    }

    async fn verdict(&self, due: &Due, question: &Bytes) -> Option<Decision> {
        let route = self.routes.iter().find(|route| route.name == due.route)?;
        let request = question::read(question.clone()).ok()?;
        // No decision, so no trace.
        let tracer = Tracer::off();
        let trace = tracer.begin(None);
        let asking = Asking { request: &request, trace: &trace, tracer: &tracer, cutoff: Instant::now() + LIMIT };
        let asked = self.ask(route, asking).await;
        match &asked.verdict.outcome {
            Outcome::Answered(answer) => Some(answer.decision()),
            Outcome::Declared | Outcome::Fault(_) => None,
        }
    }

    fn concluded(&self, due: &Due, outcome: Recheck) {
        self.metrics.cache_recheck(outcome);
        match outcome {
            Recheck::Same | Recheck::Unanswered | Recheck::Skipped => {}
            // Its life is not over, but it is known to be wrong.
            Recheck::Stale => self.memory.forget(&due.key, due.filled_by),
            Recheck::Different => {
                self.memory.forget(&due.key, due.filled_by);
                if self.memory.rechecks().is_some_and(|rechecks| rechecks.switch_off(due)) {
                    if !self.retired.load(Ordering::Relaxed) {
                        self.metrics.cache_enabled(&due.route, false);
                    }
                    tracing::error!(
                        route = %due.route, filled_by = %due.filled_by, hit_by = %due.hit_by,
                        "two questions with one cache key have different answers: the route's cache is off; \
                         compare the two records, and look at `cache.ignore`"
                    );
                }
            }
        }
    }
}
