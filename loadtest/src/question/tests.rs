//! Questions against what a real MinIO sent.

use std::time::{Duration, SystemTime};

use super::*;

/// Captured from a running MinIO (mc, PutObject), its signature replaced.
const CAPTURED_PUT: &str = include_str!("put-object.json");
/// Captured from a running MinIO (mc, ListBuckets by root), its signature replaced.
const CAPTURED_LIST: &str = include_str!("list-buckets.json");

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn condition(body: &[u8], key: &str) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["input"]["conditions"][key][0].as_str().unwrap().to_owned()
}

/// The 64 digits of our signature are the only bytes that may differ.
fn without_signature(body: &[u8]) -> String {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let (before, after) = text.split_once("Signature=").unwrap();
    let (signature, rest) = after.split_once('"').unwrap();
    assert_eq!(signature.len(), 64);
    format!("{before}Signature=\"{rest}")
}

#[test]
fn a_put_is_what_minio_sent_byte_for_byte() {
    let ours = Question::new("alice", "s3:PutObject", "photos", "2026/11/f.txt").body_at(at(1_795_443_035));
    assert_eq!(without_signature(&ours), without_signature(CAPTURED_PUT.as_bytes()));
}

#[test]
fn a_read_has_the_keys_that_minio_sends_for_a_request_without_a_body() {
    let ours: serde_json::Value = serde_json::from_slice(&Question::read().body()).unwrap();
    let theirs: serde_json::Value = serde_json::from_str(CAPTURED_LIST).unwrap();
    let keys = |value: &serde_json::Value| {
        value["input"]["conditions"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&ours), keys(&theirs));
}

#[test]
fn the_size_is_met_exactly_and_does_not_change_with_time_or_number() {
    let question = Question::read().size(1024);
    let template = question.template();
    assert_eq!(template.size(), 1024);
    for (second, number) in [(0, 0), (1_795_443_035, 7), (1_795_443_036, 99_999_999), (1_795_443_036, u64::MAX)] {
        let mut body = Vec::new();
        template.write(&Moment::at(at(second)), number, &mut body);
        assert_eq!(body.len(), 1024);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
    let plain = Question::read().body().len();
    assert_eq!(Question::read().size(plain).body().len(), plain);
    assert_eq!(Question::read().size(plain + 1).body().len(), plain + 11);
}

#[test]
fn what_a_real_client_changes_from_second_to_second_changes() {
    let question = Question::read();
    let (one, two) = (question.body_at(at(1_795_443_035)), question.body_at(at(1_795_529_436)));
    for key in ["CurrentTime", "EpochTime", "X-Amz-Date", "Authorization"] {
        assert_ne!(condition(&one, key), condition(&two, key), "{key}");
    }
    assert_eq!(condition(&two, "CurrentTime"), "2026-11-24T14:10:36Z");
    assert_eq!(condition(&two, "X-Amz-Date"), "20261124T141036Z");
    assert_eq!(condition(&two, "EpochTime"), "1795529436");
    assert!(condition(&two, "Authorization").contains("Credential=alice/20261124/us-east-1/"));
    assert_eq!(question.body_at(at(5)), question.body_at(at(5)));
}

#[test]
fn the_number_goes_into_the_object_and_nowhere_else() {
    let template = Question::new("al#ce", "s3:GetObject", "photos", "a/####.jpg").template();
    let mut body = Vec::new();
    template.write(&Moment::at(at(1)), 12_345, &mut body);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["input"]["object"], "a/2345.jpg");
    assert_eq!(body["input"]["account"], "al#ce");
}

#[test]
fn a_name_that_looks_like_a_member_is_left_alone() {
    let hostile = r#"x","CurrentTime":["YYYY <b>&"#;
    let body = Question::new("a", "s3:GetObject", "b", hostile).deny_only().body_at(at(1_795_443_035));
    let text = String::from_utf8(body.clone()).unwrap();
    assert!(text.contains(r"\u003cb\u003e\u0026"), "{text}");
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["input"]["object"], hostile);
    assert_eq!(body["input"]["conditions"]["CurrentTime"][0], "2026-11-23T14:10:35Z");
    assert_eq!(body["input"]["denyOnly"], true);
}
