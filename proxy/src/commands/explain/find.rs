//! Finds decisions, and what belongs to them: the records whose answers they repeat, and what was amended later. Two passes at
//! most, bounded in memory.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;
use uuid::Uuid;

use crate::commands::readers::filter::{Filter, time_us};
use crate::commands::readers::stream::Stream;
use crate::commands::readers::{Failure, Openers, Where};
use crate::kafka::reader::Start;

/// Times of one machine and of its neighbours; also between an id's own time and its record's.
const SLACK_US: i64 = 5_000_000;
/// How long after a decision its amendment is looked for: a process that was killed says so at its next start.
const AMENDED_WITHIN_US: i64 = 86_400_000_000;
/// Amendments remembered while reading.
const MAX_AMENDMENTS: usize = 65_536;

/// Which decisions.
#[derive(Debug)]
pub(super) struct Wanted {
    pub by: By,
    filter: Filter,
    from_us: Option<i64>,
    until_us: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    Id(String),
    Signature(String),
    Members,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order read, at most as many as asked for.
    pub decisions: Vec<Value>,
    /// Those beyond.
    pub more: u64,
    /// Records whose answers were given again, by id.
    pub sources: HashMap<String, Value>,
    amendments: Vec<Value>,
    /// More amendments than are remembered.
    pub amendments_left_out: bool,
    /// Records that were read, and the times of the first and last.
    pub read: u64,
    pub first: Option<String>,
    pub last: Option<String>,
    pub unreadable: u64,
    /// Stubs in the times asked for: what they stand for is not in the topic.
    pub stubs: u64,
}

impl Wanted {
    pub fn id(id: Uuid, filter: Filter) -> Self {
        // Version 7 begins with its time in milliseconds.
        let made = id.get_timestamp().map(|time| time.to_unix());
        let made = made.and_then(|(seconds, nanos)| i64::try_from(seconds * 1_000_000 + u64::from(nanos / 1000)).ok());
        Self {
            by: By::Id(id.to_string()),
            filter,
            from_us: made.map(|made| made - SLACK_US),
            until_us: made.map(|made| made + SLACK_US),
        }
    }

    /// When the signed request began, and had ended.
    pub fn signed(signature_sha256: String, began_us: Option<i64>, ended_us: Option<i64>, filter: Filter) -> Self {
        Self {
            by: By::Signature(signature_sha256),
            filter,
            from_us: began_us.map(|began| began.saturating_sub(SLACK_US)),
            until_us: ended_us.map(|ended| ended.saturating_add(SLACK_US)),
        }
    }

    /// Around a time, or in the filter's own.
    pub fn like(filter: Filter, time_us: Option<i64>, within: Duration) -> Self {
        let within = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
        let (from_us, until_us) = match time_us {
            Some(time) => (Some(time.saturating_sub(within)), Some(time.saturating_add(within))),
            None => (filter.since_us(), filter.until_us()),
        };
        Self { by: By::Members, filter, from_us, until_us }
    }

    pub fn begins_us(&self) -> Option<i64> {
        self.from_us
    }

    pub fn ends_us(&self) -> Option<i64> {
        self.until_us
    }

    fn matches(&self, record: &Value, time: i64) -> bool {
        if record.pointer("/data/decision").is_none() || !self.filter.matches(record) {
            return false;
        }
        let at = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
        match &self.by {
            By::Id(id) => at("/id") == Some(id),
            By::Signature(signature) => at("/data/request/signature_sha256") == Some(signature) && self.in_time(time),
            By::Members => self.in_time(time),
        }
    }

    fn in_time(&self, time: i64) -> bool {
        self.from_us.is_none_or(|from| time >= from) && self.until_us.is_none_or(|until| time <= until)
    }
}

/// Whether a decision is a deny, advisory or not.
pub(super) fn is_deny(decision: &Value) -> bool {
    decision.pointer("/data/decision").and_then(Value::as_str) == Some("deny")
}

