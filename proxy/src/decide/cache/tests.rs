//! Lifetimes, places and counts, with the time handed in.

use super::*;
use crate::policy::verdict::Decision;

const TTL: Duration = Duration::from_secs(10);

fn key(number: u64) -> Key {
    let mut key = *blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk::<16>().unwrap();
    key[0] = number as u8;
    key
}

fn entry(body: &str, sent: Moment) -> Entry {
    let answer = crate::wire::answer::read(200, None, false, body.as_bytes()).unwrap();
    Entry { answer, decided_by: Some("opa".into()), fallback: false, record_id: Uuid::now_v7(), sent }
}

fn allow(sent: Moment) -> Kept {
    Kept::new(entry(r#"{"result":true}"#, sent), TTL).unwrap()
}

fn after(moment: Moment, time: Duration) -> Moment {
    moment.checked_add(time).unwrap()
}

#[test]
fn a_lifetime_counts_from_when_the_question_was_sent() {
    let cache = Cache::new(10).unwrap();
    let sent = Moment::now();
    let stored = after(sent, Duration::from_secs(4));
    let kept = allow(sent);
    cache.store(key(1), kept.clone(), stored);
    let last = after(sent, TTL - Duration::from_nanos(1));
    let hit = cache.lookup(&key(1), last).unwrap();
    assert_eq!(hit.age(last), Some(TTL - Duration::from_nanos(1)));
    assert_eq!(hit.entry.record_id, kept.entry.record_id);
    assert_eq!(hit.entry.answer.decision(), Decision::Allow);
    assert!(hit.age(after(sent, TTL)).is_none(), "nor is it used by whoever holds it");
    assert!(cache.lookup(&key(1), after(sent, TTL)).is_none(), "over to the nanosecond");
    assert_eq!(cache.len(), 0, "and forgotten");
    assert!(cache.lookup(&key(2), stored).is_none());
}

#[test]
fn nothing_is_kept_without_a_lifetime_or_after_it() {
    let cache = Cache::new(10).unwrap();
    let sent = Moment::now();
    let of = |lifetime| Kept::new(entry(r#"{"result":true}"#, sent), lifetime);
    assert!(of(Duration::ZERO).is_none());
    assert!(of(Duration::MAX).is_none(), "a lifetime that the clock cannot express is none");
    cache.store(key(1), allow(sent), after(sent, TTL));
    assert!(cache.is_empty());
    assert!(Cache::new(0).is_none());
}

#[test]
fn the_answer_to_a_younger_question_stays() {
    let cache = Cache::new(10).unwrap();
    let sent = Moment::now();
    let second = Duration::from_secs(1);
    let younger = Kept::new(entry(r#"{"result":false}"#, after(sent, second)), TTL).unwrap();
    cache.store(key(1), younger, sent);
    cache.store(key(1), allow(sent), sent);
    assert_eq!(cache.lookup(&key(1), sent).unwrap().entry.answer.decision(), Decision::Deny);
    cache.store(key(1), allow(after(sent, second * 2)), sent);
    assert_eq!(cache.lookup(&key(1), sent).unwrap().entry.answer.decision(), Decision::Allow);
    assert_eq!(cache.len(), 1);
}

#[test]
fn one_answer_is_forgotten_or_all() {
    let cache = Cache::new(1_000).unwrap();
    let now = Moment::now();
    let (one, other) = (allow(now), allow(now));
    let id = one.entry.record_id;
    cache.store(key(1), one, now);
    cache.store(key(2), other, now);
    cache.forget(&key(2), id);
    assert_eq!(cache.len(), 2, "another answer is there by now");
    cache.forget(&key(1), id);
    assert!(cache.lookup(&key(1), now).is_none() && cache.lookup(&key(2), now).is_some());
    cache.clear();
    assert!(cache.is_empty() && cache.lookup(&key(2), now).is_none());
    (0..2_000).for_each(|number| cache.store(key(number), allow(now), now));
    assert!(cache.len() <= 1_005 && cache.len() > 900, "its room is what it was: {}", cache.len());
}

#[test]
fn it_never_holds_more_than_it_was_given_and_drops_the_longest_unused() {
    let cache = Cache::new(100).unwrap();
    let now = Moment::now();
    for number in 0..1_000 {
        cache.store(key(number), allow(now), now);
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
    let now = Moment::now();
    let ids: Vec<Uuid> = (0..10_000)
        .map(|number| {
            let kept = allow(now);
            let id = kept.entry.record_id;
            cache.store(key(number), kept, now);
            id
        })
        .collect();
    assert_eq!(cache.len(), 10_000);
    for (number, id) in (0..).zip(ids) {
        assert_eq!(cache.lookup(&key(number), now).unwrap().entry.record_id, id);
    }
    assert!(cache.shards.iter().all(|shard| shard.lock().len() > 50), "the keys are spread over the shards");
}

/// What docs and configuration promise of `cache.entries`. In a process of its own, where nobody else allocates; OPA's
/// decision ids are part of the answers, and a record's id is in each.
#[test]
fn a_million_answers_take_less_than_250_bytes_each() {
    const CHILD: &str = "COUNTERSIGN_TEST_CACHE_MEMORY";
    const ANSWERS: u64 = 1_000_000;
    if std::env::var_os(CHILD).is_none() {
        let name = std::thread::current().name().unwrap().to_owned();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
        let figure = said.split("bytes an answer: ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let bytes: u64 = figure.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no figure in {said}"));
        assert!((64..=250).contains(&bytes), "{bytes} bytes an answer");
        return;
    }
    let resident = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let kib = status.split("VmRSS:").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    };
    let body = r#"{"result":true,"decision_id":"01939e2b-7a3c-7000-8000-3f1d0c9a2b4e"}"#;
    // As configured: with room for more the tables of the last doubling would be empty by half.
    let cache = Cache::new(ANSWERS as usize).unwrap();
    let (now, by, before) = (Moment::now(), Arc::<str>::from("opa"), resident());
    for number in 0..ANSWERS {
        let entry = Entry { decided_by: Some(by.clone()), ..entry(body, now) };
        cache.store(key(number), Kept::new(entry, TTL).unwrap(), now);
    }
    assert!(cache.len() as u64 > ANSWERS * 9 / 10, "{}", cache.len());
    println!("bytes an answer: {}", (resident() - before) / cache.len() as u64);
}
