//! `replay`: a candidate asked what the records of a real process hold, with real OPAs on both sides.

use std::path::Path;
use std::process::Command;

use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Answer, Script, Stub};
use serde_json::Value;

use crate::support::{Countersign, Running, binary, question};

/// Exit code, standard output, standard error.
async fn replay(spool: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.arg("replay").arg("--spool").arg(spool).args(["--rate", "10000"]).args(args);
    command.env_remove("COUNTERSIGN_CONFIG");
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// alice reads below home/alice/ and elsewhere, bob nowhere; each twice.
async fn ask(proxy: &Running) {
    for (account, object) in [
        ("alice", "home/alice/a.txt"),
        ("alice", "other.txt"),
        ("bob", "home/bob/a.txt"),
        ("alice", "home/alice/a.txt"),
    ] {
        proxy.ask(&question(account, "s3:GetObject", "reports", object)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_policy_agrees_and_another_differs_where_it_does() {
    let lab = Laboratory::open().unwrap();
    let Some(opa) = require(lab.opa().start().await) else { return };
    let mut proxy = Countersign::asking(&opa.url("minio/allow")).start().await;
    ask(&proxy).await;
    proxy.stop().await;
    let spool = proxy.spool();
    let (code, said, _) = replay(&spool, &["--url", &opa.url("minio/allow")]).await;
    let first = "4 decisions, asked with 3 questions: 4 the same, 0 would_allow, 0 would_deny, 0 fault\n";
    assert!(code == 0 && said.starts_with(first), "{said}");
    for told in
        ["conditions that no record gives: Referer, ", "ExistingObjectTag/*", "claims that no record gives: all but"]
    {
        assert!(said.contains(told), "{told} is not in\n{said}");
    }

    // Everybody reads everything but bob, about whom there is no rule.
    let policy = "package minio\nallow := true if { input.account != \"bob\"; input.conditions.SourceIp[0] == \"203.0.113.9\" }\n";
    let Some(candidate) = require(lab.opa().policy(policy).start().await) else { return };
    let (code, said, _) = replay(&spool, &["--url", &candidate.url("minio/allow")]).await;
    assert!(code == 1 && said.contains("2 the same, 1 would_allow, 0 would_deny, 1 fault\n"), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let decisions = proxy.decisions();
    for (line, at, begins, holds) in [
        (lines[0], 1, "would_allow  ", "  alice  s3:GetObject  reports/other.txt  denied → allowed  "),
        (lines[1], 2, "fault  ", "  bob  s3:GetObject  reports/home/bob/a.txt  denied → undefined  "),
    ] {
        let id = decisions[at]["id"].as_str().unwrap();
        assert!(line.starts_with(begins) && line.contains(holds) && line.ends_with(id), "{line}");
    }
    let (_, json, _) = replay(&spool, &["--json", "--url", &candidate.url("minio/allow")]).await;
    let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&json[0]["difference"], &json[0]["of"]), (&"would_allow".into(), &decisions[1]["id"]));
    let summary = &json.last().unwrap()["summary"];
    assert_eq!((&summary["decisions"], &summary["differences"]["fault"]), (&4.into(), &1.into()));
    // The filters of all readers.
    let (code, said, _) =
        replay(&spool, &["--account", "al*", "--object", "home/*", "--url", &candidate.url("minio/allow")]).await;
    assert!(code == 0 && said.starts_with("2 decisions, "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_that_fails_no_call_is_told_from_one_that_does() {
    let (decides, candidate) =
        (Stub::start(Script::allow()).await.unwrap(), Stub::start(Script::deny()).await.unwrap());
    let mut proxy = Countersign::asking(&decides.url()).start().await;
    for action in ["s3:GetObject", "s3:GetObjectRetention"] {
        proxy.ask(&question("alice", action, "reports", "a.txt")).await;
    }
    proxy.stop().await;
    let (_, said, _) = replay(&proxy.spool(), &["--url", &candidate.url()]).await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("would_deny  ") && lines[1].starts_with("would_deny (advisory)  "), "{said}");
    let (_, json, _) = replay(&proxy.spool(), &["--json", "--url", &candidate.url()]).await;
    let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&json[0]["advisory"], &json[1]["advisory"]), (&false.into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_questions_are_asked_once_unless_all_are_to_be() {
    let (decides, candidate) =
        (Stub::start(Script::allow()).await.unwrap(), Stub::start(Script::allow()).await.unwrap());
    let mut proxy = Countersign::asking(&decides.url()).start().await;
    for _ in 0..2 {
        ask(&proxy).await;
    }
    decides.set(Answer::new("{}"));
    ask(&proxy).await;
    proxy.stop().await;
    let url = candidate.url();
    let (code, said, _) = replay(&proxy.spool(), &["--url", &url, "--at-once", "8"]).await;
    assert!(code == 0 && said.starts_with("8 decisions, asked with 3 questions: 8 the same"), "{said}");
    assert!(said.contains("not asked: 4 that ended in a fault: there is no verdict to compare with\n"), "{said}");
    assert_eq!(candidate.asked(), 3);
    let (_, said, _) = replay(&proxy.spool(), &["--url", &url, "--every"]).await;
    assert!(said.starts_with("8 decisions, asked with 8 questions") && candidate.asked() == 11, "{said}");
    // What is asked is what was asked, as far as a record holds it.
    let sent: Vec<Value> =
        candidate.questions().iter().map(|sent| serde_json::from_slice(&sent.body).unwrap()).collect();
    let asked = |account: &str, object: &str| {
        sent.iter().any(|sent| sent["input"]["account"] == account && sent["input"]["object"] == object)
    };
    assert!(asked("alice", "home/alice/a.txt") && asked("alice", "other.txt") && asked("bob", "home/bob/a.txt"));
    assert!(sent.iter().all(|sent| sent["input"]["conditions"]["SourceIp"][0] == "203.0.113.9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_privacy_hides_is_counted_and_not_asked() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let setup = Countersign::asking(&stub.url()).file("key", "0123456789abcdef0123456789abcdef");
    let privacy = "[audit.privacy]\naccount = \"hmac\"\nkeys = [{ id = \"k\", file = \"{dir}/key\" }]";
    let mut proxy = setup.with(privacy).start().await;
    ask(&proxy).await;
    proxy.stop().await;
    let before = stub.asked();
    let (code, said, _) = replay(&proxy.spool(), &["--url", &stub.url()]).await;
    assert_eq!((code, stub.asked()), (0, before), "{said}");
    assert!(said.contains("not asked: 4 whose account or object `audit.privacy` hides\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_of_a_configuration_is_asked_as_it_is_configured() {
    let decides = Stub::start(Script::allow()).await.unwrap();
    let asks_for_its_token = Script::by(|received| match received.header("authorization") {
        Some("Bearer candidate") => Answer::new(r#"{"decision":true}"#),
        _ => Answer::new("{}").status(401),
    });
    let mut candidate = Stub::start(asks_for_its_token).await.unwrap();
    let authorizers = format!(
        "[[authorizer]]\nname = \"authz\"\nurl = \"{}\"\n[[authorizer]]\nname = \"new\"\nurl = \"{}\"\ndialect = \"authzen\"\n\
         token = {{ file = \"{{dir}}/new\" }}\n[[route]]\nname = \"r\"\nask = [\"authz\"]\nshadow = [\"new\"]\n",
        decides.url(),
        candidate.url()
    );
    let mut proxy = Countersign::custom(&authorizers).file("new", "Bearer candidate\n").start().await;
    ask(&proxy).await;
    proxy.stop().await;
    let config = proxy.config_file().display().to_string();
    let (spool, of) = (proxy.spool(), ["--candidate-config", &config, "--authorizer", "new"]);
    let (code, said, why) = replay(&spool, &of).await;
    assert!(code == 0 && said.starts_with("4 decisions, "), "{said}{why}");
    let (code, _, why) = replay(&spool, &["--candidate-config", &config, "--authorizer", "newer"]).await;
    assert!(code == 64 && why.contains("is named `newer`; there are `authz`, `new`"), "{why}");
    candidate.stop().await;
    let (code, _, why) = replay(&spool, &of).await;
    assert!(code == 2 && why.contains("the candidate cannot be asked (connect)"), "{why}");
    let (code, ..) = replay(&spool, &[]).await;
    assert_eq!(code, 64, "whom?");
}
