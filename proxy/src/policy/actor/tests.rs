//! Actors of real questions, and of forged ones.

use serde_json::{Value, json};

use super::*;
use crate::wire::question;

fn actor(changes: Value) -> Actor<'static> {
    let mut input = json!({"account": "alice", "groups": null, "action": "s3:GetObject", "originalAction": "", "bucket": "b",
        "conditions": {}, "owner": false, "object": "o", "claims": {}, "denyOnly": false});
    for (name, value) in changes.as_object().unwrap() {
        input[name] = value.clone();
    }
    Actor::of(Box::leak(Box::new(question::read(json!({"input": input}).to_string().into()).unwrap())), &Privacy::PLAIN)
}

fn vector(id: &str) -> Actor<'static> {
    let lines = include_str!("../../../tests/vectors/minio-requests.jsonl").lines();
    let mut rows = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let row = rows.find(|row| row["id"] == id).unwrap();
    Actor::of(Box::leak(Box::new(question::read(row["body"].to_string().into()).unwrap())), &Privacy::PLAIN)
}

#[test]
fn real_actors() {
    let kinds = [
        ("A", ActorKind::Root),
        ("B", ActorKind::User),
        ("C", ActorKind::ServiceAccount),
        ("D", ActorKind::Sts),
        ("E", ActorKind::Anonymous),
        ("L01", ActorKind::Root),
        ("L04", ActorKind::ServiceAccount),
        ("L05", ActorKind::Sts),
        ("L06", ActorKind::User),
    ];
    for (id, kind) in kinds {
        assert_eq!(vector(id).kind, Some(kind), "{id}");
    }
    let service = vector("C");
    assert_eq!((service.principal.as_deref(), service.principal_from), (Some("alice"), Some(PrincipalFrom::Parent)));
    assert_eq!(service.parent.as_deref(), Some("alice"));
    assert_eq!(service.session_policy_sha256.map(|hash| hash.len()), Some(64));
    let oidc = vector("D");
    assert_eq!(
        (oidc.principal.as_deref(), oidc.principal_from),
        (Some("7c1f0d3e-5b7a-4f0e-9a55-0d6a0f3b6c11"), Some(PrincipalFrom::Sub))
    );
    assert_eq!(oidc.issuer.as_deref(), Some("https://idp.example.org/realms/corp"));
    assert_eq!(oidc.groups, ["analysts", "emea"]);
    assert_eq!(vector("B").assurance, Some(Assurance::Claimed));
    assert_eq!(vector("L12").assurance, Some(Assurance::Claimed), "a part of an upload");
    assert_eq!(vector("E").assurance, Some(Assurance::Claimed), "nobody signed");
    assert_eq!(vector("C").assurance, Some(Assurance::Authenticated));
}

#[test]
fn every_member_is_always_there() {
    let expected = json!({"account": "alice", "kind": "user", "principal": "alice", "principal_from": "account",
        "issuer": null, "parent": null, "groups": [], "owner": false, "assurance": "authenticated",
        "session_policy_sha256": null});
    assert_eq!(serde_json::to_value(actor(json!({}))).unwrap(), expected);
    let unread = serde_json::to_value(Actor::UNREAD).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&unread), names(&expected));
    assert!(unread.as_object().unwrap().values().all(|value| value.is_null() || *value == json!([])));
}

#[test]
fn a_key_of_root_is_not_root() {
    assert_eq!(actor(json!({"owner": true})).kind, Some(ActorKind::Root));
    let service = actor(json!({"owner": true, "claims": {"parent": "root", "sa-policy": "inherited-policy"}}));
    assert_eq!((service.kind, service.principal.as_deref()), (Some(ActorKind::ServiceAccount), Some("root")));
    assert_eq!(actor(json!({"owner": true, "claims": {"exp": 1}})).kind, Some(ActorKind::Sts));
    assert_eq!(actor(json!({"claims": null})).kind, Some(ActorKind::User));
}

#[test]
fn the_principal_comes_from_claims_in_order() {
    let from = |claims: Value| {
        let actor = actor(json!({"claims": claims}));
        (actor.principal.unwrap(), serde_json::to_value(actor.principal_from).unwrap())
    };
    let all = json!({"sub": "s", "parent": "p", "ldapUsername": "l"});
    assert_eq!(from(all), ("l".into(), json!("ldapUsername")));
    assert_eq!(from(json!({"sub": "s", "parent": "p", "ldapUsername": ""})), ("p".into(), json!("parent")));
    assert_eq!(from(json!({"sub": "s", "parent": 7})), ("s".into(), json!("sub")));
    assert_eq!(from(json!({"exp": 1})), ("alice".into(), json!("account")));
}

#[test]
fn conditions_never_name_anybody() {
    let forged = json!({"username": ["root"], "userid": ["root"], "parent": ["root"], "sub": ["root"],
        "principaltype": ["Account"], "groups": ["admins"], "Username": ["admin"]});
    assert_eq!(actor(json!({"conditions": forged})), actor(json!({})));
}

#[test]
fn groups_are_those_of_the_input_else_the_claims() {
    let claims = json!({"groups": ["c"], "exp": 1});
    assert_eq!(actor(json!({"claims": claims})).groups, ["c"]);
    assert_eq!(actor(json!({"claims": claims, "groups": ["i"]})).groups, ["i"]);
    assert!(actor(json!({"claims": claims, "groups": []})).groups.is_empty());
    for other in [json!("c"), json!({}), json!([1]), json!(null)] {
        assert!(actor(json!({"claims": {"groups": other}})).groups.is_empty());
    }
}

#[test]
fn names_and_groups_are_limited() {
    let long = "x".repeat(300);
    let many: Vec<_> = (0..100).map(|number| format!("{number}{long}")).collect();
    let actor = actor(json!({"account": long, "groups": many, "claims": {"iss": long, "sub": long}}));
    assert_eq!(actor.groups.len(), MAX_GROUPS);
    for name in actor.groups.iter().chain(&actor.account).chain(&actor.principal).chain(&actor.issuer) {
        assert!(name.len() == MAX_NAME && name.contains("…sha256:"), "{name}");
    }
}
