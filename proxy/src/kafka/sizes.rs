//! How much a topic takes at once, learned from its refusals: batches shrink until a refusal means one record alone, and
//! that record goes out as a stub. Brokers measure a batch as it arrives, compressed, so only they can say whether a
//! record fits. Pure; asked by `sink`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::chain;
use crate::audit::stub;

/// Bytes of a batch before compression. Brokers take 1 MiB unless told otherwise. The last: every record alone.
const LEVELS: [u32; 6] = [1_000_000, 250_000, 62_500, 16_000, 4_000, 1];
/// Without a refusal of a batch for so long, larger batches are tried again: somebody may have mended the topic.
const GROW: Duration = Duration::from_secs(600);
/// After so many records were refused alone, those as large go out as stubs untried: each try costs a new producer.
const ENOUGH: u32 = 3;
/// How often one of them is tried all the same: somebody may have mended the topic.
const PROBE: Duration = Duration::from_secs(60);
/// Records that go out as stubs, at most. The oldest are forgotten; they are found out again.
const MAX_KNOWN: usize = 4096;
/// Chains of which is known how far they went out whole, at most. Nothing of further ones is presumed.
const MAX_CHAINS: usize = 1024;
/// Batches handed over and not acknowledged while they are small: enough that the wire does not wait for us.
const AHEAD: usize = 5;

/// Chain and place in it.
type Place = (Arc<str>, u64);

/// A record that was in a batch which the topic did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub chain: Arc<str>,
    pub seq: u64,
    pub size: Size,
    /// Nothing shorter can go out in its place: it was a stub, or has none that is shorter.
    pub is_shortest: bool,
}

impl Refused {
    /// `None` for what is no record.
    pub(super) fn read(value: &[u8], was_stub: bool) -> Option<Self> {
        let link = chain::link(value)?;
        let is_shortest = was_stub || stub::of(value).is_none();
        Some(Self { chain: link.id.into(), seq: link.seq, size: Size::of(value)?, is_shortest })
    }
}

/// Bytes of a value. Brokers look at what arrives, which depends on the codec: with `none` the first counts, with zstd
/// the second, with another something like it. So what is as large as a refused one is as large in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    plain: usize,
    packed: usize,
}

impl Size {
    const LARGEST: Self = Self { plain: usize::MAX, packed: usize::MAX };

    /// `None`: zstd has no memory.
    fn of(value: &[u8]) -> Option<Self> {
        // Level 0 is the default, which is librdkafka's, too.
        Some(Self { plain: value.len(), packed: zstd::bulk::compress(value, 0).ok()?.len() })
    }

    fn or_less(self, other: Self) -> Self {
        Self { plain: self.plain.min(other.plain), packed: self.packed.min(other.packed) }
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
    /// What goes out as a stub, because it was refused, or presumed to be.
    known: BTreeSet<Place>,
    /// The same, oldest first.
    order: VecDeque<Place>,
    /// Refused alone.
    alone: u32,
    /// The least of them in either measure.
    least: Size,
    /// The last refusal of a record alone, or probe.
    tried: Instant,
    /// Went out whole while its like do not, and was not refused.
    probe: Option<Place>,
    /// The highest place of each chain that an earlier producer sent whole: up to there Kafka may have the whole,
    /// acknowledged or not, and a stub behind it would be other bytes for the same id.
    whole: BTreeMap<Arc<str>, u64>,
    /// The same of this producer.
    now: BTreeMap<Arc<str>, u64>,
    /// Places up to there that Kafka has not for sure: whenever they were sent, their batch was refused.
    refused: BTreeSet<Place>,
}

impl Sizes {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            level: 0,
            since: now,
            known: BTreeSet::new(),
            order: VecDeque::new(),
            alone: 0,
            least: Size::LARGEST,
            tried: now,
            probe: None,
            whole: BTreeMap::new(),
            now: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// The topic says that it takes so many bytes. Whether batches become smaller for it.
    pub(super) fn begin(&mut self, takes: u64) -> bool {
        let level = LEVELS.iter().position(|bytes| u64::from(*bytes) <= takes).unwrap_or(LEVELS.len() - 1);
        let is_smaller = level > self.level;
        self.level = level.max(self.level);
        is_smaller
    }

