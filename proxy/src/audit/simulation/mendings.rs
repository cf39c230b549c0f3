//! What was found and mended, one test each; and seeds that once broke a promise. Not the search for more; that is
//! `simulation`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use super::disk::Disk;
use super::process::ManualClock;
use super::unreadable::{Bench, setup};
use crate::audit::envelope::{Draft, Kind, Source};
use crate::audit::epoch::{Damage, EpochId};
use crate::audit::files::Files;
use crate::audit::lifecycle::Event;
use crate::audit::shared::{Options, Spare};
use crate::audit::spool::Spool;
use crate::audit::writer::Item;
use crate::metrics::{Metrics, Names};
use crate::policy::verdict::{Durability, Reason};

/// Each broke a promise once, in a schedule that later changes may have replaced.
const SEEDS: [u64; 15] = [128, 145, 171, 319, 770, 870, 1288, 1813, 2039, 7711, 8301, 8559, 10_307, 10_705, 21_565];

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

/// They stayed until Kafka had their records: while it was away, one for every question.
#[test]
fn who_gave_up_on_kafka_is_amended_while_it_is_away() {
    let (mut bench, _) = Bench::with_five();
    for _ in 0..20 {
        drop(bench.append(Durability::Acknowledged, 10));
    }
    let mut patient = bench.append(Durability::Acknowledged, 10);
    bench.pass(1);
    bench.settle();
    assert_eq!(bench.shared.acknowledged.lock().len(), 1, "only who still waits");
    bench.deliver();
    assert!(matches!(patient.try_recv(), Ok(Ok(_))));
    bench.settle();
    bench.deliver();
    let amendments = bench.kafka.iter().filter(|e| String::from_utf8_lossy(&e.value).contains("amendment.v1"));
    assert_eq!(amendments.count(), 20, "each once");
}

/// Has the second record kept whole, by a process that ends after `operations` of the disk and by the one after it; then
/// power is lost. Whether its file is there.
fn whole_after_power_loss(seed: u64, operations: u64) -> bool {
    let disk = Disk::new(seed);
    let mut bench = Bench::start(&disk, &ManualClock::new());
    bench.settle();
    drop((0..3).map(|_| bench.append(Durability::Synced, 500)).collect::<Vec<_>>());
    bench.turn(Vec::new());
    bench.backlog.next().unwrap().unwrap();
    disk.0.lock().stop_in = Some(operations);
    let ended = bench.backlog.next().is_ok_and(|entry| {
        let entry = entry.unwrap();
        bench.backlog.stubbed(&entry.epoch, entry.seq).is_ok()
    });
    let mut bench = bench.next();
    bench.settle();
    let entry = std::iter::from_fn(|| bench.backlog.next().unwrap()).find(|entry| entry.seq == 1).unwrap();
    assert!(bench.backlog.stubbed(&entry.epoch, entry.seq).is_ok() || ended, "kept, or tried again");
    disk.end_process(true);
    let kept = disk.list("whole").unwrap_or_default();
    kept.iter().any(|name| name.ends_with("-1.json"))
}

