//! Bugs of caches in comparable systems, each under its own name: none of them may be ours.

use super::*;
use crate::policy::request::Claims;

/// A question too large for the cache's key was given the answer to another one.
#[tokio::test(start_paused = true)]
async fn kubernetes_141457_oversized_questions_have_no_place_in_the_cache() {
    let sized =
        |size: usize, object: &str| Request { bytes: vec![b' '; size].into(), object: object.into(), ..request() };
    let only = Scripted::new("only", &[Say(YES), Say(NO), Say(YES), Say(NO)]);
    let decider = decider(&[(&only, limits())]);
    for (question, expected) in
        [(sized(MAX_CACHED_QUESTION + 1, "a"), Reason::Allowed), (sized(MAX_CACHED_QUESTION + 1, "a"), Reason::Denied)]
    {
        let decided = ask_and_remember(&decider, &question).await;
        assert_eq!((decided.outcome.reason(), decided.cache.state), (expected, CacheState::Off));
    }
    // Neither did they leave anything for one that fits, however equal it is.
    let fits = sized(MAX_CACHED_QUESTION, "a");
    assert_eq!(ask_and_remember(&decider, &fits).await.outcome.reason(), Reason::Allowed);
    assert_eq!(ask(&decider, &fits).await.0.origin, Origin::Cache);
    let decided = ask(&decider, &sized(MAX_CACHED_QUESTION + 1, "a")).await.0;
    assert_eq!((decided.origin, decided.outcome.reason()), (Origin::Authorizer, Reason::Denied));
}

/// An input that the authorizer looked at was not part of the key.
#[tokio::test(start_paused = true)]
async fn heimdall_3454_whatever_the_authorizer_sees_is_part_of_the_key() {
    let claims = |text: &'static str| Claims { text: text.as_bytes().into(), strings: Vec::new() };
    let condition = |name: &str, value: &str| (name.into(), [value.into()].into());
    let others = [
        Request { account: "bob".into(), ..request() },
        Request { groups: Some(Vec::new()), ..request() },
        Request { groups: Some(vec!["staff".into()]), ..request() },
        Request { action: "s3:GetObjectVersion".into(), ..request() },
        Request { original_action: Some("s3:GetObject".into()), ..request() },
        Request { bucket: "music".into(), ..request() },
        Request { object: "A".into(), ..request() },
        Request { owner: true, ..request() },
        Request { deny_only: true, ..request() },
        Request { conditions: vec![condition("SourceIp", "10.0.0.1")].into(), ..request() },
        Request { conditions: vec![condition("X-Amz-Server-Side-Encryption-Customer-Key", "k")].into(), ..request() },
        Request { conditions: vec![condition("x-never-heard-of", "")].into(), ..request() },
        Request { claims: claims(r#"{"parent":"alice"}"#), ..request() },
        Request { unknown: vec![("input.new".into(), "1".into())], ..request() },
    ];
    let mut script = vec![Say(YES)];
    script.extend(vec![Say(NO); others.len()]);
    let only = Scripted::new("only", &script);
    let decider = decider(&[(&only, limits())]);
    ask_and_remember(&decider, &request()).await;
    for other in &others {
        let decided = ask_and_remember(&decider, other).await;
        assert_eq!((decided.origin, decided.outcome.reason()), (Origin::Authorizer, Reason::Denied), "{other:?}");
    }
    assert_eq!(ask(&decider, &request()).await.0.outcome.reason(), Reason::Allowed);
}

/// An error, or half an answer, was kept for an hour.
#[tokio::test(start_paused = true)]
async fn lakekeeper_2038_errors_and_half_answers_are_never_kept() {
    let bad = ["", "{", r#"{"result":tr"#, "{}", r#"{"result":null}"#, r#"{"result":true,"result":true}"#, "[true]"];
    for body in bad {
        let only = Scripted::new("only", &[SayFor(body, TTL), Say(YES)]);
        let decider = decider(&[(&only, limits())]);
        let decided = ask_and_remember(&decider, &request()).await;
        assert_eq!(decided.origin, Origin::Fault, "{body}");
        assert_eq!(ask_and_remember(&decider, &request()).await.outcome.reason(), Reason::Allowed, "{body}");
    }
}

/// One failed call was kept as a deny, for everybody.
#[tokio::test(start_paused = true)]
async fn tuist_12362_a_fault_is_not_kept_as_a_deny() {
    let authorizers =
        Reason::ALL.iter().filter(|reason| reason.side() == Some(crate::policy::verdict::Side::Authorizer));
    for fault in authorizers {
        let only = Scripted::new("only", &[Fail(*fault), Say(YES)]);
        let decider = decider(&[(&only, Limits { retries: 0, ..limits() })]);
        let (first, fresh) = ask(&decider, &request()).await;
        assert_eq!((first.outcome.reason(), first.outcome.decision()), (*fault, Decision::Deny));
        assert!(fresh.is_none(), "{fault:?} leaves nothing to keep");
        assert_eq!(ask(&decider, &request()).await.0.outcome.reason(), Reason::Allowed, "{fault:?}");
    }
}

/// The question that leads goes away, and its followers are failed with it.
#[tokio::test(start_paused = true)]
async fn authorino_668_a_leader_that_goes_away_fails_nobody() {
    let only = Scripted::new("only", &[After(SECOND / 4, NO), After(SECOND / 4, NO), After(SECOND / 4, YES)]);
    let decider = decider(&[(&only, limits())]);
    let leader = asking(&decider, request());
    let mut followers: Vec<_> = (0..20).map(|_| asking(&decider, request())).collect();
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(only.asked(), 1);
    leader.abort();
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(only.asked(), 2, "the next one leads at once");
    // It goes away as well, and with it some that have not led yet.
    for gone in followers.drain(..10) {
        gone.abort();
    }
    for follower in followers {
        assert_eq!(follower.await.unwrap().outcome.reason(), Reason::Allowed);
    }
    assert_eq!(only.asked(), 3);
    assert!(decider.memory_is_quiet());
}

/// The same bug's other half: questions that are all different pay nothing for it and leave nothing behind.
#[tokio::test(start_paused = true)]
async fn authorino_668_different_questions_do_not_wait_for_each_other() {
    let only = Scripted::new("only", &[After(SECOND / 4, YES); 100]);
    let decider = decider(&[(&only, limits())]);
    let began = Instant::now();
    let asked: Vec<_> =
        (0..100).map(|number| asking(&decider, Request { object: number.to_string().into(), ..request() })).collect();
    for one in asked {
        assert_eq!(one.await.unwrap().origin, Origin::Authorizer);
    }
    assert_eq!((only.asked(), began.elapsed()), (100, SECOND / 4));
    assert!(decider.memory_is_quiet());
}
