//! Random damage to a closed spool: whatever is whole is delivered, whatever is not is named, and it never takes long.
//! Thousands of spools in memory through the library, some on disk through the binary.

mod memory;
mod spoiled;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::audit::backlog::Backlog;
use countersign::audit::envelope::{Draft, Kind, Source};
use countersign::audit::files::SystemClock;
use countersign::audit::spool::{Options, Spool};
use countersign::metrics::{Metrics, Names};
use countersign::policy::verdict::Durability;
use loadtest::figures::Claim;
use loadtest::stub::{Script, Stub};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Countersign, count, question};
use memory::Memory;
use spoiled::Spoiled;

const SEED: u64 = 20_261_124;
/// Of the records of one epoch; five segments.
const RECORDS: usize = 900;
const EPOCHS: usize = 3;
/// For a process to begin on a damaged spool.
const LIMIT: Duration = Duration::from_secs(60);
/// Seeds that left whole records undelivered once: two segments copied, one of them cut.
const LEFT_OUT: [u64; 1] = [20_270_130];
/// Every so many damaged spools, one is given to the binary.
const ON_DISK: usize = 24;
const COMMAND: &str = "cargo test -p countersign --test integration damage";

fn rounds() -> usize {
    count("COUNTERSIGN_DAMAGES", 10_000)
}

fn start(files: &Arc<Memory>) -> (Spool, Backlog) {
    let options = Options { segment_size: 256 << 10, max_size: 64 << 20, ..Options::new("/nowhere") };
    let parts = (files.clone() as _, Arc::new(SystemClock) as _);
    let (spool, backlog) =
        Spool::start_with(options, Source::new("i"), parts, Metrics::new(&Names::default())).unwrap();
    let since = Instant::now();
    while !spool.is_available() {
        assert!(since.elapsed() < LIMIT, "does not begin: {:?}", spool.status().trouble);
        std::thread::sleep(Duration::from_micros(100));
    }
    (spool, backlog)
}

fn end(spool: &Spool) {
    assert!(spool.close(LIMIT));
    spool.unlock();
}

/// Epochs of several segments; the second is delivered up to its middle.
async fn template() -> Memory {
    let files = Arc::new(Memory::default());
    for epoch in 0..EPOCHS {
        let (spool, mut backlog) = start(&files);
        let text = "x".repeat(1000);
        for n in 0..RECORDS {
            let data = serde_json::json!({ "n": n, "text": text });
            let time = std::time::SystemTime::now();
            let draft = Draft::new(&Source::new("i"), Kind::Decision, Uuid::now_v7(), time, None, &data).unwrap();
            let deadline = tokio::time::Instant::now() + LIMIT;
            drop(spool.append(draft, Durability::Synced, deadline).await.unwrap());
        }
        let delivered = if epoch == 1 { RECORDS / 2 } else { 0 };
        let chain = spool.status().chain.unwrap();
        let mut reached = delivered == 0;
        while !reached {
            let entry = backlog.next().unwrap().unwrap();
            // The first epoch counts as delivered, too: a cursor is per epoch, and its own is left out below.
            if entry.chain == chain {
                backlog.delivered(&entry.epoch, entry.seq);
                reached = entry.seq >= delivered as u64;
            }
        }
        end(&spool);
    }
    files.copy()
}

/// What a new process delivers of `files`, and what it says is missing: chain, first, last.
type Found = (HashMap<(String, u64), Vec<u8>>, Vec<(String, u64, u64)>);

fn delivered(files: &Arc<Memory>) -> Found {
    let (spool, mut backlog) = start(files);
    let own = spool.status().chain.unwrap();
    let (mut records, mut named) = (HashMap::new(), Vec::new());
    let mut closed = false;
    loop {
        let Some(entry) = backlog.next().unwrap() else {
            // What was found on the way is in the chain when it ends.
            if closed {
                break;
            }
            end(&spool);
            closed = true;
            continue;
        };
        if entry.chain != own {
            let before = records.insert((entry.chain.to_string(), entry.seq), entry.value.to_vec());
            assert!(before.is_none(), "{}#{} twice", entry.chain, entry.seq);
            continue;
        }
        let record: Value = serde_json::from_slice(&entry.value).unwrap();
        let data = &record["data"];
        if data["event"] == "damage_found" {
            let seq = |name: &str| data[name].as_u64().unwrap();
            named.push((data["of_chain"].as_str().unwrap().to_owned(), seq("first_seq"), seq("last_seq")));
        }
    }
    (records, named)
}

/// What is wrong with what was delivered of a spoiled spool.
fn complaint(spoiled: &Spoiled<'_>, (records, named): &Found) -> Option<String> {
    let is_named =
        |chain: &str, seq: u64| named.iter().any(|(of, first, last)| of == chain && (*first..=*last).contains(&seq));
    let mut last: HashMap<&str, u64> = HashMap::new();
    for (chain, seq) in records.keys() {
        let last = last.entry(chain).or_default();
        *last = (*last).max(*seq);
    }
    for record in spoiled.records() {
        let key = (record.chain.clone(), record.seq);
        match records.get(&key) {
            Some(value) if *value != record.value => return Some(format!("{key:?} was changed")),
            Some(_) => {}
            None if record.before_cursor => {}
            None if record.whole => {
                return Some(format!("{key:?} is whole and was not delivered"));
            }
            // Nothing behind it was left: only the next chain's beginning knows of it.
            None if last.get(key.0.as_str()).is_none_or(|last| *last < key.1) => {}
            None if !is_named(&key.0, key.1) => return Some(format!("{key:?} is missing and not named: {named:?}")),
            None => {}
        }
    }
    None
}

