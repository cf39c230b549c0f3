//! Takes a schedule through: one process after the other on one disk, clock and topic, then an end without trouble, in
//! which everything must come back and drain without a restart. What must hold is in `oracle`.

use std::sync::Arc;
use std::time::Duration;

use super::broker::{Kafka, Topic};
use super::disk::Disk;
use super::oracle::Oracle;
use super::process::{ManualClock, Process};
use super::schedule::{Caller, Setup, Step};
use super::spoil;
use crate::audit::chance;
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
}

/// Runs the steps. Errors: what was broken, in words.
pub fn run(seed: u64, setup: &Setup, steps: &[Step]) -> Result<Tally, String> {
    chance::seeded::begin(seed);
    let (disk, clock, topic) = (Disk::new(!seed), ManualClock::new(), Kafka::new(seed ^ 0x5eed, setup.faulty));
    let process = Process::start(setup, &disk, &clock, &topic);
    let (oracle, tally) = (Oracle::default(), Tally::default());
    let mut world = World { setup, disk, clock, topic, process, oracle, power: false, tally, turns: 0 };
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
            Step::FailWrites(after, times) => self.disk.0.lock().fail_in = Some((*after, *times)),
            Step::FailReads(after, times) => {
                self.disk.0.lock().fail_reads = Some((*after, *times));
                self.oracle.reads_failed = true;
            }
            Step::Broker { down } => self.topic.lock().down = *down,
            Step::Refuse { overload, attempts } => self.refuse(*overload, *attempts),
            Step::Crash { after, power } => {
                self.disk.0.lock().stop_in = Some(*after);
                self.power = *power;
            }
            Step::Close { drain } => return self.close(Duration::from_millis(*drain)).and_then(|()| self.restart()),
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
        if !self.disk.stopped() {
            // The keeper is a thread of its own: not always in time.
            self.process.turn(items, !self.turns.is_multiple_of(5));
        }
        self.listen(impatient)?;
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
        self.oracle.after_crash(&self.disk, &self.topic.lock())
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
            let mut kafka = self.topic.lock();
            (kafka.down, kafka.faulty) = (false, 0);
        }
        self.process.held.clear();
        for _ in 0..40 {
            self.calm_turn()?;
            if self.is_well() {
                break;
            }
        }
        if !self.process.is_available() {
            return Err(format!("not available again: {:?}", *self.process.shared.trouble.lock()));
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
        if left != 0 || self.process.ending != Some(Ending::Drained) {
            return Err(format!("{left} records are left, publisher ended {:?}", self.process.ending));
        }
        self.oracle.ended(&self.process, true, false);
        self.oracle.after_crash(&self.disk, &self.topic.lock())?;
        self.tally.operations = self.disk.0.lock().operations;
        self.oracle.judge(&self.topic.lock(), &mut self.tally)?;
        Ok(self.tally)
    }

    fn calm_turn(&mut self) -> Result<(), String> {
        self.clock.pass(Duration::from_secs(1));
        self.turn(Vec::new(), false)?;
        self.process.keeper.turn();
        self.process.publish(60);
        Ok(())
    }

    fn is_well(&self) -> bool {
        self.process.is_available() && self.process.shared.inventory.lock().undelivered().0 == 0
    }
}
