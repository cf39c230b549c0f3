//! The shadow record: what an authorizer would have said that is only tried out, where it differs from what was decided.
//! It names the decision's record and repeats nothing of what that one says about people. Pure; built by `decide::shadow`,
//! written by `journal`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::audit::record::attempt::{AuthorizerPart, whole_micros};
use crate::policy::compare::Difference;
use crate::policy::decided::{Call, Decided};
use crate::policy::limited::limited;
use crate::policy::privacy::Privacy;
use crate::policy::request::Request;
use crate::policy::verdict::{Decision, Reason};

use super::record::MAX_ACTION;

/// `data` of `io.countersign.shadow.v1`, before the chain member.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShadowData<'a> {
    /// `id` of the decision's record.
    of: String,
    difference: Difference,
    route: &'a str,
    action: Cow<'a, str>,
    /// Only an explicit deny was asked for.
    deny_only: bool,
    decided: &'a DecidedPart,
    /// The shadow's last attempt.
    shadow: AuthorizerPart<'a>,
    /// Differences since the last shadow record that have none of their own, because there were too many or too little
    /// room.
    unrecorded: u64,
    /// The key that pseudonyms in this record are made with; null where there are none.
    privacy_key_id: Option<&'a str>,
}

/// What the caller was answered.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DecidedPart {
    decision: Decision,
    reason: Reason,
    decided_by: Option<String>,
    /// From the first attempt's beginning to the last one's end.
    latency_us: u64,
}

impl DecidedPart {
    pub fn of(decided: &Decided) -> Self {
        let began = decided.calls.iter().map(|call| call.started).min();
        let ended = decided.calls.iter().map(|call| call.started + call.latency).max();
        let latency = ended.zip(began).map(|(ended, began)| ended.saturating_duration_since(began));
        Self {
            decision: decided.outcome.decision(),
            reason: decided.outcome.reason(),
            decided_by: decided.decided_by.as_deref().map(str::to_owned),
            latency_us: whole_micros(latency.unwrap_or_default()),
        }
    }
}

/// Everything a shadow record is made of, but for what has no record.
#[derive(Debug)]
pub struct Compared<'a> {
    pub of: Uuid,
    pub route: &'a str,
    pub request: &'a Request,
    pub decided: &'a DecidedPart,
    pub difference: Difference,
    /// The shadow's last attempt.
    pub call: &'a Call,
    pub privacy: &'a Privacy,
}

impl Compared<'_> {
    pub fn data(&self, unrecorded: u64) -> ShadowData<'_> {
        ShadowData {
            of: self.of.to_string(),
            difference: self.difference,
            route: self.route,
            action: limited(&self.request.action, MAX_ACTION),
            deny_only: self.request.deny_only,
            decided: self.decided,
            shadow: AuthorizerPart::of(self.call, Some(self.request), self.privacy),
            unrecorded,
            privacy_key_id: self.privacy.key_id(),
        }
    }
}
