//! What the outside knows: every receipt, every refusal, what was on its way, which bytes were changed, and what Kafka has.
//! Says what of the promise was broken. Reads records by itself; of kinds that it does not know it looks at the chain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::broker::{Chains, Kafka};
use super::disk::Disk;
use super::process::{Counted, Fate, Process, Told};
use super::spoil::Hit;
use super::world::Tally;
use crate::audit::chain::{self, Link};
use crate::audit::cursor::Cursor;
use crate::audit::files::Files;
use crate::policy::verdict::Durability;

type Place = (Arc<str>, u64);

/// A process that is over.
struct Life {
    chain: Arc<str>,
    clean: bool,
    counted: Counted,
    refused: Vec<Uuid>,
    vanished: Vec<Uuid>,
}

#[derive(Default)]
pub struct Oracle {
    promised: BTreeMap<Place, (Uuid, Durability)>,
    fates: BTreeMap<Uuid, Fate>,
    /// Of the process that runs.
    refused: Vec<Uuid>,
    vanished: Vec<Uuid>,
    /// Records whose answers were on their way when their process ended.
    unsettled: Vec<Place>,
    lives: Vec<Life>,
    /// Power was lost while the spool promised the written level: what was written last is gone, whoever saw it.
    excused: bool,
    spoiled: BTreeSet<(String, u64)>,
    /// Reads have failed: a process may have had to open without knowing how the one before ended.
    pub reads_failed: bool,
}

#[derive(serde::Deserialize)]
struct Record {
    id: Uuid,
    data: Data,
}

#[derive(serde::Deserialize)]
struct Data {
    chain: Link,
    event: Option<String>,
    refused: Option<Refused>,
    count: Option<u64>,
    previous: Option<Previous>,
    of: Option<serde_json::Value>,
    of_chain: Option<String>,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
}

#[derive(serde::Deserialize, Default, Debug, PartialEq)]
struct Refused {
    audit_unavailable: u64,
    audit_timeout: u64,
    overload: u64,
}

#[derive(serde::Deserialize)]
struct Previous {
    id: String,
    seq: u64,
    hash: String,
    unknown: Option<Range>,
}

#[derive(serde::Deserialize, Debug, Clone, Copy)]
struct Range {
    first: u64,
    last: u64,
}

type Records = BTreeMap<Arc<str>, BTreeMap<u64, Record>>;

impl Oracle {
    pub fn told(&mut self, told: Vec<Told>, kafka: &Kafka, tally: &mut Tally) -> Result<(), String> {
        for Told { id, level, fate } in told {
            match &fate {
                Fate::Receipt(chain, seq) => {
                    tally.receipts += 1;
                    if level == Durability::Acknowledged && !kafka.has(chain, *seq) {
                        return Err(format!("{chain} {seq} was promised as acknowledged, and Kafka has it not"));
                    }
                    self.promised.insert((chain.clone(), *seq), (id, level));
                }
                Fate::Refused => self.refused.push(id),
                Fate::Vanished => self.vanished.push(id),
                Fate::Unknown => {}
            }
            tally.refused += u64::from(fate == Fate::Refused);
            self.fates.insert(id, fate);
        }
        Ok(())
    }

    pub fn spoiled(&mut self, hit: Hit) {
        self.spoiled.extend(hit);
    }

    /// Power loss takes what was promised for the end of a process only.
    pub fn ended(&mut self, process: &Process, clean: bool, power: bool) {
        self.unsettled.extend(process.held.iter().map(|r| (r.chain().clone(), r.seq())));
        self.excused |= power && process.shared.options.durability == Durability::Written;
        if power {
            self.promised.retain(|_, (_, level)| *level != Durability::Written);
        }
        let (refused, vanished) = (std::mem::take(&mut self.refused), std::mem::take(&mut self.vanished));
        if let Some(chain) = process.chain() {
            self.lives.push(Life { chain, clean, counted: process.counted.clone(), refused, vanished });
        }
    }

    /// The cursor never leads: what it has passed is in Kafka.
    pub fn after_crash(&self, disk: &Disk, kafka: &Kafka) -> Result<(), String> {
        for name in disk.list("epochs").unwrap_or_default() {
            let Some((_, random)) = name.split_once('-') else { continue };
            let next = Cursor::load(disk, &format!("epochs/{name}")).next();
            let chain: Arc<str> = format!("i/{random}").into();
            let passed = self.promised.range((chain.clone(), 0)..(chain.clone(), next));
            for ((chain, seq), _) in passed {
                if !kafka.has(chain, *seq) && !self.spoiled.contains(&(chain.to_string(), *seq)) {
                    return Err(format!("cursor of {chain} is at {next}, and Kafka has not {seq}"));
                }
            }
        }
        Ok(())
    }

