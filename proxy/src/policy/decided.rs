//! What came out of `decide`: the verdict and the facts the record needs. Plain data, built in `decide` only.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::policy::verdict::{CacheState, Decision, Origin, Reason};
use crate::wire::answer::Answer;

/// An answer, or why there is none. Only an [`Answer`] can mean allow, and only `wire::answer` builds one.
#[derive(Debug, Clone)]
pub enum Outcome {
    Answered(Answer),
    /// Denied without asking: `deny_only = "deny"` says for this authorizer that it would not look at `denyOnly`.
    Declared,
    Fault(Reason),
}

impl Outcome {
    pub fn decision(&self) -> Decision {
        match self {
            Self::Answered(answer) => answer.decision(),
            Self::Declared | Self::Fault(_) => Decision::Deny,
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Answered(answer) => match answer.decision() {
                Decision::Allow => Reason::Allowed,
                Decision::Deny => Reason::Denied,
            },
            Self::Declared => Reason::Denied,
            Self::Fault(reason) => *reason,
        }
    }
}

/// One attempt at one authorizer.
#[derive(Debug, Clone)]
pub struct Call {
    pub authorizer: Arc<str>,
    pub outcome: Outcome,
    /// The HTTP status, if a status line arrived.
    pub status: Option<u16>,
    /// 1 for the first attempt at this authorizer; 0 where it was not asked ([`Outcome::Declared`], or its breaker was
    /// open): no span, no status.
    pub attempt: u32,
    pub started: Instant,
    pub latency: Duration,
    /// The client span that was announced to the authorizer in `traceparent`.
    pub span_id: u64,
}

/// What the cache did.
#[derive(Debug, Clone, Copy)]
pub struct CacheUse {
    pub state: CacheState,
    /// Since the answer's question was sent; only where the answer was given before, or to another.
    pub age: Option<Duration>,
    /// The record of the decision that the answer was first given for.
    pub record_id: Option<Uuid>,
}

impl CacheUse {
    pub const OFF: Self = Self { state: CacheState::Off, age: None, record_id: None };
    pub const MISS: Self = Self { state: CacheState::Miss, age: None, record_id: None };
}

/// A verdict with its provenance.
#[derive(Debug, Clone)]
pub struct Decided {
    pub outcome: Outcome,
    pub origin: Origin,
    /// `None` only for `no_route` and what failed before routing.
    pub route: Option<Arc<str>>,
    /// The first authorizer, in the route's order, that gave the deciding verdict.
    pub decided_by: Option<Arc<str>>,
    /// An allow or deny that came after another authorizer's fault.
    pub fallback: bool,
    pub calls: Vec<Call>,
    pub cache: CacheUse,
}

impl Decided {
    /// A fault before any authorizer was asked.
    pub fn fault(reason: Reason) -> Self {
        Self {
            outcome: Outcome::Fault(reason),
            origin: Origin::Fault,
            route: None,
            decided_by: None,
            fallback: false,
            calls: Vec::new(),
            cache: CacheUse::OFF,
        }
    }
}
