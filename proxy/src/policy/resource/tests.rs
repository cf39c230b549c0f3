//! Resources of real questions, and what must not become part of one.

use serde_json::{Value, json};

use super::*;
use crate::wire::question;

fn resource(changes: Value) -> Resource<'static> {
    let mut input = json!({"account": "alice", "groups": null, "action": "s3:GetObject", "originalAction": "", "bucket": "",
        "conditions": {}, "owner": false, "object": "", "claims": {}, "denyOnly": false});
    for (name, value) in changes.as_object().unwrap() {
        input[name] = value.clone();
    }
    Resource::of(
        Box::leak(Box::new(question::read(json!({"input": input}).to_string().into()).unwrap())),
        &Privacy::PLAIN,
    )
}

fn bare(kind: ResourceKind) -> Resource<'static> {
    Resource { kind: Some(kind), ..Resource::UNREAD }
}

#[test]
fn every_member_is_always_there() {
    let seen = resource(json!({"bucket": "photos", "object": "2026/a.jpg", "conditions": {"versionid": [""]}}));
    let expected = json!({"type": "object", "bucket": "photos", "object": "2026/a.jpg", "version": null, "prefix": null,
        "kms_key": null, "target": null});
    assert_eq!(serde_json::to_value(&seen).unwrap(), expected);
    assert_eq!(subject(&seen).as_deref(), Some("photos/2026/a.jpg"));
    assert_eq!(serde_json::to_value(Resource::UNREAD).unwrap().as_object().unwrap().len(), 7);
    assert_eq!(serde_json::to_value(ResourceKind::KmsKey).unwrap(), "kms_key");
}

#[test]
fn versions_are_the_server_s_own() {
    let version =
        |values: Value| resource(json!({"bucket": "b", "object": "o", "conditions": {"versionid": values}})).version;
    assert_eq!(version(json!(["v1"])).as_deref(), Some("v1"));
    assert_eq!(version(json!(["", "forged"])), None);
    assert_eq!(version(json!([])), None);
}

#[test]
fn prefixes_belong_to_listings() {
    let prefix = |action: &str, conditions: Value| {
        resource(json!({"action": action, "bucket": "b", "conditions": conditions})).prefix
    };
    assert_eq!(prefix("s3:ListBucket", json!({"prefix": ["home/"], "Prefix": ["x"]})).as_deref(), Some("home/"));
    assert_eq!(prefix("s3:ListBucketVersions", json!({"prefix": ["home/"]})).as_deref(), Some("home/"));
    assert_eq!(prefix("s3:ListBucket", json!({"prefix": [""]})), None);
    assert_eq!(prefix("s3:ListBucket", json!({"Prefix": ["forged/"]})), None);
    assert_eq!(prefix("s3:GetObject", json!({"prefix": ["x"]})), None);
}

#[test]
fn kms_keys_are_no_buckets() {
    let key = resource(json!({"action": "kms:KeyStatus", "bucket": "key-1"}));
    assert_eq!(key, Resource { kms_key: Some("key-1".into()), ..bare(ResourceKind::KmsKey) });
    assert_eq!(subject(&key), None);
    let named = resource(json!({"action": "admin:KMSCreateKey", "conditions": {"key-id": ["key-2"]}}));
    assert_eq!(named, Resource { kms_key: Some("key-2".into()), ..bare(ResourceKind::KmsKey) });
    assert_eq!(resource(json!({"action": "kms:ListKeys"})), bare(ResourceKind::KmsKey));
    assert_eq!(resource(json!({"conditions": {"key-id": ["x"]}})), bare(ResourceKind::Service));
}

#[test]
fn admin_actions_have_targets_from_a_list() {
    let target = |conditions: Value, claims: Value| {
        resource(json!({"action": "admin:CreateUser", "conditions": conditions, "claims": claims})).target
    };
    let of = |conditions| target(conditions, json!({}));
    assert_eq!(of(json!({"accessKey": ["bob"]})).as_deref(), Some("accessKey=bob"));
    let attach = json!({"policyName": ["readonly"], "isGroup": ["false"], "userOrGroup": ["bob&x=y z"]});
    assert_eq!(of(attach).as_deref(), Some("userOrGroup=bob%26x%3Dy+z&isGroup=false&policyName=readonly"));
    assert_eq!(of(json!({"Authorization": ["secret"], "secretKey": ["s"], "accesskey": ["own"], "name": [""]})), None);
    assert_eq!(resource(json!({"conditions": {"accessKey": ["bob"]}})).target, None, "not an admin action");
    // A copy of the caller's claim `name` or `ldapUser` is not the target's.
    let conditions = json!({"name": ["Bob Smith"], "user": ["uid=bob"], "group": ["g"]});
    let claims = json!({"Name": "Bob Smith", "ldapUser": "uid=bob"});
    assert_eq!(target(conditions.clone(), claims).as_deref(), Some("group=g"));
    assert_eq!(of(conditions).as_deref(), Some("user=uid%3Dbob&group=g&name=Bob+Smith"));
}

#[test]
fn kinds_are_told_by_action_bucket_and_object() {
    assert_eq!(resource(json!({"action": "s3:ListAllMyBuckets"})), bare(ResourceKind::Service));
    let bucket = resource(json!({"action": "s3:ListBucket", "bucket": "b"}));
    assert_eq!((bucket.kind, subject(&bucket).as_deref()), (Some(ResourceKind::Bucket), Some("b")));
    assert_eq!(resource(json!({"action": "admin:ServerInfo"})), bare(ResourceKind::Admin));
}

#[test]
fn subjects_are_encoded_as_in_notifications() {
    let subject_of = |object: &str| subject(&resource(json!({"bucket": "b", "object": object}))).unwrap();
    assert_eq!(subject_of("red flower+1.jpg"), "b/red+flower%2B1.jpg");
    assert_eq!(subject_of("a//../%2F~-_."), "b/a//../%252F~-_.");
    assert_eq!(subject_of("é\n\u{202e}?#"), "b/%C3%A9%0A%E2%80%AE%3F%23");
}

#[test]
fn keys_are_limited() {
    let exact = "k".repeat(1024);
    assert_eq!(resource(json!({"bucket": "b", "object": exact})).object.as_deref(), Some(exact.as_str()));
    let cut = resource(json!({"bucket": "b", "object": format!("{exact}k")})).object.unwrap();
    assert!(cut.len() == 1024 && cut.contains("…sha256:"), "{cut}");
}
