//! The promise, checked against a disk that loses everything it may: every record whose receipt was given is found by
//! the next process, at its place in a chain that verifies; and what Kafka gets has no gap that was not announced.

mod simulated;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Append, Item, Writer};
use crate::audit::backlog::{Backlog, Entry};
use crate::audit::chain;
use crate::audit::envelope::{Draft, Kind, Source};
use crate::audit::files::Clock;
use crate::audit::keeper::Keeper;
use crate::audit::scan::{Scan, Scanned};
use crate::audit::shared::{Options, Shared};
use crate::audit::waiting::Receipt;
use crate::metrics::{Metrics, Names};
use crate::policy::verdict::Durability;
use crate::policy::verdict::Reason;

use simulated::Simulated;

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: usize,
        level: Durability,
        size: usize,
        hold: bool,
    },
    Pass(u64),
    /// Operations from now on that fail.
    Fail {
        after: u64,
        times: u64,
    },
    Deliver(usize),
    /// The process ends in the middle of the step that does this many operations more.
    Crash {
        after: u64,
        power: bool,
        seed: u64,
    },
    Close,
}

struct ManualClock(Mutex<Duration>, Instant);

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.1 + *self.0.lock()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_439_107) + *self.0.lock()
    }
}

type Chains = BTreeMap<String, BTreeMap<u64, Vec<u8>>>;
type Told = oneshot::Receiver<Result<Receipt, Reason>>;

/// One process, stepped by hand.
struct Process {
    shared: Arc<Shared>,
    writer: Writer,
    keeper: Keeper,
    backlog: Backlog,
    flying: VecDeque<Entry>,
    waiting: Vec<(Uuid, Durability, bool, Told)>,
    held: Vec<Receipt>,
}

impl Process {
    fn start(disk: &Simulated, clock: &Arc<ManualClock>) -> Self {
        let mut options = Options::new("");
        (options.max_size, options.retain_delivered) = (16 << 20, Duration::from_secs(5));
        options.segment_size = 256 << 10;
        let metrics = Metrics::new(&Names::default());
        let files = Arc::new(disk.clone());
        let shared = Shared::new(options, Source::new("i"), ("v", "g"), metrics, files, clock.clone());
        let mut writer = Writer::new(shared.clone());
        writer.patience = Duration::ZERO;
        let (keeper, backlog) = (Keeper::new(shared.clone()), Backlog::new(shared.clone()));
        let (flying, waiting, held) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { shared, writer, keeper, backlog, flying, waiting, held }
    }

    fn turn(&mut self, mut items: Vec<Item>, told: &mut World) {
        self.writer.turn(&mut items);
        self.keeper.turn();
        let held = &mut self.held;
        self.waiting.retain_mut(|(id, level, hold, waiter)| match waiter.try_recv() {
            Ok(Ok(receipt)) => {
                told.promised.insert((receipt.chain().to_string(), receipt.seq()), (*id, *level));
                if *hold {
                    held.push(receipt);
                }
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => false,
        });
    }

    fn append(&mut self, (count, level, size, hold): (usize, Durability, usize, bool), told: &mut World) {
        let mut items = Vec::new();
        for _ in 0..count {
            let id = Uuid::now_v7();
            let data = serde_json::json!({"pad": "x".repeat(size)});
            let time = self.shared.clock.wall();
            let draft = Draft::new(&self.shared.source, Kind::Decision, id, time, None, &data).unwrap();
            let (waiter, receiver) = oneshot::channel();
            items.push(Item::Record(Append { draft, level, waiter, since: self.shared.clock.now() }));
            self.waiting.push((id, level, hold, receiver));
        }
        self.turn(items, told);
    }

    fn deliver(&mut self, count: usize, told: &mut World) {
        for _ in 0..count {
            let Ok(Some(entry)) = self.backlog.next() else { break };
            told.kafka.push(entry.clone());
            self.flying.push_back(entry);
        }
        for _ in 0..count.min(self.flying.len()) {
            let entry = self.flying.pop_front().unwrap();
            self.backlog.delivered(&entry.epoch, entry.seq);
        }
    }
}

/// What the outside knows.
#[derive(Default)]
struct World {
    /// Chain and seq of every receipt, with the record's id and level.
    promised: BTreeMap<(String, u64), (Uuid, Durability)>,
    kafka: Vec<Entry>,
    /// Records whose answers were on their way when their process ended.
    unsettled: Vec<(String, u64)>,
}

impl World {
    /// Power loss takes what was promised for the end of a process only.
    fn crash(&mut self, process: Process, power: bool) {
        self.unsettled.extend(process.held.iter().map(|r| (r.chain().to_string(), r.seq())));
        if power {
            self.promised.retain(|_, (_, level)| *level != Durability::Written);
        }
    }

