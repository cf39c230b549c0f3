//! What is known without asking: answers that are kept, and those that are about to come for an equal question. Decides
//! which of them may be used: not after their life, not across a purge, not by a route whose cache is off. Not the
//! asking. Called by `decide`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::decide::cache::{Cache, Entry, Kept};
use crate::decide::combine::Asked;
use crate::decide::flight::{Flights, Joined, Lead, Turn};
use crate::decide::moment::Moment;
use crate::decide::purge::{Purges, Rule};
use crate::decide::recheck::Rechecks;
use crate::decide::{CacheOptions, MAX_CACHED_QUESTION};
use crate::metrics::Metrics;
use crate::policy::decided::{CacheUse, Outcome};
use crate::policy::key::{Key, KeyMaker};
use crate::policy::request::Request;
use crate::policy::route::{Globs, Route, Routes};
use crate::policy::verdict::{CacheState, Decision, Reason, Side};

pub struct Memory {
    cache: Option<Cache>,
    flights: Arc<Flights>,
    purges: Purges,
    cacheable: Globs,
    keys: KeyMaker,
    rechecks: Option<Rechecks>,
    metrics: Arc<Metrics>,
    /// Another one's size is shown now.
    retired: AtomicBool,
}

/// What there is for a question.
pub enum Looked {
    Known(Known),
    Ask(Place),
    /// Time was over while an equal question was being asked.
    Late(Reason),
}

/// An answer that was given to an equal question.
pub struct Known {
    pub key: Key,
    pub entry: Entry,
    pub age: Duration,
    /// `Hit` or `Coalesced`.
    pub state: CacheState,
}

/// Leave to ask, and the duty to say what came of it. Dropped without a word, another equal question takes over.
pub struct Place {
    /// Absent where nothing may be kept.
    key: Option<Key>,
    lead: Option<Lead>,
    began: (Instant, Moment),
}

/// An answer that is worth keeping once the record of its decision is durable. Dropped instead, another equal question
/// is asked.
#[derive(Debug)]
pub struct Worth {
    pub key: Key,
    pub(super) kept: Kept,
    lead: Option<Lead>,
    /// The question, where its answer may have to be proved.
    witness: Option<Bytes>,
}

impl Memory {
    pub fn new(options: CacheOptions, routes: &Routes, metrics: Arc<Metrics>) -> Self {
        metrics.cache_entries(0);
        let lifetimes = routes.iter().flat_map(|route| [route.cache.allow, route.cache.deny]);
        let longest = lifetimes.max().unwrap_or_default();
        Self {
            rechecks: Rechecks::new(options.recheck, routes),
            cache: Cache::new(options.entries),
            flights: Arc::default(),
            purges: Purges::new(longest),
            cacheable: options.actions,
            keys: KeyMaker::new(options.generation, options.ignore),
            metrics,
            retired: AtomicBool::new(false),
        }
    }

