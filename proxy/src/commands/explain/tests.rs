//! `explain` over files, as its caller sees it: whole texts.

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::commands::readers::Nothing;
use crate::policy::advice::Advice;
use crate::policy::limited::sha256_hex;
use crate::policy::verdict::Reason;
use crate::trace::Always;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    explain: ExplainArgs,
}

/// Ids whose own time is second `at` of 2026-11-23T13:00.
fn id(at: u64) -> String {
    let time = uuid::Timestamp::from_unix(uuid::NoContext, 1_795_438_800 + at, 0);
    let made = Uuid::new_v7(time).to_string();
    // Without chance, so that texts are the same each time.
    format!("{}7000-8000-{at:012}", &made[..14])
}

fn record(at: u64) -> Value {
    json!({"id": id(at), "type": "io.countersign.decision.v1", "time": format!("2026-11-23T13:00:{at:02}.000000Z"), "data": {
        "decision": "allow", "reason": "allowed", "origin": "authorizer", "decided_by": "opa", "route": "default",
        "purpose": "access", "advisory": false, "action": "s3:GetObject", "deny_only": false,
        "actor": {"account": "alice", "principal": "alice", "principal_from": "account", "assurance": "authenticated",
                  "session_policy_sha256": null},
        "resource": {"bucket": "photos", "object": "2026/a.jpg", "target": null, "prefix": null},
        "request": {"client": "minio-eu1", "reported_ip": "203.0.113.9", "signature_sha256": sha256_hex(b"sig"), "suspicious": []},
        "authorizers": [{"name": "opa", "decision": "allow", "reason": "allowed", "status": 200, "attempt": 1,
                         "latency_us": 812, "decision_id": "d-1", "revision": null, "message": null}],
        "fallback": false, "cache": {"state": "miss", "age_ms": null, "record_id": null}, "latency_us": 1023,
        "durability": "synced", "config_generation": "a91c03ff", "trace_id": "000000000000000000000000000000ff",
        "chain": {"id": "eu1/9c", "seq": at, "prev": "00"}}})
}

fn fault(at: u64, reason: &str) -> Value {
    let mut record = record(at);
    let data = &mut record["data"];
    (data["decision"], data["reason"], data["origin"]) = ("deny".into(), reason.into(), "fault".into());
    data["decided_by"] = Value::Null;
    for (name, value) in
        [("decision", Value::Null), ("reason", reason.into()), ("status", Value::Null), ("decision_id", Value::Null)]
    {
        data["authorizers"][0][name] = value;
    }
    record
}

fn amendment(of: Value, answer: &str) -> Value {
    json!({"id": id(50), "type": "io.countersign.amendment.v1", "time": "2026-11-23T13:00:50.000000Z",
        "data": {"of": of, "answer": answer}})
}

fn run_with(records: &[Value], traces: &Traces, args: &[&str]) -> Result<(Exit, String, String), Failure> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), records.iter().map(|value| value.to_string() + "\n").collect::<String>()).unwrap();
    let path = file.path().display().to_string();
    let cli =
        Cli::try_parse_from([&["x", "--file", &path], args].concat()).map_err(|e| Failure::Usage(e.to_string()))?;
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    let exit = explain(&cli.explain, &Nothing, traces, &mut out, &mut complaints)?;
    Ok((exit, String::from_utf8(out).unwrap(), String::from_utf8(complaints).unwrap()))
}

fn run(records: &[Value], args: &[&str]) -> (Exit, String, String) {
    run_with(records, &Traces::Unknown, args).unwrap()
}

#[test]
fn an_allow_by_its_id() {
    let (exit, text, _) = run(&[record(0), record(1)], &[&id(1)]);
    assert_eq!(exit, Exit::Fine);
    let expected = format!(
        "2026-11-23T13:00:01.000000Z  allow  {}
  alice asked for s3:GetObject on photos/2026/a.jpg, from 203.0.113.9 as MinIO reports. MinIO `minio-eu1` put the question.
  Authorizer `opa` decided on route `default`: allowed.
  Asked `opa`, attempt 1: allowed after 812 µs, status 200; its own id `d-1`.
  Decided within 1.0 ms; recorded (synced) as number 1 of chain eu1/9c, configuration a91c03ff.
  Trace 000000000000000000000000000000ff: with the defaults of `[otlp]` one in a hundred like it is kept. `--config` says it for certain.

",
        id(1)
    );
    assert_eq!(text, expected);
}

