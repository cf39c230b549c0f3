//! Signed statements about the chain: when they are made, by which key, and that they state what the records are. Every
//! test that reads records has their tree heads checked by `support::records`; here it is about keys and occasions.

use std::path::Path;
use std::process::Command;

use countersign::audit::keys::{PRIVATE, PUBLIC};
use countersign::audit::note::{self, Verifier};
use loadtest::stub::{Script, Stub};
use serde_json::Value;

use crate::support::records::{checked, events, in_spool};
use crate::support::{Countersign, Running, binary, eventually, question};

fn checkpoints(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|r| r["type"] == "io.countersign.checkpoint.v1").collect()
}

fn public(path: &Path) -> Verifier {
    Verifier::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn signed_by(text: &Value, keys: &[Verifier]) -> usize {
    note::open(text.as_str().unwrap(), keys).map_or(0, |(_, by)| by.len())
}

async fn started(home: &Path, stub: &Stub, audit: &str) -> Running {
    Countersign::asking(&stub.url()).on(home).audit(audit).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_is_stated_when_it_ends_and_when_nothing_happens() {
    let home = tempfile::tempdir().unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = started(home.path(), &stub, "checkpoint_every = \"1s\"").await;
    for n in 0..20 {
        assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", &n.to_string())).await.allowed());
    }
    let idle = async || (checkpoints(&proxy.records()).len() >= 3).then_some(());
    eventually("checkpoints of an idle chain", idle).await;
    assert!(proxy.metric("countersign_checkpoint_last_timestamp_seconds").await > 1.7e9);
    let spool = proxy.spool();
    proxy.stop().await;
    let records = checked(in_spool(&spool));
    let [.., last, closed] = &records[..] else { panic!("two records at least") };
    assert_eq!(last["type"], "io.countersign.checkpoint.v1", "the last word before the end is a checkpoint");
    assert_eq!(closed["data"]["event"], "chain_closed");
    let key = [public(&spool.join(PUBLIC))];
    assert!(checkpoints(&records).iter().all(|c| signed_by(&c["data"]["note"], &key) == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_announced_by_both() {
    let home = tempfile::tempdir().unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = started(home.path(), &stub, "").await;
    let spool = proxy.spool();
    let first = public(&spool.join(PUBLIC));
    proxy.stop().await;

    let made = |out: &str, more: &[&Path]| {
        let out = home.path().join(out);
        let mut keygen = Command::new(binary());
        keygen.arg("keygen").args(["--name", "eu1", "--out"]).arg(&out);
        for old in more {
            keygen.arg("--replaces").arg(old);
        }
        let done = keygen.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let beside = public(&home.path().join(format!("{}.pub", out.display())));
        assert_eq!(String::from_utf8(done.stdout).unwrap().trim(), beside.text());
        (out, beside)
    };
    // The spool's own key is at hand and endorses; a configured one has to be asked before it goes.
    let (second, second_public) = made("second.key", &[]);
    let (third, third_public) = made("third.key", &[&second]);
    let (fourth, fourth_public) = made("fourth.key", &[]);
    for key in [&second, &third, &fourth] {
        let mut proxy = started(home.path(), &stub, &format!("signing_key = {{ file = {key:?} }}")).await;
        assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "x")).await.allowed());
        proxy.stop().await;
    }
    let records = checked(in_spool(&spool));
    let rotations = events(&records, "key_rotated");
    let keys = [first, second_public, third_public, fourth_public];
    let said = |at: usize| (rotations[at]["data"]["old"].as_str(), rotations[at]["data"]["new"].as_str());
    for at in 0..3 {
        assert_eq!(said(at), (Some(keys[at].text()), Some(keys[at + 1].text())));
        let signatures = signed_by(&rotations[at]["data"]["note"], &keys[at..at + 2]);
        assert_eq!(signatures, if at < 2 { 2 } else { 1 }, "only the last has no word of the key before");
    }
    assert_eq!(rotations.len(), 3);
    assert_eq!(public(&spool.join(PUBLIC)), keys[3], "the spool names the key that signs");
    assert!(spool.join(PRIVATE).exists(), "the spool's own key stays, should the configured one be taken out again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_a_mistake_in_the_configuration() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("bad.key"), "PRIVATE+KEY+eu1+00000000+AAAA\n").unwrap();
    let config = home.path().join("config.toml");
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[[authorizer]]\nname = \"a\"\nurl = \"http://127.0.0.1:1/\"\n[audit]\nspool = {:?}\n\
         signing_key = {{ file = {:?} }}\n",
        home.path().join("spool"),
        home.path().join("bad.key"),
    );
    std::fs::write(&config, text).unwrap();
    let done = Command::new(binary()).arg("serve").arg("--config").arg(&config).output().unwrap();
    assert_eq!(done.status.code(), Some(64));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("8:") && said.contains("audit.signing_key") && said.contains("keygen"), "{said}");
    assert!(!home.path().join("spool").exists());
}

#[test]
fn keygen_never_writes_over_a_key() {
    let home = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        Command::new(binary()).args(["keygen", "--out"]).arg(home.path().join(name)).output().unwrap().status.code()
    };
    assert_eq!(run("a.key"), Some(0));
    let before = std::fs::read(home.path().join("a.key")).unwrap();
    assert_eq!(run("a.key"), Some(2));
    assert_eq!(std::fs::read(home.path().join("a.key")).unwrap(), before);
    std::fs::write(home.path().join("b.key.pub"), "x").unwrap();
    assert_eq!(run("b.key"), Some(2));
    assert!(!home.path().join("b.key").exists(), "no half of a pair is left");
}
