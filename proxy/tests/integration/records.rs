//! The record itself: the members that compliance was promised, from the questions that a real MinIO sent.

use loadtest::stub::{Script, Stub};
use serde_json::Value;

use crate::support::{Countersign, records};

const REQUESTS: &str = include_str!("../vectors/minio-requests.jsonl");

#[tokio::test]
async fn every_sample_question_becomes_a_record_of_the_schema() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let mut asked = 0;
    for line in REQUESTS.lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let answer = proxy.ask(&sample["body"]).await;
        assert!(answer.allowed(), "{}: {answer:?}", sample["title"]);
        let record = proxy.record_of(&answer);
        let (input, data) = (&sample["body"]["input"], &record["data"]);
        assert_eq!(data["actor"]["account"], input["account"]);
        assert_eq!(data["action"], input["action"]);
        assert_eq!(data["deny_only"], input["denyOnly"]);
        assert_eq!(data["actor"]["owner"], input["owner"]);
        let expected = input["conditions"]["SourceIp"][0].clone();
        assert_eq!(data["request"]["reported_ip"], expected);
        let body = sample["body"].to_string();
        assert_eq!(data["request"]["input_sha256"], countersign::policy::limited::sha256_hex(body.as_bytes()));
        asked += 1;
    }
    assert_eq!(asked, 20);
    assert_eq!(proxy.decisions().len(), 20);
}

/// What each of the constructed samples must say; the letters are their ids.
#[tokio::test]
async fn who_and_what_is_read_from_the_question() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let rows = [
        ("A", "/actor/kind", "root"),
        ("A", "/action_class", "list"),
        ("A", "/purpose", "fallthrough"),
        ("B", "/actor/assurance", "claimed"),
        ("B", "/action_class", "write"),
        ("C", "/actor/kind", "service_account"),
        ("C", "/actor/principal", "alice"),
        ("C", "/actor/principal_from", "parent"),
        ("D", "/actor/kind", "sts"),
        ("D", "/actor/principal_from", "sub"),
        ("D", "/actor/issuer", "https://idp.example.org/realms/corp"),
        ("E", "/actor/kind", "anonymous"),
        ("F", "/action_class", "iam"),
        ("G", "/purpose", "deny_check"),
        ("G", "/resource/version", "6f0e5d1c-4a3b-4c2d-9e1f-0a1b2c3d4e5f"),
        ("H", "/resource/object", "2026/q4.csv"),
    ];
    for (id, pointer, expected) in rows {
        let sample = REQUESTS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|s| s["id"] == id);
        let answer = proxy.ask(&sample.unwrap()["body"]).await;
        let data = &proxy.record_of(&answer)["data"];
        assert_eq!(data.pointer(pointer).unwrap(), expected, "{id}{pointer}");
    }
}

/// MinIO's audit log has the same signature, whichever way the S3 client signed.
#[tokio::test]
async fn the_signature_is_recorded_as_its_hash() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let bare = "5f0e1d2c3b4a59687786a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    for id in ["B", "H"] {
        let sample = REQUESTS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|s| s["id"] == id);
        let answer = proxy.ask(&sample.unwrap()["body"]).await;
        let record = proxy.record_of(&answer);
        let expected = countersign::policy::limited::sha256_hex(bare.as_bytes());
        assert_eq!(record["data"]["request"]["signature_sha256"], expected, "{id}");
        assert!(!record.to_string().contains(bare));
    }
}

/// The checks that every test's records go through do find what they are there for.
#[tokio::test]
async fn a_forged_record_does_not_pass() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    for _ in 0..3 {
        proxy.ask(&crate::support::question("alice", "s3:GetObject", "reports", "a.txt")).await;
    }
    let good = records::in_spool(&proxy.spool());
    records::checked(good.clone());
    let fails = |records: Vec<records::Raw>| std::panic::catch_unwind(|| records::checked(records)).is_err();
    let edit = |index: usize, from: &str, to: &str| {
        let mut edited = good.clone();
        let text = String::from_utf8(edited[index].bytes.clone()).unwrap();
        assert!(text.contains(from));
        edited[index] = records::Raw::new(text.replacen(from, to, 1).as_bytes());
        edited
    };
    assert!(fails(edit(1, "alice", "mallo")), "a changed record breaks the chain");
    assert!(fails(edit(3, r#""fallback":false,"#, "")), "a missing member is against the schema");
    assert!(fails(edit(3, r#""fallback":false"#, r#""fallback":false,"more":1"#)), "so is an unknown one");
    let mut gap = good.clone();
    gap.remove(2);
    assert!(fails(gap), "a removed record leaves a gap");
}
