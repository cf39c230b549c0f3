//! Several authorizers at once: who is waited for, what is recorded, and what may be kept.

use super::*;

/// One route that asks every authorizer, combined like this.
fn combined(how: Combine, authorizers: &[(&Arc<Scripted>, Limits)]) -> Arc<Decider> {
    let mut options = options(authorizers);
    let route = Route { combine: how, ..options.routes.iter().next().unwrap().clone() };
    options.routes = Routes::new(vec![route]);
    let metrics = Metrics::new(&Names { routes: vec!["all".into()], ..Names::default() });
    Arc::new(Decider::new(options, metrics).unwrap())
}

fn three(acts: [Act; 3]) -> [Arc<Scripted>; 3] {
    let mut names = ["one", "two", "three"].into_iter();
    acts.map(|act| Scripted::new(names.next().unwrap(), &[act]))
}

async fn ask_three(how: Combine, authorizers: &[Arc<Scripted>; 3], limits: &Limits) -> (Decided, Option<Fresh>) {
    let guarded: Vec<_> = authorizers.iter().map(|authorizer| (authorizer, limits.clone())).collect();
    ask(&combined(how, &guarded), &request()).await
}

/// Over the whole of `decide`: no combination without an allow allows, and none with a fault as its verdict is kept.
#[tokio::test(start_paused = true)]
async fn nothing_that_contains_no_allow_allows() {
    let acts = [Say(YES), Say(NO), Fail(Reason::Undefined), Fail(Reason::Connect), After(Duration::MAX, YES)];
    let says_yes = |place: usize| place == 0;
    let mut allowed = 0;
    for how in [Combine::First, Combine::All, Combine::Any] {
        for places in (0..125).map(|number| [number % 5, number / 5 % 5, number / 25]) {
            let authorizers = three(places.map(|place| acts[place]));
            let limits = Limits { retries: 0, ..limits() };
            let (decided, fresh) = ask_three(how, &authorizers, &limits).await;
            let is_allow = decided.outcome.decision() == Decision::Allow;
            assert!(!is_allow || places.iter().any(|place| says_yes(*place)), "{how:?} {places:?}");
            assert_eq!(fresh.is_some(), matches!(decided.outcome, Outcome::Answered(_)), "{how:?} {places:?}");
            assert!(how == Combine::First || decided.calls.len() == 3, "every attempt is in the record");
            allowed += usize::from(is_allow);
        }
    }
    // first: 25 + 3·5 + 3·3·1 (faults before it); all: 1; any: 125 - 4³.
    assert_eq!(allowed, (25 + 15 + 9) + 1 + 61);
}

