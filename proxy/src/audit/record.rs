//! The decision record: the schema that compliance reads. An allow-list: what is not a member here is not recorded, so
//! no secret of `conditions` or `claims` can be. What is hidden of what is one, `policy::privacy` says. Built by `pipeline`;
//! pure.

pub mod attempt;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::audit::envelope::{Draft, DraftError, Kind, Source};
use crate::policy::actor::Actor;
use crate::policy::decided::Decided;
use crate::policy::limited::{limited, sha256_hex};
use crate::policy::privacy::forms::{is_auth_type, never};
use crate::policy::privacy::{Privacy, key};
use crate::policy::purpose::{ActionClass, Purpose};
use crate::policy::request::Request;
use crate::policy::resource::{Resource, subject};
use crate::policy::signs::{Sign, signs};
use crate::policy::verdict::{CacheState, Decision, Durability, Origin, Reason};

use attempt::{AuthorizerPart, is_id, whole_micros};

/// Longest recorded form of each string (bytes, before the mark of the cut).
const MAX_USER_AGENT: usize = 256;
const MAX_SHORT: usize = 128;
pub(super) const MAX_ACTION: usize = 256;

/// Conditions that are known to hold secrets. Their names are recorded where they were present; their values never.
pub const SECRET_CONDITIONS: &[&str] = &[
    "Authorization",
    "Cookie",
    "Signature",
    "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Amz-Server-Side-Encryption-Customer-Key",
    "X-Amz-Signature",
    "X-Api-Key",
    "sessionpolicy",
];

/// `data` of `io.countersign.decision.v1`, before the chain member. Every member is always present; what a question
/// that could not be read did not say is null.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DecisionData<'a> {
    decision: Decision,
    reason: Reason,
    origin: Origin,
    /// The authorizer whose verdict counted; null for a fault.
    decided_by: Option<&'a str>,
    route: Option<&'a str>,
    /// Why MinIO asked, from the question alone.
    purpose: Option<Purpose>,
    /// A deny here is not an outcome: it only hides metadata or leads to another question.
    advisory: bool,
    action: Option<Cow<'a, str>>,
    action_class: Option<ActionClass>,
    deny_only: Option<bool>,
    actor: Actor<'a>,
    resource: Resource<'a>,
    request: RequestPart<'a>,
    /// One entry an attempt, in the order made.
    authorizers: Vec<AuthorizerPart<'a>>,
    /// The verdict came from an authorizer asked after another one's fault.
    fallback: bool,
    cache: CachePart,
    /// From the last byte of the question to the hand-over of this record.
    latency_us: u64,
    durability: Durability,
    config_generation: &'a str,
    /// 32 lower-case hex digits.
    #[serde(serialize_with = "trace_digits")]
    #[schemars(with = "String")]
    trace_id: u128,
    /// 16 lower-case hex digits.
    #[serde(serialize_with = "span_digits")]
    #[schemars(with = "String")]
    span_id: u64,
    /// The key that pseudonyms and keyed hashes of this record are made with; null where there are none.
    privacy_key_id: Option<&'a str>,
    /// Names of conditions that were present, hold secrets and were left out.
    redacted: Vec<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RequestPart<'a> {
    /// Name of the token that MinIO showed, or `local`.
    client: &'a str,
    peer: Option<IpAddr>,
    /// What MinIO believes the S3 client's address is. A client can forge it.
    reported_ip: Option<Cow<'a, str>>,
    /// Whether the S3 client used TLS.
    tls: Option<bool>,
    auth_type: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
    sdk_invocation_id: Option<Cow<'a, str>>,
    /// SHA-256 of the bare signature; joins MinIO's audit log.
    signature_sha256: Option<String>,
    /// SHA-256 of the question's bytes; keyed as soon as something is hidden.
    input_sha256: String,
    suspicious: Vec<Sign>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CachePart {
    state: CacheState,
    age_ms: Option<u64>,
    #[schemars(with = "Option<String>")]
    record_id: Option<Uuid>,
}

/// Everything a record is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    pub id: Uuid,
    pub time: SystemTime,
    pub client: &'a str,
    pub peer: Option<IpAddr>,
    /// `None` where the question could not be read.
    pub request: Option<&'a Request>,
    /// The question's bytes as received.
    pub body: &'a [u8],
    pub decided: &'a Decided,
    pub latency: Duration,
    pub durability: Durability,
    pub generation: &'a str,
    pub privacy: &'a Privacy,
    pub trace_id: u128,
    pub span_id: u64,
}

