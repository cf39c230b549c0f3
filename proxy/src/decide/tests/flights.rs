//! Equal questions under way, with authorizers that fail, take their time, or want to be asked every time.

use super::*;

/// So many equal questions at once; the first one leads.
fn crowd(decider: &Arc<Decider>, size: usize) -> Vec<tokio::task::JoinHandle<Decided>> {
    (0..size).map(|_| asking(decider, request())).collect()
}

async fn all(crowd: Vec<tokio::task::JoinHandle<Decided>>) -> Vec<Decided> {
    let mut decided = Vec::new();
    for one in crowd {
        decided.push(one.await.unwrap());
    }
    decided
}

fn counts(decided: &[Decided], origin: Origin) -> usize {
    decided.iter().filter(|one| one.origin == origin).count()
}

/// F85.
#[tokio::test(start_paused = true)]
async fn a_thousand_equal_questions_are_asked_once() {
    let only = Scripted::new("only", &[After(SECOND / 4, YES)]);
    let decider = decider(&[(&only, limits())]);
    let decided = all(crowd(&decider, 1_000)).await;
    assert_eq!(only.asked(), 1);
    assert_eq!((counts(&decided, Origin::Authorizer), counts(&decided, Origin::Coalesced)), (1, 999));
    let shared = decided.last().unwrap();
    assert_eq!((shared.cache.state, shared.cache.age), (CacheState::Coalesced, Some(SECOND / 4)));
    assert!(decided.iter().skip(1).all(|one| one.cache.record_id == shared.cache.record_id && one.calls.is_empty()));
    assert!(decided.iter().all(|one| one.outcome.reason() == Reason::Allowed));
    assert_eq!(ask(&decider, &request()).await.0.origin, Origin::Cache, "and it was kept");
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_the_leaders_own() {
    let script = [After(SECOND / 10, "?"), Fail(Reason::Dns), After(SECOND / 10, YES)];
    let only = Scripted::new("only", &script);
    let decider = decider(&[(&only, Limits { retries: 0, ..limits() })]);
    let decided = all(crowd(&decider, 50)).await;
    let reasons: Vec<_> = decided.iter().map(|one| one.outcome.reason()).collect();
    assert_eq!(reasons[..3], [Reason::MalformedAnswer, Reason::Dns, Reason::Allowed]);
    assert!(reasons[3..].iter().all(|reason| *reason == Reason::Allowed));
    assert_eq!(only.asked(), 3, "one at a time, and no crowd after a fault");
    assert_eq!(counts(&decided, Origin::Coalesced), 47);
}

/// Nobody waits beyond its own deadline, and nobody is told that it was too slow where the authorizer was.
#[tokio::test(start_paused = true)]
async fn an_authorizer_that_hangs_is_asked_one_at_a_time() {
    let only = Scripted::new("only", &[]);
    let decider = decider(&[(&only, limits())]);
    let began = Instant::now();
    let decided = all(crowd(&decider, 200)).await;
    assert_eq!(began.elapsed(), 2 * SECOND - RECORD_RESERVE);
    assert_eq!(only.asked(), 4, "at 0, 500, 1000 and 1500 ms");
    assert!(decided.iter().all(|one| one.origin == Origin::Fault));
    let timeouts = decided.iter().filter(|one| one.outcome.reason() == Reason::Timeout).count();
    assert_eq!(timeouts, 199, "and `deadline` for the one that had no time left");
    assert!(decider.memory_is_quiet());
}

#[tokio::test(start_paused = true)]
async fn while_the_first_leader_is_asking_time_can_be_over() {
    let only = Scripted::new("only", &[After(SECOND, YES)]);
    let decider = decider(&[(&only, Limits { timeout: 2 * SECOND, ..limits() })]);
    let leader = asking(&decider, request());
    tokio::task::yield_now().await;
    let tracer = Tracer::off();
    let trace = tracer.begin(None);
    let soon = Instant::now() + RECORD_RESERVE + SECOND / 2;
    let (decided, fresh) = decider.decide(&request(), "local", Uuid::now_v7(), soon, &trace, &tracer).await;
    assert_eq!((decided.outcome.reason(), decided.origin), (Reason::Deadline, Origin::Fault));
    assert!(fresh.is_none() && decided.calls.is_empty());
    assert_eq!(leader.await.unwrap().outcome.reason(), Reason::Allowed);
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_one_question_is_not_shared() {
    let wait = SECOND / 10;
    for (says, listens, asked) in [
        (Duration::ZERO, CacheControl::Honour, 20),
        // Its life is over when it arrives.
        (wait / 2, CacheControl::Honour, 20),
        (Duration::ZERO, CacheControl::Ignore, 1),
    ] {
        let only = Scripted::new("only", &[AfterFor(wait, YES, says); 20]);
        let decider = decider(&[(&only, Limits { cache_control: listens, ..limits() })]);
        let began = Instant::now();
        let decided = all(crowd(&decider, 20)).await;
        assert_eq!(only.asked(), asked, "{says:?} {listens:?}");
        assert_eq!(counts(&decided, Origin::Coalesced), 20 - asked);
        assert!(began.elapsed() <= wait * 2, "at once, not one after the other: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_lifetime_nobody_waits() {
    let only = Scripted::new("only", &[After(SECOND / 10, YES); 20]);
    let decider = living(&[(&only, limits())], Lifetimes::OFF);
    let began = Instant::now();
    let decided = all(crowd(&decider, 20)).await;
    assert_eq!((only.asked(), counts(&decided, Origin::Authorizer)), (20, 20));
    assert_eq!(began.elapsed(), SECOND / 10);
}

/// An allow has a lifetime, a deny has none.
#[tokio::test(start_paused = true)]
async fn a_verdict_without_a_lifetime_is_for_one_question() {
    let only = Scripted::new("only", &[After(SECOND / 10, NO); 20]);
    let decider = living(&[(&only, limits())], Lifetimes { allow: TTL, deny: Duration::ZERO });
    assert_eq!(counts(&all(crowd(&decider, 20)).await, Origin::Authorizer), 20);
    assert_eq!(only.asked(), 20);
}

/// The record of the leader's decision does not become durable: nobody may name it.
#[tokio::test(start_paused = true)]
async fn an_answer_without_a_durable_record_is_nobodys() {
    let only = Scripted::new("only", &[Say(YES), Say(NO)]);
    let decider = decider(&[(&only, limits())]);
    let (decided, fresh) = ask(&decider, &request()).await;
    assert_eq!(decided.outcome.reason(), Reason::Allowed);
    let followers = crowd(&decider, 3);
    tokio::task::yield_now().await;
    assert_eq!(only.asked(), 1);
    drop(fresh);
    let decided = all(followers).await;
    assert!(decided.iter().all(|one| one.outcome.reason() == Reason::Denied));
    assert_eq!((only.asked(), counts(&decided, Origin::Coalesced)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_leaders_own() {
    let only = Scripted::new("only", &[Panic, Say(YES)]);
    let decider = decider(&[(&only, limits())]);
    let mut crowd = crowd(&decider, 10);
    assert!(crowd.remove(0).await.unwrap_err().is_panic());
    let decided = all(crowd).await;
    assert!(decided.iter().all(|one| one.outcome.reason() == Reason::Allowed));
    assert_eq!(only.asked(), 2);
    assert!(decider.memory_is_quiet());
}

/// Two clients never share, and neither do two questions.
#[tokio::test(start_paused = true)]
async fn only_equal_questions_share() {
    let only = Scripted::new("only", &[After(SECOND / 10, YES), After(SECOND / 10, NO)]);
    let decider = decider(&[(&only, limits())]);
    let (one, other) = (asking(&decider, request()), asking(&decider, Request { account: "bob".into(), ..request() }));
    assert_eq!(one.await.unwrap().outcome.reason(), Reason::Allowed);
    assert_eq!(other.await.unwrap().outcome.reason(), Reason::Denied);
}