#[test]
fn a_fault_says_whom_to_blame_and_what_to_do() {
    let mut late = fault(2, "timeout");
    let second = json!({"name": "legacy", "decision": null, "reason": "breaker_open", "status": null, "attempt": 0, "latency_us": 0});
    late["data"]["authorizers"].as_array_mut().unwrap().push(second);
    let (exit, text, _) = run(&[late], &[&id(2)]);
    assert_eq!(exit, Exit::Found, "a deny is something found");
    let expected = format!(
        "2026-11-23T13:00:02.000000Z  deny  {}
  alice asked for s3:GetObject on photos/2026/a.jpg, from 203.0.113.9 as MinIO reports. MinIO `minio-eu1` put the question.
  Nobody decided on route `default`: it was denied for timeout (one attempt took longer than timeout). To blame: the authorizer, or the way to it.
  Asked `opa`, attempt 1: timeout after 812 µs.
  Asked `legacy`: not at all (breaker_open).
  Decided within 1.0 ms; recorded (synced) as number 2 of chain eu1/9c, configuration a91c03ff.
  Trace 000000000000000000000000000000ff: with the defaults of `[otlp]` it was kept: it is a deny. `--config` says it for certain.
  -> What to do: look at its latency; raise timeout within the deadline.

",
        id(2)
    );
    assert_eq!(text, expected);
}

#[test]
fn every_reason_has_its_advice() {
    for reason in Reason::ALL {
        let (_, text, _) = run(&[fault(3, reason.as_str())], &[&id(3)]);
        match Advice::on(*reason).what_to_do {
            Some(what) => assert!(text.contains(&format!("-> What to do: {what}.\n")), "{text}"),
            None => assert!(text.contains("-> The policy says so"), "{text}"),
        }
    }
    let (_, text, _) = run(&[fault(3, "of_the_future")], &[&id(3)]);
    assert!(text.contains("does not know the reason `of_the_future`"), "{text}");
    assert!(text.contains("  Decided on route `default`: of_the_future. The record does not say by whom.\n"), "{text}");
}

#[test]
fn an_answer_from_the_cache_leads_to_who_gave_it() {
    let mut hit = record(9);
    let data = &mut hit["data"];
    (data["origin"], data["authorizers"]) = ("cache".into(), json!([]));
    data["cache"] = json!({"state": "hit", "age_ms": 8100, "record_id": id(1)});
    let (_, text, _) = run(&[record(0), record(1), hit.clone()], &[&id(9)]);
    let told = format!(
        "  The answer is from the cache: it was given 8.1 s before, in record {}.\n  There asked `opa`, attempt 1: allowed after 812 µs, status 200; its own id `d-1`.\n",
        id(1)
    );
    assert!(text.contains(&told), "{text}");
    let (_, text, _) = run(&[hit.clone()], &[&id(9)]);
    assert!(text.contains("That record was not found"), "{text}");
    hit["data"]["cache"]["state"] = "coalesced".into();
    assert!(run(&[record(1), hit], &[&id(9)]).1.contains("shared with an equal question that was under way"));
}

#[test]
fn what_was_amended_later_is_told() {
    let [one, range, other] = [
        (json!(id(4)), "deny"),
        (json!({"chain": "eu1/9c", "first": 3, "last": 5}), "unknown"),
        (json!({"chain": "eu1/9c", "first": 5, "last": 6}), "unknown"),
    ]
    .map(|(of, answer)| run(&[record(4), amendment(of, answer)], &[&id(4)]).1);
    assert!(one.contains("the answer that left was a deny, because the record was durable too late"), "{one}");
    assert!(range.contains("before it could know whether the answer left"), "{range}");
    assert!(!other.contains("Amended"), "{other}");
}

#[test]
fn who_what_and_when_find_several() {
    let mut bob = record(7);
    bob["data"]["actor"]["account"] = "bob".into();
    let records = [record(1), record(6), bob, record(40)];
    let around = ["--account", "alice", "--object", "2026/*", "--time", "2026-11-23T13:00:05Z", "--within", "10s"];
    let (_, text, _) = run(&records, &around);
    assert_eq!(text.matches("asked for s3:GetObject").count(), 2, "{text}");
    assert!(text.contains(&id(1)) && text.contains(&id(6)));
    let (_, text, more) = run(&records, &[&around[..], &["--limit", "1"]].concat());
    assert_eq!(text.matches("asked for").count(), 1);
    assert_eq!(more, "1 more match; `--limit` shows more, or narrow it down\n");
    let (_, text, _) = run(&[record(1), record(1)], &[&id(1)]);
    assert_eq!(text.matches("asked for").count(), 1, "a duplicate is the same record");
}

