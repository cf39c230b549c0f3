//! Which kept decisions wait for Kafka: chain and sequence number to span, so that the producer's span can link to
//! them. Bounded; the oldest are forgotten, and a link with them. Called by `trace`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Decisions remembered at once; about 64 bytes each.
const CAPACITY: usize = 8192;
/// Between two lines of the log about what was forgotten.
const REMIND: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Decision {
    chain: Arc<str>,
    seq: u64,
    trace_id: u128,
    span_id: u64,
}

/// Kept decisions in the order they were finished.
#[derive(Debug, Default)]
pub(super) struct Kept {
    decisions: Mutex<VecDeque<Decision>>,
    /// When it was last said that some were forgotten.
    said: Mutex<Option<Instant>>,
}

impl Kept {
    pub(super) fn remember(&self, chain: &Arc<str>, seq: u64, trace_id: u128, span_id: u64) {
        let mut decisions = self.decisions.lock();
        let is_full = decisions.len() == CAPACITY;
        if is_full {
            decisions.pop_front();
        }
        decisions.push_back(Decision { chain: Arc::clone(chain), seq, trace_id, span_id });
        drop(decisions);
        if is_full {
            self.complain();
        }
    }

    /// No fault: so it is during an outage of Kafka's, and always without Kafka.
    fn complain(&self) {
        let mut said = self.said.lock();
        if said.is_none_or(|before| before.elapsed() >= REMIND) {
            *said = Some(Instant::now());
            tracing::debug!(limit = CAPACITY, "too many traced decisions wait for Kafka: the oldest will have no link");
        }
    }

    /// Trace and span ids of the decisions in this range; they are not asked for again.
    pub(super) fn take(&self, chain: &str, first_seq: u64, last_seq: u64) -> Vec<(u128, u64)> {
        let mut taken = Vec::new();
        self.decisions.lock().retain(|decision| {
            let sent = (first_seq..=last_seq).contains(&decision.seq) && *decision.chain == *chain;
            if sent {
                taken.push((decision.trace_id, decision.span_id));
            }
            !sent
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_a_chain_is_taken_once() {
        let (kept, chain, other) = (Kept::default(), Arc::from("a"), Arc::from("b"));
        for seq in 1..=4 {
            kept.remember(&chain, seq, u128::from(seq), seq);
        }
        kept.remember(&other, 2, 9, 9);
        assert_eq!(kept.take("a", 2, 3), [(2, 2), (3, 3)]);
        assert_eq!(kept.take("a", 0, 9), [(1, 1), (4, 4)]);
        assert_eq!(kept.take("b", 0, 9), [(9, 9)]);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let (kept, chain) = (Kept::default(), Arc::from("a"));
        let all = u64::try_from(CAPACITY).unwrap();
        for seq in 0..=all {
            kept.remember(&chain, seq, 1, 1);
        }
        assert_eq!(kept.take("a", 0, 0), []);
        assert_eq!(kept.take("a", 0, all).len(), CAPACITY);
    }
}
