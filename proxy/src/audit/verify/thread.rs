//! One chain as far as it has been seen: its end, its tree, its gaps. Pure, and of bounded size however long the chain is.
//! Fed by `verify`, which knows the other chains, the keys and what was stated elsewhere.

use std::collections::VecDeque;

use crate::audit::tree::Tree;

use super::seen::Seen;

/// Hashes kept for comparing duplicates (8 MiB a chain). What is delivered again after a crash is far less; older copies
/// are compared by following them until they reach these.
const RECENT: usize = 1 << 18;

/// How a record fits what was seen of its chain before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    Next,
    /// The first that is seen of the chain.
    First,
    /// Its `prev` is not the hash of the record before.
    Broken,
    /// Records before it are missing: how many begins where.
    Gap(u64),
    /// Byte-identical to what was there, or part of a run of copies that has still to show it.
    Copy,
    /// Another record has this place.
    Fork,
}

/// A run of copies that are too old to be compared one by one: each names the hash of the one before.
#[derive(Debug, Clone)]
struct Walk {
    first: u64,
    next: u64,
    hash: [u8; 32],
}

#[derive(Debug, Clone)]
pub struct Thread {
    /// The first record that was seen.
    pub first: u64,
    pub next: u64,
    /// Of the last record.
    pub hash: [u8; 32],
    /// As long as every record from 0 on is there.
    pub tree: Option<Tree>,
    pub gaps: Vec<(u64, u64)>,
    pub closed: bool,
    pub copies: u64,
    pub stubs: u64,
    /// Records before this one are stated by a checkpoint that fits and that a trusted key has signed.
    pub covered: u64,
    pub checkpoints: u64,
    pub first_time: String,
    pub last_time: String,
    pub covered_time: String,
    /// Copies that could not be compared.
    pub unmatched: Vec<(u64, u64)>,
    recent: VecDeque<[u8; 32]>,
    walk: Option<Walk>,
}

impl Thread {
    pub fn new(seen: &Seen) -> Self {
        Self {
            first: seen.seq,
            next: seen.seq,
            hash: seen.prev,
            tree: (seen.seq == 0).then(Tree::new),
            gaps: Vec::new(),
            closed: false,
            copies: 0,
            stubs: 0,
            covered: 0,
            checkpoints: 0,
            first_time: seen.time.clone(),
            last_time: seen.time.clone(),
            covered_time: seen.time.clone(),
            unmatched: Vec::new(),
            recent: VecDeque::new(),
            walk: None,
        }
    }

    /// Where the record belongs. Changes nothing but the memory of copies.
    pub fn fit(&mut self, seen: &Seen) -> Fit {
        if seen.seq < self.next {
            return self.copy(seen);
        }
        self.end_walk();
        if seen.seq > self.next {
            return Fit::Gap(self.next);
        }
        match () {
            () if self.next == self.first && self.recent.is_empty() => Fit::First,
            () if seen.prev == self.hash => Fit::Next,
            () => Fit::Broken,
        }
    }

    /// Takes the record as the chain's end, whatever its fit was.
    pub fn take(&mut self, seen: &Seen) {
        if seen.seq > self.next {
            self.gaps.push((self.next, seen.seq - 1));
            self.tree = None;
            self.recent.clear();
        }
        if let Some(tree) = &mut self.tree {
            tree.push(&seen.hash);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(seen.hash);
        (self.next, self.hash) = (seen.seq + 1, seen.hash);
        self.last_time.clone_from(&seen.time);
    }

    /// The hash of a record, if it is among those that are kept.
    pub fn hash_of(&self, seq: u64) -> Option<[u8; 32]> {
        let back = usize::try_from(self.next.checked_sub(seq)?).ok()?;
        self.recent.len().checked_sub(back).and_then(|at| self.recent.get(at)).copied()
    }

    fn copy(&mut self, seen: &Seen) -> Fit {
        let follows = self.walk.as_ref().is_none_or(|w| w.next == seen.seq && w.hash == seen.prev);
        if !follows {
            self.end_walk();
        }
        self.copies += 1;
        match self.hash_of(seen.seq) {
            Some(hash) if hash == seen.hash => {
                // What led here by its hashes is what was here, too.
                self.walk = None;
                Fit::Copy
            }
            Some(_) => Fit::Fork,
            None => {
                let first = self.walk.as_ref().map_or(seen.seq, |w| w.first);
                self.walk = Some(Walk { first, next: seen.seq + 1, hash: seen.hash });
                Fit::Copy
            }
        }
    }

    pub fn end_walk(&mut self) {
        if let Some(walk) = self.walk.take() {
            self.unmatched.push((walk.first, walk.next - 1));
        }
    }
}
