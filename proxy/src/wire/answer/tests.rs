//! Answers by example, and the shared vectors.

use base64::Engine;
use serde::Deserialize;

use super::*;

fn read_body(body: &str) -> Result<Answer, Reason> {
    read(200, None, false, body.as_bytes())
}

fn outcome(body: &str) -> Result<Decision, Reason> {
    read_body(body).map(|answer| answer.decision())
}

fn assert_all(expected: Result<Decision, Reason>, bodies: &[&str]) {
    for body in bodies {
        assert_eq!(outcome(body), expected, "{body}");
    }
}

#[test]
fn two_shapes_decide() {
    assert_all(
        Ok(Decision::Allow),
        &[
            r#"{"result":true}"#,
            r#"{"result":{"allow":true}}"#,
            r#" {"decision_id":"x","metrics":{},"result":{"x":[1],"allow":true,"reason":"Allow"}} "#,
            r#"{"\u0072esult":{"allo\u0077":true}}"#,
            r#"{"result":{"allow":true,"deny":false}}"#,
            r#"{"result":{"allow":true,"deny":"true"}}"#,
            r#"{"result":true,"allow":true,"deny":false}"#,
            r#"{"x":{"Result":false,"result":1},"result":true}"#,
        ],
    );
    assert_all(
        Ok(Decision::Deny),
        &[
            r#"{"result":false}"#,
            r#"{"result":{"allow":false}}"#,
            r#"{"result":{"allow":false,"deny":true}}"#,
            r#"{"result":{"allow":false},"allow":true}"#,
            r#"{"result":false,"allow":true}"#,
        ],
    );
}

#[test]
fn without_a_verdict_it_is_undefined() {
    assert_all(
        Err(Reason::Undefined),
        &[
            "{}",
            "null",
            r#"{"result":null}"#,
            r#"{"result":{}}"#,
            r#"{"result":{"allow":null}}"#,
            r#"{"allow":true}"#,
            r#"{"result ":true}"#,
            r#"{"result":{"result":true}}"#,
        ],
    );
}

#[test]
fn other_shapes_are_malformed() {
    assert_all(
        Err(Reason::MalformedAnswer),
        &[
            "",
            "true",
            "[]",
            "\"x\"",
            "1",
            r#"{"result":"true"}"#,
            r#"{"result":1}"#,
            r#"{"result":[true]}"#,
            r#"{"result":{"allow":"true"}}"#,
            r#"{"result":{"allow":1}}"#,
            r#"{"result":{"allow":{"x":true}}}"#,
            r#"{"result":true"#,
            r#"{"result":true}{"result":false}"#,
            "\u{feff}{\"result\":true}",
            "{\"result\":true}\0",
            r#"{"result":true,"x":"\ud800"}"#,
        ],
    );
    assert_eq!(read(200, None, false, b"{\"x\":\"\xff\",\"result\":true}").err(), Some(Reason::MalformedAnswer));
}

#[test]
fn what_readers_read_differently_is_ambiguous() {
    assert_all(
        Err(Reason::AmbiguousAnswer),
        &[
            r#"{"Result":true}"#,
            r#"{"re\u017fult":true}"#,
            "{\"reſult\":true}",
            r#"{"result":true,"RESULT":true}"#,
            r#"{"result":true,"Allow":true}"#,
            r#"{"result":{"Allow":true}}"#,
            r#"{"result":{"allow":true,"ALLOW":true}}"#,
            r#"{"result":{"allow":true,"Result":1}}"#,
            r#"{"result":true,"result":true}"#,
            r#"{"result":true,"re\u0073ult":true}"#,
            r#"{"result":true,"x":[{"a":1,"a":1}]}"#,
            r#"{"result":false,"Result":true}"#,
        ],
    );
}

