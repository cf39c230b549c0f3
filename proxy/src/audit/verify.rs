//! Is the trail whole? Fed record by record, from a topic, a spool or a file, in any mixture of chains, and with what was
//! stated elsewhere; says what is missing, changed, doubled or not signed. Pure. A chain costs a bounded amount of memory
//! however long it is, and each checkpoint that was kept elsewhere some more. Called by the command.
//!
//! What it can know: a chain shows changes whose later hashes were not computed anew; a signed checkpoint shows the rest
//! up to itself; a checkpoint kept elsewhere shows that records at the end, or a whole chain, were taken away.

mod ended;
mod finding;
mod late;
mod seen;
mod thread;
mod trust;

use std::collections::BTreeMap;

use crate::audit::note::{Checkpoint, NoteError, Verifier};
use crate::audit::tree::Tree;

pub use finding::{Fault, Finding, Outcome};
use seen::Previous;
pub use seen::{Says, Seen};
use thread::{Compared, Fit, Missing, Thread};
use trust::Trust;

/// Declarations of missing records that are kept a chain; with more, what they say counts as not said.
const MOST_DECLARED: usize = 1 << 16;
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
    trust: Trust,
    elsewhere: bool,
    /// Records may come behind later ones.
    patient: bool,
    stated: BTreeMap<String, Stated>,
    chains: BTreeMap<String, Thread>,
    /// By successor.
    previous: BTreeMap<String, Previous>,
    findings: Vec<Finding>,
    more: u64,
    /// One of those breaks the trail.
    more_breaks: bool,
    records: u64,
    bytes: u64,
}

/// What the checkpoint topic says of a chain.
#[derive(Debug, Default)]
struct Stated {
    /// By size.
    points: BTreeMap<u64, Point>,
    /// When the newest was made.
    until: String,
}

#[derive(Debug)]
struct Point {
    checkpoint: Checkpoint,
    /// Of the record.
    hash: [u8; 32],
    /// The same place of the chain was there.
    met: bool,
}

impl Verification {
    /// Without keys no signature is looked at.
    pub fn new(keys: Vec<Verifier>) -> Self {
        Self { trust: Trust::new(keys), ..Self::default() }
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
        let range = Some((seen.seq, seen.seq));
        let otherwise = |error: &NoteError| {
            Finding::new(Fault::Signature, &seen.chain, range).saying(format!("in the checkpoint topic: {error}"))
        };
        match &seen.says {
            Says::Checkpoint { note, .. } => match self.trust.open(note, otherwise) {
                Ok(checkpoint) if checkpoint.origin == seen.chain && checkpoint.size == seen.seq => {
                    let stated = self.stated.entry(seen.chain.clone()).or_default();
                    if stated.points.last_key_value().is_none_or(|(size, _)| *size <= seen.seq) {
                        stated.until.clone_from(&seen.time);
                    }
                    stated.points.insert(seen.seq, Point { checkpoint, hash: seen.hash, met: false });
                }
                Ok(_) => self.fault(Fault::Checkpoint, &seen, "in the checkpoint topic: states another chain or size"),
                Err(finding) => self.find(finding),
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
        let Some(point) = self.stated.get_mut(&seen.chain).and_then(|c| c.points.get_mut(&seen.seq)) else { return };
        point.met = true;
        let (point, hash) = (point.checkpoint.clone(), point.hash);
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
            Says::Stub => {
                thread.stub(seen.seq);
                if seen.seq == 0 {
                    // It is small, and names the chain before, which could have been taken away with it.
                    self.fault(Fault::Missing, seen, "the record that opens the chain is here as its hash only");
                }
            }
            Says::Closed => thread.closed = true,
            Says::Opened(previous) if seen.seq == 0 => {
                if let Some(previous) = previous {
                    self.previous.insert(seen.chain.clone(), previous.clone());
                }
            }
            Says::Opened(_) => self.fault(Fault::Changed, seen, "a chain is opened by its first record only"),
            Says::Missing { chain, first, last } if thread.declared.len() < MOST_DECLARED => {
                let missing = Missing { chain: chain.clone(), first: *first, last: *last };
                thread.declared.push((seen.seq, missing));
            }
            Says::Missing { .. } => {}
            Says::Rotated { old, new, note } => {
                if let Some(finding) = self.trust.rotate(seen, old, new, note) {
                    self.find(finding);
                }
            }
            Says::Checkpoint { note, head, tree } => self.checkpoint(thread, seen, (note, head, tree)),
        }
    }

    fn checkpoint(&mut self, thread: &mut Thread, seen: &Seen, (note, head, tree): (&str, &str, &[[u8; 32]])) {
        thread.checkpoints += 1;
        if *head != hex::encode(seen.prev) {
            self.fault(Fault::Checkpoint, seen, "its `head` is not the hash of the record before");
        }
        let range = Some((thread.doubted_from(), seen.seq));
        let otherwise =
            |error: &NoteError| Finding::new(Fault::Signature, &seen.chain, range).saying(error.to_string());
        match self.trust.open(note, otherwise) {
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
            Err(finding) => self.find(finding),
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
            self.more_breaks |= finding.fault.breaks();
        }
    }
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
        late: thread.late(),
        stubs: thread.stubs,
    }
}

#[cfg(test)]
mod tests;
