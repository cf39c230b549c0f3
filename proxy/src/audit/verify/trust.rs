//! Which keys are trusted, for which instances: those that were given, and those that one of them vouches for. Streams come
//! in any order, so that what cannot be judged yet is judged at the end. Pure. Owned by `verify`.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::audit::note::{self, Checkpoint, NoteError, Verifier};

use super::finding::{Fault, Finding};
use super::kin::instance_of;
use super::seen::Seen;
use super::stated::Stated;
use super::work;

/// Statements by keys that nobody has vouched for yet; further ones are faults at once. Of a chain without gaps one waits,
/// however long it is.
const MOST_WAITING: usize = 1 << 16;

/// A key that was given, and whose chains it may sign.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    pub key: Verifier,
    /// Those of this instance; `None` is every instance's.
    pub instance: Option<String>,
}

impl From<Verifier> for TrustedKey {
    fn from(key: Verifier) -> Self {
        Self { key, instance: None }
    }
}

/// Which instances' chains keys may sign.
#[derive(Debug, Default)]
struct Scope {
    every: bool,
    only: BTreeSet<String>,
}

/// Notes of a chain, and what is found of each if its key is never trusted.
#[derive(Debug, Default)]
struct Waiting {
    notes: Vec<(String, Finding)>,
    /// From this one on they are of records without a gap between them.
    run: usize,
}

/// What a note states, and whether it is known by now that a trusted key has signed it.
#[derive(Debug)]
pub struct Opened {
    pub checkpoint: Checkpoint,
    pub signed: bool,
}

#[derive(Debug, Default)]
pub struct Trust {
    /// Signatures are looked at, which takes a key.
    pub checked: bool,
    /// A key was given for one instance.
    pub bound: bool,
    /// By public half.
    scopes: HashMap<String, Scope>,
    every: Vec<Verifier>,
    only: HashMap<String, Vec<Verifier>>,
    /// By public half, the keys that it has vouched for.
    vouched: HashMap<String, Vec<Verifier>>,
    /// The new key of each rotation, the instance, and what is found if it is not trusted there in the end.
    rotations: Vec<(Verifier, String, Finding)>,
    /// By chain, notes by keys that are not trusted yet.
    notes: HashMap<String, Waiting>,
    /// So many.
    waiting: usize,
    /// Instances of which a trusted key has signed something.
    signed: HashSet<String>,
}

impl Trust {
    /// Without keys no signature is looked at.
    pub fn new(keys: Vec<TrustedKey>) -> Self {
        let bound = keys.iter().any(|given| given.instance.is_some());
        let mut trust = Self { checked: !keys.is_empty(), bound, ..Self::default() };
        for TrustedKey { key, instance } in keys {
            trust.trust(key, instance);
        }
        trust
    }

    /// What a note of this chain states. One by an unknown key counts until the end, when it may be known: whoever opens it
    /// either lets it [`Self::wait`], or asks again.
    pub fn open(&mut self, text: &str, chain: &str) -> Result<Opened, NoteError> {
        let instance = instance_of(chain);
        let (body, signed) = match self.checked.then(|| self.signed_by_trusted(text, instance)) {
            Some(Ok(body)) => (body, true),
            None | Some(Err(NoteError::Unknown)) => (note::body(text)?, !self.checked),
            Some(Err(error)) => return Err(error),
        };
        if signed && self.checked && !self.signed.contains(instance) {
            self.signed.insert(instance.to_owned());
        }
        let checkpoint = Checkpoint::parse(&body).ok_or(NoteError::Malformed)?;
        Ok(Opened { checkpoint, signed })
    }

    /// A note by an unknown key, and what is found of it if the key is never trusted. Returned: too many wait.
    pub fn wait(&mut self, text: &str, chain: &str, finding: Finding) -> Option<Finding> {
        let finding = self.of_no_key_here(finding);
        if self.waiting >= MOST_WAITING {
            return Some(finding);
        }
        self.waiting += 1;
        self.notes.entry(chain.to_owned()).or_default().notes.push((text.to_owned(), finding));
        None
    }

    /// The newest of the chain's notes states a tree that fits, and so all that those before it in its run state: if it
    /// holds, they do.
    pub fn fits(&mut self, chain: &str) {
        let Some(waiting) = self.notes.get_mut(chain) else { return };
        let Some(before) = waiting.notes.len().checked_sub(1).filter(|before| waiting.run < *before) else { return };
        let first = waiting.notes.drain(waiting.run..before).filter_map(|(_, finding)| finding.range).next();
        self.waiting -= before - waiting.run;
        if let Some(((from, _), (_, finding))) = first.zip(waiting.notes.last_mut()) {
            finding.range = finding.range.map(|(first, last)| (first.min(from), last));
        }
    }

