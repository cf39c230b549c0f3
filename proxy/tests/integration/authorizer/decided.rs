//! A whole decision over real sockets: fallback, deadline, what is remembered. The rules themselves are tested beside
//! `decide`.

use countersign::decide::attempt::{CacheControl, DenyOnly, Limits, RetryOn};
use countersign::decide::{CacheOptions, Decider, Fresh, Options as DeciderOptions, breaker};
use countersign::metrics::{Metrics, Names};
use countersign::policy::decided::Decided;
use countersign::policy::key::IgnoreList;
use countersign::policy::route::{Combine, Globs, Lifetimes, Matcher, Route, Routes};
use countersign::policy::verdict::Origin;
use countersign::trace::Tracer;

use super::*;

fn decider(urls: &[String], timeout: Duration) -> Arc<Decider> {
    let limits = Limits {
        timeout,
        retries: 1,
        retry_on: vec![RetryOn::Connect, RetryOn::ConnectionLost],
        max_in_flight: 8,
        breaker: breaker::Options { failures: 10, open_for: Duration::from_secs(5) },
        deny_only: DenyOnly::Ask,
        cache_control: CacheControl::Honour,
    };
    let named = |(place, url): (usize, &String)| {
        let name = format!("authorizer-{place}").as_str().into();
        let webhook = Webhook::new(Options { name, ..options(url) }).unwrap();
        (Arc::new(webhook) as Arc<dyn Authorizer>, limits.clone())
    };
    let cache = Lifetimes { allow: Duration::from_secs(60), deny: Duration::from_secs(60) };
    let ask = (0..urls.len()).collect();
    let route = Route {
        name: "default".into(),
        matcher: Matcher::any(),
        ask,
        combine: Combine::First,
        shadow: Vec::new(),
        cache,
    };
    let options = DeciderOptions {
        authorizers: urls.iter().enumerate().map(named).collect(),
        shadows: Vec::new(),
        routes: Routes::new(vec![route]),
        cache: CacheOptions {
            entries: 100,
            actions: Globs::any(),
            ignore: IgnoreList::new::<&str>(true, &[]),
            generation: 1,
            recheck: 0.0,
        },
    };
    Arc::new(Decider::new(options, Metrics::new(&Names::default())).unwrap())
}

async fn decide(decider: &Decider) -> (Decided, Option<Fresh>) {
    decide_within(LIMIT, decider).await
}

async fn decide_within(time: Duration, decider: &Decider) -> (Decided, Option<Fresh>) {
    let request = request(br#"{"input":{}}"#);
    let tracer = Tracer::off();
    let trace = tracer.begin(None);
    let deadline = Instant::now() + time;
    decider.decide(&request, "local", uuid::Uuid::now_v7(), deadline, &trace, &tracer).await
}

#[tokio::test]
async fn a_broken_authorizer_is_followed_by_the_next_and_the_answer_is_kept() {
    let (broken, good) = (Evil::closing_after("").await, Evil::saying(allow()).await);
    let decider = decider(&[broken.url(), good.url()], LIMIT);
    let (decided, fresh) = decide(&decider).await;
    assert_eq!(decided.outcome.reason(), Reason::Allowed);
    assert_eq!((decided.decided_by.as_deref(), decided.fallback), (Some("authorizer-1"), true));
    let reasons: Vec<_> = decided.calls.iter().map(|call| (call.attempt, call.outcome.reason())).collect();
    assert_eq!(reasons, [(1, Reason::ConnectionLost), (2, Reason::ConnectionLost), (1, Reason::Allowed)]);
    decider.remember(fresh.unwrap());
    let (again, _) = decide(&decider).await;
    assert_eq!((again.origin, again.outcome.reason()), (Origin::Cache, Reason::Allowed));
    assert_eq!(good.connections(), 1);
}

/// The allow comes after the deadline: it is neither the answer nor remembered.
#[tokio::test]
async fn a_late_allow_is_dropped() {
    let decided_without = Arc::new(tokio::sync::Notify::new());
    let wait = decided_without.clone();
    let server = Evil::start(move |mut stream, _| {
        let wait = wait.clone();
        async move {
            question(&mut stream).await;
            wait.notified().await;
            drop(stream.write_all(allow().as_bytes()).await);
            question(&mut stream).await;
        }
    })
    .await;
    let started = Instant::now();
    let decider = decider(&[server.url()], LIMIT);
    let (decided, fresh) = decide_within(Duration::from_millis(750), &decider).await;
    let took = started.elapsed();
    decided_without.notify_one();
    assert_eq!((decided.outcome.reason(), decided.origin), (Reason::Deadline, Origin::Fault));
    assert!(fresh.is_none());
    assert!(took >= Duration::from_millis(499), "{took:?}");
}

#[tokio::test]
async fn no_store_is_honoured() {
    let server = Evil::saying(answer("200 OK", "Cache-Control: no-store\r\n", ALLOW)).await;
    let (decided, fresh) = decide(&decider(&[server.url()], LIMIT)).await;
    assert_eq!(decided.outcome.reason(), Reason::Allowed);
    assert!(fresh.is_none());
}
