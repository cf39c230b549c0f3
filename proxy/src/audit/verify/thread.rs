//! One chain as far as it has been seen: its end, its tree, its gaps. Pure, and of a size that does not depend on how long
//! the chain is: what grows with gaps comes out of the room of all chains. Fed by `verify`, which knows the other chains,
//! the keys and what was stated elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audit::note::Checkpoint;
use crate::audit::tree::Tree;

use super::copies::Walk;
use super::late::{Late, Link};
use super::room::Room;
use super::seen::{Missing, Previous, Seen};
use super::work;

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

#[derive(Debug)]
pub struct Thread {
    pub id: Arc<str>,
    /// Among all chains, in the order in which they appeared.
    pub number: u32,
    /// Where it appeared.
    pub partition: i32,
    /// What its first record says of the chain before.
    pub previous: Option<Previous>,
    /// The first record that was seen.
    pub first: u64,
    pub next: u64,
    /// Of the last record.
    pub hash: [u8; 32],
    begun: bool,
    /// Over the records before `solid`; none while it cannot be computed.
    tree: Option<Tree>,
    /// The first record that is not there, from 0 on or from where the tree went on, and the hash of the one before.
    pub(super) solid: u64,
    pub(super) solid_hash: [u8; 32],
    /// What is behind the first gap.
    pub(super) late: Late,
    /// The last checkpoint that the tree went on from.
    resumed: Option<u64>,
    /// In order, behind those that are lost.
    gaps: Vec<(u64, u64)>,
    /// Those that the tree went on behind: they will not be filled. In order.
    lost: Vec<(u64, u64)>,
    /// Hashes of single records that copies or successors are compared with: those before gaps, above all. In order.
    pub(super) pins: BTreeMap<u64, [u8; 32]>,
    pub closed: bool,
    /// It was closed, and the tree reached its end.
    ended_with_tree: bool,
    pub copies: u64,
    pub stubs: u64,
    /// The first and the last of them.
    pub stubbed: Option<(u64, u64)>,
    /// Records before this one are stated by a checkpoint that fits and that a trusted key has signed; which of them, `proved`
    /// says.
    pub covered: u64,
    /// Runs of records that something signed covers: from; up to, without.
    proved: BTreeMap<u64, u64>,
    /// Where the run begins that the tree and the hashes before it hold together.
    base: u64,
    /// Where a record says that records of a chain are missing: its place, and which.
    pub declared: Vec<(u64, Missing)>,
    pub checkpoints: u64,
    pub first_time: String,
    pub last_time: String,
    /// The last time at which nothing was amiss: a checkpoint fitted, or the chain began anew behind a gap.
    pub stated_time: String,
    /// Copies that could not be compared, to be taken.
    pub unmatched: Option<(u64, u64)>,
    pub(super) walk: Option<Walk>,
}

impl Thread {
    /// `patient`: gaps may be filled by records that come later.
    pub fn new(seen: &Seen, number: u32, partition: i32, patient: bool) -> Self {
        let given_up = seen.seq > 0 && !patient;
        Self {
            id: seen.chain.as_str().into(),
            number,
            partition,
            previous: None,
            first: seen.seq,
            next: seen.seq,
            hash: seen.prev,
            begun: false,
            tree: (!given_up).then(Tree::new),
            solid: 0,
            solid_hash: [0; 32],
            late: Late::new(patient, given_up),
            resumed: None,
            gaps: Vec::new(),
            lost: Vec::new(),
            pins: BTreeMap::new(),
            closed: false,
            ended_with_tree: false,
            copies: 0,
            stubs: 0,
            stubbed: None,
            covered: 0,
            proved: BTreeMap::new(),
            base: seen.seq,
            declared: Vec::new(),
            checkpoints: 0,
            first_time: seen.time.clone(),
            last_time: seen.time.clone(),
            stated_time: seen.time.clone(),
            unmatched: None,
            walk: None,
        }
    }

