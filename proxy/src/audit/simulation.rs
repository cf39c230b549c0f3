//! The core in simulation: writer, keeper, recovery, reader, cursor, backlog and publisher over a disk, a clock and a broker
//! that do the worst they are allowed to. One seed is one schedule, byte for byte. `COUNTERSIGN_SEEDS` says how many,
//! `COUNTERSIGN_SEED=n` replays one.

mod beside;
mod broker;
mod disk;
mod mendings;
mod oracle;
pub mod planted;
mod process;
mod schedule;
mod spoil;
mod unreadable;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use loadtest::figures::Claim;

use planted::Bug;
use schedule::{Setup, Step};
use world::Tally;

/// Of the ordinary run.
const SEEDS: u64 = 50_000;
/// A planted bug must be found in fewer.
const FEW: u64 = 5000;

fn guarded(seed: u64, setup: &Setup, steps: &[Step]) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| world::run(seed, setup, steps))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn run(seed: u64) -> Result<Tally, String> {
    let (setup, steps) = schedule::setup(seed);
    guarded(seed, &setup, &steps)
}

/// The seed, what it broke, and the fewest of its first steps that break something.
fn report(seed: u64, error: &str) -> String {
    let (setup, steps) = schedule::setup(seed);
    let first = (0..=steps.len()).find_map(|n| Some((n, guarded(seed, &setup, &steps[..n]).err()?)));
    let (length, shortest) = first.unwrap_or((steps.len(), "nothing: the run is not deterministic".to_owned()));
    let listed: Vec<_> = steps.iter().take(length).map(|step| format!("  {step:?}")).collect();
    format!(
        "COUNTERSIGN_SEED={seed}: {error}\n{setup:?}\nfirst {length} of {} steps break: {shortest}\n{}",
        steps.len(),
        listed.join("\n")
    )
}

/// Runs seeds on every core until one fails. Returns the sum, and the failures.
fn sweep(seeds: std::ops::Range<u64>, bug: Option<Bug>) -> (Tally, u64, Vec<(u64, String)>) {
    let (next, failed, ran) = (AtomicU64::new(seeds.start), AtomicBool::new(false), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        let (mut sum, mut failures) = (Tally::default(), Vec::new());
        planted::plant(bug);
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            ran.fetch_add(1, Ordering::Relaxed);
            match run(seed) {
                Ok(tally) => sum.add(&tally),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    failures.push((seed, error));
                }
            }
        }
        (sum, failures)
    };
    let (mut sum, mut failures) = (Tally::default(), Vec::new());
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in running {
            let (tally, failed) = thread.join().unwrap();
            sum.add(&tally);
            failures.extend(failed);
        }
    });
    failures.sort();
    (sum, ran.into_inner(), failures)
}

fn wanted(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.replace('_', "").parse().unwrap())
}

#[test]
fn no_promise_is_broken() {
    if let Some(seed) = wanted("COUNTERSIGN_SEED") {
        let outcome = run(seed);
        println!("{outcome:?}");
        return assert!(outcome.is_ok(), "{}", report(seed, &outcome.unwrap_err()));
    }
    let seeds = wanted("COUNTERSIGN_SEEDS").unwrap_or(SEEDS);
    let (sum, ran, failures) = sweep(0..seeds, None);
    println!("{ran} seeds: {sum:?}");
    if let Some((seed, error)) = failures.first() {
        panic!("{}", report(*seed, error));
    }
    let mut claim = Claim::new("simulation", "cargo test -p countersign --lib simulation").seed(0);
    for (what, count) in [
        ("seeds", seeds),
        ("crashes", sum.crashes),
        ("power cuts", sum.power_cuts),
        ("receipts", sum.receipts),
        ("disk operations", sum.operations),
        ("damaged segments", sum.spoiled),
        ("missing", 0),
    ] {
        claim = claim.figure(what, count);
    }
    claim.write().unwrap();
}

#[test]
fn a_seed_is_one_schedule() {
    for seed in [1, 77, 4096, 70_001] {
        let (once, again) = (run(seed), run(seed));
        assert!(once.is_ok(), "{seed}: {once:?}");
        assert_eq!(once, again, "{seed}");
    }
}

#[test]
fn each_planted_bug_is_found() {
    let mut claim = Claim::new("simulation-controls", "cargo test -p countersign --lib simulation").seed(0);
    for bug in planted::ALL {
        let (_, ran, failures) = sweep(0..FEW, Some(bug));
        let Some((seed, error)) = failures.first() else { panic!("{bug:?} is not found in {FEW} seeds") };
        println!("{bug:?} is found after {ran} seeds, by {seed}: {error}");
        claim = claim.figure(&format!("seeds until {bug:?}"), ran).control(&format!("{bug:?}"));
    }
    claim.write().unwrap();
}
