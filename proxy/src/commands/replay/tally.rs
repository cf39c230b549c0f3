//! What a replay found: each difference as a line, and at the end how many there were, what was not asked about, and what
//! the records could not give.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::Said;
use super::rebuilt::{GIVEN, NEVER, NEVER_CLAIMS, Rebuilt, Skipped};
use crate::commands::readers::printable::escape;
use crate::commands::tail::line::{member, resource};
use crate::policy::compare::Difference;
use crate::policy::verdict::{Decision, Reason};

/// One record and what the candidate says about it.
pub(super) struct Compared {
    pub record: Value,
    pub rebuilt: Rebuilt,
    pub said: Said,
    pub difference: Difference,
}

impl Compared {
    fn reason(&self) -> Reason {
        match self.said {
            Ok(Decision::Allow) => Reason::Allowed,
            Ok(Decision::Deny) => Reason::Denied,
            Err(reason) => reason,
        }
    }

    /// A deny of it would change nothing for the caller.
    fn is_advisory(&self) -> bool {
        self.record.pointer("/data/advisory").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn text(&self) -> String {
        let record = &self.record;
        let at = |path| member(record, path);
        format!(
            "{}{}  {}  {}  {}  {}  {} → {}  {}",
            self.difference.as_str(),
            if self.is_advisory() { " (advisory)" } else { "" },
            at("/time"),
            at("/data/actor/principal"),
            at("/data/action"),
            resource(record),
            at("/data/reason"),
            self.reason().as_str(),
            at("/id"),
        )
    }

    pub(super) fn json(&self) -> String {
        let decided = self.record.pointer("/data/reason");
        json!({
            "difference": self.difference, "of": self.record.get("id"), "time": self.record.get("time"),
            "decided": decided, "candidate": self.reason(), "action": self.record.pointer("/data/action"),
            "advisory": self.is_advisory(), "not_held": self.rebuilt.not_held,
        })
        .to_string()
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    records: u64,
    questions: u64,
    differences: BTreeMap<Difference, u64>,
    skipped: BTreeMap<Skipped, u64>,
    /// Condition keys that some records did not give, and how many.
    not_held: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn asked(&mut self) {
        self.questions += 1;
    }

    pub(super) fn skipped(&mut self, why: Skipped) {
        *self.skipped.entry(why).or_default() += 1;
    }

    pub(super) fn add(&mut self, compared: &Compared) {
        self.records += 1;
        *self.differences.entry(compared.difference).or_default() += 1;
        for name in &compared.rebuilt.not_held {
            *self.not_held.entry(name.clone()).or_default() += 1;
        }
    }

    pub(super) fn differs(&self) -> bool {
        self.differences.iter().any(|(difference, count)| *difference != Difference::None && *count > 0)
    }

    fn of(&self, difference: Difference) -> u64 {
        self.differences.get(&difference).copied().unwrap_or(0)
    }

    pub(super) fn print(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        if json { writeln!(out, "{}", self.json()) } else { out.write_all(self.text().as_bytes()) }
    }

    fn json(&self) -> Value {
        let by = |difference: Difference| (difference.as_str().to_owned(), Value::from(self.of(difference)));
        let told = [Difference::None, Difference::WouldAllow, Difference::WouldDeny, Difference::Fault];
        let differences: serde_json::Map<_, _> = told.into_iter().map(by).collect();
        let skipped: BTreeMap<_, _> = self.skipped.iter().map(|(why, count)| (why.as_str(), count)).collect();
        json!({ "summary": {
            "decisions": self.records, "questions": self.questions, "differences": differences, "not_asked": skipped,
            "given": GIVEN, "never_given": NEVER, "claims_never_given": NEVER_CLAIMS, "not_held": self.not_held,
        }})
    }

    fn text(&self) -> String {
        let counted = |difference| self.of(difference);
        let mut text = format!(
            "{} decisions, asked with {} questions: {} the same, {} would_allow, {} would_deny, {} fault\n",
            self.records,
            self.questions,
            counted(Difference::None),
            counted(Difference::WouldAllow),
            counted(Difference::WouldDeny),
            counted(Difference::Fault),
        );
        for (why, count) in &self.skipped {
            text.push_str(&format!("not asked: {count} {}\n", why.in_words()));
        }
        text.push_str(&format!("conditions that records give: {}\n", GIVEN.join(" ")));
        text.push_str(&format!("conditions that no record gives: {}\n", NEVER.join(", ")));
        text.push_str(&format!("claims that no record gives: {NEVER_CLAIMS}\n"));
        for (name, count) in &self.not_held {
            text.push_str(&format!("condition `{}` was there and is not held: {count} records\n", escape(name)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_records_cannot_act_on_the_terminal() {
        let not_held = BTreeMap::from([("\u{1b}[2J".to_owned(), 3)]);
        let text = Tally { not_held, ..Tally::default() }.text();
        assert!(text.ends_with("condition `\\u{1b}[2J` was there and is not held: 3 records\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
