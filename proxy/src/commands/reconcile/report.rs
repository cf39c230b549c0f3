//! What the comparison found, for people and as JSON, and what it cannot know. Pure; values of records and of the log are made
//! printable.

use serde::Serialize;
use serde_json::Value;

use crate::audit::envelope::rfc3339;
use crate::commands::readers::minio_audit::Operation;
use crate::commands::readers::printable::escape;

/// Exact, duplicates of joined decisions aside. An operation is one entry of MinIO's audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub operations: u64,
    /// With at least one decision of the same signature.
    pub operations_joined: u64,
    /// Anonymous, or a form upload: nothing to join by.
    pub operations_unsigned: u64,
    /// STS.
    pub operations_never_asked: u64,
    /// Not within the times of the records that were read.
    pub operations_outside: u64,
    /// MinIO refused them itself, or could not ask.
    pub refused_without_decision: u64,
    /// Unexplained.
    pub served_without_decision: u64,
    /// Unexplained.
    pub served_though_denied: u64,
    pub decisions: u64,
    pub decisions_joined: u64,
    /// Nothing to join by.
    pub decisions_unsigned: u64,
    /// Not within the times of the audit log.
    pub decisions_outside: u64,
    /// Unexplained.
    pub decisions_without_operation: u64,
    pub audit_lines_passed_over: u64,
    pub unreadable_records: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub counts: Counts,
    pub audit_log: Option<Span>,
    pub records: Option<Span>,
    /// The earliest of each kind; of decisions, the first that were read.
    pub served_without_decision: Vec<Example>,
    pub served_though_denied: Vec<Example>,
    pub decisions_without_operation: Vec<Example>,
}

/// First and last time.
#[derive(Debug, Serialize)]
pub(super) struct Span {
    first: String,
    last: String,
}

impl From<(i64, i64)> for Span {
    fn from((first, last): (i64, i64)) -> Self {
        Self { first: rfc3339(first), last: rfc3339(last) }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Example {
    time: String,
    /// MinIO's request id, or the record's.
    id: String,
    what: String,
    by: Option<String>,
    on: Option<String>,
    outcome: String,
}

impl Example {
    pub fn of_operation(operation: &Operation) -> Self {
        let status = operation.status.map_or_else(|| "no status".to_owned(), |status| format!("status {status}"));
        let on = [&operation.bucket, &operation.object].into_iter().flatten().map(String::as_str).collect::<Vec<_>>();
        Self {
            time: operation.time_us.map_or_else(|| "-".to_owned(), rfc3339),
            id: operation.request_id.clone(),
            what: operation.api.clone(),
            by: operation.access_key.clone(),
            on: (!on.is_empty()).then(|| on.join("/")),
            outcome: status,
        }
    }

    pub fn of_decision(record: &Value) -> Self {
        let text = |at: &str| record.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let parts = [text("/data/resource/bucket"), text("/data/resource/object")];
        let on = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        let (decision, reason) = (text("/data/decision"), text("/data/reason"));
        Self {
            time: text("/time").unwrap_or_default(),
            id: text("/id").unwrap_or_default(),
            what: text("/data/action").unwrap_or_else(|| "-".to_owned()),
            by: text("/data/actor/account"),
            on: (!on.is_empty()).then_some(on),
            outcome: [decision, reason].into_iter().flatten().collect::<Vec<_>>().join(" "),
        }
    }

    fn line(&self) -> String {
        let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), escape);
        let [time, id, what, outcome] = [&self.time, &self.id, &self.what, &self.outcome].map(|text| escape(text));
        format!("    {time}  {what}  {}  {}  {outcome}  {id}\n", or_dash(&self.by), or_dash(&self.on))
    }
}

/// Printed with every report: a comparison that hides its limits would be taken for a proof.
const CANNOT_KNOW: &str = "\
What this cannot know:
  - what is not signed (anonymous access, form uploads) joins nothing, on either side
  - equal requests of one second share a signature: of two, one that is missing does not show
  - one operation has several decisions (a GET three, a listing of buckets two for each); one that is missing of them does not show
  - advisory decisions (metadata_probe, list_filter, preflight, fallthrough) join, and say nothing about the outcome
  - a decision from the cache counts like any other: it has its own record
  - MinIO writes an entry when an operation ends, and drops entries while its audit target is away: a decision without an
    operation is a question to ask, not a proof
  - that an operation did what was decided about: it has the same signature, nothing else is compared
";

impl Report {
    pub fn is_explained(&self) -> bool {
        let Counts { served_without_decision, served_though_denied, decisions_without_operation, .. } = self.counts;
        served_without_decision + served_though_denied + decisions_without_operation == 0
    }

    pub fn text(&self) -> String {
        let c = &self.counts;
        let mut text = String::new();
        for (name, span) in [("audit log", &self.audit_log), ("records", &self.records)] {
            let span = span.as_ref().map_or_else(|| "nothing".to_owned(), |s| format!("{} to {}", s.first, s.last));
            text += &format!("{name:<10} {span}\n");
        }
        text += &format!("\n{} operations of MinIO\n", c.operations);
        for (count, what) in [
            (c.operations_joined, "have decisions"),
            (c.operations_unsigned, "are not signed: nothing to join by"),
            (c.operations_never_asked, "are of a kind that MinIO never asks about (STS)"),
            (c.operations_outside, "are outside the times of these records"),
            (
                c.refused_without_decision,
                "were refused without a decision: by MinIO itself, or because it could not ask",
            ),
            (c.served_without_decision, "WERE SERVED WITHOUT A DECISION"),
            (c.served_though_denied, "WERE SERVED THOUGH ALL WAS DENIED (these have decisions, too)"),
        ] {
            text += &format!("{count:>10} {what}\n");
        }
        text += &lines(&self.served_without_decision);
        text += &lines(&self.served_though_denied);
        text += &format!("\n{} decisions\n", c.decisions);
        for (count, what) in [
            (c.decisions_joined, "have an operation"),
            (c.decisions_unsigned, "are about questions that are not signed: nothing to join by"),
            (c.decisions_outside, "are outside the times of this audit log"),
            (c.decisions_without_operation, "HAVE NO OPERATION"),
        ] {
            text += &format!("{count:>10} {what}\n");
        }
        text += &lines(&self.decisions_without_operation);
        for (count, what) in [
            (c.audit_lines_passed_over, "lines of the audit log are no entry of a call"),
            (c.unreadable_records, "records could not be read"),
        ] {
            if count > 0 {
                text += &format!("{count:>10} {what}\n");
            }
        }
        let verdict = if self.is_explained() { "nothing is unexplained" } else { "something is unexplained" };
        text + "\n" + verdict + "\n\n" + CANNOT_KNOW
    }
}

fn lines(examples: &[Example]) -> String {
    examples.iter().map(Example::line).collect()
}
