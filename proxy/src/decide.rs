//! From a question to a verdict: route → cache → authorizers. Nothing here allows on a fault, and nothing is
//! remembered before its record is durable. Called by `pipeline`, once a question.

pub mod attempt;
pub mod breaker;
pub mod cache;
pub mod combine;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::authorizer::Authorizer;
use crate::decide::attempt::{Asking, Guarded, Limits};
use crate::decide::cache::{Cache, Entry};
use crate::decide::combine::Asked;
use crate::metrics::Metrics;
use crate::policy::decided::{CacheUse, Decided, Outcome};
use crate::policy::key::{IgnoreList, Key, KeyMaker};
use crate::policy::request::Request;
use crate::policy::route::{Globs, Route, Routes};
use crate::policy::verdict::{CacheState, Decision, Origin, Reason};
use crate::trace;

/// Kept of every deadline for the record.
pub const RECORD_RESERVE: Duration = Duration::from_millis(250);

/// Bytes of a question. Larger ones are not looked up and not remembered: hashing them costs what asking does.
pub const MAX_CACHED_QUESTION: usize = 10_000;

/// Everything that decides; fixed until a reload makes a new decider.
pub struct Options {
    /// Routes name them by their place here.
    pub authorizers: Vec<(Arc<dyn Authorizer>, Limits)>,
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
    /// Another one for every reload that changes authorizers, routes or cache.
    pub generation: u64,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    #[error("route `{0}` asks nobody")]
    AsksNobody(Arc<str>),
    #[error("route `{0}` asks an authorizer that does not exist")]
    AsksUnknown(Arc<str>),
    #[error("route `{0}` asks `{1}` twice")]
    AsksTwice(Arc<str>, Arc<str>),
}

/// An answer that is worth remembering once the record of its decision is durable.
#[derive(Debug)]
#[must_use = "give it to `Decider::remember` when the record is durable"]
pub struct Fresh {
    key: Key,
    entry: Entry,
    lifetime: Duration,
}

pub struct Decider {
    authorizers: Vec<Guarded>,
    routes: Routes,
    cache: Option<Cache>,
    cacheable: Globs,
    keys: KeyMaker,
    metrics: Arc<Metrics>,
}

impl Decider {
    pub fn new(options: Options, metrics: Arc<Metrics>) -> Result<Self, OptionsError> {
        let guard = |(authorizer, limits)| Guarded::new(authorizer, limits, metrics.clone());
        let authorizers: Vec<Guarded> = options.authorizers.into_iter().map(guard).collect();
        for route in options.routes.iter() {
            check(route, &authorizers)?;
            metrics.cache_enabled(&route.name, options.cache.entries > 0 && !route.cache.is_off());
        }
        Ok(Self {
            authorizers,
            routes: options.routes,
            cache: Cache::new(options.cache.entries),
            cacheable: options.cache.actions,
            keys: KeyMaker::new(options.cache.generation, options.cache.ignore),
            metrics,
        })
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
        let cached = self.cached(request, client, route);
        let key = match cached {
            Looked::Hit(decided) => return (*decided, None),
            Looked::Miss(key) => Some(key),
            Looked::Off => None,
        };
        let cutoff = deadline.checked_sub(RECORD_RESERVE).unwrap_or(deadline);
        let asking = Asking { request, trace, tracer, cutoff };
        let asked = self.ask(route, asking).await;
        let fresh = key.and_then(|key| fresh(key, route, &asked, id));
        (asked.decided(route, if key.is_some() { CacheUse::MISS } else { CacheUse::OFF }), fresh)
    }

    /// Keeps an answer for the next equal question. Only for decisions whose record is durable: a hit names it.
    pub fn remember(&self, fresh: Fresh) {
        let Some(cache) = &self.cache else { return };
        cache.store(fresh.key, fresh.entry, fresh.lifetime, Instant::now());
        self.metrics.cache_entries(cache.len());
    }

    fn cached(&self, request: &Request, client: &str, route: &Route) -> Looked {
        let looked = match &self.cache {
            Some(cache) if self.is_cacheable(request, route) => {
                let key = self.keys.key(request, client, &route.name);
                match cache.lookup(&key, Instant::now()) {
                    Some(hit) => Looked::Hit(Box::new(hit_decided(route, hit))),
                    None => Looked::Miss(key),
                }
            }
            _ => Looked::Off,
        };
        self.metrics.cache_request(match &looked {
            Looked::Hit(_) => CacheState::Hit,
            Looked::Miss(_) => CacheState::Miss,
            Looked::Off => CacheState::Off,
        });
        looked
    }

    fn is_cacheable(&self, request: &Request, route: &Route) -> bool {
        !route.cache.is_off() && request.bytes.len() <= MAX_CACHED_QUESTION && self.cacheable.matches(&request.action)
    }

    async fn ask(&self, route: &Route, asking: Asking<'_>) -> Asked {
        let authorizers = route.ask.iter().filter_map(|place| self.authorizers.get(*place));
        let asked = combine::ask(route.combine, authorizers, asking).await;
        if asked.fallback {
            self.metrics.fallback(&route.name);
        }
        asked
    }
}

enum Looked {
    Hit(Box<Decided>),
    Miss(Key),
    Off,
}

impl Asked {
    fn decided(self, route: &Route, cache: CacheUse) -> Decided {
        let origin = match &self.verdict.outcome {
            Outcome::Answered(_) | Outcome::Declared => Origin::Authorizer,
            Outcome::Fault(_) => Origin::Fault,
        };
        Decided {
            outcome: self.verdict.outcome,
            origin,
            route: Some(route.name.clone()),
            decided_by: self.decided_by,
            fallback: self.fallback,
            calls: self.calls,
            cache,
        }
    }
}

/// An answer that somebody gave and that has a lifetime; nothing else is ever remembered.
fn fresh(key: Key, route: &Route, asked: &Asked, record_id: Uuid) -> Option<Fresh> {
    let Outcome::Answered(answer) = &asked.verdict.outcome else { return None };
    let configured = match answer.decision() {
        Decision::Allow => route.cache.allow,
        Decision::Deny => route.cache.deny,
    };
    let lifetime = asked.verdict.keep_at_most.map_or(configured, |limit| limit.min(configured));
    let entry = Entry {
        answer: answer.clone(),
        decided_by: asked.decided_by.clone(),
        fallback: asked.fallback,
        record_id,
        sent: asked.verdict.sent,
    };
    (!lifetime.is_zero()).then_some(Fresh { key, entry, lifetime })
}

fn hit_decided(route: &Route, hit: cache::Hit) -> Decided {
    Decided {
        outcome: Outcome::Answered(hit.entry.answer),
        origin: Origin::Cache,
        route: Some(route.name.clone()),
        decided_by: hit.entry.decided_by,
        fallback: hit.entry.fallback,
        calls: Vec::new(),
        cache: CacheUse { state: CacheState::Hit, age: Some(hit.age), record_id: Some(hit.entry.record_id) },
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
