//! How long a sync waits for company. Questions that are being decided are about to bring records, and those that come before
//! it share it: PostgreSQL's `commit_delay` and `commit_siblings`. Fed by tasks that decide, through `spool`; read by `writer`.
//! It delays, and has no say in what is durable.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::audit::files::Clock;

/// With fewer on their way, waiting costs more than a sync: those who wait could have asked their next question.
const FEWEST: usize = 8;
/// The share of what deciding takes on the average that a record may wait beyond it. Kept answers count, too: where most are,
/// they are not held up for the few that are asked for.
const SHARE: u64 = 8;
/// A thread does not sleep less.
const SHORTEST: Duration = Duration::from_micros(50);
/// Longer ones gather hardly more: measured up to 2.5 ms.
const LONGEST: Duration = Duration::from_millis(1);
/// Decisions that the average looks back on, about.
const MEMORY: u64 = 32;

/// The questions that are being decided.
#[derive(Debug, Default)]
pub struct Upcoming {
    count: AtomicUsize,
    /// What deciding takes on the average, nanoseconds. Tasks that end together may lose one another's: it is an estimate.
    mean: AtomicU64,
}

/// One that is being decided, until this is dropped.
pub struct Coming<'a> {
    upcoming: &'a Upcoming,
    clock: &'a dyn Clock,
    since: Instant,
}

impl Upcoming {
    pub(in crate::audit) fn expect<'a>(&'a self, clock: &'a dyn Clock) -> Coming<'a> {
        self.count.fetch_add(1, Ordering::Relaxed);
        Coming { upcoming: self, clock, since: clock.now() }
    }

    /// How long to wait for more records before those that are there are synced. `None`: not at all.
    pub(in crate::audit) fn worth_waiting(&self) -> Option<Duration> {
        if self.count.load(Ordering::Relaxed) < FEWEST {
            return None;
        }
        let share = Duration::from_nanos(self.mean.load(Ordering::Relaxed) / SHARE);
        (share >= SHORTEST).then_some(share.min(LONGEST))
    }

    fn decided(&self, took: Duration) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.mean.load(Ordering::Relaxed);
        self.mean.store(mean - mean / MEMORY + took / MEMORY, Ordering::Relaxed);
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.upcoming.decided(self.clock.now().saturating_duration_since(self.since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::files::SystemClock;

    /// After so many decisions that took so long.
    fn after(many: usize, took: Duration) -> Upcoming {
        let upcoming = Upcoming::default();
        for _ in 0..many {
            upcoming.count.fetch_add(1, Ordering::Relaxed);
            upcoming.decided(took);
        }
        upcoming
    }

    fn wait_with(upcoming: &Upcoming, others: usize) -> Option<Duration> {
        let coming: Vec<_> = (0..others).map(|_| upcoming.expect(&SystemClock)).collect();
        let wait = upcoming.worth_waiting();
        // Not dropped: it would be one more decision, of no time at all.
        coming.into_iter().for_each(std::mem::forget);
        upcoming.count.store(0, Ordering::Relaxed);
        wait
    }

    #[test]
    fn one_that_is_alone_or_nearly_so_waits_for_nobody() {
        let upcoming = after(1000, Duration::from_millis(5));
        assert_eq!((0..FEWEST).filter_map(|others| wait_with(&upcoming, others)).next(), None);
        assert!(wait_with(&upcoming, FEWEST).is_some());
    }

    #[test]
    fn a_record_waits_an_eighth_of_what_deciding_takes_and_a_millisecond_at_most() {
        for (took, least, most) in [(800, 90, 100), (4_000, 450, 500), (8_100, 950, 1_000), (10_000_000, 1_000, 1_000)]
        {
            let wait = wait_with(&after(1000, Duration::from_micros(took)), 64).unwrap().as_micros();
            assert!((least..=most).contains(&wait), "{took}: {wait}");
        }
    }

    #[test]
    fn kept_answers_are_not_held_up() {
        assert_eq!(wait_with(&after(1000, Duration::from_micros(20)), 64), None);
        // One in ten is asked for, and takes 3 ms: some 300 µs on the average.
        let upcoming = Upcoming::default();
        for turn in 0..1000 {
            upcoming.count.fetch_add(1, Ordering::Relaxed);
            upcoming.decided(Duration::from_micros(if turn % 10 == 0 { 3_000 } else { 15 }));
        }
        assert!(wait_with(&upcoming, 64).is_none_or(|wait| wait < Duration::from_micros(60)));
    }

    #[test]
    fn an_authorizer_that_hangs_for_ever_overflows_nothing() {
        let upcoming = after(1000, Duration::MAX);
        assert_eq!(wait_with(&upcoming, 64), Some(LONGEST));
    }

    #[test]
    fn what_is_decided_is_not_waited_for() {
        let upcoming = after(1000, Duration::from_millis(5));
        let coming: Vec<_> = (0..64).map(|_| upcoming.expect(&SystemClock)).collect();
        assert!(upcoming.worth_waiting().is_some());
        drop(coming);
        assert_eq!(upcoming.worth_waiting(), None);
        assert_eq!(upcoming.count.load(Ordering::Relaxed), 0);
    }
}
