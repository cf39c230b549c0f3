//! What was kept elsewhere: the checkpoints of the checkpoint topic, by chain. A bounded number of them; where there are
//! more, every second one goes, but never a chain's newest: it states all records that those before it state, so that what
//! is lost is only how closely a fault is placed. Judges nothing. Owned by `verify`.

use std::collections::{BTreeMap, HashMap};

use super::work;

/// Checkpoints that are kept (some 40 MiB; 100 while their key is not known), and one for each chain.
pub const MOST: usize = 1 << 18;

#[derive(Debug)]
pub struct Stated {
    chains: HashMap<String, OfChain>,
    held: usize,
    /// So many, where chains do not need more to have one each.
    room: usize,
    /// With so many, every second one goes.
    most: usize,
}

/// What the checkpoint topic says of a chain.
#[derive(Debug, Default)]
pub struct OfChain {
    /// By size.
    pub points: BTreeMap<u64, Point>,
    /// When the newest was made.
    pub until: String,
}

#[derive(Debug)]
pub struct Point {
    pub root: [u8; 32],
    /// Of the record.
    pub hash: [u8; 32],
    /// The same place of the chain was there.
    pub met: bool,
    /// What was signed, as long as the key is not known.
    pub unknown: Option<Box<str>>,
}

impl Default for Stated {
    fn default() -> Self {
        Self::with_room(MOST)
    }
}

impl Stated {
    pub fn with_room(room: usize) -> Self {
        Self { chains: HashMap::new(), held: 0, room, most: room }
    }

    pub fn add(&mut self, chain: &str, time: &str, size: u64, point: Point) {
        if self.held >= self.most {
            self.thin_out();
        }
        let of_chain = self.chains.entry(chain.to_owned()).or_default();
        if of_chain.points.last_key_value().is_none_or(|(last, _)| *last <= size) {
            time.clone_into(&mut of_chain.until);
        }
        self.held += usize::from(of_chain.points.insert(size, point).is_none());
    }

    pub fn get(&self, chain: &str) -> Option<&OfChain> {
        self.chains.get(chain)
    }

    /// The checkpoint at this place, which is there.
    pub fn meet(&mut self, chain: &str, seq: u64) -> Option<&Point> {
        let point = self.chains.get_mut(chain)?.points.get_mut(&seq)?;
        point.met = true;
        Some(point)
    }

    /// All that were signed by a key that was not known, by chain and size.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        self.chains.iter().flat_map(|(id, of_chain)| {
            of_chain.points.iter().filter_map(|(size, point)| Some((id.as_str(), *size, point.unknown.as_deref()?)))
        })
    }

    /// In the order of their ids.
    pub fn chains(&self) -> Vec<(&String, &OfChain)> {
        let mut chains: Vec<_> = self.chains.iter().collect();
        chains.sort_unstable_by_key(|(id, _)| *id);
        chains
    }

    fn thin_out(&mut self) {
        self.held = 0;
        for of_chain in self.chains.values_mut() {
            work::step();
            let (mut at, newest) = (0, of_chain.points.len() - 1);
            of_chain.points.retain(|_, _| {
                work::step();
                at += 1;
                at - 1 == newest || at % 2 == 0
            });
            self.held += of_chain.points.len();
        }
        // Where most chains have one, nothing is gained: not again before there are twice as many.
        self.most = self.room.max(self.held * 2);
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held
    }
}
