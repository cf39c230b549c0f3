//! Takes a schedule through: one process after the other on one disk, clock and topic, then an end without trouble, in
//! which everything must come back and drain without a restart. What must hold is in `oracle`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::broker::{Kafka, Topic};
use super::disk::Disk;
use super::oracle::Oracle;
use super::process::{ManualClock, Process};
use super::schedule::{Caller, Setup, Step};
use super::spoil;
use crate::audit::chance;
use crate::audit::files::Clock;
use crate::audit::inventory::EpochInfo;
use crate::audit::publisher::Ending;
use crate::audit::writer::Item;
use crate::policy::verdict::{Durability, Reason};

/// What a run came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub crashes: u64,
    pub power_cuts: u64,
    pub restarts: u64,
    pub receipts: u64,
    pub refused: u64,
    pub operations: u64,
    pub spoiled: u64,
    pub stored: u64,
    /// Segments that gave way without Kafka.
    pub dropped: u64,
    /// Records of which Kafka has a stub.
    pub stubs: u64,
    /// Runs on a full disk at whose end there had to be room before anything could be recorded.
    pub waited: u64,
    /// Over everything that Kafka has.
    pub digest: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.power_cuts += other.power_cuts;
        self.restarts += other.restarts;
        self.receipts += other.receipts;
        self.refused += other.refused;
        self.operations += other.operations;
        self.spoiled += other.spoiled;
        self.stored += other.stored;
        self.dropped += other.dropped;
        self.stubs += other.stubs;
        self.waited += other.waited;
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

struct World<'a> {
    setup: &'a Setup,
    disk: Disk,
    clock: Arc<ManualClock>,
    topic: Topic,
    process: Process,
    oracle: Oracle,
    /// The crash that is due is a power cut.
    power: bool,
    tally: Tally,
    turns: u64,
    /// Segments that were removed when the oracle looked last.
    removed: u64,
}

/// Runs the steps. Errors: what was broken, in words.
pub fn run(seed: u64, setup: &Setup, steps: &[Step]) -> Result<Tally, String> {
    chance::seeded::begin(seed);
    let (disk, clock) = (Disk::new(!seed), ManualClock::new());
    let topic = Kafka::new(seed ^ 0x5eed, (setup.faulty, setup.largest), &clock);
    disk.0.lock().capacity = setup.capacity;
    let process = Process::start(setup, &disk, &clock, &topic);
    let (oracle, tally) = (Oracle::default(), Tally::default());
    let mut world = World { setup, disk, clock, topic, process, oracle, power: false, tally, turns: 0, removed: 0 };
    let outcome = steps.iter().try_for_each(|step| world.step(step)).and_then(|()| world.finish());
    chance::seeded::end();
    outcome
}

