//! A pipeline in this process, around any authorizer: for defects that no binary of ours can be told to have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign::audit::envelope::Source;
use countersign::audit::publisher::{self, Publisher};
use countersign::audit::spool::{self, Spool};
use countersign::authorizer::Authorizer;
use countersign::decide::attempt::{CacheControl, DenyOnly, Limits};
use countersign::decide::{self, CacheOptions, Decider, breaker};
use countersign::kafka::Connection;
use countersign::kafka::sink::{self, KafkaSink};
use countersign::metrics::{Metrics, Names};
use countersign::pipeline::{Inbound, Options, Pipeline, Suspicious};
use countersign::policy::key::IgnoreList;
use countersign::policy::privacy::Privacy;
use countersign::policy::route::{Combine, Globs, Lifetimes, Matcher, Route, Routes};
use countersign::policy::verdict::Durability;
use countersign::trace::Tracer;
use tokio::time::Instant;

use super::eventually;
use super::stand::TOPIC;

/// The pipeline, the directory of its spool, and what keeps it.
pub async fn with(authorizer: Arc<dyn Authorizer>) -> (Pipeline, PathBuf, tempfile::TempDir) {
    let (authorizers, routes) = (vec![authorizer], vec![everything()]);
    let stage = Setup { authorizers, routes, durability: Durability::Synced, kafka: None }.start().await;
    (stage.pipeline, stage.spool, stage.home)
}

/// A pipeline to be built.
pub struct Setup {
    pub authorizers: Vec<Arc<dyn Authorizer>>,
    pub routes: Vec<Route>,
    pub durability: Durability,
    /// Where records are published.
    pub kafka: Option<String>,
}

/// A pipeline with what it needs.
pub struct Stage {
    pub pipeline: Pipeline,
    pub spool: PathBuf,
    pub metrics: Arc<Metrics>,
    pub home: tempfile::TempDir,
    _publisher: Option<Publisher>,
}

impl Setup {
    pub async fn start(self) -> Stage {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("spool");
        let metrics = Metrics::new(&Names::default());
        let source = Source::new("test");
        let options =
            spool::Options { max_size: 64 << 20, deliver: self.kafka.is_some(), ..spool::Options::new(&directory) };
        let (spool, backlog) = Spool::start(options, source.clone(), "test", "test", metrics.clone()).unwrap();
        eventually("the spool is available", async || spool.is_available().then_some(())).await;
        let publisher = self.kafka.map(|bootstrap| {
            let connection =
                Connection { brokers: vec![bootstrap], properties: Vec::new(), client_id: "pipeline".into() };
            let sink = KafkaSink::new(sink::Options::new(connection, TOPIC)).unwrap();
            Publisher::spawn(backlog, sink, publisher::Options::default(), metrics.clone(), Tracer::off()).unwrap()
        });
        let options = Options {
            deadline: Duration::from_secs(10),
            max_in_flight: 64,
            durability: self.durability,
            probes: Durability::Written,
            suspicious: Suspicious::Record,
            privacy: Privacy::PLAIN,
            generation: "test".into(),
            source,
        };
        let decider = deciding(self.authorizers, self.routes, &metrics);
        let pipeline = Pipeline::new(decider, spool, Tracer::off(), metrics.clone(), options);
        Stage { pipeline, spool: directory, metrics, home, _publisher: publisher }
    }
}

pub fn decider(authorizer: Arc<dyn Authorizer>, metrics: &Arc<Metrics>) -> Decider {
    deciding(vec![authorizer], vec![everything()], metrics)
}

fn everything() -> Route {
    Route {
        name: "default".into(),
        matcher: Matcher::any(),
        ask: vec![0],
        combine: Combine::First,
        shadow: Vec::new(),
        cache: Lifetimes::OFF,
    }
}

fn deciding(authorizers: Vec<Arc<dyn Authorizer>>, routes: Vec<Route>, metrics: &Arc<Metrics>) -> Decider {
    let limits = Limits {
        timeout: Duration::from_millis(500),
        retries: 0,
        retry_on: Vec::new(),
        max_in_flight: 16,
        breaker: breaker::Options { failures: 10, open_for: Duration::from_secs(5) },
        deny_only: DenyOnly::Ask,
        cache_control: CacheControl::Honour,
    };
    let cache = CacheOptions {
        entries: 64,
        actions: Globs::any(),
        ignore: IgnoreList::new::<&str>(true, &[]),
        generation: 1,
        recheck: 0.0,
    };
    let authorizers = authorizers.into_iter().map(|authorizer| (authorizer, limits.clone())).collect();
    let options = decide::Options { authorizers, shadows: Vec::new(), routes: Routes::new(routes), cache };
    Decider::new(options, metrics.clone()).unwrap()
}

pub fn inbound(body: String) -> Inbound {
    Inbound { client: "local".into(), peer: None, traceparent: None, body: body.into(), received: Instant::now() }
}
