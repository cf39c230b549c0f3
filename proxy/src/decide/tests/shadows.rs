//! Authorizers that are only tried out: when they are asked, what becomes of what they say, and that nobody waits.

use super::*;
use crate::metrics::ShadowName;

/// One route `all` that asks `decides` and tries out the others.
fn trying(decides: &Arc<Scripted>, tried: &[(&Arc<Scripted>, Limits)]) -> (Arc<Decider>, Arc<Metrics>) {
    let mut options = options(&[(decides, limits())]);
    let shadow = (0..tried.len()).collect();
    let route = options.routes.iter().next().unwrap().clone();
    options.routes = Routes::new(vec![Route { shadow, ..route }]);
    options.shadows =
        tried.iter().map(|(it, limits)| (Arc::clone(it) as Arc<dyn Authorizer>, limits.clone())).collect();
    let metrics = Metrics::new(&Names {
        routes: vec!["all".into()],
        authorizers: vec!["decides".into(), "tried".into()],
        shadows: tried.iter().map(|(it, _)| ShadowName::new("all", &it.name)).collect(),
        ..Names::default()
    });
    (Arc::new(Decider::new(options, metrics.clone()).unwrap()), metrics)
}

/// Like the pipeline and the front: decides, remembers, and asks beside it once the answer has left.
async fn answer(decider: &Arc<Decider>, request: Request) -> Decided {
    let (decided, fresh) = ask(decider, &request).await;
    fresh.into_iter().for_each(|fresh| decider.remember(fresh));
    let trace = Tracer::off().begin(None);
    if let Some(beside) = decider.beside(Box::new(request), &decided, Uuid::now_v7(), &trace) {
        beside.begin();
    }
    decided
}

fn compared(metrics: &Metrics, shadow: &str) -> Vec<(&'static str, u64)> {
    let text = metrics.encode();
    let of = |difference: &crate::policy::compare::Difference| {
        let word = difference.as_str();
        let series = format!(
            "countersign_shadow_comparisons_total{{route=\"all\",authorizer=\"{shadow}\",difference=\"{word}\"}} "
        );
        let value = text.lines().find_map(|line| line.strip_prefix(&series)).expect("there from the start").parse();
        (word, value.unwrap())
    };
    crate::policy::compare::Difference::ALL.iter().map(of).filter(|(_, count)| *count > 0).collect()
}

fn object(name: impl ToString) -> Request {
    Request { object: name.to_string().into(), ..request() }
}

