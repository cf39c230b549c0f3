//! What is judged once everything has been seen: gaps and who declares them, chains that end without their end, chains that are
//! gone. Called by `verify`'s callers through `finish`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::finding::{Fault, Finding, Outcome};
use super::seen::Previous;
use super::thread::Thread;
use super::{Report, Verification, report};

/// A chain states its head at least this often (records). Twice that without is a chain whose checkpoints were removed.
const MOST_UNCOVERED: u64 = 200_000;
/// And at least every hour, which is the longest that `audit.checkpoint_every` can be; with some room.
const LONGEST_UNCOVERED: Duration = Duration::from_secs(3600 + 60);

type Chains = BTreeMap<String, Thread>;

impl Verification {
    /// Everything has been seen. `instances`: those that must be there; none given, none is missed.
    pub fn finish(mut self, instances: &[String]) -> Report {
        let mut chains = std::mem::take(&mut self.chains);
        for (id, thread) in &mut chains {
            thread.end_walk();
            for compared in thread.settle() {
                self.compared(thread, id, compared);
            }
        }
        for finding in self.trust.end() {
            self.find(finding);
        }
        let declared = self.declared(&chains);
        for (id, thread) in &chains {
            self.end_of(id, thread, &chains, declared.get(id).map_or(&[][..], Vec::as_slice));
        }
        self.absent(&chains);
        for instance in instances {
            if !chains.keys().any(|id| instance_of(id) == instance) {
                self.find(Finding::new(Fault::Missing, instance, None).saying("no record of this instance".to_owned()));
            }
        }
        let broken = self.more_breaks || self.findings.iter().any(|f| f.fault.breaks());
        let declared = self.more > 0 || self.findings.iter().any(|f| f.fault == Fault::Declared);
        let outcome = match (broken, declared) {
            (true, _) => Outcome::Broken,
            (false, true) => Outcome::WholeGapsDeclared,
            (false, false) => Outcome::Whole,
        };
        Report {
            outcome,
            records: self.records,
            bytes: self.bytes,
            chains: chains.into_iter().map(|(id, thread)| report(id, &thread)).collect(),
            findings: self.findings,
            more: self.more,
            signatures: self.trust.checked,
            elsewhere: self.elsewhere,
        }
    }

    /// By chain, the ranges that records call missing, in order. Whoever can write records can call anything missing: with
    /// keys, only records count that something signed covers.
    fn declared(&self, chains: &Chains) -> BTreeMap<String, Vec<(u64, u64)>> {
        let mut ranges: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for (id, thread) in chains {
            let named = self.trust.checked && self.is_end_proved(id, thread, chains);
            for (seq, missing) in &thread.declared {
                if !self.trust.checked || thread.is_proved(*seq) || (named && thread.leads_to_end(*seq)) {
                    ranges.entry(missing.chain.clone()).or_default().push((missing.first, missing.last));
                }
            }
        }
        ranges.values_mut().for_each(|of_chain| of_chain.sort_unstable());
        ranges
    }

    /// Whether a record that something signed covers names the chain's last one.
    fn is_end_proved(&self, id: &str, thread: &Thread, chains: &Chains) -> bool {
        self.successors(id).iter().any(|(by, previous)| {
            let covered = chains.get(by).is_some_and(|successor| successor.is_proved(0));
            covered && previous.seq + 1 == thread.next && previous.hash == hex::encode(thread.hash)
        })
    }

    /// Chains of the same instance that name this one as the one before.
    fn successors(&self, id: &str) -> Vec<(String, Previous)> {
        let names = |(by, p): &(&String, &Previous)| p.id == id && instance_of(by) == instance_of(id);
        self.previous.iter().filter(names).map(|(by, p)| (by.clone(), p.clone())).collect()
    }

