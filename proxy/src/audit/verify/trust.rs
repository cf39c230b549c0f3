//! Which keys are trusted: those that were given, and those that one of them vouches for. Streams come in any order, so that
//! what cannot be judged yet is judged at the end. Pure. Owned by `verify`.

use crate::audit::note::{self, Checkpoint, NoteError, Verifier};

use super::finding::{Fault, Finding};
use super::seen::Seen;

/// Statements by keys that nobody has vouched for yet; further ones are faults at once.
const MOST_WAITING: usize = 1 << 16;

#[derive(Debug, Default)]
pub struct Trust {
    keys: Vec<Verifier>,
    /// Signatures are looked at, which takes a key.
    pub checked: bool,
    /// Rotations from keys that are not trusted yet.
    rotations: Vec<(Verifier, Verifier, Finding)>,
    /// Notes by keys that are not trusted yet, and what is found if none ever is.
    notes: Vec<(String, Finding)>,
}

impl Trust {
    /// Without keys no signature is looked at.
    pub fn new(keys: Vec<Verifier>) -> Self {
        Self { checked: !keys.is_empty(), keys, ..Self::default() }
    }

    /// What the note states. One by an unknown key counts until the end, when it may be known.
    pub fn open(&mut self, text: &str, otherwise: impl Fn(&NoteError) -> Finding) -> Result<Checkpoint, Finding> {
        let opened = if self.checked { note::open(text, &self.keys).map(|(body, _)| body) } else { note::body(text) };
        let body = match opened {
            Err(NoteError::Unknown) if self.notes.len() < MOST_WAITING => {
                self.notes.push((text.to_owned(), otherwise(&NoteError::Unknown)));
                note::body(text)
            }
            opened => opened,
        };
        let body = body.map_err(|error| otherwise(&error))?;
        Checkpoint::parse(&body).ok_or_else(|| otherwise(&NoteError::Malformed))
    }

    /// Trust goes from a key to the next if both have signed. Returns what is wrong with the statement itself.
    pub fn rotate(&mut self, seen: &Seen, old: &str, new: &str, text: &str) -> Option<Finding> {
        let finding = |text: &str| {
            Finding::new(Fault::Signature, &seen.chain, Some((seen.seq, seen.seq))).saying(text.to_owned())
        };
        let (Ok(old), Ok(new)) = (Verifier::parse(old), Verifier::parse(new)) else {
            return Some(finding("names keys that are none"));
        };
        if !self.checked || self.keys.contains(&new) {
            return None;
        }
        let no_voucher = finding("a key takes over for which no trusted one vouches; give its public half, too");
        let signed = note::open(text, &[old.clone(), new.clone()]);
        if !signed.is_ok_and(|(body, by)| by.len() == 2 && body == note::rotation(&old, &new)) {
            return Some(no_voucher);
        }
        if self.rotations.len() >= MOST_WAITING {
            return Some(no_voucher);
        }
        self.rotations.push((old, new, no_voucher));
        self.follow();
        None
    }

    fn follow(&mut self) {
        while let Some(at) = self.rotations.iter().position(|(old, _, _)| self.keys.contains(old)) {
            let (_, new, _) = self.rotations.swap_remove(at);
            if !self.keys.contains(&new) {
                self.keys.push(new);
            }
        }
    }

    /// Everything has been seen: what no trusted key has signed.
    pub fn end(&mut self) -> Vec<Finding> {
        let mut found: Vec<Finding> = self.rotations.drain(..).map(|(_, _, finding)| finding).collect();
        for (text, finding) in self.notes.drain(..) {
            if note::open(&text, &self.keys).is_err() {
                found.push(finding);
            }
        }
        found
    }
}
