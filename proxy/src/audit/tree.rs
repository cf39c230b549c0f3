//! The Merkle tree over a chain's records, as RFC 6962 §2.1 defines it, reduced to what its head needs. Pure: grown by
//! `writer` with every record and by `verify` when it checks. Proves nothing by itself; a signed note states its head.
//!
//! A leaf is the SHA-256 of a record's value, so that the tree follows from the hashes the chain has anyway.

use sha2::{Digest, Sha256};

/// Keeps one hash for every power of two in its size: at most 64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Roots of the perfect subtrees, the largest first.
    frontier: Vec<[u8; 32]>,
    size: u64,
}

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, the largest first: what it takes to go on from here without the leaves.
    pub fn frontier(&self) -> &[[u8; 32]] {
        &self.frontier
    }

    /// The tree that has this frontier; `None` if no tree of that size has one so long. Compare its root with a signed one.
    pub fn resumed(size: u64, frontier: Vec<[u8; 32]>) -> Option<Self> {
        let subtrees = usize::try_from(size.count_ones()).ok()?;
        (frontier.len() == subtrees).then_some(Self { frontier, size })
    }

    /// Adds the record whose value has this SHA-256.
    pub fn push(&mut self, record_hash: &[u8; 32]) {
        let mut node = leaf(record_hash);
        // As many perfect subtrees become one as the size has ones at its end.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.frontier.pop() {
                node = join(&left, &node);
            }
        }
        self.frontier.push(node);
        self.size += 1;
    }

    /// The head over all leaves; of an empty tree the SHA-256 of nothing.
    pub fn root(&self) -> [u8; 32] {
        let mut subtrees = self.frontier.iter().rev();
        let Some(last) = subtrees.next() else { return Sha256::digest(b"").into() };
        subtrees.fold(*last, |right, left| join(left, &right))
    }
}

fn leaf(record_hash: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(record_hash).finalize().into()
}

fn join(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// MTH of RFC 6962 §2.1, word for word.
    fn by_definition(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves.len() {
            0 => Sha256::digest(b"").into(),
            1 => leaf(&leaves[0]),
            n => {
                let k = n.next_power_of_two() / 2;
                join(&by_definition(&leaves[..k]), &by_definition(&leaves[k..]))
            }
        }
    }

    #[test]
    fn an_empty_tree_has_the_hash_of_nothing() {
        let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex::encode(Tree::new().root()), hash);
    }

    #[test]
    fn every_size_up_to_300_is_as_defined() {
        let leaves: Vec<[u8; 32]> = (0..300_u32).map(|i| Sha256::digest(i.to_be_bytes()).into()).collect();
        let mut tree = Tree::new();
        for (n, hash) in leaves.iter().enumerate() {
            assert_eq!(tree.root(), by_definition(&leaves[..n]));
            assert_eq!(Tree::resumed(tree.size(), tree.frontier().to_vec()).as_ref(), Some(&tree));
            assert_eq!(Tree::resumed(tree.size() + 1, [tree.frontier(), &[[0; 32]; 9]].concat()), None);
            tree.push(hash);
            assert_eq!(tree.size(), n as u64 + 1);
            assert!(tree.frontier.len() <= 9, "the frontier does not grow with the tree");
        }
    }

    proptest! {
        #[test]
        fn another_leaf_is_another_root(n in 1..200_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut leaves: Vec<[u8; 32]> = (0..n).map(|i| Sha256::digest(i.to_be_bytes()).into()).collect();
            let before = by_definition(&leaves);
            leaves[at.index(n)][0] ^= 1 << bit;
            let mut tree = Tree::new();
            leaves.iter().for_each(|l| tree.push(l));
            prop_assert_ne!(tree.root(), before);
        }
    }
}