    /// From now on its size shows nowhere. The one in its place has kept nothing yet.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.metrics.cache_entries(0);
    }

    fn show(&self, cache: &Cache) {
        if !self.retired.load(Ordering::Relaxed) {
            self.metrics.cache_entries(cache.len());
        }
    }

    /// What is known at once, or becomes known by `cutoff` because an equal question is being asked.
    pub async fn look(&self, request: &Request, client: &str, route: &Route, cutoff: Instant) -> Looked {
        let cache = self.cache.as_ref().filter(|_| self.is_cacheable(request, route));
        let looked = match cache.map(|cache| (cache, self.keys.key(request, client, &route.name))) {
            None => Looked::Ask(Place::new(None, None)),
            Some((cache, key)) => match self.kept(cache, key, request, route) {
                Some(kept) => Looked::Known(kept.known(key, CacheState::Hit)),
                None => Box::pin(self.join(cache, key, request, route, cutoff)).await,
            },
        };
        self.metrics.cache_request(match &looked {
            Looked::Known(known) => known.state,
            Looked::Ask(place) => place.cache_use().state,
            Looked::Late(_) => CacheState::Miss,
        });
        looked
    }

    /// Keeps an answer, and gives it to everybody who waits for it. Only for decisions whose record is durable.
    pub fn keep(&self, worth: Worth) {
        let Worth { key, kept, lead, witness } = worth;
        if let (Some(rechecks), Some(question)) = (&self.rechecks, witness) {
            rechecks.witness(key, kept.entry.record_id, &question);
        }
        if let Some(cache) = &self.cache {
            cache.store(key, kept.clone(), Moment::now());
            self.show(cache);
        }
        // After that: whoever comes in between finds one or the other.
        if let Some(lead) = lead {
            lead.share(&kept);
        }
    }

    /// See [`Purges::purge`].
    pub fn purge(&self, rule: Rule) {
        let everything = rule == Rule::Everything;
        self.purges.purge(rule);
        if let Some(cache) = self.cache.as_ref().filter(|_| everything) {
            cache.clear();
            self.show(cache);
        }
    }

    /// Forgets one answer.
    pub fn forget(&self, key: &Key, record_id: Uuid) {
        if let Some(cache) = &self.cache {
            cache.forget(key, record_id);
            self.show(cache);
        }
    }

    /// Takes every lock in here, and gives it back.
    pub fn pulse(&self) {
        self.flights.under_way();
        if let Some(cache) = &self.cache {
            cache.pulse();
        }
    }

    pub fn rechecks(&self) -> Option<&Rechecks> {
        self.rechecks.as_ref()
    }

    #[cfg(test)]
    pub fn questions_under_way(&self) -> usize {
        self.flights.under_way()
    }

    fn is_cacheable(&self, request: &Request, route: &Route) -> bool {
        self.is_on(route) && request.bytes.len() <= MAX_CACHED_QUESTION && self.cacheable.matches(&request.action)
    }

    fn is_on(&self, route: &Route) -> bool {
        !route.cache.is_off() && self.rechecks.as_ref().is_none_or(|rechecks| rechecks.is_on(&route.name))
    }

    fn kept(&self, cache: &Cache, key: Key, request: &Request, route: &Route) -> Option<Usable> {
        self.usable(cache.lookup(&key, Moment::now())?, request, route)
    }

    fn usable(&self, kept: Kept, request: &Request, route: &Route) -> Option<Usable> {
        let age = kept.age(Moment::now())?;
        let used = self.is_on(route) && !self.purges.covers(request, kept.entry.sent);
        used.then_some(Usable { kept, age })
    }

    /// Every turn of the loop has waited for another question, and none waits beyond `cutoff`.
    async fn join(&self, cache: &Cache, key: Key, request: &Request, route: &Route, cutoff: Instant) -> Looked {
        loop {
            let turn = match self.flights.join(key) {
                Joined::Lead(lead) => Turn::Lead(lead),
                Joined::Wait(turn) => match self.wait(key, turn, cutoff).await {
                    Ok(turn) => turn,
                    Err(reason) => return Looked::Late(reason),
                },
            };
            match turn {
                // The leader before may have ended between our look and now.
                Turn::Lead(lead) => {
                    let Some(usable) = self.kept(cache, key, request, route) else {
                        return Looked::Ask(Place::new(Some(key), Some(lead)));
                    };
                    lead.share(&usable.kept);
                    return Looked::Known(usable.known(key, CacheState::Hit));
                }
                Turn::Alone => return Looked::Ask(Place::new(Some(key), None)),
                Turn::Shared(kept) => {
                    let purged = self.purges.covers(request, kept.entry.sent);
                    if let Some(usable) = self.usable(kept, request, route) {
                        return Looked::Known(usable.known(key, CacheState::Coalesced));
                    }
                    if !purged {
                        return Looked::Ask(Place::new(Some(key), None));
                    }
                    // Of all who wait, one is to ask anew.
                }
            }
        }
    }

    /// Fails with the reason for which this question is denied when its time is over: what the leaders failed of, if it
    /// was the authorizers.
    async fn wait(&self, key: Key, turn: oneshot::Receiver<Turn>, cutoff: Instant) -> Result<Turn, Reason> {
        let _waiting = self.metrics.cache_waiting();
        match timeout_at(cutoff, turn).await {
            // Nobody will say anything any more; that is no reason to deny.
            Ok(turn) => Ok(turn.unwrap_or(Turn::Alone)),
            Err(_) => {
                let fault = self.flights.last_fault(&key);
                Err(fault.filter(|fault| fault.side() == Some(Side::Authorizer)).unwrap_or(Reason::Deadline))
            }
        }
    }
}

/// Something kept that may be used now.
struct Usable {
    kept: Kept,
    age: Duration,
}

impl Usable {
    fn known(self, key: Key, state: CacheState) -> Known {
        Known { key, entry: self.kept.entry, age: self.age, state }
    }
}

impl Known {
    pub fn cache_use(&self) -> CacheUse {
        CacheUse { state: self.state, age: Some(self.age), record_id: Some(self.entry.record_id) }
    }
}

impl Place {
    fn new(key: Option<Key>, lead: Option<Lead>) -> Self {
        // In this order: what passes between the two looks makes an answer older, not younger.
        let moment = Moment::now();
        Self { key, lead, began: (Instant::now(), moment) }
    }

    pub fn cache_use(&self) -> CacheUse {
        if self.key.is_some() { CacheUse::MISS } else { CacheUse::OFF }
    }

    /// What came of asking: an answer that somebody gave and that has a lifetime is worth keeping, nothing else is.
    pub(super) fn answered(
        self,
        route: &Route,
        asked: &Asked,
        record_id: Uuid,
        witness: Option<Bytes>,
    ) -> Option<Worth> {
        let answer = match &asked.verdict.outcome {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Declared => None,
            Outcome::Fault(reason) => {
                if let Some(lead) = self.lead {
                    lead.failed(*reason);
                }
                return None;
            }
        };
        let kept = answer.and_then(|answer| {
            let configured = match answer.decision() {
                Decision::Allow => route.cache.allow,
                Decision::Deny => route.cache.deny,
            };
            let lifetime = asked.verdict.keep_at_most.map_or(configured, |limit| limit.min(configured));
            // Time asleep between the two moments is taken for time before the question was sent.
            let (instant, moment) = self.began;
            let sent = moment.checked_add(asked.verdict.sent.saturating_duration_since(instant))?;
            let (decided_by, fallback) = (asked.decided_by.clone(), asked.fallback);
            Kept::new(Entry { answer: answer.clone(), decided_by, fallback, record_id, sent }, lifetime)
        });
        match (self.key, kept) {
            (Some(key), Some(kept)) => Some(Worth { key, kept, lead: self.lead, witness }),
            (_, None) | (None, _) => {
                if let Some(lead) = self.lead {
                    lead.keep_to_itself();
                }
                None
            }
        }
    }
}
