//! The client with MinIO's transport, a program in Go (`tests/go_minio`) that the laboratory builds once, and what it
//! met, beside what the spools hold.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign::audit::scan::{Scan, Scanned};
use loadtest::laboratory::{Laboratory, require};
use serde_json::Value;

use crate::support::{Running, question};

/// Callers, and how long each waits between two calls.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    pub callers: usize,
    pub from: Duration,
    pub to: Duration,
}

impl Pauses {
    /// Almost none.
    pub fn busy(callers: usize) -> Self {
        Self { callers, from: Duration::ZERO, to: Duration::ZERO }
    }
}

/// What it met.
#[derive(Debug, Default)]
pub struct Summary {
    /// Ids of records.
    pub answers: Vec<String>,
    pub failures: Vec<String>,
    pub calls: usize,
    /// Calls on connections that had been idle for nine tenths of their time.
    pub late: usize,
    pub dialed: usize,
    /// Answers with `Connection: close`.
    pub closing: usize,
    /// Answers over HTTP/2.
    pub http2: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, late, dialed, closing, failures, .. } = self;
        write!(f, "{calls} calls, {late} late, {dialed} dialed, {closing} closing, {} failed", failures.len())
    }
}

pub struct Client {
    child: Child,
    /// It goes on for as long as this is open.
    input: Option<ChildStdin>,
    failed: Arc<AtomicUsize>,
    reader: Option<JoinHandle<Summary>>,
}

impl Client {
    /// With `ca` over TLS, and HTTP/2. `None`, and a word about it, where there is no Go; in continuous integration that is a
    /// failure.
    pub async fn start(instances: &[Running], idle: Duration, pauses: &[Pauses], ca: Option<&Path>) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go_minio");
        let program = require(Laboratory::open().unwrap().go_program("go-minio", &source).await)?;
        let target = |one: &Running| format!("{}=http://{}/readyz", one.address(), one.admin());
        let targets: Vec<_> = instances.iter().map(target).collect();
        let millis = |time: Duration| format!("{}ms", time.as_millis());
        let mut command = Command::new(program);
        command.args(["-targets", &targets.join(","), "-idle", &millis(idle)]);
        command.args(["-question", &question("alice", "s3:GetObject", "reports", "a.txt").to_string()]);
        if let Some(ca) = ca {
            command.arg("-ca").arg(ca);
        }
        for Pauses { callers, from, to } in pauses {
            let callers = callers.to_string();
            match to.is_zero() {
                true => command.args(["-busy", &callers]),
                false => command.args(["-edge", &callers, "-edge-from", &millis(*from), "-edge-to", &millis(*to)]),
            };
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let failed = Arc::new(AtomicUsize::new(0));
        let counted = failed.clone();
        let reader = std::thread::spawn(move || read(BufReader::new(output), &counted));
        Some(Self { child, input, failed, reader: Some(reader) })
    }

    /// Calls that failed so far.
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    /// Lets it finish the calls that are under way.
    pub fn end(&mut self) -> Summary {
        drop(self.input.take());
        let summary = self.reader.take().expect("it ends once").join().unwrap();
        assert!(self.child.wait().unwrap().success());
        summary
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has ended where the test went well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read(lines: impl BufRead, failed: &AtomicUsize) -> Summary {
    let mut summary = Summary::default();
    for line in lines.lines() {
        let line = line.unwrap();
        if let Some(why) = line.strip_prefix("! ") {
            failed.fetch_add(1, Ordering::Relaxed);
            summary.failures.push(why.to_owned());
        } else if let Some(counts) = line.strip_prefix("# ") {
            let count = |name: &str| {
                let found = counts.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                found.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {name} in {counts}"))
            };
            (summary.calls, summary.late) = (count("calls"), count("late"));
            (summary.dialed, summary.closing) = (count("dialed"), count("closing"));
            summary.http2 = count("http2");
            assert_eq!(count("failed"), summary.failures.len());
        } else {
            summary.answers.push(line);
        }
    }
    assert_eq!(summary.calls, summary.answers.len() + summary.failures.len(), "a call without an end");
    summary
}

/// How many of these answers have no record in any of the spools, which nobody writes any more.
pub fn without_record(answers: &[String], instances: &[Running]) -> usize {
    let mut recorded = HashSet::new();
    for instance in instances {
        let mut scan = Scan::new(&instance.spool());
        while let Some(found) = scan.next().expect("a readable spool") {
            let Scanned::Record(entry) = found else { panic!("records are missing: {found:?}") };
            let record: Value = serde_json::from_slice(&entry.value).unwrap();
            recorded.insert(record["id"].as_str().unwrap().to_owned());
        }
    }
    let missing = |recorded: &HashSet<String>| answers.iter().filter(|id| !recorded.contains(*id)).count();
    // The control: an answer whose record is taken away is missed.
    let taken = answers.first().and_then(|id| recorded.take(id)).expect("an answer with a record");
    assert_eq!(missing(&recorded), 1);
    recorded.insert(taken);
    missing(&recorded)
}