    pub(super) fn batch_bytes(&self) -> u32 {
        LEVELS.get(self.level).copied().unwrap_or(1)
    }

    /// Batches are smaller than they may be.
    pub(super) fn is_careful(&self) -> bool {
        self.level > 0
    }

    /// Records of one batch.
    pub(super) fn batch_records(&self) -> u32 {
        if self.batch_bytes() == 1 { 1 } else { 10_000 }
    }

    /// Whether so many records, of so many bytes, are enough under way: of what goes out whole beside a record that is too
    /// large, nothing can be presumed, so that little is ahead while batches are smaller than they may be.
    pub(super) fn are_enough(&self, (records, bytes): (usize, usize)) -> bool {
        match self.batch_bytes() as usize {
            1 => records >= AHEAD,
            batch => self.is_careful() && bytes >= AHEAD * batch,
        }
    }

    /// Whether the record goes out as a stub.
    pub(super) fn is_too_large(&mut self, chain: &Arc<str>, seq: u64, value: &[u8], now: Instant) -> bool {
        if self.known.is_empty() {
            return false;
        }
        let place = (Arc::clone(chain), seq);
        if self.known.contains(&place) {
            return true;
        }
        if !self.presumes(&place, value) {
            return false;
        }
        if now.saturating_duration_since(self.tried) < PROBE {
            self.know(place);
            return true;
        }
        self.tried = now;
        if self.probe.replace(place).is_some() {
            // The one before was not refused.
            (self.alone, self.least, self.probe) = (0, Size::LARGEST, None);
        }
        false
    }

    fn presumes(&self, place: &Place, value: &[u8]) -> bool {
        // Packing it is what costs something.
        self.alone >= ENOUGH
            && self.is_nowhere_whole(place)
            && value.len() >= self.least.plain
            && Size::of(value).is_some_and(|size| size.packed >= self.least.packed)
    }

    fn is_nowhere_whole(&self, place: &Place) -> bool {
        let later = |highest: &BTreeMap<Arc<str>, u64>| {
            highest.get(&place.0).map_or(highest.len() < MAX_CHAINS, |highest| place.1 > *highest)
        };
        later(&self.now) && (later(&self.whole) || self.refused.contains(place))
    }

    fn know(&mut self, place: Place) {
        if self.known.insert(place.clone()) {
            self.order.push_back(place);
        }
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// This producer has taken the record whole.
    pub(super) fn sent_whole(&mut self, chain: &Arc<str>, seq: u64) {
        raise(&mut self.now, chain, seq);
    }

    /// The producer is over. `refused`: all records of batches that it was refused for their size. What a producer sends
    /// of a chain it sends in order, so that what else there is up to its highest place may be in Kafka.
    pub(super) fn ended(&mut self, refused: &[Refused]) {
        let refused: BTreeSet<Place> = refused.iter().map(|r| (Arc::clone(&r.chain), r.seq)).collect();
        let Self { whole, now, refused: before, .. } = self;
        let reached = |(chain, seq): &Place| now.get(chain).is_some_and(|highest| seq <= highest);
        before.retain(|place| refused.contains(place) || !reached(place));
        let is_first = |(chain, seq): &Place| whole.get(chain).is_none_or(|highest| seq > highest);
        before.extend(refused.into_iter().filter(is_first));
        while before.len() > MAX_KNOWN {
            before.pop_last();
        }
        for (chain, seq) in std::mem::take(now) {
            raise(whole, &chain, seq);
        }
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
            let place = (Arc::clone(&record.chain), record.seq);
            self.probe.take_if(|probe| *probe == place);
            self.know(place);
            self.alone = self.alone.saturating_add(1);
            self.least = self.least.or_less(record.size);
            self.tried = now;
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

fn raise(highest: &mut BTreeMap<Arc<str>, u64>, chain: &Arc<str>, seq: u64) {
    if let Some(highest) = highest.get_mut(chain) {
        *highest = seq.max(*highest);
    } else if highest.len() < MAX_CHAINS {
        highest.insert(Arc::clone(chain), seq);
    }
}

#[cfg(test)]
mod tests;