    /// Where the record belongs. Changes nothing but the memory of copies.
    pub fn fit(&mut self, seen: &Seen, room: &Room) -> Fit {
        if seen.seq < self.next {
            return self.earlier(seen, room);
        }
        self.end_walk();
        if seen.seq > self.next {
            return Fit::Gap(self.next);
        }
        match () {
            () if !self.begun => Fit::First,
            () if seen.prev == self.hash => Fit::Next,
            () => Fit::Broken,
        }
    }

    /// The records up to, without, `seq` are not there. False: there is no room to remember it.
    #[must_use]
    pub fn gap(&mut self, seen: &Seen, room: &mut Room) -> bool {
        self.stated_time.clone_from(&seen.time);
        let kept = room.run();
        if kept {
            self.gaps.push((self.next, seen.seq - 1));
            self.pins.insert(self.next - 1, self.hash);
        }
        kept
    }

    /// Takes the record as the chain's end, whatever its fit was.
    pub fn take(&mut self, seen: &Seen, room: &mut Room) {
        room.recent.put(self.number, seen.seq, seen.hash);
        self.begun = true;
        (self.next, self.hash) = (seen.seq + 1, seen.hash);
        self.last_time.clone_from(&seen.time);
        if seen.seq == self.solid {
            self.grow(seen.hash);
        } else {
            self.keep_ahead(seen, room);
        }
        if self.closed && self.solid == self.next {
            // Nothing comes after it; what is needed of it from now on is small.
            self.ended_with_tree = self.tree.take().is_some();
            room.recent.closed(self.number);
        }
    }

    /// Takes a record that fills a gap, or a part of one.
    pub fn fill(&mut self, seen: &Seen, room: &mut Room) -> Vec<Compared> {
        if seen.seq == 0 {
            self.first_time.clone_from(&seen.time);
        }
        self.keep_ahead(seen, room);
        let found = self.advance(room);
        if self.solid > self.first {
            self.first = 0;
        }
        found
    }

    /// The tree over what is there without a gap, as far as that goes.
    fn advance(&mut self, room: &mut Room) -> Vec<Compared> {
        let mut found = Vec::new();
        while let Some(Link { prev, hash }) = self.late.take(self.solid, room) {
            if prev != self.solid_hash {
                found.push(Compared::Broken { seq: self.solid });
            }
            let due = self.late.points_at(self.solid, room);
            found.extend(due.into_iter().filter_map(|(point, which)| self.compare(&point, which, room)));
            self.grow(hash);
        }
        found
    }

    /// A checkpoint states this tree over the records before it: where earlier ones are missing, it goes on from here. What
    /// lies between them and this checkpoint is covered by the next one, whose tree holds this one's hash.
    pub fn resume(&mut self, tree: Tree, seen: &Seen, room: &mut Room) {
        if self.late.given_up() && self.tree.is_none() && seen.seq >= self.next {
            self.go_on(tree, seen.seq, seen.prev);
            self.stated_time.clone_from(&seen.time);
        } else if seen.seq > self.solid {
            self.late.keep_tree(seen.seq, tree, room);
        }
    }

    /// Nothing comes any more: gaps stay, and the tree goes on behind them.
    pub fn settle(&mut self, room: &mut Room) -> Vec<Compared> {
        let mut found = Vec::new();
        while let Some((at, tree)) = self.late.next_tree() {
            if at > self.solid
                && let Some(Link { prev, .. }) = self.late.get(at)
            {
                self.go_on(tree, at, prev);
                self.late.forget_before(at);
                found.extend(self.advance(room));
            }
        }
        self.late.give_up(room);
        found
    }

    fn go_on(&mut self, tree: Tree, at: u64, prev: [u8; 32]) {
        let open = self.gaps.split_off(self.gaps.partition_point(|(first, _)| *first < at));
        let solid = self.solid;
        for (first, last) in std::mem::replace(&mut self.gaps, open) {
            work::step();
            if last >= solid {
                self.lost.push((first.max(solid), last));
            }
        }
        self.base = self.lost.last().map_or(0, |(_, last)| last + 1).max(self.first);
        (self.tree, self.solid, self.solid_hash, self.resumed) = (Some(tree), at, prev, Some(at));
    }

