//! Where what was read begins, and what may therefore have been cut off before it. Retention takes from the start: of each
//! partition of a topic as far as it likes, of a spool its oldest segments. What lies before that horizon is no fault; what
//! lies behind it is missing, whoever took it. Pure. Filled by `verify`'s caller, asked by `ended` and `gone`.
//!
//! What it cannot know: whether retention cut, or somebody who may delete. Both take from the start, and look the same.

use std::collections::BTreeMap;

use super::kin::{Kin, instance_of};
use super::report::PartitionReport;
use super::seen::Previous;
use super::thread::Thread;
use super::work;

/// Where Kafka puts a chain's records: by its id and the number of partitions.
pub type Place = fn(&str, i32) -> i32;

/// What is known of the place that the records are from.
#[derive(Debug, Default)]
pub struct Source {
    /// Of a topic: by partition, whether its first records are gone.
    partitions: Option<(BTreeMap<i32, bool>, Place)>,
    /// Of a spool, once it has been read: the oldest record that was still there, by chain and seq.
    oldest: Option<(String, u64)>,
    /// From then on, everything must be there.
    complete_since: Option<String>,
}

/// What is to be excused, or why it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    Cut,
    /// It may have been cut, but not that late.
    TooLate,
    None,
}

/// A chain of which nothing is there, and how that is known.
#[derive(Debug, Clone, Copy)]
pub struct Named<'n> {
    pub id: &'n str,
    /// The chain that names it as the one before.
    pub by: Option<&'n Thread>,
    /// When its newest checkpoint that was kept elsewhere was made.
    pub until: Option<&'n str>,
}

impl Source {
    pub fn of_topic(&mut self, cut: impl IntoIterator<Item = (i32, bool)>, place: Place) {
        self.partitions = Some((cut.into_iter().collect(), place));
    }

    pub fn still_has(&mut self, chain: String, seq: u64) {
        self.oldest = Some((chain, seq));
    }

    /// A time as records have it.
    pub fn complete_since(&mut self, time: String) {
        self.complete_since = Some(time);
    }
}

/// [`Source`], with what was read.
#[derive(Debug)]
pub struct Horizons<'t> {
    source: &'t Source,
    threads: &'t [Thread],
    kin: &'t Kin,
    /// By partition, the time up to which records may have been cut: that of the first record of the chains that go on
    /// from before; or else of the first that begins. Where there is nothing, none.
    begins: BTreeMap<i32, &'t str>,
    /// The same over chains that go on from before only, for a source whose partitions are not known.
    any: Option<&'t str>,
}

impl<'t> Horizons<'t> {
    pub fn of(source: &'t Source, threads: &'t [Thread], kin: &'t Kin) -> Self {
        let mut going_on: BTreeMap<i32, &str> = BTreeMap::new();
        let mut beginning: BTreeMap<i32, &str> = BTreeMap::new();
        for thread in threads {
            let time = thread.first_time.as_str();
            if thread.first > 0 && kin.is_oldest_there(thread) {
                let latest = going_on.entry(thread.partition).or_insert(time);
                *latest = time.max(latest);
            } else if thread.first == 0 {
                let first = beginning.entry(thread.partition).or_insert(time);
                *first = time.min(first);
            }
        }
        let any = going_on.values().min().copied();
        let mut begins = beginning;
        begins.extend(going_on);
        Self { source, threads, kin, begins, any }
    }

    pub fn report(&self) -> Vec<PartitionReport> {
        let one = |(partition, cut): (&i32, &bool)| PartitionReport {
            partition: *partition,
            cut: *cut,
            begins: self.begins.get(partition).map(|time| (*time).to_owned()),
        };
        self.source.partitions.iter().flat_map(|(cut, _)| cut).map(one).collect()
    }

