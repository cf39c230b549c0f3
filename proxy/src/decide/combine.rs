//! Asks the authorizers of a route, one after the other or at once, and takes from their words what
//! `policy::combine` chooses. Nobody is cut short: with `all` and `any` every authorizer is waited for, even where the
//! verdict is known. So `decided_by`, the lifetime and the record, in which every attempt has its outcome, do not
//! depend on who was faster, no connection is torn down half-way, and an authorizer that hangs costs its `timeout` until
//! its breaker opens. Called by `decide`, and by its rechecks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::decide::attempt::{Asking, Guarded, Verdict};
use crate::policy::combine::{Chosen, RestsOn};
use crate::policy::decided::{CacheUse, Call, Decided, Outcome};
use crate::policy::route::{Combine, Route};
use crate::policy::verdict::{Origin, Reason};

/// What the authorizers said together.
#[derive(Debug)]
pub struct Asked {
    pub verdict: Verdict,
    pub decided_by: Option<Arc<str>>,
    pub fallback: bool,
    /// In the order of `ask`; of each authorizer in the order made.
    pub calls: Vec<Call>,
}

impl Asked {
    /// A fault before anybody was asked.
    pub fn nobody(reason: Reason) -> Self {
        let verdict = Verdict { outcome: Outcome::Fault(reason), sent: Instant::now(), keep_at_most: None };
        Self { verdict, decided_by: None, fallback: false, calls: Vec::new() }
    }

    pub fn decided(self, route: &Route, cache: CacheUse) -> Decided {
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

/// One authorizer's word, and how it came to it.
struct Said {
    name: Arc<str>,
    verdict: Verdict,
    calls: Vec<Call>,
}

/// Asks `authorizers`, which are in `ask` order.
pub async fn ask<'a>(how: Combine, authorizers: impl Iterator<Item = &'a Guarded>, asking: Asking<'a>) -> Asked {
    if Instant::now() >= asking.cutoff {
        return Asked::nobody(Reason::Deadline);
    }
    let said = if how.in_turn() {
        in_turn(authorizers, asking).await
    } else {
        join_all(authorizers.map(|authorizer| one(authorizer, asking))).await
    };
    let words: Vec<&Outcome> = said.iter().map(|said| &said.verdict.outcome).collect();
    // The routes were checked, so somebody was asked; if not, that is a defect and no reason to allow.
    match how.choose(&words) {
        Some(chosen) => together(said, chosen),
        None => Asked::nobody(Reason::Internal),
    }
}

/// The next one only on a fault of the one before, and while there is time.
async fn in_turn<'a>(authorizers: impl Iterator<Item = &'a Guarded>, asking: Asking<'a>) -> Vec<Said> {
    let mut all = Vec::with_capacity(1);
    for authorizer in authorizers {
        let said = one(authorizer, asking).await;
        let is_fault = matches!(said.verdict.outcome, Outcome::Fault(_));
        all.push(said);
        if !is_fault || Instant::now() >= asking.cutoff {
            break;
        }
    }
    all
}

async fn one(authorizer: &Guarded, asking: Asking<'_>) -> Said {
    let mut calls = Vec::with_capacity(1);
    let verdict = authorizer.ask(asking, &mut calls).await;
    Said { name: authorizer.name().clone(), verdict, calls }
}

fn together(said: Vec<Said>, chosen: Chosen) -> Asked {
    let kept = match chosen.rests_on {
        RestsOn::Chosen => None,
        RestsOn::Everyone => Some(shortest(&said)),
    };
    let mut asked = Asked::nobody(Reason::Internal);
    for (place, said) in said.into_iter().enumerate() {
        asked.calls.extend(said.calls);
        if place == chosen.place {
            asked.verdict = said.verdict;
            asked.decided_by = chosen.decided.then_some(said.name);
            asked.fallback = chosen.fallback;
        }
    }
    if let Some((sent, keep_at_most)) = kept {
        asked.verdict.sent = sent;
        asked.verdict.keep_at_most = keep_at_most;
    }
    asked
}

/// For how long a verdict may be kept that rests on all of them: from the earliest question, as the strictest says.
fn shortest(said: &[Said]) -> (Instant, Option<Duration>) {
    let verdicts = || said.iter().map(|said| &said.verdict);
    let sent = verdicts().map(|verdict| verdict.sent).min().unwrap_or_else(Instant::now);
    (sent, verdicts().filter_map(|verdict| verdict.keep_at_most).min())
}
