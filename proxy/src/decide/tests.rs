//! Route, cache, retry, fallback and limits, over authorizers that follow a script and a clock that is stopped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::authorizer::{Attempt, Question};
use crate::decide::attempt::{CacheControl, DenyOnly, RetryOn};
use crate::decide::breaker;
use crate::decide::cache::Kept;
use crate::decide::moment::asleep;
use crate::metrics::Names;
use crate::policy::route::{Combine, Lifetimes, Matcher};
use crate::policy::verdict::Decision;
use crate::trace::Tracer;
use crate::wire::answer;

const TTL: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// What a scripted authorizer does next. Without a next one it takes for ever.
#[derive(Clone, Copy)]
enum Act {
    Say(&'static str),
    SayFor(&'static str, Duration),
    Fail(Reason),
    After(Duration, &'static str),
    AfterFor(Duration, &'static str, Duration),
    Panic,
}

use Act::{After, AfterFor, Fail, Panic, Say, SayFor};

const YES: &str = r#"{"result":true}"#;
const NO: &str = r#"{"result":false}"#;

struct Scripted {
    name: Arc<str>,
    script: Mutex<VecDeque<Act>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(name: &str, script: &[Act]) -> Arc<Self> {
        let script = Mutex::new(script.iter().copied().collect());
        Arc::new(Self { name: name.into(), script, asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Authorizer for Scripted {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    async fn ask(&self, question: &Question<'_>, limit: Duration) -> Attempt {
        assert!(question.traceparent.starts_with("00-"));
        self.asked.fetch_add(1, Ordering::Relaxed);
        let act = self.script.lock().pop_front().unwrap_or(After(Duration::MAX, YES));
        let (takes, body, keep_at_most) = match act {
            Fail(reason) => return Attempt::fault(reason),
            Say(body) => (Duration::ZERO, body, None),
            SayFor(body, keep) => (Duration::ZERO, body, Some(keep)),
            After(takes, body) => (takes, body, None),
            AfterFor(takes, body, keep) => (takes, body, Some(keep)),
            Panic => panic!("as scripted"),
        };
        if takes > limit {
            tokio::time::sleep(limit).await;
            return Attempt::fault(Reason::Timeout);
        }
        tokio::time::sleep(takes).await;
        let outcome = answer::read(200, None, false, body.as_bytes());
        Attempt { outcome, status: Some(200), keep_at_most }
    }
}

fn limits() -> Limits {
    Limits {
        timeout: Duration::from_millis(500),
        retries: 1,
        retry_on: vec![RetryOn::Connect, RetryOn::ConnectionLost],
        max_in_flight: 512,
        breaker: breaker::Options { failures: 10, open_for: Duration::from_secs(5) },
        deny_only: DenyOnly::Ask,
        cache_control: CacheControl::Honour,
    }
}

fn request() -> Request {
    Request {
        bytes: bytes::Bytes::from_static(b"{}"),
        account: "alice".into(),
        bucket: "photos".into(),
        object: "a".into(),
        ..Request::bare("s3:GetObject")
    }
}

/// One route `all` that asks every authorizer in order.
fn options(authorizers: &[(&Arc<Scripted>, Limits)]) -> Options {
    let route = Route {
        name: "all".into(),
        matcher: Matcher::any(),
        ask: (0..authorizers.len()).collect(),
        combine: Combine::First,
        shadow: Vec::new(),
        cache: Lifetimes { allow: TTL, deny: 2 * SECOND },
    };
    Options {
        authorizers: authorizers
            .iter()
            .map(|(authorizer, limits)| (Arc::clone(authorizer) as Arc<dyn Authorizer>, limits.clone()))
            .collect(),
        shadows: Vec::new(),
        routes: Routes::new(vec![route]),
        cache: CacheOptions {
            entries: 1_000,
            actions: Globs::new(&["s3:*"]),
            ignore: IgnoreList::new::<&str>(true, &[]),
            generation: 1,
            recheck: 0.0,
        },
    }
}

/// The same with other lifetimes.
fn living(authorizers: &[(&Arc<Scripted>, Limits)], cache: Lifetimes) -> Arc<Decider> {
    let mut options = options(authorizers);
    let route = options.routes.iter().next().unwrap().clone();
    options.routes = Routes::new(vec![Route { cache, ..route }]);
    Arc::new(Decider::new(options, Metrics::new(&Names::default())).unwrap())
}

fn decider(authorizers: &[(&Arc<Scripted>, Limits)]) -> Arc<Decider> {
    Arc::new(Decider::new(options(authorizers), Metrics::new(&Names::default())).unwrap())
}

async fn ask(decider: &Decider, request: &Request) -> (Decided, Option<Fresh>) {
    let tracer = Tracer::off();
    let trace = tracer.begin(None);
    decider.decide(request, "local", Uuid::now_v7(), Instant::now() + 2 * SECOND, &trace, &tracer).await
}

impl Decider {
    /// Whether no question is under way.
    fn memory_is_quiet(&self) -> bool {
        self.memory.questions_under_way() == 0
    }
}

/// What is worth keeping, if that is what is left to do.
fn kept(fresh: &Fresh) -> &Kept {
    match &fresh.0 {
        Work::Keep(worth) => &worth.kept,
        Work::Recheck(due) => panic!("{due:?} is to be proved"),
    }
}

/// Whether an answer is worth keeping for exactly so long, counted from its question.
fn lives(fresh: Option<&Fresh>, lifetime: Duration) -> bool {
    let Some(kept) = fresh.map(kept) else { return lifetime.is_zero() };
    let age = |age: Duration| kept.age(kept.entry.sent.checked_add(age).unwrap());
    !lifetime.is_zero() && age(lifetime - Duration::from_nanos(1)).is_some() && age(lifetime).is_none()
}

/// Like the pipeline after the record is durable.
async fn ask_and_remember(decider: &Arc<Decider>, request: &Request) -> Decided {
    let (decided, fresh) = ask(decider, request).await;
    fresh.into_iter().for_each(|fresh| decider.remember(fresh));
    decided
}

/// Asks at the same time, as another task would.
fn asking(decider: &Arc<Decider>, request: Request) -> tokio::task::JoinHandle<Decided> {
    let decider = decider.clone();
    tokio::spawn(async move { ask_and_remember(&decider, &request).await })
}

fn reasons(decided: &Decided) -> Vec<(&str, u32, Reason)> {
    decided.calls.iter().map(|call| (&*call.authorizer, call.attempt, call.outcome.reason())).collect()
}

mod broken;
mod cached;
mod combined;
mod first;
mod flights;
mod known_bugs;
mod rechecks;
mod shadows;
