//! No credential leaves: canaries in every place of a question that may hold a secret, then every sink is searched for
//! each of them in every encoding. Names of people and objects: `names`; the configuration's own secrets: `keys`, and in
//! memory, once they were replaced: `wiped`.

mod keys;
mod names;
mod properties; // of librdkafka, misspelt
mod wiped; // in memory, once they were replaced

use std::path::Path;

use base64::Engine as _;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Answer, Script, Stub};
use serde_json::{Value, json};

use crate::support::stand::{TOPIC, in_kafka};
use crate::support::{Countersign, Running, eventually, question};

/// Each is unlike anything else. The numbers are where they are put.
fn canary(number: usize) -> String {
    format!("CANARY{number:02}x7Qz")
}

/// Conditions that hold secrets: known ones, and headers that a gateway might add.
const SECRET_CONDITIONS: [&str; 18] = [
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "Signature",
    "AWSAccessKeyId",
    "X-Amz-Server-Side-Encryption-Customer-Key",
    "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key",
    "Cookie",
    "X-Api-Key",
    "Proxy-Authorization",
    "X-Vault-Token",
    "Referer",
    "password",
    "token",
    "sessionpolicy",
    "email",
    "X-Forwarded-Authorization",
    "X-Custom-Header",
];

/// A question with a canary in every one of them, in the claims, in unknown members and in the signature.
fn poisoned() -> (Value, Vec<String>) {
    let mut asked = question("alice", "s3:GetObject", "reports", "a.txt");
    let mut canaries = Vec::new();
    let mut next = || {
        canaries.push(canary(canaries.len()));
        canaries.last().unwrap().clone()
    };
    for name in SECRET_CONDITIONS {
        asked["input"]["conditions"][name] = json!([next()]);
    }
    let signed = format!("AWS4-HMAC-SHA256 Credential=alice/x, SignedHeaders=host, Signature={}", next());
    asked["input"]["conditions"]["Authorization"] = json!([signed]);
    asked["input"]["conditions"]["X-Amz-Meta-Secret"] = json!([format!("-----BEGIN PRIVATE KEY-----{}", next())]);
    asked["input"]["claims"] = json!({
        "sessionPolicy": next(), "email": next(), "accessKey": "AKIA", "nested": { "password": next() },
        "parent": "alice", "exp": 1_795_442_707,
    });
    asked["input"]["unknown"] = json!({ "secret": next() });
    (asked, canaries)
}

/// A secret may hide in another encoding, at any of the three phases of base64.
fn forms(bytes: &[u8]) -> Vec<String> {
    let mut forms = vec![hex::encode(bytes), hex::encode_upper(bytes)];
    forms.extend(std::str::from_utf8(bytes).ok().map(str::to_owned));
    let percent: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    forms.extend([percent.clone(), percent.to_lowercase()]);
    for phase in 0..3 {
        let shifted = [&b"\0\0\0"[..phase], bytes].concat();
        let whole = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&shifted);
        // Only the part that does not depend on the neighbours.
        forms.push(whole[phase + 1..whole.len() - 2].to_owned());
    }
    forms
}

fn assert_clean<C: AsRef<[u8]> + std::fmt::Debug>(sink: &str, bytes: &[u8], canaries: &[C]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(!text.is_empty(), "{sink} is empty: nothing was searched");
    for canary in canaries {
        let as_it_is = bytes.windows(canary.as_ref().len()).any(|part| part == canary.as_ref());
        assert!(!as_it_is, "{canary:?} is in {sink}");
        for form in forms(canary.as_ref()) {
            assert!(!text.contains(&form), "{canary:?} is in {sink} as `{form}`");
        }
    }
}

fn spool_bytes(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            bytes.extend(spool_bytes(&path));
        } else {
            // Preallocated space is zeros.
            bytes.extend(std::fs::read(&path).unwrap().into_iter().filter(|byte| *byte != 0));
        }
    }
    bytes
}

/// Allowed, denied, misunderstood, echoed back by the authorizer, and unreadable.
async fn ask_in_every_way(proxy: &Running, stub: &Stub, asked: &Value) {
    let echo = Script::by(|received| Answer::new(received.body.clone()).status(500));
    for script in [Script::allow(), Script::deny(), echo, Answer::new(asked.to_string()).into(), Script::never()] {
        stub.set(script);
        proxy.ask(asked).await;
    }
    let half = &asked.to_string()[..900];
    proxy.post(half.as_bytes(), &[("Authorization", "Bearer CANARY00x7Qz"), ("traceparent", "CANARY00x7Qz")]).await;
}

#[tokio::test]
async fn no_secret_is_in_any_sink() {
    let lab = Laboratory::open().unwrap();
    let Some(kafka) = require(lab.kafka().start().await) else { return };
    let Some(collector) = require(lab.collector().start().await) else { return };
    kafka.create_topic(TOPIC, 1).await.unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let otlp = format!("[otlp]\nendpoint = \"{}\"\nsample = 1.0", collector.endpoint());
    let mut proxy = Countersign::asking(&stub.url())
        .authorizer("timeout = \"300ms\"")
        .kafka(&kafka.bootstrap(), TOPIC)
        .with(&otlp)
        .verbose()
        .start()
        .await;
    let (asked, canaries) = poisoned();
    ask_in_every_way(&proxy, &stub, &asked).await;
    let (metrics, status) = (proxy.metrics().await, proxy.status_pages().await);
    proxy.delivered().await;
    let published: Vec<u8> = in_kafka(&kafka).await.into_iter().flat_map(|raw| raw.bytes).collect();
    proxy.stop().await;
    eventually("the spans have arrived", async || collector.output().contains("decide").then_some(())).await;

    assert_eq!(proxy.decisions().len(), 6);
    assert_clean("Kafka", &published, &canaries);
    assert_clean("the spool", &spool_bytes(&proxy.spool()), &canaries);
    assert_clean("the log", proxy.log().as_bytes(), &canaries);
    assert_clean("the metrics", metrics.as_bytes(), &canaries);
    assert_clean("the status page", status.as_bytes(), &canaries);
    assert_clean("the traces", collector.output().as_bytes(), &canaries);
    let redacted = proxy.decisions()[0]["data"]["redacted"].to_string();
    assert!(redacted.contains("X-Amz-Security-Token"), "what was left out is named: {redacted}");
}

/// The search itself finds what it is there for.
#[test]
fn the_search_finds_a_canary_in_each_form() {
    let canaries = [canary(3)];
    for form in forms(canaries[0].as_bytes()) {
        let leak = format!("xx{form}yy");
        let found = std::panic::catch_unwind(|| assert_clean("a leak", leak.as_bytes(), &canaries));
        assert!(found.is_err(), "`{form}` was not found");
    }
    let inside = base64::engine::general_purpose::STANDARD.encode(format!("a{}b", canaries[0]));
    assert!(std::panic::catch_unwind(|| assert_clean("base64", inside.as_bytes(), &canaries)).is_err());
}