/// How many records were spoiled, and how long recovery and reading took.
fn spoil_and_read(template: &Memory, seed: u64) -> (usize, Duration) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut spoiled = Spoiled::new(template);
    let done: Vec<String> = (0..random.random_range(1..4)).map(|_| spoiled.spoil(&mut random)).collect();
    let since = Instant::now();
    let found = delivered(&Arc::new(spoiled.files()));
    let took = since.elapsed();
    assert_eq!(complaint(&spoiled, &found), None, "seed {seed}: {done:?}");
    (spoiled.records().iter().filter(|r| !r.whole).count(), took)
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_were_copied_hide_nothing() {
    let template = template().await;
    for seed in LEFT_OUT {
        spoil_and_read(&template, seed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_whole_is_delivered_and_the_rest_is_named() {
    let template = Arc::new(template().await);
    let whole = Spoiled::new(&template);
    assert!(whole.records().len() > EPOCHS * RECORDS && whole.segments() > EPOCHS * 3, "{}", whole.segments());
    let found = delivered(&Arc::new(template.copy()));
    assert_eq!(complaint(&whole, &found), None);
    control(&whole, found);

    let began = Instant::now();
    let (rounds, halves) = (rounds(), 2);
    let threads: Vec<_> = (0..halves)
        .map(|half| {
            let template = template.clone();
            std::thread::spawn(move || {
                let (mut lost, mut slowest) = (0, Duration::ZERO);
                for round in (half..rounds).step_by(halves) {
                    let (missing, took) = spoil_and_read(&template, SEED + round as u64);
                    slowest = slowest.max(took);
                    lost += missing;
                }
                (lost, slowest)
            })
        })
        .collect();
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let slowest = results.iter().map(|(_, slowest)| *slowest).max().unwrap();
    assert!(slowest < LIMIT, "{slowest:?}");
    let lost: usize = results.iter().map(|(lost, _)| lost).sum();
    assert!(lost > 0, "nothing was spoiled");
    eprintln!("{rounds} damaged spools in {:?}, the slowest in {slowest:?}", began.elapsed());
    Claim::new("damage", COMMAND)
        .seed(SEED)
        .figure("damaged spools", rounds)
        .figure("records damaged", lost)
        .figure("whole records not delivered", 0_u64)
        .figure("slowest recovery and reading, ms", slowest.as_millis())
        .control("reading that ends at the first damage is found out")
        .write()
        .unwrap();
}

/// The negative control: what a reader would deliver that stops where the first record is missing.
fn control(whole: &Spoiled<'_>, (mut records, named): Found) {
    let chains: HashSet<String> = records.keys().map(|(chain, _)| chain.clone()).collect();
    for chain in chains {
        records.retain(|(of, seq), _| *of != chain || *seq < 700);
    }
    assert!(complaint(whole, &(records, named)).is_some(), "a reader that stops is not found out");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_begins_on_a_damaged_spool() {
    let template = template().await;
    let stub = Stub::start(Script::allow()).await.unwrap();
    let mut slowest = Duration::ZERO;
    for round in 0..ON_DISK {
        let mut random = StdRng::seed_from_u64(SEED + round as u64);
        let mut spoiled = Spoiled::new(&template);
        let done: Vec<String> = (0..3).map(|_| spoiled.spoil(&mut random)).collect();
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("spool");
        spoiled.files().write_to(&spool);
        let since = Instant::now();
        let mut proxy = Countersign::asking(&stub.url()).on(&spool).start().await;
        slowest = slowest.max(since.elapsed());
        assert!(since.elapsed() < LIMIT, "{done:?}");
        assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "x")).await.allowed(), "{done:?}");
        proxy.stop().await;
    }
    eprintln!("{ON_DISK} damaged spools; the slowest start took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_of_a_later_version_is_refused_and_left_as_it_is() {
    let files = template().await;
    for (path, mut bytes) in files.all() {
        if path.ends_with(".seg") {
            // The version of both copies of the header.
            for at in [8, 2048 + 8] {
                Arc::make_mut(&mut bytes)[at] += 1;
            }
            files.put(&path, bytes);
        }
    }
    let (before, files) = (files.all(), Arc::new(files));
    let parts = (files.clone() as _, Arc::new(SystemClock) as _);
    let options = Options { retain_delivered: Duration::ZERO, ..Options::new("/nowhere") };
    let (spool, _backlog) =
        Spool::start_with(options, Source::new("i"), parts, Metrics::new(&Names::default())).unwrap();
    let since = Instant::now();
    while !spool.status().trouble.is_some_and(|trouble| trouble.detail.contains("later version")) {
        assert!(since.elapsed() < LIMIT, "{:?}", spool.status().trouble);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!spool.is_available());
    spool.close(LIMIT);
    spool.unlock();
    assert_eq!(files.all(), before);
}
