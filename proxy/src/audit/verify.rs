//! Is the trail whole? Fed record by record, from a topic, a spool or a file, in any mixture of chains, and with what was
//! stated elsewhere; says what is missing, changed, doubled or not signed. Pure, of bounded memory. Called by the command.
//!
//! What it can know: a chain shows changes whose later hashes were not computed anew; a signed checkpoint shows the rest
//! up to itself; a checkpoint kept elsewhere shows that records at the end, or a whole chain, were taken away.

mod finding;
mod seen;
mod thread;

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::note::{self, Checkpoint, NoteError, Verifier};
use crate::audit::tree::Tree;

pub use finding::{Fault, Finding, Outcome};
use seen::Previous;
pub use seen::{Says, Seen};
use thread::{Compared, Fit, Thread};

/// A chain states its head at least this often (records). Twice that without is a chain whose checkpoints were removed.
const MOST_UNCOVERED: u64 = 200_000;
/// Findings that are kept; the rest are counted.
const MOST_FINDINGS: usize = 10_000;

/// One chain, for the report.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ChainReport {
    pub id: String,
    pub first: u64,
    pub last: u64,
    pub closed: bool,
    pub checkpoints: u64,
    /// Records before this one are stated by a checkpoint that fits, signed by a trusted key if one was given.
    pub covered: u64,
    pub copies: u64,
    /// Records that came after those behind them, and filled a gap.
    pub late: u64,
    pub stubs: u64,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    pub outcome: Outcome,
    pub records: u64,
    pub bytes: u64,
    pub chains: Vec<ChainReport>,
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more: u64,
    /// Whether signatures were checked, which needs a public key.
    pub signatures: bool,
    /// Whether checkpoints that were kept elsewhere were compared.
    pub elsewhere: bool,
}

#[derive(Debug, Default)]
pub struct Verification {
    trusted: Vec<Verifier>,
    signatures: bool,
    elsewhere: bool,
    /// Records may come behind later ones.
    patient: bool,
    /// By chain and size: roots that were stated in the checkpoint topic, and the hash of the record there.
    stated: BTreeMap<String, BTreeMap<u64, (Checkpoint, [u8; 32])>>,
    chains: BTreeMap<String, Thread>,
    /// By successor.
    previous: BTreeMap<String, Previous>,
    declared: BTreeMap<String, Vec<(u64, u64)>>,
    findings: Vec<Finding>,
    more: u64,
    records: u64,
    bytes: u64,
}

impl Verification {
    /// Without keys no signature is looked at.
    pub fn new(keys: Vec<Verifier>) -> Self {
        Self { signatures: !keys.is_empty(), trusted: keys, ..Self::default() }
    }

    /// Records were published again: those that come behind later ones fill the gap that they left. Otherwise a changed
    /// order is a gap.
    pub fn expect_published_again(&mut self) {
        self.patient = true;
    }

    /// Checkpoints were kept elsewhere, be they none.
    pub fn compare_elsewhere(&mut self) {
        self.elsewhere = true;
    }

    /// A record of the checkpoint topic. All of them come before the first [`Self::record`].
    pub fn stated(&mut self, value: &[u8]) {
        self.elsewhere = true;
        let seen = match Seen::read(value) {
            Ok(seen) => seen,
            Err(error) => return self.find(Finding::new(Fault::Unreadable, "", None).saying(error)),
        };
        match &seen.says {
            Says::Checkpoint { note, .. } => match self.open(note) {
                Ok(point) if point.origin == seen.chain && point.size == seen.seq => {
                    self.stated.entry(seen.chain.clone()).or_default().insert(point.size, (point, seen.hash));
                }
                Ok(_) => self.fault(Fault::Checkpoint, &seen, "in the checkpoint topic: states another chain or size"),
                Err(error) => self.fault(Fault::Signature, &seen, &format!("in the checkpoint topic: {error}")),
            },
            _ => self.fault(Fault::Unreadable, &seen, "in the checkpoint topic, and no checkpoint"),
        }
    }

