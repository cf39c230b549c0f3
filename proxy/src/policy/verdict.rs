//! The words of a decision: allow or deny, why, and where it came from. The same words are record members, metric
//! labels, span attributes and header values. Not the parser that turns bytes into them; that is `wire`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What MinIO is told. There is no third value and no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
}

impl Decision {
    pub const ALL: [Self; 2] = [Self::Allow, Self::Deny];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Who is to blame for a fault, and so who is called at night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// An authorizer, or the way to it.
    Authorizer,
    /// Countersign itself, its disk or its configuration.
    #[serde(rename = "self")]
    Own,
    /// Whoever asked: MinIO, or something that poses as it.
    Caller,
}

impl Side {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorizer => "authorizer",
            Self::Own => "self",
            Self::Caller => "caller",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $side:expr;)*) => {
        /// Why a decision is what it is. Closed: a new reason does not compile until every table has a row for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word used in records, metrics, spans and headers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// Whose fault it is; `None` for what an authorizer plainly said.
            pub const fn side(self) -> Option<Side> {
                match self { $(Self::$name => $side),* }
            }
        }
    };
}

reasons! {
    /// The authorizers allowed.
    Allowed = "allowed", None;
    /// The authorizers denied.
    Denied = "denied", None;
    /// A well-formed answer without a verdict, as OPA gives for an undefined rule.
    Undefined = "undefined", Some(Side::Authorizer);
    /// Not the JSON that was agreed on.
    MalformedAnswer = "malformed_answer", Some(Side::Authorizer);
    /// A member twice, or spelled so that MinIO and we would read it differently.
    AmbiguousAnswer = "ambiguous_answer", Some(Side::Authorizer);
    /// Allow and deny in one answer.
    ContradictoryAnswer = "contradictory_answer", Some(Side::Authorizer);
    /// More than 64 KiB.
    AnswerTooLarge = "answer_too_large", Some(Side::Authorizer);
    /// Compressed or otherwise encoded.
    ContentEncoding = "content_encoding", Some(Side::Authorizer);
    /// A status other than 200 and not a redirect.
    BadStatus = "bad_status", Some(Side::Authorizer);
    /// A 3xx with a `Location`; never followed.
    Redirect = "redirect", Some(Side::Authorizer);
    /// One attempt took longer than the authorizer's `timeout`.
    Timeout = "timeout", Some(Side::Authorizer);
    /// The authorizer's name did not resolve.
    Dns = "dns", Some(Side::Authorizer);
    /// No connection.
    Connect = "connect", Some(Side::Authorizer);
    /// No trusted TLS session.
    Tls = "tls", Some(Side::Authorizer);
    /// The connection ended before the answer did.
    ConnectionLost = "connection_lost", Some(Side::Authorizer);
    /// The authorizer's `max_in_flight` was taken for as long as its `timeout`.
    AuthorizerBusy = "authorizer_busy", Some(Side::Authorizer);
    /// Its breaker is open: it failed too often in a row.
    BreakerOpen = "breaker_open", Some(Side::Authorizer);
    /// The whole decision took longer than `listen.deadline`.
    Deadline = "deadline", Some(Side::Own);
    /// `listen.max_in_flight` was taken until the deadline.
    Overload = "overload", Some(Side::Own);
    /// No route matched.
    NoRoute = "no_route", Some(Side::Own);
    /// The record cannot be written.
    AuditUnavailable = "audit_unavailable", Some(Side::Own);
    /// The record was not durable in time.
    AuditTimeout = "audit_timeout", Some(Side::Own);
    /// A defect of Countersign.
    Internal = "internal", Some(Side::Own);
    /// The question is not what MinIO sends.
    MalformedRequest = "malformed_request", Some(Side::Caller);
    /// The question can be read in two ways.
    AmbiguousRequest = "ambiguous_request", Some(Side::Caller);
    /// The question is larger than `listen.max_body`.
    RequestTooLarge = "request_too_large", Some(Side::Caller);
    /// The question bears signs of forging and `listen.suspicious` is `deny`.
    SuspiciousRequest = "suspicious_request", Some(Side::Caller);
    /// Token missing or wrong.
    Unauthorized = "unauthorized", Some(Side::Caller);
    /// Not a POST.
    MethodNotAllowed = "method_not_allowed", Some(Side::Caller);
    /// Not the configured path.
    UnknownPath = "unknown_path", Some(Side::Caller);
    /// The question is compressed or otherwise encoded.
    UnsupportedEncoding = "unsupported_encoding", Some(Side::Caller);
}

/// Where a verdict came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Asked just now.
    Authorizer,
    /// Remembered from an earlier decision.
    Cache,
    /// Shared with an equal question that was in flight.
    Coalesced,
    /// Nobody said anything usable.
    Fault,
}

impl Origin {
    pub const ALL: [Self; 4] = [Self::Authorizer, Self::Cache, Self::Coalesced, Self::Fault];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorizer => "authorizer",
            Self::Cache => "cache",
            Self::Coalesced => "coalesced",
            Self::Fault => "fault",
        }
    }
}

/// What the cache did for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheState {
    Hit,
    Miss,
    Coalesced,
    /// Not looked at: switched off for the route, or the action is not cacheable.
    Off,
}

impl CacheState {
    pub const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Coalesced, Self::Off];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Off => "off",
        }
    }
}

/// What a record must survive before its answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process (`kill -9`): the record is in the kernel's page cache.
    Written,
    /// Power loss: the record is on the disk.
    Synced,
    /// Loss of the machine: Kafka has acknowledged the record.
    Acknowledged,
}

impl Durability {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Synced => "synced",
            Self::Acknowledged => "acknowledged",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_json_are_the_words_elsewhere() {
        for reason in Reason::ALL {
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
        }
    }

    #[test]
    fn only_what_authorizers_said_has_no_side() {
        let without: Vec<_> = Reason::ALL.iter().filter(|r| r.side().is_none()).collect();
        assert_eq!(without, [&Reason::Allowed, &Reason::Denied]);
    }
}
