//! What refusals teach, and what is presumed without one.

use std::time::SystemTime;

use super::*;
use crate::audit::chain::Chain;
use crate::audit::envelope::{Draft, Kind, Source};

/// A record with so much in it.
fn record(filler: usize) -> Vec<u8> {
    let data = serde_json::json!({ "filler": "x".repeat(filler) });
    let draft = Draft::new(&Source::new("i"), Kind::Decision, uuid::Uuid::now_v7(), SystemTime::now(), None, &data);
    let mut value = Vec::new();
    Chain::new("c".into()).finish(&draft.unwrap().head, &mut value);
    value
}

/// Refused with so many bytes, as if nothing made it smaller.
fn refused(seq: u64, bytes: usize) -> Refused {
    Refused { chain: "c".into(), seq, size: Size { plain: bytes, packed: bytes }, is_shortest: false }
}

fn refused_as(seq: u64, value: &[u8]) -> Refused {
    Refused { size: Size::of(value).unwrap(), ..refused(seq, 0) }
}

/// Bytes of which at least three quarters arrive.
fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rand::Rng::random_range(&mut rand::rng(), b'0'..=b'z')).collect()
}

fn is_too_large(sizes: &mut Sizes, seq: u64, bytes: usize, now: Instant) -> bool {
    sizes.is_too_large(&"c".into(), seq, &noise(bytes), now)
}

fn goes_whole(sizes: &mut Sizes, seq: u64, value: &[u8], now: Instant) -> bool {
    let whole = !sizes.is_too_large(&"c".into(), seq, value, now);
    if whole {
        sizes.sent_whole(&"c".into(), seq);
    }
    whole
}

/// After three refusals, each of a value like this.
fn presuming(value: &[u8], now: Instant) -> Sizes {
    let mut sizes = Sizes::new(now);
    for seq in 0..3 {
        assert!(goes_whole(&mut sizes, seq, value, now));
        assert_eq!(sizes.learn(&[refused_as(seq, value)], now), Lesson::TooLarge(1));
    }
    sizes
}

#[test]
fn batches_shrink_until_a_refusal_means_one_record() {
    let now = Instant::now();
    let mut sizes = Sizes::new(now);
    let both = [refused(7, 100), refused(8, 3000)];
    for bytes in [250_000, 62_500, 16_000, 4_000, 1] {
        assert_eq!(sizes.learn(&both, now), Lesson::Smaller(bytes));
        assert!(!is_too_large(&mut sizes, 8, 3000, now), "nobody knows yet which");
    }
    assert_eq!(sizes.batch_records(), 1);
    assert_eq!(sizes.learn(&both[1..], now), Lesson::TooLarge(1));
    assert!(is_too_large(&mut sizes, 8, 3000, now) && !is_too_large(&mut sizes, 7, 100, now));
}

#[test]
fn batches_begin_no_larger_than_the_topic_takes() {
    for (takes, bytes) in [(1_048_588, 1_000_000), (999_999, 250_000), (8000, 4000), (3999, 1), (0, 1)] {
        let mut sizes = Sizes::new(Instant::now());
        assert_eq!(sizes.begin(takes), bytes < 1_000_000);
        assert_eq!(sizes.batch_bytes(), bytes, "{takes}");
        assert!(!sizes.begin(takes), "they are already");
    }
}

#[test]
fn records_alone_in_their_batches_are_few_at_a_time() {
    let now = Instant::now();
    let mut sizes = Sizes::new(now);
    while sizes.batch_records() > 1 {
        let batches = AHEAD * sizes.batch_bytes() as usize;
        assert_eq!(sizes.are_enough((1000, batches)), sizes.batch_bytes() < 1_000_000);
        assert!(!sizes.are_enough((1000, batches - 1)));
        sizes.learn(&[refused(1, 1), refused(2, 1)], now);
    }
    assert!(sizes.are_enough((AHEAD, 0)) && !sizes.are_enough((AHEAD - 1, usize::MAX)));
}

#[test]
fn one_record_refused_alone_says_nothing_of_batches() {
    let now = Instant::now();
    let mut sizes = Sizes::new(now);
    assert_eq!(sizes.learn(&[refused(8, 60_000)], now), Lesson::TooLarge(1));
    assert_eq!(sizes.batch_bytes(), 1_000_000);
    assert!(is_too_large(&mut sizes, 8, 60_000, now));
    assert!(!is_too_large(&mut sizes, 9, 60_000, now), "another may compress better");
}

#[test]
fn a_stub_that_is_refused_is_hopeless_and_stays_a_stub() {
    let now = Instant::now();
    let mut sizes = Sizes::new(now);
    sizes.learn(&[refused(8, 2000)], now);
    let stub = Refused { is_shortest: true, ..refused(8, 500) };
    assert_eq!(sizes.learn(&[stub], now), Lesson::Hopeless);
    assert!(is_too_large(&mut sizes, 8, 2000, now));
}

#[test]
fn a_record_whose_stub_is_no_shorter_is_hopeless() {
    let now = Instant::now();
    let [small, large] = [10, 2000].map(|filler| Refused::read(&record(filler), false).unwrap());
    assert_eq!(Sizes::new(now).learn(&[small], now), Lesson::Hopeless);
    assert_eq!(Sizes::new(now).learn(&[large], now), Lesson::TooLarge(1));
    assert!(Refused::read(b"{}", false).is_none());
}

#[test]
fn after_some_refusals_what_is_as_large_is_not_tried() {
    let (now, value) = (Instant::now(), noise(2000));
    let mut sizes = presuming(&value, now);
    assert!(!goes_whole(&mut sizes, 50, &value, now));
    assert!(goes_whole(&mut sizes, 51, &value[..1500], now), "smaller");
    assert!(!goes_whole(&mut sizes, 50, &value, now), "what went out as a stub stays one");
}