    /// At the end, when everything is delivered.
    pub fn judge(&self, kafka: &Kafka, tally: &mut Tally) -> Result<(), String> {
        if let Some(broken) = &kafka.broken {
            return Err(broken.clone());
        }
        tally.stored = kafka.stored;
        let mut records = Records::new();
        for (chain, values) in &kafka.chains {
            let read = |(seq, value): (&u64, &bytes::Bytes)| {
                let record = serde_json::from_slice(value).map_err(|e| format!("{chain} {seq} is no record: {e}"))?;
                Ok::<_, String>((*seq, record))
            };
            records.insert(chain.clone(), values.iter().map(read).collect::<Result<_, _>>()?);
        }
        // What was named as missing may turn up again, when a disk can be read again.
        let named = named_gaps(&records);
        if let Some((chain, seq)) =
            kafka.late.iter().find(|(chain, seq)| !named.contains(&(&**chain, *seq)) && !self.is_spoiled(chain))
        {
            return Err(format!("{chain} {seq} came late"));
        }
        let hashes = verify(&kafka.chains, &records, |chain, gap, following| {
            // Where what follows the gap was spoiled after its delivery, nothing on the disk shows the gap any more.
            let spoiled = |seq| self.spoiled.contains(&(chain.to_owned(), seq));
            spoiled(gap) && spoiled(following)
        })?;
        let mut digest = Sha256::new();
        hashes.values().for_each(|hash| digest.update(hash));
        tally.digest = u64::from_le_bytes(digest.finalize()[..8].try_into().unwrap());
        self.check_promised(&records)?;
        let unknown = self.check_unknown(&records, &hashes)?;
        self.check_amendments(&records, &unknown)?;
        self.lives.iter().try_for_each(|life| self.check_counts(life, &records))
    }

    fn check_promised(&self, records: &Records) -> Result<(), String> {
        for ((chain, seq), (id, level)) in &self.promised {
            match records.get(chain).and_then(|c| c.get(seq)) {
                Some(record) if record.id == *id => {}
                Some(_) => return Err(format!("{chain} {seq} is another record than promised")),
                None if self.spoiled.contains(&(chain.to_string(), *seq)) => {}
                None => return Err(format!("{chain} {seq} ({level:?}) was promised and is lost")),
            }
        }
        Ok(())
    }

