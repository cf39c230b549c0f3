//! What was answered, against what was recorded: shared by the attacks on the front and those by authorizers. Counts what
//! must not be, and says each in words. It sends nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loadtest::stub::Received;
use serde_json::Value;

use crate::support::http::Answer;
use crate::support::{Running, records};

/// How long descriptors may take to come back: an answer before the end of a question leaves its connection open for 5 s.
const DESCRIPTORS_BACK: Duration = Duration::from_secs(15);

/// Whether the record and what the authorizer got are as they must be.
pub type Look = fn(&Value, &Received) -> bool;

/// For a look at the record alone.
pub fn nothing_received() -> Received {
    Received {
        method: String::new(),
        target: String::new(),
        headers: Vec::new(),
        body: Vec::new().into(),
        at: Instant::now(),
        connection_id: 0,
    }
}

/// An answer that named its record.
pub struct Kept {
    /// Row and input, for people.
    pub of: String,
    pub id: String,
    pub allowed: bool,
    pub reason: String,
    pub look: Option<(Look, Received)>,
}

impl Kept {
    pub fn new(of: &str, answer: &Answer) -> Self {
        Self {
            of: of.to_owned(),
            id: answer.decision().to_owned(),
            allowed: answer.allowed(),
            reason: answer.reason().to_owned(),
            look: None,
        }
    }
}

/// What attacks came to.
#[derive(Debug, Default)]
pub struct Found {
    pub tried: usize,
    pub wrongly_allowed: usize,
    pub missing: usize,
    pub complaints: Vec<String>,
}

impl Found {
    pub fn complain(&mut self, of: &str, what: impl AsRef<str>) {
        self.complaints.push(format!("{of}: {}", what.as_ref()));
    }

    pub fn and(mut self, other: Self) -> Self {
        self.tried += other.tried;
        self.wrongly_allowed += other.wrongly_allowed;
        self.missing += other.missing;
        self.complaints.extend(other.complaints);
        self
    }

    /// Each answer has its record, which says the same, and nothing else has one.
    pub fn compare(&mut self, kept: &[Kept], records: Vec<Value>) {
        let decisions = records::decisions(records);
        let mut by_id: BTreeMap<&str, &Value> =
            decisions.iter().filter_map(|record| Some((record["id"].as_str()?, record))).collect();
        if by_id.len() != decisions.len() {
            self.complain("the spool", "two records have one id");
        }
        for one in kept {
            let Some(record) = by_id.remove(one.id.as_str()) else {
                self.missing += 1;
                self.complain(&one.of, format!("no record, or its answer named another's: {}", one.id));
                continue;
            };
            let data = &record["data"];
            let decision = if one.allowed { "allow" } else { "deny" };
            if data["decision"] != decision || data["reason"] != one.reason.as_str() {
                self.complain(&one.of, format!("answered {decision}, {}; recorded {data}", one.reason));
            }
            if one.look.as_ref().is_some_and(|(look, received)| !look(record, received)) {
                self.complain(&one.of, format!("recorded or sent on as it must not be: {record}"));
            }
        }
        for (_, record) in by_id {
            self.complain("nobody", format!("a record that no answer named: {record}"));
        }
    }

    /// Nothing is as it must not be.
    pub fn assert(&self) {
        let complaints = self.complaints.join("\n");
        assert!(self.complaints.is_empty(), "{} complaints:\n{complaints}", self.complaints.len());
        assert_eq!((self.wrongly_allowed, self.missing), (0, 0));
    }
}

/// Descriptors that the process has open.
pub fn descriptors(proxy: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count()
}

/// Waits until no more are open than there were. How many there are, where that does not come.
pub async fn left_open(proxy: &Running, before: usize) -> Option<usize> {
    let started = Instant::now();
    loop {
        let now = descriptors(proxy);
        if now <= before {
            return None;
        }
        if started.elapsed() > DESCRIPTORS_BACK {
            return Some(now);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The log of a process that was attacked: nothing in it acts on a terminal, and it knows of no defect.
pub fn harmless(log: &str) -> Result<(), String> {
    let acts = |c: &char| (c.is_control() && *c != '\n') || matches!(*c, '\u{2028}' | '\u{2029}' | '\u{202e}');
    if let Some(c) = log.chars().find(acts) {
        return Err(format!("{c:?} in the log"));
    }
    if log.contains("panic") { Err(format!("a panic in the log:\n{log}")) } else { Ok(()) }
}

#[test]
fn what_must_not_be_is_found() {
    let record = |id: &str, decision: &str| serde_json::json!({ "id": id, "type": "io.countersign.decision.v1", "data": { "decision": decision, "reason": "allowed" } });
    let kept = |id: &str, look: Option<(Look, Received)>| {
        let (of, id, reason) = ("H00".to_owned(), id.to_owned(), "allowed".to_owned());
        Kept { of, id, allowed: true, reason, look }
    };
    let found = |kept: &[Kept], records: Vec<Value>| {
        let mut found = Found::default();
        found.compare(kept, records);
        (found.missing, found.complaints.len())
    };
    assert_eq!(found(&[kept("a", None)], vec![record("a", "allow")]), (0, 0));
    assert_eq!(found(&[kept("a", None)], vec![]), (1, 1), "no record");
    assert_eq!(found(&[kept("a", None), kept("a", None)], vec![record("a", "allow")]), (1, 1), "one for two");
    assert_eq!(found(&[], vec![record("a", "allow")]), (0, 1), "one that nobody was told of");
    assert_eq!(found(&[kept("a", None)], vec![record("a", "deny")]), (0, 1), "says something else");
    assert_eq!(found(&[], vec![record("a", "deny"), record("a", "deny")]), (0, 2), "an id twice");
    let never: Look = |_, _| false;
    assert_eq!(
        found(&[kept("a", Some((never, nothing_received())))], vec![record("a", "allow")]),
        (0, 1),
        "a look fails"
    );
    for bad in ["a\u{1b}[2J", "a\u{9b}2J", "a\rb", "a panic: b"] {
        assert!(harmless(bad).is_err(), "{bad:?}");
    }
    assert_eq!(harmless("a\nb\n"), Ok(()));
}
