//! What was found and mended, one test each; and seeds that once broke a promise. Not the search for more; that is
//! `simulation`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::disk::Disk;
use super::process::ManualClock;
use super::unreadable::{Bench, setup};
use crate::audit::envelope::Source;
use crate::audit::epoch::{Damage, EpochId};
use crate::audit::files::Files;
use crate::audit::lifecycle::Event;
use crate::audit::shared::{Options, Spare};
use crate::audit::spool::Spool;
use crate::audit::writer::Item;
use crate::metrics::{Metrics, Names};
use crate::policy::verdict::{Durability, Reason};

/// Each broke a promise once, in a schedule that later changes may have replaced.
const SEEDS: [u64; 12] = [128, 171, 319, 770, 870, 1288, 1813, 2039, 7711, 8301, 10_307, 10_705];

#[test]
fn seeds_that_broke_a_promise() {
    for seed in SEEDS {
        let outcome = super::run(seed);
        assert!(outcome.is_ok(), "{}", super::report(seed, &outcome.unwrap_err()));
    }
}

/// Between the answer and the amendment that contradicts the record, a crash must leave the answer unknown.
#[test]
fn a_late_record_is_not_settled_before_its_amendment() {
    let (mut bench, _) = Bench::with_five();
    let late = bench.shared.progress.lock().next;
    drop(bench.append(Durability::Acknowledged, 10));
    bench.deliver();
    assert_eq!(bench.shared.late.lock().len(), 1);
    for _ in 0..3 {
        drop(bench.append(Durability::Synced, 10));
        bench.turn(Vec::new());
    }
    bench.settle();
    bench.deliver();
    let amendment = |e: &&crate::audit::epoch::Entry| String::from_utf8_lossy(&e.value).contains("amendment.v1");
    let at = bench.kafka.iter().find(amendment).unwrap().seq;
    let settled = |seq: u64| bench.kafka.iter().find(|e| e.seq == seq).unwrap().settled;
    assert!((late..=at).all(|seq| settled(seq) <= late), "settled before its amendment");
    assert!(settled(bench.kafka.last().unwrap().seq) > late, "never settled");
}

#[test]
fn a_keeper_that_panics_goes_on() {
    let bench = Bench::with_five().0;
    let (shared, stop) = (bench.shared.clone(), Arc::new(AtomicBool::new(false)));
    bench.disk.0.lock().panics = true;
    *shared.spare.lock() = Spare::Wanted;
    let (keeper, stopped) = (bench.keeper, stop.clone());
    let thread = std::thread::spawn(move || keeper.run(&stopped));
    let mut spare = shared.spare.lock();
    while !matches!(*spare, Spare::Ready { .. }) {
        let waited = shared.spare_moved.wait_for(&mut spare, Duration::from_secs(10));
        assert!(!waited.timed_out(), "no segment after a panic");
    }
    assert!(!bench.disk.0.lock().panics, "it did not panic");
    drop(spare);
    stop.store(true, Ordering::Release);
    shared.spare_moved.notify_all();
    thread.join().unwrap();
}

/// A writer that hangs in a sync may still write: the lock stays.
#[test]
fn the_lock_is_kept_when_close_takes_too_long() {
    let disk = Disk::new(1);
    let mut options = Options::new("");
    (options.segment_size, options.segment_floor) = (setup().segment, setup().segment);
    let outside = (Arc::new(disk.clone()) as Arc<dyn Files>, ManualClock::new() as _);
    let (spool, _) = Spool::start_with(options, Source::new("i"), outside, Metrics::new(&Names::default())).unwrap();
    let opened = std::time::Instant::now();
    while !spool.is_available() {
        assert!(opened.elapsed() < Duration::from_secs(20), "never open: {:?}", spool.status());
        std::thread::yield_now();
    }
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    disk.0.lock().gate = Some(gate.clone());
    assert!(!spool.close(Duration::from_millis(20)), "closed without its sync");
    let unlocking = std::thread::spawn({
        let spool = spool.clone();
        move || spool.unlock()
    });
    assert!(disk.try_lock("lock").unwrap().is_none(), "another process could write beside it");
    *gate.0.lock() = true;
    gate.1.notify_all();
    unlocking.join().unwrap();
}

#[test]
fn what_comes_after_close_is_refused_and_counted() {
    let (bench, _) = Bench::with_five();
    let (queue, items) = flume::unbounded();
    let (item, mut told) = bench.item(Durability::Synced, 10);
    queue.send(Item::Close).unwrap();
    for n in 0..1024 {
        queue.send(if n == 1023 { Item::Wake } else { Item::Close }).unwrap();
    }
    queue.send(item).unwrap();
    bench.writer.run(&items);
    assert_eq!(told.try_recv().unwrap().unwrap_err(), Reason::AuditUnavailable);
    assert_eq!(bench.shared.take_audit_refusals().audit_unavailable, 1);
}

/// More damage than anybody remembers, and than events are kept: each is named, and none goes missing for others.
#[test]
fn thousands_of_damages_are_each_named() {
    let (mut bench, _) = Bench::with_five();
    let epoch = EpochId::new(1, 1);
    let damage = |n: u64| Damage {
        epoch: epoch.clone(),
        chain: "i/1".into(),
        segment: "s".to_owned(),
        offset: n * 1000,
        bytes: 10,
        first_seq: n * 2,
        last_seq: n * 2,
    };
    for n in 0..3000 {
        bench.shared.damage(&damage(n));
        bench.shared.damage(&damage(n));
        bench.shared.event(Event::ChainClosed {});
    }
    assert_eq!(bench.shared.cursor_limit(&epoch, 9000), 0, "no cursor passes what is not named");
    for _ in 0..200 {
        bench.turn(Vec::new());
        bench.pass(1);
    }
    assert_eq!(bench.shared.cursor_limit(&epoch, 9000), 9000);
    bench.deliver();
    let named: BTreeSet<u64> = bench.events("damage_found").iter().filter_map(|d| d["first_seq"].as_u64()).collect();
    assert_eq!(named.len(), 3000);
}