/// A process was killed when the file had its name and the name was not durable: the next one took it for kept.
#[test]
fn a_whole_record_that_a_killed_process_left_survives_power_loss() {
    for (seed, operations) in (0..8).flat_map(|seed| (1..24).map(move |operations| (seed, operations))) {
        assert!(whole_after_power_loss(seed, operations), "seed {seed}, ended after {operations} operations");
    }
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

/// It was told while it worked, and slept for a second before it looked.
#[test]
fn a_keeper_that_is_told_to_end_while_it_works_does_not_sleep_first() {
    let bench = Bench::with_five().0;
    let (shared, disk, stop) = (bench.shared.clone(), bench.disk.clone(), Arc::new(AtomicBool::new(false)));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let spares = || disk.0.lock().names.keys().filter(|name| name.contains("/spare-")).count();
    let before = spares();
    disk.0.lock().gate = Some(gate.clone());
    *shared.spare.lock() = Spare::Wanted;
    let (keeper, stopped) = (bench.keeper, stop.clone());
    let thread = std::thread::spawn(move || keeper.run(&stopped));
    while spares() == before {
        std::thread::yield_now();
    }
    // As `unlock` does; the keeper waits for its sync.
    stop.store(true, Ordering::Release);
    drop(shared.spare.lock());
    shared.spare_moved.notify_all();
    let told = std::time::Instant::now();
    *gate.0.lock() = true;
    gate.1.notify_all();
    thread.join().unwrap();
    assert!(told.elapsed() < Duration::from_millis(900), "{:?}", told.elapsed());
}

/// The keeper may have the next segment ready before the one that was taken is begun: `max_size` is for both.
#[test]
fn a_segment_that_is_not_begun_counts_beside_the_next() {
    let (mut bench, _) = Bench::with_five();
    let before = bench.shared.inventory.lock().bytes();
    let taken = std::mem::replace(&mut *bench.shared.spare.lock(), Spare::Wanted);
    let Spare::Ready { bytes, .. } = taken else { panic!("no segment is ready") };
    bench.keeper.turn();
    assert!(matches!(*bench.shared.spare.lock(), Spare::Ready { .. }));
    assert_eq!(bench.shared.inventory.lock().bytes(), before + bytes);
    // As many as there are, where one is taken after the other.
    let (mut bench, _) = Bench::with_five();
    for _ in 0..60 {
        drop(bench.append(Durability::Synced, 4000));
    }
    let platter = bench.disk.0.lock();
    let size = |name: &str| platter.names_ending(name).len() as u64 * bytes;
    let spare = platter.names.keys().filter(|name| name.contains("/spare-")).count() as u64 * bytes;
    assert_eq!(bench.shared.inventory.lock().bytes(), size(".seg") + spare);
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

/// Whoever waits before a full queue gets in when somebody looks, and after the last look nobody did: it waited until its
/// deadline, and was counted nowhere.
#[test]
fn who_waits_before_the_queue_at_the_end_is_refused_and_counted() {
    let (bench, _) = Bench::with_five();
    let (queue, items) = flume::bounded(1024);
    (0..1024).for_each(|_| queue.send(Item::Close).unwrap());
    let (waiting, mut told): (Vec<_>, Vec<_>) = (0..1030).map(|_| bench.item(Durability::Synced, 10)).unzip();
    let mut sending: Vec<_> = waiting.into_iter().map(|item| Box::pin(queue.send_async(item))).collect();
    assert!(sending.iter_mut().all(|sending| sending.now_or_never().is_none()), "there is room");
    bench.writer.run(&items);
    assert!(told.iter_mut().all(|told| matches!(told.try_recv(), Ok(Err(Reason::AuditUnavailable)))));
    assert_eq!(bench.shared.take_audit_refusals().audit_unavailable, 1030);
}

/// The same for whoever is in the queue when the writer panics.
#[test]
fn who_is_in_the_queue_when_the_writer_panics_is_refused() {
    let disk = Disk::new(1);
    disk.0.lock().panics = true;
    // The writer comes no further than to its first look at the disk; it panics when it makes a key.
    let held = disk.0.lock();
    let outside = (Arc::new(disk.clone()) as Arc<dyn Files>, ManualClock::new() as _);
    let (spool, _) =
        Spool::start_with(Options::new(""), Source::new("i"), outside, Metrics::new(&Names::default())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (ours, deadline) = (spool.clone(), tokio::time::Instant::now() + Duration::from_secs(20));
    let data = serde_json::json!({ "pad": "" });
    let (id, time) = (Uuid::now_v7(), std::time::SystemTime::now());
    let draft = Draft::new(&Source::new("i"), Kind::Decision, id, time, None, &data).unwrap();
    let appending =
        runtime.spawn(async move { ours.append(draft, Durability::Synced, deadline).await.map(|r| r.seq()) });
    runtime.block_on(tokio::task::yield_now());
    drop(held);
    assert_eq!(runtime.block_on(appending).unwrap(), Err(Reason::AuditUnavailable));
    assert!(spool.close(Duration::from_secs(20)), "it is closed, as far as it can be");
    spool.unlock();
}

/// A clock that was set is said, whatever it was set to; what is signed is never older than what it is about.
#[test]
fn a_clock_that_jumps_is_recorded() {
    let (mut bench, _) = Bench::with_five();
    // A day ahead, 1970, 2106, and back; half a second is none.
    for millis in [500, 86_400_000, -1_795_439_107_000, 2_500_000_000_000, 0] {
        bench.clock.jump(millis);
        bench.pass(11);
        drop(bench.append(Durability::Synced, 10));
        bench.settle();
    }
    bench.deliver();
    let jumps = bench.events("clock_jumped");
    assert_eq!(jumps.len(), 4, "{jumps:?}");
    let year = |at: usize, member: &str| jumps[at][member].as_str().unwrap()[..4].to_owned();
    assert_eq!(
        (year(1, "found"), year(2, "expected"), year(2, "found")),
        ("1970".into(), "1970".into(), "2106".into())
    );
    let (mut newest, mut checkpoints) = (0, 0);
    for entry in &bench.kafka {
        if String::from_utf8_lossy(&entry.value).contains("checkpoint.v1") {
            assert!(entry.time_us >= newest, "{} before what it covers", entry.seq);
            checkpoints += 1;
        }
        newest = newest.max(entry.time_us);
    }
    assert!(checkpoints >= 5, "{checkpoints}");
    let seqs: Vec<u64> = bench.kafka.iter().map(|e| e.seq).collect();
    assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "order comes from no clock");
}

/// The turn's beginning was compared with a wall time that was read after the disk: a disk that stalled was a clock that was set.
#[test]
fn a_disk_that_stalls_is_no_clock_that_jumps() {
    let (mut bench, _) = Bench::with_five();
    bench.pass(11);
    let before = bench.disk.0.lock().operations;
    bench.disk.0.lock().slow = Some((bench.clock.clone(), Duration::from_secs(2)));
    // More than a segment: the turn makes the next one before it looks at its clocks.
    for _ in 0..3 {
        drop(bench.append(Durability::Synced, 40_000));
    }
    assert!(bench.disk.0.lock().operations > before + 3, "no segment was made");
    bench.disk.0.lock().slow = None;
    // Nor is a thread that was not run between its looks at the two clocks.
    bench.pass(11);
    bench.clock.hold(Duration::from_secs(2));
    bench.turn(Vec::new());
    bench.pass(11);
    bench.settle();
    bench.deliver();
    assert_eq!(bench.events("clock_jumped"), Vec::<serde_json::Value>::new());
}

/// Ten processes in a row end while they recover, at another point each, some with the power: the last finds what the
/// first would have.
#[test]
fn a_recovery_that_is_killed_ten_times_finds_the_same() {
    let mut bench = Bench::with_five().0;
    let (before, disk) = (bench.shared.progress.lock().clone(), bench.disk.clone());
    let chain = before.chain.unwrap();
    for n in 1..=10 {
        bench = bench.next();
        disk.0.lock().stop_in = Some(2 * n);
        for _ in 0..3 {
            bench.turn(Vec::new());
            bench.pass(1);
        }
        assert!(disk.stopped(), "{n} ended by itself");
        disk.end_process(n % 2 == 0);
    }
    let mut last = bench.next();
    last.settle();
    last.deliver();
    let found: Vec<u64> = last.kafka.iter().filter(|e| e.chain == chain).map(|e| e.seq).collect();
    assert!(found.iter().copied().eq(0..found.len() as u64) && found.len() as u64 >= before.next, "{found:?}");
    let heads: Vec<_> = last.events("chain_opened").into_iter().map(|d| d["previous"].clone()).collect();
    assert_eq!(
        heads.iter().filter(|p| p["id"] == *chain && p["seq"] == *found.last().unwrap()).count(),
        1,
        "{heads:?}"
    );
    assert!(last.events("damage_found").is_empty());
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
        before: None,
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

/// The disk ends where `max_size` does not: what is delivered gives way, and only that.
#[test]
fn a_full_disk_takes_back_what_is_delivered() {
    let (mut bench, _) = Bench::with_five();
    bench.disk.0.lock().capacity = 5 * setup().segment;
    let mut refused = 0;
    for _ in 0..200 {
        let mut told = bench.append(Durability::Synced, 4000);
        bench.deliver();
        if !matches!(told.try_recv(), Ok(Ok(_))) {
            refused += 1;
        }
        // Not long enough for anything to go by age.
        bench.clock.pass(Duration::from_millis(4));
    }
    assert!(refused < 5, "{refused} of 200 refused though all was delivered");
    let undelivered = (0..200).take_while(|_| matches!(bench.append(Durability::Synced, 4000).try_recv(), Ok(Ok(_))));
    assert!(undelivered.count() < 100, "the disk has no end");
    let kept = bench.kafka.len();
    bench.pass(2);
    bench.settle();
    assert!(bench.disk.0.lock().names_ending(".seg").len() >= 3, "what is not delivered stays");
    for _ in 0..5 {
        bench.deliver();
        bench.settle();
    }
    assert!(bench.kafka.len() > kept && bench.shared.available.load(Ordering::Acquire));
    let seqs: Vec<u64> = bench.kafka.iter().map(|e| e.seq).collect();
    assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{seqs:?}");
}

/// Somebody makes room with `rm -r`: nothing was prepared ever again, for want of the directory.
fn full_and_emptied(capacity: u64) {
    let (mut bench, _) = Bench::with_five();
    bench.disk.0.lock().capacity = capacity;
    let written =
        (0..1000).take_while(|_| matches!(bench.append(Durability::Synced, 40_000).try_recv(), Ok(Ok(_)))).count();
    assert!(written < 1000 && !bench.shared.available.load(Ordering::Acquire), "it has no end");
    let before = bench.shared.progress.lock().clone();
    bench.disk.0.lock().forget(&before.epoch.unwrap().directory());
    for _ in 0..10 {
        bench.pass(2);
        bench.turn(Vec::new());
    }
    assert!(matches!(bench.append(Durability::Synced, 10).try_recv(), Ok(Ok(_))), "{:?}", *bench.shared.trouble.lock());
    for _ in 0..3 {
        bench.deliver();
        bench.settle();
    }
    // What was removed is named, and what follows it is there.
    let gone = bench.events("damage_found");
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert_eq!((&gone[0]["first_seq"], &gone[0]["last_seq"]), (&0.into(), &(before.next - 1).into()));
    assert_eq!(bench.kafka[0].seq, before.next);
}

#[test]
fn a_full_disk_that_somebody_empties_takes_records_again() {
    full_and_emptied(3 * setup().segment);
}

/// What was removed counted against `max_size` until Kafka had it, and Kafka never could.
#[test]
fn a_full_spool_that_somebody_empties_takes_records_again() {
    full_and_emptied(u64::MAX);
}

/// What was written and never synced is nobody's to have when the chain ends: power loss may take it.
#[test]
fn a_chain_that_ends_in_an_outage_publishes_only_what_is_durable() {
    let (mut bench, file) = Bench::with_five();
    bench.deliver();
    let (item, mut told) = bench.item(Durability::Synced, 2000);
    // The write passes, its sync and everything after do not.
    bench.disk.0.lock().fail_in = Some((1, 1000));
    bench.writer.turn(&mut vec![item]);
    assert_eq!(told.try_recv().unwrap().unwrap_err(), Reason::AuditUnavailable);
    bench.writer.turn(&mut vec![Item::Close]);
    assert!(bench.writer.is_finished());
    bench.disk.0.lock().fail_in = None;
    let next = bench.shared.progress.lock().next;
    assert!(crate::audit::simulation::spoil::holds(&bench.disk, file, next), "the write is in the file");
    bench.deliver();
    assert_eq!(bench.kafka.last().unwrap().seq, next - 1);
    assert_eq!(bench.shared.inventory.lock().undelivered().0, 0);
}

/// Names are numbers that anybody may have written: none of them ends the writer.
#[test]
fn an_epoch_from_the_end_of_time_is_gone_beyond() {
    let disk = Disk::new(0);
    disk.create_dir("epochs").unwrap();
    disk.create_dir(&format!("epochs/{}-0123456789abcdef", u64::MAX)).unwrap();
    let mut bench = Bench::start(&disk, &ManualClock::new());
    bench.settle();
    assert!(matches!(bench.append(Durability::Synced, 10).try_recv(), Ok(Ok(_))));
}
