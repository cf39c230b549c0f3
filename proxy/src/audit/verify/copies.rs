//! Records of a chain that come again: copies of what was there, one by one or by following their hashes; or forgeries. A
//! part of `thread`.

use super::late::Link;
use super::room::Room;
use super::seen::Seen;
use super::thread::{Fit, Thread};

/// A run of copies that are too old to be compared one by one: each names the hash of the one before.
#[derive(Debug)]
pub struct Walk {
    first: u64,
    next: u64,
    hash: [u8; 32],
}

impl Thread {
    /// A record before the chain's end.
    pub(super) fn earlier(&mut self, seen: &Seen, room: &Room) -> Fit {
        if self.late.given_up() || seen.seq < self.solid {
            return self.copy(seen, room);
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

    /// The hash of a record, if it is among those that are kept.
    pub fn hash_of(&self, seq: u64, room: &Room) -> Option<[u8; 32]> {
        if seq + 1 == self.next {
            return Some(self.hash);
        }
        if seq + 1 == self.solid {
            return Some(self.solid_hash);
        }
        self.pins.get(&seq).copied().or_else(|| room.recent.get(self.number, seq))
    }

    /// Remembers the record's hash: another chain says that it was the last one.
    pub fn pin(&mut self, seq: u64, room: &mut Room) {
        if let Some(hash) = self.hash_of(seq, room)
            && room.run()
        {
            self.pins.insert(seq, hash);
        }
    }

    fn copy(&mut self, seen: &Seen, room: &Room) -> Fit {
        let follows = self.walk.as_ref().is_none_or(|w| w.next == seen.seq && w.hash == seen.prev);
        if !follows {
            self.end_walk();
        }
        self.copies += 1;
        match self.hash_of(seen.seq, room) {
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

    /// Copies that led to nothing that is known may be forged.
    pub fn end_walk(&mut self) {
        if let Some(walk) = self.walk.take() {
            self.unmatched = Some((walk.first, walk.next - 1));
        }
    }
}
