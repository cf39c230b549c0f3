//! The breaker step by step, and against a reference that keeps the whole history and looks through it each time.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const OPEN_FOR: Duration = Duration::from_secs(5);

fn breaker(failures: u32) -> (Breaker, Arc<Mutex<Vec<bool>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = told.clone();
    (Breaker::new(Options { failures, open_for: OPEN_FOR }, move |open| teller.lock().push(open)), told)
}

fn pass(breaker: &Breaker, sign: Sign, now: Instant) -> bool {
    breaker.enter(now).map(|passed| passed.end(sign, now)).is_some()
}

#[test]
fn it_opens_after_failures_in_a_row_and_closes_after_one_good_probe() {
    let (breaker, told) = breaker(3);
    let now = Instant::now();
    for sign in [Sign::Failed, Sign::Failed, Sign::Answered, Sign::Failed, Sign::None, Sign::Failed, Sign::Failed] {
        assert!(pass(&breaker, sign, now), "closed until the third in a row");
    }
    assert_eq!(*told.lock(), [true]);
    let almost = now + OPEN_FOR - Duration::from_millis(1);
    assert!(breaker.enter(almost).is_none());
    let probe = breaker.enter(now + OPEN_FOR).unwrap();
    assert!(breaker.enter(now + OPEN_FOR).is_none(), "one probe at a time");
    probe.end(Sign::Answered, now + OPEN_FOR);
    assert_eq!(*told.lock(), [true, false]);
    assert!(pass(&breaker, Sign::Failed, now + OPEN_FOR) && pass(&breaker, Sign::Failed, now + OPEN_FOR));
    assert!(breaker.enter(now + OPEN_FOR).is_some(), "the count begins again");
}

#[test]
fn a_failed_probe_opens_it_for_as_long_again() {
    let (breaker, told) = breaker(1);
    let now = Instant::now();
    pass(&breaker, Sign::Failed, now);
    assert!(pass(&breaker, Sign::Failed, now + OPEN_FOR));
    assert!(breaker.enter(now + OPEN_FOR * 2 - Duration::from_millis(1)).is_none());
    assert!(breaker.enter(now + OPEN_FOR * 2).is_some());
    assert_eq!(*told.lock(), [true], "it was open all the time");
}

#[test]
fn a_probe_that_is_given_up_lets_the_next_one_in() {
    let (breaker, _) = breaker(1);
    let now = Instant::now() - OPEN_FOR;
    pass(&breaker, Sign::Failed, now);
    let later = now + OPEN_FOR;
    drop(breaker.enter(later).unwrap());
    let next = breaker.enter(Instant::now()).expect("nobody probes");
    next.end(Sign::None, later);
    assert!(breaker.enter(later).is_some(), "busy or out of time is no reason to wait another `open_for`");
}

#[test]
fn what_was_asked_before_it_opened_changes_nothing_after() {
    let (breaker, told) = breaker(1);
    let now = Instant::now();
    let slow: Vec<_> = (0..3).map(|_| breaker.enter(now).unwrap()).collect();
    pass(&breaker, Sign::Failed, now);
    let mut slow = slow.into_iter();
    slow.next().unwrap().end(Sign::Answered, now);
    assert!(breaker.enter(now).is_none(), "an answer to an old question is no probe");
    let probe = breaker.enter(now + OPEN_FOR).unwrap();
    slow.next().unwrap().end(Sign::Failed, now + OPEN_FOR);
    probe.end(Sign::Answered, now + OPEN_FOR);
    slow.next().unwrap().end(Sign::Failed, now + OPEN_FOR);
    assert!(breaker.enter(now + OPEN_FOR).is_some(), "nor does an old failure count against it");
    assert_eq!(*told.lock(), [true, false]);
}

#[test]
fn only_silence_counts_as_failing() {
    let failing: Vec<&str> = Reason::ALL
        .iter()
        .filter(|reason| Sign::of(&Outcome::Fault(**reason)) == Sign::Failed)
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(failing, ["timeout", "dns", "connect", "tls", "connection_lost"]);
    let silent: Vec<&str> = Reason::ALL
        .iter()
        .filter(|reason| reason.side() == Some(Side::Authorizer))
        .filter(|reason| Sign::of(&Outcome::Fault(**reason)) == Sign::None)
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(silent, ["authorizer_busy", "breaker_open"]);
    assert_eq!(Sign::of(&Outcome::Fault(Reason::Deadline)), Sign::None);
    assert_eq!(Sign::of(&Outcome::Declared), Sign::None);
}

/// What happened, in order. The reference answers every question out of this list alone.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Which question; when, which one and how.
    Entered(usize),
    Ended(u64, usize, Sign),
}

/// Replays the history with the rules as they are written for people, in milliseconds: (open since, who probes).
fn replay(history: &[Event], failures: u32) -> (Option<u64>, Option<usize>) {
    // Questions that still count, the run of failures, since when it is open, and who probes.
    let (mut counting, mut run, mut open, mut probe) = (Vec::new(), 0, None, None);
    for event in history {
        match *event {
            Event::Entered(question) if open.is_some() => probe = Some(question),
            Event::Entered(question) => counting.push(question),
            Event::Ended(at, question, sign) if probe == Some(question) => {
                probe = None;
                match sign {
                    Sign::Answered => (open, run) = (None, 0),
                    Sign::Failed => open = Some(at),
                    Sign::None => open = Some(at.saturating_sub(OPEN_FOR.as_millis() as u64)),
                }
            }
            Event::Ended(at, question, sign) if counting.contains(&question) => match sign {
                Sign::Answered => run = 0,
                Sign::None => {}
                Sign::Failed if run + 1 >= failures => {
                    open = Some(at);
                    counting.clear();
                }
                Sign::Failed => run += 1,
            },
            Event::Ended(..) => {}
        }
    }
    (open, probe)
}

#[test]
fn it_does_what_the_history_demands() {
    let start = Instant::now();
    let (mut opened, mut closed, mut refused) = (0, 0, 0);
    for seed in 0..2_000 {
        let mut chance = StdRng::seed_from_u64(seed);
        let failures = chance.random_range(1..4);
        let (breaker, told) = breaker(failures);
        // Well past `open_for`, so that the reference can reckon back.
        let (mut now, mut history, mut under_way) = (60_000_u64, Vec::new(), Vec::new());
        for question in 0..60 {
            now += chance.random_range(0..4_000);
            let at = start + Duration::from_millis(now);
            if under_way.is_empty() || chance.random_bool(0.5) {
                let (open, probe) = replay(&history, failures);
                let may = probe.is_none() && open.is_none_or(|since| since + OPEN_FOR.as_millis() as u64 <= now);
                let passed = breaker.enter(at);
                assert_eq!(passed.is_some(), may, "seed {seed}: {history:?}");
                refused += usize::from(!may);
                if let Some(passed) = passed {
                    history.push(Event::Entered(question));
                    under_way.push((question, passed));
                }
            } else {
                let (question, passed) = under_way.swap_remove(chance.random_range(0..under_way.len()));
                let sign = [Sign::Answered, Sign::Failed, Sign::Failed, Sign::None][chance.random_range(0..4)];
                history.push(Event::Ended(now, question, sign));
                passed.end(sign, at);
            }
            let is_open = replay(&history, failures).0.is_some();
            assert_eq!(told.lock().last().copied().unwrap_or(false), is_open, "seed {seed}: {history:?}");
        }
        opened += told.lock().iter().filter(|open| **open).count();
        closed += told.lock().iter().filter(|open| !**open).count();
    }
    assert!(opened > 1_000 && closed > 500 && refused > 1_000, "{opened} {closed} {refused}");
}
