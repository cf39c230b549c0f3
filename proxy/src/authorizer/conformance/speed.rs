//! How fast an authorizer answers, against the time it is given.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::authorizer::webhook::Webhook;
use crate::policy::verdict::Reason;

use super::questions::{self, Kind};
use super::{Finding, Subject};

/// Questions at a time.
const AT_ONCE: usize = 4;
/// The whole measurement; a slow authorizer is asked less.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks the same question many times.
pub(super) async fn measured(webhook: &Webhook, subject: &Subject, limit: Duration) -> Finding {
    let body = questions::body(Kind::Read, subject.options.dialect);
    let until = Instant::now() + PATIENCE;
    let ask = |_| {
        let body = body.clone();
        async move {
            if Instant::now() >= until {
                return None;
            }
            let began = Instant::now();
            let outcome = webhook.probe(&body, limit).await.outcome;
            Some((began.elapsed(), outcome.err()))
        }
    };
    let asked: Vec<(Duration, Option<Reason>)> = stream::iter(0..subject.questions)
        .map(ask)
        .buffer_unordered(AT_ONCE)
        .filter_map(async |one| one)
        .collect()
        .await;
    let mut failed: Vec<Reason> = asked.iter().filter_map(|(_, fault)| *fault).collect();
    let failures = failed.len();
    failed.sort_unstable();
    failed.dedup();
    let mut took: Vec<Duration> = asked.iter().map(|(took, _)| *took).collect();
    took.sort_unstable();
    Finding::Speed {
        questions: took.len(),
        p50: percentile(&took, 50),
        p99: percentile(&took, 99),
        timeout: subject.timeout,
        failures,
        faults: failed,
    }
}

/// The smallest that so many of a hundred do not exceed.
fn percentile(sorted: &[Duration], of_hundred: usize) -> Duration {
    let place = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let all: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&all, 50), Duration::from_millis(100));
        assert_eq!(percentile(&all, 99), Duration::from_millis(198));
        assert_eq!(percentile(&all[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
