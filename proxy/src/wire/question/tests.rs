//! Questions by example (real and constructed ones), hostile ones, and generated ones.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::request::Values;
use crate::wire::fuzz;

fn read_text(text: &str) -> Result<Request, Reason> {
    read(Bytes::copy_from_slice(text.as_bytes()))
}

fn read_input(input: &Value) -> Result<Request, Reason> {
    read_text(&json!({"input": input}).to_string())
}

/// A whole question with one member replaced, or removed where the value is `None`.
fn with(name: &str, value: Option<Value>) -> Value {
    let mut input = json!({"account": "alice", "groups": null, "action": "s3:GetObject", "originalAction": "",
        "bucket": "photos", "conditions": {"SourceIp": ["10.0.0.1"]}, "owner": false, "object": "a.jpg", "claims": {},
        "denyOnly": false});
    match value {
        Some(value) => input[name] = value,
        None => drop(input.as_object_mut().unwrap().remove(name)),
    }
    input
}

fn requests() -> Vec<Value> {
    let lines = include_str!("../../../tests/vectors/minio-requests.jsonl").lines();
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].take()).collect()
}

#[test]
fn every_real_question_is_read_whole() {
    let bodies = requests();
    assert_eq!(bodies.len(), 20);
    for body in bodies {
        let text = body.to_string();
        let request = read_text(&text).unwrap();
        assert_eq!(request.bytes, text.as_bytes());
        assert!(request.unknown.is_empty(), "{:?}", request.unknown);
        assert_eq!(request.original_action.as_deref(), Some(""));
        assert_eq!(serde_json::from_slice::<Value>(&request.claims.text).unwrap(), body["input"]["claims"]);
        fuzz::question(text.as_bytes());
    }
}

#[test]
fn values_keep_their_order_and_claims_their_text() {
    let claims = r#"{"exp":9007199254740993,"x":1.0,"y":-0,"sub":"u","parent":"p"}"#;
    let text = format!(
        r#"{{"input":{{"account":"k","action":"s3:GetObject","claims":{claims},"conditions":{{"b":["2","1"],"a":[]}}}}}}"#
    );
    let request = read_text(&text).unwrap();
    assert_eq!(request.claims.text, claims);
    assert_eq!(request.claims.strings, [("sub".into(), "u".into()), ("parent".into(), "p".into())]);
    let values: Values = ["2", "1"].map(Text::from).into_iter().collect();
    assert!(request.conditions.iter().eq(&[("a".into(), Values::new()), ("b".into(), values)]));
}

#[test]
fn bytes_that_are_no_json_are_malformed() {
    let mut bodies: Vec<Vec<u8>> = ["", "null", "[]", "{}", "{\"input\":null}", "{\"input\":[]}", "{\"input\":\"\"}"]
        .map(|text| text.as_bytes().to_vec())
        .into();
    let good = json!({"input": with("account", Some(json!("alice")))}).to_string();
    for (before, after) in [("\u{feff}", ""), ("", "x"), ("", "{}"), ("// x\n", ""), ("", "\0")] {
        bodies.push(format!("{before}{good}{after}").into_bytes());
    }
    bodies.push(good.replace('"', "'").into_bytes());
    bodies.push(good.encode_utf16().flat_map(u16::to_le_bytes).collect());
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\x01"] {
        let mut body = good.replace("a.jpg", "@").into_bytes();
        let at = body.iter().position(|byte| *byte == b'@').unwrap();
        body.splice(at..=at, bytes.iter().copied());
        bodies.push(body);
    }
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(read(Bytes::from(body)).err(), Some(Reason::MalformedRequest), "{shown}");
    }
}

