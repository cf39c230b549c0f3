//! `verify` as its users run it: on a spool, on a file, on a topic with its checkpoints; and the script of the
//! documentation, which needs nothing of ours. What is found in forged trails is tested beside `audit::verify`.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use countersign::audit::keys::PUBLIC;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};

use crate::support::records::{Raw, events, in_spool};
use crate::support::stand::{TOPIC, in_kafka};
use crate::support::{Countersign, binary, eventually, question};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_delivery_and_retention_do_is_no_fault() {
    let trail = Trail::new(false).await;
    let key = trail.public();
    let run = |file: &tempfile::NamedTempFile| verify(&["--file", path(file), "--public-key", &key]);
    let (code, said) = run(&trail.file(|values| drop(values.drain(..10))));
    assert!(code == 0 && said.starts_with("whole: ") && said.contains("as after retention"), "{said}");
    let (code, said) = run(&trail.file(|values| values.extend(values[5..20].to_vec())));
    assert!(code == 0 && said.starts_with("whole: ") && said.contains("15 delivered again"), "{said}");
    // Lost and published again, as a topic may have it.
    let again = trail.file(|values| {
        let lost: Vec<_> = values.drain(5..20).collect();
        values.extend(lost);
    });
    let (code, said) = run(&again);
    assert!(code == 1 && said.contains("records 5–19: missing"), "{said}");
    let (code, said) = verify(&["--file", path(&again), "--public-key", &key, "--published-again"]);
    assert!(code == 0 && said.starts_with("whole: ") && said.contains("15 came after those behind them"), "{said}");
    let (code, said) = run(&trail.file(|values| values[5] = [&values[5][..], b" "].concat()));
    assert!(code == 1 && said.contains("another hash"), "{said}");
    let (code, said) = run(&trail.file(|values| values.push([&values[5][..], b" "].concat())));
    assert!(code == 1 && said.contains("another record has the same place"), "the same id, other bytes: {said}");
    let (code, said) = run(&trail.file(|values| drop(values.drain(12..15))));
    assert!(code == 1 && said.contains("records 12–14: missing"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_chain_is_the_newest_or_was_never_closed() {
    let (home, stub) = (tempfile::tempdir().unwrap(), Stub::start(Script::allow()).await.unwrap());
    let mut spools = Vec::new();
    // A volume each, so that no chain names the one before.
    for volume in ["a", "b"] {
        let mut proxy = Countersign::asking(&stub.url()).on(&home.path().join(volume)).start().await;
        assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "x")).await.allowed());
        proxy.kill().await;
        spools.push(in_spool(&proxy.spool()).into_iter().map(|raw| raw.bytes).collect::<Vec<_>>());
    }
    let (code, said) = verify(&["--file", path(&lines(&spools[0]))]);
    assert!(code == 0 && said.starts_with("whole: ") && said.contains("open"), "{said}");
    let both = lines(&spools.concat());
    let (code, said) = verify(&["--file", path(&both)]);
    assert!(code == 1 && said.contains("never closed, and no later one names its end"), "{said}");
    // Two instances that must be there, of which one has vanished.
    let other: Vec<Vec<u8>> = spools[1]
        .iter()
        .map(|value| {
            String::from_utf8(value.clone()).unwrap().replace("\"id\":\"test/", "\"id\":\"other/").into_bytes()
        })
        .take(1)
        .collect();
    let two = lines(&[spools[0].clone(), other].concat());
    assert_eq!(verify(&["--file", path(&two), "--instances", "test,other"]).0, 0);
    let (code, said) = verify(&["--file", path(&lines(&spools[0])), "--instances", "test,other"]);
    assert!(code == 1 && said.contains("other: no record of this instance"), "{said}");
}

