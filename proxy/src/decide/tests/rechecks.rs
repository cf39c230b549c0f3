//! Hits asked again: what each outcome leads to, and that no answer waits for it.

use super::*;
use crate::metrics::names::Recheck;

/// The condition that these authorizers look at and the key does not.
const IGNORED: &str = "X-Request-Id";

/// Asked with `secret` it denies; `flips` after so many questions it allows everything or nothing.
struct Looking {
    name: Arc<str>,
    asked: AtomicUsize,
    by: fn(usize, bool) -> &'static str,
}

#[async_trait]
impl Authorizer for Looking {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    async fn ask(&self, question: &Question<'_>, _: Duration) -> Attempt {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        let secret = question.request.bytes.windows(6).any(|six| six == b"secret");
        tokio::time::sleep(SECOND / 100).await;
        match (self.by)(turn, secret) {
            "" => Attempt::fault(Reason::Connect),
            body => Attempt {
                outcome: answer::read(200, None, false, body.as_bytes()),
                status: Some(200),
                keep_at_most: None,
            },
        }
    }
}

fn question(id: &str) -> Request {
    let body = serde_json::json!({"input": {"account": "alice", "action": "s3:GetObject", "bucket": "photos",
        "object": "a", "conditions": {IGNORED: [id]}, "claims": {}}});
    crate::wire::question::read(body.to_string().into()).unwrap()
}

struct Proving {
    decider: Arc<Decider>,
    metrics: Arc<Metrics>,
    authorizer: Arc<Looking>,
}

fn proving(share: f64, by: fn(usize, bool) -> &'static str) -> Proving {
    proving_all(share, Combine::First, &[by])
}

