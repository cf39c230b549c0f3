//! One chain as far as it has been seen: its end, its tree, its gaps. Pure, and of bounded size however long the chain is.
//! Fed by `verify`, which knows the other chains, the keys and what was stated elsewhere.

use std::collections::VecDeque;

use crate::audit::note::Checkpoint;
use crate::audit::tree::Tree;

use super::late::{Late, Link};
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
    /// Fills a gap before records that are there.
    Late,
}

/// What came of comparing a checkpoint with the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    Fits,
    /// It states another tree over the records before `size`.
    Differs {
        size: u64,
        which: &'static str,
    },
    /// A record that came late is not the one that the next names as before it.
    Broken {
        seq: u64,
    },
}

/// Records of a chain, both ends included, that some record calls missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub chain: String,
    pub first: u64,
    pub last: u64,
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
    /// Over the records before `solid`; none while it cannot be computed.
    tree: Option<Tree>,
    /// The first record that is not there, from 0 on or from where the tree went on, and the hash of the one before.
    solid: u64,
    solid_hash: [u8; 32],
    /// What is behind the first gap.
    late: Late,
    /// The last checkpoint that the tree went on from.
    resumed: Option<u64>,
    gaps: Vec<(u64, u64)>,
    /// Those that the tree went on behind: they will not be filled.
    lost: Vec<(u64, u64)>,
    pub closed: bool,
    pub copies: u64,
    pub stubs: u64,
    /// The first and the last of them.
    pub stubbed: Option<(u64, u64)>,
    /// Records before this one are stated by a checkpoint that fits and that a trusted key has signed; which of them, `proved`
    /// says.
    pub covered: u64,
    /// Runs of records that are: from, up to and without.
    proved: Vec<(u64, u64)>,
    /// Where the run begins that the tree and the hashes before it hold together.
    base: u64,
    /// Where a record says that records of a chain are missing: its place, and which.
    pub declared: Vec<(u64, Missing)>,
    pub checkpoints: u64,
    pub first_time: String,
    pub last_time: String,
    /// Copies that could not be compared.
    pub unmatched: Vec<(u64, u64)>,
    recent: VecDeque<[u8; 32]>,
    walk: Option<Walk>,
}

impl Thread {
    /// `patient`: gaps may be filled by records that come later.
    pub fn new(seen: &Seen, patient: bool) -> Self {
        let given_up = seen.seq > 0 && !patient;
        Self {
            first: seen.seq,
            next: seen.seq,
            hash: seen.prev,
            tree: (!given_up).then(Tree::new),
            solid: 0,
            solid_hash: [0; 32],
            late: Late::new(patient, given_up),
            resumed: None,
            gaps: Vec::new(),
            lost: Vec::new(),
            closed: false,
            copies: 0,
            stubs: 0,
            stubbed: None,
            covered: 0,
            proved: Vec::new(),
            base: seen.seq,
            declared: Vec::new(),
            checkpoints: 0,
            first_time: seen.time.clone(),
            last_time: seen.time.clone(),
            unmatched: Vec::new(),
            recent: VecDeque::new(),
            walk: None,
        }
    }

