//! What was answered in each cell, and whether it is what was promised: a deny with its status and reason, a record or an exact
//! count, and nothing remembered. Looks at what others have done; asks nobody.

use std::collections::{BTreeMap, HashMap};

use countersign::policy::route::Combine;
use countersign::policy::verdict::Reason;
use serde_json::Value;

use super::table::{Cache, Cell, Way};
use crate::support::Answer;

/// One answer, in the words that its record has.
#[derive(Debug, Clone)]
pub struct Seen {
    pub status: u16,
    pub allowed: bool,
    pub reason: String,
    pub record: Option<String>,
}

impl From<Answer> for Seen {
    fn from(answer: Answer) -> Self {
        let body: Value = serde_json::from_str(&answer.body).expect("MinIO can read every answer");
        // An answer without a header names its reason in the body.
        let reason = answer.header("x-countersign-reason").or(body["error"].as_str()).unwrap_or_default().to_owned();
        let record = answer.header("x-countersign-decision").map(str::to_owned);
        Self { status: answer.status, allowed: body["result"] == true, reason, record }
    }
}

/// A cell that was run.
#[derive(Debug, Clone)]
pub struct Tried {
    pub cell: Cell,
    /// Two where an equal question waited for the first one's answer.
    pub answers: Vec<Seen>,
    /// The same question once the fault is over.
    pub again: Seen,
}

/// What one process did.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    pub tried: Vec<Tried>,
    /// Decisions by their id.
    pub records: HashMap<String, Value>,
    /// Answers without a record of their own, by reason, as the process counted them.
    pub counted: BTreeMap<String, u64>,
    /// A cell in which an authorizer was made to allow.
    pub control: Option<Tried>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub cells: u64,
    /// Answers that allow and should not.
    pub allows: u64,
    /// Records that are not there, and answers that were not counted, in words.
    pub missing: Vec<String>,
    /// Everything else that is not as promised, in words.
    pub wrong: Vec<String>,
    /// Denies whose record a machine that stalls made too late: nothing is known of their cells. In words.
    pub late: Vec<String>,
}

impl Found {
    /// Nothing but what was late.
    pub fn is_late_only(&self) -> bool {
        !self.late.is_empty() && self.allows == 0 && self.missing.is_empty() && self.wrong.is_empty()
    }

    pub fn add(&mut self, other: Self) {
        self.cells += other.cells;
        self.allows += other.allows;
        self.missing.extend(other.missing);
        self.wrong.extend(other.wrong);
        self.late.extend(other.late);
    }
}

pub fn judge(ran: &Ran) -> Found {
    let mut found = Found::default();
    let mut uncounted: BTreeMap<&str, u64> = BTreeMap::new();
    for tried in &ran.tried {
        found.cells += 1;
        let again = (tried.again.reason == Reason::AuditTimeout.as_str()).then_some(&tried.again);
        let late = tried.answers.iter().find(|seen| is_late(&tried.cell, seen)).or(again);
        if let Some(seen) = late {
            found.late.push(format!("{}: answered {seen:?}", tried.cell));
            found.allows += tried.answers.iter().filter(|seen| seen.allowed).count() as u64;
            continue;
        }
        for seen in &tried.answers {
            answered(&mut found, tried, seen);
            if tried.cell.has_record() {
                recorded(&mut found, ran, tried, seen);
            } else {
                *uncounted.entry(tried.cell.reason.as_str()).or_default() += 1;
            }
        }
        asked_anew(&mut found, ran, tried);
    }
    for (reason, answers) in uncounted {
        let counted = ran.counted.get(reason).copied().unwrap_or(0);
        found.missing.extend((counted..answers).map(|_| format!("{reason}: {counted} counted of {answers}")));
        if counted > answers {
            found.wrong.push(format!("{reason}: {counted} counted of {answers}"));
        }
    }
    found
}

/// At the end of a deadline a record has 250 ms, and no time of its own to be waited for.
fn is_late(cell: &Cell, seen: &Seen) -> bool {
    cell.reason != Reason::AuditTimeout && seen.reason == Reason::AuditTimeout.as_str() && !seen.allowed
}

fn answered(found: &mut Found, tried: &Tried, seen: &Seen) {
    let cell = &tried.cell;
    if seen.allowed {
        found.allows += 1;
    } else if (seen.status, seen.reason.as_str()) != (cell.status(), cell.reason.as_str()) {
        found.wrong.push(format!("{cell}: answered {seen:?}"));
    }
}

fn recorded(found: &mut Found, ran: &Ran, tried: &Tried, seen: &Seen) {
    let cell = &tried.cell;
    let Some(record) = seen.record.as_ref().and_then(|id| ran.records.get(id)) else {
        found.missing.push(format!("{cell}: no record of {seen:?}"));
        return;
    };
    if seen.allowed {
        return;
    }
    let data = &record["data"];
    let is_early = matches!(cell.way(), Way::Unrouted | Way::Asked(_) | Way::Defect);
    let state = if cell.cache == Cache::Off || is_early { "off" } else { "miss" };
    let expected = ["deny", cell.reason.as_str(), "fault", cell.durability.as_str(), state];
    let members = ["/decision", "/reason", "/origin", "/durability", "/cache/state"];
    let actual = members.map(|member| data.pointer(member).and_then(Value::as_str).unwrap_or("-"));
    if actual != expected || !data["decided_by"].is_null() {
        found.wrong.push(format!("{cell}: recorded {actual:?}, not {expected:?}"));
    }
}

/// The fault is over: the same question goes to the authorizers again, and is allowed.
fn asked_anew(found: &mut Found, ran: &Ran, tried: &Tried) {
    let (cell, seen) = (&tried.cell, &tried.again);
    let Some(record) = seen.record.as_ref().and_then(|id| ran.records.get(id)) else {
        found.missing.push(format!("{cell}: no record of what came afterwards, {seen:?}"));
        return;
    };
    let data = &record["data"];
    let was_asked = data["authorizers"].as_array().is_some_and(|calls| !calls.is_empty());
    let state = data["cache"]["state"].as_str().unwrap_or("-");
    // No name can be made to resolve: where an allow takes this authorizer, that it was asked once more has to do.
    let may = !matches!((cell.way(), cell.combine), (Way::Nameless, Combine::All));
    if !was_asked || !["off", "miss"].contains(&state) || seen.allowed != may {
        found.wrong.push(format!("{cell}: afterwards {seen:?}, cache {state}, asked {was_asked}"));
    }
}
