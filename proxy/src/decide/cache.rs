//! Answers that authorizers gave, kept for a short time. Not who may be remembered under which key; that is
//! `policy::key`. Never a fault: only an [`Answer`] can be stored. Called by `decide` alone.

use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::policy::key::Key;
use crate::wire::answer::Answer;

/// What is kept for a key.
#[derive(Debug, Clone)]
pub struct Entry {
    pub answer: Answer,
    /// The authorizer that gave it; `None` where it took all of them.
    pub decided_by: Option<Arc<str>>,
    /// It was given after another authorizer's fault.
    pub fallback: bool,
    /// The record of the decision that it was first given for.
    pub record_id: Uuid,
    /// When the question left for the authorizer. Age and lifetime count from here: the authorizer may have looked
    /// at its policy at any moment since.
    pub sent: Instant,
}

/// A usable entry and its age.
#[derive(Debug, Clone)]
pub struct Hit {
    pub entry: Entry,
    pub age: Duration,
}

/// Shards of least-recently-used maps. A lock is held for tens of nanoseconds and never across a wait.
#[derive(Debug)]
pub struct Cache {
    shards: Box<[Mutex<Shard>]>,
    entries: AtomicUsize,
}

type Shard = LruCache<Key, Kept, BuildHasherDefault<KeyIsHash>>;

#[derive(Debug)]
struct Kept {
    entry: Entry,
    expires: Instant,
}

/// More locks than any machine has cores to contend for them.
const MAX_SHARDS: usize = 64;
/// A shard this small would evict while others have room.
const MIN_SHARD: usize = 256;

impl Cache {
    /// Room for about `capacity` answers, spread evenly; `None` where it is 0, which is "no cache".
    pub fn new(capacity: usize) -> Option<Self> {
        NonZeroUsize::new(capacity)?;
        let shards = (capacity / MIN_SHARD).clamp(1, MAX_SHARDS);
        let room = NonZeroUsize::new(capacity.div_ceil(shards))?;
        let shard = || {
            // Not `with_hasher`, which would take the memory of a full cache at once.
            let mut shard = LruCache::unbounded_with_hasher(BuildHasherDefault::default());
            shard.resize(room);
            Mutex::new(shard)
        };
        Some(Self { shards: (0..shards).map(|_| shard()).collect(), entries: AtomicUsize::new(0) })
    }

    /// The answer for `key`, if it is still alive at `now`. An expired one is forgotten.
    pub fn lookup(&self, key: &Key, now: Instant) -> Option<Hit> {
        let mut shard = self.shard(key)?.lock();
        let kept = shard.get(key)?;
        if kept.expires > now {
            let entry = kept.entry.clone();
            return Some(Hit { age: now.saturating_duration_since(entry.sent), entry });
        }
        shard.pop(key);
        self.entries.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Keeps `entry` for `lifetime` counted from `entry.sent`, instead of what was there, unless it is already over.
    /// An answer to an older question never replaces the answer to a younger one.
    pub fn store(&self, key: Key, entry: Entry, lifetime: Duration, now: Instant) {
        let Some(expires) = entry.sent.checked_add(lifetime).filter(|expires| *expires > now) else { return };
        let Some(shard) = self.shard(&key) else { return };
        let mut shard = shard.lock();
        if shard.peek(&key).is_some_and(|kept| kept.entry.sent > entry.sent) {
            return;
        }
        // `push` gives back what it replaced or evicted: then the number stays the same.
        if shard.push(key, Kept { entry, expires }).is_none() {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many answers are held, expired ones that nobody asked for included.
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By the key's last bytes; the map inside uses the first ones.
    fn shard(&self, key: &Key) -> Option<&Mutex<Shard>> {
        let [.., a, b] = *key;
        self.shards.get(usize::from(u16::from_le_bytes([a, b])) % self.shards.len().max(1))
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    /// A length written before the key changes nothing about its spread.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
