//! Defects between a durable record and its answer, which no part from outside can bring about.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::*;
use crate::audit::scan::{Scan, Scanned};
use crate::audit::spool;
use crate::authorizer::{Attempt, Authorizer, Question};
use crate::decide::attempt::{CacheControl, DenyOnly, Limits};
use crate::decide::{self, CacheOptions, breaker};
use crate::metrics::Names;
use crate::policy::key::IgnoreList;
use crate::policy::privacy::key::Kind;
use crate::policy::privacy::{Account, Modes};
use crate::policy::route::{Combine, Globs, Lifetimes, Matcher, Route, Routes};

/// A question of this client meets a defect when its decision is counted.
const UNLUCKY: &str = "unlucky";

pub fn defect(client: &str) {
    assert_ne!(client, UNLUCKY, "the defect a test is about");
}

struct Constant(Arc<str>, &'static str);

#[async_trait]
impl Authorizer for Constant {
    fn name(&self) -> &Arc<str> {
        &self.0
    }

    async fn ask(&self, _: &Question<'_>, _: Duration) -> Attempt {
        let outcome = crate::wire::answer::read(200, None, false, self.1.as_bytes());
        Attempt { outcome, status: Some(200), keep_at_most: None }
    }
}

fn decider(answer: &'static str, metrics: &Arc<Metrics>) -> Decider {
    let breaker = breaker::Options { failures: 10, open_for: Duration::from_secs(5) };
    let limits = Limits {
        timeout: Duration::from_secs(5),
        retries: 0,
        retry_on: Vec::new(),
        max_in_flight: 16,
        breaker,
        deny_only: DenyOnly::Ask,
        cache_control: CacheControl::Honour,
    };
    let route = Route {
        name: "default".into(),
        matcher: Matcher::any(),
        ask: vec![0],
        shadow: Vec::new(),
        combine: Combine::First,
        cache: Lifetimes::OFF,
    };
    let cache = CacheOptions {
        entries: 0,
        actions: Globs::any(),
        ignore: IgnoreList::new::<&str>(true, &[]),
        generation: 1,
        recheck: 0.0,
    };
    let authorizer: Arc<dyn Authorizer> = Arc::new(Constant("authz".into(), answer));
    let options = decide::Options {
        authorizers: vec![(authorizer, limits)],
        shadows: Vec::new(),
        routes: Routes::new(vec![route]),
        cache,
    };
    Decider::new(options, metrics.clone()).unwrap()
}

fn options(source: Source, max_in_flight: usize) -> Options {
    Options {
        deadline: Duration::from_secs(30),
        max_in_flight,
        durability: Durability::Synced,
        probes: Durability::Synced,
        suspicious: Suspicious::Record,
        privacy: Privacy::PLAIN,
        generation: "g".into(),
        source,
    }
}

#[test]
fn reloads_do_not_add_up_to_more_places() {
    let (metrics, source) = (Metrics::new(&Names::default()), Source::new("i"));
    let decider = || Arc::new(decider(r#"{"result":true}"#, &metrics));
    let first = InForce::new(decider(), options(source.clone(), 2));
    let held = first.places.clone().try_acquire_owned().unwrap();
    let of = |max_in_flight| {
        let source = source.clone();
        move |privacy| Options { privacy, ..options(source, max_in_flight) }
    };
    let next = first.followed_by(Some(decider()), of(2));
    assert_eq!(next.places.available_permits(), 1, "a question of before still has its place");
    drop(held);
    assert_eq!(next.followed_by(None, of(3)).places.available_permits(), 3);
}

/// Hashes that are keyed at random are comparable until the process ends.
#[test]
fn a_key_that_nobody_has_outlives_a_reload() {
    let (metrics, source) = (Metrics::new(&Names::default()), Source::new("i"));
    let modes = Modes { account: Account::Drop, ..Modes::PLAIN };
    let hidden = || Options { privacy: Privacy::new(modes, None).unwrap(), ..options(source.clone(), 1) };
    let started = || InForce::new(Arc::new(decider(r#"{"result":true}"#, &metrics)), hidden());
    let digest = |in_force: &InForce| in_force.options.privacy.digest(Kind::Input, "question");
    let first = started();
    assert_eq!(digest(&first.followed_by(None, |privacy| Options { privacy, ..hidden() })), digest(&first));
    assert_ne!(digest(&started()), digest(&first), "each start has a key of its own");
}

/// The reply to one question of the unlucky client, and `data` of all records when the spool has ended.
async fn unlucky(answer: &'static str) -> (Reply, Vec<serde_json::Value>) {
    let home = tempfile::tempdir().unwrap();
    let (metrics, source) = (Metrics::new(&Names::default()), Source::new("i"));
    let on_disk = spool::Options { max_size: 8 << 20, deliver: false, ..spool::Options::new(home.path()) };
    let (spool, _) = Spool::start(on_disk, source.clone(), "v", "g", metrics.clone()).unwrap();
    let began = SystemTime::now();
    while !spool.is_available() {
        assert!(began.elapsed().unwrap() < Duration::from_secs(60), "{:?}", spool.status());
        tokio::task::yield_now().await;
    }
    let options = options(source, 1);
    let pipeline = Pipeline::new(decider(answer, &metrics), spool.clone(), Tracer::off(), metrics, options);
    let body = r#"{"input":{"account":"alice","action":"s3:GetObject","bucket":"b","object":"o"}}"#;
    let (client, received) = (UNLUCKY.into(), Instant::now());
    let reply = pipeline.answer(Inbound { client, peer: None, traceparent: None, body: body.into(), received }).await;
    assert!(spool.close(Duration::from_secs(60)));
    spool.unlock();
    let (mut scan, mut found) = (Scan::new(home.path()), Vec::new());
    while let Some(Scanned::Record(entry)) = scan.next().unwrap() {
        found.push(serde_json::from_slice::<serde_json::Value>(&entry.value).unwrap());
    }
    (reply, found)
}

#[tokio::test]
async fn an_allow_that_meets_a_panic_is_denied_and_amended() {
    let (reply, records) = unlucky(r#"{"result":true}"#).await;
    assert_eq!((reply.body().as_ref(), reply.reason()), (&br#"{"result":false}"#[..], Some(Reason::Internal)));
    let id = reply.record().unwrap().to_string();
    let record = records.iter().find(|record| record["id"] == *id).unwrap();
    assert_eq!(record["data"]["decision"], "allow");
    let amended: Vec<_> = records.iter().map(|record| &record["data"]).filter(|data| data["of"] == *id).collect();
    assert_eq!(amended.len(), 1, "{records:#?}");
    assert_eq!(amended[0]["answer"], "deny");
}

#[tokio::test]
async fn a_deny_that_meets_a_panic_is_the_answer() {
    let (reply, records) = unlucky(r#"{"result":false}"#).await;
    assert_eq!((reply.body().as_ref(), reply.reason()), (&br#"{"result":false}"#[..], Some(Reason::Denied)));
    let id = reply.record().unwrap().to_string();
    assert!(records.iter().any(|record| record["id"] == *id));
    assert!(records.iter().all(|record| record["data"]["of"].is_null()), "nothing contradicts the record");
}