    /// Whether something signed covers the record.
    pub fn is_proved(&self, seq: u64) -> bool {
        self.proved.range(..=seq).next_back().is_some_and(|(_, up_to)| seq < *up_to)
    }

    /// Something signed states the hash of the record, and it is the one that is there: so are those whose hashes lead to it.
    pub fn vouch(&mut self, seq: u64) {
        let from = self.leads_to(seq);
        let up_to = self.proved.entry(from).or_insert(seq + 1);
        *up_to = (*up_to).max(seq + 1);
    }

    /// Which records may not be what they were if that one is not: those that lead to it and that nothing signed covers.
    pub fn doubted_with(&self, seq: u64) -> (u64, u64) {
        let covered = self.proved.range(..=seq).next_back().map_or(0, |(_, up_to)| *up_to);
        (covered.max(self.leads_to(seq)).min(seq), seq)
    }

    /// The first record whose hash leads to this one.
    fn leads_to(&self, seq: u64) -> u64 {
        let behind = |gaps: &[(u64, u64)]| {
            let before = gaps.partition_point(|(_, last)| *last < seq);
            before.checked_sub(1).and_then(|at| gaps.get(at)).map(|(_, last)| last + 1)
        };
        let open = behind(&self.gaps).filter(|from| *from > self.solid);
        open.or_else(|| behind(&self.lost)).unwrap_or(0).max(self.first)
    }

    /// Runs of records, both ends included, that nothing covers although a later checkpoint fits, or could have.
    pub fn unproved(&self) -> Vec<(u64, u64)> {
        let edges: Vec<(u64, u64)> = self.gaps().collect();
        let end = self.resumed.map_or(0, |at| at + 1).max(edges.last().map_or(0, |(first, _)| *first));
        let end = if self.covered == 0 { self.next } else { end };
        let mut known = edges;
        known.extend(self.proved.iter().filter(|(from, up_to)| from < up_to).map(|(from, up_to)| (*from, up_to - 1)));
        known.sort_unstable();
        let (mut from, mut runs) = (self.first, Vec::new());
        for (first, last) in known.into_iter().chain([(end, end)]) {
            work::step();
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
        let after_gap = self.gaps().last().map_or(0, |(_, last)| last + 1);
        self.doubted_from().max(self.resumed.map_or(0, |at| at + 1)).max(after_gap)
    }

    /// This record is there as its hash only.
    pub fn stub(&mut self, seq: u64) {
        self.stubs += 1;
        let (first, last) = self.stubbed.unwrap_or((seq, seq));
        self.stubbed = Some((first.min(seq), last.max(seq)));
    }

    /// What a checkpoint states, once the tree has grown so far; `None` until then, and where there is no tree.
    pub fn compare(&mut self, point: &Checkpoint, which: &'static str, room: &mut Room) -> Option<Compared> {
        if point.size > self.solid && !self.late.keep_point(point, which, room) {
            self.give_up(room);
        }
        let tree = self.tree.as_ref().filter(|_| point.size == self.solid)?;
        if tree.root() == point.root {
            self.covered = self.covered.max(point.size);
            let from = if self.resumed.is_some() { self.base } else { 0 };
            self.proved.insert(from, point.size);
            return Some(Compared::Fits);
        }
        // What comes after has a tree of its own that nothing can be said about.
        self.tree = None;
        Some(Compared::Differs { size: point.size, which })
    }

    /// Whether the tree reaches the last record.
    pub fn has_tree(&self) -> bool {
        self.ended_with_tree || (self.tree.is_some() && self.solid == self.next)
    }

    /// Records between others that are not there, in order.
    pub fn gaps(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> {
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

    fn keep_ahead(&mut self, seen: &Seen, room: &mut Room) {
        if !self.late.keep(seen.seq, Link { prev: seen.prev, hash: seen.hash }, room) {
            self.give_up(room);
        }
    }

    fn give_up(&mut self, room: &mut Room) {
        self.tree = None;
        self.late.give_up(room);
    }
}
