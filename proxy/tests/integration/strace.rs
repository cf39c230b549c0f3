//! The first promise as the kernel sees it: write, sync, and only then the answer. On the release binary, under strace.

use std::process::Stdio;

use loadtest::laboratory::{Error, require};
use loadtest::stub::{Script, Stub};
use tokio::process::Command;

use crate::support::{Countersign, Running, eventually, question};

const CALLS: &str = "trace=pwrite64,fdatasync,sendto,write,writev";
const QUESTIONS: usize = 20;
const ALLOW: &str = r#"{\"result\":true}"#;

/// What one line of the trace means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Write,
    Synced,
    Allow,
}

/// Lines in the order in which strace saw them. A call that another thread interrupted is two lines: a sync counts when
/// it has returned, an answer and a write when they begin.
fn calls(trace: &str) -> Vec<Call> {
    let mut found = Vec::new();
    for line in trace.lines() {
        let returned = line.trim_end().ends_with("= 0");
        if line.contains("pwrite64(") && line.contains("io.countersign.decision.v1") {
            found.push(Call::Write);
        } else if line.contains("fdatasync") && returned {
            found.push(Call::Synced);
        } else if ["write(", "writev(", "sendto("].iter().any(|c| line.contains(&format!(" {c}")))
            && line.contains(ALLOW)
        {
            found.push(Call::Allow);
        }
    }
    found
}

/// Answers that began to leave before the last write was synced, or with no write of their own.
fn too_early(calls: &[Call]) -> usize {
    let (mut early, mut written, mut durable) = (0, 0, 0);
    for call in calls {
        match call {
            Call::Write => written += 1,
            Call::Synced => durable = written,
            Call::Allow if durable == 0 => early += 1,
            Call::Allow => (written, durable) = (written - 1, durable - 1),
        }
    }
    early
}

async fn traced(proxy: &Running) -> Option<String> {
    let path = proxy.spool().parent().unwrap().join("trace");
    let log = path.with_extension("log");
    let started = Command::new("strace")
        .args(["-f", "-y", "-s", "4096", "-e", CALLS, "-o", path.to_str().unwrap(), "-p", &proxy.pid().to_string()])
        .stderr(std::fs::File::create(&log).unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut strace) = started else { return missing("strace is not installed") };
    let attached = eventually("strace is attached", async || {
        if strace.try_wait().unwrap().is_some() {
            return Some(false);
        }
        std::fs::read_to_string(&log).unwrap_or_default().contains("attached").then_some(true)
    });
    if !attached.await {
        return missing("strace may not attach");
    }
    for n in 0..QUESTIONS {
        assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", &n.to_string())).await.allowed());
    }
    let whole = eventually("the trace is whole", async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        (text.matches(ALLOW).count() >= QUESTIONS).then_some(text)
    });
    Some(whole.await)
}

fn missing(why: &str) -> Option<String> {
    let (tool, part) = ("strace".to_owned(), "the order of write, sync and answer".to_owned());
    require(Err(Error::Missing { tool, part, hint: why.to_owned() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_allow_leaves_before_its_record_is_synced() {
    // The stub is in this process, so that its allow is not in the trace.
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).start().await;
    let Some(trace) = traced(&proxy).await else { return };
    let seen = calls(&trace);
    let count = |call| seen.iter().filter(|c| **c == call).count();
    assert_eq!((count(Call::Write), count(Call::Allow)), (QUESTIONS, QUESTIONS), "{seen:?}");
    assert!(count(Call::Synced) >= QUESTIONS, "{seen:?}");
    assert_eq!(too_early(&seen), 0, "{seen:?}");
}

#[test]
fn an_answer_before_its_sync_is_found_out() {
    use Call::{Allow, Synced, Write};
    assert_eq!(too_early(&[Write, Synced, Allow, Write, Synced, Allow]), 0);
    assert_eq!(too_early(&[Write, Allow, Synced]), 1);
    assert_eq!(too_early(&[Write, Synced, Allow, Allow]), 1);
    assert_eq!(too_early(&[Write, Synced, Allow, Write, Allow, Synced]), 1);
}
