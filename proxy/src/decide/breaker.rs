//! Leaves an authorizer alone that has failed too often in a row, and tries it with one question at a time before it is
//! trusted again. A state machine over questions, not attempts; it waits for nothing and reads no clock. Called by
//! `decide::attempt`, which knows what a question came to.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::policy::decided::Outcome;
use crate::policy::verdict::{Reason, Side};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Questions in a row that got no answer; at least 1.
    pub failures: u32,
    /// How long nobody is let through after that.
    pub open_for: Duration,
}

/// What a question says about its authorizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answered, well or badly.
    Answered,
    /// It could not be reached or did not answer.
    Failed,
    /// Nothing: the question was not asked, or was not given the time.
    None,
}

impl Sign {
    pub const fn of(outcome: &Outcome) -> Self {
        let reason = match outcome {
            Outcome::Answered(_) => return Self::Answered,
            Outcome::Declared => return Self::None,
            Outcome::Fault(reason) => *reason,
        };
        match reason {
            Reason::Timeout | Reason::Dns | Reason::Connect | Reason::Tls | Reason::ConnectionLost => Self::Failed,
            Reason::AuthorizerBusy | Reason::BreakerOpen => Self::None,
            other => match other.side() {
                None | Some(Side::Authorizer) => Self::Answered,
                // `deadline`: our time was over, not its own.
                Some(Side::Own | Side::Caller) => Self::None,
            },
        }
    }
}

pub struct Breaker {
    options: Options,
    machine: Mutex<Machine>,
    /// Told under the lock, so that the last word is the last state.
    changed: Box<dyn Fn(bool) + Send + Sync>,
}

#[derive(Debug, Clone, Copy)]
struct Machine {
    state: State,
    /// One more at each change between closed and open. What a question from before says is no longer asked.
    era: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed {
        failed: u32,
    },
    /// `until` over, the next question probes.
    Open {
        until: Instant,
    },
    Probing,
}

impl Breaker {
    /// `changed` is told `true` when it opens and `false` when it closes; it must be quick.
    pub fn new(options: Options, changed: impl Fn(bool) + Send + Sync + 'static) -> Self {
        let machine = Mutex::new(Machine { state: State::Closed { failed: 0 }, era: 0 });
        Self { options, machine, changed: Box::new(changed) }
    }

    /// Whether a question may be asked at `now`. `None` is `breaker_open`.
    pub fn enter(&self, now: Instant) -> Option<Passed<'_>> {
        let mut machine = self.machine.lock();
        let probe = match machine.state {
            State::Closed { .. } => false,
            State::Open { until } if until <= now => true,
            State::Open { .. } | State::Probing => return None,
        };
        if probe {
            machine.state = State::Probing;
        }
        Some(Passed { breaker: self, era: machine.era, probe, ended: false })
    }

    fn end(&self, era: u64, probe: bool, sign: Sign, now: Instant) {
        let mut machine = self.machine.lock();
        if machine.era != era {
            return;
        }
        let open = State::Open { until: now.checked_add(self.options.open_for).unwrap_or(now) };
        machine.state = match (machine.state, sign) {
            (State::Closed { .. }, Sign::Answered) => State::Closed { failed: 0 },
            (State::Closed { failed }, Sign::Failed) if failed.saturating_add(1) >= self.options.failures => {
                machine.era = era.wrapping_add(1);
                (self.changed)(true);
                open
            }
            (State::Closed { failed }, Sign::Failed) => State::Closed { failed: failed.saturating_add(1) },
            (State::Probing, Sign::Answered) if probe => {
                machine.era = era.wrapping_add(1);
                (self.changed)(false);
                State::Closed { failed: 0 }
            }
            (State::Probing, Sign::Failed) if probe => open,
            // A probe that shows nothing must not keep the others out: the next question is the next probe.
            (State::Probing, Sign::None) if probe => State::Open { until: now },
            (unchanged, _) => unchanged,
        };
    }
}

/// A question that was let through. Dropped without an end, it says nothing about the authorizer.
#[must_use = "tell what the question came to"]
pub struct Passed<'a> {
    breaker: &'a Breaker,
    era: u64,
    probe: bool,
    ended: bool,
}

impl Passed<'_> {
    pub fn end(mut self, sign: Sign, now: Instant) {
        self.ended = true;
        self.breaker.end(self.era, self.probe, sign, now);
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.end(self.era, self.probe, Sign::None, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
