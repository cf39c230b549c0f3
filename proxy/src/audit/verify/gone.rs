//! What is judged of chains of which nothing is there, and of instances. A part of `ended`.

use std::collections::BTreeSet;

use super::ended::Judge;
use super::finding::{Fault, Finding};
use super::horizon::{Excuse, Named};
use super::work;

impl Judge<'_> {
    /// Chains that others name and of which nothing is there.
    pub(super) fn absent(&mut self) {
        let (threads, kin, stated) = (self.threads, self.kin, self.stated);
        let mut told = BTreeSet::new();
        for (id, of_chain) in stated.chains() {
            let size = of_chain.points.last_key_value().map_or(0, |(size, _)| *size);
            let by = kin.successors(id).first().and_then(|by| threads.get(*by));
            if told.insert(id.as_str()) {
                let named = Named { id, by, until: Some(&of_chain.until) };
                self.absent_one(named, size, "a checkpoint kept elsewhere");
            }
        }
        let mut order: Vec<_> = threads.iter().collect();
        order.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        for by in order {
            let Some(previous) = &by.previous else { continue };
            if told.insert(previous.id.as_str()) {
                let named = Named { id: &previous.id, by: Some(by), until: None };
                self.absent_one(named, previous.seq + 1, &format!("chain {}", by.id));
            }
        }
    }

    fn absent_one(&mut self, named: Named<'_>, size: u64, by: &str) {
        work::step();
        let Some(last) = size.checked_sub(1).filter(|_| self.kin.at(named.id).is_none()) else { return };
        let (fault, why) = match self.horizons.absent(named, self.elsewhere) {
            Excuse::Cut => (Fault::CutStart, ", as after retention"),
            Excuse::TooLate => (Fault::Missing, ", though everything since then should be there"),
            Excuse::None if named.until.is_none() => (
                Fault::Missing,
                "; nothing shows that it was before what retention has left (a checkpoint kept elsewhere could)",
            ),
            Excuse::None => (Fault::Missing, ""),
        };
        self.find(fault, named.id, (0, last), format!("{by} states this chain, and no record of it is there{why}"));
    }

    /// `must`: those of which there must be something.
    pub(super) fn instances(&mut self, must: &[String], records: u64) {
        for instance in must.iter().filter(|instance| self.kin.of_instance(instance).is_empty()) {
            let text = "no record of this instance".to_owned();
            self.found.add(Finding::new(Fault::Missing, instance, None).saying(text));
        }
        if !self.trust.checked {
            return;
        }
        if records == 0 {
            let text = "there is no record, so that nothing of it is signed".to_owned();
            self.found.add(Finding::new(Fault::Missing, "", None).saying(text));
        }
        let mut unsigned: Vec<_> = self.kin.instances().filter(|i| !self.trust.has_signed(i)).collect();
        unsigned.sort_unstable();
        for instance in unsigned {
            let text = "nothing of this instance is signed by a key that is trusted".to_owned();
            self.found.add(Finding::new(Fault::Signature, instance, None).saying(text));
        }
    }
}
