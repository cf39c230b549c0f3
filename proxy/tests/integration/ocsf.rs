//! `tail --format ocsf` against what the schema demands of each class and object: `vectors/ocsf-required.json` lists what
//! is required, of which type, and every other attribute that we use. An attribute that is not listed is a mistake, too.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, SystemTime};

use countersign::audit::chain::Chain;
use countersign::audit::envelope::{Draft, Source};
use countersign::audit::journal;
use countersign::audit::lifecycle::{AmendedAnswer, CheckpointData, Event, Of, OutageCause, ReadBy, Refusals};
use loadtest::stub::{Answer, Script, Stub};
use serde_json::{Map, Value, json};

use crate::support::{Countersign, binary, question};

const REQUIRED: &str = include_str!("../vectors/ocsf-required.json");
const REQUESTS: &str = include_str!("../vectors/minio-requests.jsonl");

fn rules() -> Value {
    serde_json::from_str(REQUIRED).unwrap()
}

/// Every complaint about an event.
fn complaints(event: &Value, rules: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let class = &rules["types"][event["class_uid"].to_string()];
    if class.is_null() {
        return vec![format!("no class {}", event["class_uid"])];
    }
    let mut required = rules["every_class"].as_object().unwrap().clone();
    required.extend(class["required"].as_object().unwrap().clone());
    let rule = json!({ "required": required, "optional": rules["optional"], "enums": rules["enums"] });
    check(&mut found, "", event, &rule);
    let number = |name: &str| event[name].as_u64();
    if !class["activity_id"].as_array().unwrap().contains(&event["activity_id"]) {
        found.push(format!("activity_id {}", event["activity_id"]));
    }
    if event["category_uid"] != class["category_uid"] {
        found.push(format!("category_uid {}", event["category_uid"]));
    }
    if number("type_uid") != number("class_uid").zip(number("activity_id")).map(|(class, at)| class * 100 + at) {
        found.push(format!("type_uid {}", event["type_uid"]));
    }
    if event["metadata"]["version"] != rules["version"] {
        found.push(format!("version {}", event["metadata"]["version"]));
    }
    for (at, kind) in rules["where"].as_object().unwrap() {
        for object in found_at(event, at) {
            check(&mut found, at, object, &rules["objects"][kind.as_str().unwrap()]);
        }
    }
    found
}

/// Objects at a pointer in which `*` stands for every element; of a list, its elements.
fn found_at<'e>(event: &'e Value, at: &str) -> Vec<&'e Value> {
    let (first, rest) = at.split_once("/*").unwrap_or((at, ""));
    let all = match event.pointer(first) {
        None => vec![],
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
    };
    if rest.is_empty() { all } else { all.into_iter().flat_map(|one| found_at(one, rest)).collect() }
}

fn check(found: &mut Vec<String>, at: &str, object: &Value, rule: &Value) {
    let Some(members) = object.as_object() else { return found.push(format!("{at} is no object")) };
    let empty = Map::new();
    let of = |name: &str| rule[name].as_object().unwrap_or(&empty).clone();
    for name in of("required").keys().filter(|name| !members.contains_key(*name)) {
        found.push(format!("{at}/{name} is missing"));
    }
    for (name, value) in members {
        let kind = of("required").get(name).or(of("optional").get(name)).and_then(Value::as_str).map(str::to_owned);
        let is = match value {
            Value::String(_) => "string",
            Value::Object(_) => "object",
            Value::Array(_) => "array",
            Value::Number(number) if number.is_u64() => "integer",
            _ => "something else",
        };
        if kind.as_deref() != Some(is) {
            found.push(format!("{at}/{name} is {is}, not {kind:?}"));
        }
        if of("enums").get(name).is_some_and(|words| !words.as_array().unwrap().contains(value)) {
            found.push(format!("{at}/{name} is {value}"));
        }
    }
    if let Some(some) = rule["at_least_one"].as_array()
        && !some.iter().any(|name| members.contains_key(name.as_str().unwrap()))
    {
        found.push(format!("{at} has none of {some:?}"));
    }
}

