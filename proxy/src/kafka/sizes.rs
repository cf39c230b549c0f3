//! How much a topic takes at once, learned from its refusals: batches shrink until a refusal means one record alone, and
//! that record goes out as a stub. Brokers measure a batch as it arrives, compressed, so only they can say whether a
//! record fits. Pure; asked by `sink`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::chain;
use crate::audit::stub;

/// Bytes of a batch before compression. Brokers take 1 MiB unless told otherwise. The last: every record alone.
const LEVELS: [u32; 6] = [1_000_000, 250_000, 62_500, 16_000, 4_000, 1];
/// Without a refusal of a batch for so long, larger batches are tried again: somebody may have mended the topic.
const GROW: Duration = Duration::from_secs(600);
/// After so many records were refused alone, one as large as the smallest of them is not tried first …
const ENOUGH: u32 = 3;
/// … for this long: each try costs a new producer.
const PRESUMED: Duration = Duration::from_secs(60);
/// Records known to be too large, at most. Those of the oldest place in the alphabet go; they are found out again.
const MAX_KNOWN: usize = 4096;

/// A record that was in a batch which the topic did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub chain: Arc<str>,
    pub seq: u64,
    /// Bytes of its value.
    pub size: usize,
    /// Nothing shorter can go out in its place: it was a stub, or has none that is shorter.
    pub is_shortest: bool,
}

impl Refused {
    /// `None` for what is no record.
    pub(super) fn read(value: &[u8], was_stub: bool) -> Option<Self> {
        let link = chain::link(value)?;
        let is_shortest = was_stub || stub::of(value).is_none();
        Some(Self { chain: link.id.into(), seq: link.seq, size: value.len(), is_shortest })
    }
}

/// What a refusal taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lesson {
    /// Smaller batches, of so many bytes.
    Smaller(u32),
    /// Records, so many, go out as stubs.
    TooLarge(usize),
    /// The topic does not even take the shortest form of a record: nothing can be done here.
    Hopeless,
}

#[derive(Debug)]
pub(super) struct Sizes {
    level: usize,
    /// The last step, down or up.
    since: Instant,
    known: BTreeSet<(Arc<str>, u64)>,
    alone: u32,
    least: usize,
    presumed: Instant,
}

impl Sizes {
    pub(super) fn new(now: Instant) -> Self {
        Self { level: 0, since: now, known: BTreeSet::new(), alone: 0, least: usize::MAX, presumed: now }
    }

    pub(super) fn batch_bytes(&self) -> u32 {
        LEVELS.get(self.level).copied().unwrap_or(1)
    }

    /// Records of one batch.
    pub(super) fn batch_records(&self) -> u32 {
        if self.batch_bytes() == 1 { 1 } else { 10_000 }
    }

    /// Whether the record goes out as a stub.
    pub(super) fn is_too_large(&mut self, chain: &Arc<str>, seq: u64, size: usize, now: Instant) -> bool {
        if self.alone >= ENOUGH && now.saturating_duration_since(self.presumed) >= PRESUMED {
            // The next refusal is enough to presume again.
            (self.alone, self.least) = (ENOUGH - 1, usize::MAX);
        }
        let presumed = self.alone >= ENOUGH && size >= self.least;
        presumed || (!self.known.is_empty() && self.known.contains(&(Arc::clone(chain), seq)))
    }

    /// `refused`: all records of batches that were refused for their size since the producer was made; not empty.
    pub(super) fn learn(&mut self, refused: &[Refused], now: Instant) -> Lesson {
        let is_alone = refused.len() == 1 || self.batch_bytes() == 1;
        if !is_alone {
            self.level += 1;
            self.since = now;
            return Lesson::Smaller(self.batch_bytes());
        }
        let mut found = 0;
        for record in refused.iter().filter(|r| !r.is_shortest) {
            self.known.insert((Arc::clone(&record.chain), record.seq));
            if self.known.len() > MAX_KNOWN {
                self.known.pop_first();
            }
            self.alone = self.alone.saturating_add(1);
            self.least = self.least.min(record.size);
            self.presumed = now;
            found += 1;
        }
        if found == 0 { Lesson::Hopeless } else { Lesson::TooLarge(found) }
    }

    /// Whether a producer with larger batches is due.
    pub(super) fn may_grow(&self, now: Instant) -> bool {
        self.level > 0 && now.saturating_duration_since(self.since) >= GROW
    }

    pub(super) fn grow(&mut self, now: Instant) {
        self.level = self.level.saturating_sub(1);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
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

    fn refused(seq: u64, size: usize) -> Refused {
        Refused { chain: "c".into(), seq, size, is_shortest: false }
    }

    fn is_too_large(sizes: &mut Sizes, seq: u64, size: usize, now: Instant) -> bool {
        sizes.is_too_large(&"c".into(), seq, size, now)
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
    fn after_some_refusals_the_rest_is_presumed_for_a_minute() {
        let now = Instant::now();
        let mut sizes = Sizes::new(now);
        for seq in 0..3 {
            assert!(!is_too_large(&mut sizes, seq, 2000, now));
            sizes.learn(&[refused(seq, 2000)], now);
        }
        assert!(is_too_large(&mut sizes, 50, 2000, now) && !is_too_large(&mut sizes, 51, 1999, now));
        let later = now + PRESUMED;
        assert!(!is_too_large(&mut sizes, 52, 2000, later), "tried again");
        assert!(is_too_large(&mut sizes, 1, 2000, later), "what was refused itself stays a stub");
        sizes.learn(&[refused(52, 2000)], later);
        assert!(is_too_large(&mut sizes, 53, 2000, later), "one more refusal is enough");
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
}
