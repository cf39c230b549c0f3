//! The breaker in its place: what opens it, what it spares, what the record and the metric say.

use super::*;

fn breaking(failures: u32) -> Limits {
    let breaker = breaker::Options { failures, open_for: 5 * SECOND };
    Limits { breaker, retries: 0, ..limits() }
}

fn counted(only: &Arc<Scripted>, limits: Limits) -> (Arc<Decider>, Arc<Metrics>) {
    let metrics = Metrics::new(&Names { authorizers: vec!["only".into()], ..Names::default() });
    (Arc::new(Decider::new(options(&[(only, limits)]), metrics.clone()).unwrap()), metrics)
}

async fn reason(decider: &Decider) -> Reason {
    ask(decider, &request()).await.0.outcome.reason()
}

fn gauge(metrics: &Metrics, open: u8) -> bool {
    metrics.encode().contains(&format!("countersign_authorizer_breaker_open{{authorizer=\"only\"}} {open}\n"))
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_that_fails_is_left_alone_and_tried_again() {
    let script =
        [Fail(Reason::Connect), Fail(Reason::Timeout), Fail(Reason::Tls), Fail(Reason::Dns), Say(YES), Say(YES)];
    let only = Scripted::new("only", &script);
    let (decider, metrics) = counted(&only, breaking(3));
    assert!(gauge(&metrics, 0));
    for expected in [Reason::Connect, Reason::Timeout, Reason::Tls, Reason::BreakerOpen, Reason::BreakerOpen] {
        assert_eq!(reason(&decider).await, expected);
    }
    assert_eq!(only.asked(), 3);
    assert!(gauge(&metrics, 1));
    let (decided, fresh) = ask(&decider, &request()).await;
    assert_eq!(reasons(&decided), [("only", 0, Reason::BreakerOpen)]);
    assert_eq!((decided.origin, decided.decided_by, fresh.is_none()), (Origin::Fault, None, true));
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(reason(&decider).await, Reason::Dns, "the probe");
    assert_eq!(reason(&decider).await, Reason::BreakerOpen, "which failed");
    assert!(gauge(&metrics, 1));
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(reason(&decider).await, Reason::Allowed);
    assert!(gauge(&metrics, 0));
    assert_eq!(reason(&decider).await, Reason::Allowed);
    assert!(metrics.encode().contains("outcome=\"breaker_open\"} 4\n"), "{}", metrics.encode());
}

#[tokio::test(start_paused = true)]
async fn questions_count_and_not_attempts() {
    let only = Scripted::new("only", &[Fail(Reason::Connect); 4]);
    let decider = decider(&[(&only, Limits { retries: 1, ..breaking(2) })]);
    assert_eq!([reason(&decider).await, reason(&decider).await], [Reason::Connect; 2]);
    assert_eq!(only.asked(), 4, "two questions of two attempts");
    assert_eq!(reason(&decider).await, Reason::BreakerOpen);
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_is_an_answer() {
    let fail = Fail(Reason::Connect);
    for between in [Say(YES), Say(NO), Say("{}"), Say("?"), Fail(Reason::BadStatus), Fail(Reason::AnswerTooLarge)] {
        let only = Scripted::new("only", &[fail, fail, between, fail, fail, Say(YES)]);
        let mut options = options(&[(&only, breaking(3))]);
        options.cache.entries = 0;
        let decider = Arc::new(Decider::new(options, Metrics::new(&Names::default())).unwrap());
        for _ in 0..5 {
            assert_ne!(reason(&decider).await, Reason::BreakerOpen);
        }
        assert_eq!(reason(&decider).await, Reason::Allowed);
    }
}

/// The question that probes is dropped half-way: the next one probes.
#[tokio::test(start_paused = true)]
async fn an_abandoned_probe_does_not_wedge_it() {
    let only = Scripted::new("only", &[Fail(Reason::Connect), After(SECOND / 4, NO), Say(YES)]);
    let decider = decider(&[(&only, breaking(1))]);
    reason(&decider).await;
    tokio::time::advance(5 * SECOND).await;
    let given_up = tokio::time::timeout(SECOND / 8, ask(&decider, &request())).await;
    assert!(given_up.is_err());
    assert_eq!(reason(&decider).await, Reason::Allowed);
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_and_the_next_authorizer_serves_meanwhile() {
    let only = Scripted::new("only", &[Fail(Reason::Connect), After(SECOND / 4, YES)]);
    let other = Scripted::new("other", &[Say(NO), Say(NO), Say(NO)]);
    let decider = decider(&[(&only, breaking(1)), (&other, limits())]);
    assert!(ask(&decider, &request()).await.0.fallback);
    tokio::time::advance(5 * SECOND).await;
    let probing = asking(&decider, request());
    tokio::time::sleep(SECOND / 8).await;
    // An equal one would wait for what becomes of the probe.
    let (meanwhile, _) = ask(&decider, &Request { account: "bob".into(), ..request() }).await;
    assert_eq!(reasons(&meanwhile), [("only", 0, Reason::BreakerOpen), ("other", 1, Reason::Denied)]);
    assert_eq!(probing.await.unwrap().decided_by.as_deref(), Some("only"));
    assert_eq!(only.asked(), 2);
}

/// Equal questions wait while one of them probes. Whatever becomes of it, each of them gets its answer, and the next probe
/// is not far.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_probe_is_not_left_waiting() {
    let take = SECOND / 8;
    for (probe, expected, asked) in [
        (vec![After(take, YES)], [Reason::Allowed; 3], 1),
        // It shows nothing, so the next one probes.
        (vec![Panic, After(take, NO)], [Reason::Internal, Reason::Denied, Reason::Denied], 2),
        (vec![Fail(Reason::Dns)], [Reason::Dns, Reason::BreakerOpen, Reason::BreakerOpen], 1),
    ] {
        let only = Scripted::new("only", &[Fail(Reason::Connect)]);
        let decider = decider(&[(&only, breaking(1))]);
        reason(&decider).await;
        tokio::time::advance(5 * SECOND).await;
        only.script.lock().extend(probe.iter().copied());
        let crowd: Vec<_> = (0..3).map(|_| asking(&decider, request())).collect();
        for (one, expected) in crowd.into_iter().zip(expected) {
            // The pipeline makes `internal` of a panic.
            assert_eq!(one.await.map_or(Reason::Internal, |decided| decided.outcome.reason()), expected);
        }
        assert_eq!(only.asked(), 1 + asked, "{expected:?}");
        assert!(decider.memory_is_quiet());
        tokio::time::advance(5 * SECOND).await;
        only.script.lock().push_back(Say(YES));
        let other = Request { account: "bob".into(), ..request() };
        assert_eq!(ask(&decider, &other).await.0.outcome.reason(), Reason::Allowed, "{expected:?}");
    }
}
