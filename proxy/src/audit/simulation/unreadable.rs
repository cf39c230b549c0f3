//! Sectors that cannot be read: they hold up what is behind them for a while, never for ever, and what they cover is
//! never taken for delivered. Schedules written by hand, on the parts themselves; the others are drawn by `schedule`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::disk::Disk;
use super::process::{self, ManualClock};
use super::schedule::{self, Setup};
use crate::audit::backlog::Backlog;
use crate::audit::envelope::{Draft, Kind};
use crate::audit::epoch::Entry;
use crate::audit::files::Clock;
use crate::audit::keeper::Keeper;
use crate::audit::segment;
use crate::audit::shared::Shared;
use crate::audit::waiting::Receipt;
use crate::audit::writer::{Append, Item, Writer};
use crate::policy::verdict::{Durability, Reason};

const HEAD: u64 = segment::HEADER as u64;

pub type Told = oneshot::Receiver<Result<Receipt, Reason>>;

/// A process without a publisher: its backlog is read by hand.
pub struct Bench {
    pub disk: Disk,
    pub clock: Arc<ManualClock>,
    pub shared: Arc<Shared>,
    pub writer: Writer,
    pub keeper: Keeper,
    pub backlog: Backlog,
    pub kafka: Vec<Entry>,
}

pub fn setup() -> Setup {
    Setup { durability: Durability::Synced, segment: 64 << 10, max_size: 16 << 20, ..schedule::setup(0).0 }
}

impl Bench {
    pub fn start(disk: &Disk, clock: &Arc<ManualClock>) -> Self {
        let shared = process::shared(&setup(), disk, clock);
        let mut writer = Writer::new(shared.clone());
        writer.patience = Duration::ZERO;
        let (keeper, backlog) = (Keeper::new(shared.clone()), Backlog::new(shared.clone()));
        Self { disk: disk.clone(), clock: clock.clone(), shared, writer, keeper, backlog, kafka: Vec::new() }
    }

    /// Open, and promised five records in the file that is returned.
    pub fn with_five() -> (Self, usize) {
        let mut bench = Self::start(&Disk::new(0), &ManualClock::new());
        bench.settle();
        let told: Vec<_> = (0..5).map(|_| bench.append(Durability::Synced, 2000)).collect();
        bench.turn(Vec::new());
        assert!(told.into_iter().all(|mut told| matches!(told.try_recv(), Ok(Ok(_)))));
        let file = bench.disk.0.lock().names_ending(".seg")[0].1;
        (bench, file)
    }

    pub fn turn(&mut self, mut items: Vec<Item>) {
        self.writer.turn(&mut items);
        self.keeper.turn();
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.pass(Duration::from_secs(seconds));
    }

    pub fn settle(&mut self) {
        for _ in 0..3 {
            self.turn(Vec::new());
            self.pass(1);
        }
    }

    pub fn item(&self, level: Durability, size: usize) -> (Item, Told) {
        let (time, data) = (self.clock.wall(), serde_json::json!({"pad": "x".repeat(size)}));
        let draft = Draft::new(&self.shared.source, Kind::Decision, Uuid::now_v7(), time, None, &data).unwrap();
        let (waiter, told) = oneshot::channel();
        (Item::Record(Append { draft, level, waiter, since: self.clock.now() }), told)
    }

    pub fn append(&mut self, level: Durability, size: usize) -> Told {
        let (item, told) = self.item(level, size);
        self.turn(vec![item]);
        told
    }

    pub fn deliver(&mut self) {
        while let Ok(Some(entry)) = self.backlog.next() {
            self.backlog.delivered(&entry.epoch, entry.seq);
            self.kafka.push(entry);
        }
    }

    /// `data` of all lifecycle records of that name that Kafka has.
    pub fn events(&self, name: &str) -> Vec<serde_json::Value> {
        let values = self.kafka.iter().map(|e| serde_json::from_slice::<serde_json::Value>(&e.value).unwrap());
        values.map(|v| v["data"].clone()).filter(|d| d["event"] == name).collect()
    }