#[tokio::test(start_paused = true)]
async fn every_difference_is_counted() {
    let decides = Scripted::new("decides", &[Say(YES), Say(NO), Say(YES), Say(NO), Say(YES), Fail(Reason::Undefined)]);
    let tried = Scripted::new("tried", &[Say(YES), Say(NO), Say(NO), Say(YES), Fail(Reason::Undefined), Say(YES)]);
    let (decider, metrics) = trying(&decides, &[(&tried, limits())]);
    assert_eq!(compared(&metrics, "tried"), []);
    for number in 0..6 {
        answer(&decider, object(number)).await;
        tokio::time::sleep(SECOND).await;
    }
    let expected = [("none", 2), ("would_allow", 1), ("would_deny", 1), ("fault", 1), ("undecided", 1)];
    assert_eq!(compared(&metrics, "tried"), expected);
    // Who is called at night for an authorizer that is down is not called for a shadow.
    let text = metrics.encode();
    let failed = "countersign_authorizer_requests_total{authorizer=\"tried\",outcome=\"undefined\"} 0\n";
    assert!(text.contains(failed), "{text}");
    assert!(text.contains("countersign_authorizer_duration_seconds_count{authorizer=\"tried\"} 6\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn only_what_was_asked_is_asked_beside() {
    let decides = Scripted::new("decides", &[After(SECOND / 4, YES), Say(NO)]);
    let tried = Scripted::new("tried", &[Say(YES), Say(YES)]);
    let (decider, metrics) = trying(&decides, &[(&tried, limits())]);
    let answering = |request| {
        let decider = decider.clone();
        tokio::spawn(async move { answer(&decider, request).await })
    };
    let (leader, follower) = (answering(request()), answering(request()));
    assert_eq!(leader.await.unwrap().origin, Origin::Authorizer);
    assert_eq!(follower.await.unwrap().origin, Origin::Coalesced);
    assert_eq!(answer(&decider, request()).await.origin, Origin::Cache);
    tokio::time::sleep(SECOND).await;
    assert_eq!((tried.asked(), compared(&metrics, "tried")), (1, vec![("none", 1)]));
    answer(&decider, object("b")).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((tried.asked(), compared(&metrics, "tried")), (2, vec![("none", 1), ("would_allow", 1)]));
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_place_is_dropped_and_nobody_waits() {
    let decides = Scripted::new("decides", &[Say(YES); 20]);
    let tried = Scripted::new("tried", &[]);
    let few = Limits { max_in_flight: 3, retries: 0, ..limits() };
    let (decider, metrics) = trying(&decides, &[(&tried, few)]);
    let began = Instant::now();
    for number in 0..10 {
        assert_eq!(answer(&decider, object(number)).await.outcome.reason(), Reason::Allowed);
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for a shadow that hangs");
    tokio::task::yield_now().await;
    assert_eq!(tried.asked(), 3);
    let in_flight = "countersign_authorizer_in_flight{authorizer=\"tried\"} 0\n";
    assert!(metrics.encode().contains(in_flight), "it is read beside the `max_in_flight` of one that decides");
    tokio::time::sleep(SECOND).await;
    assert_eq!(compared(&metrics, "tried"), [("fault", 3), ("dropped", 7)]);
    // Its places come free with its timeouts.
    answer(&decider, object("next")).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((tried.asked(), compared(&metrics, "tried")), (4, vec![("fault", 4), ("dropped", 7)]));
}

#[tokio::test(start_paused = true)]
async fn questions_that_wait_for_shadows_take_a_bounded_room() {
    let decides = Scripted::new("decides", &[Say(YES); 40]);
    let tried = Scripted::new("tried", &[]);
    let (decider, metrics) = trying(&decides, &[(&tried, Limits { retries: 0, ..limits() })]);
    let large = |number| Request { bytes: vec![b' '; 1 << 20].into(), ..object(number) };
    for number in 0..20 {
        answer(&decider, large(number)).await;
    }
    tokio::time::sleep(SECOND).await;
    let fit = (shadow::MAX_HELD / ((1 << 20) + shadow::BESIDE_A_QUESTION)) as u64;
    assert_eq!(compared(&metrics, "tried"), [("fault", fit), ("dropped", 20 - fit)]);
    answer(&decider, large(20)).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(compared(&metrics, "tried")[0], ("fault", fit + 1), "the room comes back");
}

/// Two bytes each used to count as two bytes: eight million of them would have fit, with 8 KiB held by each.
#[tokio::test(start_paused = true)]
async fn small_questions_count_with_what_they_hold() {
    const QUESTIONS: usize = 1500;
    let decides = Scripted::new("decides", &[Say(YES); QUESTIONS]);
    let tried = Scripted::new("tried", &[]);
    let (decider, metrics) = trying(&decides, &[(&tried, Limits { retries: 0, max_in_flight: QUESTIONS, ..limits() })]);
    for number in 0..QUESTIONS {
        answer(&decider, object(number)).await;
    }
    tokio::time::sleep(SECOND).await;
    let fit = shadow::MAX_HELD / (request().bytes.len() + shadow::BESIDE_A_QUESTION);
    assert!(fit < QUESTIONS);
    assert_eq!(compared(&metrics, "tried"), [("fault", fit as u64), ("dropped", (QUESTIONS - fit) as u64)]);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_has_a_breaker_of_its_own() {
    let same = Scripted::new("tried", &[Fail(Reason::Connect), Fail(Reason::Connect), Say(YES)]);
    let decides = Scripted::new("decides", &[Say(YES); 10]);
    let breaker = breaker::Options { failures: 2, open_for: 5 * SECOND };
    let (decider, metrics) = trying(&decides, &[(&same, Limits { retries: 0, breaker, ..limits() })]);
    for number in 0..4 {
        answer(&decider, object(number)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(same.asked(), 2, "it is left alone");
    let gauge = "countersign_authorizer_breaker_open{authorizer=\"tried\"} 0\n";
    assert!(metrics.encode().contains(gauge), "an open breaker of a shadow denies nobody");
    tokio::time::sleep(5 * SECOND).await;
    answer(&decider, object(4)).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((same.asked(), compared(&metrics, "tried")), (3, vec![("none", 1), ("fault", 4)]));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_that_panics_takes_nobody_with_it() {
    let decides = Scripted::new("decides", &[Say(YES), Say(YES)]);
    let tried = Scripted::new("tried", &[Panic, Say(NO)]);
    let (decider, metrics) = trying(&decides, &[(&tried, Limits { max_in_flight: 1, ..limits() })]);
    for number in 0..2 {
        assert_eq!(answer(&decider, object(number)).await.outcome.reason(), Reason::Allowed);
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(compared(&metrics, "tried"), [("would_deny", 1)], "its place came back");
}

#[test]
fn a_route_that_tries_out_nobody_known_is_no_route() {
    let decides = Scripted::new("decides", &[]);
    let mut options = options(&[(&decides, limits())]);
    let route = options.routes.iter().next().unwrap().clone();
    options.routes = Routes::new(vec![Route { shadow: vec![0], ..route }]);
    let error = Decider::new(options, Metrics::new(&Names::default())).err();
    assert_eq!(error, Some(OptionsError::TriesUnknown("all".into())));
}