    /// The next record, or what is no record.
    pub fn record(&mut self, seen: Result<Seen, String>) {
        self.records += 1;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => return self.find(Finding::new(Fault::Unreadable, "", None).saying(error)),
        };
        self.bytes += seen.bytes;
        let mut thread = self.chains.remove(&seen.chain).unwrap_or_else(|| Thread::new(&seen, self.patient));
        let fit = thread.fit(&seen);
        match fit {
            Fit::Copy => {}
            Fit::Fork => self.fault(Fault::Fork, &seen, "another record has the same place"),
            Fit::First if seen.seq == 0 && seen.prev != [0; 32] => {
                self.fault(Fault::Changed, &seen, "first record of a chain that names one before it");
            }
            Fit::Broken => {
                let finding = Finding::new(Fault::Changed, &seen.chain, Some((seen.seq.saturating_sub(1), seen.seq)));
                self.find(finding.saying("the later names another hash than the earlier has".to_owned()));
            }
            Fit::First | Fit::Next | Fit::Gap(_) | Fit::Late => {}
        }
        if !matches!(fit, Fit::Copy | Fit::Fork) {
            if thread.closed && fit != Fit::Late {
                self.fault(Fault::Changed, &seen, "a record after the chain's last one");
            }
            self.compare_stated(&mut thread, &seen);
            self.listen(&mut thread, &seen);
            if fit == Fit::Late {
                let compared = thread.fill(&seen);
                compared.into_iter().for_each(|compared| self.compared(&thread, &seen.chain, compared));
            } else {
                thread.take(&seen);
            }
        }
        self.chains.insert(seen.chain, thread);
    }

    /// Whether this record, and the tree over all before it, is what was stated elsewhere.
    fn compare_stated(&mut self, thread: &mut Thread, seen: &Seen) {
        let Some((point, hash)) = self.stated.get(&seen.chain).and_then(|c| c.get(&seen.seq)).cloned() else { return };
        if hash != seen.hash {
            let text = "the last of these is not the checkpoint that was kept elsewhere, byte for byte";
            let range = Some((thread.doubted_from(), seen.seq));
            self.find(Finding::new(Fault::Changed, &seen.chain, range).saying(text.to_owned()));
        }
        if let Some(compared) = thread.compare(&point, "kept elsewhere") {
            self.compared(thread, &seen.chain, compared);
        }
    }

    fn compared(&mut self, thread: &Thread, chain: &str, compared: Compared) {
        let (range, text) = match compared {
            Compared::Fits => return,
            Compared::Differs { size, which } => (
                (thread.doubted_from(), size.saturating_sub(1)),
                format!("a checkpoint {which} states another tree over the records before {size}"),
            ),
            Compared::Broken { seq } => {
                ((seq.saturating_sub(1), seq), "the later names another hash than the earlier has".to_owned())
            }
        };
        self.find(Finding::new(Fault::Changed, chain, Some(range)).saying(text));
    }

    fn listen(&mut self, thread: &mut Thread, seen: &Seen) {
        match &seen.says {
            Says::Something => {}
            Says::Stub => thread.stub(seen.seq),
            Says::Closed => thread.closed = true,
            Says::Opened(previous) if seen.seq == 0 => {
                if let Some(previous) = previous {
                    self.previous.insert(seen.chain.clone(), previous.clone());
                }
            }
            Says::Opened(_) => self.fault(Fault::Changed, seen, "a chain is opened by its first record only"),
            Says::Missing { chain, first, last } => {
                self.declared.entry(chain.clone()).or_default().push((*first, *last));
            }
            Says::Rotated { old, new, note } => self.rotate(seen, old, new, note),
            Says::Checkpoint { note, head, tree } => self.checkpoint(thread, seen, (note, head, tree)),
        }
    }

    fn checkpoint(&mut self, thread: &mut Thread, seen: &Seen, (note, head, tree): (&str, &str, &[[u8; 32]])) {
        thread.checkpoints += 1;
        if *head != hex::encode(seen.prev) {
            self.fault(Fault::Checkpoint, seen, "its `head` is not the hash of the record before");
        }
        match self.open(note) {
            Ok(point) if point.origin == seen.chain && point.size == seen.seq => {
                if let Some(compared) = thread.compare(&point, "in the chain") {
                    self.compared(thread, &seen.chain, compared);
                }
                match Tree::resumed(point.size, tree.to_vec()).filter(|tree| tree.root() == point.root) {
                    Some(tree) => thread.resume(tree, seen),
                    None => self.fault(Fault::Checkpoint, seen, "its `tree` is not the one whose root its note states"),
                }
            }
            Ok(_) => self.fault(Fault::Checkpoint, seen, "states another chain or size"),
            Err(error) => {
                let range = Some((thread.doubted_from(), seen.seq));
                self.find(Finding::new(Fault::Signature, &seen.chain, range).saying(error.to_string()));
            }
        }
    }

    fn open(&self, text: &str) -> Result<Checkpoint, NoteError> {
        let body = if self.signatures { note::open(text, &self.trusted)?.0 } else { note::body(text)? };
        Checkpoint::parse(&body).ok_or(NoteError::Malformed)
    }

    /// Trust goes from a key to the next if both have signed.
    fn rotate(&mut self, seen: &Seen, old: &str, new: &str, text: &str) {
        let (Ok(old), Ok(new)) = (Verifier::parse(old), Verifier::parse(new)) else {
            return self.fault(Fault::Signature, seen, "names keys that are none");
        };
        if !self.signatures || self.trusted.contains(&new) {
            return;
        }
        let signed = note::open(text, &[old.clone(), new.clone()]);
        let both = signed.is_ok_and(|(body, by)| by.len() == 2 && body == note::rotation(&old, &new));
        if both && self.trusted.contains(&old) {
            self.trusted.push(new);
        } else {
            self.fault(
                Fault::Signature,
                seen,
                "a key takes over for which no trusted one vouches; give its public half, too",
            );
        }
    }

    fn fault(&mut self, fault: Fault, seen: &Seen, text: &str) {
        self.find(Finding::new(fault, &seen.chain, Some((seen.seq, seen.seq))).saying(text.to_owned()));
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Everything has been seen. `instances`: those that must be there; none given, none is missed.
    pub fn finish(mut self, instances: &[String]) -> Report {
        let mut chains = std::mem::take(&mut self.chains);
        for (id, thread) in &mut chains {
            thread.end_walk();
            for compared in thread.settle() {
                self.compared(thread, id, compared);
            }
        }
        for (id, thread) in &chains {
            self.end_of(id, thread, &chains);
        }
        self.absent(&chains);
        for instance in instances {
            if !chains.keys().any(|id| instance_of(id) == instance) {
                self.find(Finding::new(Fault::Missing, instance, None).saying("no record of this instance".to_owned()));
            }
        }
        let reports = chains.into_iter().map(|(id, thread)| report(id, &thread)).collect();
        let broken = self.more > 0 || self.findings.iter().any(|f| f.fault.breaks());
        let declared = self.findings.iter().any(|f| f.fault == Fault::Declared);
        let outcome = match (broken, declared) {
            (true, _) => Outcome::Broken,
            (false, true) => Outcome::WholeGapsDeclared,
            (false, false) => Outcome::Whole,
        };
        let (findings, more) = (self.findings, self.more);
        let (signatures, elsewhere) = (self.signatures, self.elsewhere);
        Report {
            outcome,
            records: self.records,
            bytes: self.bytes,
            chains: reports,
            findings,
            more,
            signatures,
            elsewhere,
        }
    }

    fn end_of(&mut self, id: &str, thread: &Thread, chains: &BTreeMap<String, Thread>) {
        if thread.first > 0 && is_oldest(id, chains) {
            let text = "the chain's beginning is not there, as after retention";
            self.find(Finding::new(Fault::CutStart, id, Some((0, thread.first - 1))).saying(text.to_owned()));
        } else if thread.first > 0 {
            // Retention takes the oldest first.
            self.gap(id, 0, thread.first - 1, "missing at the beginning, while an older chain is there");
        }
        for (first, last) in thread.gaps() {
            self.gap(id, first, last, "missing");
        }
        for range in &thread.unmatched {
            let text = "copies too old to be compared with what came first; they may be forged";
            self.find(Finding::new(Fault::Fork, id, Some(*range)).saying(text.to_owned()));
        }
        if let Some(range) = thread.stubbed {
            // Whoever can write to the topic can put one in the place of any record: the hash fits, and the words are gone.
            let text = format!(
                "{} of these are here as hashes only (stubs): what they say is kept by the spool",
                thread.stubs
            );
            self.find(Finding::new(Fault::Declared, id, Some(range)).saying(text));
        }
        self.succeeded(id, thread, chains);
        let from = thread.stateable_from();
        let uncovered = thread.next.saturating_sub(from);
        if self.signatures
            && (uncovered > MOST_UNCOVERED || (thread.closed && uncovered > 2 && thread.whole_tree().is_some()))
        {
            let text = "no signed checkpoint states these, and the chain should have made one";
            self.find(Finding::new(Fault::Checkpoint, id, Some((from, thread.next - 1))).saying(text.to_owned()));
        }
        let stated = self.stated.get(id).and_then(|c| c.last_key_value()).map(|(size, _)| *size);
        if let Some(size) = stated.filter(|size| *size > thread.next) {
            self.gap(id, thread.next, size - 1, "stated by a checkpoint that was kept elsewhere, and not there");
        } else if let Some(point) = stated.filter(|size| *size == thread.next)
            && let Some(tree) = thread.whole_tree()
            && Some(tree.root()) != self.stated.get(id).and_then(|c| c.get(&point)).map(|(p, _)| p.root)
        {
            let text = "a checkpoint kept elsewhere states another tree over all records";
            self.find(Finding::new(Fault::Changed, id, Some((thread.covered, point - 1))).saying(text.to_owned()));
        }
    }

    /// What the chain after this one says about its end.
    fn succeeded(&mut self, id: &str, thread: &Thread, chains: &BTreeMap<String, Thread>) {
        let last = thread.next - 1;
        let successor = self.previous.iter().find(|(_, p)| p.id == id).map(|(by, p)| (by.clone(), p.clone()));
        match successor {
            Some((by, previous)) => {
                if previous.seq > last {
                    self.gap(id, last + 1, previous.seq, &format!("chain {by} says that they were there"));
                } else if previous.seq < last {
                    let text = format!("chain {by} says that {} was the last record", previous.seq);
                    self.find(Finding::new(Fault::Changed, id, Some((previous.seq + 1, last))).saying(text));
                } else if hex::encode(thread.hash) != previous.hash {
                    let text = format!("chain {by} names another hash of the last record");
                    self.find(Finding::new(Fault::Changed, id, Some((last, last))).saying(text));
                } else if !thread.closed {
                    let text = format!("the process ended without closing the chain; chain {by} names its end");
                    self.find(Finding::new(Fault::Declared, id, Some((last, last))).saying(text));
                }
            }
            None if thread.closed => {}
            None => {
                let newest = chains.iter().filter(|(other, _)| instance_of(other) == instance_of(id));
                if newest.into_iter().any(|(_, other)| other.first_time > thread.last_time) {
                    let text = "the chain was never closed, and no later one names its end";
                    self.find(Finding::new(Fault::NeverClosed, id, Some((last, last))).saying(text.to_owned()));
                }
            }
        }
    }

    /// Records that are not there: a fault as far as no record names them.
    fn gap(&mut self, id: &str, first: u64, last: u64, text: &str) {
        let mut named: Vec<(u64, u64)> = self.declared.get(id).cloned().unwrap_or_default();
        named.sort_unstable();
        let mut from = first;
        for (begin, end) in named {
            if begin > last || end < from {
                continue;
            }
            if begin > from {
                self.find(Finding::new(Fault::Missing, id, Some((from, begin - 1))).saying(text.to_owned()));
            }
            let range = (begin.max(from), end.min(last));
            self.find(
                Finding::new(Fault::Declared, id, Some(range)).saying("missing, and named by a record".to_owned()),
            );
            from = end.saturating_add(1);
        }
        if from <= last {
            self.find(Finding::new(Fault::Missing, id, Some((from, last))).saying(text.to_owned()));
        }
    }

    /// Chains that others name and of which nothing is there.
    fn absent(&mut self, chains: &BTreeMap<String, Thread>) {
        let cut: BTreeSet<String> = chains
            .iter()
            .filter(|(id, t)| t.first > 0 && is_oldest(id, chains))
            .map(|(id, _)| instance_of(id).to_owned())
            .collect();
        let named: Vec<(String, u64, String)> = self
            .stated
            .iter()
            .filter_map(|(id, points)| {
                Some((id.clone(), *points.last_key_value()?.0, "a checkpoint kept elsewhere".to_owned()))
            })
            .chain(self.previous.iter().map(|(by, p)| (p.id.clone(), p.seq + 1, format!("chain {by}"))))
            .collect();
        let mut told = BTreeSet::new();
        for (id, size, by) in named {
            if chains.contains_key(&id) || size == 0 || !told.insert(id.clone()) {
                continue;
            }
            let text = format!("{by} states this chain, and no record of it is there");
            // A stream whose oldest chain begins in its middle has been cut by retention, and older chains with it. Where
            // nothing was kept elsewhere, the oldest chain's predecessor may be gone for the same reason.
            let oldest = self.previous.iter().find(|(_, p)| p.id == id).is_some_and(|(by, _)| is_oldest(by, chains));
            let excused = cut.contains(instance_of(&id)) || (oldest && !self.elsewhere);
            let fault = if excused { Fault::CutStart } else { Fault::Missing };
            self.find(Finding::new(fault, &id, Some((0, size - 1))).saying(text));
        }
    }
}

fn is_oldest(id: &str, chains: &BTreeMap<String, Thread>) -> bool {
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

fn report(id: String, thread: &Thread) -> ChainReport {
    ChainReport {
        id,
        first: thread.first,
        last: thread.next - 1,
        closed: thread.closed,
        checkpoints: thread.checkpoints,
        covered: thread.covered,
        copies: thread.copies,
        late: thread.late,
        stubs: thread.stubs,
    }
}

#[cfg(test)]
mod tests;