    fn check(&self, disk: &Simulated) -> Result<(), String> {
        let mut chains: Chains = BTreeMap::new();
        let mut announced = BTreeSet::new();
        let mut scan = Scan::on(Arc::new(disk.clone()));
        while let Some(found) = scan.next().map_err(|e| e.to_string())? {
            match found {
                Scanned::Record(e) => {
                    drop(chains.entry(e.chain.to_string()).or_default().insert(e.seq, e.value.into()))
                }
                Scanned::Damage(d) => announced.extend((d.first_seq..=d.last_seq).map(|s| (d.chain.to_string(), s))),
            }
        }
        for entry in &self.kafka {
            let records = chains.entry(entry.chain.to_string()).or_default();
            if records.insert(entry.seq, entry.value.to_vec()).is_some_and(|old| old != entry.value) {
                return Err(format!("record {} has two contents", entry.seq));
            }
        }
        for ((chain, seq), (id, level)) in &self.promised {
            let value = chains.get(chain).and_then(|c| c.get(seq));
            let value = value.ok_or_else(|| format!("{chain} {seq} ({level:?}) was promised and is lost"))?;
            if !String::from_utf8_lossy(value).contains(&id.to_string()) {
                return Err(format!("{chain} {seq} is another record than promised"));
            }
        }
        announced.extend(named_by_records(&chains));
        for (chain, records) in &chains {
            verify(chain, records, &announced)?;
        }
        self.check_unknown(&chains)
    }

    /// What a consumer has: no gap that one of the records does not name, first occurrences in order.
    fn check_kafka(&self) -> Result<(), String> {
        let mut chains: Chains = BTreeMap::new();
        for entry in &self.kafka {
            let records = chains.entry(entry.chain.to_string()).or_default();
            if !records.contains_key(&entry.seq) && records.keys().next_back().is_some_and(|last| *last > entry.seq) {
                return Err(format!("{} {} came late", entry.chain, entry.seq));
            }
            records.insert(entry.seq, entry.value.to_vec());
        }
        let announced = named_by_records(&chains);
        chains.iter().try_for_each(|(chain, records)| verify(chain, records, &announced))
    }