    fn end_of(&mut self, id: &str, thread: &Thread, chains: &Chains, declared: &[(u64, u64)]) {
        if thread.first > 0 && is_oldest(id, chains) {
            let text = "the chain's beginning is not there, as after retention";
            self.find(Finding::new(Fault::CutStart, id, Some((0, thread.first - 1))).saying(text.to_owned()));
        } else if thread.first > 0 {
            // Retention takes the oldest first.
            self.gap(id, (0, thread.first - 1), declared, "missing at the beginning, while an older chain is there");
        }
        for gap in thread.gaps() {
            self.gap(id, gap, declared, "missing");
        }
        for range in &thread.unmatched {
            let text = "copies too old to be compared with what came first; they may be forged";
            self.find(Finding::new(Fault::Fork, id, Some(*range)).saying(text.to_owned()));
        }
        for range in thread.unfit() {
            let text = "came behind later records, and fit nothing that was there; they may be forged";
            self.find(Finding::new(Fault::Fork, id, Some(range)).saying(text.to_owned()));
        }
        if let Some(range) = thread.stubbed {
            // Whoever can write to the topic can put one in the place of any record: the hash fits, and the words are gone.
            let count = thread.stubs;
            let text = format!("{count} of these are here as hashes only (stubs): what they say is kept by the spool");
            self.find(Finding::new(Fault::Declared, id, Some(range)).saying(text));
        }
        self.succeeded(id, thread, chains);
        if self.trust.checked {
            self.uncovered(id, thread);
        }
        self.compare_end(id, thread, declared);
    }

    /// What no signed checkpoint states, though one should, or might have.
    fn uncovered(&mut self, id: &str, thread: &Thread) {
        let from = thread.stateable_from();
        let records = thread.next.saturating_sub(from);
        let closed = thread.closed && records > 2 && thread.whole_tree().is_some();
        let long = thread.covered == 0 && lasted(thread).is_some_and(|time| time > LONGEST_UNCOVERED);
        if records > MOST_UNCOVERED || closed || long {
            let text = "no signed checkpoint states these, and the chain should have made one";
            self.find(Finding::new(Fault::Checkpoint, id, Some((from, thread.next - 1))).saying(text.to_owned()));
        }
        for range in thread.unproved() {
            let text = "no signed checkpoint covers these";
            self.find(Finding::new(Fault::Unproved, id, Some(range)).saying(text.to_owned()));
        }
    }

    /// Checkpoints that were kept elsewhere, and are not in the chain.
    fn compare_end(&mut self, id: &str, thread: &Thread, declared: &[(u64, u64)]) {
        let Some(stated) = self.stated.get(id) else { return };
        let absent = stated.points.range(thread.first..thread.next).filter(|(_, point)| !point.met);
        let absent: Vec<u64> = absent.map(|(size, _)| *size).collect();
        let last = stated.points.last_key_value().map(|(size, _)| *size);
        for size in absent {
            self.gap(id, (size, size), declared, "a checkpoint that was kept elsewhere is not there");
        }
        if let Some(last) = last.filter(|last| *last >= thread.next) {
            let text = "stated by a checkpoint that was kept elsewhere, and not there";
            self.gap(id, (thread.next, last), declared, text);
        }
    }

    /// What chains after this one say about its end.
    fn succeeded(&mut self, id: &str, thread: &Thread, chains: &Chains) {
        let last = thread.next - 1;
        let successors = self.successors(id);
        for (by, previous) in &successors {
            if previous.seq > last {
                let text = format!("chain {by} says that they were there");
                self.find(Finding::new(Fault::Missing, id, Some((last + 1, previous.seq))).saying(text));
            } else if previous.seq < last {
                self.beyond(id, thread, by, previous);
            } else if hex::encode(thread.hash) != previous.hash {
                let text = format!("chain {by} names another hash of the last record");
                self.find(Finding::new(Fault::Changed, id, Some((last, last))).saying(text));
            } else if !thread.closed {
                let text = format!("the process ended without closing the chain; chain {by} names its end");
                self.find(Finding::new(Fault::Declared, id, Some((last, last))).saying(text));
            }
        }
        if successors.len() > 1 {
            let text = "several chains say that they follow this one";
            self.find(Finding::new(Fault::Fork, id, Some((last, last))).saying(text.to_owned()));
        }
        if successors.is_empty() && !thread.closed {
            let mut newest = chains.iter().filter(|(other, _)| instance_of(other) == instance_of(id));
            if newest.any(|(_, other)| other.first_time > thread.last_time) {
                let text = "the chain was never closed, and no later one names its end";
                self.find(Finding::new(Fault::NeverClosed, id, Some((last, last))).saying(text.to_owned()));
            }
        }
    }

