//! Which partition a chain is in: murmur2 of its id, as Kafka's own producers compute it, over the number of partitions
//! when the chain was first published, then kept, because a topic that grows must not tear a chain apart.
//! Asked by `sink` only.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Chains remembered, at most; the oldest go. A spool holds few chains that are not delivered.
const MAX_CHAINS: usize = 256;

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`): 32 bits, its own seed.
pub fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // Java's `length` is an int; keys are short.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut h = SEED ^ length;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h.cast_signed()
}

/// The partition of a chain in a topic that has `count`, which must be positive.
pub fn of_chain(chain: &str, count: i32) -> i32 {
    // Kafka's `toPositive`: not the absolute value.
    (murmur2(chain.as_bytes()) & 0x7fff_ffff) % count.max(1)
}

/// The partitions chains were given, across restarts if there is a file.
#[derive(Debug)]
pub(super) struct Pins {
    file: Option<PathBuf>,
    /// In the order in which they were first placed. `None` before the first is asked for: who asks has the spool's lock, and
    /// the process that had it before may have placed one until then.
    chains: Option<VecDeque<(String, i32)>>,
}

impl Pins {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, chains: None }
    }

    /// Where `chain` goes in a topic of `count` partitions.
    pub(super) fn place(&mut self, chain: &str, count: i32) -> i32 {
        let chosen = of_chain(chain, count);
        let chains = self.chains.get_or_insert_with(|| self.file.as_deref().map_or_else(VecDeque::new, known));
        match chains.iter_mut().find(|(known, _)| known == chain) {
            Some((_, pinned)) if (0..count).contains(&*pinned) => return *pinned,
            Some((_, pinned)) => {
                tracing::warn!(chain, pinned, count, "the topic no longer has the partition of the chain, which moves");
                *pinned = chosen;
            }
            None => {
                while chains.len() >= MAX_CHAINS {
                    chains.pop_front();
                }
                chains.push_back((chain.to_owned(), chosen));
            }
        }
        if let Some(path) = &self.file
            && let Err(error) = write(path, chains)
        {
            tracing::warn!("`{}` could not be written, a restart may move the chain: {error}", path.display());
        }
        chosen
    }
}

/// A file that is unreadable is an empty one: chains are then placed as if they were new.
fn known(path: &Path) -> VecDeque<(String, i32)> {
    read(path).unwrap_or_else(|error| {
        tracing::warn!("`{}` is unreadable, partitions are chosen anew: {error}", path.display());
        VecDeque::new()
    })
}

fn read(path: &Path) -> io::Result<VecDeque<(String, i32)>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(VecDeque::new()),
        Err(error) => Err(error),
    }
}

/// Whole or not at all. Not synced: losing it in a power cut costs no record.
fn write(path: &Path, chains: &VecDeque<(String, i32)>) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&serde_json::to_vec(chains)?)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `UtilsTest.testMurmur2` of Apache Kafka.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn negative_hashes_have_a_partition() {
        assert_eq!(of_chain("21", 7), (-973_932_308_i32 & 0x7fff_ffff) % 7);
        assert_eq!(of_chain("foobar", 1), 0);
    }

    #[test]
    fn a_chain_stays_when_the_topic_grows_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = Some(dir.path().join("partitions.json"));
        let at_first = Pins::new(file.clone()).place("21", 3);
        assert_ne!(at_first, of_chain("21", 7), "the test needs a chain that would move");
        assert_eq!(Pins::new(file).place("21", 7), at_first);
    }

    /// A new process waits for the old one's lock with its sink built.
    #[test]
    fn what_was_placed_before_the_first_question_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = Some(dir.path().join("partitions.json"));
        let mut next = Pins::new(file.clone());
        let at_first = Pins::new(file).place("21", 3);
        assert_eq!(next.place("21", 7), at_first);
    }

    /// Ids of chains are random: the alphabet says nothing of their age.
    #[test]
    fn the_oldest_chains_are_forgotten_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = Some(dir.path().join("partitions.json"));
        let mut pins = Pins::new(file.clone());
        let names: Vec<String> = (0..MAX_CHAINS + 2).rev().map(|n| format!("{n:04}")).collect();
        for name in &names[..MAX_CHAINS + 1] {
            pins.place(name, 3);
        }
        let mut pins = Pins::new(file);
        pins.place(&names[MAX_CHAINS + 1], 3);
        let kept: Vec<&String> = pins.chains.iter().flatten().map(|(name, _)| name).collect();
        assert_eq!(kept, names[2..].iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_partition_that_is_gone_is_chosen_anew() {
        let mut pins = Pins::new(None);
        let before = pins.place("foobar", 1000);
        assert!(before > 0);
        assert_eq!(pins.place("foobar", 1), 0);
    }

    #[test]
    fn a_partition_that_cannot_be_is_chosen_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("partitions.json");
        fs::write(&path, r#"[["21",-1]]"#).unwrap();
        assert_eq!(Pins::new(Some(path)).place("21", 3), of_chain("21", 3));
    }

    #[test]
    fn a_broken_file_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("partitions.json");
        fs::write(&path, "{").unwrap();
        assert_eq!(Pins::new(Some(path.clone())).place("21", 3), of_chain("21", 3));
        assert_eq!(read(&path).unwrap().len(), 1);
    }
}
