//! The commands as their users run them: the binary, its exit codes, what it prints and what it writes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use loadtest::stub::{Answer, Script, Stub};
use serde_json::Value;

/// Run away from the figures of this machine's own runs.
fn loadtest(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(args).current_dir(home).env("CARGO_TARGET_DIR", home).output().unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The stub has its own thread; the command blocks this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn run_reports_and_compare_judges() {
    let home = tempfile::tempdir().unwrap();
    let stub = Stub::start(Answer::allow().header("X-Countersign-Reason", "allowed")).await.unwrap();
    let url = stub.url();
    let short = ["--url", &url, "--connections", "4", "--rate", "500", "--duration", "400ms", "--warm-up", "0s"];
    let mixed = ["--hits", "0.5", "--objects", "10", "--accounts", "3", "--size", "1024=3,2048=1"];
    let run = |file: &str| loadtest(home.path(), &[&["run"], &short[..], &mixed[..], &["--json", file]].concat());
    let ran = run("a.json");
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(printed.contains("reasons   allowed: 200") && printed.contains("p99.9"), "{printed}");
    let setting =
        format!("server    {url} (HTTP/1.1)\nload      4 connections, open loop, 500 questions/s, warm-up 0 s");
    assert!(printed.starts_with(&setting), "{printed}");
    // No terminal, no bar, and shorter than a line's time.
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "");
    let report = json(&home.path().join("a.json"));
    assert_eq!((&report["allow"], &report["reasons"]["allowed"]), (&200.into(), &200.into()), "{report}");
    assert_eq!((&report["setting"]["accounts"], &report["setting"]["hits"]), (&3.into(), &0.5.into()), "{report}");
    assert!(report["histogram"].as_str().unwrap().starts_with("HISTFAAAA"), "{report}");
    assert!(report["latency"]["p999_us"].as_f64() > Some(0.0) && report["sent_bytes"].as_u64() > Some(200 * 1024));

    let count = AtomicU64::new(0);
    stub.set(Script::by(move |_| match count.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Answer::allow(),
        _ => Answer::allow().close_in_body(4),
    }));
    assert_eq!(run("b.json").status.code(), Some(1), "half of the answers are lost");
    let compare = |one: &str, other: &str| loadtest(home.path(), &["compare", one, other]);
    let worse = compare("a.json", "b.json");
    assert_eq!(worse.status.code(), Some(1), "{worse:?}");
    assert!(String::from_utf8_lossy(&worse.stdout).contains("WORSE"), "{worse:?}");
    let same = compare("a.json", "a.json");
    assert_eq!((same.status.code(), same.stderr.as_slice()), (Some(0), &b""[..]));
    let two = ["run", "--url", &url, "--connections", "2", "--duration", "100ms", "--json", "c.json"];
    loadtest(home.path(), &two);
    let unlike = String::from_utf8_lossy(&compare("a.json", "c.json").stderr).into_owned();
    assert!(unlike.starts_with("the two loads are not alike: connections: 4 and 2\n"), "{unlike}");
    assert!(unlike.contains("accounts: 3 and 1\n"), "{unlike}");
    assert_eq!(compare("a.json", "none.json").status.code(), Some(2));
}

/// In a log, where there is no bar.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_run_says_how_far_it_is() {
    let home = tempfile::tempdir().unwrap();
    let stub = Stub::start(Answer::allow()).await.unwrap();
    let long = ["run", "--url", &stub.url(), "--rate", "20", "--duration", "8s", "--warm-up", "0s"];
    let said = String::from_utf8_lossy(&loadtest(home.path(), &long).stderr).into_owned();
    assert!(said.contains(" s of 8 s: ") && said.ends_with("/s\n"), "{said}");
}

#[test]
fn peers_take_turns_and_leave_figures() {
    let home = tempfile::tempdir().unwrap();
    let args = ["--rounds", "1", "--seconds", "0.2", "--warm-up", "0.1", "--connections", "4", "--json", "peers.json"];
    let only = "pingora-constant,pingora-proxy,fdatasync";
    let ran = loadtest(home.path(), &[&["peers", "--only", only], &args[..]].concat());
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let outcome = json(&home.path().join("peers.json"));
    let rows = outcome["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["contender"].as_str().unwrap()).collect();
    assert_eq!(names, ["pingora constant", "pingora ProxyHttp", "fdatasync"]);
    for row in rows {
        assert!(row["per_second"].as_f64() > Some(0.0) && row["p99_us"].as_f64() > Some(0.0), "{row}");
    }
    let kept = json(&home.path().join("figures/unfit/peers.json"));
    assert!(kept["command"].as_str().unwrap().contains("--rounds 1 --seconds 0.2"), "{kept}");
    assert!(kept["setting"]["others before"].as_str().unwrap().ends_with(" cores"), "{kept}");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.ends_with("not put into `docs/PERFORMANCE.md`: it had 1 of at least 5 rounds\n"), "{said}");

    // As if it had been longer.
    std::fs::rename(home.path().join("figures/unfit"), home.path().join("figures/timed")).unwrap();
    let document = home.path().join("P.md");
    let text = "<!-- claims: written by `loadtest figures` -->\n<!-- end -->\n\
                <!-- table peers: written by `loadtest figures` -->\n<!-- end -->\n";
    std::fs::write(&document, text).unwrap();
    let other = home.path().join("R.md");
    std::fs::write(&other, "<!-- figures: written by `loadtest figures` -->\n<!-- end -->\n").unwrap();
    let ran = loadtest(home.path(), &["figures", "--document", "R.md", "--performance", "P.md"]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let written = std::fs::read_to_string(&document).unwrap();
    assert!(written.contains("| pingora ProxyHttp | ") && written.contains("pingora 0."), "{written}");
}