#[tokio::test(start_paused = true)]
async fn all_and_any_ask_at_once_and_wait_for_everyone() {
    let take = |millis| Duration::from_millis(millis);
    for (how, body, by) in
        [(Combine::Any, YES, Some("one")), (Combine::All, YES, None), (Combine::All, NO, Some("one"))]
    {
        let authorizers = three([After(take(400), body), After(take(10), body), After(take(200), body)]);
        let began = Instant::now();
        let (decided, _) = ask_three(how, &authorizers, &limits()).await;
        assert_eq!(began.elapsed().as_millis() / 10, 40, "at once, and the slowest counts: {how:?}");
        assert_eq!(decided.decided_by.as_deref(), by, "by the order of `ask`, not by who was faster: {how:?}");
        let names: Vec<_> = decided.calls.iter().map(|call| &*call.authorizer).collect();
        assert_eq!(names, ["one", "two", "three"], "{how:?}");
        assert!(!decided.fallback);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_beyond_the_deadline_does_not_undo_an_allow_of_any() {
    let patient = Limits { timeout: 60 * SECOND, ..limits() };
    let hangs = After(Duration::MAX, YES);
    let (decided, _) = ask_three(Combine::Any, &three([hangs, Say(YES), Say(NO)]), &patient).await;
    assert_eq!((decided.outcome.reason(), decided.decided_by.as_deref()), (Reason::Allowed, Some("two")));
    assert_eq!(decided.calls[0].outcome.reason(), Reason::Deadline);
    let (decided, _) = ask_three(Combine::All, &three([hangs, Say(YES), Say(YES)]), &patient).await;
    assert_eq!((decided.outcome.reason(), decided.decided_by), (Reason::Deadline, None));
}

#[tokio::test(start_paused = true)]
async fn what_rests_on_everyone_lives_as_long_as_the_strictest_says() {
    let says = |body, seconds| SayFor(body, SECOND * seconds);
    for (how, acts, reason, seconds) in [
        (Combine::All, [says(YES, 9), says(YES, 3), Say(YES)], Reason::Allowed, 3),
        (Combine::All, [says(YES, 9), says(YES, 0), Say(YES)], Reason::Allowed, 0),
        (Combine::All, [says(YES, 0), says(NO, 1), says(YES, 0)], Reason::Denied, 1),
        (Combine::Any, [says(NO, 0), says(YES, 5), says(YES, 1)], Reason::Allowed, 5),
        (Combine::Any, [says(NO, 9), says(NO, 1), Say(NO)], Reason::Denied, 1),
        (Combine::First, [Fail(Reason::Dns), says(YES, 4), Say(YES)], Reason::Allowed, 4),
    ] {
        let (decided, fresh) = ask_three(how, &three(acts), &limits()).await;
        assert_eq!(decided.outcome.reason(), reason, "{how:?}");
        assert!(lives(fresh.as_ref(), SECOND * seconds), "{how:?} {reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_allow_by_all_is_remembered_as_everyones() {
    let authorizers = three([After(Duration::from_millis(300), YES), Say(YES), Say(YES)]);
    let guarded: Vec<_> = authorizers.iter().map(|authorizer| (authorizer, limits())).collect();
    let decider = combined(Combine::All, &guarded);
    ask_and_remember(&decider, &request()).await;
    let hit = ask(&decider, &request()).await.0;
    assert_eq!((hit.origin, hit.outcome.reason(), hit.decided_by), (Origin::Cache, Reason::Allowed, None));
    assert_eq!(hit.cache.age.map(|age| age.as_millis() / 10), Some(30), "from the first question");
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_that_was_not_asked_about_denials_denies_for_all() {
    let (declares, allows) = (Scripted::new("declares", &[]), Scripted::new("allows", &[Say(YES), Say(YES)]));
    let declared = Limits { deny_only: DenyOnly::Deny, ..limits() };
    let question = Request { deny_only: true, ..request() };
    for (how, reason, by) in
        [(Combine::All, Reason::Denied, Some("declares")), (Combine::Any, Reason::Allowed, Some("allows"))]
    {
        let decider = combined(how, &[(&declares, declared.clone()), (&allows, limits())]);
        let (decided, _) = ask(&decider, &question).await;
        assert_eq!((decided.outcome.reason(), decided.decided_by.as_deref()), (reason, by), "{how:?}");
    }
    assert_eq!(declares.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn fallbacks_are_counted() {
    let (broken, good) = (Scripted::new("broken", &[Fail(Reason::Dns)]), Scripted::new("good", &[Say(YES), Say(NO)]));
    let metrics = Metrics::new(&Names { routes: vec!["all".into()], ..Names::default() });
    let options = options(&[(&broken, limits()), (&good, limits())]);
    let decider = Arc::new(Decider::new(options, metrics.clone()).unwrap());
    assert!(ask_and_remember(&decider, &request()).await.fallback);
    assert!(ask_and_remember(&decider, &request()).await.fallback, "from the cache, and still marked");
    let line = "countersign_fallbacks_total{route=\"all\"} 1\n";
    assert!(metrics.encode().contains(line), "{}", metrics.encode());
}

/// `all` asked its first authorizer before a purge and its second one after it: what rests on both is as old as the
/// first question, so neither the cache nor who waits for it may have it.
#[tokio::test(start_paused = true)]
async fn a_purge_between_the_questions_of_one_verdict_takes_it_back() {
    let one = Scripted::new("one", &[Say(YES), Say(YES), Say(NO)]);
    let slow = Scripted::new("slow", &[After(SECOND / 5, YES), Say(YES), Say(YES)]);
    let decider = combined(Combine::All, &[(&one, limits()), (&slow, Limits { max_in_flight: 1, ..limits() })]);
    // Holds the only place at the second authorizer.
    let bobs = asking(&decider, Request { account: "bob".into(), ..request() });
    tokio::task::yield_now().await;
    let (leader, follower) = (asking(&decider, request()), asking(&decider, request()));
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!((one.asked(), slow.asked()), (2, 1));
    decider.purge(Rule::new(false, Some("alice"), None, None).unwrap());
    assert_eq!(leader.await.unwrap().outcome.reason(), Reason::Allowed);
    let follower = follower.await.unwrap();
    assert_eq!((follower.origin, follower.outcome.reason()), (Origin::Authorizer, Reason::Denied));
    assert_eq!(ask(&decider, &request()).await.0.outcome.reason(), Reason::Denied);
    assert_eq!(bobs.await.unwrap().outcome.reason(), Reason::Allowed);
}

#[tokio::test(start_paused = true)]
async fn an_allow_by_all_is_shared_as_everyones() {
    let one = Scripted::new("one", &[After(SECOND / 4, YES)]);
    let other = Scripted::new("other", &[After(SECOND / 10, YES)]);
    let decider = combined(Combine::All, &[(&one, limits()), (&other, limits())]);
    let (leader, follower) = (asking(&decider, request()), asking(&decider, request()));
    assert_eq!(leader.await.unwrap().calls.len(), 2);
    let follower = follower.await.unwrap();
    assert_eq!((follower.origin, follower.decided_by, follower.calls.len()), (Origin::Coalesced, None, 0));
    assert_eq!((follower.cache.age, one.asked(), other.asked()), (Some(SECOND / 4), 1, 1));
}