#[test]
fn allow_beside_deny_is_contradictory() {
    assert_all(
        Err(Reason::ContradictoryAnswer),
        &[
            r#"{"result":{"allow":true,"deny":true}}"#,
            r#"{"result":{"deny":true,"allow":true}}"#,
            r#"{"result":true,"allow":false}"#,
            r#"{"result":true,"deny":true}"#,
            r#"{"result":{"allow":true},"allow":false}"#,
            r#"{"result":{"allow":true},"deny":true}"#,
            r#"{"result":{"allow":true,"result":false}}"#,
        ],
    );
}

#[test]
fn status_and_headers_are_looked_at_before_the_body() {
    let allow = br#"{"result":true}"#;
    let reason = |status, encoding, location| read(status, encoding, location, allow).err();
    for status in [0, 100, 199, 201, 202, 204, 206, 304, 400, 401, 403, 404, 429, 500, 503, 999] {
        assert_eq!(reason(status, None, false), Some(Reason::BadStatus), "{status}");
    }
    for status in [301, 302, 303, 307, 308] {
        assert_eq!(reason(status, None, true), Some(Reason::Redirect), "{status}");
        assert_eq!(reason(status, None, false), Some(Reason::BadStatus), "{status}");
    }
    for encoding in ["gzip", "br", "deflate", "identity, gzip", "x-unknown", "\u{ff}"] {
        assert_eq!(reason(200, Some(encoding), false), Some(Reason::ContentEncoding), "{encoding}");
    }
    for encoding in ["identity", "Identity", "", " identity ,identity"] {
        assert_eq!(reason(200, Some(encoding), true), None, "{encoding}");
    }
}

#[test]
fn the_largest_answer_is_64_kib() {
    let padded = |length: usize| {
        let allow = r#"{"result":true}"#;
        format!("{allow}{}", " ".repeat(length - allow.len()))
    };
    assert_eq!(outcome(&padded(MAX_ANSWER)), Ok(Decision::Allow));
    assert_eq!(outcome(&padded(MAX_ANSWER + 1)), Err(Reason::AnswerTooLarge));
}