    /// The beginning of a chain that is not there.
    pub fn start(&self, thread: &Thread) -> Excuse {
        let may_be = match &self.source.partitions {
            Some((cut, _)) => cut.get(&thread.partition).is_some_and(|cut| *cut) && self.belongs(thread),
            None => true,
        };
        if !may_be || !self.kin.is_oldest_there(thread) {
            return Excuse::None;
        }
        self.unless_too_late(&thread.first_time)
    }

    /// Whether records of a chain up to `last` gave way while the spool was read.
    pub fn gave_way(&self, thread: &Thread, last: u64) -> bool {
        match &self.source.oldest {
            Some((chain, seq)) if *chain == *thread.id => last < *seq,
            Some((chain, _)) => self.is_before(thread, chain),
            None => false,
        }
    }

    /// In a spool: chains are read in their order. One that was not is newer than all that were.
    fn is_before(&self, thread: &Thread, chain: &str) -> bool {
        self.kin.at(chain).and_then(|at| self.threads.get(at)).is_none_or(|oldest| thread.number < oldest.number)
    }

    /// A chain of which nothing is there.
    pub fn absent(&self, named: Named<'_>, elsewhere: bool) -> Excuse {
        // Its successor began after it had ended.
        let Some(ended) = named.until.or(named.by.map(|by| by.first_time.as_str())) else { return Excuse::None };
        let cut = match &self.source.partitions {
            Some((partitions, place)) => self.is_cut_in_topic(named.id, ended, partitions, *place),
            None => self.gave_way_before(named) || self.is_cut_anywhere(named, elsewhere),
        };
        if cut { self.unless_too_late(ended) } else { Excuse::None }
    }

    /// In a spool, all that came before the oldest record is gone with it.
    fn gave_way_before(&self, named: Named<'_>) -> bool {
        let by = named.by.zip(self.source.oldest.as_ref());
        by.is_some_and(|(by, (chain, _))| *by.id == **chain || self.is_before(by, chain))
    }

    /// A partition that it can have been in begins after it ended, and holds no older chain of its instance.
    fn is_cut_in_topic(&self, id: &str, ended: &str, partitions: &BTreeMap<i32, bool>, place: Place) -> bool {
        let count = partitions.len();
        places(id, count, place).any(|partition| {
            let cut = partitions.get(&partition).is_some_and(|cut| *cut);
            let before = self.begins.get(&partition).is_none_or(|begins| ended <= *begins);
            let before_own = self.kin.begins(instance_of(id), partition).is_none_or(|begins| ended <= begins);
            cut && before && before_own
        })
    }

    /// Partitions are not known: what is there of its instance begins later, and shows that it is not the beginning.
    fn is_cut_anywhere(&self, named: Named<'_>, elsewhere: bool) -> bool {
        let oldest = self.kin.of_instance(instance_of(named.id)).first().and_then(|at| self.threads.get(*at));
        let Some(oldest) = oldest else {
            return named.until.zip(self.any).is_some_and(|(until, begins)| until < begins);
        };
        let names_absent = |p: &Previous| self.kin.at(&p.id).is_none();
        let shows = oldest.first > 0 || oldest.previous.as_ref().is_some_and(names_absent);
        let named_by_oldest = named.by.is_some_and(|by| by.number == oldest.number);
        match named.until {
            Some(until) => shows && until < oldest.first_time.as_str(),
            None => named_by_oldest && !elsewhere,
        }
    }

    /// Whether Kafka can have put the chain into the partition where it is, which may have been one of fewer then.
    fn belongs(&self, thread: &Thread) -> bool {
        let Some((cut, place)) = &self.source.partitions else { return true };
        places(&thread.id, cut.len(), *place).any(|partition| partition == thread.partition)
    }

    fn unless_too_late(&self, time: &str) -> Excuse {
        match &self.source.complete_since {
            Some(since) if time > since.as_str() => Excuse::TooLate,
            _ => Excuse::Cut,
        }
    }
}

/// Partitions that the chain can be in, now or when there were fewer.
fn places(id: &str, count: usize, place: Place) -> impl Iterator<Item = i32> {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    (1..=count).map(move |count| {
        work::step();
        place(id, count)
    })
}
