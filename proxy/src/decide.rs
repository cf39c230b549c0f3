//! From a question to a verdict: route → cache → authorizers. Nothing here allows on a fault, and nothing is
//! remembered before its record is durable. Called by `pipeline`, once a question.

pub mod attempt;
pub mod breaker;
pub mod cache;
pub mod combine;
pub mod complaints;
pub mod flight;
pub mod memory;
pub mod moment;
pub mod purge;
pub mod recheck;
pub mod shadow;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::audit::spool::Spool;
use crate::authorizer::Authorizer;
use crate::decide::attempt::{Asking, Guarded, Limits, Role};
use crate::decide::combine::Asked;
use crate::decide::memory::{Known, Looked, Memory, Worth};
use crate::decide::purge::Rule;
use crate::decide::recheck::Due;
use crate::decide::shadow::{Beside, Shadows};
use crate::metrics::Metrics;
use crate::policy::decided::{CacheUse, Decided, Outcome};
use crate::policy::key::IgnoreList;
use crate::policy::privacy::Privacy;
use crate::policy::request::Request;
use crate::policy::route::{Globs, Route, Routes};
use crate::policy::verdict::{CacheState, Origin, Reason};
use crate::trace;

/// Kept of every deadline for the record.
pub const RECORD_RESERVE: Duration = Duration::from_millis(250);

/// Bytes of a question. Larger ones are not looked up and not remembered: hashing them costs what asking does.
pub const MAX_CACHED_QUESTION: usize = 10_000;

/// Everything that decides; fixed until a reload makes a new decider.
pub struct Options {
    /// Routes name them by their place here.
    pub authorizers: Vec<(Arc<dyn Authorizer>, Limits)>,
    /// Those that are only tried out, apart from the others also where both are the same authorizer: own connections, own
    /// breaker, own bulkhead. Routes name them by their place here.
    pub shadows: Vec<(Arc<dyn Authorizer>, Limits)>,
    pub routes: Routes,
    pub cache: CacheOptions,
}

#[derive(Debug)]
pub struct CacheOptions {
    /// Answers kept at most; 0 is no cache.
    pub entries: usize,
    /// Actions whose answers may be kept.
    pub actions: Globs,
    pub ignore: IgnoreList,
    /// Another one for every reload that changes authorizers, routes or cache. Such a reload makes a new decider, which
    /// has a cache, a key secret and questions under way of its own; what waits in the old one ends there.
    pub generation: u64,
    /// Share of hits asked again to prove the key; 0 proves none.
    pub recheck: f64,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    #[error("route `{0}` asks nobody")]
    AsksNobody(Arc<str>),
    #[error("route `{0}` asks an authorizer that does not exist")]
    AsksUnknown(Arc<str>),
    #[error("route `{0}` asks `{1}` twice")]
    AsksTwice(Arc<str>, Arc<str>),
    #[error("route `{0}` tries out an authorizer that does not exist")]
    TriesUnknown(Arc<str>),
}

/// What is left to do for a decision once its record is durable.
#[derive(Debug)]
#[must_use = "give it to `Decider::remember` when the record is durable"]
pub struct Fresh(Work);

#[derive(Debug)]
enum Work {
    Keep(Worth),
    Recheck(Due),
}

pub struct Decider {
    authorizers: Vec<Guarded>,
    shadows: Arc<Shadows>,
    routes: Routes,
    memory: Memory,
    metrics: Arc<Metrics>,
    /// Another one is in its place; what it still finds out is no longer how things stand.
    retired: AtomicBool,
}

impl Decider {
    pub fn new(options: Options, metrics: Arc<Metrics>) -> Result<Self, OptionsError> {
        let guard = |role| {
            let metrics = metrics.clone();
            move |(authorizer, limits)| Guarded::new(authorizer, role, limits, metrics.clone())
        };
        let authorizers: Vec<Guarded> = options.authorizers.into_iter().map(guard(Role::Decides)).collect();
        let shadows = options.shadows.into_iter().map(guard(Role::Shadow)).collect();
        let shadows = Arc::new(Shadows::new(shadows, metrics.clone()));
        for route in options.routes.iter() {
            check(route, &authorizers)?;
            if route.shadow.iter().any(|place| *place >= shadows.len()) {
                return Err(OptionsError::TriesUnknown(route.name.clone()));
            }
            metrics.cache_enabled(&route.name, options.cache.entries > 0 && !route.cache.is_off());
        }
        let memory = Memory::new(options.cache, &options.routes, metrics.clone());
        Ok(Self { authorizers, shadows, routes: options.routes, memory, metrics, retired: AtomicBool::new(false) })
    }