    /// The process after this one.
    pub fn next(self) -> Self {
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        drop(self);
        disk.end_process(false);
        Self::start(&disk, &clock)
    }
}

#[test]
fn an_unreadable_sector_costs_what_it_covers() {
    let (mut bench, file) = Bench::with_five();
    bench.disk.0.lock().unreadable = Some((file, HEAD + 5000..HEAD + 5512));
    assert!(bench.backlog.next().is_err());
    bench.pass(30);
    assert!(bench.backlog.next().is_err(), "a disk that is away for half a minute loses nothing");
    bench.pass(31);
    bench.deliver();
    bench.settle();
    bench.deliver();
    let seqs: BTreeSet<u64> = bench.kafka.iter().map(|e| e.seq).collect();
    let missing: Vec<u64> = (0..=5).filter(|s| !seqs.contains(s)).collect();
    assert_eq!(missing.len(), 1, "{seqs:?}");
    let named = bench.events("damage_found");
    assert_eq!((named.len(), &named[0]["first_seq"]), (1, &missing[0].into()));
}

#[test]
fn an_unreadable_end_is_never_taken_for_delivered() {
    let (bench, file) = Bench::with_five();
    let mut next = bench.next();
    next.disk.0.lock().unreadable = Some((file, 0..1 << 30));
    next.turn(Vec::new());
    assert!(next.shared.trouble.lock().as_ref().unwrap().detail.contains("Input/output"));
    for _ in 0..20 {
        next.pass(2);
        next.turn(Vec::new());
    }
    assert!(next.shared.available.load(Ordering::Acquire), "it does not deny for ever");
    assert!(next.disk.0.lock().names_ending(".seg").iter().any(|(_, i)| *i == file), "the segment must stay");
    next.disk.0.lock().unreadable = None;
    next.deliver();
    let first = next.kafka[0].chain.clone();
    let delivered = next.kafka.iter().filter(|e| e.chain == first).count();
    assert!(delivered >= 6, "{delivered}");
}

#[test]
fn an_epoch_that_is_gone_blocks_nothing_and_is_named() {
    let (bench, _) = Bench::with_five();
    let chain = bench.shared.progress.lock().chain.clone().unwrap();
    let mut next = bench.next();
    next.settle();
    let (old, end) = next.shared.inventory.lock().epochs.first().map(|e| (e.id.directory(), e.next)).unwrap();
    assert!(end > 5);
    next.disk.0.lock().forget(&old);
    assert!(next.backlog.next().is_err());
    next.pass(61);
    next.deliver();
    next.settle();
    next.deliver();
    let found = next.events("damage_found");
    assert_eq!((found.len(), &found[0]["of_chain"]), (1, &chain.to_string().into()));
    assert_eq!((&found[0]["first_seq"], &found[0]["last_seq"]), (&0.into(), &(end - 1).into()));
    assert_eq!(next.shared.inventory.lock().undelivered().0, 0);
}

/// What somebody removed is no part of the spool's size, whether or not the cursor could be stored before.
#[test]
fn an_epoch_that_is_gone_does_not_count() {
    for delivered in [0, 3] {
        let mut next = Bench::with_five().0.next();
        next.settle();
        let old = next.shared.inventory.lock().epochs.first().map(|e| e.id.directory()).unwrap();
        for _ in 0..delivered {
            let entry = next.backlog.next().unwrap().unwrap();
            next.backlog.delivered(&entry.epoch, entry.seq);
        }
        next.disk.0.lock().forget(&old);
        // What cannot be read is passed over after a minute.
        for _ in 0..3 {
            next.deliver();
            next.pass(61);
            next.settle();
        }
        let inventory = next.shared.inventory.lock();
        assert!(inventory.epochs.iter().all(|e| e.id.directory() != old), "{delivered}");
    }
}
