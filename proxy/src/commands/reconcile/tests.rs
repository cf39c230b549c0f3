//! `reconcile` over files, as its caller sees it.

use clap::Parser;
use serde_json::json;

use super::*;
use crate::commands::readers::Nothing;
use crate::policy::limited::sha256_hex;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    reconcile: ReconcileArgs,
}

/// Second `at` of a minute that both logs know.
fn time(at: u32) -> String {
    format!("2026-11-23T13:00:{at:02}.000000Z")
}

fn entry(at: u32, api: &str, signature: Option<&str>, status: u16) -> Value {
    let header = signature.map_or_else(|| json!({}), |s| json!({"Authorization": format!("AWS4 Signature={s}")}));
    json!({"time": time(at), "requestID": format!("R{at}"), "accessKey": "alice", "requestHeader": header,
        "api": {"name": api, "bucket": "photos", "object": "a\u{1b}[31m.jpg", "statusCode": status, "timeToResponseInNS": "1000"}})
}

fn decision(at: u32, signature: Option<&str>, decision: &str, advisory: bool) -> Value {
    json!({"id": format!("D{at}"), "time": time(at), "data": {"decision": decision, "reason": "denied", "advisory": advisory,
        "action": "s3:GetObject", "actor": {"account": "alice"}, "resource": {"bucket": "photos", "object": "a.jpg"},
        "request": {"client": "eu1", "signature_sha256": signature.map(|s| sha256_hex(s.as_bytes()))}}})
}

/// Both logs begin at second 0 and end at 59, with something that joins.
fn run(entries: &[Value], records: &[Value], more: &[&str]) -> Result<(Exit, Value), Failure> {
    let lines = |all: &[Value]| all.iter().map(|value| value.to_string() + "\n").collect::<String>();
    let dir = tempfile::tempdir().unwrap();
    let [audit, trail] = ["audit", "trail"].map(|name| dir.path().join(name));
    let edge = |at| (entry(at, "GetObject", Some("edge"), 200), decision(at, Some("edge"), "allow", false));
    let (first, last) = (edge(0), edge(59));
    std::fs::write(&audit, lines(&[&[first.0], entries, &[last.0]].concat()) + "{\"trigger\":\"healing\"}\n").unwrap();
    std::fs::write(&trail, lines(&[&[first.1], records, &[last.1]].concat())).unwrap();
    let (audit, trail) = (audit.display().to_string(), trail.display().to_string());
    let args = [&["x", "--minio-audit", &audit, "--file", &trail, "--json"], more].concat();
    let cli = Cli::try_parse_from(args).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut out = Vec::new();
    let exit = reconcile(&cli.reconcile, &Nothing, &mut out)?;
    Ok((exit, serde_json::from_slice(&out).unwrap()))
}

fn counts(entries: &[Value], records: &[Value]) -> (Exit, Value) {
    let (exit, report) = run(entries, records, &[]).unwrap();
    (exit, report["counts"].clone())
}

#[test]
fn what_has_its_counterpart_is_explained() {
    let operations = [entry(10, "GetObject", Some("a"), 200), entry(20, "GetObject", Some("b"), 403)];
    let decisions = [
        decision(10, Some("a"), "allow", false),
        decision(11, Some("a"), "deny", true),
        decision(20, Some("b"), "deny", false),
        decision(21, Some("b"), "deny", false),
    ];
    let (exit, counts) = counts(&operations, &decisions);
    assert_eq!(exit, Exit::Fine);
    assert_eq!((&counts["operations_joined"], &counts["decisions_joined"]), (&json!(4), &json!(6)), "{counts}");
    assert_eq!(counts["audit_lines_passed_over"], 1);
}

#[test]
fn a_served_operation_without_a_decision_is_found() {
    let (exit, report) = run(&[entry(30, "PutObject", Some("x"), 200)], &[], &[]).unwrap();
    assert_eq!(exit, Exit::Found);
    assert_eq!(report["counts"]["served_without_decision"], 1);
    let example = &report["served_without_decision"][0];
    assert_eq!(
        (&example["id"], &example["what"], &example["outcome"]),
        (&json!("R30"), &json!("PutObject"), &json!("status 200"))
    );
}

