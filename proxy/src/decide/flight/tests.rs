//! Who leads and who is told, in orders that a scheduler rarely picks.

use super::*;

const KEY: Key = [7; 16];

fn lead(flights: &Arc<Flights>) -> Lead {
    match flights.join(KEY) {
        Joined::Lead(lead) => lead,
        Joined::Wait(_) => panic!("somebody leads"),
    }
}

fn wait(flights: &Arc<Flights>) -> oneshot::Receiver<Turn> {
    match flights.join(KEY) {
        Joined::Wait(turn) => turn,
        Joined::Lead(_) => panic!("nobody leads"),
    }
}

#[test]
fn a_duty_passes_over_those_who_have_gone() {
    let flights = Arc::new(Flights::default());
    let first = lead(&flights);
    let (gone, mut next, also_gone) = (wait(&flights), wait(&flights), wait(&flights));
    drop((gone, also_gone));
    first.failed(Reason::Timeout);
    assert_eq!(flights.last_fault(&KEY), Some(Reason::Timeout));
    let Ok(Turn::Lead(second)) = next.try_recv() else { panic!("the next one leads") };
    drop(second);
    assert!(flights.0.lock().is_empty(), "nobody is left");
    drop(lead(&flights));
}

/// It was told to lead and goes away before it looked.
#[test]
fn a_duty_that_nobody_took_passes_on() {
    let flights = Arc::new(Flights::default());
    let first = lead(&flights);
    let (unlucky, mut next) = (wait(&flights), wait(&flights));
    drop(first);
    drop(unlucky);
    assert!(matches!(next.try_recv(), Ok(Turn::Lead(_))));
    assert!(flights.0.lock().is_empty());
}

#[test]
fn everybody_is_told_once() {
    let flights = Arc::new(Flights::default());
    let first = lead(&flights);
    let waiting: Vec<_> = (0..3).map(|_| wait(&flights)).collect();
    first.keep_to_itself();
    for mut turn in waiting {
        assert!(matches!(turn.try_recv(), Ok(Turn::Alone)));
    }
    assert!(flights.0.lock().is_empty());
    assert_eq!(flights.last_fault(&KEY), None);
}

/// What a waiter is told, in a time that is long for a mutex.
fn told(mut turn: oneshot::Receiver<Turn>) -> Turn {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match turn.try_recv() {
            Ok(turn) => return turn,
            Err(oneshot::error::TryRecvError::Empty) if std::time::Instant::now() < until => std::thread::yield_now(),
            Err(error) => panic!("nobody told it anything: {error}"),
        }
    }
}

/// Threads that join, lead, fail, share and go away at random: in the end nothing is under way, and every one that
/// waited to the end was told something.
#[test]
fn nobody_is_forgotten() {
    use std::sync::atomic::Ordering;

    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
    let flights = Arc::new(Flights::default());
    let [led, gone] = [(); 2].map(|()| std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (flights, led, gone) = (&flights, &led, &gone);
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed);
                for _ in 0..5_000 {
                    let lead = match flights.join([random.random_range(0..3); 16]) {
                        Joined::Lead(lead) => lead,
                        Joined::Wait(turn) if random.random_bool(0.3) => {
                            drop(turn);
                            gone.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        Joined::Wait(turn) => match told(turn) {
                            Turn::Lead(lead) => lead,
                            Turn::Shared(_) | Turn::Alone => continue,
                        },
                    };
                    led.fetch_add(1, Ordering::Relaxed);
                    // Time for others to join.
                    std::thread::yield_now();
                    match random.random_range(0..3) {
                        0 => drop(lead),
                        1 => lead.failed(Reason::Connect),
                        _ => lead.keep_to_itself(),
                    }
                }
            });
        }
    });
    assert!(flights.0.lock().is_empty());
    assert!(led.into_inner() > 1_000 && gone.into_inner() > 1_000, "all of it happened");
}
