//! Lifetimes, places and counts, with the time handed in.

use super::*;
use crate::policy::verdict::Decision;

const TTL: Duration = Duration::from_secs(10);

fn key(number: u64) -> Key {
    let mut key = *blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk::<16>().unwrap();
    key[0] = number as u8;
    key
}

fn entry(body: &str, sent: Instant) -> Entry {
    let answer = crate::wire::answer::read(200, None, false, body.as_bytes()).unwrap();
    Entry { answer, decided_by: Some("opa".into()), fallback: false, record_id: Uuid::now_v7(), sent }
}

fn allow(sent: Instant) -> Entry {
    entry(r#"{"result":true}"#, sent)
}

#[test]
fn a_lifetime_counts_from_when_the_question_was_sent() {
    let cache = Cache::new(10).unwrap();
    let sent = Instant::now();
    let stored = sent + Duration::from_secs(4);
    let kept = allow(sent);
    cache.store(key(1), kept.clone(), TTL, stored);
    let hit = cache.lookup(&key(1), sent + TTL - Duration::from_nanos(1)).unwrap();
    assert_eq!(hit.age, TTL - Duration::from_nanos(1));
    assert_eq!(hit.entry.record_id, kept.record_id);
    assert_eq!(hit.entry.answer.decision(), Decision::Allow);
    assert!(cache.lookup(&key(1), sent + TTL).is_none(), "over to the nanosecond");
    assert_eq!(cache.len(), 0, "and forgotten");
    assert!(cache.lookup(&key(2), stored).is_none());
}

#[test]
fn nothing_is_kept_without_a_lifetime_or_after_it() {
    let cache = Cache::new(10).unwrap();
    let sent = Instant::now();
    cache.store(key(1), allow(sent), Duration::ZERO, sent);
    cache.store(key(1), allow(sent), TTL, sent + TTL);
    cache.store(key(1), allow(sent), Duration::MAX, sent);
    assert!(cache.is_empty(), "a lifetime that the clock cannot express is none");
    assert!(Cache::new(0).is_none());
}

#[test]
fn the_answer_to_a_younger_question_stays() {
    let cache = Cache::new(10).unwrap();
    let sent = Instant::now();
    let younger = entry(r#"{"result":false}"#, sent + Duration::from_secs(1));
    cache.store(key(1), younger, TTL, sent);
    cache.store(key(1), allow(sent), TTL, sent);
    assert_eq!(cache.lookup(&key(1), sent).unwrap().entry.answer.decision(), Decision::Deny);
    cache.store(key(1), allow(sent + Duration::from_secs(2)), TTL, sent);
    assert_eq!(cache.lookup(&key(1), sent).unwrap().entry.answer.decision(), Decision::Allow);
    assert_eq!(cache.len(), 1);
}

#[test]
fn it_never_holds_more_than_it_was_given_and_drops_the_longest_unused() {
    let cache = Cache::new(100).unwrap();
    let now = Instant::now();
    for number in 0..1_000 {
        cache.store(key(number), allow(now), TTL, now);
        cache.lookup(&key(0), now).unwrap();
    }
    assert_eq!(cache.len(), 100);
    assert!(cache.lookup(&key(999), now).is_some() && cache.lookup(&key(1), now).is_none());
    let held = (0..1_000).filter(|number| cache.lookup(&key(*number), now).is_some()).count();
    assert_eq!(held, 100);
}

#[test]
fn many_shards_answer_as_one() {
    let cache = Cache::new(100_000).unwrap();
    assert_eq!(cache.shards.len(), MAX_SHARDS);
    let now = Instant::now();
    let ids: Vec<Uuid> = (0..10_000)
        .map(|number| {
            let entry = allow(now);
            let id = entry.record_id;
            cache.store(key(number), entry, TTL, now);
            id
        })
        .collect();
    assert_eq!(cache.len(), 10_000);
    for (number, id) in (0..).zip(ids) {
        assert_eq!(cache.lookup(&key(number), now).unwrap().entry.record_id, id);
    }
    assert!(cache.shards.iter().all(|shard| shard.lock().len() > 50), "the keys are spread over the shards");
}
