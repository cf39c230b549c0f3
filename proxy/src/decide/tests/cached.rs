//! What is remembered, for how long, and what never is.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_answer_is_remembered_once_its_record_is_durable() {
    let only = Scripted::new("only", &[Say(YES), Say(YES)]);
    let decider = decider(&[(&only, limits())]);
    let (first, fresh) = ask(&decider, &request()).await;
    assert_eq!(first.cache.state, CacheState::Miss);
    let fresh = fresh.unwrap();
    let record_id = kept(&fresh).entry.record_id;
    let early = asking(&decider, request());
    tokio::task::yield_now().await;
    assert!(!early.is_finished() && only.asked() == 1, "nothing is durable yet");
    decider.remember(fresh);
    let shared = early.await.unwrap();
    assert_eq!((shared.origin, shared.cache.state), (Origin::Coalesced, CacheState::Coalesced));
    assert_eq!((shared.cache.record_id, shared.calls.len()), (Some(record_id), 0));
    tokio::time::advance(3 * SECOND).await;
    let (hit, again) = ask(&decider, &request()).await;
    assert_eq!((hit.origin, hit.outcome.reason()), (Origin::Cache, Reason::Allowed));
    assert_eq!((hit.cache.age, hit.cache.record_id), (Some(3 * SECOND), Some(record_id)));
    assert_eq!((hit.decided_by.as_deref(), hit.calls.len(), hit.fallback), (Some("only"), 0, false));
    assert!(again.is_none(), "a hit does not begin a new life");
    assert_eq!(only.asked(), 1);
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
        assert!(lives(fresh.as_ref(), SECOND * alive), "{says:?} {listens:?}");
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
    let none = Arc::new(Decider::new(none, Metrics::new(&Names::default())).unwrap());
    let mut route_off = options(&[(&only, limits())]);
    let route = Route { cache: Lifetimes::OFF, ..route_off.routes.iter().next().unwrap().clone() };
    route_off.routes = Routes::new(vec![route]);
    let route_off = Arc::new(Decider::new(route_off, Metrics::new(&Names::default())).unwrap());
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

/// F91. Whatever a reload changes, its decider begins with nothing: no answer, no key, no question under way.
#[tokio::test(start_paused = true)]
async fn a_new_decider_knows_nothing_of_the_one_before() {
    let only = Scripted::new("only", &[Say(YES), After(SECOND / 10, NO), Say(NO)]);
    let old = decider(&[(&only, limits())]);
    ask_and_remember(&old, &request()).await;
    let bobs = Request { account: "bob".into(), ..request() };
    let under_way = asking(&old, bobs.clone());
    tokio::task::yield_now().await;
    let new = living(&[(&only, limits())], Lifetimes { allow: SECOND, deny: SECOND });
    for question in [request(), bobs] {
        let decided = ask(&new, &question).await.0;
        assert_eq!((decided.origin, decided.cache.state), (Origin::Authorizer, CacheState::Miss));
        only.script.lock().push_back(Say(NO));
    }
    assert_eq!(ask(&old, &request()).await.0.origin, Origin::Cache);
    assert_eq!(under_way.await.unwrap().outcome.reason(), Reason::Denied);
}

/// F96. `Instant` stands still while the machine sleeps, and a server may sleep for a night.
/// A question on its way in the old decider used to show the old cache's size until the new one kept something.
#[tokio::test(start_paused = true)]
async fn a_decider_that_is_replaced_no_longer_shows_its_size() {
    let metrics = Metrics::new(&Names::default());
    let shown = |entries: u32| metrics.encode().contains(&format!("countersign_cache_entries {entries}\n"));
    let only = Scripted::new("only", &[Say(YES), After(SECOND / 10, YES)]);
    let old = Arc::new(Decider::new(options(&[(&only, limits())]), metrics.clone()).unwrap());
    ask_and_remember(&old, &request()).await;
    assert!(shown(1));
    let under_way = asking(&old, Request { object: "b".into(), ..request() });
    tokio::task::yield_now().await;
    let new = Decider::new(options(&[(&only, limits())]), metrics.clone()).unwrap();
    old.retire();
    assert!(shown(0));
    assert_eq!(under_way.await.unwrap().outcome.reason(), Reason::Allowed);
    old.purge(Rule::Everything);
    assert!(shown(0));
    drop(new);
}

#[tokio::test(start_paused = true)]
async fn time_asleep_counts() {
    let only = Scripted::new("only", &[Say(YES); 2]);
    let decider = decider(&[(&only, limits())]);
    ask_and_remember(&decider, &request()).await;
    asleep::sleep(TTL - Duration::from_nanos(1));
    assert_eq!(ask(&decider, &request()).await.0.cache.age, Some(TTL - Duration::from_nanos(1)));
    asleep::sleep(Duration::from_nanos(1));
    assert_eq!(ask(&decider, &request()).await.0.origin, Origin::Authorizer);
}

/// A sleep while the authorizer is being asked: it may have looked at its policy before.
#[tokio::test(start_paused = true)]
async fn an_answer_that_slept_on_its_way_is_as_old_as_its_question() {
    let only = Scripted::new("only", &[After(SECOND / 10, YES), Say(YES)]);
    let decider = decider(&[(&only, limits())]);
    let question = request();
    let (asked, ()) = tokio::join!(ask(&decider, &question), async {
        tokio::task::yield_now().await;
        asleep::sleep(TTL);
    });
    asked.1.into_iter().for_each(|fresh| decider.remember(fresh));
    assert_eq!(ask(&decider, &request()).await.0.origin, Origin::Authorizer);
}

#[tokio::test(start_paused = true)]
async fn a_purge_takes_back_what_was_asked_before_it() {
    let only = Scripted::new("only", &[Say(YES); 4]);
    let decider = decider(&[(&only, limits())]);
    let bobs = Request { account: "bob".into(), ..request() };
    ask_and_remember(&decider, &request()).await;
    ask_and_remember(&decider, &bobs).await;
    decider.purge(Rule::new(false, Some("alice"), None, None).unwrap());
    assert_eq!(ask(&decider, &bobs).await.0.origin, Origin::Cache);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(ask_and_remember(&decider, &request()).await.origin, Origin::Authorizer);
    assert_eq!(ask(&decider, &request()).await.0.origin, Origin::Cache, "the new answer is used");
    decider.purge(Rule::Everything);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&decider, &bobs).await.0.origin, Origin::Authorizer);
}

/// The answer comes after the purge, but its question was sent before.
#[tokio::test(start_paused = true)]
async fn an_answer_under_way_is_taken_back_too() {
    let only = Scripted::new("only", &[After(SECOND / 10, YES), Say(NO)]);
    let decider = decider(&[(&only, limits())]);
    let leader = asking(&decider, request());
    let follower = asking(&decider, request());
    tokio::task::yield_now().await;
    assert_eq!(only.asked(), 1);
    decider.purge(Rule::new(false, None, Some("photos"), None).unwrap());
    assert_eq!(leader.await.unwrap().outcome.reason(), Reason::Allowed);
    let follower = follower.await.unwrap();
    assert_eq!((follower.origin, follower.outcome.reason()), (Origin::Authorizer, Reason::Denied));
    assert_eq!(ask(&decider, &request()).await.0.outcome.reason(), Reason::Denied);
}
