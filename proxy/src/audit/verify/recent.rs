//! Hashes of the records that were read last, to compare with what is delivered again. One budget for all chains, however
//! many there are; the oldest give way. Knows places and hashes only. Owned by `room`.

use std::collections::{HashMap, VecDeque};

use super::work;

/// Hashes that are kept (some 20 MiB). What is delivered again after a crash is far less; older copies are compared by
/// following them until they reach one of these, or the record before a gap, or the last one.
pub const MOST: usize = 1 << 19;
/// Hashes of the ends of chains that were not closed, kept for what their successors say of these ends (some 10 MiB).
pub const MOST_ENDS: usize = 1 << 18;
/// Places of a chain that go together.
const BLOCK: u64 = 256;
/// An end is so many blocks.
const END: u64 = 16;

type Place = (u32, u64);

#[derive(Debug, Default)]
pub struct Recent {
    /// By chain and block: places within the block, ascending, and hashes.
    blocks: HashMap<Place, Vec<(u8, [u8; 32])>>,
    /// In the order in which they were begun, but for `ends`.
    order: VecDeque<Place>,
    /// Of chains that were open when their blocks gave way.
    ends: VecDeque<Place>,
    /// The last block of each open chain.
    open: HashMap<u32, u64>,
    kept: usize,
    kept_ends: usize,
}

impl Recent {
    pub fn put(&mut self, chain: u32, seq: u64, hash: [u8; 32]) {
        let (number, within) = split(seq);
        let block = self.blocks.entry((chain, number)).or_insert_with(|| {
            self.order.push_back((chain, number));
            let last = self.open.entry(chain).or_insert(number);
            *last = (*last).max(number);
            Vec::new()
        });
        match block.binary_search_by_key(&within, |(place, _)| *place) {
            Ok(_) => return,
            Err(at) => block.insert(at, (within, hash)),
        }
        self.kept += 1;
        while self.kept > MOST + self.kept_ends && self.give_way() {}
    }

    pub fn get(&self, chain: u32, seq: u64) -> Option<[u8; 32]> {
        let (number, within) = split(seq);
        let block = self.blocks.get(&(chain, number))?;
        let at = block.binary_search_by_key(&within, |(place, _)| *place).ok()?;
        block.get(at).map(|(_, hash)| *hash)
    }

    /// The chain has its last record: nobody asks for its end any more.
    pub fn closed(&mut self, chain: u32) {
        self.open.remove(&chain);
    }

    fn give_way(&mut self) -> bool {
        work::step();
        let Some(place) = self.order.pop_front() else { return false };
        let held = self.blocks.get(&place).map_or(0, Vec::len);
        if self.open.get(&place.0).is_some_and(|last| last - place.1 < END) {
            self.ends.push_back(place);
            self.kept_ends += held;
            while self.kept_ends > MOST_ENDS
                && let Some(oldest) = self.ends.pop_front()
            {
                self.kept_ends -= self.forget(oldest);
            }
        } else {
            self.forget(place);
        }
        true
    }

    fn forget(&mut self, place: Place) -> usize {
        let held = self.blocks.remove(&place).map_or(0, |block| block.len());
        self.kept -= held;
        held
    }

    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.kept
    }
}

fn split(seq: u64) -> (u64, u8) {
    (seq / BLOCK, u8::try_from(seq % BLOCK).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        hash
    }

    #[test]
    fn the_oldest_give_way_and_the_ends_of_open_chains_last() {
        let mut recent = Recent::default();
        for seq in 0..10_000 {
            recent.put(1, seq, hash(seq));
            recent.put(2, seq, hash(seq));
        }
        recent.closed(2);
        for seq in 0..2 * MOST as u64 {
            recent.put(3, seq, hash(seq));
        }
        assert!(recent.kept() <= MOST + MOST_ENDS, "{}", recent.kept());
        let kept = |chain: u32| (0..10_000).filter(|seq| recent.get(chain, *seq) == Some(hash(*seq))).count();
        assert_eq!(kept(2), 0, "nobody asks for these");
        assert!((3_800..=4_096).contains(&kept(1)), "{}", kept(1));
        assert_eq!(recent.get(1, 9_999), Some(hash(9_999)));
        assert_eq!(recent.get(3, 2 * MOST as u64 - 1), Some(hash(2 * MOST as u64 - 1)));
        assert_eq!(recent.get(3, 0), None);
    }

    #[test]
    fn gaps_and_late_records_have_their_places() {
        let mut recent = Recent::default();
        for seq in [5, 300, 6, 301, 7] {
            recent.put(0, seq, hash(seq));
        }
        recent.put(0, 6, hash(9));
        assert_eq!(recent.get(0, 6), Some(hash(6)), "the first that came");
        assert_eq!((recent.get(0, 8), recent.get(0, 301), recent.kept()), (None, Some(hash(301)), 5));
    }
}
