//! What records say about others, and whether it counts: which are missing, and which hash the one before them has. Whoever
//! can write records can call anything missing, so with keys only records count that something signed covers. Called by
//! `ended` when everything has been seen.

use std::collections::HashMap;

use super::finding::{Fault, Finding, Findings};
use super::kin::{Kin, instance_of};
use super::room::Room;
use super::seen::{Missing, Previous};
use super::thread::Thread;
use super::work;

/// By chain, what is called missing by a record that counts: in order, and none overlaps another.
#[derive(Debug, Default)]
pub struct Declared(HashMap<String, Vec<(u64, u64)>>);

/// Which records count.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Those that something signed covers; otherwise all.
    pub proved: bool,
    /// And only about chains of the same instance, since its key signs for no other.
    pub own: bool,
}

impl Declared {
    /// Goes from the newest chain to the oldest, and in each from its end: what is proved by a record proves what that one
    /// says about those before it.
    pub fn of(threads: &mut [Thread], kin: &Kin, counts: Counts, room: &Room, found: &mut Findings) -> Self {
        let mut order: Vec<usize> = (0..threads.len()).collect();
        order.sort_by(|a, b| {
            let time = |at: &usize| threads.get(*at).map(|t| t.first_time.as_str());
            time(b).cmp(&time(a))
        });
        let mut declared = Self::default();
        for at in order {
            let named = counts.proved && is_end_named(at, threads, kin);
            let Some(thread) = threads.get_mut(at) else { continue };
            if named {
                thread.vouch(thread.next - 1);
            }
            let said = std::mem::take(&mut thread.declared);
            let instance = instance_of(&thread.id).to_owned();
            for (seq, missing) in said.into_iter().rev() {
                work::step();
                let proved = !counts.proved || threads.get(at).is_some_and(|thread| thread.is_proved(seq));
                if proved && (!counts.own || instance_of(&missing.chain) == instance) {
                    let target = kin.at(&missing.chain).and_then(|target| threads.get_mut(target));
                    before(target, &missing, room, found);
                    declared.0.entry(missing.chain).or_default().push((missing.first, missing.last));
                }
            }
        }
        declared.0.values_mut().for_each(merge);
        declared
    }

    /// The parts of a range that are called missing, in order.
    pub fn within(&self, chain: &str, (first, last): (u64, u64)) -> impl Iterator<Item = (u64, u64)> {
        let of_chain = self.0.get(chain).map_or(&[][..], Vec::as_slice);
        let from = of_chain.partition_point(|(_, end)| *end < first);
        let parts = of_chain.get(from..).unwrap_or_default().iter().take_while(move |(begin, _)| *begin <= last);
        parts.map(move |(begin, end)| {
            work::step();
            ((*begin).max(first), (*end).min(last))
        })
    }
}

/// Whether a record that something signed covers names the chain's last one.
fn is_end_named(at: usize, threads: &[Thread], kin: &Kin) -> bool {
    let Some(thread) = threads.get(at) else { return false };
    kin.successors(&thread.id).iter().filter_map(|by| threads.get(*by)).any(|successor| {
        let names = |p: &Previous| p.seq + 1 == thread.next && p.hash == hex::encode(thread.hash);
        successor.is_proved(0) && successor.previous.as_ref().is_some_and(names)
    })
}

/// What the record says of the one before the gap.
fn before(target: Option<&mut Thread>, missing: &Missing, room: &Room, found: &mut Findings) {
    let (Some(target), Some(before), Some(seq)) = (target, missing.before, missing.first.checked_sub(1)) else {
        return;
    };
    match target.hash_of(seq, room) {
        Some(hash) if hash == before => target.vouch(seq),
        Some(_) => {
            let text = "the record that names the gap behind it says that it had another hash".to_owned();
            found.add(Finding::new(Fault::Changed, &target.id, Some(target.doubted_with(seq))).saying(text));
        }
        None => {}
    }
}

fn merge(ranges: &mut Vec<(u64, u64)>) {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (first, last) in std::mem::take(ranges) {
        match merged.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    *ranges = merged;
}
