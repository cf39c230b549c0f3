//! Joins operations and decisions by signature. Holds one entry for each signature of the audit log; decisions go by. Pure.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::report::{Counts, Example, Report};
use crate::commands::readers::Failure;
use crate::commands::readers::filter::{Filter, time_us};
use crate::commands::readers::minio_audit::Operation;

/// Signatures of one run; about 400 bytes each.
const MAX_SIGNATURES: usize = 4_000_000;
/// What lies between a decision and its operation's times, and between two clocks.
const SLACK_US: i64 = 5_000_000;
/// Calls that MinIO answers without asking, signed or not. The rest of the name does not matter.
const NEVER_ASKED: &str = "AssumeRole";
/// One operation with an outcome of its own for each part: it succeeds where all parts are denied.
const OF_PARTS: [&str; 3] = ["DeleteMultipleObjects", "AccountInfo", "ListBuckets"];

/// One signature: the first operation that bears it, and what was decided.
#[derive(Debug)]
struct Signed {
    operation: Operation,
    operations: u64,
    allowed: u64,
    denied: u64,
    advisory: u64,
}

#[derive(Debug)]
pub(super) struct Tables {
    examples: usize,
    signed: HashMap<String, Signed>,
    /// Ids of decisions, so that a duplicate is one; only of those without an operation.
    orphans: HashSet<String>,
    counts: Counts,
    /// First and last end of an operation, first and last record.
    audit: Option<(i64, i64)>,
    records: Option<(i64, i64)>,
    without_operation: Vec<(i64, Example)>,
}

impl Tables {
    pub fn new(examples: usize) -> Self {
        Self {
            examples,
            signed: HashMap::new(),
            orphans: HashSet::new(),
            counts: Counts::default(),
            audit: None,
            records: None,
            without_operation: Vec::new(),
        }
    }

    pub fn passed_over(&mut self, lines: u64) {
        self.counts.audit_lines_passed_over += lines;
    }

    pub fn unreadable(&mut self) {
        self.counts.unreadable_records += 1;
    }

    /// # Errors
    /// More signatures than are held.
    pub fn operation(&mut self, operation: Operation) -> Result<(), Failure> {
        self.counts.operations += 1;
        if let Some(ended) = operation.time_us {
            widen(&mut self.audit, ended);
        }
        let Some(signature) = operation.signature_sha256.clone() else {
            self.counts.operations_unsigned += 1;
            return Ok(());
        };
        if let Some(known) = self.signed.get_mut(&signature) {
            known.operations += 1;
            // Whoever was served stands for the others: that is the one to explain.
            if served(&operation) && !served(&known.operation) {
                known.operation = operation;
            }
            return Ok(());
        }
        if self.signed.len() == MAX_SIGNATURES {
            let text =
                format!("more than {MAX_SIGNATURES} signed requests: narrow it down with `--since` and `--until`");
            return Err(Failure::CouldNot(anyhow::anyhow!(text)));
        }
        self.signed.insert(signature, Signed { operation, operations: 1, allowed: 0, denied: 0, advisory: 0 });
        Ok(())
    }

    /// Some record was made then.
    pub fn seen(&mut self, time: i64) {
        widen(&mut self.records, time);
    }

    pub fn decision(&mut self, record: &Value) {
        let text = |at: &str| record.pointer(at).and_then(Value::as_str);
        self.counts.decisions += 1;
        let Some(signature) = text("/data/request/signature_sha256") else {
            self.counts.decisions_unsigned += 1;
            return;
        };
        if let Some(signed) = self.signed.get_mut(signature) {
            self.counts.decisions_joined += 1;
            let advisory = record.pointer("/data/advisory").and_then(Value::as_bool).unwrap_or(false);
            match text("/data/decision") {
                _ if advisory => signed.advisory += 1,
                Some("allow") => signed.allowed += 1,
                _ => signed.denied += 1,
            }
            return;
        }
        let id = text("/id").unwrap_or_default().to_owned();
        // Remembered up to the bound; a duplicate beyond it counts twice, which is said of no other figure.
        if self.orphans.len() < MAX_SIGNATURES && !self.orphans.insert(id) {
            self.counts.decisions -= 1;
            return;
        }
        match time_us(record) {
            Some(time) if self.covered_by_audit(time) => {
                self.counts.decisions_without_operation += 1;
                if self.without_operation.len() < self.examples {
                    self.without_operation.push((time, Example::of_decision(record)));
                }
            }
            Some(_) | None => self.counts.decisions_outside += 1,
        }
    }

    /// An operation's entry is written when it ends.
    fn covered_by_audit(&self, time: i64) -> bool {
        self.audit.is_some_and(|(first, last)| time >= first && time <= last.saturating_sub(SLACK_US))
    }

    pub fn report(mut self, filter: &Filter) -> Report {
        let records = self.records.map(|(first, last)| {
            (first.max(filter.since_us().unwrap_or(i64::MIN)), last.min(filter.until_us().unwrap_or(i64::MAX)))
        });
        let (mut unexplained, mut contradicted) = (Vec::new(), Vec::new());
        for signed in self.signed.values() {
            let (operation, count) = (&signed.operation, signed.operations);
            let time = operation.time_us.unwrap_or(0);
            if signed.allowed + signed.denied + signed.advisory > 0 {
                self.counts.operations_joined += count;
                if signed.contradicts() {
                    self.counts.served_though_denied += 1;
                    contradicted.push((time, Example::of_operation(operation)));
                }
            } else if operation.api.starts_with(NEVER_ASKED) {
                self.counts.operations_never_asked += count;
            } else if !covered_by_records(operation, records) {
                self.counts.operations_outside += count;
            } else if served(operation) {
                self.counts.served_without_decision += count;
                unexplained.push((time, Example::of_operation(operation)));
            } else {
                self.counts.refused_without_decision += count;
            }
        }
        Report {
            served_without_decision: first(unexplained, self.examples),
            served_though_denied: first(contradicted, self.examples),
            decisions_without_operation: first(self.without_operation, self.examples),
            audit_log: self.audit.map(Into::into),
            records: self.records.map(Into::into),
            counts: self.counts,
        }
    }
}

impl Signed {
    /// MinIO served what was denied altogether. Not where equal requests share a signature, or parts have outcomes.
    fn contradicts(&self) -> bool {
        let one = self.operations == 1 && !OF_PARTS.contains(&self.operation.api.as_str());
        one && self.allowed == 0 && self.denied > 0 && served(&self.operation)
    }
}

fn served(operation: &Operation) -> bool {
    operation.status.is_some_and(|status| (200..400).contains(&status))
}

/// Whether its decision would be among what was read.
fn covered_by_records(operation: &Operation, records: Option<(i64, i64)>) -> bool {
    let (Some((first, last)), Some(began), Some(ended)) = (records, operation.began_us, operation.time_us) else {
        return records.is_some();
    };
    began >= first && ended <= last.saturating_sub(SLACK_US)
}

fn widen(span: &mut Option<(i64, i64)>, time: i64) {
    let (first, last) = span.unwrap_or((time, time));
    *span = Some((first.min(time), last.max(time)));
}

/// The earliest examples.
fn first(mut found: Vec<(i64, Example)>, count: usize) -> Vec<Example> {
    found.sort_by_key(|(time, _)| *time);
    found.truncate(count);
    found.into_iter().map(|(_, example)| example).collect()
}