#[test]
fn a_request_id_leads_through_the_audit_log() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let entry = |request: &str, header: Value| {
        json!({"time": "2026-11-23T13:00:09Z", "requestID": request, "accessKey": "alice", "requestHeader": header,
            "api": {"name": "GetObject", "bucket": "photos", "object": "2026/a.jpg", "statusCode": 200, "timeToResponseInNS": "8000000000"}})
    };
    let signed = entry("17F0", json!({"Authorization": "AWS4-HMAC-SHA256 Signature=sig"}));
    std::fs::write(log.path(), format!("{signed}\n{}\n", entry("17F1", json!({})))).unwrap();
    let log = log.path().display().to_string();
    let records = [record(1), record(2), record(40)];
    let (exit, text, _) = run(&records, &["--request-id", "17F0", "--minio-audit", &log]);
    assert_eq!(exit, Exit::Fine);
    assert!(text.starts_with("MinIO: GetObject photos/2026/a.jpg by alice, status 200; 2 questions.\n"), "{text}");
    assert!(text.contains(&id(1)) && text.contains(&id(2)) && !text.contains(&id(40)), "{text}");
    let (_, text, _) = run(&records[..1], &["--request-id", "17F0", "--minio-audit", &log]);
    assert!(text.starts_with("MinIO: GetObject photos/2026/a.jpg by alice, status 200; 1 question.\n"), "{text}");
    let why =
        |id: &str| run_with(&records, &Traces::Unknown, &["--request-id", id, "--minio-audit", &log]).unwrap_err();
    assert!(why("17F1").to_string().contains("not signed in a way"), "{}", why("17F1"));
    assert!(why("nope").to_string().contains("has the request id `nope`"));
    assert_eq!(why("nope").code(), 2);
}

#[test]
fn nothing_found_says_why_that_may_be() {
    let (exit, text, why) = run(&[record(5)], &[&id(4)]);
    assert_eq!((exit, text.as_str()), (Exit::Failed, ""));
    for part in ["no decision has the id", "1 records from 2026-11-23T13:00:05", "503 or a 401", "not delivered yet"] {
        assert!(why.contains(part), "{part} in {why}");
    }
    let (_, _, why) = run(&[record(5)], &["--account", "carol", "--time", "2026-11-23T13:00:05Z"]);
    assert!(why.contains("MinIO never asked") && why.contains("pseudonyms"), "{why}");
}

#[test]
fn traces_are_told_by_the_configuration() {
    let generation = || "a91c03ff".to_owned();
    let always = Always { deny: true, fault: true, slow: None };
    let told = |traces: &Traces, record: Value| run_with(&[record], traces, &[&id(2)]).unwrap().1;
    let on = |sample, generation| Traces::On { sample, always, generation };
    assert!(told(&on(0.0, generation()), record(2)).contains("00ff: not kept: it is not in the sample.\n"));
    assert!(told(&on(1.0, generation()), record(2)).contains("00ff: kept: it is in the sample.\n"));
    assert!(told(&on(0.0, generation()), fault(2, "dns")).contains("00ff: kept: it is a deny.\n"));
    let mut advisory = fault(2, "dns");
    advisory["data"]["advisory"] = true.into();
    assert!(told(&on(0.0, generation()), advisory).contains("00ff: kept: it is a fault.\n"));
    assert!(
        told(&Traces::Off { generation: "b".into() }, record(2))
            .contains("`[otlp]` is not configured (by a configuration")
    );
}

#[test]
fn what_is_told_of_defaults_is_what_the_defaults_are() {
    let text = format!("{}[otlp]\n", include_str!("../../../../config/minimal.toml"));
    let otlp = config::parse(&text, "c.toml", &|_| None).unwrap().config.otlp.unwrap();
    let (told, meant) = (story::DEFAULTS, parts::always(&otlp));
    assert_eq!((told.deny, told.fault, told.slow), (meant.deny, meant.fault, meant.slow));
    assert_eq!(otlp.sample, 0.01, "one in a hundred");
}

#[test]
fn callers_text_cannot_act_on_the_terminal() {
    let mut record = record(1);
    for (at, value) in [
        ("/data/resource/object", "\u{1b}[2J"),
        ("/data/actor/account", "a\nb\u{202e}"),
        ("/data/action", "s3:\u{9b}x"),
    ] {
        *record.pointer_mut(at).unwrap() = value.into();
    }
    record["data"]["authorizers"][0]["message"] = "\u{7}\u{1b}]0;x".into();
    let (_, text, _) = run(&[record], &[&id(1)]);
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    assert_eq!(text.lines().count(), 7, "{text}");
}

#[test]
fn json_has_the_records_and_the_sentences() {
    let (_, text, _) = run(&[fault(2, "dns"), amendment(json!(id(2)), "deny")], &["--json", &id(2)]);
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&told["record"]["id"], &told["source"]), (&json!(id(2)), &Value::Null));
    assert_eq!(told["amendments"][0]["data"]["answer"], "deny");
    assert_eq!(told["what_to_do"], json!(["What to do: resolver, search path."]));
}

#[test]
fn which_decision_must_be_said() {
    for args in [
        &[][..],
        &["--account", "alice"],
        &["--time", "10m"],
        &["--request-id", "x"],
        &["--minio-audit", "f"],
        &["nonsense"],
    ] {
        assert_eq!(run_with(&[], &Traces::Unknown, args).unwrap_err().code(), 64, "{args:?}");
    }
}
