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
use run::{Failed, Scenario, Stand};

use crate::support::disk;

/// Runs at the same time: they mostly wait.
const WORKERS: usize = 16;
/// A call that depends on timing may not come in a run, and a disk that stalls may make one take too long: then it is run again.
const TRIES: usize = 4;
/// Runs that the calls are taken from.
const UNDISTURBED: usize = 3;
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

/// Calls of the shortest of some undisturbed runs, and which of them come in each: the slower the disk, the more ticks and reads
/// there are that do not come again.
async fn positions(stand: &Stand, scenario: Scenario) -> (Vec<Call>, HashSet<Call>) {
    tokio::task::spawn_blocking(disk::keeps_up).await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..UNDISTURBED {
        runs.push(stand.undisturbed(scenario).await);
    }
    let each: Vec<HashSet<&Call>> = runs.iter().map(|calls| calls.iter().collect()).collect();
    let is_always = |call: &&Call| each.iter().all(|calls| calls.contains(call));
    let shortest = runs.iter().min_by_key(|calls| calls.len()).expect("a run").clone();
    let always = shortest.iter().filter(is_always).cloned().collect();
    (shortest, always)
}

#[derive(Default)]
struct Done {
    injected: BTreeMap<&'static str, usize>,
    /// Positions that did not come in any try.
    absent: Vec<Position>,
    answers: usize,
    /// Runs that took too long, and were run again.
    late: usize,
    failures: Vec<String>,
}

impl Done {
    fn add(&mut self, part: Self) {
        for (fault, count) in part.injected {
            *self.injected.entry(fault).or_default() += count;
        }
        self.absent.extend(part.absent);
        self.answers += part.answers;
        self.late += part.late;
        self.failures.extend(part.failures);
    }
}

#[tokio::test]
async fn every_file_system_call_may_fail_or_be_the_last() {
    let Some(()) = usable() else { return };
    let pairs = std::env::var_os("COUNTERSIGN_SYSCALL_PAIRS").is_some();
    let stand = Stand::start().await;
    let mut queue: Vec<Position> = Vec::new();
    let mut always = HashSet::new();
    for scenario in [Scenario::Fresh, Scenario::Recovery] {
        let (calls, sure) = positions(&stand, scenario).await;
        assert!(calls.len() > 80, "only {} calls are seen: {calls:?}", calls.len());
        always.extend(sure.into_iter().map(|call| (scenario, call)));
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
        done.add(worker.join().unwrap());
    }
    assert!(done.failures.is_empty(), "{} of {positions}:\n{}", done.failures.len(), done.failures.join("\n"));
    let injected: usize = done.injected.values().sum();
    eprintln!(
        "{injected} of {positions} positions were hit; {} calls come in every run; absent: {:?}; run again: {}",
        always.len(),
        done.absent,
        done.late
    );
    assert_eq!(injected + done.absent.len(), positions);
    // What depends on timing (a tick of the keeper, how the publisher's reads fall) may not come again, even if it came twice.
    let missed = done.absent.iter().filter(|(scenario, call, _)| always.contains(&(*scenario, call.clone())));
    assert!(missed.count() * 50 <= positions, "positions without a fault: {:?}", done.absent);
    assert!(done.late * 10 <= positions, "{} runs of {positions} took too long", done.late);
    a_missing_record_is_found_out().await;
    let mut claim = Claim::new("syscalls", COMMAND)
        .figure("positions", positions)
        .figure("hit", injected)
        .figure("that did not come again", done.absent.len())
        .figure("run again because they took too long", done.late)
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
            match outcome.verdict {
                Ok(()) => {}
                Err(Failed::Late(why)) if tried < TRIES => {
                    eprintln!("run again: {why}");
                    done.late += 1;
                    disk::keeps_up();
                    continue;
                }
                Err(Failed::Late(why) | Failed::Wrong(why)) => done.failures.push(why),
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
    let missing = Failed::Wrong("1 of 100 allows have no record".to_owned());
    assert_eq!(stand.without_a_record().await, Err(missing));
}
