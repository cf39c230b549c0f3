//! Several authorizers, the breaker and dialect `authzen` on the binary: what the configuration says is what happens, and the
//! record, the metrics and the log say so. The rules themselves are tested beside `policy::combine` and `decide`.

use loadtest::stub::{Answer, Script, Stub};
use serde_json::{Value, json};

use crate::support::{Countersign, eventually, question};

fn authorizers(urls: &[&Stub], combine: &str, more: &str) -> String {
    let mut toml = String::new();
    for (place, stub) in urls.iter().enumerate() {
        toml += &format!("[[authorizer]]\nname = \"a{place}\"\nurl = \"{}\"\n{more}\n", stub.url());
    }
    let names: Vec<String> = (0..urls.len()).map(|place| format!("\"a{place}\"")).collect();
    toml + &format!("[[route]]\nname = \"r\"\nask = [{}]\ncombine = \"{combine}\"\n", names.join(", "))
}

/// What the two authorizers say, and for `first`, `all` and `any`: reason, `decided_by`, `fallback`.
type Case = (fn() -> Script, fn() -> Script, [(&'static str, Value, bool); 3]);

#[tokio::test]
async fn authorizers_are_combined_as_the_route_says() {
    let (one, two) = (Stub::start(Script::allow()).await.unwrap(), Stub::start(Script::allow()).await.unwrap());
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    let undefined = || Script::from(Answer::new("{}"));
    let cases: [Case; 4] = [
        (
            Script::allow,
            Script::allow,
            [("allowed", json!("a0"), false), ("allowed", json!(null), false), ("allowed", json!("a0"), false)],
        ),
        (
            Script::allow,
            Script::deny,
            [("allowed", json!("a0"), false), ("denied", json!("a1"), false), ("allowed", json!("a0"), false)],
        ),
        (
            undefined,
            Script::allow,
            [("allowed", json!("a1"), true), ("undefined", json!(null), false), ("allowed", json!("a1"), false)],
        ),
        (
            undefined,
            Script::deny,
            [("denied", json!("a1"), true), ("denied", json!("a1"), false), ("undefined", json!(null), false)],
        ),
    ];
    for (place, combine) in ["first", "all", "any"].into_iter().enumerate() {
        let proxy = Countersign::custom(&authorizers(&[&one, &two], combine, "")).start().await;
        for (first, second, expected) in &cases {
            one.set(first());
            two.set(second());
            let answer = proxy.ask(&asked).await;
            let (reason, decided_by, fallback) = &expected[place];
            assert_eq!((answer.reason(), answer.allowed()), (*reason, *reason == "allowed"), "{combine}");
            let data = &proxy.record_of(&answer)["data"];
            assert_eq!((&data["decided_by"], &data["fallback"]), (decided_by, &json!(fallback)), "{combine} {reason}");
            let attempts = data["authorizers"].as_array().unwrap().len();
            assert!(attempts == 2 || combine == "first", "{data:#}");
        }
        let fallbacks = proxy.metric(r#"countersign_fallbacks_total{route="r"}"#).await;
        assert_eq!(fallbacks, if combine == "first" { 2.0 } else { 0.0 });
    }
}

/// An authorizer that is away is left alone after a few questions, and asked again once it is back.
#[tokio::test]
async fn a_breaker_opens_and_closes() {
    let mut stub = Stub::start(Script::allow()).await.unwrap();
    let breaker = "retries = 0\nbreaker = { failures = 3, open_for = \"1s\" }";
    let proxy = Countersign::asking(&stub.url()).authorizer(breaker).start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    let gauge = r#"countersign_authorizer_breaker_open{authorizer="authz"}"#;
    assert!(proxy.metrics().await.contains(&format!("{gauge} 0")), "it is there from the start");
    stub.stop().await;
    for _ in 0..3 {
        assert_eq!(proxy.ask(&asked).await.reason(), "connect");
    }
    assert_eq!(proxy.metric(gauge).await, 1.0);
    let spared = eventually("a question is spared", async || {
        Some(proxy.ask(&asked).await).filter(|answer| answer.reason() == "breaker_open")
    })
    .await;
    assert_eq!((spared.status, spared.allowed()), (200, false));
    let record = proxy.record_of(&spared);
    let attempt = &record["data"]["authorizers"][0];
    assert_eq!((&attempt["reason"], &attempt["attempt"]), (&json!("breaker_open"), &json!(0)), "{record:#}");
    assert_eq!(record["data"]["origin"], "fault");
    stub.start_again().unwrap();
    eventually("it is asked again", async || proxy.ask(&asked).await.allowed().then_some(())).await;
    assert_eq!(proxy.metric(gauge).await, 0.0);
    let log =
        eventually("the log says so", async || Some(proxy.log()).filter(|log| log.contains("breaker closed"))).await;
    assert!(log.contains("breaker open"), "{log}");
}

#[tokio::test]
async fn an_authzen_authorizer_is_asked_in_its_own_words() {
    let says = r#"{"decision":false,"context":{"reason":"not in the group staff"}}"#;
    let stub = Stub::start(Answer::new(says)).await.unwrap();
    let url = format!("http://{}/access/v1/evaluation", stub.address());
    let proxy = Countersign::asking(&url).authorizer("dialect = \"authzen\"").start().await;
    let mut asked = question("alice", "s3:GetObject", "reports", "a.txt");
    asked["input"]["conditions"]["X-Amz-Security-Token"] = json!(["canary"]);
    let answer = proxy.ask(&asked).await;
    assert_eq!(answer.reason(), "denied");
    let record = proxy.record_of(&answer);
    assert_eq!(record["data"]["authorizers"][0]["message"], "not in the group staff");
    let sent = stub.questions().pop().unwrap();
    assert_eq!(sent.target, "/access/v1/evaluation");
    let evaluation: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(
        (&evaluation["subject"]["id"], &evaluation["resource"]["id"]),
        (&json!("alice"), &json!("reports/a.txt"))
    );
    assert_eq!(evaluation["context"]["withheld"], json!(["X-Amz-Security-Token"]));
    assert!(!String::from_utf8_lossy(&sent.body).contains("canary"));
    for (body, reason) in [(r#"{"decision":true}"#, "allowed"), (r#"{"result":true}"#, "undefined")] {
        stub.set(Answer::new(body));
        assert_eq!(proxy.ask(&asked).await.reason(), reason, "{body}");
    }
}
