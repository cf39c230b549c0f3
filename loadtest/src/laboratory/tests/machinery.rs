//! What all parts stand on: installed once and whole, ended as a group, missing tools said aloud.

use super::super::error::require_on;
use super::super::install::Recipe;
use super::super::part::{self, Plan, Ready};
use super::super::process::Process;
use super::super::{Error, recipes};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn recipe(needs: &'static [(&'static str, &'static str)]) -> Recipe {
    Recipe { part: "thing".into(), version: "1".into(), takes: "no time", needs }
}

#[test]
fn a_part_is_made_once_however_many_want_it() {
    let cache = tempfile::tempdir().unwrap();
    let made = AtomicUsize::new(0);
    let want = || {
        let home = recipe(&[]).once(cache.path(), |bench| {
            made.fetch_add(1, Ordering::SeqCst);
            bench.run(Command::new("sleep").arg("0.2"))?;
            bench.write("file", "whole")
        });
        assert_eq!(std::fs::read_to_string(home.unwrap().join("file")).unwrap(), "whole");
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(want))));
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[test]
fn a_failed_or_interrupted_installation_leaves_no_part() {
    let cache = tempfile::tempdir().unwrap();
    let left_over = cache.path().join(".thing-1.abandoned");
    std::fs::create_dir(&left_over).unwrap();
    let failed = recipe(&[]).once(cache.path(), |bench| {
        bench.write("file", "half")?;
        bench.run(Command::new("sh").args(["-c", "echo the reason; exit 3"]))
    });
    let why = failed.expect_err("a step failed").to_string();
    assert!(why.contains("the reason"), "{why}");
    let names: Vec<_> = std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["thing-1.lock"]);
    recipe(&[]).once(cache.path(), |bench| bench.write("file", "whole")).expect("the next try may succeed");
}

#[test]
fn a_missing_tool_skips_a_test_here_and_fails_it_on_a_build_machine() {
    let cache = tempfile::tempdir().unwrap();
    let missing = || recipe(&[("no-such-tool", "there is none")]).once(cache.path(), |_| Ok(()));
    assert!(matches!(missing(), Err(Error::Missing { tool, .. }) if tool == "no-such-tool"));
    let mut said = Vec::new();
    assert!(require_on(missing(), false, &mut said).is_none());
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("NOT RUN: laboratory::tests::machinery::a_missing_tool") && said.contains("no-such-tool"));
    std::panic::catch_unwind(|| require_on(missing(), true, &mut Vec::new())).expect_err("it must fail there");
    let broken = || Err::<(), _>(Error::Asked { part: "thing", why: "broken".to_owned() });
    std::panic::catch_unwind(|| require_on(broken(), false, &mut Vec::new()))
        .expect_err("a broken part is no missing tool");
}

#[test]
fn a_go_program_is_built_again_when_its_source_changes() {
    let (cache, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(source.path().join("go.mod"), "module echo\n\ngo 1.21\n").unwrap();
    let build = |word: &str| {
        let code = format!("package main\n\nfunc main() {{ print(\"{word}\") }}\n");
        std::fs::write(source.path().join("main.go"), code).unwrap();
        recipes::go_program(cache.path(), "echo", source.path())
    };
    let Some(first) = super::require(build("one")) else { return };
    let second = build("two").unwrap();
    let said = |program: &Path| Command::new(program).output().unwrap().stderr;
    assert_eq!((said(&first), said(&second)), (b"one".to_vec(), b"two".to_vec()));
    assert_eq!(build("one").unwrap(), first);
}

/// The end of this process, simulated: the pipe to the watchdog closes without a word. The leader is a shell whose
/// child would live on.
#[test]
fn a_group_ends_with_the_process_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut process = Process::start(Command::new("sh").args(["-c", "sleep 600 & echo $!; wait"]), &log).unwrap();
    let grandchild = wait_for(|| std::fs::read_to_string(&log).unwrap().trim().parse::<i32>().ok());
    let grandchild = rustix::process::Pid::from_raw(grandchild).unwrap();
    assert!(!process.has_ended());
    process.lose_watchdogs_pipe();
    wait_for(|| process.has_ended().then_some(()));
    wait_for(|| rustix::process::test_kill_process(grandchild).is_err().then_some(()));
    process.end(Duration::ZERO);
}

#[test]
fn a_process_that_ignores_sigterm_is_ended_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let stubborn = "trap '' TERM; echo ready; while true; do sleep 1; done";
    let mut process = Process::start(Command::new("sh").args(["-c", stubborn]), &log).unwrap();
    wait_for(|| (std::fs::read_to_string(&log).unwrap() == "ready\n").then_some(()));
    let begun = Instant::now();
    process.end(Duration::from_millis(300));
    assert!(begun.elapsed() >= Duration::from_millis(300) && process.has_ended());
}

#[tokio::test]
async fn a_part_that_ends_early_says_why_and_a_taken_port_is_tried_again() {
    let tries = AtomicUsize::new(0);
    let start = part::start(|[port]: [u16; 1]| {
        tries.fetch_add(1, Ordering::SeqCst);
        Ok(Plan {
            part: "thing",
            program: "sh".into(),
            args: ["-c", "echo bind: Address already in use; exit 1"].map(str::to_owned).into(),
            env: Vec::new(),
            home: part::home("thing")?,
            ready: Ready::Tcp(port),
            patience: Duration::from_secs(10),
        })
    });
    let why = start.await.expect_err("it ended").to_string();
    assert!(why.contains("ended by itself") && why.contains("Address already in use"), "{why}");
    assert_eq!(tries.load(Ordering::SeqCst), 4);
}

fn wait_for<T>(look: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}