    /// Where the record belongs. Changes nothing but the memory of copies.
    pub fn fit(&mut self, seen: &Seen) -> Fit {
        if seen.seq < self.next {
            return self.earlier(seen);
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
            self.recent.clear();
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(seen.hash);
        (self.next, self.hash) = (seen.seq + 1, seen.hash);
        self.last_time.clone_from(&seen.time);
        if seen.seq == self.solid {
            self.grow(seen.hash);
        } else {
            self.keep_ahead(seen);
        }
    }

    /// Takes a record that fills a gap, or a part of one.
    pub fn fill(&mut self, seen: &Seen) -> Vec<Compared> {
        self.late.came(seen.seq);
        if seen.seq == 0 {
            self.first_time.clone_from(&seen.time);
        }
        self.keep_ahead(seen);
        let found = self.advance();
        if self.solid > self.first {
            self.first = 0;
        }
        found
    }

    /// The tree over what is there without a gap, as far as that goes.
    fn advance(&mut self) -> Vec<Compared> {
        let mut found = Vec::new();
        while let Some(Link { prev, hash }) = self.late.take(self.solid) {
            if prev != self.solid_hash {
                found.push(Compared::Broken { seq: self.solid });
            }
            let due = self.late.points_at(self.solid);
            found.extend(due.into_iter().filter_map(|(point, which)| self.compare(&point, which)));
            self.grow(hash);
        }
        found
    }

    /// A checkpoint states this tree over the records before it: where earlier ones are missing, it goes on from here. What
    /// lies between them and this checkpoint is covered by the next one, whose tree holds this one's hash.
    pub fn resume(&mut self, tree: Tree, seen: &Seen) {
        if self.late.given_up() && self.tree.is_none() && seen.seq >= self.next {
            if seen.seq > self.next {
                self.gaps.push((self.next, seen.seq - 1));
            }
            self.go_on(tree, seen.seq, seen.prev);
        } else if seen.seq > self.solid {
            self.late.keep_tree(seen.seq, tree);
        }
    }

    /// Nothing comes any more: gaps stay, and the tree goes on behind them.
    pub fn settle(&mut self) -> Vec<Compared> {
        let mut found = Vec::new();
        while let Some((at, tree)) = self.late.next_tree() {
            if at > self.solid
                && let Some(Link { prev, .. }) = self.late.get(at)
            {
                self.go_on(tree, at, prev);
                self.late.forget_before(at);
                found.extend(self.advance());
            }
        }
        found
    }

    fn go_on(&mut self, tree: Tree, at: u64, prev: [u8; 32]) {
        let behind = self.gaps().filter(|(_, last)| *last < at).map(|(_, last)| last + 1).max();
        self.base = behind.unwrap_or(0).max(self.first);
        let gaps = std::mem::take(&mut self.gaps);
        let (lost, open) = gaps.into_iter().partition(|(first, _)| *first < at);
        self.gaps = open;
        let solid = self.solid;
        let unfilled = |(first, last): (u64, u64)| (last >= solid).then_some((first.max(solid), last));
        self.lost.extend(Vec::into_iter(lost).filter_map(unfilled));
        (self.tree, self.solid, self.solid_hash, self.resumed) = (Some(tree), at, prev, Some(at));
    }

    /// Whether a checkpoint that fits covers the record.
    pub fn is_proved(&self, seq: u64) -> bool {
        self.proved.iter().any(|(from, up_to)| (*from..*up_to).contains(&seq))
    }

    /// Whether the hashes lead from the record to the last one.
    pub fn leads_to_end(&self, seq: u64) -> bool {
        seq >= self.gaps().map(|(_, last)| last + 1).max().unwrap_or(0).max(self.first)
    }

    /// Runs of records, both ends included, that nothing covers although a later checkpoint fits, or could have.
    pub fn unproved(&self) -> Vec<(u64, u64)> {
        let mut edges: Vec<(u64, u64)> = self.gaps().collect();
        edges.sort_unstable();
        let end = self.resumed.map_or(0, |at| at + 1).max(edges.last().map_or(0, |(first, _)| *first));
        let end = if self.covered == 0 { self.next } else { end };
        let mut known = edges;
        known.extend(self.proved.iter().filter(|(from, up_to)| from < up_to).map(|(from, up_to)| (*from, up_to - 1)));
        known.sort_unstable();
        let (mut from, mut runs) = (self.first, Vec::new());
        for (first, last) in known.into_iter().chain([(end, end)]) {
            if first.min(end) > from {
                runs.push((from, first.min(end) - 1));
            }
            from = from.max(last + 1);
        }
        runs
    }

    /// Runs of records that came late and fit nothing that was there.
    pub fn unfit(&self) -> Vec<(u64, u64)> {
        let fits = |seq: u64| (self.resumed.is_none() && seq < self.solid) || self.is_proved(seq);
        self.late.runs().filter(|(first, last)| !fits(*first) || !fits(*last)).collect()
    }

    /// The first record that no checkpoint covers.
    pub fn doubted_from(&self) -> u64 {
        self.covered.max(self.first)
    }

    /// The first record that a checkpoint could have covered, and none did: not what lies before one that the tree
    /// went on from, nor a gap.
    pub fn stateable_from(&self) -> u64 {
        let after_gap = self.gaps().map(|(_, last)| last + 1).max().unwrap_or(0);
        self.doubted_from().max(self.resumed.map_or(0, |at| at + 1)).max(after_gap)
    }

    /// This record is there as its hash only.
    pub fn stub(&mut self, seq: u64) {
        self.stubs += 1;
        let (first, last) = self.stubbed.unwrap_or((seq, seq));
        self.stubbed = Some((first.min(seq), last.max(seq)));
    }

    /// What a checkpoint states, once the tree has grown so far; `None` until then, and where there is no tree.
    pub fn compare(&mut self, point: &Checkpoint, which: &'static str) -> Option<Compared> {
        if point.size > self.solid && !self.late.keep_point(point, which) {
            self.give_up();
        }
        let tree = self.tree.as_ref().filter(|_| point.size == self.solid)?;
        if tree.root() == point.root {
            self.covered = self.covered.max(point.size);
            let from = if self.resumed.is_some() { self.base } else { 0 };
            match self.proved.last_mut() {
                Some((begun, up_to)) if *begun == from => *up_to = point.size,
                _ => self.proved.push((from, point.size)),
            }
            return Some(Compared::Fits);
        }
        // What comes after has a tree of its own that nothing can be said about.
        self.tree = None;
        Some(Compared::Differs { size: point.size, which })
    }

    /// Over all records from 0 to the last, where all are there.
    pub fn whole_tree(&self) -> Option<&Tree> {
        self.tree.as_ref().filter(|_| self.solid == self.next)
    }

    /// Records between others that are not there.
    pub fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        let open = self.gaps.iter().filter(|(_, last)| *last >= self.solid);
        let open = open.map(|(first, last)| ((*first).max(self.solid), *last));
        self.lost.iter().copied().chain(open)
    }

    fn grow(&mut self, hash: [u8; 32]) {
        if let Some(tree) = &mut self.tree {
            tree.push(&hash);
        }
        (self.solid, self.solid_hash) = (self.solid + 1, hash);
    }

    fn keep_ahead(&mut self, seen: &Seen) {
        if !self.late.keep(seen.seq, Link { prev: seen.prev, hash: seen.hash }) {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.tree = None;
        self.late.give_up();
    }

    fn earlier(&mut self, seen: &Seen) -> Fit {
        if self.late.given_up() || seen.seq < self.solid {
            return self.copy(seen);
        }
        match self.late.get(seen.seq) {
            Some(Link { hash, .. }) if hash == seen.hash => {
                self.copies += 1;
                Fit::Copy
            }
            Some(_) => Fit::Fork,
            None if seen.seq == self.solid && seen.prev != self.solid_hash => Fit::Fork,
            None => Fit::Late,
        }
    }

    /// Records that filled a gap.
    pub fn late(&self) -> u64 {
        self.late.count()
    }

    /// The hash of a record, if it is among those that are kept.
    pub fn hash_of(&self, seq: u64) -> Option<[u8; 32]> {
        if seq + 1 == self.solid {
            return Some(self.solid_hash);
        }
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