pub(super) fn find(
    place: &Where,
    wanted: &Wanted,
    limit: usize,
    openers: &dyn Openers,
    bar: &ProgressBar,
) -> Result<Found, Failure> {
    let mut found = Found::default();
    let end = wanted.until_us.map(|until| until.saturating_add(AMENDED_WITHIN_US));
    each(place, wanted.from_us, end, openers, bar, |record, time| {
        found.take(record, time, wanted, limit);
        true
    })?;
    let mut missing: Vec<String> = found.decisions.iter().filter_map(source_id).collect();
    missing.sort_unstable();
    missing.dedup();
    if let Some(earliest) = missing.iter().filter_map(|id| made_us(id)).min() {
        let latest = found.decisions.iter().filter_map(time_us).max();
        let sources = &mut found.sources;
        each(place, Some(earliest - SLACK_US), latest, openers, bar, |record, _| {
            if let Some(id) = record.get("id").and_then(Value::as_str)
                && missing.iter().any(|missing| missing == id)
            {
                sources.insert(id.to_owned(), record.clone());
            }
            sources.len() < missing.len()
        })?;
    }
    bar.finish_and_clear();
    Ok(found)
}

/// The record whose answer a decision repeats.
pub(super) fn source_id(decision: &Value) -> Option<String> {
    decision.pointer("/data/cache/record_id")?.as_str().map(str::to_owned)
}

fn made_us(id: &str) -> Option<i64> {
    Wanted::id(Uuid::parse_str(id).ok()?, Filter::new(&Default::default()).ok()?).from_us.map(|from| from + SLACK_US)
}

/// Every record from a time until another, as long as `take` wants more. Unreadable ones come as null.
fn each(
    place: &Where,
    from_us: Option<i64>,
    until_us: Option<i64>,
    openers: &dyn Openers,
    bar: &ProgressBar,
    mut take: impl FnMut(&Value, i64) -> bool,
) -> Result<(), Failure> {
    let start = from_us.map_or(Start::Beginning, |from| Start::Since(from.div_euclid(1000)));
    let mut stream = Stream::open(place, start, false, openers)?;
    // Of several partitions one may be ahead of the others.
    let ordered = !matches!(place, Where::Kafka { .. });
    while let Some(read) = stream.read()? {
        bar.inc(read.value.len() as u64);
        let record = serde_json::from_slice::<Value>(&read.value).unwrap_or_default();
        let time = time_us(&record).unwrap_or(i64::MIN);
        if until_us.is_some_and(|until| time > until) {
            if ordered {
                return Ok(());
            }
            continue;
        }
        let early = from_us.is_some_and(|from| time < from) && !record.is_null();
        if !early && !take(&record, time) {
            return Ok(());
        }
    }
    Ok(())
}

impl Found {
    fn take(&mut self, record: &Value, time: i64, wanted: &Wanted, limit: usize) {
        self.read += 1;
        if record.is_null() {
            self.unreadable += 1;
            return;
        }
        if let Some(text) = record.get("time").and_then(Value::as_str) {
            self.first.get_or_insert_with(|| text.to_owned());
            self.last = Some(text.to_owned());
        }
        match record.get("type").and_then(Value::as_str) {
            Some("io.countersign.amendment.v1") if self.amendments.len() < MAX_AMENDMENTS => {
                self.amendments.push(record.clone());
            }
            Some("io.countersign.amendment.v1") => self.amendments_left_out = true,
            Some("io.countersign.stub.v1") if wanted.in_time(time) => self.stubs += 1,
            _ => {}
        }
        if !wanted.matches(record, time) {
            return;
        }
        // A duplicate is the same record.
        if self.decisions.iter().any(|known| known.get("id") == record.get("id")) {
            return;
        }
        if self.decisions.len() < limit {
            self.decisions.push(record.clone());
        } else {
            self.more += 1;
        }
    }

    /// What was amended of a decision.
    pub fn amendments(&self, decision: &Value) -> Vec<&Value> {
        self.amendments.iter().filter(|amendment| amends(amendment, decision)).collect()
    }
}

fn amends(amendment: &Value, decision: &Value) -> bool {
    let Some(of) = amendment.pointer("/data/of") else { return false };
    if of.is_string() {
        return decision.get("id") == Some(of);
    }
    let seq = decision.pointer("/data/chain/seq").and_then(Value::as_u64);
    let bound = |name: &str| of.get(name).and_then(Value::as_u64);
    of.get("chain").is_some_and(|chain| decision.pointer("/data/chain/id") == Some(chain))
        && seq.zip(bound("first")).is_some_and(|(seq, first)| seq >= first)
        && seq.zip(bound("last")).is_some_and(|(seq, last)| seq <= last)
}
