//! The spool on a real directory, from outside: damage at every byte, locks, a directory that goes and comes, limits.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countersign::audit::backlog::Backlog;
use countersign::audit::chain;
use countersign::audit::envelope::{Draft, Kind, Source};
use countersign::audit::keys::PUBLIC;
use countersign::audit::note::Verifier;
use countersign::audit::scan::{Scan, Scanned};
use countersign::audit::spool::{Options, Spool, StartError};
use countersign::audit::verify::{Fault, Outcome, Seen, Verification};
use countersign::metrics::{Metrics, Names};
use countersign::policy::verdict::{Durability, Reason};
use serde_json::Value;
use uuid::Uuid;

use crate::support::records::events;
use crate::support::{disk, wait_until};

fn start(directory: &Path, change: impl Fn(&mut Options)) -> (Spool, Backlog) {
    let mut options = Options::new(directory);
    options.segment_size = 256 << 10;
    // No more of them on a machine that needs longer.
    options.checkpoint_every = Duration::from_secs(3600);
    change(&mut options);
    Spool::start(options, Source::new("i"), "0.0", "g", Metrics::new(&Names::default())).unwrap()
}

fn open(directory: &Path) -> (Spool, Backlog) {
    let started = start(directory, |_| {});
    wait_until("spool opens", || started.0.is_available());
    started
}

fn draft(text: &str) -> Draft {
    let data = serde_json::json!({"text": text});
    let time = std::time::SystemTime::now();
    Draft::new(&Source::new("i"), Kind::Decision, Uuid::now_v7(), time, None, &data).unwrap()
}

async fn append(spool: &Spool, text: &str) -> Result<u64, Reason> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    spool.append(draft(text), Durability::Synced, deadline).await.map(|r| r.seq())
}

/// Seqs of all records, and ranges of damage.
fn scan(directory: &Path) -> (Vec<Value>, Vec<(u64, u64)>) {
    let (mut scan, mut records, mut damages) = (Scan::new(directory), Vec::new(), Vec::new());
    while let Some(found) = scan.next().unwrap() {
        match found {
            Scanned::Record(entry) => records.push(serde_json::from_slice(&entry.value).unwrap()),
            Scanned::Damage(damage) => damages.push((damage.first_seq, damage.last_seq)),
        }
    }
    (records, damages)
}

/// The bytes of all records.
fn values(directory: &Path) -> Vec<Vec<u8>> {
    let (mut scan, mut values) = (Scan::new(directory), Vec::new());
    while let Some(found) = scan.next().unwrap() {
        if let Scanned::Record(entry) = found {
            values.push(entry.value.to_vec());
        }
    }
    values
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let epochs = std::fs::read_dir(directory.join("epochs")).unwrap().map(|e| e.unwrap().path());
    let files = epochs.flat_map(|e| std::fs::read_dir(e).unwrap().map(|f| f.unwrap().path()));
    let mut found: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "seg")).collect();
    found.sort();
    found
}

/// A closed spool of chain_opened, `count` records and chain_closed; with the bytes of its only segment.
async fn closed(directory: &Path, count: usize) -> (PathBuf, Vec<u8>) {
    let (spool, _backlog) = open(directory);
    for n in 0..count {
        append(&spool, &format!("record {n}")).await.unwrap();
    }
    assert!(spool.close(Duration::from_secs(10)));
    spool.unlock();
    let path = segments(directory).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

/// What a new process finds: all records of the backlog that were written by the old one.
fn recovered(directory: &Path) -> (Vec<u64>, Value) {
    let (spool, mut backlog) = open(directory);
    let chain = spool.status().chain.unwrap();
    let (mut old, mut opened) = (Vec::new(), Value::Null);
    while let Some(entry) = backlog.next().unwrap() {
        if entry.chain == chain {
            opened = serde_json::from_slice(&entry.value).unwrap();
            break;
        }
        old.push(entry.seq);
    }
    spool.close(Duration::from_secs(10));
    spool.unlock();
    let newest = segments(directory).pop().unwrap();
    std::fs::remove_dir_all(newest.parent().unwrap()).unwrap();
    (old, opened["data"]["previous"].clone())
}

fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (4096, vec![4096]);
    loop {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if length == 0 {
            return ends;
        }
        at += 32 + length;
        ends.push(at);
    }
}