impl World<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Append { level, sizes, caller } => {
                let items = sizes.iter().filter_map(|size| self.process.ask(*level, *size, *caller)).collect();
                self.turn(items, *caller == Caller::Impatient)?;
            }
            Step::Pass(millis) => self.clock.pass(Duration::from_millis(*millis)),
            Step::Jump(millis) => self.clock.jump(*millis),
            Step::Settle => self.process.held.clear(),
            Step::Publish(steps) => self.process.publish(*steps),
            Step::FailWrites(after, times) => {
                self.disk.0.lock().fail_in = Some((*after, *times));
                self.oracle.writes_failed = true;
            }
            Step::FailReads(after, times) => {
                self.disk.0.lock().fail_reads = Some((*after, *times));
                self.oracle.reads_failed = true;
            }
            Step::Room(bytes) => self.disk.0.lock().capacity = *bytes,
            Step::Broker { down } => self.topic.lock().down = *down,
            Step::Refuse { overload, attempts } => self.refuse(*overload, *attempts),
            Step::Crash { after, power } => {
                self.disk.0.lock().stop_in = Some(*after);
                self.power = *power;
            }
            Step::Close { drain } => return self.close(Duration::from_millis(*drain)).and_then(|()| self.restart()),
            // Nobody reads before the end what there is no Kafka for, so nobody would name it.
            Step::Spoil(_) if !self.setup.deliver => {}
            Step::Spoil(lot) => {
                let live = self.process.shared.progress.lock().clone();
                let spoiled = spoil::one(&self.disk, *lot, live.epoch.as_ref().map(|e| (e, live.number)));
                self.tally.spoiled += u64::from(!spoiled.is_empty());
                self.oracle.spoiled(spoiled);
            }
        }
        self.turn(Vec::new(), false)
    }

    fn refuse(&mut self, overload: u64, attempts: u64) {
        for _ in 0..overload {
            self.process.shared.refused(Reason::Overload);
        }
        for _ in 0..attempts {
            self.process.shared.attempt([127, 0, 0, 1].into());
        }
        self.process.counted.overload += overload;
        self.process.counted.attempts += attempts;
    }

    /// One step of the process, and what its callers hear. A crash that came due is carried out.
    fn turn(&mut self, items: Vec<Item>, impatient: bool) -> Result<(), String> {
        self.turns += 1;
        let Setup { deliver, max_size, segment, capacity, .. } = *self.setup;
        let has_room = deliver && max_size == 64 * segment && capacity == u64::MAX && !self.oracle.writes_failed;
        let before = has_room.then(|| self.disk.0.lock().names_ending(".seg"));
        if !self.disk.stopped() {
            // The keeper is a thread of its own: not always in time.
            self.process.turn(items, !self.turns.is_multiple_of(5));
        }
        before.map_or(Ok(()), |before| self.check_removed(before))?;
        self.listen(impatient)?;
        let removed = self.disk.0.lock().removed;
        if !self.setup.deliver && std::mem::replace(&mut self.removed, removed) != removed {
            self.oracle.look(&self.disk);
        }
        if self.disk.stopped() { self.crash() } else { Ok(()) }
    }

    fn listen(&mut self, impatient: bool) -> Result<(), String> {
        let told = self.process.listen(impatient);
        self.oracle.told(told, &self.topic.lock(), &mut self.tally)
    }

    fn crash(&mut self) -> Result<(), String> {
        self.tally.crashes += 1;
        self.tally.power_cuts += u64::from(self.power);
        self.replace(false)
    }

    fn restart(&mut self) -> Result<(), String> {
        self.tally.restarts += 1;
        self.power = false;
        self.replace(true)
    }

    fn replace(&mut self, clean: bool) -> Result<(), String> {
        let next = Process::start(self.setup, &self.disk, &self.clock, &self.topic);
        let old = std::mem::replace(&mut self.process, next);
        self.oracle.ended(&old, clean, self.power);
        let told = old.end(&self.topic);
        self.oracle.told(told, &self.topic.lock(), &mut self.tally)?;
        self.disk.end_process(std::mem::take(&mut self.power));
        self.after_crash()
    }

    fn after_crash(&mut self) -> Result<(), String> {
        if self.setup.deliver {
            return self.oracle.after_crash(&self.disk, &self.topic.lock(), self.setup.max_size / 8);
        }
        self.oracle.look(&self.disk);
        Ok(())
    }

    /// In order, as far as the disk lets it.
    fn close(&mut self, drain: Duration) -> Result<(), String> {
        self.process.turn(vec![Item::Close], false);
        self.listen(false)?;
        self.process.stop_publishing(drain);
        for _ in 0..20 {
            self.process.publish(8);
            self.clock.pass(drain / 20);
        }
        if self.disk.stopped() {
            return Ok(());
        }
        self.process.keeper.finish();
        *self.process.shared.lock.lock() = None;
        Ok(())
    }

    /// The trouble is over.
    fn finish(mut self) -> Result<Tally, String> {
        {
            let mut disk = self.disk.0.lock();
            (disk.stop_in, disk.fail_in, disk.fail_reads) = (None, None, None);
            disk.capacity = self.setup.capacity;
            let mut kafka = self.topic.lock();
            (kafka.down, kafka.faulty) = (false, 0);
        }
        self.process.held.clear();
        self.calm_down()?;
        if !self.process.is_available() {
            self.make_room()?;
        }
        let receipts = self.tally.receipts;
        // The next segment may still be on its way.
        for _ in 0..5 {
            let item = self.process.ask(Durability::Written, 10, Caller::Quick);
            self.turn(item.into_iter().collect(), false)?;
            self.calm_turn()?;
        }
        if self.tally.receipts == receipts {
            return Err("no receipt without trouble".to_owned());
        }
        self.close(Duration::from_secs(60))?;
        let (left, _) = self.process.shared.inventory.lock().undelivered();
        if !self.setup.deliver {
            return self.finish_without_kafka();
        }
        if left != 0 || self.process.ending != Some(Ending::Drained) {
            return Err(format!("{left} records are left, publisher ended {:?}", self.process.ending));
        }
        self.oracle.ended(&self.process, true, false);
        self.after_crash()?;
        self.tally.stubs = self.topic.lock().stubs.len() as u64;
        self.tally.operations = self.disk.0.lock().operations;
        self.oracle.judge(&self.topic.lock(), &mut self.tally)?;
        Ok(self.tally)
    }

    fn calm_down(&mut self) -> Result<(), String> {
        for _ in 0..40 {
            self.calm_turn()?;
            if self.is_well() {
                break;
            }
        }
        Ok(())
    }

    /// A full disk is waited for where nothing may give way: without Kafka, and where a gap must be named before and no
    /// record has room. With room it comes back by itself.
    fn make_room(&mut self) -> Result<(), String> {
        let waits = !self.setup.deliver || !self.process.shared.unnamed.lock().is_empty();
        if self.setup.capacity < u64::MAX && waits && !self.may_give_way() {
            self.tally.waited += 1;
            self.disk.0.lock().capacity = u64::MAX;
            self.calm_down()?;
        }
        if self.process.is_available() {
            return Ok(());
        }
        Err(format!("not available again: {}", self.what_is_there()))
    }

    /// An epoch of which Kafka has everything, and the cursor says so; not the one whose end the new chain is to name.
    fn may_give_way(&self) -> bool {
        let inventory = self.process.shared.inventory.lock();
        let over = inventory.epochs.iter().rev().filter(|e| !e.live).skip_while(|e| e.next == 0);
        let goes = |e: &EpochInfo| !e.segments.is_empty() && e.is_done() && e.cursor.lock().next() >= e.next;
        self.setup.deliver && over.skip(1).any(goes)
    }

    /// While there is room a segment stays until what only it holds has been in Kafka for `retain_delivered`.
    fn check_removed(&self, before: Vec<(String, usize)>) -> Result<(), String> {
        let (there, kafka) = (self.disk.0.lock().names_ending(".seg"), self.topic.lock());
        for (name, inode) in before.into_iter().filter(|file| !there.contains(file)) {
            let (chain, seqs) = spoil::seqs(&self.disk, inode);
            let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
            let beside = there.iter().filter(|(other, _)| other.starts_with(directory));
            let held: BTreeSet<u64> = beside.flat_map(|(_, inode)| spoil::seqs(&self.disk, *inode).1).collect();
            for seq in seqs.into_iter().filter(|seq| !held.contains(seq)) {
                let came = kafka.came.get(&(chain.as_str().into(), seq));
                if came.is_none_or(|came| self.clock.now() < *came + self.setup.retain) {
                    return Err(format!("{name} went too early: {seq} came {came:?}"));
                }
            }
        }
        Ok(())
    }

    /// What there is of the trail is in the spool.
    fn finish_without_kafka(mut self) -> Result<Tally, String> {
        self.oracle.ended(&self.process, true, false);
        let found = Kafka::new(0, (0, usize::MAX), &self.clock);
        found.lock().chains = self.oracle.look(&self.disk);
        self.tally.operations = self.disk.0.lock().operations;
        self.tally.dropped = self.removed;
        self.oracle.judge(&found.lock(), &mut self.tally)?;
        Ok(self.tally)
    }

    /// For whoever asks why nothing gives way.
    fn what_is_there(&self) -> String {
        let shared = &self.process.shared;
        let mut text = format!("{:?}", shared.trouble.lock().as_ref().map(|t| t.detail.clone()));
        let inventory = shared.inventory.lock();
        for epoch in &inventory.epochs {
            let segments: Vec<_> = epoch.segments.iter().map(|s| (s.first_seq, s.end, s.bytes)).collect();
            let (id, stored) = (epoch.id.as_str(), epoch.cursor.lock().next());
            let (delivered, next) = (epoch.delivered, epoch.next);
            text += &format!("\n  {id}: delivered {delivered}, stored {stored}, next {next}, {segments:?}");
        }
        text += &format!("\n  spare {}, rubbish {}", inventory.spare_bytes, inventory.rubbish.len());
        drop(inventory);
        let disk = self.disk.0.lock();
        let files: Vec<_> = disk.names.iter().filter(|(_, inode)| inode.is_some()).map(|(name, _)| name).collect();
        format!("{text}\n  {} gaps without a record, files {files:?}", shared.unnamed.lock().len())
    }

    fn calm_turn(&mut self) -> Result<(), String> {
        self.clock.pass(Duration::from_secs(1));
        self.turn(Vec::new(), false)?;
        self.process.keeper.turn();
        self.process.publish(60);
        Ok(())
    }

    fn is_well(&self) -> bool {
        let delivered = |p: &Process| p.shared.inventory.lock().undelivered().0 == 0;
        self.process.is_available() && (!self.setup.deliver || delivered(&self.process))
    }
}
