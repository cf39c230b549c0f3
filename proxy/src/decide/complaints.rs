//! What is said in the log of an authorizer that fails: the first fault at once, then one summary a minute, then one line when
//! it is over. An authorizer that fails on some questions only would otherwise cost two lines a question. Called by `attempt`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::decide::attempt::Role;
use crate::policy::verdict::Reason;

/// Between two lines about the same trouble.
const EVERY: Duration = Duration::from_secs(60);
/// Without a further fault before it is called over.
const CALM: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Complaints {
    /// Looked at before the lock is taken: nearly always nothing is wrong.
    failing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since the last line.
    since: BTreeMap<Reason, u64>,
    total: u64,
    said: Option<Instant>,
    last: Option<Instant>,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Fails {
        /// With its count since the last line, each.
        faults: String,
        total: u64,
    },
    Over {
        total: u64,
    },
}

impl Complaints {
    /// `fault` is what a question came to; `None` for an answer.
    pub fn note(&self, (role, authorizer): (Role, &str), fault: Option<Reason>, now: Instant) {
        match (self.line(fault, now), fault) {
            (Some(Line::Fails { faults, total }), Some(reason)) => {
                let reason = reason.as_str();
                match role {
                    Role::Decides => {
                        tracing::warn!(authorizer, reason, faults, total, "authorizer gives no usable answer");
                    }
                    Role::Shadow => tracing::info!(authorizer, reason, faults, total, "shadow gives no usable answer"),
                }
            }
            (Some(Line::Over { total }), _) => match role {
                Role::Decides => tracing::info!(authorizer, faults = total, "authorizer answers again"),
                Role::Shadow => tracing::info!(authorizer, faults = total, "shadow answers again"),
            },
            (Some(Line::Fails { .. }) | None, _) => {}
        }
    }

    fn line(&self, fault: Option<Reason>, now: Instant) -> Option<Line> {
        if fault.is_none() && !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state.lock();
        let line = match fault {
            Some(reason) => state.fault(reason, now),
            None => state.answer(now),
        };
        self.failing.store(state.total > 0, Ordering::Relaxed);
        line
    }
}

impl State {
    fn fault(&mut self, reason: Reason, now: Instant) -> Option<Line> {
        self.total += 1;
        self.last = Some(now);
        *self.since.entry(reason).or_default() += 1;
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < EVERY) {
            return None;
        }
        self.said = Some(now);
        let faults = std::mem::take(&mut self.since);
        let faults: Vec<_> = faults.iter().map(|(reason, count)| format!("{}:{count}", reason.as_str())).collect();
        Some(Line::Fails { faults: faults.join(" "), total: self.total })
    }

    fn answer(&mut self, now: Instant) -> Option<Line> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < CALM) {
            return None;
        }
        let total = std::mem::take(self).total;
        (total > 0).then_some(Line::Over { total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(faults: &str, total: u64) -> Option<Line> {
        Some(Line::Fails { faults: faults.to_owned(), total })
    }

    #[test]
    fn the_first_fault_is_said_and_the_others_are_summarized() {
        let (complaints, begun) = (Complaints::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(complaints.line(None, at(0)), None);
        assert_eq!(complaints.line(Some(Reason::Timeout), at(0)), fails("timeout:1", 1));
        for second in 1..60 {
            assert_eq!(complaints.line(Some(Reason::Timeout), at(second)), None);
            assert_eq!(complaints.line(Some(Reason::Undefined), at(second)), None);
        }
        assert_eq!(complaints.line(Some(Reason::Dns), at(60)), fails("undefined:59 timeout:59 dns:1", 120));
        assert_eq!(complaints.line(None, at(65)), Some(Line::Over { total: 120 }));
        assert_eq!(complaints.line(None, at(66)), None);
        assert_eq!(complaints.line(Some(Reason::Dns), at(67)), fails("dns:1", 1), "new trouble is said at once");
    }

    #[test]
    fn one_that_fails_on_some_questions_is_not_two_lines_a_question() {
        let (complaints, begun) = (Complaints::default(), Instant::now());
        let mut lines = 0;
        for question in 0..10_000 {
            let fault = (question % 2 == 0).then_some(Reason::Undefined);
            lines += usize::from(complaints.line(fault, begun + Duration::from_millis(question)).is_some());
        }
        assert_eq!(lines, 1);
    }
}
