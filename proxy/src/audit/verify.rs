//! Is the trail whole? Fed record by record, from a topic, a spool or a file, in any mixture of chains, and with what was
//! stated elsewhere; says what is missing, changed, doubled or not signed. Pure. Called by the command.
//!
//! What it can know: a chain shows changes whose later hashes were not computed anew; a signed checkpoint shows the rest
//! up to itself; a checkpoint kept elsewhere shows that records at the end, or a whole chain, were taken away.
//!
//! What it costs: about 2 KiB a chain; and however many chains, gaps and checkpoints there are, no more than what `recent`,
//! `room` and `stated` allow, together less than 384 MiB (docs/RELIABILITY.md). Its work grows with what is read, and the logarithm of it.

mod copies;
mod ended;
mod finding;
mod gone;
mod heard;
mod horizon;
mod kin;
mod late;
mod prove;
mod recent;
mod report;
mod room;
mod seen;
mod stated;
mod thread;
mod trust;
mod work;

use std::collections::HashMap;
use std::sync::Arc;

use crate::audit::note::Checkpoint;

use finding::Findings;
pub use finding::{Fault, Finding, Outcome};
use horizon::{Place, Source};
pub use report::{ChainReport, PartitionReport, Report};
use room::Room;
pub use seen::{Says, Seen};
use stated::{Point, Stated};
use thread::{Compared, Fit, Thread};
pub use trust::TrustedKey;
use trust::{Opened, Trust};

#[derive(Debug, Default)]
pub struct Verification {
    trust: Trust,
    source: Source,
    elsewhere: bool,
    /// Records may come behind later ones.
    patient: bool,
    stated: Stated,
    /// In the order in which they appeared.
    threads: Vec<Thread>,
    /// Which of them a chain is.
    numbers: HashMap<Arc<str>, usize>,
    room: Room,
    found: Findings,
    records: u64,
    bytes: u64,
}

