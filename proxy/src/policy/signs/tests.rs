//! The forged questions that were seen on a running MinIO, and honest ones that look alike.

use serde_json::{Value, json};

use super::*;
use crate::wire::question;

fn of(conditions: Value) -> Vec<Sign> {
    let body = json!({"input": {"account": "alice", "action": "s3:GetObject", "bucket": "b", "object": "o",
        "conditions": conditions, "claims": {}}});
    signs(&question::read(body.to_string().into()).unwrap())
}

#[test]
fn tags_that_replace_conditions() {
    let forged = json!({"username": ["root"], "userid": ["alice"], "SourceIp": ["10.9.9.9"],
        "RequestObjectTagKeys": ["class", "../username"], "ExistingObjectTag/class": ["a"]});
    assert_eq!(of(forged), [Sign::TagKeyTraversal]);
    for key in ["../SourceIp", "a/../../username", "..", "x/.."] {
        assert_eq!(of(json!({"RequestObjectTagKeys": [key]})), [Sign::TagKeyTraversal], "{key}");
    }
    assert_eq!(of(json!({"ExistingObjectTag/../username": ["root"]})), [Sign::TagKeyTraversal]);
    for key in ["class", "a/b", "..a", "a..", "a../b", "..."] {
        assert_eq!(of(json!({"RequestObjectTagKeys": [key]})), [], "{key}");
    }
    assert_eq!(of(json!({"X-Note": ["../username"]})), []);
}

#[test]
fn parameters_that_stand_behind_the_server_s_value() {
    let forged = json!({"username": ["bob", "root"], "userid": ["alice", "root"], "principaltype": ["User", "Account"],
        "SourceIp": ["127.0.0.1", "10.0.0.1"]});
    assert_eq!(of(forged), [Sign::DoubledCondition]);
    for name in SET_BY_SERVER {
        let value = if name == "SourceIp" { "10.0.0.1" } else { "x" };
        assert_eq!(of(json!({name: [value, value]})), [Sign::DoubledCondition], "{name}");
        assert_eq!(of(json!({name: [value]})), [], "{name}");
    }
    assert_eq!(of(json!({"Referer": ["https://a/", "https://a/"], "X-Custom": ["1", "2"], "prefix": ["a", "b"]})), []);
}

#[test]
fn source_addresses_that_are_none() {
    for address in ["notanip", "", "10.1.2.3, 9.9.9.9", "10.1.2", "[10.1.2.3:80]", "10.1.2.3/8", "[::1", "evil.example"]
    {
        assert_eq!(of(json!({"SourceIp": [address]})), [Sign::SourceIpInvalid], "{address}");
    }
    for address in ["10.1.2.3", "2001:db8::1", "[2001:db8::1]", "[fe80::1%eth0]", "::ffff:10.0.0.1"] {
        assert_eq!(of(json!({"SourceIp": [address]})), [], "{address}");
    }
    assert_eq!(of(json!({"SourceIp": ["10.0.0.1", "x"]})), [Sign::DoubledCondition, Sign::SourceIpInvalid]);
}

#[test]
fn real_questions_bear_no_signs() {
    for line in include_str!("../../../tests/vectors/minio-requests.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let request = question::read(row["body"].to_string().into()).unwrap();
        assert_eq!(signs(&request), [], "{}", row["id"]);
    }
}

#[test]
fn words_in_json_are_the_words_elsewhere() {
    for sign in Sign::ALL {
        assert_eq!(serde_json::to_value(sign).unwrap(), sign.as_str());
    }
}
