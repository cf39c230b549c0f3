//! What is kept of a chain behind its first gap, for records that come late and fill it: hashes, and what checkpoints state
//! over them. Judges nothing. Owned by `thread`; the room is that of all chains.

use std::collections::BTreeMap;

use crate::audit::note::Checkpoint;
use crate::audit::tree::Tree;

use super::room::Room;

/// What a record behind a gap costs (bytes), at most.
const LINK: usize = 128;
/// What a checkpoint to be compared costs.
const POINT: usize = 256;

/// A record's hash, and the one that it names as before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub prev: [u8; 32],
    pub hash: [u8; 32],
}

#[derive(Debug)]
pub struct Late {
    /// The records behind the first gap.
    ahead: BTreeMap<u64, Link>,
    /// Some may be kept.
    patient: bool,
    /// There are too many: the gap will not be filled.
    given_up: bool,
    /// To be compared when the tree has grown so far.
    points: BTreeMap<u64, Vec<(Checkpoint, &'static str)>>,
    /// Trees that checkpoints behind the gap state.
    trees: BTreeMap<u64, Tree>,
    /// Bytes of the room that these three take.
    taken: usize,
    count: u64,
    /// Runs of records that filled a gap.
    runs: Vec<(u64, u64)>,
}

impl Late {
    /// Not `patient`: nothing is kept, and the first gap is given up at once.
    pub fn new(patient: bool, given_up: bool) -> Self {
        Self {
            ahead: BTreeMap::new(),
            patient,
            given_up,
            points: BTreeMap::new(),
            trees: BTreeMap::new(),
            taken: 0,
            count: 0,
            runs: Vec::new(),
        }
    }

    pub fn given_up(&self) -> bool {
        self.given_up
    }

    pub fn give_up(&mut self, room: &mut Room) {
        self.given_up = true;
        (self.ahead, self.points, self.trees) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        room.give_back(std::mem::take(&mut self.taken));
    }

    /// This record has filled a gap. False: there is no room for a run of such.
    pub fn came(&mut self, seq: u64, room: &mut Room) -> bool {
        self.count += 1;
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ if room.run() => self.runs.push((seq, seq)),
            _ => return false,
        }
        true
    }

    /// Records that filled a gap.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The runs that these form, in the order in which they came.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().copied()
    }

    fn has_room(&mut self, bytes: usize, room: &mut Room) -> bool {
        let has = self.patient && !self.given_up && room.late(bytes);
        self.taken += if has { bytes } else { 0 };
        has
    }

    /// False: there is no room for it.
    pub fn keep(&mut self, seq: u64, link: Link, room: &mut Room) -> bool {
        let room = self.has_room(LINK, room);
        if room {
            self.ahead.insert(seq, link);
        }
        room
    }

    pub fn get(&self, seq: u64) -> Option<Link> {
        self.ahead.get(&seq).copied()
    }

    pub fn take(&mut self, seq: u64, room: &mut Room) -> Option<Link> {
        let link = self.ahead.remove(&seq)?;
        self.taken -= LINK;
        room.give_back(LINK);
        Some(link)
    }

    /// For when the tree has grown so far. False: there is no room for it.
    pub fn keep_point(&mut self, point: &Checkpoint, which: &'static str, room: &mut Room) -> bool {
        let kept = self.given_up || self.has_room(POINT, room);
        if kept && !self.given_up {
            self.points.entry(point.size).or_default().push((point.clone(), which));
        }
        kept
    }

    pub fn points_at(&mut self, size: u64, room: &mut Room) -> Vec<(Checkpoint, &'static str)> {
        let points = self.points.remove(&size).unwrap_or_default();
        self.taken -= POINT * points.len();
        room.give_back(POINT * points.len());
        points
    }

    /// What a checkpoint states over the records before it.
    pub fn keep_tree(&mut self, at: u64, tree: Tree, room: &mut Room) {
        if self.has_room(POINT + 32 * tree.frontier().len(), room) {
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