/// Under a pseudo-terminal, with input that takes its time; without one there is nothing but the report.
#[tokio::test(flavor = "multi_thread")]
async fn progress_shows_on_a_terminal_only() {
    let trail = Trail::new(false).await;
    let file = trail.file(|_| {});
    let plain = Command::new(binary()).args(["verify", "--file", path(&file)]).output().unwrap();
    assert!(plain.status.success() && plain.stderr.is_empty(), "{}", String::from_utf8_lossy(&plain.stderr));
    let line = format!("(cat {}; sleep 4) | {} verify --file -", path(&file), binary());
    let shown = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("/s") && shown.contains("whole: "), "{shown:?}");
}

/// Reading a spool beside its process is in the trail; reading on is possible where no note can be left.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_spool_is_in_its_chain() {
    let (home, stub) = (tempfile::tempdir().unwrap(), Stub::start(Script::allow()).await.unwrap());
    let mut proxy = Countersign::asking(&stub.url()).on(home.path()).start().await;
    let notes = home.path().join("accessed");
    eventually("the process takes notes", async || notes.is_dir().then_some(())).await;
    let spool = home.path().to_str().unwrap();
    assert_eq!(verify(&["--spool", spool]).0, 0);
    let tail = ["tail", "--spool", spool, "--no-follow", "--since", "2026-01-01T00:00:00Z"];
    assert!(Command::new(binary()).args(tail).output().unwrap().status.success());
    let read = async || {
        let read = events(&proxy.records(), "audit_accessed");
        (read.len() == 2).then_some(read)
    };
    let mut read = eventually("both are recorded", read).await;
    read.sort_by_key(|record| record["data"]["by"].to_string());
    let uid = std::fs::metadata(home.path()).unwrap().uid();
    let said = |at: usize| (read[at]["data"]["by"].as_str(), read[at]["data"]["uid"].as_u64());
    assert_eq!((said(0), said(1)), ((Some("tail"), Some(uid.into())), (Some("verify"), Some(uid.into()))));
    assert_eq!(read[0]["data"]["since"], "2026-01-01T00:00:00.000000Z");
    assert!(read[0]["data"]["until"].is_null() && read[1]["data"]["since"].is_null());
    assert_eq!(std::fs::read_dir(&notes).unwrap().count(), 0, "taken");
    // One that is left while nobody runs is recorded by the next process.
    proxy.kill().await;
    assert_eq!(verify(&["--spool", spool]).0, 0);
    proxy.start_again().await;
    let later = async || (events(&proxy.records(), "audit_accessed").len() == 3).then_some(());
    eventually("the third is recorded", later).await;
    proxy.stop().await;
    // Where none can be left, it is said, and the report is the same.
    std::fs::remove_dir(&notes).unwrap();
    std::fs::write(&notes, "in the way").unwrap();
    let (code, said) = verify(&["--spool", spool]);
    assert!(code == 0 && said.contains("will not be in the trail"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_an_instance_and_something_is_signed() {
    let trail = Trail::new(false).await;
    let spool = trail.spool.to_str().unwrap();
    let bound = |instance: &str| verify(&["--spool", spool, "--public-key", &format!("{instance}={}", trail.public())]);
    let (code, said) = bound("test");
    assert!(code == 0 && said.starts_with("whole: "), "{said}");
    let (code, said) = bound("other");
    assert!(code == 1 && said.contains("by a key that is known for this instance"), "{said}");
    // The text of the key works as its file does.
    let key = std::fs::read_to_string(trail.public()).unwrap();
    let (code, said) = verify(&["--spool", spool, "--public-key", &format!("test={}", key.trim())]);
    assert!(code == 0, "{said}");
    let (code, said) = verify(&["--spool", spool, "--public-key", "test=nonsense"]);
    assert!(code == 64 && said.contains("--public-key test=nonsense"), "{said}");
    // A few records without a checkpoint, and none at all.
    let few = trail.file(|values| values.truncate(5));
    let (code, said) = verify(&["--file", path(&few), "--public-key", &trail.public()]);
    assert!(code == 1 && said.contains("nothing of this instance is signed"), "{said}");
    let (code, said) = verify(&["--file", "/dev/null", "--public-key", &trail.public()]);
    assert!(code == 1 && said.contains("there is no record"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn since_a_time_nothing_may_be_cut_off() {
    let trail = Trail::new(false).await;
    let cut = trail.file(|values| drop(values.drain(..10)));
    let since = |time: &str| verify(&["--file", path(&cut), "--complete-since", time]);
    let (code, said) = since("1s ago");
    assert!(code == 64 && said.contains("--complete-since"), "{said}");
    let (code, said) = since("1h");
    assert!(code == 1 && said.contains("everything since then should be there"), "{said}");
    let (code, said) = since("2100-01-01T00:00:00Z");
    assert!(code == 0 && said.contains("as after retention") && said.contains("--complete-since"), "{said}");
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
    let config = std::fs::read_to_string(proxy.config_file()).unwrap();
    proxy.delivered().await;
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
    // The checkpoint topic of a configuration used to be left unread.
    let configured = |topic: &str, more: &str| {
        let here = format!("topic = \"{TOPIC}\"");
        assert!(config.contains(&here));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(config.replace(&here, &format!("topic = \"{topic}\"{more}")).as_bytes()).unwrap();
        verify(&["--config", path(&file), "--public-key", &public])
    };
    let (code, said) = configured(TOPIC, "");
    assert!(code == 0 && said.starts_with("whole: ") && !said.contains("--checkpoint-topic"), "{said}");
    let (code, said) = configured("shortened", "");
    assert!(code == 1 && said.contains("no record of it is there"), "{said}");
    let (code, said) = configured(TOPIC, "\ncheckpoint_topic = \"gone\"");
    assert!(code == 2 && said.contains("checkpoints of `gone` cannot be read"), "{said}");
}

/// A topic of which Kafka has removed the oldest records, while the checkpoint topic still has all.
#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_has_cut_off_is_no_fault() {
    let lab = Laboratory::open().unwrap();
    let Some(kafka) = require(lab.kafka().start().await) else { return };
    kafka.create_topic(TOPIC, 1).await.unwrap();
    kafka.create_topic("countersign.checkpoints", 1).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut public = String::new();
    for _ in 0..2 {
        let setup = Countersign::asking(&stub.url()).on(home.path()).kafka(&kafka.bootstrap(), TOPIC);
        let mut proxy = setup.start().await;
        for n in 0..10 {
            assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", &n.to_string())).await.allowed());
        }
        public = proxy.spool().join(PUBLIC).display().to_string();
        proxy.delivered().await;
        proxy.stop().await;
    }
    let records: Vec<Raw> = in_kafka(&kafka).await;
    let chain = |raw: &Raw| raw.value["data"]["chain"]["id"].clone();
    let second = records.iter().position(|raw| chain(raw) != chain(&records[0])).expect("two chains");
    let bootstrap = kafka.bootstrap();
    let run = |more: &[&str]| {
        let from = ["--brokers", &bootstrap, "--topic", TOPIC, "--checkpoint-topic", "countersign.checkpoints"];
        verify(&[&from[..], &["--public-key", &public], more].concat())
    };
    let (code, said) = run(&[]);
    assert!(code == 0 && !said.contains("cut off"), "{said}");
    for offset in [4, second] {
        let to =
            format!("{{\"version\":1,\"partitions\":[{{\"topic\":\"{TOPIC}\",\"partition\":0,\"offset\":{offset}}}]}}");
        let file = home.path().join("offsets.json");
        std::fs::write(&file, to).unwrap();
        let args = ["--bootstrap-server", &bootstrap, "--offset-json-file", file.to_str().unwrap()];
        kafka.java_tool("org.apache.kafka.tools.DeleteRecordsCommand", &args).await.unwrap();
        let (code, said) = run(&[]);
        assert!(code == 0 && said.contains("partition 0 begins at") && said.contains("as after retention"), "{said}");
        let (code, said) = run(&["--complete-since", "1h"]);
        assert!(code == 1 && said.contains("everything since then should be there"), "{said}");
    }
}
