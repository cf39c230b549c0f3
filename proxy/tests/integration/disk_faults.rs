//! A disk that refuses or is slow, under the release binary: which answers are denied, which of them have a record, and what
//! the chain says of it afterwards, down to the last answer. Needs strace; `syscalls` is about single calls.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use loadtest::stub::{Script, Stub};
use serde_json::Value;

use crate::spool_process::Small;
use crate::support::records::{decisions, events};
use crate::support::{Answer, Countersign, Running, eventually, question};
use crate::syscalls::attached::{Call, Fault, Strace, usable};

type Objects = BTreeSet<String>;

async fn ask(proxy: &Running, object: &str) -> Answer {
    proxy.ask(&question("alice", "s3:GetObject", "reports", object)).await
}

async fn start(stub: &Stub) -> Running {
    // Nobody else than the questions shall write.
    Countersign::asking(&stub.url()).hasty().max_size("2MiB").audit("checkpoint_every = \"1h\"").start().await
}

fn attach(proxy: &Running, name: &str, fault: Fault) -> Strace {
    let call = Call { thread: "spool", name: name.to_owned(), number: 1 };
    Strace::attach(proxy.spool().parent().unwrap(), proxy.pid(), "spool", &[(&call, fault)])
}

fn object(record: &Value) -> String {
    record["data"]["resource"]["object"].as_str().unwrap().to_owned()
}

/// Objects of decisions that have a record, and of those that are amended to a deny.
fn recorded(records: &[Value]) -> (Objects, Objects) {
    let decisions = decisions(records.to_vec());
    let denied = records.iter().filter(|r| r["data"]["answer"] == "deny");
    let of: BTreeSet<&str> = denied.filter_map(|r| r["data"]["of"].as_str()).collect();
    let amended = decisions.iter().filter(|r| of.contains(r["id"].as_str().unwrap())).map(object).collect();
    (decisions.iter().map(object).collect(), amended)
}

fn counted(records: &[Value], reason: &str) -> usize {
    let ended = events(records, "outage_ended");
    ended.iter().map(|e| e["data"]["refused"][reason].as_u64().unwrap() as usize).sum()
}