fn tail(args: &[&str]) -> Vec<Value> {
    let done =
        Command::new(binary()).arg("tail").args(args).args(["--no-follow", "--format", "ocsf"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One of each that Countersign can say about itself, and one of a later version.
fn own_records() -> tempfile::NamedTempFile {
    let source = Source::new("eu1");
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_439_107);
    let text = || "2026-11-23T13:05:07.000000Z".to_owned();
    let damage = |chain: &str| (chain.to_owned(), Some(1), Some(2));
    let (chain, first_seq, last_seq) = damage("eu1/a");
    let (cause, detail) = (OutageCause::Audit, "disk".to_owned());
    let events = [
        Event::ChainOpened { version: "1".into(), commit: None, config_generation: "g".into(), previous: None },
        Event::OutageStarted { cause, detail: detail.clone(), started: text() },
        Event::OutageEnded { cause, detail, started: text(), ended: text(), refused: Refusals::default() },
        Event::DamageFound { chain, segment: "s".into(), offset: 0, bytes: 1, first_seq, last_seq, before: None },
        Event::SegmentsDropped { chain: "eu1/a".into(), first_seq: 1, last_seq: 2, before: None },
        Event::KeyRotated { old: "o".into(), new: "n".into(), note: "t".into() },
        Event::UnauthorizedAttempts { count: 1, first: text(), last: text(), peers: vec![], peers_omitted: 0 },
        Event::AuditAccessed { by: ReadBy::Tail, uid: 0, at: text(), since: None, until: None },
        Event::ChainClosed {},
    ];
    let mut drafts: Vec<Draft> = events.iter().map(|event| journal::lifecycle(&source, at, event).unwrap()).collect();
    let of = Of::Range { chain: "eu1/a".into(), first: 1, last: 2 };
    drafts.extend(journal::amendment(&source, at, of, AmendedAnswer::Unknown));
    drafts.extend(journal::amendment(&source, at, Of::Record("the-id".into()), AmendedAnswer::Deny));
    drafts.extend(journal::checkpoint(
        &source,
        at,
        &CheckpointData { note: "n".into(), head: "h".into(), tree: vec![] },
    ));
    let (mut chain, mut lines) = (Chain::new("eu1/a".into()), Vec::new());
    for draft in drafts {
        chain.finish(&draft.head, &mut lines);
        lines.push(b'\n');
    }
    let later = json!({ "id": "x", "source": "/countersign/eu1", "type": "io.countersign.later.v1", "time": text(), "data": {} });
    lines.extend_from_slice(format!("{later}\n").as_bytes());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    file
}

#[test]
fn every_record_of_our_own_is_an_event_of_its_class() {
    let file = own_records();
    let events = tail(&["--file", file.path().to_str().unwrap()]);
    assert_eq!(events.len(), 13);
    for event in &events {
        assert_eq!(complaints(event, &rules()), Vec::<String>::new(), "{event:#}");
    }
    let kinds: Vec<(u64, &str)> =
        events.iter().map(|e| (e["type_uid"].as_u64().unwrap(), e["message"].as_str().unwrap())).collect();
    assert_eq!((kinds[0], kinds[8]), ((600_203, "chain_opened"), (600_204, "chain_closed")));
    assert!(kinds[1..8].iter().chain(&kinds[9..]).all(|(uid, _)| *uid == 99), "{kinds:?}");
    assert_eq!((&events[10]["metadata"]["correlation_uid"], kinds[12].1), (&json!("the-id"), "later"));
    assert_eq!(events[3]["severity"], "High");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_an_api_activity() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let cache = "allow_ttl = \"60s\"\ndeny_ttl = \"0s\"";
    let mut proxy = Countersign::asking(&stub.url()).cache(cache).start().await;
    for line in REQUESTS.lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        proxy.ask(&sample["body"]).await;
    }
    // From the cache, denied, failed, and not even read.
    for _ in 0..2 {
        proxy.ask(&question("alice", "s3:GetObject", "reports", "a")).await;
    }
    stub.set(Answer::deny());
    let denied = proxy.ask(&question("bob", "s3:DeleteObject", "reports", "b")).await;
    stub.set(Answer::allow().status(500));
    proxy.ask(&question("eve", "s3:PutObject", "reports", "c")).await;
    proxy.post(b"{\"input\":", &[]).await;
    let spool = proxy.spool();
    let id = denied.decision().to_owned();
    proxy.stop().await;
    let events = tail(&["--spool", spool.to_str().unwrap()]);
    for event in &events {
        assert_eq!(complaints(event, &rules()), Vec::<String>::new(), "{event:#}");
    }
    let api: Vec<&Value> = events.iter().filter(|event| event["class_uid"] == 6003).collect();
    assert_eq!(api.len(), REQUESTS.lines().count() + 5, "no decision is left out");
    let activities: BTreeSet<u64> = api.iter().filter_map(|event| event["activity_id"].as_u64()).collect();
    assert!([0, 2, 3, 4].iter().all(|id| activities.contains(id)), "{activities:?}");
    let of = api.iter().find(|event| event["metadata"]["uid"] == id).unwrap();
    assert_eq!((&of["status"], &of["type_uid"], &of["severity"]), (&json!("Failure"), &json!(600_304), &json!("Low")));
    assert_eq!(of["actor"]["user"]["name"], "bob");
    assert_eq!(of["actor"]["authorizations"][0], json!({"decision": "deny", "policy": {"name": "authz"}}));
    assert_eq!(of["api"]["operation"], "s3:DeleteObject");
    assert_eq!(of["src_endpoint"]["ip"], "203.0.113.9");
    assert_eq!(of["resources"][0]["name"], "reports/b");
    assert_eq!((&of["unmapped"]["purpose"], &of["unmapped"]["reason"]), (&json!("access"), &Value::Null));
    let cached = api.iter().find(|event| event["unmapped"]["origin"] == "cache").unwrap();
    assert_eq!(cached["actor"]["authorizations"][0], json!({"decision": "allow", "policy": {"name": "authz"}}));
    each_rule_can_fail(of);
}

/// Whatever is required is missed when it is not there, and noticed when it is of another type.
fn each_rule_can_fail(event: &Value) {
    let rules = rules();
    let required = ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];
    let required = required.into_iter().chain(["actor", "api", "src_endpoint"]).map(|name| ("", name));
    let inner = [("/metadata", "version"), ("/metadata", "product"), ("/metadata/product", "vendor_name")];
    for (parent, name) in required.chain(inner).chain([("/api", "operation")]) {
        let mut less = event.clone();
        less.pointer_mut(parent).and_then(Value::as_object_mut).unwrap().remove(name);
        assert!(!complaints(&less, &rules).is_empty(), "{parent}/{name}");
        let mut other = event.clone();
        other.pointer_mut(parent).unwrap()[name] = json!(true);
        assert!(!complaints(&other, &rules).is_empty(), "{parent}/{name} of another type");
    }
    for at in ["/actor/authorizations/0/policy", "/src_endpoint", "/resources/0"] {
        let mut bare = event.clone();
        *bare.pointer_mut(at).unwrap() = json!({});
        assert!(!complaints(&bare, &rules).is_empty(), "{at} says nothing");
    }
}
