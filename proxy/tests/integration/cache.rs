//! The cache as a user sees it: which answers are remembered, for how long, and which record each hit names.

use std::collections::BTreeSet;
use std::time::Duration;

use loadtest::laboratory::open_files;
use loadtest::stub::{Answer, Gate, Script, Stub};
use serde_json::Value;

use crate::support::records::events;
use crate::support::{Countersign, Running, eventually, http, question};

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
    let proxy = Countersign::asking(&stub.url()).cache("allow_ttl = \"1h\"\ndeny_ttl = \"2s\"").start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    // Its life begins with the question: where a record takes longer, nothing is left of it.
    eventually("a deny is remembered", async || {
        let answer = proxy.ask(&asked).await;
        assert!(!answer.allowed());
        (proxy.record_of(&answer)["data"]["origin"] == "cache").then_some(())
    })
    .await;
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

/// Waits for an answer that is held, for as long as a loaded machine takes, and remembers it.
async fn patient(stub: &Stub) -> Running {
    Countersign::asking(&stub.url())
        .listen("drain = \"0s\"\ndeadline = \"30s\"")
        .authorizer("timeout = \"20s\"")
        .cache("allow_ttl = \"1h\"")
        .start()
        .await
}

/// F85. Nobody waits for another's answer without a record of its own.
#[tokio::test]
async fn a_thousand_equal_questions_are_one_call_and_a_thousand_records() {
    open_files::at_least(2048).unwrap();
    let stub = Stub::start(Answer::allow().after(Duration::from_millis(700))).await.unwrap();
    let proxy = patient(&stub).await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    let answers = futures_util::future::join_all((0..1_000).map(|_| proxy.ask(&asked))).await;
    assert_eq!(stub.asked(), 1);
    assert!(answers.iter().all(http::Answer::allowed));
    let records = proxy.decisions();
    let ids: BTreeSet<&str> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert_eq!((records.len(), ids.len()), (1_000, 1_000));
    assert_eq!(ids, answers.iter().map(http::Answer::decision).collect(), "each answer names its own");
    let led = records.iter().find(|record| record["data"]["origin"] == "authorizer").unwrap();
    let shared: Vec<&Value> = records.iter().filter(|record| record["data"]["origin"] == "coalesced").collect();
    assert!(!shared.is_empty(), "some came while it was being asked");
    for record in records.iter().filter(|record| record["id"] != led["id"]) {
        let data = &record["data"];
        let state = if data["origin"] == "coalesced" { "coalesced" } else { "hit" };
        assert_eq!((&data["cache"]["state"], &data["cache"]["record_id"]), (&state.into(), &led["id"]));
        assert!(data["cache"]["age_ms"].as_u64().is_some_and(|age| age >= 600), "{data:#}");
        assert!(
            data["chain"]["seq"].as_u64() > led["data"]["chain"]["seq"].as_u64(),
            "what a record names stands before it"
        );
        assert_eq!(data["authorizers"], serde_json::json!([]));
    }
    let coalesced = r#"countersign_decisions_total{decision="allow",origin="coalesced",route="default",action_class="read",advisory="false"}"#;
    assert_eq!(proxy.metric(coalesced).await, shared.len() as f64);
    assert_eq!(proxy.metric(r#"countersign_cache_requests_total{result="coalesced"}"#).await, shared.len() as f64);
    assert_eq!(proxy.metric("countersign_cache_waiting ").await, 0.0);
}

/// The client that asked first goes while others wait for its answer.
#[tokio::test]
async fn authorino_668_a_client_that_hangs_up_fails_nobody() {
    let gate = Gate::closed();
    let answer = Answer::allow().held_by(&gate).body_after(Duration::from_millis(300));
    let stub = Stub::start(answer).await.unwrap();
    let proxy = patient(&stub).await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    let mut leader = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let bytes = http::request("POST", "/", &[], asked.to_string().as_bytes());
    tokio::io::AsyncWriteExt::write_all(&mut leader, &bytes).await.unwrap();
    assert!(stub.wait_for(1).await);
    let followers = futures_util::future::join_all((0..20).map(|_| proxy.ask(&asked)));
    let hangs_up = async {
        let waiting = async || (proxy.metric("countersign_cache_waiting ").await == 20.0).then_some(());
        eventually("the others wait", waiting).await;
        drop(leader);
        gate.open();
    };
    let (answers, ()) = futures_util::future::join(followers, hangs_up).await;
    assert!(answers.iter().all(http::Answer::allowed));
    assert_eq!(stub.asked(), 1);
    assert_eq!(proxy.decisions().len(), 21, "its decision is recorded all the same");
}

/// A wrong key, made by hand: the authorizer looks at a condition that the configuration leaves out.
#[tokio::test]
async fn a_key_that_leaves_out_too_much_is_found_and_switched_off() {
    let stub = Stub::start(Script::by(|received| {
        let secret = received.body.windows(10).any(|ten| ten == b"top-secret");
        if secret { Answer::deny() } else { Answer::allow() }
    }))
    .await
    .unwrap();
    let cache = "allow_ttl = \"1h\"\nrecheck = 1.0\nignore = [\"X-Class\"]";
    let proxy = Countersign::asking(&stub.url()).cache(cache).start().await;
    let classed = |class: &str| {
        let mut asked = question("alice", "s3:GetObject", "reports", "a.txt");
        asked["input"]["conditions"]["X-Class"] = serde_json::json!([class]);
        asked
    };
    let first = proxy.ask(&classed("public")).await;
    assert_eq!(proxy.metric(r#"countersign_cache_enabled{route="default"}"#).await, 1.0);
    let wrong = proxy.ask(&classed("top-secret")).await;
    assert!(first.allowed() && wrong.allowed(), "what the operator has asked for");
    let enabled = r#"countersign_cache_enabled{route="default"}"#;
    eventually("it is off", async || (proxy.metric(enabled).await == 0.0).then_some(())).await;
    assert!(!proxy.ask(&classed("top-secret")).await.allowed());
    let found = eventually("it is recorded", async || events(&proxy.records(), "cache_switched_off").pop()).await;
    let data = &found["data"];
    assert_eq!(data["route"], "default");
    assert_eq!((&data["filled_by"], &data["hit_by"]), (&first.decision().into(), &wrong.decision().into()));
    assert_eq!(proxy.metric(r#"countersign_cache_rechecks_total{outcome="different"}"#).await, 1.0);
    let told = async || proxy.log().contains("two questions with one cache key have different answers").then_some(());
    eventually("the log says so", told).await;
}
