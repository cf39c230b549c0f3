//! `check --probe` on authorizers, good and bad: what it says of each, word for word, and how it ends.

use std::process::Command;
use std::time::Duration;

use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Answer, Framing, Script, Stub};
use serde_json::Value;

use crate::support::binary;

/// Exit code, and what is said of the authorizer, without its name and with every time as `N ms`.
async fn probe(url: &str, more: &str) -> (i32, Vec<String>) {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("countersign.toml");
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:8281\"\n[[authorizer]]\nname = \"a\"\nurl = \"{url}\"\n{more}\n[audit]\nspool = {:?}\n",
        home.path().join("spool")
    );
    std::fs::write(&config, text).unwrap();
    let mut check = Command::new(binary());
    check.arg("check").arg("--probe").arg(&config).env("PROBE_TOKEN", "Bearer probe");
    let done = tokio::task::spawn_blocking(move || check.output().unwrap()).await.unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    let lines = said.lines().filter_map(|line| line.strip_prefix("authorizer `a` ")).map(without_times).collect();
    (done.status.code().unwrap(), lines)
}

fn without_times(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_time = |place: usize, word: &str| {
        word.parse::<f64>().is_ok()
            && words.get(place + 1).is_some_and(|next| next.trim_end_matches([',', ';']) == "ms")
    };
    let shown = words.iter().enumerate().map(|(place, word)| if is_time(place, word) { "N" } else { *word });
    shown.collect::<Vec<_>>().join(" ")
}

const PATIENT: &str = "timeout = \"10s\"";
const FAST: &str = "200 questions: p50 N ms, p99 N ms, within timeout N ms";
const BOOL: &str = r#"answers in the form {"result": true}"#;
const EVERYTHING: &str = "reading an object; reading an object, denyOnly; writing an object; listing a bucket; listing all \
                          buckets; an anonymous caller; a temporary key with claims and groups; an admin action; an admin \
                          action, denyOnly; a KMS action; root";
const EVERYBODY: &str = "allows an account that nobody knows (`countersign-check`): reading an object; writing an object; \
                         listing a bucket; listing all buckets; an anonymous caller; a temporary key with claims and \
                         groups; an admin action; a KMS action";
const SILENT: &str = "allows with `denyOnly` and without: whether it looks at it does not show";
const IGNORES: &str = "answers `denyOnly` like any other question: through it nobody deletes single versions or makes access \
                       keys of their own; `deny_only = \"deny\"` spares the question";

