//! Every file system call of a fixed run fails once, and the process is killed once at each: on the binary, by strace.
//! What is asked of each run: every allow has its record, whole chains, and answers again without a restart.
//!
//! The run: open the spool, 100 records with one roll, publish, stop; and the same with few records on what a killed
//! process left, so that recovery is hit too. strace counts calls per thread, so it is attached to one thread, at a
//! moment at which that thread cannot work: its volume is not there yet and the process is stopped.

pub mod attached;
mod run;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use loadtest::figures::Claim;
use parking_lot::Mutex;

use attached::{Call, Fault, usable};
use run::{Scenario, Stand};

/// Runs at the same time: they mostly wait.
const WORKERS: usize = 16;
/// A call that depends on timing may not come in a run; then it is waited for in another.
const TRIES: usize = 4;
const COMMAND: &str = "cargo test -p countersign --test integration syscalls";

/// One call of the undisturbed run: what, by which thread, and how many of the kind came before.
type Position = (Scenario, Call, Fault);

/// Errors take turns, so that each position fails once; with `COUNTERSIGN_SYSCALL_KINDS` every position has every error.
fn faults(at: usize) -> Vec<Fault> {
    let errors = ["EIO", "ENOSPC", "EROFS"].map(Fault::Error);
    let mut faults = vec![Fault::Kill];
    if std::env::var_os("COUNTERSIGN_SYSCALL_KINDS").is_some() {
        faults.extend(errors);
    } else {
        faults.extend(errors.into_iter().cycle().skip(at).take(1));
    }
    faults
}

/// Calls of two undisturbed runs: those in both always come.
async fn positions(stand: &Stand, scenario: Scenario) -> (Vec<Call>, HashSet<Call>) {
    let first = stand.undisturbed(scenario).await;
    let second = stand.undisturbed(scenario).await;
    let always: HashSet<Call> = second.iter().cloned().collect();
    (first.clone(), first.into_iter().filter(|call| always.contains(call)).collect())
}

#[derive(Default)]
struct Done {
    injected: BTreeMap<&'static str, usize>,
    /// Positions that did not come in any try.
    absent: Vec<Position>,
    answers: usize,
    failures: Vec<String>,
}

#[tokio::test]
async fn every_file_system_call_may_fail_or_be_the_last() {
    let Some(()) = usable() else { return };
    let pairs = std::env::var_os("COUNTERSIGN_SYSCALL_PAIRS").is_some();
    let stand = Stand::start().await;
    let mut queue: Vec<Position> = Vec::new();
    let mut always = 0;
    for scenario in [Scenario::Fresh, Scenario::Recovery] {
        let (calls, sure) = positions(&stand, scenario).await;
        assert!(calls.len() > 80, "only {} calls are seen: {calls:?}", calls.len());
        always += sure.len();
        queue.extend(
            calls
                .into_iter()
                .enumerate()
                .flat_map(|(at, call)| faults(at).into_iter().map(move |f| (scenario, call.clone(), f))),
        );
    }
    drop(stand);
    let positions = queue.len();
    eprintln!("{positions} positions");
    let queue = Arc::new(Mutex::new(queue));
    // Threads, since a mock broker stays on the one that made it.
    let work = |queue| move || loadtest::runtime(1).unwrap().block_on(work(queue, pairs));
    let workers: Vec<_> = (0..WORKERS).map(|_| std::thread::spawn(work(queue.clone()))).collect();
    let mut done = Done::default();
    for worker in workers {
        let part = worker.join().unwrap();
        for (fault, count) in part.injected {
            *done.injected.entry(fault).or_default() += count;
        }
        done.absent.extend(part.absent);
        done.answers += part.answers;
        done.failures.extend(part.failures);
    }
    assert!(done.failures.is_empty(), "{} of {positions}:\n{}", done.failures.len(), done.failures.join("\n"));
    let injected: usize = done.injected.values().sum();
    eprintln!(
        "{injected} of {positions} positions were hit; {always} calls come in every run; absent: {:?}",
        done.absent
    );
    assert_eq!(injected + done.absent.len(), positions);
    // What depends on timing (a tick of the keeper, how the publisher's reads fall) may not come again.
    assert!(done.absent.len() * 50 <= positions, "positions without a fault: {:?}", done.absent);
    a_missing_record_is_found_out().await;
    let mut claim = Claim::new("syscalls", COMMAND)
        .figure("positions", positions)
        .figure("hit", injected)
        .figure("that did not come again", done.absent.len())
        .figure("allows checked", done.answers);
    for (fault, count) in done.injected {
        claim = claim.figure(fault, count);
    }
    claim
        .figure("acknowledged missing", 0_u64)
        .control("an allow whose record is neither in spool nor in Kafka is found out")
        .write()
        .unwrap();
}

async fn work(queue: Arc<Mutex<Vec<Position>>>, pairs: bool) -> Done {
    let stand = Stand::start().await;
    let mut done = Done::default();
    loop {
        let Some(position) = queue.lock().pop() else { return done };
        let (scenario, call, fault) = position.clone();
        let second = pairs.then(|| call.another());
        for tried in 1..=TRIES {
            let outcome = stand.disturbed(scenario, &call, fault, second.as_ref()).await;
            done.answers += outcome.allowed;
            if let Err(why) = outcome.verdict {
                done.failures.push(why);
            }
            if outcome.injected {
                *done.injected.entry(fault.name()).or_default() += 1;
                break;
            }
            if tried == TRIES {
                done.absent.push(position.clone());
            }
        }
    }
}

/// The negative control: the same check, with an allow that has no record.
async fn a_missing_record_is_found_out() {
    let stand = Stand::start().await;
    assert_eq!(stand.without_a_record().await, Err("1 of 100 allows have no record".to_owned()));
}
