//! What records say about the chain and about others, as it is heard: whose end they name, which are missing, which key takes
//! over, what a checkpoint states. A part of `verify`; what is judged at the end is `ended`'s.

use crate::audit::note::NoteError;
use crate::audit::tree::Tree;

use super::Verification;
use super::finding::{Fault, Finding};
use super::seen::{Previous, Says, Seen};
use super::thread::Compared;
use super::trust::Opened;

impl Verification {
    pub(super) fn listen(&mut self, at: usize, seen: &Seen) {
        let Some(thread) = self.threads.get_mut(at) else { return };
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
                thread.previous.clone_from(previous);
                self.pin(previous.as_ref());
            }
            Says::Opened(_) => self.fault(Fault::Changed, seen, "a chain is opened by its first record only"),
            // Where there is no room for more, what they say counts as not said.
            Says::Missing(missing) if self.room.run() => thread.declared.push((seen.seq, missing.clone())),
            Says::Missing(_) => {}
            Says::Rotated { old, new, note } => {
                if let Some(finding) = self.trust.rotate(seen, old, new, note) {
                    self.found.add(finding);
                }
            }
            Says::Checkpoint { note, head, tree } => self.checkpoint(at, seen, (note, head, tree)),
        }
    }

    /// The record that another chain calls the last one of this.
    fn pin(&mut self, previous: Option<&Previous>) {
        let Some(previous) = previous else { return };
        let before = self.numbers.get(previous.id.as_str()).and_then(|at| self.threads.get_mut(*at));
        if let Some(before) = before.filter(|before| previous.seq + 1 < before.next) {
            before.pin(previous.seq, &mut self.room);
        }
    }

    fn checkpoint(&mut self, at: usize, seen: &Seen, (note, head, tree): (&str, &str, &[[u8; 32]])) {
        if *head != hex::encode(seen.prev) {
            self.fault(Fault::Checkpoint, seen, "its `head` is not the hash of the record before");
        }
        let Some(thread) = self.threads.get_mut(at) else { return };
        thread.checkpoints += 1;
        let finding = Finding::new(Fault::Signature, &seen.chain, Some((thread.doubted_from(), seen.seq)));
        match self.trust.open(note, &seen.chain) {
            Ok(Opened { checkpoint: point, signed }) if point.origin == seen.chain && point.size == seen.seq => {
                let compared = thread.compare(&point, "in the chain", &mut self.room);
                let fits = compared == Some(Compared::Fits);
                if fits {
                    thread.stated_time.clone_from(&seen.time);
                }
                if !signed {
                    self.wait(note, seen, fits, finding);
                }
                if let Some(compared) = compared {
                    self.compared(at, compared);
                }
                let stated = Tree::resumed(point.size, tree.to_vec()).filter(|tree| tree.root() == point.root);
                match (stated, self.threads.get_mut(at)) {
                    (Some(tree), Some(thread)) => thread.resume(tree, seen, &mut self.room),
                    _ => self.fault(Fault::Checkpoint, seen, "its `tree` is not the one whose root its note states"),
                }
            }
            Ok(_) => self.fault(Fault::Checkpoint, seen, "states another chain or size"),
            Err(error) => self.found.add(finding.saying(error.to_string())),
        }
    }

    /// For a key that vouches for the one that signed this.
    fn wait(&mut self, note: &str, seen: &Seen, fits: bool, finding: Finding) {
        let finding = finding.saying(NoteError::Unknown.to_string());
        if let Some(finding) = self.trust.wait(note, &seen.chain, finding) {
            self.found.add(finding);
        } else if fits {
            self.trust.fits(&seen.chain);
        }
    }
}