#[test]
fn ids_are_kept_only_if_they_are_harmless() {
    let id = |text: &str| {
        let body = serde_json::json!({"result": true, "decision_id": text}).to_string();
        read_body(&body).unwrap().decision_id().map(str::to_owned)
    };
    assert_eq!(id("4ca636c1-55e4"), Some("4ca636c1-55e4".to_owned()));
    assert_eq!(id(&"x".repeat(128)), Some("x".repeat(128)));
    for text in ["", &"x".repeat(129), "a\nb", "a\u{1b}[31m", "é"] {
        assert_eq!(id(text), None, "{text:?}");
    }
    assert_eq!(read_body(r#"{"result":true,"decision_id":7}"#).unwrap().decision_id(), None);
    let revision = |provenance: &str| {
        let body = format!(r#"{{"result":true,"provenance":{provenance}}}"#);
        read_body(&body).unwrap().revision().map(str::to_owned)
    };
    assert_eq!(revision(r#"{"bundles":{"authz":{"revision":"r1"}}}"#), Some("r1".to_owned()));
    assert_eq!(revision(r#"{"bundles":{"a":{"revision":"r1"},"b":{"revision":"r2"}}}"#), None);
    assert_eq!(revision(r#"{"revision":"r0"}"#), Some("r0".to_owned()));
    assert_eq!(revision("null"), None);
}

#[test]
fn authzen_answers_are_as_strict() {
    let read = |body: &str| read_authzen(200, None, false, body.as_bytes()).map(|answer| answer.decision());
    for (body, expected) in [
        (r#"{"decision":true}"#, Ok(Decision::Allow)),
        (r#"{"decision":true,"context":{"reason":{"decision":false}}}"#, Ok(Decision::Allow)),
        (r#"{"decision":false}"#, Ok(Decision::Deny)),
        (r#"{"decision":false,"allow":true}"#, Ok(Decision::Deny)),
        ("{}", Err(Reason::Undefined)),
        ("null", Err(Reason::Undefined)),
        (r#"{"decision":null}"#, Err(Reason::Undefined)),
        (r#"{"result":true}"#, Err(Reason::Undefined)),
        (r#"{"decision":"true"}"#, Err(Reason::MalformedAnswer)),
        (r#"{"decision":{"allow":true}}"#, Err(Reason::MalformedAnswer)),
        (r#"{"decision":true}x"#, Err(Reason::MalformedAnswer)),
        (r#"{"Decision":true}"#, Err(Reason::AmbiguousAnswer)),
        (r#"{"decision":false,"decision":true}"#, Err(Reason::AmbiguousAnswer)),
        ("{\"decision\":true,\"dec\u{131}sion\":false}", Err(Reason::AmbiguousAnswer)),
        (r#"{"decision":true,"deny":true}"#, Err(Reason::ContradictoryAnswer)),
    ] {
        assert_eq!(read(body), expected, "{body}");
    }
    let allow = br#"{"decision":true}"#;
    assert_eq!(read_authzen(201, None, false, allow).err(), Some(Reason::BadStatus));
    assert_eq!(read_authzen(302, None, true, allow).err(), Some(Reason::Redirect));
    assert_eq!(read_authzen(200, Some("gzip"), false, allow).err(), Some(Reason::ContentEncoding));
}

#[test]
fn an_authzen_reason_is_read_whole_or_not_at_all() {
    let message = |reason: &str| {
        let body = serde_json::json!({ "decision": false, "context": { "reason": reason } }).to_string();
        read_authzen(200, None, false, body.as_bytes()).unwrap().message().map(str::to_owned)
    };
    assert_eq!(message("not in the group „staff“").as_deref(), Some("not in the group „staff“"));
    let long = "ä".repeat(5_000);
    assert_eq!(message(&long).as_deref(), Some(&*long), "only the record knows whether it is to be cut or hidden");
    for hidden in ["", "  ", "\u{1b}[2J", "a\nb", "a\u{202e}b", "a\u{200b}b", "a\u{9b}b", "\u{feff}", "a\u{e0041}"] {
        assert_eq!(message(hidden), None, "{hidden:?}");
    }
    for other in [r#"{"decision":false,"context":{"reason":1}}"#, r#"{"decision":false,"context":"reason"}"#] {
        assert_eq!(read_authzen(200, None, false, other.as_bytes()).unwrap().message(), None, "{other}");
    }
    let opa = read_body(r#"{"result":true,"context":{"reason":"x"}}"#).unwrap();
    assert_eq!(opa.message(), None, "who is sent secrets could repeat them");
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    status: u16,
    body_b64: String,
    strict: String,
}

/// The vectors' words for faults, and ours. `EVENTS.md` repeats this table.
fn expected(strict: &str) -> Result<Decision, Reason> {
    match strict {
        "allow" => Ok(Decision::Allow),
        "deny" => Ok(Decision::Deny),
        "error:no_result" | "error:null_result" | "error:no_allow" | "error:null_allow" => Err(Reason::Undefined),
        "error:duplicate_member" | "error:member_case" => Err(Reason::AmbiguousAnswer),
        "error:contradictory" => Err(Reason::ContradictoryAnswer),
        "error:empty_body"
        | "error:not_object"
        | "error:result_type"
        | "error:allow_type"
        | "error:trailing_data"
        | "error:syntax"
        | "error:too_deep" => Err(Reason::MalformedAnswer),
        "error:status" => Err(Reason::BadStatus),
        other => panic!("a word without a reason: {other}"),
    }
}

#[test]
fn vectors_are_decided_as_they_say() {
    let lines = include_str!("../../../tests/vectors/authorizer-answers.jsonl").lines();
    let vectors: Vec<Vector> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(vectors.len(), 59);
    for vector in vectors {
        let body = base64::engine::general_purpose::STANDARD.decode(&vector.body_b64).unwrap();
        let outcome = read(vector.status, None, false, &body).map(|answer| answer.decision());
        assert_eq!(outcome, expected(&vector.strict), "{}", vector.id);
    }
}