    /// The chain has a gap here.
    pub fn gap(&mut self, chain: &str) {
        if let Some(waiting) = self.notes.get_mut(chain) {
            waiting.run = waiting.notes.len();
        }
    }

    fn of_no_key_here(&self, finding: Finding) -> Finding {
        let text = format!("{}{}", finding.text, if self.bound { " for this instance" } else { "" });
        finding.saying(text)
    }

    fn signed_by_trusted(&self, text: &str, instance: &str) -> Result<String, NoteError> {
        let of_instance = self.only.get(instance).map_or(&[][..], Vec::as_slice);
        match note::open(text, of_instance) {
            Err(NoteError::Unknown) => note::open(text, &self.every).map(|(body, _)| body),
            opened => opened.map(|(body, _)| body),
        }
    }

    fn is_trusted(&self, key: &Verifier, instance: &str) -> bool {
        self.scopes.get(key.text()).is_some_and(|scope| scope.every || scope.only.contains(instance))
    }

    /// Trust goes from a key to the next if both have signed, and for the same instances. Returns what is wrong with the
    /// statement itself.
    pub fn rotate(&mut self, seen: &Seen, old: &str, new: &str, text: &str) -> Option<Finding> {
        let finding = |text: &str| {
            Finding::new(Fault::Signature, &seen.chain, Some((seen.seq, seen.seq))).saying(text.to_owned())
        };
        let (Ok(old), Ok(new)) = (Verifier::parse(old), Verifier::parse(new)) else {
            return Some(finding("names keys that are none"));
        };
        let instance = instance_of(&seen.chain);
        if !self.checked || self.is_trusted(&new, instance) {
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
        self.rotations.push((new.clone(), instance.to_owned(), no_voucher));
        self.vouched.entry(old.text().to_owned()).or_default().push(new.clone());
        let scope = self.scopes.get(old.text())?;
        let every = scope.every.then_some(None);
        let scopes: Vec<Option<String>> = scope.only.iter().cloned().map(Some).chain(every).collect();
        scopes.into_iter().for_each(|instance| self.trust(new.clone(), instance));
        None
    }

    /// This key, and those that it vouches for.
    fn trust(&mut self, key: Verifier, instance: Option<String>) {
        let mut to_do = vec![key];
        while let Some(key) = to_do.pop() {
            work::step();
            let scope = self.scopes.entry(key.text().to_owned()).or_default();
            let is_new = match &instance {
                Some(instance) => scope.only.insert(instance.clone()),
                None => !std::mem::replace(&mut scope.every, true),
            };
            if is_new {
                to_do.extend(self.vouched.get(key.text()).into_iter().flatten().cloned());
                match &instance {
                    Some(instance) => self.only.entry(instance.clone()).or_default().push(key),
                    None => self.every.push(key),
                }
            }
        }
    }

    /// Everything has been seen: what no trusted key has signed.
    pub fn end(&mut self, stated: &Stated) -> Vec<Finding> {
        let mut found = Vec::new();
        for (new, instance, finding) in std::mem::take(&mut self.rotations) {
            if !self.is_trusted(&new, &instance) {
                found.push(finding);
            }
        }
        let mut notes: Vec<_> = std::mem::take(&mut self.notes).into_iter().collect();
        notes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (chain, waiting) in notes {
            for (text, finding) in waiting.notes {
                work::step();
                if !self.is_signed(&text, &chain) {
                    found.push(finding);
                }
            }
        }
        for (chain, size, text) in stated.unknown() {
            work::step();
            if !self.is_signed(text, chain) {
                let finding = Finding::new(Fault::Signature, chain, Some((size, size)));
                let text = format!("in the checkpoint topic: {}", NoteError::Unknown);
                found.push(self.of_no_key_here(finding.saying(text)));
            }
        }
        found
    }

    /// Whether a key that is trusted by now has signed the chain's note.
    fn is_signed(&mut self, text: &str, chain: &str) -> bool {
        let instance = instance_of(chain);
        let signed = self.signed_by_trusted(text, instance).is_ok();
        if signed {
            self.signed.insert(instance.to_owned());
        }
        signed
    }

    /// Whether a trusted key has signed anything of the instance.
    pub fn has_signed(&self, instance: &str) -> bool {
        self.signed.contains(instance)
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}