impl<'a> Facts<'a> {
    pub fn draft(&self, source: &Source) -> Result<Draft, DraftError> {
        let data = self.data();
        let subject = subject(&data.resource);
        Draft::new(source, Kind::Decision, self.id, self.time, subject, &data)
    }

    fn data(&self) -> DecisionData<'a> {
        let request = self.request;
        let purpose = request.map(Purpose::of);
        let decided = self.decided;
        DecisionData {
            decision: decided.outcome.decision(),
            reason: decided.outcome.reason(),
            origin: decided.origin,
            decided_by: decided.decided_by.as_deref(),
            route: decided.route.as_deref(),
            purpose,
            advisory: purpose.is_some_and(Purpose::advisory),
            action: request.map(|r| limited(&r.action, MAX_ACTION)),
            action_class: request.map(|r| ActionClass::of(&r.action)),
            deny_only: request.map(|r| r.deny_only),
            actor: request.map_or_else(|| Actor::UNREAD, |r| Actor::of(r, self.privacy)),
            resource: request.map_or_else(|| Resource::UNREAD, |r| Resource::of(r, self.privacy)),
            request: self.request_part(),
            authorizers: decided.calls.iter().map(|call| AuthorizerPart::of(call, request, self.privacy)).collect(),
            fallback: decided.fallback,
            cache: CachePart {
                state: decided.cache.state,
                age_ms: decided.cache.age.map(millis),
                record_id: decided.cache.record_id,
            },
            latency_us: whole_micros(self.latency),
            durability: self.durability,
            config_generation: self.generation,
            trace_id: self.trace_id,
            span_id: self.span_id,
            privacy_key_id: self.privacy.key_id(),
            redacted: request.map_or_else(Vec::new, redacted),
        }
    }

    fn request_part(&self) -> RequestPart<'a> {
        let privacy = self.privacy;
        let first = |name: &str| self.request.and_then(|r| r.first_condition(name)).filter(|text| !text.is_empty());
        RequestPart {
            client: self.client,
            peer: self.peer,
            reported_ip: first("SourceIp").and_then(|text| privacy.reported_ip(text)),
            tls: self.request.and_then(|r| r.first_condition("SecureTransport")).and_then(|text| match text {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            }),
            auth_type: first("authType").and_then(|text| privacy.text(text, MAX_SHORT, is_auth_type)),
            user_agent: first("UserAgent").and_then(|text| privacy.text(text, MAX_USER_AGENT, never)),
            sdk_invocation_id: first("Amz-Sdk-Invocation-Id")
                .and_then(|text| privacy.text(text, MAX_SHORT, |text| is_id(self.request, text))),
            signature_sha256: self.request.and_then(signature).map(sha256_hex),
            input_sha256: privacy.digest(key::Kind::Input, self.body),
            suspicious: self.request.map_or_else(Vec::new, signs),
        }
    }
}

/// The bare signature of a question, whichever way the S3 client signed. Only its hash is recorded.
fn signature(request: &Request) -> Option<&[u8]> {
    if let Some(bare) = request.first_condition("Authorization").and_then(bare_signature) {
        return Some(bare.as_bytes());
    }
    let query = request.first_condition("X-Amz-Signature").or_else(|| request.first_condition("Signature"))?;
    (!query.is_empty()).then_some(query.as_bytes())
}

/// What is signed with in an `Authorization` header of S3, of either version.
pub fn bare_signature(header: &str) -> Option<&str> {
    let v4 = header.split_once("Signature=").map(|(_, rest)| rest);
    let v2 = header.strip_prefix("AWS ").and_then(|rest| rest.rsplit_once(':')).map(|(_, signature)| signature);
    let bare = v4.or(v2)?;
    Some(bare.split([',', ' ']).next().unwrap_or(bare))
}

fn redacted(request: &Request) -> Vec<&'static str> {
    SECRET_CONDITIONS.iter().copied().filter(|name| request.has_condition(name)).collect()
}

fn trace_digits<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    let mut digits = hex::Buffer::<16>::new();
    serializer.serialize_str(digits.format(&id.to_be_bytes()))
}

fn span_digits<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let mut digits = hex::Buffer::<8>::new();
    serializer.serialize_str(digits.format(&id.to_be_bytes()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