fn newest_segment(spool: &Path) -> PathBuf {
    let epoch = std::fs::read_dir(spool.join("epochs")).unwrap().next().unwrap().unwrap().path();
    let mut segments: Vec<PathBuf> = std::fs::read_dir(epoch).unwrap().map(|e| e.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    segments.sort();
    segments.pop().unwrap()
}

/// What a client saw of an outage is what the chain says: who was refused, how often, when, why. There are more attempts
/// than segments fit into the spool.
async fn outage(call: &str, error: &'static str, text: &str) {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = start(&stub).await;
    assert!(ask(&proxy, "before").await.allowed());
    let (poisoned, begun) = (newest_segment(&proxy.spool()), jiff::Timestamp::now());
    let strace = attach(&proxy, call, Fault::Errors(error));
    let mut refused = Objects::new();
    while refused.len() < 5 || strace.count() < 12 {
        let object = format!("refused {}", refused.len());
        let answer = ask(&proxy, &object).await;
        assert_eq!((answer.status, answer.reason(), answer.allowed()), (503, "audit_unavailable", false), "{error}");
        refused.insert(object);
    }
    let bytes = std::fs::read(&poisoned).unwrap();
    drop(strace);
    proxy.available().await;
    assert!(ask(&proxy, "after").await.allowed());
    let records = proxy.records();
    let (written, amended) = recorded(&records);
    let with_record: Objects = written.intersection(&refused).cloned().collect();
    assert_eq!(amended, with_record, "{error}");
    assert_eq!(counted(&records, "audit_unavailable"), refused.len() - with_record.len(), "{error}");
    assert!(written.contains("before") && written.contains("after"));
    let (started, ended) = (events(&records, "outage_started"), events(&records, "outage_ended"));
    assert_eq!((started.len(), ended.len()), (1, 1));
    let data = &ended[0]["data"];
    assert_eq!((&data["cause"], &started[0]["data"]["started"]), (&"audit".into(), &data["started"]));
    assert!(data["detail"].as_str().unwrap().contains(text), "{data}");
    let time = |name: &str| data[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(begun <= time("started") && time("started") < time("ended") && time("ended") <= jiff::Timestamp::now());
    assert_eq!(std::fs::read(&poisoned).unwrap(), bytes, "a segment that failed was written again");
    assert_ne!(newest_segment(&proxy.spool()), poisoned);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_is_an_outage_with_exact_counts() {
    if usable().is_none() {
        return;
    }
    outage("pwrite64", "EFBIG", "File too large").await;
    outage("pwrite64", "EDQUOT", "Disk quota exceeded").await;
    outage("pwrite64", "EROFS", "Read-only file system").await;
    outage("fdatasync", "EDQUOT", "Disk quota exceeded").await;
    outage("fdatasync", "EFBIG", "File too large").await;
    outage("fdatasync", "EIO", "Input/output error").await;
}

/// A sync that takes longer than answers may: their records become durable afterwards, and say allow.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_did_not_wait_for_a_slow_sync_are_amended_and_no_others() {
    if usable().is_none() {
        return;
    }
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut proxy = start(&stub).await;
    let mut allowed = Objects::new();
    for n in 0..5 {
        let object = format!("before {n}");
        assert!(ask(&proxy, &object).await.allowed());
        allowed.insert(object);
    }
    let strace = attach(&proxy, "fdatasync", Fault::Delay(5_000_000));
    // One of them begins the sync, the others find it under way. All are over before it is.
    let answers =
        tokio::join!(ask(&proxy, "late 0"), ask(&proxy, "late 1"), ask(&proxy, "late 2"), ask(&proxy, "late 3"));
    for answer in [&answers.0, &answers.1, &answers.2, &answers.3] {
        assert_eq!((answer.status, answer.reason(), answer.allowed()), (503, "audit_timeout", false));
    }
    let late: Objects = (0..4).map(|n| format!("late {n}")).collect();
    // Each try is an object of its own: it is amended if it was denied, and not if it was allowed.
    let mut denied = late.clone();
    eventually("it is fast again", async || {
        let object = format!("after {}", denied.len());
        let is_allowed = ask(&proxy, &object).await.allowed();
        let fate = if is_allowed { &mut allowed } else { &mut denied };
        fate.insert(object);
        is_allowed.then_some(())
    })
    .await;
    drop(strace);
    // What is to be amended is, before the chain ends.
    proxy.stop().await;
    let all = proxy.records();
    let (written, amended) = recorded(&all);
    assert!(late.is_subset(&written) && allowed.is_subset(&written), "{written:?}");
    assert_eq!(amended, denied);
    let amendments = all.iter().filter(|r| r["type"] == "io.countersign.amendment.v1").count();
    assert_eq!(amendments, denied.len(), "each once, and nothing else");
    assert_eq!(counted(&all, "audit_timeout"), 0, "each has its record");
}

/// Nobody is given an answer whose record came too late: that record is amended, and an equal question is asked anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_record_came_too_late_is_not_kept() {
    if usable().is_none() {
        return;
    }
    let stub = Stub::start(Script::allow()).await.unwrap();
    let setup = Countersign::asking(&stub.url()).hasty().max_size("2MiB").audit("checkpoint_every = \"1h\"");
    let proxy = setup.cache("allow_ttl = \"1h\"").start().await;
    assert!(ask(&proxy, "before").await.allowed());
    let strace = attach(&proxy, "fdatasync", Fault::Delay(5_000_000));
    let late = ask(&proxy, "late").await;
    assert_eq!((late.status, late.reason()), (503, "audit_timeout"));
    let mut tries = 0..;
    let after = async || ask(&proxy, &format!("after {:?}", tries.next())).await.allowed().then_some(());
    eventually("it is fast again", after).await;
    drop(strace);
    let asked = stub.asked();
    assert!(ask(&proxy, "late").await.allowed());
    assert_eq!(stub.asked(), asked + 1, "not from the cache");
    assert!(ask(&proxy, "late").await.allowed());
    assert_eq!(stub.asked(), asked + 1, "the new answer is kept");
}

fn remount(disk: &Small, how: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk.path()).status();
    assert!(done.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_read_only_at_start_denies_until_it_is_not() {
    let Some(disk) = Small::mount("64m") else { return };
    remount(&disk, "ro");
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).on(disk.path()).start_unready().await;
    for n in 0..3 {
        let answer = ask(&proxy, &n.to_string()).await;
        assert_eq!((answer.status, answer.reason()), (503, "audit_unavailable"));
    }
    eventually("the log says why", async || proxy.log().contains("Read-only").then_some(())).await;
    remount(&disk, "rw");
    proxy.available().await;
    assert!(ask(&proxy, "after").await.allowed());
    assert_eq!(counted(&proxy.records(), "audit_unavailable"), 3);
}
