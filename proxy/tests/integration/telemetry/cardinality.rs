//! The number of series stays what it was at the start, whatever is asked by whomever about whatever: a million
//! questions that have nothing in common, through everything that turns a question into labels (reading, routing, asking,
//! counting), in this process; and thousands through the real binary, sockets and spool included.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign::authorizer::{Attempt, Authorizer, Question};
use countersign::decide::Decider;
use countersign::metrics::names::CertificateUse;
use countersign::metrics::{Certificate, DecisionPoint, FrontOutcome, Metrics, Names, ShadowName};
use countersign::policy::purpose::{ActionClass, Purpose};
use countersign::trace::Tracer;
use countersign::wire::{answer, question};
use loadtest::stub::{Script, Stub};
use tokio::time::Instant;
use uuid::Uuid;

use super::metrics::series;
use crate::support;

const QUESTIONS: u64 = 1_000_000;
const TASKS: u64 = 4;
/// Beyond the buckets of histograms.
const LIMIT: usize = 300;
/// Through the binary, each a connection and a sync of its own.
const PROCESSED: u64 = 2_000;

/// Denies a third and fails a third, by what was asked.
struct Mixed(Arc<str>);

#[async_trait]
impl Authorizer for Mixed {
    fn name(&self) -> &Arc<str> {
        &self.0
    }