impl Verification {
    /// Without keys no signature is looked at.
    pub fn new<K: Into<TrustedKey>>(keys: Vec<K>) -> Self {
        Self { trust: Trust::new(keys.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// Records are from a topic: its partitions, each with whether its first records are gone, and how Kafka chooses one.
    pub fn from_topic(&mut self, cut: impl IntoIterator<Item = (i32, bool)>, place: Place) {
        self.source.of_topic(cut, place);
    }

    /// Records were from a spool whose process may have gone on meanwhile: the oldest that is still there.
    pub fn spool_still_has(&mut self, chain: String, seq: u64) {
        self.source.still_has(chain, seq);
    }

    /// What is cut at the start may be cut up to this time (as records have it, RFC 3339 in UTC with microseconds) only.
    pub fn expect_complete_since(&mut self, time: String) {
        self.source.complete_since(time);
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
            Err(error) => return self.found.add(Finding::new(Fault::Unreadable, "", None).saying(error)),
        };
        let Says::Checkpoint { note, .. } = &seen.says else {
            return self.fault(Fault::Unreadable, &seen, "in the checkpoint topic, and no checkpoint");
        };
        match self.trust.open(note, &seen.chain) {
            Ok(Opened { checkpoint, signed }) if checkpoint.origin == seen.chain && checkpoint.size == seen.seq => {
                let unknown = (!signed).then(|| note.as_str().into());
                let point = Point { root: checkpoint.root, hash: seen.hash, met: false, unknown };
                self.stated.add(&seen.chain, &seen.time, seen.seq, point);
            }
            Ok(_) => self.fault(Fault::Checkpoint, &seen, "in the checkpoint topic: states another chain or size"),
            Err(error) => self.fault(Fault::Signature, &seen, &format!("in the checkpoint topic: {error}")),
        }
    }

    /// The next record, or what is no record.
    pub fn record(&mut self, seen: Result<Seen, String>) {
        self.record_from(0, seen);
    }

    /// The same, of a topic: and the partition that it is from.
    pub fn record_from(&mut self, partition: i32, seen: Result<Seen, String>) {
        self.records += 1;
        match seen {
            Ok(seen) => {
                self.bytes += seen.bytes;
                self.place(partition, &seen);
            }
            Err(error) => self.found.add(Finding::new(Fault::Unreadable, "", None).saying(error)),
        }
    }

    fn place(&mut self, partition: i32, seen: &Seen) {
        let at = self.number(partition, seen);
        let Some(thread) = self.threads.get_mut(at) else { return };
        let fit = thread.fit(seen, &self.room);
        let (closed, unmatched) = (thread.closed, thread.unmatched.take());
        self.unmatched(&seen.chain, unmatched);
        match fit {
            Fit::Copy => return,
            Fit::Fork => return self.fault(Fault::Fork, seen, "another record has the same place"),
            Fit::First if seen.seq == 0 && seen.prev != [0; 32] => {
                self.fault(Fault::Changed, seen, "first record of a chain that names one before it");
            }
            Fit::Broken => self.compared(at, Compared::Broken { seq: seen.seq }),
            Fit::Gap(from) => self.gap(at, from, seen),
            Fit::First | Fit::Next | Fit::Late => {}
        }
        if closed && fit != Fit::Late {
            self.fault(Fault::Changed, seen, "a record after the chain's last one");
        }
        self.compare_stated(at, seen);
        self.listen(at, seen);
        if fit == Fit::Late {
            self.late(at, seen);
        } else if let Some(thread) = self.threads.get_mut(at) {
            thread.take(seen, &mut self.room);
        }
    }

    /// Which of the chains the record's is.
    fn number(&mut self, partition: i32, seen: &Seen) -> usize {
        if let Some(at) = self.numbers.get(seen.chain.as_str()) {
            return *at;
        }
        let at = self.threads.len();
        let thread = Thread::new(seen, u32::try_from(at).unwrap_or(u32::MAX), partition, self.patient);
        self.numbers.insert(thread.id.clone(), at);
        self.threads.push(thread);
        at
    }

    fn gap(&mut self, at: usize, from: u64, seen: &Seen) {
        self.trust.gap(&seen.chain);
        let Some(thread) = self.threads.get_mut(at) else { return };
        if !thread.gap(seen, &mut self.room) {
            let text = "missing, and there are too many gaps to see whether a record names this one".to_owned();
            self.found.add(Finding::new(Fault::Missing, &seen.chain, Some((from, seen.seq - 1))).saying(text));
        }
    }

    fn late(&mut self, at: usize, seen: &Seen) {
        let Some(thread) = self.threads.get_mut(at) else { return };
        let came = thread.late.came(seen.seq, &mut self.room);
        let compared = thread.fill(seen, &mut self.room);
        compared.into_iter().for_each(|compared| self.compared(at, compared));
        if !came {
            self.fault(Fault::Fork, seen, "came behind later records, and too many did to see whether it fits");
        }
    }

    fn unmatched(&mut self, chain: &str, range: Option<(u64, u64)>) {
        if range.is_some() {
            let text = "copies too old to be compared with what came first; they may be forged".to_owned();
            self.found.add(Finding::new(Fault::Fork, chain, range).saying(text));
        }
    }

    /// Nothing comes any more.
    fn settle(&mut self, at: usize) {
        let Some(thread) = self.threads.get_mut(at) else { return };
        thread.end_walk();
        let (id, unmatched, compared) = (thread.id.clone(), thread.unmatched.take(), thread.settle(&mut self.room));
        self.unmatched(&id, unmatched);
        compared.into_iter().for_each(|compared| self.compared(at, compared));
    }

    /// Whether this record, and the tree over all before it, is what was stated elsewhere.
    fn compare_stated(&mut self, at: usize, seen: &Seen) {
        let Some(point) = self.stated.meet(&seen.chain, seen.seq) else { return };
        let (hash, origin) = (point.hash, seen.chain.clone());
        let point = Checkpoint { origin, size: seen.seq, root: point.root };
        let Some(thread) = self.threads.get_mut(at) else { return };
        if hash != seen.hash {
            let text = "the last of these is not the checkpoint that was kept elsewhere, byte for byte";
            let range = Some((thread.doubted_from(), seen.seq));
            self.found.add(Finding::new(Fault::Changed, &seen.chain, range).saying(text.to_owned()));
        }
        if let Some(compared) = thread.compare(&point, "kept elsewhere", &mut self.room) {
            self.compared(at, compared);
        }
    }

    fn compared(&mut self, at: usize, compared: Compared) {
        let Some(thread) = self.threads.get(at) else { return };
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
        self.found.add(Finding::new(Fault::Changed, &thread.id, Some(range)).saying(text));
    }

    fn fault(&mut self, fault: Fault, seen: &Seen, text: &str) {
        self.found.add(Finding::new(fault, &seen.chain, Some((seen.seq, seen.seq))).saying(text.to_owned()));
    }
}

#[cfg(test)]
mod tests;
