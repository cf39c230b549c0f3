//! What is remembered, for how long, and what never is.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_answer_is_remembered_once_its_record_is_durable() {
    let only = Scripted::new("only", &[Say(YES), Say(YES)]);
    let decider = decider(&[(&only, limits())]);
    let (first, fresh) = ask(&decider, &request()).await;
    assert_eq!(first.cache.state, CacheState::Miss);
    let fresh = fresh.unwrap();
    let record_id = fresh.entry.record_id;
    assert_eq!(ask(&decider, &request()).await.0.cache.state, CacheState::Miss, "nothing is durable yet");
    decider.remember(fresh);
    tokio::time::advance(3 * SECOND).await;
    let (hit, again) = ask(&decider, &request()).await;
    assert_eq!((hit.origin, hit.outcome.reason()), (Origin::Cache, Reason::Allowed));
    assert_eq!((hit.cache.age, hit.cache.record_id), (Some(3 * SECOND), Some(record_id)));
    assert_eq!((hit.decided_by.as_deref(), hit.calls.len(), hit.fallback), (Some("only"), 0, false));
    assert!(again.is_none(), "a hit does not begin a new life");
    assert_eq!(only.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn allow_and_deny_live_for_their_own_time() {
    for (body, alive) in [(YES, 10), (NO, 2)] {
        let only = Scripted::new("only", &[Say(body), Say(body)]);
        let decider = decider(&[(&only, limits())]);
        ask_and_remember(&decider, &request()).await;
        tokio::time::advance(SECOND * alive - Duration::from_millis(1)).await;
        assert_eq!(ask(&decider, &request()).await.0.origin, Origin::Cache, "{body}");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(ask(&decider, &request()).await.0.origin, Origin::Authorizer, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_begins_when_the_question_was_sent() {
    let takes = Duration::from_millis(400);
    let only = Scripted::new("only", &[After(takes, YES), Say(YES)]);
    let decider = decider(&[(&only, limits())]);
    ask_and_remember(&decider, &request()).await;
    let hit = ask(&decider, &request()).await.0;
    assert_eq!(hit.cache.age.map(|age| age.as_millis() / 10), Some(40));
    tokio::time::advance(TTL - takes).await;
    assert_eq!(ask(&decider, &request()).await.0.origin, Origin::Authorizer);
}

#[tokio::test(start_paused = true)]
async fn the_authorizer_can_only_shorten() {
    for (says, listens, alive) in [
        (Duration::ZERO, CacheControl::Honour, 0),
        (Duration::ZERO, CacheControl::Ignore, 10),
        (SECOND, CacheControl::Honour, 1),
        (SECOND * 9_999, CacheControl::Honour, 10),
    ] {
        let only = Scripted::new("only", &[SayFor(YES, says)]);
        let decider = decider(&[(&only, Limits { cache_control: listens, ..limits() })]);
        let (_, fresh) = ask(&decider, &request()).await;
        let lifetime = fresh.as_ref().map_or(Duration::ZERO, |fresh| fresh.lifetime);
        assert_eq!(lifetime, SECOND * alive, "{says:?} {listens:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_questions_are_asked_again() {
    let only = Scripted::new("only", &[Say(YES); 4]);
    let decider = decider(&[(&only, limits())]);
    ask_and_remember(&decider, &request()).await;
    for other in [
        Request { account: "bob".into(), ..request() },
        Request { deny_only: true, ..request() },
        Request { action: "s3:PutObject".into(), ..request() },
    ] {
        assert_eq!(ask(&decider, &other).await.0.origin, Origin::Authorizer, "{other:?}");
    }
    let tracer = Tracer::off();
    let trace = tracer.begin(None);
    let deadline = Instant::now() + 2 * SECOND;
    assert_eq!(ask(&decider, &request()).await.0.origin, Origin::Cache);
    let (elsewhere, _) = decider.decide(&request(), "other", Uuid::now_v7(), deadline, &trace, &tracer).await;
    assert_eq!(elsewhere.cache.state, CacheState::Miss, "another client is another question");
}

#[tokio::test(start_paused = true)]
async fn what_is_switched_off_is_not_looked_at() {
    let large = Request { bytes: vec![b' '; MAX_CACHED_QUESTION + 1].into(), ..request() };
    let admin = Request { action: "admin:ServerInfo".into(), ..request() };
    let only = Scripted::new("only", &[Say(YES); 6]);
    let on = decider(&[(&only, limits())]);
    let mut none = options(&[(&only, limits())]);
    none.cache.entries = 0;
    let none = Decider::new(none, Metrics::new(&Names::default())).unwrap();
    let mut route_off = options(&[(&only, limits())]);
    let route = Route { cache: Lifetimes::OFF, ..route_off.routes.iter().next().unwrap().clone() };
    route_off.routes = Routes::new(vec![route]);
    let route_off = Decider::new(route_off, Metrics::new(&Names::default())).unwrap();
    for (decider, question) in [(&on, &large), (&on, &admin), (&none, &request()), (&route_off, &request())] {
        let (decided, fresh) = ask(decider, question).await;
        assert_eq!(decided.cache.state, CacheState::Off);
        assert!(fresh.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_remembered_fallback_stays_one() {
    let first = Scripted::new("first", &[Fail(Reason::Dns)]);
    let second = Scripted::new("second", &[Say(YES)]);
    let decider = decider(&[(&first, limits()), (&second, limits())]);
    ask_and_remember(&decider, &request()).await;
    let hit = ask(&decider, &request()).await.0;
    assert_eq!((hit.origin, hit.fallback, hit.decided_by.as_deref()), (Origin::Cache, true, Some("second")));
}
