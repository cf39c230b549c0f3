//! What is judged of each chain once everything has been seen: gaps and who declares them, chains that end without their end,
//! what nothing signed states. Called by `verify`'s callers through `finish`; chains that are gone are `gone`'s.

use std::time::Duration;

use jiff::Timestamp;

use super::Verification;
use super::finding::{Fault, Finding, Findings};
use super::horizon::{Excuse, Horizons, Named};
use super::kin::{Kin, instance_of};
use super::prove::{Counts, Declared};
use super::report::{ChainReport, Report};
use super::room::Room;
use super::seen::Previous;
use super::stated::Stated;
use super::thread::Thread;
use super::trust::Trust;

/// A chain states its head at least this often (records). Twice that without is a chain whose checkpoints were removed.
const MOST_UNCOVERED: u64 = 200_000;
/// And at least every hour, which is the longest that `audit.checkpoint_every` can be; with some room.
const LONGEST_UNCOVERED: Duration = Duration::from_secs(3600 + 60);

/// Everything that was seen, and what is found of it.
pub(super) struct Judge<'t> {
    pub threads: &'t [Thread],
    pub kin: &'t Kin,
    pub horizons: &'t Horizons<'t>,
    pub stated: &'t Stated,
    pub trust: &'t Trust,
    pub elsewhere: bool,
    room: &'t Room,
    declared: &'t Declared,
    pub found: Findings,
}

impl Verification {
    /// Everything has been seen. `instances`: those that must be there; none given, none is missed.
    pub fn finish(mut self, instances: &[String]) -> Report {
        for at in 0..self.threads.len() {
            self.settle(at);
        }
        for finding in self.trust.end(&self.stated) {
            self.found.add(finding);
        }
        let kin = Kin::of(&self.threads);
        let counts = Counts { proved: self.trust.checked, own: self.trust.bound };
        let declared = Declared::of(&mut self.threads, &kin, counts, &self.room, &mut self.found);
        let horizons = Horizons::of(&self.source, &self.threads, &kin);
        let mut judge = Judge {
            threads: &self.threads,
            kin: &kin,
            horizons: &horizons,
            stated: &self.stated,
            trust: &self.trust,
            elsewhere: self.elsewhere,
            room: &self.room,
            declared: &declared,
            found: self.found,
        };
        let mut order: Vec<&Thread> = self.threads.iter().collect();
        order.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        order.iter().for_each(|thread| judge.end_of(thread));
        judge.absent();
        judge.instances(instances, self.records);
        let found = judge.found;
        let unstated = order.iter().filter(|thread| self.elsewhere && self.stated.get(&thread.id).is_none()).count();
        Report {
            outcome: found.outcome(),
            records: self.records,
            bytes: self.bytes,
            chains: order.into_iter().map(ChainReport::of).collect(),
            partitions: horizons.report(),
            findings: found.list,
            more: found.more,
            signatures: self.trust.checked,
            elsewhere: self.elsewhere,
            unstated,
        }
    }
}