    /// What was on its way is named by the next chain. Returns what is named.
    fn check_unknown<'a>(
        &self,
        records: &'a Records,
        hashes: &BTreeMap<Place, [u8; 32]>,
    ) -> Result<BTreeMap<&'a str, Range>, String> {
        let (mut named, mut heads) = (BTreeMap::new(), BTreeMap::new());
        for previous in records.values().filter_map(|c| c.get(&0)?.data.previous.as_ref()) {
            let place = (Arc::from(previous.id.as_str()), previous.seq);
            if hashes.get(&place).is_some_and(|hash| hex::encode(hash) != previous.hash) {
                return Err(format!("head of {} is not what the next chain says", previous.id));
            }
            heads.insert(previous.id.as_str(), previous.seq);
            if let Some(unknown) = previous.unknown {
                named.insert(previous.id.as_str(), unknown);
            }
        }
        for (chain, seq) in &self.unsettled {
            let covered = named.get(&**chain).is_some_and(|r| r.first <= *seq && *seq <= r.last);
            let head = heads.get(&**chain);
            if head.is_some_and(|head| seq <= head) && !covered {
                return Err(format!("{chain} {seq} was on its way and is not named"));
            }
        }
        Ok(named)
    }

    /// Refused answers whose records are there are amended or unknown, and no others are amended.
    fn check_amendments(&self, records: &Records, unknown: &BTreeMap<&str, Range>) -> Result<(), String> {
        let amends = |r: &Record| Uuid::parse_str(r.data.of.as_ref()?.as_str()?).ok();
        let amended: BTreeSet<Uuid> = records.values().flat_map(BTreeMap::values).filter_map(amends).collect();
        // An opening that was torn, and is named as such, cannot say how the chain before ended.
        let opening_is_gone = |chain: &str| records.get(chain).is_none_or(|c| !c.contains_key(&0));
        let torn = records.keys().any(|chain| opening_is_gone(chain))
            || self.spoiled.iter().any(|(chain, seq)| *seq == 0 && opening_is_gone(chain));
        let excused = self.excused || torn;
        let heads: BTreeSet<&str> =
            records.values().filter_map(|c| Some(c.get(&0)?.data.previous.as_ref()?.id.as_str())).collect();
        for (chain, here) in records {
            let blind = self.reads_failed && !heads.contains(&**chain);
            for (seq, record) in here {
                let named = unknown.get(&**chain).is_some_and(|r| r.first <= *seq && *seq <= r.last);
                match self.fates.get(&record.id) {
                    Some(Fate::Refused | Fate::Vanished) if amended.contains(&record.id) || named => {}
                    // Not on the disk, or not readable, when the next process named the head.
                    Some(Fate::Refused | Fate::Vanished) if unknown.get(&**chain).is_some_and(|r| *seq > r.last) => {}
                    Some(Fate::Refused | Fate::Vanished) if excused || blind || self.is_spoiled(chain) => {}
                    Some(Fate::Refused | Fate::Vanished) => {
                        let unknown = unknown.get(&**chain);
                        return Err(format!(
                            "{chain} {seq} was refused and is not amended, unknown {unknown:?}, last {:?}",
                            here.keys().last()
                        ));
                    }
                    Some(Fate::Receipt(..)) if amended.contains(&record.id) => {
                        return Err(format!("{chain} {seq} was answered and is amended"));
                    }
                    Some(Fate::Receipt(..) | Fate::Unknown) | None => {}
                }
            }
        }
        Ok(())
    }

    fn is_spoiled(&self, chain: &str) -> bool {
        self.spoiled.iter().any(|(spoiled, _)| spoiled == chain)
    }

    /// Refusals without a record: each is in one outage, if the process ended in order; else in one at most.
    fn check_counts(&self, life: &Life, records: &Records) -> Result<(), String> {
        let Some(here) = records.get(&life.chain) else { return Ok(()) };
        let event = |name: &'static str| here.values().filter(move |r| r.data.event.as_deref() == Some(name));
        let mut told = Refused::default();
        for refused in event("outage_ended").filter_map(|r| r.data.refused.as_ref()) {
            told.audit_unavailable += refused.audit_unavailable;
            told.audit_timeout += refused.audit_timeout;
            told.overload += refused.overload;
        }
        let attempts: u64 = event("unauthorized_attempts").filter_map(|r| r.data.count).sum();
        let recorded: BTreeSet<Uuid> = here.values().map(|r| r.id).collect();
        let without = |ids: &[Uuid]| ids.iter().filter(|id| !recorded.contains(*id)).count() as u64;
        let there = Refused {
            audit_unavailable: life.counted.door + without(&life.refused),
            audit_timeout: without(&life.vanished),
            overload: life.counted.overload,
        };
        // What could not be read, and is named so, may have been the count.
        let whole = here.last_key_value().is_some_and(|(last, _)| here.len() as u64 == last + 1);
        let closed = event("chain_closed").next().is_some() && life.clean && whole;
        if closed && !self.is_spoiled(&life.chain) && (told != there || attempts != life.counted.attempts) {
            return Err(format!(
                "{}: told {told:?} and {attempts}, there were {there:?} {:?}",
                life.chain, life.counted
            ));
        }
        Ok(())
    }
}

fn named_gaps(records: &Records) -> BTreeSet<(&str, u64)> {
    let mut named = BTreeSet::new();
    for record in records.values().flat_map(BTreeMap::values) {
        let Data { event, of_chain, first_seq, last_seq, .. } = &record.data;
        if let (Some("damage_found"), Some(chain), Some(first), Some(last)) =
            (event.as_deref(), of_chain, first_seq, last_seq)
        {
            named.extend((*first..=*last).map(|seq| (chain.as_str(), seq)));
        }
    }
    named
}

/// Each chain: places, hash upon hash, no gap that no record names. Returns all hashes.
fn verify(
    chains: &Chains,
    records: &Records,
    excused: impl Fn(&str, u64, u64) -> bool,
) -> Result<BTreeMap<Place, [u8; 32]>, String> {
    let (named, mut hashes) = (named_gaps(records), BTreeMap::new());
    for (chain, here) in records {
        let mut before: Option<(u64, [u8; 32])> = None;
        for (seq, record) in here {
            let link = &record.data.chain;
            if link.id != **chain || link.seq != *seq {
                return Err(format!("{chain} {seq} says it is {} {}", link.id, link.seq));
            }
            let expected = before.map_or(0, |(last, _)| last + 1);
            let prev = before.map_or(chain::GENESIS, |(_, hash)| hash);
            if expected == *seq && link.prev != hex::encode(prev) {
                return Err(format!("{chain} {seq} does not follow"));
            }
            if let Some(gap) = (expected..*seq).find(|s| !named.contains(&(&**chain, *s)) && !excused(chain, *s, *seq))
            {
                return Err(format!("{chain} {gap} is a gap that nothing names"));
            }
            let hash = chain::hash(&chains[chain][seq]);
            hashes.insert((chain.clone(), *seq), hash);
            before = Some((*seq, hash));
        }
    }
    Ok(hashes)
}