#[tokio::test(flavor = "multi_thread")]
async fn an_opa_with_the_sample_policy_is_fine() {
    let Some(opa) = require(Laboratory::open().unwrap().opa().start().await) else { return };
    let honours = "honours `denyOnly`: it lets pass what nothing forbids, and only that";
    let nonsense = "answers 200 to nonsense (`{}`), and does not allow it";
    assert_eq!(probe(&opa.url("minio/allow"), PATIENT).await, (0, lines(&[BOOL, honours, nonsense, FAST])));
    // A path that is none: OPA says 200 and nothing else.
    let undefined =
        format!("has no verdict about {EVERYTHING}: MinIO denies without a trace, Countersign denies (undefined)");
    let nothing = "gave no verdict to any question";
    assert_eq!(probe(&opa.url("minio/alow"), PATIENT).await, (1, lines(&[nothing, &undefined, nonsense])));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opa_without_a_default_has_no_verdict_for_some() {
    let policy = "package minio\nallow := {\"allow\": true, \"why\": \"root\"} if input.owner\n\
                  allow := {\"allow\": false} if { not input.owner; startswith(input.action, \"s3:\") }\n";
    let lab = Laboratory::open().unwrap();
    let Some(opa) = require(lab.opa().policy(policy).start().await) else { return };
    let undefined = "has no verdict about an admin action; an admin action, denyOnly; a KMS action: MinIO denies without a \
                     trace, Countersign denies (undefined)";
    let form = r#"answers in the form {"result": {"allow": true}}"#;
    let nonsense = "answers 200 to nonsense (`{}`), and does not allow it";
    assert_eq!(probe(&opa.url("minio/allow"), PATIENT).await, (1, lines(&[form, undefined, IGNORES, nonsense, FAST])));
}

fn lines(expected: &[&str]) -> Vec<String> {
    expected.iter().map(|line| (*line).to_owned()).collect()
}

async fn of_stub(script: impl Into<Script>, more: &str) -> (i32, Vec<String>) {
    let stub = Stub::start(script).await.unwrap();
    probe(&stub.url(), more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn evil_authorizers_are_called_by_their_names() {
    let other_success = format!("answers 201: MinIO allows, Countersign denies (bad_status), about {EVERYTHING}");
    let refuses = "refuses what is no question";
    let allows = "allows what is no question: `nonsense`";
    assert_eq!(of_stub(Script::allow(), PATIENT).await, (1, lines(&[BOOL, EVERYBODY, SILENT, allows, FAST])));
    assert_eq!(of_stub(Answer::allow().status(201), PATIENT).await, (1, lines(&[BOOL, &other_success, refuses])));
    let denies = "answers 200 to nonsense (`nonsense`), and does not allow it";
    assert_eq!(of_stub(Script::deny(), PATIENT).await, (1, lines(&[BOOL, IGNORES, denies, FAST])));
    let doubled = Answer::new(r#"{"result":false,"Result":true}"#);
    let ambiguous = format!("answers 200: MinIO allows, Countersign denies (ambiguous_answer), about {EVERYTHING}");
    assert_eq!(of_stub(doubled, PATIENT).await, (1, lines(&[BOOL, &ambiguous, denies])));
    let until_close = Answer::allow().framing(Framing::UntilClose);
    let lost = format!("answers 200: MinIO allows, Countersign denies (connection_lost), about {EVERYTHING}");
    assert_eq!(of_stub(until_close, PATIENT).await, (1, lines(&[BOOL, &lost, denies])));
    let gzip = format!("answers 200 about {EVERYTHING}: Countersign denies (content_encoding)");
    assert_eq!(of_stub(Answer::allow().gzip(), PATIENT).await, (1, lines(&[BOOL, &gzip, denies])));
    let dialect = "answers {\"decision\": true}: MinIO denies everything, Countersign denies everything (undefined); `dialect \
                   = \"authzen\"` reads it";
    let (code, said) = of_stub(Answer::new(r#"{"decision":true}"#), PATIENT).await;
    assert_eq!((code, said[0].as_str()), (1, dialect));
    let authzen = format!("{PATIENT}\ndialect = \"authzen\"");
    let (_, said) = of_stub(Answer::new(r#"{"decision":false}"#), &authzen).await;
    assert_eq!(said[0], r#"answers in the form {"decision": true}"#);
}

/// A server that says it by its status, as reverse proxies have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_no_verdict() {
    let forward = Script::by(|received| {
        let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        Answer::new("").status(if asked["input"]["owner"] == true { 200 } else { 403 })
    });
    let (code, said) = of_stub(forward, PATIENT).await;
    let translator = "answers by its status, with no JSON: MinIO denies everything, Countersign denies everything; it needs a \
                      translator";
    assert_eq!((code, said[0].as_str()), (1, translator), "{said:#?}");
    assert!(said.contains(&"answers 200 about root: Countersign denies (malformed_answer)".to_owned()), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_named_and_its_target_is_left_alone() {
    let target = Stub::start(Script::allow()).await.unwrap();
    let (code, said) = of_stub(Script::redirect(307, &target.url()), PATIENT).await;
    let redirects = format!(
        "redirects (307) when asked about {EVERYTHING}: MinIO would follow it to whoever answers there, Countersign denies \
         (redirect)"
    );
    assert_eq!((code, said), (1, lines(&[BOOL, &redirects, "refuses what is no question"])));
    assert_eq!((target.asked(), target.connections().opened), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_looks_at_is_named() {
    let with = format!("{PATIENT}\ntoken = {{ env = \"PROBE_TOKEN\" }}");
    let (code, said) = of_stub(Script::deny(), &with).await;
    assert!(code == 1 && said.contains(&"ignores its token: without one it answers as well".to_owned()), "{said:#?}");
    let asks = Script::by(|received| match received.header("authorization") {
        Some("Bearer probe") => Answer::deny(),
        _ => Answer::new("{}").status(401),
    });
    let (_, said) = of_stub(asks, &with).await;
    assert!(said.contains(&"asks for its token: without one it answers 401".to_owned()), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slowness_is_told_against_the_timeout() {
    let slow = Answer::deny().after(Duration::from_millis(60));
    let (code, said) = of_stub(slow, "timeout = \"40ms\"").await;
    assert_eq!(code, 1);
    assert_eq!(said.last().unwrap(), "200 questions: p50 N ms, p99 N ms exceeds timeout N ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_no_finding() {
    let mut stub = Stub::start(Script::allow()).await.unwrap();
    let url = stub.url();
    stub.stop().await;
    assert_eq!(probe(&url, "").await, (2, lines(&["cannot be asked (connect)"])));
    // What is not asked with `denyOnly` is not probed with it either.
    let asked = Stub::start(Script::deny()).await.unwrap();
    let (_, said) = probe(&asked.url(), &format!("{PATIENT}\ndeny_only = \"deny\"")).await;
    assert!(said.contains(&"is not asked with `denyOnly` (`deny_only = \"deny\"`)".to_owned()), "{said:#?}");
    let deny_only = |received: &loadtest::stub::Received| {
        serde_json::from_slice::<Value>(&received.body).is_ok_and(|asked| asked["input"]["denyOnly"] == true)
    };
    assert!(!asked.questions().iter().any(deny_only));
}