    /// What was on its way is named by the next chain.
    fn check_unknown(&self, chains: &Chains) -> Result<(), String> {
        for first in chains.values().filter_map(|c| c.get(&0)) {
            let record: serde_json::Value = serde_json::from_slice(first).map_err(|e| e.to_string())?;
            let previous = &record["data"]["previous"];
            let Some(id) = previous["id"].as_str() else { continue };
            let head = chains.get(id).and_then(|c| c.get(&previous["seq"].as_u64().unwrap_or(u64::MAX)));
            if head.map(|h| hex::encode(chain::hash(h))).as_deref() != previous["hash"].as_str() {
                return Err(format!("head of {id} is not what the next chain says"));
            }
            let from = previous["unknown"]["first"].as_u64().unwrap_or(u64::MAX);
            let missed =
                |(chain, seq): &&(String, u64)| chain == id && *seq < from && Some(*seq) <= previous["seq"].as_u64();
            if let Some((chain, seq)) = self.unsettled.iter().find(missed) {
                return Err(format!("{chain} {seq} was on its way and is not named"));
            }
        }
        Ok(())
    }
}

fn named_by_records(chains: &Chains) -> BTreeSet<(String, u64)> {
    let mut named = BTreeSet::new();
    for value in chains.values().flat_map(BTreeMap::values) {
        let record: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
        let data = &record["data"];
        if let (Some("damage_found"), Some(chain), Some(first), Some(last)) =
            (data["event"].as_str(), data["of_chain"].as_str(), data["first_seq"].as_u64(), data["last_seq"].as_u64())
        {
            named.extend((first..=last).map(|s| (chain.to_owned(), s)));
        }
    }
    named
}

fn verify(chain: &str, records: &BTreeMap<u64, Vec<u8>>, announced: &BTreeSet<(String, u64)>) -> Result<(), String> {
    let mut before: Option<(u64, String)> = None;
    for (seq, value) in records {
        let link = chain::link(value).ok_or_else(|| format!("{chain} {seq} is no record"))?;
        if link.id != chain || link.seq != *seq {
            return Err(format!("{chain} {seq} says it is {} {}", link.id, link.seq));
        }
        let (last, hash) = before.take().unwrap_or((seq.wrapping_sub(1), link.prev.clone()));
        if last.wrapping_add(1) == *seq && link.prev != hash {
            return Err(format!("{chain} {seq} does not follow"));
        }
        if let Some(gap) = (last.wrapping_add(1)..*seq).find(|s| !announced.contains(&(chain.to_owned(), *s))) {
            return Err(format!("{chain} {gap} is a gap that nothing names"));
        }
        before = Some((*seq, hex::encode(chain::hash(value))));
    }
    Ok(())
}

/// Runs the steps, then two processes more: one that ends in order, one that delivers everything.
fn run(steps: &[Step], disk: Simulated) -> Result<usize, String> {
    let clock = Arc::new(ManualClock(Mutex::new(Duration::ZERO), Instant::now()));
    let (mut disk, mut told) = (disk, World::default());
    let mut process = Process::start(&disk, &clock);
    let mut crash: Option<(bool, u64)> = None;
    for step in steps {
        match step {
            Step::Append { count, level, size, hold } => process.append((*count, *level, *size, *hold), &mut told),
            Step::Pass(millis) => *clock.0.lock() += Duration::from_millis(*millis),
            Step::Fail { after, times } => disk.0.lock().fail_in = Some((*after, *times)),
            Step::Deliver(count) => process.deliver(*count, &mut told),
            Step::Crash { after, power, seed } => {
                disk.0.lock().stop_in = Some(*after);
                crash = Some((*power, *seed));
            }
            Step::Close => process.turn(vec![Item::Close], &mut told),
        }
        process.turn(Vec::new(), &mut told);
        let stopped = disk.0.lock().stop_in == Some(0);
        if process.writer.is_finished() || stopped {
            let (power, seed) = crash.take().unwrap_or((false, 0));
            disk = disk.after_crash(power, seed);
            told.crash(process, power);
            told.check(&disk)?;
            process = Process::start(&disk, &clock);
        }
    }
    *disk.0.lock() = std::mem::take(&mut *disk.after_crash(false, 0).0.lock());
    told.crash(process, false);
    finish(&disk, &clock, told)
}

/// The trouble is over: everything comes back without a restart, and everything is delivered.
fn finish(disk: &Simulated, clock: &Arc<ManualClock>, mut told: World) -> Result<usize, String> {
    let mut last = Process::start(disk, clock);
    for _ in 0..8 {
        *clock.0.lock() += Duration::from_secs(1);
        last.turn(Vec::new(), &mut told);
        last.deliver(usize::MAX, &mut told);
    }
    let before = told.promised.len();
    last.append((1, Durability::Synced, 10, false), &mut told);
    if told.promised.len() != before + 1 {
        return Err(format!("not available again: {:?}", *last.shared.trouble.lock()));
    }
    last.turn(vec![Item::Close], &mut told);
    last.deliver(usize::MAX, &mut told);
    let (left, _) = last.shared.inventory.lock().undelivered();
    if left != 0 {
        return Err(format!("{left} records are not delivered"));
    }
    let delivered: BTreeSet<_> = told.kafka.iter().map(|e| (e.chain.to_string(), e.seq)).collect();
    if let Some(missing) = told.promised.keys().find(|k| !delivered.contains(*k)) {
        return Err(format!("{missing:?} was promised and is not in Kafka"));
    }
    told.check_kafka()?;
    told.check(disk)?;
    Ok(told.promised.len())
}

fn level() -> impl Strategy<Value = Durability> {
    prop_oneof![3 => Just(Durability::Synced), 2 => Just(Durability::Written), 1 => Just(Durability::Acknowledged)]
}

fn step() -> impl Strategy<Value = Step> {
    let append = (1..6_usize, level(), prop_oneof![0..2000_usize, 20_000..60_000_usize], any::<bool>());
    prop_oneof![
        10 => append.prop_map(|(count, level, size, hold)| Step::Append { count, level, size, hold }),
        4 => (0..1500_u64).prop_map(Step::Pass),
        2 => (0..8_u64, 1..6_u64).prop_map(|(after, times)| Step::Fail { after, times }),
        3 => (0..20_usize).prop_map(Step::Deliver),
        2 => (0..12_u64, any::<bool>(), any::<u64>()).prop_map(|(after, power, seed)| Step::Crash { after, power, seed }),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_promised_record_is_lost(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps, Simulated::default()).map_err(TestCaseError::fail)?;
    }
}

/// Syncs that only pretend must be found out, or the test above proves nothing.
fn is_found_out(lie: impl Fn(&mut simulated::World)) -> bool {
    (0..40).any(|seed| {
        let disk = Simulated::default();
        lie(&mut disk.0.lock());
        let append = Step::Append { count: 3, level: Durability::Synced, size: 700, hold: false };
        let crash = Step::Crash { after: 0, power: true, seed };
        let steps = [append.clone(), Step::Pass(40), append.clone(), append.clone(), crash, append];
        run(&steps, disk).is_err()
    })
}

#[test]
fn a_disk_that_lies_is_found_out() {
    assert!(!is_found_out(|_| {}), "an honest disk loses nothing");
    assert!(is_found_out(|world| world.lie_data = true));
    assert!(is_found_out(|world| world.lie_names = true));
}