    /// Decides a question that came from `client`, in time for an answer by `deadline`. `id` is the id that the
    /// decision's record will have.
    pub async fn decide(
        &self,
        request: &Request,
        client: &str,
        id: Uuid,
        deadline: Instant,
        trace: &trace::Context,
        tracer: &trace::Tracer,
    ) -> (Decided, Option<Fresh>) {
        let Some(route) = self.routes.pick(request, client) else {
            return (Decided::fault(Reason::NoRoute), None);
        };
        let cutoff = deadline.checked_sub(RECORD_RESERVE).unwrap_or(deadline);
        let place = match self.memory.look(request, client, route, cutoff).await {
            Looked::Known(known) => {
                let due = self.memory.rechecks().and_then(|rechecks| rechecks.due(&known, request, &route.name, id));
                return (known_decided(route, known), due.map(|due| Fresh(Work::Recheck(due))));
            }
            Looked::Late(reason) => {
                return (Asked::nobody(reason).decided(route, CacheUse::MISS), None);
            }
            Looked::Ask(place) => place,
        };
        // On the heap, so that a question whose answer is kept carries no room for asking through every call.
        let asked = Box::pin(self.ask(route, Asking { request, trace, tracer, cutoff })).await;
        if asked.fallback {
            self.metrics.fallback(&route.name);
        }
        let cache = place.cache_use();
        let witness = self.memory.rechecks().map(|_| request.bytes.clone());
        let worth = place.answered(route, &asked, id, witness);
        (asked.decided(route, cache), worth.map(|worth| Fresh(Work::Keep(worth))))
    }

    /// Keeps an answer for equal questions, and proves a share of those that were kept. Only for decisions whose record is
    /// durable: others will name it.
    pub fn remember(self: &Arc<Self>, fresh: Fresh) {
        match fresh.0 {
            Work::Keep(worth) => self.memory.keep(worth),
            Work::Recheck(due) => recheck::begin(self, due),
        }
    }

    /// Takes every lock of the cache and of the questions under way, and gives it back.
    pub fn pulse(&self) {
        self.memory.pulse();
    }

    /// Takes back what was answered until now; see [`Rule`].
    pub fn purge(&self, rule: Rule) {
        self.memory.purge(rule);
    }

    /// What shadows are to be asked about `request`, which was decided like this, once its answer has left. `id` is that
    /// of its record.
    pub fn beside(
        &self,
        request: Box<Request>,
        decided: &Decided,
        id: Uuid,
        trace: &trace::Context,
    ) -> Option<Box<Beside>> {
        self.shadows.beside(&self.routes, (id, trace), request, decided)
    }

    /// Where it is recorded what becomes of the cache, and what shadows say; `privacy` holds for their words.
    pub fn report_to(&self, spool: Spool, privacy: Privacy) {
        self.shadows.report_to(spool.clone(), privacy);
        if let Some(rechecks) = self.memory.rechecks() {
            rechecks.report_to(spool);
        }
    }

    /// Another decider takes over. Questions on their way here are answered; the state that gauges show is the other
    /// one's from now on.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.memory.retire();
        for authorizer in &self.authorizers {
            authorizer.retire();
        }
    }

    async fn ask(&self, route: &Route, asking: Asking<'_>) -> Asked {
        let authorizers = route.ask.iter().filter_map(|place| self.authorizers.get(*place));
        combine::ask(route.combine, authorizers, asking).await
    }
}

fn known_decided(route: &Route, known: Known) -> Decided {
    let cache = known.cache_use();
    Decided {
        outcome: Outcome::Answered(known.entry.answer),
        origin: if known.state == CacheState::Coalesced { Origin::Coalesced } else { Origin::Cache },
        route: Some(route.name.clone()),
        decided_by: known.entry.decided_by,
        fallback: known.entry.fallback,
        calls: Vec::new(),
        cache,
    }
}

fn check(route: &Route, authorizers: &[Guarded]) -> Result<(), OptionsError> {
    if route.ask.is_empty() {
        return Err(OptionsError::AsksNobody(route.name.clone()));
    }
    for (turn, place) in route.ask.iter().enumerate() {
        let asked = authorizers.get(*place).ok_or_else(|| OptionsError::AsksUnknown(route.name.clone()))?;
        if route.ask.iter().take(turn).any(|earlier| earlier == place) {
            return Err(OptionsError::AsksTwice(route.name.clone(), asked.name().clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
