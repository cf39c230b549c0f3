//! The questions whose answers are in the cache, for as long as there is room: to ask one of them again beside one that
//! was answered from it. Kept only while `cache.recheck` is on. Called by `decide::recheck`.

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::policy::key::Key;

/// Bytes of questions held; beyond it the longest unused go, and hits on their answers cannot be proved.
pub const MAX_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub struct Witnesses(Mutex<Held>);

#[derive(Debug)]
struct Held {
    /// With the record that the answer came from: another answer has another question.
    questions: LruCache<Key, (Uuid, Bytes)>,
    bytes: usize,
}

impl Default for Witnesses {
    fn default() -> Self {
        Self(Mutex::new(Held { questions: LruCache::unbounded(), bytes: 0 }))
    }
}

impl Witnesses {
    pub fn keep(&self, key: Key, record_id: Uuid, question: &[u8]) {
        // A copy: the buffer that the question came in may be much larger.
        let question = Bytes::copy_from_slice(question);
        let mut held = self.0.lock();
        held.bytes += question.len();
        let replaced = held.questions.put(key, (record_id, question));
        held.bytes -= replaced.map_or(0, |(_, question)| question.len());
        while held.bytes > MAX_BYTES {
            let Some((_, (_, gone))) = held.questions.pop_lru() else { return };
            held.bytes -= gone.len();
        }
    }

    /// The question that the record's answer was given to.
    pub fn question(&self, key: &Key, record_id: Uuid) -> Option<Bytes> {
        let mut held = self.0.lock();
        let (id, question) = held.questions.get(key)?;
        (*id == record_id).then(|| question.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        let mut key = Key::default();
        key[..4].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn a_question_belongs_to_one_record() {
        let witnesses = Witnesses::default();
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        witnesses.keep(key(1), first, b"first");
        assert_eq!(witnesses.question(&key(1), first).as_deref(), Some(&b"first"[..]));
        witnesses.keep(key(1), second, b"second");
        assert!(witnesses.question(&key(1), first).is_none() && witnesses.question(&key(2), second).is_none());
        assert_eq!(witnesses.question(&key(1), second).as_deref(), Some(&b"second"[..]));
        assert_eq!(witnesses.0.lock().bytes, 6);
    }

    #[test]
    fn only_so_many_bytes_are_held() {
        let (witnesses, id, question) = (Witnesses::default(), Uuid::now_v7(), vec![b'x'; 10_000]);
        for number in 0..3_000 {
            witnesses.keep(key(number), id, &question);
            assert!(witnesses.question(&key(0), id).is_some(), "used again and again");
        }
        let held = witnesses.0.lock();
        assert!(held.bytes <= MAX_BYTES && held.bytes > MAX_BYTES - 10_000, "{}", held.bytes);
        assert_eq!(held.questions.len() * 10_000, held.bytes);
        assert!(held.questions.peek(&key(1)).is_none() && held.questions.peek(&key(2_999)).is_some());
    }
}
