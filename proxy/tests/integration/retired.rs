//! A live spool that is read while its oldest segments give way: what is read of it is whole, and nothing else is said.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use countersign::audit::envelope::{Draft, Kind, Source};
use countersign::audit::scan::{Scan, Scanned};
use countersign::audit::spool::{Options, Spool};
use countersign::audit::verify::{Fault, Outcome, Report, Seen, Verification};
use countersign::metrics::{Metrics, Names};
use countersign::policy::verdict::Durability;
use uuid::Uuid;

use crate::support::{disk, eventually};

/// Records of 16 KiB until `stop`, each delivered at once, none kept after that.
async fn live(directory: &Path, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let mut options = Options::new(directory);
    (options.segment_size, options.retain_delivered) = (256 << 10, Duration::ZERO);
    options.checkpoint_every = Duration::from_millis(200);
    let started = Spool::start(options, Source::new("i"), "0.0", "g", Metrics::new(&Names::default()));
    let (spool, mut backlog) = started.unwrap();
    eventually("the spool opens", async || spool.is_available().then_some(())).await;
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let data = serde_json::json!({"decision": "deny", "text": "x".repeat(16 << 10)});
            let draft = Draft::new(&Source::new("i"), Kind::Decision, Uuid::now_v7(), SystemTime::now(), None, &data);
            let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
            spool.append(draft.unwrap(), Durability::Written, deadline).await.unwrap();
            while let Some(entry) = backlog.next().unwrap() {
                backlog.delivered(&entry.epoch, entry.seq);
            }
        }
        assert!(spool.close(Duration::from_secs(10)));
        spool.unlock();
    })
}

/// Reads some records, waits until these and some after them are gone, and reads on.
async fn read_slowly(directory: &Path) -> (Report, u64) {
    let (mut scan, mut verification, mut read) = (Scan::new(directory), Verification::default(), 0);
    let oldest = |scan: &Scan| scan.oldest().unwrap().map(|oldest| (oldest.epoch, oldest.first_seq));
    let mut behind = None;
    while read < 20 || behind.is_some_and(|gone: u64| read < gone) {
        match scan.next().unwrap() {
            Some(Scanned::Record(entry)) => {
                verification.record(Seen::read(&entry.value));
                (behind, read) = (behind.or(Some(entry.seq + 5)), entry.seq);
            }
            Some(Scanned::Damage(damage)) => panic!("{damage:?}"),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    let gone = read + 60;
    let gave_way = async || oldest(&scan).is_some_and(|(_, first)| first > gone).then_some(());
    eventually("what is read next gives way", gave_way).await;
    let mut more = 0;
    while more < 50 {
        match scan.next().unwrap() {
            Some(Scanned::Record(entry)) => {
                verification.record(Seen::read(&entry.value));
                more += 1;
            }
            Some(Scanned::Damage(damage)) => panic!("gave way, and is called damage: {damage:?}"),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    let oldest = scan.oldest().unwrap().unwrap();
    verification.spool_still_has(oldest.chain.unwrap(), oldest.first_seq);
    (verification.finish(&[]), gone)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gives_way_while_it_is_read_is_cut_off_and_no_fault() {
    let home = disk::quick();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = live(home.path(), stop.clone()).await;
    for _ in 0..3 {
        let (report, gone) = read_slowly(home.path()).await;
        assert_eq!(report.outcome, Outcome::Whole, "{:#?}", report.findings);
        let gap = |f: &countersign::audit::verify::Finding| {
            f.fault == Fault::CutStart && f.range.is_some_and(|(first, last)| first > 0 && last >= gone)
        };
        assert!(report.findings.iter().any(gap), "{gone} {:#?}", report.findings);
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}
