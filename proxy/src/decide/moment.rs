//! The clock of lifetimes and purges: nanoseconds since boot, sleep included. `Instant` stands still while the machine is
//! suspended, and an allow would outlive the night; the wall clock can be set back. Not for waiting and not for latency,
//! which tokio's `Instant` measures. Used within `decide`.
//!
//! What no clock of the machine sees is a virtual machine that its host stops and resumes without telling it.

use std::time::Duration;

/// A point on `CLOCK_BOOTTIME`. Means something only until the machine boots again, as everything that is kept here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    #[cfg(not(test))]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// `None` beyond what the clock can express.
    pub fn checked_add(self, later: Duration) -> Option<Self> {
        self.0.checked_add(u64::try_from(later.as_nanos()).ok()?).map(Self)
    }

    /// The boot itself for what would be before it.
    pub fn saturating_sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// In tests it follows tokio's clock, which can be stopped and moved, and a sleep can be added.
#[cfg(test)]
pub mod asleep {
    use std::cell::Cell;
    use std::sync::LazyLock;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Moment;

    /// Any fixed point; what matters are differences.
    static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
    const OF_BASE: Duration = Duration::from_secs(1 << 30);

    thread_local! {
        static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// As if the machine had been suspended for so long: no other clock of the process moves.
    pub fn sleep(time: Duration) {
        SLEPT.set(SLEPT.get() + time);
    }

    impl Moment {
        pub fn now() -> Self {
            let (base, now) = (*BASE, Instant::now());
            let awake = OF_BASE + now.saturating_duration_since(base) - base.saturating_duration_since(now);
            Self(u64::try_from((awake + SLEPT.get()).as_nanos()).unwrap())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_never_wrap() {
        let early = Moment(5);
        let late = early.checked_add(Duration::from_nanos(7)).unwrap();
        assert_eq!((late.since(early), early.since(late)), (Duration::from_nanos(7), Duration::ZERO));
        assert_eq!(early.saturating_sub(Duration::from_secs(1)), Moment(0));
        assert_eq!(early.saturating_sub(Duration::MAX), Moment(0));
        assert_eq!(early.checked_add(Duration::MAX), None);
        assert_eq!(Moment(u64::MAX).checked_add(Duration::from_nanos(1)), None);
    }

    /// The clock that the program uses, asked as it asks.
    #[test]
    fn the_kernels_clock_goes_on() {
        let read = || rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (before, monotonic) = (read(), rustix::time::clock_gettime(rustix::time::ClockId::Monotonic));
        let after = read();
        assert!((after.tv_sec, after.tv_nsec) >= (before.tv_sec, before.tv_nsec));
        assert!((after.tv_sec, after.tv_nsec) >= (monotonic.tv_sec, monotonic.tv_nsec), "sleep can only be added");
    }
}