#[test]
fn numbers_that_readers_cannot_agree_on_are_malformed() {
    for number in ["NaN", "Infinity", "1e999", "-1e999", "01", "1.", "0x10"] {
        let text = format!(r#"{{"input":{{"account":"k","action":"s3:GetObject","claims":{{"exp":{number}}}}}}}"#);
        assert_eq!(read_text(&text).err(), Some(Reason::MalformedRequest), "{number}");
    }
}

#[test]
fn depth_members_and_elements_are_limited() {
    let claims =
        |claims: &str| read_text(&format!(r#"{{"input":{{"account":"k","action":"a","claims":{claims}}}}}"#)).err();
    let deep = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(claims(&deep(29)), None);
    assert_eq!(claims(&deep(30)), Some(Reason::MalformedRequest));
    assert_eq!(claims(&deep(100_000)), Some(Reason::MalformedRequest));
    let members: Vec<_> = (0..100_000).map(|number| format!("\"{number}\":0")).collect();
    assert_eq!(claims(&format!("{{{}}}", members.join(","))), Some(Reason::MalformedRequest));
    assert_eq!(claims(&format!("{{\"x\":[{}0]}}", "0,".repeat(1_000_000))), Some(Reason::MalformedRequest));
}

#[test]
fn a_member_twice_is_ambiguous_at_every_level() {
    let good = json!({"input": with("claims", Some(json!({"sub": "u", "x": [{"y": 1}]})))}).to_string();
    for (once, twice) in [
        ("{\"input\":", "{\"input\":{},\"input\":"),
        ("\"account\":\"alice\"", "\"account\":\"root\",\"account\":\"alice\""),
        ("\"action\":", "\"acti\\u006fn\":\"\",\"action\":"),
        ("\"denyOnly\":false", "\"denyOnly\":true,\"denyOnly\":false"),
        ("\"sub\":\"u\"", "\"sub\":\"u\",\"sub\":\"v\""),
        ("\"y\":1", "\"y\":1,\"y\":1"),
        ("\"SourceIp\":[\"10.0.0.1\"]", "\"SourceIp\":[\"10.0.0.1\"],\"SourceIp\":[\"10.0.0.2\"]"),
    ] {
        let text = good.replace(once, twice);
        assert_ne!(text, good, "{once}");
        assert_eq!(read_text(&text).err(), Some(Reason::AmbiguousRequest), "{text}");
    }
}

#[test]
fn spellings_of_known_members_are_ambiguous() {
    for name in [
        "ACCOUNT",
        "Account",
        "Groups",
        "group\u{17f}",
        "buc\u{212a}et",
        "DenyOnly",
        "denyonly",
        "originalaction",
        "clai\u{6d}S",
    ] {
        assert_eq!(read_input(&with(name, Some(json!("x")))).err(), Some(Reason::AmbiguousRequest), "{name}");
    }
    for name in ["Input", "INPUT", "\u{131}nput"] {
        let mut body = json!({"input": with("owner", Some(json!(false)))});
        body[name] = json!({});
        assert_eq!(read_text(&body.to_string()).err(), Some(Reason::AmbiguousRequest), "{name}");
    }
}

#[test]
fn conditions_and_claims_may_differ_in_case() {
    let conditions = json!({"versionid": ["a"], "versionId": ["b"], "Account": ["c"], "SOURCEIP": [""]});
    let request = read_input(&with("conditions", Some(conditions))).unwrap();
    assert_eq!(request.condition("versionid"), ["a"]);
    assert_eq!(request.condition("versionId"), ["b"]);
    let request = read_input(&with("claims", Some(json!({"Sub": "a", "sub": "b", "Action": "c"})))).unwrap();
    assert_eq!(request.claims.string("sub"), Some("b"));
}

#[test]
fn names_are_text_without_nul() {
    for name in ["account", "action", "bucket", "object", "originalAction"] {
        for value in [json!("a\0b"), json!(null), json!(1), json!(["alice"]), json!({}), json!(true)] {
            assert_eq!(read_input(&with(name, Some(value))).err(), Some(Reason::MalformedRequest), "{name}");
        }
        let lone = json!({"input": with(name, Some(json!("@")))}).to_string().replace('@', "\\ud800");
        assert_eq!(read_text(&lone).err(), Some(Reason::MalformedRequest), "{name}");
    }
}

#[test]
fn wrong_types_are_malformed() {
    for (name, value) in [
        ("groups", json!("admins")),
        ("groups", json!([1])),
        ("groups", json!([null])),
        ("groups", json!({})),
        ("owner", json!("true")),
        ("owner", json!(null)),
        ("denyOnly", json!(1)),
        ("denyOnly", json!(null)),
        ("conditions", json!([])),
        ("conditions", json!({"SourceIp": "10.0.0.1"})),
        ("conditions", json!({"a": [1]})),
        ("conditions", json!({"a": null})),
        ("claims", json!([])),
        ("claims", json!("x")),
        ("claims", json!(false)),
    ] {
        assert_eq!(
            read_input(&with(name, Some(value.clone()))).err(),
            Some(Reason::MalformedRequest),
            "{name} {value}"
        );
    }
}

/// As RustFS (`crates/policy/src/policy/opa.rs`) and Ceph RGW (`src/rgw/rgw_opa.cc`) ask their authorizers. `docs/MINIO.md`
/// says what becomes of it.
#[test]
fn questions_of_other_servers_are_refused() {
    let rustfs = json!({
        "identity": {"account": "alice", "groups": [], "is_owner": false, "claims": {}},
        "resource": {"bucket": "photos", "object": "a.jpg", "arn": "arn:aws:s3:::photos/a.jpg"},
        "action": "s3:GetObject",
        "context": {"conditions": {"SourceIp": ["203.0.113.9"]}, "deny_only": false, "timestamp": "2026-11-23T13:00:00Z"},
    });
    let ceph = json!({
        "method": "GET", "relative_uri": "/photos/a.jpg", "decoded_uri": "/photos/a.jpg", "params": "",
        "request_uri_aws4": "/photos/a.jpg", "object_name": "a.jpg", "subuser": "",
        "user_info": {"user_id": "alice", "display_name": "Alice"}, "bucket_info": {"bucket": {"name": "photos"}},
    });
    for other in [rustfs, ceph] {
        assert_eq!(read_input(&other).err(), Some(Reason::MalformedRequest), "{other}");
    }
}

#[test]
fn who_and_what_must_be_there() {
    for name in ["account", "action"] {
        assert_eq!(read_input(&with(name, None)).err(), Some(Reason::MalformedRequest), "{name}");
    }
    assert_eq!(read_input(&with("action", Some(json!("")))).err(), Some(Reason::MalformedRequest));
    assert_eq!(read_input(&with("account", Some(json!("")))).unwrap().account, "");
}

#[test]
fn what_older_servers_leave_out_is_read_as_least_and_noted() {
    let input = json!({"account": "alice", "action": "s3:GetObject"});
    let request = read_input(&input).unwrap();
    assert!(!request.owner && !request.deny_only && request.groups.is_none() && request.original_action.is_none());
    assert!(request.bucket.is_empty() && request.conditions.is_empty() && request.claims.text.is_empty());
    let noted: Vec<_> = request.unknown.iter().map(|(name, _)| name.as_str()).collect();
    let absent = ["groups", "originalAction", "bucket", "conditions", "owner", "object", "claims", "denyOnly"];
    assert_eq!(noted, absent.map(|name| format!("absent.{name}")));
}

#[test]
fn what_differs_in_bytes_differs_in_what_is_read() {
    let unknown = |input: Value| {
        let request = read_input(&input).unwrap();
        format!("{:?} {:?} {:?}", request.groups, request.claims.text, request.unknown)
    };
    for (name, values) in [
        ("groups", vec![None, Some(json!(null)), Some(json!([])), Some(json!([""]))]),
        ("conditions", vec![None, Some(json!(null)), Some(json!({}))]),
        ("claims", vec![None, Some(json!(null)), Some(json!({}))]),
        ("denyOnly", vec![None, Some(json!(false))]),
    ] {
        let read: std::collections::HashSet<_> =
            values.iter().map(|value| unknown(with(name, value.clone()))).collect();
        assert_eq!(read.len(), values.len(), "{name}");
    }
}

#[test]
fn unknown_members_are_kept_under_names_that_cannot_meet() {
    let text = r#"{"input.x":1,"z":null,"input":{"account":"k","action":"a","x":{"a":[1.0]},"input":2,"groups":[],"bucket":"",
        "conditions":{},"owner":false,"object":"","claims":{},"denyOnly":false,"originalAction":""}}"#;
    let request = read_text(text).unwrap();
    let kept: Vec<_> = request.unknown.iter().map(|(name, text)| (name.as_str(), text.as_ref())).collect();
    let expected: [(&str, &[u8]); 4] =
        [("root.input.x", b"1"), ("root.z", b"null"), ("input.x", br#"{"a":[1.0]}"#), ("input.input", b"2")];
    assert_eq!(kept, expected);
    let whole = request.bytes.as_ptr_range();
    assert!(request.unknown.iter().all(|(_, text)| whole.contains(&text.as_ptr())), "shared, not copied");
}

#[test]
fn object_names_are_never_changed() {
    for name in [
        "../x",
        "a%2Fb",
        "a//b",
        "e\u{301}",
        "\u{e9}",
        "\u{202e}gpj.a",
        "a\nb\tc\u{1b}[31m",
        "\u{2028}",
        &"k".repeat(1024),
    ] {
        assert_eq!(read_input(&with("object", Some(json!(name)))).unwrap().object, name);
    }
}

proptest! {
    #[test]
    fn fields_are_what_was_sent(
        account in "[^\0]{0,20}", action in "[^\0]{1,20}", bucket in "[^\0]{0,20}", object in "[^\0]{0,20}",
        groups in prop::option::of(prop::collection::vec(any::<String>(), 0..4)),
        conditions in prop::collection::btree_map(any::<String>(), prop::collection::vec(any::<String>(), 0..3), 0..20),
        flags in any::<[bool; 2]>(), extra in any::<i64>(),
    ) {
        let input = json!({"account": account, "groups": groups, "action": action, "originalAction": "",
            "bucket": bucket, "conditions": conditions, "owner": flags[0], "object": object,
            "claims": {"n": extra}, "denyOnly": flags[1], "extra": extra});
        let request = read_input(&input).unwrap();
        prop_assert_eq!((&*request.account, &*request.action, &*request.bucket), (&*account, &*action, &*bucket));
        let groups: Option<Vec<Text>> = groups.map(|groups| groups.into_iter().map(Text::from).collect());
        prop_assert_eq!((&*request.object, request.groups), (&*object, groups));
        prop_assert_eq!((request.owner, request.deny_only), (flags[0], flags[1]));
        let conditions = conditions.into_iter().map(|(name, values)| (name.into(), values.into_iter().map(Text::from).collect()));
        prop_assert_eq!(request.conditions, Conditions::from(conditions.collect::<Vec<(Text, Values)>>()));
        prop_assert_eq!(request.unknown, [("input.extra".to_owned(), Bytes::from(extra.to_string()))]);
    }

    #[test]
    fn broken_questions_never_mislead(
        which in 0..20_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = requests()[which].to_string().into_bytes();
        for (index, byte) in edits {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz::question(&bytes);
    }
}