    /// Records behind the last one that the next process found. After a loss of power that is what Kafka had and the disk
    /// had not: so it may be, as long as the record that the next process found is the one that is here.
    fn beyond(&mut self, id: &str, thread: &Thread, by: &str, previous: &Previous) {
        let range = Some((previous.seq + 1, thread.next - 1));
        let same = thread.hash_of(previous.seq).is_some_and(|hash| hex::encode(hash) == previous.hash);
        let finding = if same && !previous.clean {
            let text = format!("chain {by} did not find these on disk; nothing signed covers what the disk had lost");
            Finding::new(Fault::Declared, id, range).saying(text)
        } else {
            let text = format!("chain {by} says that {} was the last record", previous.seq);
            Finding::new(Fault::Changed, id, range).saying(text)
        };
        self.find(finding);
    }

    /// Records that are not there: a fault as far as no record names them.
    fn gap(&mut self, id: &str, (first, last): (u64, u64), declared: &[(u64, u64)], text: &str) {
        let mut from = first;
        for &(begin, end) in declared {
            if begin > last || end < from {
                continue;
            }
            if begin > from {
                self.find(Finding::new(Fault::Missing, id, Some((from, begin - 1))).saying(text.to_owned()));
            }
            let range = (begin.max(from), end.min(last));
            let named = "missing, and named by a record".to_owned();
            self.find(Finding::new(Fault::Declared, id, Some(range)).saying(named));
            from = end.saturating_add(1);
        }
        if from <= last {
            self.find(Finding::new(Fault::Missing, id, Some((from, last))).saying(text.to_owned()));
        }
    }

    /// Chains that others name and of which nothing is there.
    fn absent(&mut self, chains: &Chains) {
        // When what is there of an instance begins, where its oldest chain begins in its middle: retention has been there.
        let cut: BTreeMap<String, String> = chains
            .iter()
            .filter(|(id, thread)| thread.first > 0 && is_oldest(id, chains))
            .map(|(id, thread)| (instance_of(id).to_owned(), thread.first_time.clone()))
            .collect();
        let last = |stated: &super::Stated| stated.points.last_key_value().map_or(0, |(size, _)| *size);
        let kept = self.stated.iter().map(|(id, stated)| {
            (id.clone(), last(stated), "a checkpoint kept elsewhere".to_owned(), Some(stated.until.clone()))
        });
        let named = self.previous.iter().map(|(by, p)| (p.id.clone(), p.seq + 1, format!("chain {by}"), None));
        let all: Vec<(String, u64, String, Option<String>)> = kept.chain(named).collect();
        let mut told = BTreeSet::new();
        for (id, size, by, until) in all {
            if chains.contains_key(&id) || size == 0 || !told.insert(id.clone()) {
                continue;
            }
            // Older than all that is there: gone with it. Where nothing was kept elsewhere, whatever comes before the oldest
            // chain may be gone for the same reason.
            let older = cut.get(instance_of(&id)).zip(until).is_some_and(|(begins, until)| until < *begins);
            let before_oldest = self.successors(&id).iter().any(|(by, _)| is_oldest(by, chains));
            let excused = older || (before_oldest && !self.elsewhere);
            let fault = if excused { Fault::CutStart } else { Fault::Missing };
            let text = format!("{by} states this chain, and no record of it is there");
            self.find(Finding::new(fault, &id, Some((0, size - 1))).saying(text));
        }
    }
}

/// Between the first and the last record that were seen, as they say.
fn lasted(thread: &Thread) -> Option<Duration> {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    Duration::try_from(time(&thread.last_time)?.duration_since(time(&thread.first_time)?)).ok()
}

fn is_oldest(id: &str, chains: &Chains) -> bool {
    let Some(own) = chains.get(id) else { return false };
    chains
        .iter()
        .filter(|(other, _)| instance_of(other) == instance_of(id))
        .all(|(_, t)| t.first_time >= own.first_time)
}

/// A chain's id is its instance and its epoch.
fn instance_of(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(instance, _)| instance)
}
