//! `verify` as its users run it: on a spool, on a file, on a topic with its checkpoints; and the script of the
//! documentation, which needs nothing of ours. What is found in forged trails is tested beside `audit::verify`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use countersign::audit::keys::PUBLIC;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};

use crate::support::records::{Raw, in_spool};
use crate::support::stand::{TOPIC, in_kafka};
use crate::support::{Countersign, binary, question};

struct Trail {
    _home: tempfile::TempDir,
    spool: std::path::PathBuf,
}

impl Trail {
    /// Two chains, the first ended by `kill -9` if `crash`.
    async fn new(crash: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let stub = Stub::start(Script::allow()).await.unwrap();
        let mut spool = None;
        for round in 0..2 {
            let mut proxy = Countersign::asking(&stub.url()).on(home.path()).start().await;
            for n in 0..30 {
                assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", &n.to_string())).await.allowed());
            }
            spool = Some(proxy.spool());
            if crash && round == 0 { proxy.kill().await } else { proxy.stop().await }
        }
        Self { _home: home, spool: spool.unwrap() }
    }

    fn public(&self) -> String {
        self.spool.join(PUBLIC).display().to_string()
    }

    /// One record a line, after `change`.
    fn file(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> tempfile::NamedTempFile {
        let mut values = in_spool(&self.spool).into_iter().map(|raw| raw.bytes).collect();
        change(&mut values);
        lines(&values)
    }
}

fn lines(values: &[Vec<u8>]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for value in values {
        file.write_all(value).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file
}

fn verify(args: &[&str]) -> (i32, String) {
    let done = Command::new(binary()).arg("verify").args(args).output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code().unwrap(), said)
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_and_a_file_are_whole() {
    let trail = Trail::new(false).await;
    let (code, said) = verify(&["--spool", trail.spool.to_str().unwrap(), "--public-key", &trail.public()]);
    assert!(code == 0 && said.starts_with("whole: 6"), "{said}");
    assert!(said.contains("all but the last 2") && !said.contains("BROKEN"), "{said}");
    let file = trail.file(|_| {});
    let (code, said) = verify(&["--file", path(&file)]);
    assert!(code == 0 && said.contains("No signature was checked"), "{said}");
    let (code, said) = verify(&["--file", path(&file), "--json", "--public-key", &trail.public()]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["outcome"]), (0, &serde_json::json!("whole")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_a_declared_gap_and_no_fault() {
    let trail = Trail::new(true).await;
    let (code, said) = verify(&["--spool", trail.spool.to_str().unwrap(), "--public-key", &trail.public()]);
    assert!(code == 0 && said.starts_with("whole, gaps declared: "), "{said}");
    assert!(said.contains("without closing the chain"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_or_taken_is_named() {
    let trail = Trail::new(false).await;
    let kept = lines(
        &in_spool(&trail.spool)
            .iter()
            .filter(|raw| raw.value["type"] == "io.countersign.checkpoint.v1")
            .map(|raw| raw.bytes.clone())
            .collect::<Vec<_>>(),
    );
    let changed = trail.file(|values| {
        let text = String::from_utf8(values[5].clone()).unwrap();
        values[5] = text.replace("\"alice\"", "\"mallory\"").into_bytes();
    });
    let (code, said) = verify(&["--file", path(&changed)]);
    assert!(code == 1 && said.starts_with("broken") && said.contains("records 5–6"), "{said}");
    let short = trail.file(|values| values.truncate(values.len() - 10));
    assert_eq!(verify(&["--file", path(&short)]).0, 0, "an open chain may end anywhere");
    let (code, said) = verify(&["--file", path(&short), "--checkpoints", path(&kept)]);
    assert!(code == 1 && said.contains("kept elsewhere"), "{said}");
    let garbage = trail.file(|values| values[3] = b"\x1b[2Jnonsense".to_vec());
    let (code, said) = verify(&["--file", path(&garbage)]);
    assert!(code == 1 && !said.contains('\x1b'), "{said}");
    let (code, said) = verify(&["--file", path(&changed), "--instances", "nobody"]);
    assert!(code == 1 && said.contains("no record of this instance"), "{said}");
}

#[test]
fn usage_and_what_cannot_be_read() {
    assert_eq!(verify(&[]).0, 64);
    assert_eq!(verify(&["--file", "/does/not/exist"]).0, 2);
    let (code, said) = verify(&["--file", "/dev/null", "--public-key", "nonsense"]);
    assert!(code == 64 && said.contains("--public-key"), "{said}");
}

/// The script of `docs/EVENTS.md`, as it stands there.
fn script() -> String {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/EVENTS.md")).unwrap();
    let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    assert!(script.lines().count() <= 10, "ten lines are promised");
    script
}

/// Of one chain, in order.
pub fn script_accepts(values: &[Vec<u8>]) -> bool {
    let mut child = Command::new("python3").args(["-c", &script()]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // It stops reading where it finds the chain broken.
    drop(input.write_all(&std::fs::read(lines(values).path()).unwrap()));
    drop(input);
    child.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_lines_of_python_check_a_chain() {
    let trail = Trail::new(false).await;
    let first = |raw: &Raw| raw.value["data"]["chain"]["id"].clone();
    let records = in_spool(&trail.spool);
    let id = first(&records[0]);
    let mut values: Vec<Vec<u8>> = records.iter().filter(|raw| first(raw) == id).map(|raw| raw.bytes.clone()).collect();
    let run = script_accepts;
    assert!(run(&values));
    // A record may be there as its stub, and only as its own.
    let whole = values[4].clone();
    values[4] = countersign::audit::stub::of(&whole).unwrap();
    assert!(run(&values), "a stub stands for its record");
    let other = countersign::audit::stub::of(
        String::from_utf8(whole.clone()).unwrap().replacen("alice", "alicf", 1).as_bytes(),
    )
    .unwrap();
    let own = std::mem::replace(&mut values[4], other);
    assert!(!run(&values), "the stub of another record");
    values[4] = String::from_utf8(own).unwrap().replace("stub.v1", "decision.v1").into_bytes();
    assert!(!run(&values), "only a stub may name a hash for itself");
    values[4] = whole;
    values[4] = String::from_utf8(values[4].clone()).unwrap().replacen("alice", "alicf", 1).into_bytes();
    assert!(!run(&values), "one byte");
    values.remove(4);
    assert!(!run(&values), "one record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_and_its_checkpoints_are_whole_and_a_shorter_one_is_not() {
    let lab = Laboratory::open().unwrap();
    let Some(kafka) = require(lab.kafka().start().await) else { return };
    kafka.create_topic(TOPIC, 3).await.unwrap();
    kafka.create_topic("countersign.checkpoints", 1).await.unwrap();
    kafka.create_topic("shortened", 1).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let setup = Countersign::asking(&stub.url()).on(home.path()).audit("checkpoint_every = \"1s\"");
    let mut proxy = setup.kafka(&kafka.bootstrap(), TOPIC).start().await;
    for n in 0..30 {
        assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", &n.to_string())).await.allowed());
    }
    let spool = proxy.spool();
    proxy.stop().await;
    let kept = kafka.records("countersign.checkpoints").await.unwrap();
    let all: Vec<Raw> = in_kafka(&kafka).await;
    let stated: Vec<&Raw> = all.iter().filter(|raw| raw.value["type"] == "io.countersign.checkpoint.v1").collect();
    assert!(!kept.is_empty());
    assert!(kept.iter().map(|r| &r.value).eq(stated.iter().map(|raw| &raw.bytes)), "byte for byte, all, in order");
    let public = spool.join(PUBLIC).display().to_string();
    let bootstrap = kafka.bootstrap();
    let run = |topic: &str| {
        let from = ["--brokers", &bootstrap, "--topic", topic, "--checkpoint-topic", "countersign.checkpoints"];
        verify(&[&from[..], &["--public-key", &public]].concat())
    };
    let (code, said) = run(TOPIC);
    assert!(code == 0 && said.starts_with("whole: ") && !said.contains("No signature"), "{said}");
    let (code, said) = run("shortened");
    assert!(code == 1 && said.contains("no record of it is there"), "a whole chain was taken away: {said}");
}
