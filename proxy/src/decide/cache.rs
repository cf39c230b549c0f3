//! Answers that authorizers gave, kept for a short time. Not who may be remembered under which key; that is
//! `policy::key`. Never a fault: only an [`Answer`] can be stored. Called by `decide` alone.

use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::decide::moment::Moment;
use crate::policy::key::Key;
use crate::wire::answer::Answer;

pub mod witnesses;

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
    pub sent: Moment,
}

/// An entry with the end of its life.
#[derive(Debug, Clone)]
pub struct Kept {
    pub entry: Entry,
    expires: Moment,
}

impl Kept {
    /// For `lifetime` counted from `entry.sent`. `None` where that is nothing, or more than the clock can express. Of the
    /// answer only the verdict is kept: what the authorizer called its decision is in the record that the entry names.
    pub fn new(entry: Entry, lifetime: Duration) -> Option<Self> {
        let expires = entry.sent.checked_add(lifetime).filter(|expires| *expires > entry.sent)?;
        Some(Self { entry: Entry { answer: entry.answer.verdict(), ..entry }, expires })
    }

    /// How old it is at `now`; `None` once its life is over.
    pub fn age(&self, now: Moment) -> Option<Duration> {
        (self.expires > now).then(|| now.since(self.entry.sent))
    }
}

/// Shards of least-recently-used maps. A lock is held for tens of nanoseconds and never across a wait.
#[derive(Debug)]
pub struct Cache {
    shards: Box<[Mutex<Shard>]>,
    entries: AtomicUsize,
}

type Shard = LruCache<Key, Kept, BuildHasherDefault<KeyIsHash>>;

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
        let shards = (0..shards).map(|_| Mutex::new(empty(room))).collect();
        Some(Self { shards, entries: AtomicUsize::new(0) })
    }

    /// The answer for `key`, if it is still alive at `now`. An expired one is forgotten.
    pub fn lookup(&self, key: &Key, now: Moment) -> Option<Kept> {
        let mut shard = self.shard(key)?.lock();
        let kept = shard.get(key)?;
        if kept.age(now).is_some() {
            return Some(kept.clone());
        }
        shard.pop(key);
        self.entries.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Keeps it instead of what was there, unless it is already over at `now`. An answer to an older question never
    /// replaces the answer to a younger one.
    pub fn store(&self, key: Key, kept: Kept, now: Moment) {
        let Some(shard) = self.shard(&key).filter(|_| kept.age(now).is_some()) else { return };
        let mut shard = shard.lock();
        if shard.peek(&key).is_some_and(|before| before.entry.sent > kept.entry.sent) {
            return;
        }
        // `push` gives back what it replaced or evicted: then the number stays the same.
        if shard.push(key, kept).is_none() {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets the answer that came from the record, if it is still there.
    pub fn forget(&self, key: &Key, record_id: Uuid) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock();
        if shard.peek(key).is_some_and(|kept| kept.entry.record_id == record_id) {
            shard.pop(key);
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Gives the memory back. What is stored meanwhile may be lost, too.
    pub fn clear(&self) {
        for shard in &self.shards {
            // Freed without the lock, which nobody may wait for so long.
            let mut shard = shard.lock();
            let room = shard.cap();
            let full = std::mem::replace(&mut *shard, empty(room));
            self.entries.fetch_sub(full.len(), Ordering::Relaxed);
            drop(shard);
            drop(full);
        }
    }

    /// Takes the lock of every shard, and gives it back.
    pub fn pulse(&self) {
        self.shards.iter().for_each(|shard| drop(shard.lock()));
    }

    /// How many answers are held, expired ones that nobody asked for included.
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By the key's last bytes. The map inside uses them together with the first half, which is random where they are not.
    fn shard(&self, key: &Key) -> Option<&Mutex<Shard>> {
        let [.., a, b] = *key;
        self.shards.get(usize::from(u16::from_le_bytes([a, b])) % self.shards.len().max(1))
    }
}

fn empty(room: NonZeroUsize) -> Shard {
    // Not `with_hasher`, which would take the memory of a full cache at once.
    let mut shard = LruCache::unbounded_with_hasher(BuildHasherDefault::default());
    shard.resize(room);
    shard
}

/// Keys are hashes already: their halves, one over the other.
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