#[test]
fn a_decision_without_an_operation_is_found_once() {
    let lost = decision(30, Some("x"), "allow", false);
    let (exit, report) = run(&[], &[lost.clone(), lost], &[]).unwrap();
    assert_eq!(exit, Exit::Found);
    assert_eq!(report["counts"]["decisions_without_operation"], 1, "a duplicate is the same decision");
    assert_eq!(report["decisions_without_operation"][0]["id"], "D30");
}

#[test]
fn a_served_operation_that_was_denied_is_found() {
    let denied = |api: &str, more: &[Value]| {
        let operations = [&[entry(30, api, Some("x"), 200)], more].concat();
        counts(&operations, &[decision(30, Some("x"), "deny", false), decision(31, Some("x"), "deny", true)])
    };
    let (exit, found) = denied("GetObject", &[]);
    assert_eq!((exit, &found["served_though_denied"]), (Exit::Found, &json!(1)));
    // Keys of a multi-delete have outcomes of their own, and of two equal requests one may have been served.
    assert_eq!(denied("DeleteMultipleObjects", &[]).0, Exit::Fine);
    assert_eq!(denied("GetObject", &[entry(31, "GetObject", Some("x"), 403)]).0, Exit::Fine);
    // An advisory deny is no outcome.
    let advisory = counts(&[entry(30, "GetObject", Some("x"), 200)], &[decision(30, Some("x"), "deny", true)]);
    assert_eq!(advisory.0, Exit::Fine);
}

#[test]
fn what_is_known_to_have_no_counterpart_is_counted_apart() {
    let operations = [
        entry(10, "GetObject", None, 200),
        entry(11, "AssumeRoleWithWebIdentity", Some("s"), 200),
        entry(12, "GetObject", Some("expired"), 403),
    ];
    let (exit, counts) = counts(&operations, &[decision(10, None, "deny", true)]);
    assert_eq!(exit, Exit::Fine, "{counts}");
    for name in ["operations_unsigned", "operations_never_asked", "refused_without_decision", "decisions_unsigned"] {
        assert_eq!(counts[name], 1, "{name}");
    }
}

#[test]
fn what_the_other_side_cannot_know_yet_is_outside() {
    // The audit log's entry of the first, and the record of the second, may still be under way.
    let (exit, counts) = counts(&[entry(56, "GetObject", Some("y"), 200)], &[decision(57, Some("x"), "allow", false)]);
    assert_eq!((exit, &counts["operations_outside"], &counts["decisions_outside"]), (Exit::Fine, &json!(1), &json!(1)));
}

#[test]
fn times_narrow_both_sides_and_other_filters_are_refused() {
    let (operation, lost) = ([entry(30, "PutObject", Some("x"), 200)], [decision(31, Some("y"), "allow", false)]);
    let until = time(25);
    let (exit, report) = run(&operation, &lost, &["--until", &until]).unwrap();
    assert_eq!((exit, &report["counts"]["operations"]), (Exit::Fine, &json!(1)), "{report}");
    let (_, report) = run(&operation, &lost, &["--client", "eu2"]).unwrap();
    assert_eq!(report["counts"]["decisions"], 0);
    assert_eq!(run(&operation, &lost, &["--bucket", "photos"]).unwrap_err().code(), 64);
}

#[test]
fn people_read_counts_examples_and_limits() {
    let mut tables = Tables::new(1);
    for (at, signature) in [(0, "edge"), (30, "x"), (31, "z"), (59, "edge")] {
        let operation = crate::commands::readers::minio_audit::Operation::read(
            entry(at, "PutObject", Some(signature), 200).to_string().as_bytes(),
        );
        tables.operation(operation.unwrap()).unwrap();
    }
    for at in [0, 59] {
        tables.seen(time_us(&decision(at, None, "allow", false)).unwrap());
        tables.decision(&decision(at, Some("edge"), "allow", false));
    }
    let text = tables.report(&Filter::new(&Default::default()).unwrap()).text();
    for part in [
        "audit log  2026-11-23T13:00:00.000000Z to 2026-11-23T13:00:59.000000Z\n",
        "         2 WERE SERVED WITHOUT A DECISION\n",
        "    2026-11-23T13:00:30.000000Z  PutObject  alice  photos/a\\u{1b}[31m.jpg  status 200  R30\n",
        "something is unexplained\n\nWhat this cannot know:\n",
        "equal requests of one second share a signature",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("R31") && !text.contains('\u{1b}'), "one example, and printable: {text}");
}
