//! Which authorizer counts, how often it is asked and for how long.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_one_that_answers_decides() {
    let (first, second) = (Scripted::new("first", &[Say(NO)]), Scripted::new("second", &[Say(YES)]));
    let (decided, _) = ask(&decider(&[(&first, limits()), (&second, limits())]), &request()).await;
    assert_eq!(decided.outcome.reason(), Reason::Denied);
    assert_eq!((decided.decided_by.as_deref(), decided.fallback), (Some("first"), false));
    assert_eq!((decided.origin, decided.route.as_deref()), (Origin::Authorizer, Some("all")));
    assert_eq!(second.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_next_one_is_asked_only_on_a_fault_and_is_marked() {
    let first = Scripted::new("first", &[Fail(Reason::Connect), Fail(Reason::ConnectionLost)]);
    let second = Scripted::new("second", &[Say(YES)]);
    let (decided, _) = ask(&decider(&[(&first, limits()), (&second, limits())]), &request()).await;
    assert_eq!(decided.outcome.decision(), Decision::Allow);
    assert_eq!((decided.decided_by.as_deref(), decided.fallback), (Some("second"), true));
    let expected =
        [("first", 1, Reason::Connect), ("first", 2, Reason::ConnectionLost), ("second", 1, Reason::Allowed)];
    assert_eq!(reasons(&decided), expected);
}

#[tokio::test(start_paused = true)]
async fn of_several_faults_the_first_counts_and_of_several_attempts_the_last() {
    let first = Scripted::new("first", &[Fail(Reason::Connect), Fail(Reason::Tls)]);
    let second = Scripted::new("second", &[Fail(Reason::Undefined)]);
    let (decided, fresh) = ask(&decider(&[(&first, limits()), (&second, limits())]), &request()).await;
    assert_eq!(decided.outcome.reason(), Reason::Tls);
    assert_eq!(decided.outcome.decision(), Decision::Deny);
    assert_eq!((decided.decided_by, decided.fallback, decided.origin), (None, false, Origin::Fault));
    assert!(fresh.is_none());
}

/// Every fault an authorizer can end in denies, alone and with every fault after it, and is never remembered.
#[tokio::test(start_paused = true)]
async fn nothing_allows_on_a_fault() {
    let faults: Vec<Reason> = Reason::ALL.iter().copied().filter(|reason| reason.side().is_some()).collect();
    for fault in &faults {
        for other in &faults {
            let first = Scripted::new("first", &[Fail(*fault), Fail(*fault)]);
            let second = Scripted::new("second", &[Fail(*other), Fail(*other)]);
            let decider = decider(&[(&first, limits()), (&second, limits())]);
            let (decided, fresh) = ask(&decider, &request()).await;
            assert_eq!(decided.outcome.decision(), Decision::Deny, "{fault:?} {other:?}");
            assert!(fresh.is_none(), "{fault:?} {other:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_repeated_only_where_it_was_said() {
    for (retries, fault, asked) in
        [(0, Reason::Connect, 1), (1, Reason::Connect, 2), (3, Reason::Connect, 4), (3, Reason::BadStatus, 1)]
    {
        let only = Scripted::new("only", &[Fail(fault); 9]);
        let (decided, _) = ask(&decider(&[(&only, Limits { retries, ..limits() })]), &request()).await;
        assert_eq!((only.asked(), decided.outcome.reason()), (asked, fault));
    }
}

#[tokio::test(start_paused = true)]
async fn one_attempt_times_out_and_the_whole_decision_has_a_deadline() {
    let started = Instant::now();
    let slow = Scripted::new("slow", &[]);
    let (decided, _) = ask(&decider(&[(&slow, limits())]), &request()).await;
    assert_eq!(decided.outcome.reason(), Reason::Timeout);
    assert_eq!(started.elapsed().as_millis() / 10, 50);

    let started = Instant::now();
    let patient = Limits { timeout: 5 * SECOND, ..limits() };
    let second = Scripted::new("second", &[Say(YES)]);
    let (decided, _) = ask(&decider(&[(&slow, patient), (&second, limits())]), &request()).await;
    assert_eq!(decided.outcome.reason(), Reason::Deadline);
    assert_eq!(started.elapsed().as_millis() / 10, 175, "250 ms are left for the record");
    assert_eq!(second.asked(), 0, "its time is over");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_deadline() {
    let only = Scripted::new("only", &[Say(YES)]);
    let decider = decider(&[(&only, limits())]);
    let tracer = Tracer::off();
    let trace = tracer.begin(None);
    let soon = Instant::now() + RECORD_RESERVE;
    let (decided, fresh) = decider.decide(&request(), "local", Uuid::now_v7(), soon, &trace, &tracer).await;
    assert_eq!((decided.outcome.reason(), only.asked()), (Reason::Deadline, 0));
    assert!(decided.calls.is_empty() && fresh.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_bulkhead_holds_and_waits_for_a_bounded_time() {
    let hold = Duration::from_millis(300);
    let only = Scripted::new("only", &[After(hold, YES); 3]);
    let decider = Arc::new(decider(&[(&only, Limits { max_in_flight: 1, retries: 0, ..limits() })]));
    let asked: Vec<_> = (0..3)
        .map(|number| {
            let decider = decider.clone();
            let question = Request { object: number.to_string().into(), ..request() };
            tokio::spawn(async move { ask(&decider, &question).await.0.outcome.reason() })
        })
        .collect();
    let mut reasons = Vec::new();
    for one in asked {
        reasons.push(one.await.unwrap());
    }
    assert_eq!(reasons, [Reason::Allowed, Reason::Allowed, Reason::AuthorizerBusy]);
    assert_eq!(only.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_that_would_not_look_at_deny_only_is_not_asked() {
    let only = Scripted::new("only", &[Say(YES), Say(YES)]);
    let declared = Limits { deny_only: DenyOnly::Deny, ..limits() };
    let decider = decider(&[(&only, declared)]);
    let (decided, fresh) = ask(&decider, &Request { deny_only: true, ..request() }).await;
    assert_eq!((decided.outcome.reason(), decided.decided_by.as_deref()), (Reason::Denied, Some("only")));
    assert_eq!(reasons(&decided), [("only", 0, Reason::Denied)]);
    assert!(fresh.is_none() && only.asked() == 0);
    let (decided, _) = ask(&decider, &request()).await;
    assert_eq!(decided.outcome.reason(), Reason::Allowed);
}

#[tokio::test(start_paused = true)]
async fn without_a_route_nobody_is_asked() {
    let only = Scripted::new("only", &[Say(YES)]);
    let mut options = options(&[(&only, limits())]);
    options.routes = Routes::new(Vec::new());
    let decider = Decider::new(options, Metrics::new(&Names::default())).unwrap();
    let (decided, _) = ask(&decider, &request()).await;
    assert_eq!((decided.outcome.reason(), decided.route.is_none(), only.asked()), (Reason::NoRoute, true, 0));
}

#[test]
fn routes_that_cannot_be_followed_are_errors() {
    let only = Scripted::new("only", &[]);
    for (asks, expected) in [
        (vec![], OptionsError::AsksNobody("r".into())),
        (vec![1], OptionsError::AsksUnknown("r".into())),
        (vec![0, 0], OptionsError::AsksTwice("r".into(), "only".into())),
    ] {
        let mut options = options(&[(&only, limits())]);
        options.routes = Routes::new(vec![Route {
            name: "r".into(),
            matcher: Matcher::any(),
            ask: asks,
            combine: Combine::First,
            shadow: Vec::new(),
            cache: Lifetimes::OFF,
        }]);
        assert_eq!(Decider::new(options, Metrics::new(&Names::default())).err(), Some(expected));
    }
}
