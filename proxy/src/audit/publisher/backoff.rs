//! How long to wait before the next try: doubling, jittered, bounded. Not a timer; the worker waits.

use std::time::Duration;

use crate::audit::chance;

#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new((first, limit): (Duration, Duration)) -> Self {
        Self { first, limit: limit.max(first), next: first }
    }

    /// Between half of the step and all of it, so that a fleet does not come back in one moment.
    pub(super) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.limit);
        step.mul_f64(0.5 + chance::fraction() / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_starts_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new((ms(100), ms(350)));
        for step in [100, 200, 350, 350] {
            let pause = backoff.pause();
            assert!(pause >= ms(step / 2) && pause <= ms(step), "{pause:?} of {step}");
        }
        backoff.reset();
        assert!(backoff.pause() <= ms(100));
    }
}