/// Over several authorizers, of which the first one is counted.
fn proving_all(share: f64, combine: Combine, by: &[fn(usize, bool) -> &'static str]) -> Proving {
    let names = ["one", "other"].into_iter().zip(by);
    let looking = |(name, by): (&str, &fn(usize, bool) -> &'static str)| {
        Arc::new(Looking { name: name.into(), asked: AtomicUsize::new(0), by: *by })
    };
    let all: Vec<Arc<Looking>> = names.map(looking).collect();
    let mut options = options(&[]);
    let guarded = |one: &Arc<Looking>| (one.clone() as Arc<dyn Authorizer>, Limits { retries: 0, ..limits() });
    options.authorizers = all.iter().map(guarded).collect();
    let route = options.routes.iter().next().unwrap().clone();
    options.routes = Routes::new(vec![Route { ask: (0..all.len()).collect(), combine, ..route }]);
    let authorizer = all[0].clone();
    options.cache.recheck = share;
    let metrics = Metrics::new(&Names { routes: vec!["all".into()], ..Names::default() });
    let decider = Arc::new(Decider::new(options, metrics.clone()).unwrap());
    Proving { decider, metrics, authorizer }
}

impl Proving {
    /// Fills the cache with one question and answers another from it; then waits for whatever comes of that.
    async fn hit(&self) -> Decided {
        ask_and_remember(&self.decider, &question("plain")).await;
        let asked = Instant::now();
        let hit = ask_and_remember(&self.decider, &question("secret")).await;
        assert_eq!((hit.origin, asked.elapsed()), (Origin::Cache, Duration::ZERO), "no answer waits");
        tokio::time::sleep(4 * SECOND).await;
        hit
    }

    fn counted(&self, outcome: Recheck) -> bool {
        let series = format!("countersign_cache_rechecks_total{{outcome=\"{}\"}} 1\n", outcome.as_str());
        self.metrics.encode().contains(&series)
    }

    fn is_on(&self) -> bool {
        self.metrics.encode().contains("countersign_cache_enabled{route=\"all\"} 1\n")
    }

    fn asked(&self) -> usize {
        self.authorizer.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_right_costs_one_question() {
    let proving = proving(1.0, |_, _| YES);
    proving.hit().await;
    assert!(proving.counted(Recheck::Same) && proving.is_on());
    assert_eq!(proving.asked(), 2);
    assert_eq!(ask(&proving.decider, &question("third")).await.0.origin, Origin::Cache);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_difference_switches_the_routes_cache_off() {
    let proving = proving(1.0, |_, secret| if secret { NO } else { YES });
    assert_eq!(proving.hit().await.outcome.reason(), Reason::Allowed, "the damage of a wrong key");
    assert!(proving.counted(Recheck::Different) && !proving.is_on());
    assert_eq!(proving.asked(), 1 + 1 + 6);
    for (id, expected) in [("secret", Reason::Denied), ("plain", Reason::Allowed), ("secret", Reason::Denied)] {
        let decided = ask_and_remember(&proving.decider, &question(id)).await;
        assert_eq!((decided.outcome.reason(), decided.cache.state), (expected, CacheState::Off));
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_has_changed_is_no_wrong_key() {
    let proving = proving(1.0, |turn, _| if turn == 0 { YES } else { NO });
    proving.hit().await;
    assert!(proving.counted(Recheck::Stale) && proving.is_on());
    let decided = ask(&proving.decider, &question("plain")).await.0;
    assert_eq!((decided.origin, decided.outcome.reason()), (Origin::Authorizer, Reason::Denied), "what is wrong goes");
}

/// Between the two questions of the first round, and answers that come in turn from an old and a new policy.
#[tokio::test(start_paused = true)]
async fn a_difference_must_last() {
    for by in [
        |turn: usize, _: bool| if turn < 3 && turn != 1 { YES } else { NO },
        |turn: usize, _: bool| if turn.is_multiple_of(2) { YES } else { NO },
    ] {
        let proving = proving(1.0, by);
        proving.hit().await;
        assert!(proving.counted(Recheck::Stale) && proving.is_on());
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_proves_nothing() {
    for fails_at in 1..4 {
        // A captured number would not be a plain function.
        let by: fn(usize, bool) -> &'static str = match fails_at {
            1 => |turn, secret| {
                if turn == 1 {
                    ""
                } else if secret {
                    NO
                } else {
                    YES
                }
            },
            2 => |turn, secret| {
                if turn == 2 {
                    ""
                } else if secret {
                    NO
                } else {
                    YES
                }
            },
            _ => |turn, secret| {
                if turn == 7 {
                    ""
                } else if secret {
                    NO
                } else {
                    YES
                }
            },
        };
        let proving = proving(1.0, by);
        proving.hit().await;
        assert!(proving.counted(Recheck::Unanswered) && proving.is_on(), "{fails_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_share_nothing_is_asked_again() {
    let proving = proving(0.0, |_, secret| if secret { NO } else { YES });
    proving.hit().await;
    assert_eq!(proving.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_place_is_counted_and_costs_nothing() {
    let proving = proving(1.0, |_, _| YES);
    ask_and_remember(&proving.decider, &question("plain")).await;
    for _ in 0..100 {
        assert_eq!(ask_and_remember(&proving.decider, &question("other")).await.origin, Origin::Cache);
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(proving.asked(), 1 + 4);
    let text = proving.metrics.encode();
    assert!(text.contains("countersign_cache_rechecks_total{outcome=\"same\"} 4\n"), "{text}");
    assert!(text.contains("countersign_cache_rechecks_total{outcome=\"skipped\"} 96\n"), "{text}");
}

/// A hit is proved by whom its route asks, in the way its route asks.
#[tokio::test(start_paused = true)]
async fn what_rests_on_everyone_is_proved_by_everyone() {
    let changed = |turn, _| if turn == 0 { YES } else { NO };
    for (combine, expected) in
        [(Combine::All, Recheck::Stale), (Combine::Any, Recheck::Same), (Combine::First, Recheck::Same)]
    {
        let proving = proving_all(1.0, combine, &[|_, _| YES, changed]);
        proving.hit().await;
        assert!(proving.counted(expected) && proving.is_on(), "{combine:?}");
    }
}

/// Nobody is denied or allowed by a recheck, so it is none of the decisions that are counted.
#[tokio::test(start_paused = true)]
async fn a_recheck_is_no_fallback() {
    let proving = proving_all(1.0, Combine::First, &[|_, _| "", |_, _| YES]);
    assert!(proving.hit().await.fallback);
    assert!(proving.counted(Recheck::Same) && proving.asked() == 2);
    assert!(proving.metrics.encode().contains("countersign_fallbacks_total{route=\"all\"} 1\n"));
}
