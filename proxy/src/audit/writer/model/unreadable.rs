//! Sectors that cannot be read: they hold up what is behind them for a while, never for ever, and what they cover is
//! never taken for delivered.

use super::*;

const HEAD: u64 = crate::audit::segment::HEADER as u64;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock(Mutex::new(Duration::ZERO), Instant::now()))
}

fn pass(clock: &ManualClock, seconds: u64) {
    *clock.0.lock() += Duration::from_secs(seconds);
}

/// An open process that was promised five records in the file that is returned.
fn with_five(disk: &Simulated, clock: &Arc<ManualClock>, told: &mut World) -> (Process, usize) {
    let mut process = Process::start(disk, clock);
    for _ in 0..2 {
        process.turn(Vec::new(), told);
        pass(clock, 1);
    }
    process.append((5, Durability::Synced, 2000, false), told);
    assert_eq!(told.promised.len(), 5);
    let file = disk.0.lock().names_ending(".seg")[0].1;
    (process, file)
}

#[test]
fn an_unreadable_sector_costs_what_it_covers() {
    let (disk, clock, mut told) = (Simulated::default(), clock(), World::default());
    let (mut process, file) = with_five(&disk, &clock, &mut told);
    disk.0.lock().unreadable = Some((file, HEAD + 5000..HEAD + 5512));
    assert!(process.backlog.next().is_err());
    pass(&clock, 30);
    assert!(process.backlog.next().is_err(), "a disk that is away for half a minute loses nothing");
    pass(&clock, 31);
    process.deliver(usize::MAX, &mut told);
    process.turn(Vec::new(), &mut told);
    pass(&clock, 1);
    process.turn(Vec::new(), &mut told);
    process.deliver(usize::MAX, &mut told);
    let seqs: Vec<u64> = told.kafka.iter().map(|e| e.seq).collect();
    let missing: Vec<u64> = (0..=5).filter(|s| !seqs.contains(s)).collect();
    assert_eq!(missing.len(), 1, "{seqs:?}");
    told.check_kafka().unwrap();
}

#[test]
fn an_unreadable_end_is_never_taken_for_delivered() {
    let (disk, clock, mut told) = (Simulated::default(), clock(), World::default());
    let (process, file) = with_five(&disk, &clock, &mut told);
    told.crash(process, false);
    let disk = disk.after_crash(false, 0);
    disk.0.lock().unreadable = Some((file, 0..1 << 30));
    let mut next = Process::start(&disk, &clock);
    next.turn(Vec::new(), &mut told);
    assert!(next.shared.trouble.lock().as_ref().unwrap().detail.contains("unreadable"));
    for _ in 0..20 {
        pass(&clock, 2);
        next.turn(Vec::new(), &mut told);
    }
    assert!(next.shared.available.load(std::sync::atomic::Ordering::Acquire), "it does not deny for ever");
    assert!(disk.0.lock().names_ending(".seg").iter().any(|(_, i)| *i == file), "the segment must stay");
    disk.0.lock().unreadable = None;
    next.deliver(usize::MAX, &mut told);
    let delivered: BTreeSet<_> = told.kafka.iter().map(|e| (e.chain.to_string(), e.seq)).collect();
    assert!(told.promised.keys().all(|k| delivered.contains(k)), "{delivered:?}");
}

#[test]
fn an_epoch_that_is_gone_blocks_nothing_and_is_named() {
    let (disk, clock, mut told) = (Simulated::default(), clock(), World::default());
    let (process, _) = with_five(&disk, &clock, &mut told);
    let chain = process.shared.progress.lock().chain.clone().unwrap();
    told.crash(process, false);
    let disk = disk.after_crash(false, 0);
    let mut next = Process::start(&disk, &clock);
    for _ in 0..2 {
        next.turn(Vec::new(), &mut told);
        pass(&clock, 1);
    }
    let (old, end) = next.shared.inventory.lock().epochs.first().map(|e| (e.id.directory(), e.next)).unwrap();
    assert!(end > 5);
    disk.0.lock().forget(&old);
    assert!(next.backlog.next().is_err());
    pass(&clock, 61);
    next.deliver(usize::MAX, &mut told);
    next.turn(Vec::new(), &mut told);
    pass(&clock, 1);
    next.turn(Vec::new(), &mut told);
    next.deliver(usize::MAX, &mut told);
    let values = told.kafka.iter().map(|e| serde_json::from_slice::<serde_json::Value>(&e.value).unwrap());
    let found: Vec<_> = values.map(|v| v["data"].clone()).filter(|d| d["event"] == "damage_found").collect();
    assert_eq!((found.len(), &found[0]["of_chain"]), (1, &chain.to_string().into()));
    assert_eq!((&found[0]["first_seq"], &found[0]["last_seq"]), (&0.into(), &(end - 1).into()));
    assert_eq!(next.shared.inventory.lock().undelivered().0, 0);
}

/// Between the answer and the amendment that contradicts the record, a crash must leave the answer unknown.
#[test]
fn a_late_record_is_not_settled_before_its_amendment() {
    let (disk, clock, mut told) = (Simulated::default(), clock(), World::default());
    let (mut process, _) = with_five(&disk, &clock, &mut told);
    let late = process.shared.progress.lock().next;
    process.append((1, Durability::Acknowledged, 10, false), &mut told);
    process.waiting.clear();
    process.deliver(usize::MAX, &mut told);
    assert_eq!(process.shared.late.lock().len(), 1);
    process.writer.begin_batch();
    assert_eq!(process.writer.settled, late);
    process.turn(Vec::new(), &mut told);
    process.turn(Vec::new(), &mut told);
    process.writer.begin_batch();
    assert!(process.writer.settled > late);
}
