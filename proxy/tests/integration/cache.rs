//! The cache as a user sees it: which answers are remembered, for how long, and which record each hit names.

use loadtest::stub::{Answer, Script, Stub};

use crate::support::{Countersign, eventually, question};

#[tokio::test]
async fn a_hit_names_the_record_it_came_from() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache("allow_ttl = \"1h\"").start().await;
    let mut asked = question("alice", "s3:GetObject", "reports", "a.txt");
    let first = proxy.ask(&asked).await;
    // What changes with every call of the same client does not make another question.
    asked["input"]["conditions"]["CurrentTime"] = serde_json::json!(["2026-11-23T13:05:08Z"]);
    asked["input"]["conditions"]["Authorization"] = serde_json::json!(["AWS4-HMAC-SHA256 Signature=another"]);
    let second = proxy.ask(&asked).await;
    assert!(first.allowed() && second.allowed());
    assert_ne!(first.decision(), second.decision());
    assert_eq!(stub.asked(), 1);
    let (miss, hit) = (proxy.record_of(&first), proxy.record_of(&second));
    assert_eq!((&miss["data"]["origin"], &miss["data"]["cache"]["state"]), (&"authorizer".into(), &"miss".into()));
    assert_eq!((&hit["data"]["origin"], &hit["data"]["cache"]["state"]), (&"cache".into(), &"hit".into()));
    assert_eq!(hit["data"]["cache"]["record_id"], first.decision());
    assert!(hit["data"]["cache"]["age_ms"].is_u64());
    assert_eq!(hit["data"]["decided_by"], "authz");
    assert_eq!(hit["data"]["authorizers"], serde_json::json!([]), "nobody was asked");
    assert_eq!(proxy.metric(r#"countersign_cache_requests_total{result="hit"}"#).await, 1.0);
}

#[tokio::test]
async fn another_question_is_not_answered_from_it() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache("allow_ttl = \"1h\"").start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    assert!(proxy.ask(&asked).await.allowed());
    stub.set(Script::deny());
    for (pointer, value) in [
        ("/input/account", serde_json::json!("bob")),
        ("/input/object", serde_json::json!("b.txt")),
        ("/input/action", serde_json::json!("s3:PutObject")),
        ("/input/groups", serde_json::json!([])),
        ("/input/owner", serde_json::json!(true)),
        ("/input/denyOnly", serde_json::json!(true)),
        ("/input/claims", serde_json::json!({"sessionPolicy": "e30="})),
        ("/input/conditions/SourceIp", serde_json::json!(["203.0.113.10"])),
        ("/input/conditions/username", serde_json::json!(["alice", "root"])),
    ] {
        let mut other = asked.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        let answer = proxy.ask(&other).await;
        assert_eq!((answer.reason(), answer.allowed()), ("denied", false), "{pointer} is part of the question");
    }
}

#[tokio::test]
async fn a_fault_is_never_remembered() {
    let stub = Stub::start(Answer::new("{}")).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache("allow_ttl = \"1h\"\ndeny_ttl = \"1h\"").start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    assert_eq!(proxy.ask(&asked).await.reason(), "undefined");
    stub.set(Script::allow());
    assert!(proxy.ask(&asked).await.allowed());
    assert_eq!(stub.asked(), 2);
}

#[tokio::test]
async fn a_deny_has_a_lifetime_of_its_own() {
    let stub = Stub::start(Script::deny()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache("allow_ttl = \"1h\"\ndeny_ttl = \"300ms\"").start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    assert!(!proxy.ask(&asked).await.allowed());
    stub.set(Script::allow());
    eventually("the deny has expired", async || proxy.ask(&asked).await.allowed().then_some(())).await;
    stub.set(Script::deny());
    assert!(proxy.ask(&asked).await.allowed(), "the allow has not");
}

#[tokio::test]
async fn an_authorizer_can_only_shorten_it() {
    let stub = Stub::start(Answer::allow().header("Cache-Control", "no-store")).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache("allow_ttl = \"1h\"").start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    for _ in 0..2 {
        assert!(proxy.ask(&asked).await.allowed());
    }
    assert_eq!(stub.asked(), 2);
}

/// Admin actions are not cacheable unless said; a slow clock of ours would not matter, so no time is involved.
#[tokio::test]
async fn admin_actions_are_always_asked() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).cache("allow_ttl = \"1h\"").start().await;
    for _ in 0..2 {
        let answer = proxy.ask(&question("root", "admin:ServerInfo", "", "")).await;
        assert!(answer.allowed());
        assert_eq!(proxy.record_of(&answer)["data"]["cache"]["state"], "off");
    }
    assert_eq!(stub.asked(), 2);
}
