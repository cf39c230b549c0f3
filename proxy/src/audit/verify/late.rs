//! What is kept of a chain behind its first gap, for records that come late and fill it: hashes, and what checkpoints state
//! over them. Judges nothing. Owned by `thread`.

use std::collections::BTreeMap;

use crate::audit::note::Checkpoint;
use crate::audit::tree::Tree;

/// Records kept behind a gap that may still be filled, as when a topic that lost records gets them again (some 30 MiB a
/// chain). With more behind it, a gap stays one.
const AHEAD: usize = 1 << 18;
/// Checkpoints kept behind a gap.
const POINTS: usize = 1 << 12;

/// A record's hash, and the one that it names as before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub prev: [u8; 32],
    pub hash: [u8; 32],
}

#[derive(Debug, Clone)]
pub struct Late {
    /// The records behind the first gap.
    ahead: BTreeMap<u64, Link>,
    /// So many may be.
    most: usize,
    /// Too many are: the gap will not be filled.
    given_up: bool,
    /// To be compared when the tree has grown so far.
    points: BTreeMap<u64, Vec<(Checkpoint, &'static str)>>,
    /// Trees that checkpoints behind the gap state.
    trees: BTreeMap<u64, Tree>,
    count: u64,
    /// Runs of records that filled a gap.
    runs: Vec<(u64, u64)>,
}

impl Late {
    /// Not `patient`: nothing is kept, and the first gap is given up at once.
    pub fn new(patient: bool, given_up: bool) -> Self {
        Self {
            ahead: BTreeMap::new(),
            most: if patient { AHEAD } else { 0 },
            given_up,
            points: BTreeMap::new(),
            trees: BTreeMap::new(),
            count: 0,
            runs: Vec::new(),
        }
    }

    pub fn given_up(&self) -> bool {
        self.given_up
    }

    pub fn give_up(&mut self) {
        self.given_up = true;
        (self.ahead, self.points, self.trees) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    }

    /// This record has filled a gap.
    pub fn came(&mut self, seq: u64) {
        self.count += 1;
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => self.runs.push((seq, seq)),
        }
    }

    /// Records that filled a gap.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The runs that these form, in the order in which they came.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().copied()
    }

    /// False: there is no room for it.
    pub fn keep(&mut self, seq: u64, link: Link) -> bool {
        let room = !self.given_up && self.ahead.len() < self.most;
        if room {
            self.ahead.insert(seq, link);
        }
        room
    }

    pub fn get(&self, seq: u64) -> Option<Link> {
        self.ahead.get(&seq).copied()
    }

    pub fn take(&mut self, seq: u64) -> Option<Link> {
        self.ahead.remove(&seq)
    }

    /// For when the tree has grown so far. False: there is no room for it.
    pub fn keep_point(&mut self, point: &Checkpoint, which: &'static str) -> bool {
        let room = self.points.len() < POINTS;
        if room && !self.given_up {
            self.points.entry(point.size).or_default().push((point.clone(), which));
        }
        room
    }

    pub fn points_at(&mut self, size: u64) -> Vec<(Checkpoint, &'static str)> {
        self.points.remove(&size).unwrap_or_default()
    }

    /// What a checkpoint states over the records before it.
    pub fn keep_tree(&mut self, at: u64, tree: Tree) {
        if !self.given_up && self.trees.len() < POINTS {
            self.trees.insert(at, tree);
        }
    }

    /// The first of these.
    pub fn next_tree(&mut self) -> Option<(u64, Tree)> {
        self.trees.pop_first()
    }

    /// The tree goes on at `at`, from the one that is stated there: that one would fit itself, and cover what nothing has checked.
    pub fn forget_before(&mut self, at: u64) {
        self.ahead = self.ahead.split_off(&at);
        self.points = self.points.split_off(&(at + 1));
    }
}