/// The front listens first: what is asked in the milliseconds until the spool is open was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_waits_for_the_first_try_to_open() {
    let home = disk::quick();
    let (spool, _backlog) = start(home.path(), |_| {});
    assert!(append(&spool, "early").await.is_ok());
    // Where that fails it is an outage, and nothing waits any longer.
    let nowhere = home.path().join("no/volume");
    let (spool, _backlog) = start(&nowhere, |_| {});
    for _ in 0..2 {
        assert_eq!(append(&spool, "lost").await, Err(Reason::AuditUnavailable));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chain_is_whole_across_processes() {
    let home = disk::quick();
    let directory = home.path().join("spool");
    for _ in 0..3 {
        closed(&directory, 5).await;
    }
    let mut scan = Scan::new(&directory);
    let (mut before, mut heads, mut count) = (None::<(String, u64, String)>, Vec::new(), 0);
    while let Some(Scanned::Record(entry)) = scan.next().unwrap() {
        let link = chain::link(&entry.value).unwrap();
        let record: Value = serde_json::from_slice(&entry.value).unwrap();
        if link.seq == 0 {
            assert_eq!(link.prev, "0".repeat(64));
            heads.push((record["data"]["previous"].clone(), before.take()));
        } else {
            assert_eq!(before.as_ref().map(|(_, _, hash)| hash), Some(&link.prev));
        }
        before = Some((link.id, link.seq, hex::encode(chain::hash(&entry.value))));
        count += 1;
    }
    // Each: opened, five decisions, a checkpoint, closed.
    assert_eq!((heads.len(), count), (3, 24));
    for (previous, head) in heads {
        let expected = head.map_or(
            Value::Null,
            |(id, seq, hash)| serde_json::json!({"id": id, "seq": seq, "hash": hash, "clean": true, "unknown": null}),
        );
        assert_eq!(previous, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_torn_at_any_byte_costs_what_is_torn() {
    let home = disk::quick();
    let (path, bytes) = closed(home.path(), 4).await;
    let ends = frame_ends(&bytes);
    let from = ends[ends.len() - 4];
    for cut in from..=*ends.last().unwrap() {
        let whole = ends.iter().filter(|e| **e <= cut).count() as u64 - 1;
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        std::fs::write(&path, &torn).unwrap();
        // A process for every byte takes long; what it reads with is the same.
        if cut % 17 == 0 || ends.contains(&cut) {
            let (old, previous) = recovered(home.path());
            assert_eq!(old, (0..whole).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(previous["seq"], whole - 1, "cut at {cut}");
        }
        torn.truncate(cut);
        std::fs::write(&path, &torn).unwrap();
        let (records, damages) = scan(home.path());
        assert_eq!((records.len() as u64, damages), (whole, vec![]), "file ends at {cut}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_costs_one_record_and_is_recorded() {
    let home = disk::quick();
    let (path, bytes) = closed(home.path(), 4).await;
    let ends = frame_ends(&bytes);
    for at in (ends[2]..ends[3]).step_by(5) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        std::fs::write(&path, &damaged).unwrap();
        let (old, previous) = recovered(home.path());
        assert_eq!(old, [0, 1, 3, 4, 5, 6], "byte {at}");
        assert_eq!(previous["clean"], true);
    }
    let mut damaged = bytes.clone();
    damaged[ends[2] + 40] ^= 0xff;
    std::fs::write(&path, &damaged).unwrap();
    let (spool, mut backlog) = open(home.path());
    while backlog.next().unwrap().is_some() {}
    spool.close(Duration::from_secs(10));
    let found = events(&scan(home.path()).0, "damage_found");
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["data"]["first_seq"], &found[0]["data"]["last_seq"]), (&2.into(), &2.into()));
    // It says what was before it, and so all that is left is proved by something signed.
    let values = values(home.path());
    assert_eq!(found[0]["data"]["before"], hex::encode(chain::hash(&values[1])));
    let key = std::fs::read_to_string(home.path().join(PUBLIC)).unwrap();
    let mut verification = Verification::new(vec![Verifier::parse(&key).unwrap()]);
    values.iter().for_each(|value| verification.record(Seen::read(value)));
    let report = verification.finish(&[]);
    assert_eq!(report.outcome, Outcome::WholeGapsDeclared);
    assert!(report.findings.iter().all(|f| f.fault == Fault::Declared), "{:#?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_spool_is_an_outage_until_it_is_unlocked() {
    let home = disk::quick();
    let (first, _b) = open(home.path());
    let (second, _b2) = start(home.path(), |_| {});
    wait_until("second says why", || second.status().trouble.is_some_and(|t| t.detail.contains("locked")));
    for _ in 0..3 {
        assert_eq!(append(&second, "x").await, Err(Reason::AuditUnavailable));
    }
    append(&first, "unharmed").await.unwrap();
    first.close(Duration::from_secs(10));
    first.unlock();
    wait_until("second opens", || second.is_available());
    append(&second, "y").await.unwrap();
    second.close(Duration::from_secs(10));
    let ended = events(&scan(home.path()).0, "outage_ended");
    assert_eq!(ended.len(), 1);
    let refused = serde_json::json!({"audit_unavailable": 3, "audit_timeout": 0, "overload": 0});
    assert_eq!((&ended[0]["data"]["refused"], &ended[0]["data"]["cause"]), (&refused, &"audit".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_directory_comes_back() {
    let home = disk::quick();
    let directory = home.path().join("spool");
    let (spool, _backlog) = open(&directory);
    append(&spool, "before").await.unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    wait_until("spool is made again", || directory.join("epochs").is_dir() && spool.is_available());
    let seq = append(&spool, "after").await.unwrap();
    let (records, _) = scan(&directory);
    assert!(records.iter().any(|r| r["data"]["chain"]["seq"] == seq));
    assert_eq!(events(&records, "outage_ended").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_denies_until_records_are_delivered() {
    let home = disk::quick();
    let (spool, mut backlog) = start(home.path(), |o| o.max_size = 2 << 20);
    wait_until("spool opens", || spool.is_available());
    let text = "x".repeat(50_000);
    let mut taken = 0;
    while append(&spool, &text).await.is_ok() {
        taken += 1;
        assert!(taken < 60, "the limit is not kept");
    }
    assert!(taken > 15, "only {taken} records of 50 kB in 2 MiB");
    wait_until("status says why", || spool.status().trouble.is_some_and(|t| t.detail == "spool is full"));
    while let Some(entry) = backlog.next().unwrap() {
        backlog.delivered(&entry.epoch, entry.seq);
    }
    wait_until("there is room again", || spool.is_available());
    append(&spool, "small").await.unwrap();
    spool.close(Duration::from_secs(10));
    let (records, damages) = scan(home.path());
    assert_eq!((events(&records, "outage_ended").len(), damages), (1, vec![]));
    assert_eq!(events(&records, "outage_started")[0]["data"]["detail"], "spool is full");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_the_oldest_give_way_and_are_named() {
    let home = disk::quick();
    let (spool, _backlog) = start(home.path(), |o| (o.max_size, o.deliver) = (2 << 20, false));
    wait_until("spool opens", || spool.is_available());
    let text = "x".repeat(50_000);
    for _ in 0..80 {
        append(&spool, &text).await.unwrap();
    }
    // The keeper takes segments away, and the writer names them in its next turn.
    wait_until("what gave way is named", || {
        let (records, _) = scan(home.path());
        let named = events(&records, "segments_dropped").last().and_then(|last| last["data"]["last_seq"].as_u64());
        records.first().and_then(|first| first["data"]["chain"]["seq"].as_u64()) == named.map(|last| last + 1)
    });
    spool.close(Duration::from_secs(10));
    let (records, damages) = scan(home.path());
    assert_eq!(damages, vec![]);
    let dropped = events(&records, "segments_dropped");
    let last = dropped.last().unwrap()["data"]["last_seq"].as_u64().unwrap();
    // Segments name the record before their first.
    let told = |d: &Value| d["data"]["before"].as_str().is_some_and(|hash| hash.len() == 64);
    assert!(dropped.iter().all(|d| d["data"]["first_seq"] == 0 || told(d)), "{dropped:#?}");
    assert!(dropped.iter().any(told), "{dropped:#?}");
    assert_eq!(records[0]["data"]["chain"]["seq"].as_u64().unwrap(), last + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_survives_and_nothing_is_read_twice() {
    let home = disk::quick();
    let (spool, mut backlog) = open(home.path());
    append(&spool, "one").await.unwrap();
    append(&spool, "two").await.unwrap();
    for _ in 0..2 {
        let entry = backlog.next().unwrap().unwrap();
        backlog.delivered(&entry.epoch, entry.seq);
    }
    assert_eq!(backlog.next().unwrap().unwrap().seq, 2);
    backlog.rewind();
    assert_eq!(backlog.next().unwrap().unwrap().seq, 2);
    spool.close(Duration::from_secs(10));
    spool.unlock();
    let (old, _) = recovered(home.path());
    assert_eq!(old, [2, 3, 4], "the second, a checkpoint, and the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_waits_for_delivery_and_late_ones_are_amended() {
    let home = disk::quick();
    let (spool, mut backlog) = open(home.path());
    let soon = tokio::time::Instant::now() + Duration::from_millis(50);
    let late = draft("late");
    let id = late.id.to_string();
    assert_eq!(spool.append(late, Durability::Acknowledged, soon).await.map(|r| r.seq()), Err(Reason::AuditTimeout));
    let waiting = tokio::spawn({
        let (spool, deadline) = (spool.clone(), tokio::time::Instant::now() + Duration::from_secs(10));
        async move { spool.append(draft("ok"), Durability::Acknowledged, deadline).await.map(|r| r.seq()) }
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while !waiting.is_finished() && Instant::now() < deadline {
        backlog.wait(Duration::from_millis(5));
        while let Some(entry) = backlog.next().unwrap() {
            backlog.delivered(&entry.epoch, entry.seq);
        }
        tokio::task::yield_now().await;
    }
    assert!(waiting.await.unwrap().is_ok());
    spool.close(Duration::from_secs(10));
    let (records, _) = scan(home.path());
    let amended: Vec<_> = records.iter().filter(|r| r["type"] == "io.countersign.amendment.v1").collect();
    assert_eq!(amended.len(), 1);
    assert_eq!((&amended[0]["data"]["of"], &amended[0]["data"]["answer"]), (&id.into(), &"deny".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_is_in_the_chain_when_it_ends() {
    let home = disk::quick();
    let (spool, _backlog) = open(home.path());
    for n in 0..20 {
        spool.unauthorized(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)));
    }
    for _ in 0..7 {
        spool.refused(Reason::Overload);
    }
    spool.close(Duration::from_secs(10));
    let (records, _) = scan(home.path());
    let attempts = events(&records, "unauthorized_attempts");
    let total: u64 = attempts.iter().map(|a| a["data"]["count"].as_u64().unwrap()).sum();
    assert_eq!(total, 20);
    let ended = events(&records, "outage_ended");
    assert_eq!((ended.len(), &ended[0]["data"]["refused"]["overload"]), (1, &7.into()));
    assert_eq!(events(&records, "chain_closed").len(), 1);
    assert_eq!(append(&spool, "too late").await, Err(Reason::AuditUnavailable));
}

/// The writer may take a record at the very moment at which its sender gives up: then it is amended, and not counted too.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_given_up_is_counted_or_amended_and_never_both() {
    let home = disk::quick();
    let (spool, _backlog) = start(home.path(), |o| o.queue = 1);
    wait_until("spool opens", || spool.is_available());
    let (mut overloaded, mut late) = (Vec::new(), Vec::new());
    // On a busy machine a round may pass without anybody giving up.
    for _ in 0..50 {
        let tasks = (0..4000_u64).map(|n| {
            let spool = spool.clone();
            tokio::spawn(async move {
                let draft = draft("x");
                let id = draft.id.to_string();
                let soon = tokio::time::Instant::now() + Duration::from_micros(500 + n * 5);
                (id, spool.append(draft, Durability::Synced, soon).await.map(|r| r.seq()))
            })
        });
        let tasks: Vec<_> = tasks.collect();
        for task in tasks {
            match task.await.unwrap() {
                (id, Err(Reason::Overload)) => overloaded.push(id),
                (id, Err(Reason::AuditTimeout)) => late.push(id),
                (_, outcome) => assert!(outcome.is_ok(), "{outcome:?}"),
            }
        }
        if !overloaded.is_empty() {
            break;
        }
    }
    assert!(!overloaded.is_empty(), "nothing was given up");
    spool.close(Duration::from_secs(10));
    let (records, _) = scan(home.path());
    let ids: std::collections::HashSet<&str> = records.iter().filter_map(|r| r["id"].as_str()).collect();
    let amended: std::collections::HashSet<&str> = records.iter().filter_map(|r| r["data"]["of"].as_str()).collect();
    assert!(overloaded.iter().all(|id| !ids.contains(id.as_str())), "counted, and recorded");
    assert!(late.iter().all(|id| amended.contains(id.as_str())), "late, and not amended");
    assert_eq!(amended.len(), late.len());
    let counted: u64 =
        events(&records, "outage_ended").iter().map(|e| e["data"]["refused"]["overload"].as_u64().unwrap()).sum();
    assert_eq!(overloaded.len() as u64, counted);
}

#[test]
fn a_symlink_ends_the_start() {
    let home = disk::quick();
    std::os::unix::fs::symlink(home.path(), home.path().join("link")).unwrap();
    let options = Options::new(home.path().join("link"));
    let started = Spool::start(options, Source::new("i"), "0.0", "g", Metrics::new(&Names::default()));
    assert!(matches!(started.err(), Some(StartError::Symlink(_))));
}
