//! When questions are due: as soon as the last one is answered (closed loop), or by a schedule that does not wait for
//! answers (open loop).
//!
//! In the open loop a question's latency counts from the instant it was due, not from when a connection was free, so
//! that a stall of the server is seen by every question that it delayed. A thread of its own releases the questions:
//! the runtime's timers have a resolution of a millisecond, a thread's sleep one of some 50 µs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// How long questions that were due before the end may still be sent after it.
const GRACE: Duration = Duration::from_secs(5);
/// The releasing thread looks at the stop flag at least this often.
const LOOK: Duration = Duration::from_millis(20);

/// The instants at which questions are due: the first at the start, then one every `1 / rate` seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start: Instant,
    /// Questions a second; positive and finite.
    rate: f64,
}

impl Schedule {
    pub(super) fn new(start: Instant, rate: f64) -> Self {
        Self { start, rate }
    }

    /// When question `number` is due; numbers count from 0.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 questions")]
    pub(super) fn due_at(self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many questions are due before `end`, which is thus the first instant of what comes after.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a product of two positive numbers")]
    pub(super) fn due_before(self, end: Instant) -> u64 {
        let Some(since) = end.checked_duration_since(self.start) else { return 0 };
        let guess = (since.as_secs_f64() * self.rate) as u64;
        // Rounding may put the guess one off; `due_at` is the truth.
        let near = guess.saturating_sub(1)..guess + 2;
        near.into_iter().find(|number| self.due_at(*number) >= end).unwrap_or(guess + 2)
    }
}

/// Hands out questions to connections.
#[derive(Debug)]
pub(super) struct Pace {
    /// The number of the next question to be taken.
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// No question is handed out after it.
    end: Option<Instant>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    schedule: Schedule,
    released: Arc<Semaphore>,
}

/// A question to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Counts from 0 over all connections.
    pub(super) number: u64,
    /// From when its latency counts.
    pub(super) due: Instant,
}

impl Pace {
    pub(super) fn closed(end: Option<Instant>) -> Self {
        Self { next: Arc::default(), stop: Arc::default(), end, open: None }
    }

    /// Starts the releasing thread, which ends with the load.
    pub(super) fn open(schedule: Schedule, end: Option<Instant>) -> std::io::Result<Self> {
        let pace = Self { open: Some(Open { schedule, released: Arc::new(Semaphore::new(0)) }), ..Self::closed(end) };
        if let Some(Open { released, .. }) = &pace.open {
            let (released, stop, next) = (Arc::clone(released), Arc::clone(&pace.stop), Arc::clone(&pace.next));
            std::thread::Builder::new()
                .name("pace".to_owned())
                .spawn(move || release(schedule, end, &released, &stop, &next))?;
        }
        Ok(pace)
    }

    /// No further questions. Those under way are still answered.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(open) = &self.open {
            open.released.close();
        }
    }

    /// The next question, when it is due. None: the load is over.
    pub(super) async fn next(&self) -> Option<Ticket> {
        match &self.open {
            None => {
                let due = Instant::now();
                if self.stop.load(Ordering::Relaxed) || self.end.is_some_and(|end| due >= end) {
                    return None;
                }
                Some(Ticket { number: self.next.fetch_add(1, Ordering::Relaxed), due })
            }
            Some(open) => {
                open.released.acquire().await.ok()?.forget();
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                Some(Ticket { number, due: open.schedule.due_at(number) })
            }
        }
    }

    /// Questions that were due by `now` and that no connection was free to ask.
    pub(super) fn unsent(&self, now: Instant) -> u64 {
        let Some(open) = &self.open else { return 0 };
        let now = self.end.map_or(now, |end| now.min(end));
        open.schedule.due_before(now).saturating_sub(self.next.load(Ordering::SeqCst))
    }
}

/// Releases questions as they fall due, until the end or the stop.
fn release(schedule: Schedule, end: Option<Instant>, released: &Semaphore, stop: &AtomicBool, next: &AtomicU64) {
    let mut count = 0;
    while !stop.load(Ordering::SeqCst) {
        let now = Instant::now();
        let due = schedule.due_before(end.map_or(now, |end| now.min(end)));
        let new = usize::try_from(due.saturating_sub(count)).unwrap_or(0).min(Semaphore::MAX_PERMITS / 2);
        released.add_permits(new);
        count = count.max(due);
        let over = end.is_some_and(|end| now >= end);
        // Closing takes back what was released but not yet taken, so it waits for the takers.
        if over && (next.load(Ordering::SeqCst) >= count || end.is_some_and(|end| now >= end + GRACE)) {
            break;
        }
        let wake = if over { now + Duration::from_millis(1) } else { schedule.due_at(count) };
        std::thread::sleep(wake.saturating_duration_since(Instant::now()).min(LOOK));
    }
    released.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_exact_and_does_not_drift() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 1000.0);
        assert_eq!(schedule.due_at(0), start);
        assert_eq!(schedule.due_at(1), start + Duration::from_millis(1));
        assert_eq!(schedule.due_at(3_600_000), start + Duration::from_secs(3600));
        let odd = Schedule::new(start, 7.0);
        assert_eq!(odd.due_at(7 * 3600), start + Duration::from_secs(3600));
    }

    #[test]
    fn what_is_due_agrees_with_when_it_is_due() {
        let start = Instant::now();
        for rate in [0.5, 3.0, 7.0, 999.0, 33_333.3, 1_000_000.0] {
            let schedule = Schedule::new(start, rate);
            for number in [0, 1, 2, 10, 999, 123_456] {
                let due = schedule.due_at(number);
                assert_eq!(schedule.due_before(due), number, "{rate} {number}");
                assert_eq!(schedule.due_before(due + Duration::from_nanos(1)), number + 1, "{rate} {number}");
            }
        }
        assert_eq!(Schedule::new(start + Duration::from_secs(9), 1.0).due_before(start), 0);
    }

    #[tokio::test]
    async fn an_open_loop_hands_out_every_question_once_with_its_own_instant() {
        // An end that is over: all questions are due at once, so that the order of things does not depend on a clock.
        let start = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let schedule = Schedule::new(start, 100.0);
        let pace = Pace::open(schedule, Some(start + Duration::from_millis(995))).unwrap();
        assert_eq!(pace.unsent(Instant::now()), 100);
        let mut tickets = Vec::new();
        while let Some(ticket) = pace.next().await {
            tickets.push(ticket);
        }
        let expected: Vec<_> = (0..100).map(|number| Ticket { number, due: schedule.due_at(number) }).collect();
        assert_eq!(tickets, expected);
        assert_eq!(pace.unsent(Instant::now()), 0);
    }

    #[tokio::test]
    async fn a_stopped_pace_hands_out_nothing() {
        let closed = Pace::closed(None);
        assert_eq!(closed.next().await.unwrap().number, 0);
        assert_eq!(closed.next().await.unwrap().number, 1);
        closed.stop();
        assert_eq!(closed.next().await, None);
        let open = Pace::open(Schedule::new(Instant::now() + Duration::from_secs(60), 1.0), None).unwrap();
        open.stop();
        assert_eq!(open.next().await, None);
        let over = Pace::closed(Some(Instant::now()));
        assert_eq!(over.next().await, None);
    }
}