impl Judge<'_> {
    pub fn find(&mut self, fault: Fault, id: &str, range: (u64, u64), text: impl Into<String>) {
        self.found.add(Finding::new(fault, id, Some(range)).saying(text.into()));
    }

    fn end_of(&mut self, thread: &Thread) {
        let id = &*thread.id;
        if let Some(last) = thread.first.checked_sub(1) {
            match self.horizons.start(thread) {
                Excuse::Cut => {
                    self.find(Fault::CutStart, id, (0, last), "the chain's beginning is not there, as after retention");
                }
                Excuse::TooLate => {
                    self.gap(thread, (0, last), "missing at the beginning, and everything since then should be there")
                }
                Excuse::None => self.gap(
                    thread,
                    (0, last),
                    "missing at the beginning, and not by retention, which takes the oldest first",
                ),
            }
        }
        for gap in thread.gaps() {
            self.gap(thread, gap, "missing");
        }
        for range in thread.unfit() {
            let text = "came behind later records, and fit nothing that was there; they may be forged";
            self.find(Fault::Fork, id, range, text);
        }
        if let Some(range) = thread.stubbed {
            // Whoever can write to the topic can put one in the place of any record: the hash fits, and the words are gone.
            let count = thread.stubs;
            let text = format!("{count} of these are here as hashes only (stubs): what they say is kept by the spool");
            self.find(Fault::Declared, id, range, text);
        }
        self.succeeded(thread);
        if self.trust.checked {
            self.uncovered(thread);
        }
        self.compare_end(thread);
    }

    /// What no signed checkpoint states, though one should, or might have.
    fn uncovered(&mut self, thread: &Thread) {
        let (from, last) = (thread.stateable_from(), thread.next - 1);
        let records = thread.next.saturating_sub(from);
        let closed = thread.closed && records > 2 && thread.has_tree();
        let long = records > 0 && unstated(thread).is_some_and(|time| time > LONGEST_UNCOVERED);
        // The next chain may name its end in a record that is signed.
        if (records > MOST_UNCOVERED || closed || long) && !thread.is_proved(last) {
            let text = "no signed checkpoint states these, and the chain should have made one";
            self.find(Fault::Checkpoint, &thread.id, (from, last), text);
        }
        for range in thread.unproved() {
            self.find(Fault::Unproved, &thread.id, range, "no signed checkpoint covers these");
        }
    }

    /// Checkpoints that were kept elsewhere, and are not in the chain.
    fn compare_end(&mut self, thread: &Thread) {
        let Some(stated) = self.stated.get(&thread.id) else { return };
        for (size, _) in stated.points.range(thread.first..thread.next).filter(|(_, point)| !point.met) {
            self.gap(thread, (*size, *size), "a checkpoint that was kept elsewhere is not there");
        }
        let last = stated.points.last_key_value().map(|(size, _)| *size);
        if let Some(last) = last.filter(|last| *last >= thread.next) {
            self.gap(thread, (thread.next, last), "stated by a checkpoint that was kept elsewhere, and not there");
        }
    }

    /// What chains after this one say about its end.
    fn succeeded(&mut self, thread: &Thread) {
        let (id, last) = (&*thread.id, thread.next - 1);
        let (threads, kin) = (self.threads, self.kin);
        let successors = kin.successors(id);
        for by in successors.iter().filter_map(|by| threads.get(*by)) {
            let Some(previous) = &by.previous else { continue };
            let by = &*by.id;
            if previous.seq > last {
                let range = (last + 1, previous.seq);
                if self.horizons.gave_way(thread, previous.seq) {
                    self.find(Fault::CutStart, id, range, GAVE_WAY);
                } else {
                    self.find(Fault::Missing, id, range, format!("chain {by} says that they were there"));
                }
            } else if previous.seq < last {
                self.beyond(thread, by, previous);
            } else if hex::encode(thread.hash) != previous.hash {
                self.find(
                    Fault::Changed,
                    id,
                    (last, last),
                    format!("chain {by} names another hash of the last record"),
                );
            } else if !thread.closed {
                let text = format!("the process ended without closing the chain; chain {by} names its end");
                self.find(Fault::Declared, id, (last, last), text);
            }
        }
        if successors.len() > 1 {
            self.find(Fault::Fork, id, (last, last), "several chains say that they follow this one");
        }
        if successors.is_empty() && !thread.closed {
            self.never_closed(thread);
        }
    }

    /// The chain is open, and nothing names its end.
    fn never_closed(&mut self, thread: &Thread) {
        let (id, last) = (&*thread.id, thread.next - 1);
        let Some(after) = self.kin.after(self.threads, instance_of(id), &thread.last_time) else { return };
        // The next one's first records are in another partition, and may be gone sooner.
        let cut = if after.first > 0 {
            self.horizons.start(after) == Excuse::Cut
        } else {
            let named = after.previous.as_ref().filter(|p| self.kin.at(&p.id).is_none());
            named.is_some_and(|p| {
                let until = self.stated.get(&p.id).map(|stated| stated.until.as_str());
                self.horizons.absent(Named { id: &p.id, by: Some(after), until }, self.elsewhere) == Excuse::Cut
            })
        };
        if cut || self.horizons.gave_way(thread, last) {
            let text = "the chain was not closed; the record that names its end is cut off, as after retention";
            self.find(Fault::CutStart, id, (last, last), text);
        } else {
            let text = "the chain was never closed, and no later one names its end";
            self.find(Fault::NeverClosed, id, (last, last), text);
        }
    }

    /// Records behind the last one that the next process found. After a loss of power that is what Kafka had and the disk
    /// had not: so it may be, as long as the record that the next process found is the one that is here.
    fn beyond(&mut self, thread: &Thread, by: &str, previous: &Previous) {
        let range = (previous.seq + 1, thread.next - 1);
        let same = thread.hash_of(previous.seq, self.room).is_some_and(|hash| hex::encode(hash) == previous.hash);
        if same && !previous.clean {
            let text = format!("chain {by} did not find these on disk; nothing signed covers what the disk had lost");
            self.find(Fault::Declared, &thread.id, range, text);
        } else {
            let text = format!("chain {by} says that {} was the last record", previous.seq);
            self.find(Fault::Changed, &thread.id, range, text);
        }
    }

    /// Records that are not there: a fault as far as no record names them.
    fn gap(&mut self, thread: &Thread, (first, last): (u64, u64), text: &str) {
        let id = &*thread.id;
        if self.horizons.gave_way(thread, last) {
            return self.find(Fault::CutStart, id, (first, last), GAVE_WAY);
        }
        let (declared, mut from) = (self.declared, first);
        for (begin, end) in declared.within(id, (first, last)) {
            if begin > from {
                self.find(Fault::Missing, id, (from, begin - 1), text);
            }
            self.find(Fault::Declared, id, (begin, end), "missing, and named by a record");
            from = end.saturating_add(1);
        }
        if from <= last {
            self.find(Fault::Missing, id, (from, last), text);
        }
    }
}

const GAVE_WAY: &str = "gave way to retention while the spool was read";

/// Between the last time at which all was stated and the last record, as the records say.
fn unstated(thread: &Thread) -> Option<Duration> {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    Duration::try_from(time(&thread.last_time)?.duration_since(time(&thread.stated_time)?)).ok()
}