    async fn ask(&self, question: &Question<'_>, _limit: Duration) -> Attempt {
        let bodies = [br#"{"result":true}"#.as_slice(), br#"{"result":false}"#, b"{}"];
        let outcome = answer::read(200, None, false, bodies[question.request.bytes.len() % 3]);
        Attempt { outcome, status: Some(200), keep_at_most: None }
    }
}

/// Another user, bucket, object, action, claim and header for every number.
fn unlike_any_other(number: u64) -> String {
    let verb = ["Get", "Put", "Delete", "List", "Made"][(number % 5) as usize];
    let odd = "x".repeat((number % 7) as usize);
    format!(
        "{{\"input\":{{\"account\":\"user-{number}\",\"groups\":[\"group-{number}\"],\"action\":\"s3:{verb}Object{number}{odd}\",\
         \"originalAction\":\"\",\"bucket\":\"bucket-{number}\",\"conditions\":{{\"SourceIp\":[\"203.0.113.{}\"],\
         \"UserAgent\":[\"agent {number}\"],\"X-{number}\":[\"{number}\"]}},\"owner\":false,\"object\":\"a/{number}\",\
         \"claims\":{{\"sub\":\"{number}\"}},\"denyOnly\":false}}}}",
        number % 256
    )
}

async fn count(decider: &Decider, metrics: &Metrics, number: u64) {
    let request = question::read(unlike_any_other(number).into()).unwrap();
    let (client, tracer, deadline) =
        (format!("client-{number}"), Tracer::off(), Instant::now() + Duration::from_secs(60));
    let context = tracer.begin(None);
    let (decided, _) =
        decider.decide(&request, &client, Uuid::from_u128(number.into()), deadline, &context, &tracer).await;
    metrics.front_request(Some(&client), FrontOutcome::Decided);
    metrics.decision(&DecisionPoint {
        decision: decided.outcome.decision(),
        reason: decided.outcome.reason(),
        origin: decided.origin,
        route: decided.route.as_deref(),
        action_class: Some(ActionClass::of(&request.action)),
        advisory: Purpose::of(&request).advisory(),
        latency: Duration::from_micros(number % 1_000),
        // One trace in a thousand is kept. An exemplar is no series.
        exemplar: number.is_multiple_of(1_000).then_some(u128::from(number) + 1),
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_users_buckets_and_objects_are_no_series() {
    let names = Names {
        routes: vec!["default".into()],
        authorizers: vec!["authz".into()],
        shadows: Vec::new(),
        clients: vec!["minio".into()],
        generation: "a".into(),
    };
    let metrics = Metrics::new(&names);
    let decider = Arc::new(support::pipeline::decider(Arc::new(Mixed("authz".into())), &metrics));
    let before = metrics.encode();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (decider, metrics) = (decider.clone(), metrics.clone());
        tasks.spawn(async move {
            for number in (task..QUESTIONS).step_by(TASKS as usize) {
                count(&decider, &metrics, number).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let after = metrics.encode();
    assert_eq!(series(&before), series(&after), "series from the start, and no other");
    assert!(!after.contains("user-") && !after.contains("bucket-") && !after.contains("client-"));
    let counted: f64 = values(&after, "countersign_decisions_total{").iter().sum();
    assert_eq!(counted, QUESTIONS as f64);
    // What was asked was of every kind, or this would have shown nothing.
    for some in ["decision=\"allow\"", "decision=\"deny\"", "action_class=\"write\"", "origin=\"fault\""] {
        let found: f64 = values(&after, &format!("countersign_decisions_total{{*{some}")).iter().sum();
        assert!(found > 1_000.0, "{some}: {found}");
    }
    assert!(after.contains("trace_id=\""));
    // What it would look like if one of them had become a label.
    metrics.authorizer_certificates(&[Certificate {
        used: CertificateUse::AuthorizerCa,
        name: "user-7".into(),
        ends: 0,
    }]);
    let leaked = metrics.encode();
    assert!(series(&leaked).len() == series(&after).len() + 1 && leaked.contains("user-"));
}

/// The values of the series that begin and go on like this.
fn values(text: &str, pattern: &str) -> Vec<f64> {
    let (begins, has) = pattern.split_once('*').unwrap_or((pattern, ""));
    let lines = text.lines().filter(|line| line.starts_with(begins) && line.contains(has));
    lines.map(|line| line.split_once("} ").unwrap().1.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// The price of one more route, authorizer and client, buckets of their histograms apart.
#[test]
fn a_route_and_an_authorizer_cost_at_most_three_hundred_series() {
    let of = |count: usize| {
        let some = |kind: &str| (0..count).map(|number| format!("{kind}{number}")).collect();
        let names = Names {
            routes: some("route"),
            authorizers: some("authz"),
            shadows: (0..count).map(|n| ShadowName::new(&format!("route{n}"), &format!("authz{n}"))).collect(),
            clients: vec!["minio".into()],
            generation: "a".into(),
        };
        let text = Metrics::new(&names).encode();
        let plain = series(&text).into_iter().filter(|name| !name.contains("le=\""));
        let mut families: BTreeMap<String, usize> = BTreeMap::new();
        for name in plain {
            *families.entry(name.split('{').next().unwrap().to_owned()).or_default() += 1;
        }
        families
    };
    let (one, three) = (of(1), of(3));
    let (one_sum, three_sum) = (one.values().sum::<usize>(), three.values().sum::<usize>());
    assert_eq!((three_sum - one_sum) % 2, 0);
    let each = (three_sum - one_sum) / 2;
    assert!(each > 0 && each <= LIMIT, "{each} series for a route and an authorizer: {three:#?}");
}

#[tokio::test]
async fn the_process_exposes_the_same_series_after_whatever_is_asked() {
    let stub = Stub::start(Script::by(|received| {
        let bodies = [r#"{"result":true}"#, r#"{"result":false}"#, "{}"];
        loadtest::stub::Answer::new(bodies[received.body.len() % 3])
    }));
    let stub = stub.await.unwrap();
    let proxy = support::Countersign::asking(&stub.url()).start().await;
    let before = proxy.metrics().await;
    for number in 0..PROCESSED {
        proxy.post(unlike_any_other(number).as_bytes(), &[("traceparent", "garbage")]).await;
    }
    for odd in [&b"{"[..], b"", b"{\"input\":{}}", "{\"input\":{\"account\":\"é\"}}".as_bytes()] {
        proxy.post(odd, &[]).await;
    }
    let after = proxy.metrics().await;
    assert_eq!(series(&before), series(&after));
    assert_eq!(values(&after, "countersign_decisions_total{").iter().sum::<f64>(), PROCESSED as f64 + 3.0);
    assert!(values(&after, "countersign_faults_total{*reason=\"undefined\"").iter().sum::<f64>() > 100.0);
}
