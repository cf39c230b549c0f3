//! A pipeline in this process, around any authorizer: for defects that no binary of ours can be told to have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign::audit::envelope::Source;
use countersign::audit::spool::{self, Spool};
use countersign::authorizer::Authorizer;
use countersign::decide::attempt::{CacheControl, DenyOnly, Limits};
use countersign::decide::{self, CacheOptions, Decider, breaker};
use countersign::metrics::{Metrics, Names};
use countersign::pipeline::{Inbound, Options, Pipeline, Suspicious};
use countersign::policy::key::IgnoreList;
use countersign::policy::privacy::Privacy;
use countersign::policy::route::{Combine, Globs, Lifetimes, Matcher, Route, Routes};
use countersign::policy::verdict::Durability;
use countersign::trace::Tracer;
use tokio::time::Instant;

use super::eventually;

/// The pipeline, the directory of its spool, and what keeps it.
pub async fn with(authorizer: Arc<dyn Authorizer>) -> (Pipeline, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("spool");
    let metrics = Metrics::new(&Names::default());
    let source = Source::new("test");
    let options = spool::Options { max_size: 64 << 20, deliver: false, ..spool::Options::new(&directory) };
    let (spool, _backlog) = Spool::start(options, source.clone(), "test", "test", metrics.clone()).unwrap();
    eventually("the spool is available", async || spool.is_available().then_some(())).await;
    let options = Options {
        deadline: Duration::from_secs(2),
        max_in_flight: 16,
        durability: Durability::Synced,
        probes: Durability::Written,
        suspicious: Suspicious::Record,
        privacy: Privacy::PLAIN,
        generation: "test".into(),
        source,
    };
    let pipeline = Pipeline::new(decider(authorizer, &metrics), spool, Tracer::off(), metrics, options);
    (pipeline, directory, dir)
}

pub fn decider(authorizer: Arc<dyn Authorizer>, metrics: &Arc<Metrics>) -> Decider {
    let limits = Limits {
        timeout: Duration::from_millis(500),
        retries: 0,
        retry_on: Vec::new(),
        max_in_flight: 16,
        breaker: breaker::Options { failures: 10, open_for: Duration::from_secs(5) },
        deny_only: DenyOnly::Ask,
        cache_control: CacheControl::Honour,
    };
    let everything = Route {
        name: "default".into(),
        matcher: Matcher::any(),
        ask: vec![0],
        combine: Combine::First,
        shadow: Vec::new(),
        cache: Lifetimes::OFF,
    };
    let cache = CacheOptions {
        entries: 16,
        actions: Globs::any(),
        ignore: IgnoreList::new::<&str>(true, &[]),
        generation: 1,
        recheck: 0.0,
    };
    let routes = Routes::new(vec![everything]);
    let options = decide::Options { authorizers: vec![(authorizer, limits)], shadows: Vec::new(), routes, cache };
    Decider::new(options, metrics.clone()).unwrap()
}

pub fn inbound(body: String) -> Inbound {
    Inbound { client: "local".into(), peer: None, traceparent: None, body: body.into(), received: Instant::now() }
}