#[test]
fn a_longer_record_that_packs_better_is_tried() {
    let (now, value) = (Instant::now(), noise(2000));
    let mut sizes = presuming(&value, now);
    assert!(goes_whole(&mut sizes, 50, &record(9000), now));
    // The other way round: what packs worse, and is shorter.
    let mut sizes = presuming(&record(9000), now);
    assert!(goes_whole(&mut sizes, 50, &value, now));
}

/// Kafka may have it although nothing was acknowledged.
#[test]
fn what_went_out_whole_goes_out_whole_again() {
    let (now, value) = (Instant::now(), noise(2000));
    let mut sizes = Sizes::new(now);
    for seq in 0..20 {
        assert!(goes_whole(&mut sizes, seq, &value, now));
    }
    for seq in 0..3 {
        let alone = [refused_as(seq, &value)];
        sizes.ended(&alone);
        sizes.learn(&alone, now);
    }
    for seq in 3..20 {
        assert!(goes_whole(&mut sizes, seq, &value, now), "{seq}");
    }
    assert!(!goes_whole(&mut sizes, 20, &value, now), "never sent before");
    assert!(!goes_whole(&mut sizes, 2, &value, now), "refused itself");
}

/// Kafka has nothing of a batch that it refused; of one beside it, nobody knows.
#[test]
fn what_was_refused_whenever_it_was_sent_may_be_presumed() {
    let (now, value) = (Instant::now(), noise(2000));
    let mut sizes = Sizes::new(now);
    let send = |sizes: &mut Sizes, seqs: std::ops::Range<u64>| {
        seqs.into_iter().for_each(|seq| assert!(goes_whole(sizes, seq, &value, now), "{seq}"));
    };
    while sizes.batch_records() > 1 {
        send(&mut sizes, 0..20);
        // The first time one more is refused, which a later producer sends and is not refused.
        let last = if sizes.batch_bytes() == 1_000_000 { 11 } else { 10 };
        let batch: Vec<_> = (0..last).map(|seq| refused_as(seq, &value)).collect();
        sizes.ended(&batch);
        sizes.learn(&batch, now);
    }
    send(&mut sizes, 0..5);
    let alone: Vec<_> = (0..5).map(|seq| refused_as(seq, &value)).collect();
    sizes.ended(&alone);
    assert_eq!(sizes.learn(&alone, now), Lesson::TooLarge(5));
    for seq in 5..10 {
        assert!(!goes_whole(&mut sizes, seq, &value, now), "{seq} is nowhere, and as large as the others");
    }
    send(&mut sizes, 10..20);
}

#[test]
fn nothing_is_presumed_of_chains_that_are_too_many_to_remember() {
    let (now, value) = (Instant::now(), noise(2000));
    let mut sizes = presuming(&value, now);
    for n in 0..MAX_CHAINS {
        sizes.sent_whole(&format!("{n}").into(), 1);
    }
    sizes.ended(&[]);
    assert_eq!(sizes.whole.len(), MAX_CHAINS);
    assert!(!sizes.is_too_large(&"one more".into(), 9, &value, now));
    assert!(sizes.is_too_large(&"c".into(), 9, &value, now) && sizes.is_too_large(&"7".into(), 9, &value, now));
}

#[test]
fn one_record_a_minute_shows_whether_the_topic_was_mended() {
    let (now, value) = (Instant::now(), noise(2000));
    let mut sizes = presuming(&value, now);
    let later = now + PROBE;
    assert!(goes_whole(&mut sizes, 50, &value, later) && !goes_whole(&mut sizes, 51, &value, later));
    sizes.learn(&[refused_as(50, &value)], later);
    assert!(!goes_whole(&mut sizes, 52, &value, later + PROBE / 2), "one refusal is enough to go on");
    let third = later + PROBE;
    assert!(goes_whole(&mut sizes, 53, &value, third) && !goes_whole(&mut sizes, 54, &value, third));
    let fourth = third + PROBE;
    assert!((60..70).all(|seq| goes_whole(&mut sizes, seq, &value, fourth)), "the last one was not refused");
    assert!(!goes_whole(&mut sizes, 54, &value, fourth), "its stub went out");
}

/// A chain behind others in the alphabet has as much room as they.
#[test]
fn the_last_refusal_is_not_what_is_forgotten() {
    let now = Instant::now();
    let mut sizes = Sizes::new(now);
    for seq in 0..MAX_KNOWN as u64 {
        sizes.learn(&[refused(seq, 2000)], now);
    }
    sizes.learn(&[Refused { chain: "a".into(), ..refused(7, 2000) }], now);
    assert!(sizes.is_too_large(&"a".into(), 7, b"", now));
}

#[test]
fn what_is_known_is_bounded_and_batches_grow_again() {
    let now = Instant::now();
    let mut sizes = Sizes::new(now);
    for seq in 0..MAX_KNOWN as u64 + 9 {
        sizes.learn(&[refused(seq, 2000)], now);
    }
    assert_eq!(sizes.known.len(), MAX_KNOWN);
    assert!(!sizes.may_grow(now + GROW), "never smaller");
    sizes.learn(&[refused(1, 1), refused(2, 1)], now);
    assert!(!sizes.may_grow(now) && sizes.may_grow(now + GROW));
    sizes.learn(&[refused(3, 2000)], now + GROW / 2);
    assert!(sizes.may_grow(now + GROW), "one record that is too large alone says nothing of batches");
    sizes.grow(now + GROW);
    assert_eq!(sizes.batch_bytes(), 1_000_000);
}
