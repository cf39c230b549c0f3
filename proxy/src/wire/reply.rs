//! The exact bytes MinIO is sent, and the HTTP status beside them. MinIO ignores the status and reads the body laxly,
//! so that every body says its `result` first and plainly. Not the HTTP framing, which is `front`'s. Called by
//! `pipeline` and `front`.

use crate::policy::verdict::{Decision, Reason};

/// The only bytes that allow.
pub const ALLOW: &str = r#"{"result":true}"#;

/// A deny that needs no explanation to whoever asked.
pub const DENY: &str = r#"{"result":false}"#;

/// Status and body of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: &'static str,
}

/// The answer to a question that ended like this. Only a decision to allow, for the reason that it was allowed, allows.
pub const fn reply(decision: Decision, reason: Reason) -> Reply {
    let body = match (decision, reason) {
        (Decision::Allow, Reason::Allowed) => ALLOW,
        _ if http_status(reason) == 200 => DENY,
        _ => refusal(reason),
    };
    Reply { status: http_status(reason), body }
}

macro_rules! refusals {
    ($($name:ident = $text:literal, $status:literal;)*) => {
        /// `{"result":false,"error":"<reason>"}`.
        pub const fn refusal(reason: Reason) -> &'static str {
            match reason { $(Reason::$name => concat!(r#"{"result":false,"error":""#, $text, r#""}"#)),* }
        }

        /// The status of an answer with this reason. What an authorizer said, and every fault on its side, is 200:
        /// the question was answered, with a deny.
        pub const fn http_status(reason: Reason) -> u16 {
            match reason { $(Reason::$name => $status),* }
        }
    };
}

refusals! {
    Allowed = "allowed", 200;
    Denied = "denied", 200;
    Undefined = "undefined", 200;
    MalformedAnswer = "malformed_answer", 200;
    AmbiguousAnswer = "ambiguous_answer", 200;
    ContradictoryAnswer = "contradictory_answer", 200;
    AnswerTooLarge = "answer_too_large", 200;
    ContentEncoding = "content_encoding", 200;
    BadStatus = "bad_status", 200;
    Redirect = "redirect", 200;
    Timeout = "timeout", 200;
    Dns = "dns", 200;
    Connect = "connect", 200;
    Tls = "tls", 200;
    ConnectionLost = "connection_lost", 200;
    AuthorizerBusy = "authorizer_busy", 200;
    BreakerOpen = "breaker_open", 200;
    Deadline = "deadline", 200;
    Overload = "overload", 503;
    NoRoute = "no_route", 200;
    AuditUnavailable = "audit_unavailable", 503;
    AuditTimeout = "audit_timeout", 503;
    Internal = "internal", 200;
    MalformedRequest = "malformed_request", 400;
    AmbiguousRequest = "ambiguous_request", 400;
    RequestTooLarge = "request_too_large", 413;
    SuspiciousRequest = "suspicious_request", 400;
    Unauthorized = "unauthorized", 401;
    MethodNotAllowed = "method_not_allowed", 405;
    UnknownPath = "unknown_path", 404;
    UnsupportedEncoding = "unsupported_encoding", 415;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_exact() {
        assert_eq!(reply(Decision::Allow, Reason::Allowed), Reply { status: 200, body: "{\"result\":true}" });
        assert_eq!(reply(Decision::Deny, Reason::Denied), Reply { status: 200, body: "{\"result\":false}" });
        assert_eq!(reply(Decision::Deny, Reason::Timeout), Reply { status: 200, body: "{\"result\":false}" });
        let unauthorized = Reply { status: 401, body: "{\"result\":false,\"error\":\"unauthorized\"}" };
        assert_eq!(reply(Decision::Deny, Reason::Unauthorized), unauthorized);
    }

    #[test]
    fn nothing_but_an_allowed_allow_allows() {
        for reason in Reason::ALL {
            for decision in Decision::ALL {
                let may = decision == Decision::Allow && *reason == Reason::Allowed;
                assert_eq!(reply(decision, *reason).body == ALLOW, may, "{decision:?} {reason:?}");
            }
        }
    }

    #[test]
    fn every_refusal_names_its_reason_and_denies() {
        for reason in Reason::ALL {
            let body: serde_json::Value = serde_json::from_str(refusal(*reason)).unwrap();
            assert_eq!(body, serde_json::json!({"result": false, "error": reason.as_str()}));
        }
    }

    #[test]
    fn faults_of_authorizers_are_answered_with_200() {
        use crate::policy::verdict::Side;
        for reason in Reason::ALL {
            let ok = http_status(*reason) == 200;
            match reason.side() {
                None | Some(Side::Authorizer) => assert!(ok, "{reason:?}"),
                Some(Side::Caller) => assert!(!ok, "{reason:?}"),
                Some(Side::Own) => {
                    let unavailable =
                        matches!(reason, Reason::Overload | Reason::AuditUnavailable | Reason::AuditTimeout);
                    assert_eq!(http_status(*reason), if unavailable { 503 } else { 200 }, "{reason:?}");
                }
            }
        }
    }
}
