//! One attempt at an authorizer, as decision records and shadow records tell it. What it said passes through `privacy`.
//! Pure.

use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::policy::decided::{Call, Outcome};
use crate::policy::privacy::Privacy;
use crate::policy::privacy::forms::{is_opaque_beside, never};
use crate::policy::request::Request;
use crate::policy::verdict::{Decision, Reason};
use crate::wire::answer::Answer;

use super::MAX_SHORT;

/// Bytes.
pub(super) const MAX_MESSAGE: usize = 256;

#[derive(Debug, Serialize, JsonSchema)]
pub struct AuthorizerPart<'a> {
    name: &'a str,
    /// Null where the attempt ended in a fault.
    decision: Option<Decision>,
    reason: Reason,
    status: Option<u16>,
    attempt: u32,
    latency_us: u64,
    decision_id: Option<Cow<'a, str>>,
    revision: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
}

impl<'a> AuthorizerPart<'a> {
    /// `request` is what was asked; what an authorizer says is told from names by it.
    pub fn of(call: &'a Call, request: Option<&Request>, privacy: &Privacy) -> Self {
        let (decision, answer) = match &call.outcome {
            Outcome::Answered(answer) => (Some(answer.decision()), Some(answer)),
            Outcome::Declared => (Some(Decision::Deny), None),
            Outcome::Fault(_) => (None, None),
        };
        let id = |text: &'a str| privacy.text(text, MAX_SHORT, |text| is_id(request, text));
        Self {
            name: &call.authorizer,
            decision,
            reason: call.outcome.reason(),
            status: call.status,
            attempt: call.attempt,
            latency_us: whole_micros(call.latency),
            decision_id: answer.and_then(Answer::decision_id).and_then(id),
            revision: answer.and_then(Answer::revision).and_then(id),
            message: answer.and_then(Answer::message).and_then(|text| privacy.text(text, MAX_MESSAGE, never)),
        }
    }
}

/// An id that nobody chose, and that names nothing of the question.
pub(super) fn is_id(request: Option<&Request>, text: &str) -> bool {
    request.is_some_and(|request| is_opaque_beside(request, text))
}

/// Whole microseconds, rounded down.
pub fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
