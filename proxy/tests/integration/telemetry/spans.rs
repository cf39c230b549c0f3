//! Spans: which are exported, how they hang together, and what a bad collector costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::metrics::{Metrics, Names};
use countersign::policy::decided::{Call, Decided, Outcome};
use countersign::policy::verdict::{Decision, Reason};
use countersign::trace::{Always, Context, Finished, Options, Tracer};
use http::{HeaderName, HeaderValue};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::collector::{Collector, Manner, NOBODY, attribute, spans};
use super::metrics::sample;

const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const DROPPED: &str = "countersign_otlp_spans_dropped_total";
const NOTHING: Always = Always { deny: false, fault: false, slow: None };
const LIMIT: Duration = Duration::from_secs(5);

fn options(endpoint: &str, share: f64, always: Always) -> Options {
    Options {
        endpoint: endpoint.into(),
        headers: vec![(HeaderName::from_static("x-tenant"), HeaderValue::from_static("a%20b"))],
        sample: share,
        always,
        timeout: Duration::from_secs(10),
        instance: "minio-eu1".into(),
        version: "1.2.3".into(),
    }
}

fn started(endpoint: &str, share: f64, always: Always) -> (Tracer, Arc<Metrics>) {
    let metrics = Metrics::new(&Names::default());
    let endpoint = format!("{endpoint}/v1/traces");
    (Tracer::start(&options(&endpoint, share, always), Arc::clone(&metrics)).unwrap(), metrics)
}

fn finished(decided: &Decided, decision: Decision, reason: Reason) -> Finished<'_> {
    Finished {
        decision,
        reason,
        advisory: false,
        action: Some("s3:GetObject"),
        client: "minio-eu1",
        peer: Some("10.0.0.5:4711".parse().unwrap()),
        decided,
        append: None,
        latency: Duration::from_millis(3),
        record: None,
    }
}

/// A decision that asked `opa` twice and got nothing.
fn timed_out(context: &Context, tracer: &Tracer) -> Decided {
    let mut decided = Decided::fault(Reason::Timeout);
    decided.route = Some("default".into());
    for attempt in 1..=2 {
        decided.calls.push(Call {
            authorizer: "opa".into(),
            outcome: Outcome::Fault(Reason::Timeout),
            status: None,
            attempt,
            started: context.started + Duration::from_millis(u64::from(attempt)),
            latency: Duration::from_millis(1),
            span_id: tracer.span_id(),
        });
    }
    decided
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[test]
fn a_kept_decision_is_one_trace_below_its_callers() {
    let collector = Collector::start(Manner::Takes);
    let (tracer, metrics) = started(&collector.endpoint, 0.0, Always { fault: true, ..NOTHING });
    let context = tracer.begin(Some(PARENT));
    let decided = timed_out(&context, &tracer);
    let append = Some((context.started + Duration::from_millis(4), Duration::from_millis(1), "synced"));
    let chain: Arc<str> = "minio-eu1/9c1e".into();
    let record = Some((&chain, 7));
    let outcome = Finished { append, record, ..finished(&decided, Decision::Deny, Reason::Timeout) };
    assert!(tracer.finish(&context, &outcome));
    let began = tokio::time::Instant::now();
    tracer.sent("countersign.decisions", "minio-eu1/9c1e", 5, 9, began, Duration::from_millis(2));
    tracer.shutdown(LIMIT);

    let spans = collector.spans();
    assert_eq!(spans.len(), 5, "{spans:#?}");
    let [root] = named(&spans, "decide")[..] else { panic!("{spans:#?}") };
    assert_eq!(root.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(root.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(root.span_id, context.span_id.to_be_bytes());
    assert_eq!(attribute(&root.attributes, "error.type").unwrap(), "timeout");
    assert_eq!(attribute(&root.attributes, "countersign.route").unwrap(), "default");
    assert_eq!(root.end_time_unix_nano - root.start_time_unix_nano, 3_000_000);
    let calls = named(&spans, "authorizer opa");
    assert_eq!(calls.len(), 2);
    for (call, made) in calls.iter().zip(&decided.calls) {
        assert_eq!((&call.trace_id, &call.parent_span_id), (&root.trace_id, &root.span_id));
        assert_eq!(call.span_id, made.span_id.to_be_bytes(), "the id that the authorizer was sent");
    }
    assert_eq!(attribute(&calls[1].attributes, "http.request.resend_count").unwrap(), "1");
    let [append] = named(&spans, "audit append")[..] else { panic!("{spans:#?}") };
    assert_eq!(append.parent_span_id, root.span_id);
    assert_eq!(append.start_time_unix_nano - root.start_time_unix_nano, 4_000_000);
    let [send] = named(&spans, "send countersign.decisions")[..] else { panic!("{spans:#?}") };
    assert_ne!(send.trace_id, root.trace_id);
    assert_eq!((&send.links[0].trace_id, &send.links[0].span_id), (&root.trace_id, &root.span_id));
    assert_eq!(attribute(&send.attributes, "messaging.batch.message_count").unwrap(), "5");
    assert_eq!(sample(&metrics.encode(), DROPPED), 0.0);
}

#[test]
fn an_export_says_who_it_comes_from() {
    let collector = Collector::start(Manner::Takes);
    let (tracer, _) = started(&collector.endpoint, 1.0, NOTHING);
    let context = tracer.begin(None);
    let decided = Decided::fault(Reason::Internal);
    tracer.finish(&context, &finished(&decided, Decision::Allow, Reason::Allowed));
    tracer.shutdown(LIMIT);
    let export = collector.next();
    assert!(export.head.starts_with("post /v1/traces http/1.1\r\n"), "{}", export.head);
    assert!(export.head.contains("\r\nx-tenant: a%20b\r\n"), "not decoded: {}", export.head);
    let resource = export.request.resource_spans[0].resource.clone().unwrap();
    for (key, value) in
        [("service.name", "countersign"), ("service.instance.id", "minio-eu1"), ("service.version", "1.2.3")]
    {
        assert_eq!(attribute(&resource.attributes, key).unwrap(), value);
    }
    let [root] = &spans(&export)[..] else { panic!("one span") };
    assert!(root.parent_span_id.is_empty());
    assert_eq!(attribute(&root.attributes, "error.type"), None);
}

#[test]
fn what_is_kept() {
    let collector = Collector::start(Manner::Takes);
    let every = Always { deny: true, fault: true, slow: Some(Duration::from_millis(250)) };
    let (allow, deny) = (Decision::Allow, Decision::Deny);
    let quick = Duration::from_millis(3);
    let slow = Duration::from_millis(250);
    let cases = [
        ("an allow", 0.0, every, allow, Reason::Allowed, false, quick, false),
        ("a sampled allow", 1.0, NOTHING, allow, Reason::Allowed, false, quick, true),
        ("a deny", 0.0, every, deny, Reason::Denied, false, quick, true),
        ("a deny nobody wants", 0.0, NOTHING, deny, Reason::Denied, false, quick, false),
        ("an advisory deny", 0.0, every, deny, Reason::Denied, true, quick, false),
        ("an advisory fault", 0.0, every, deny, Reason::Timeout, true, quick, true),
        ("a fault among denies", 0.0, Always { deny: true, ..NOTHING }, deny, Reason::Timeout, false, quick, true),
        ("a slow allow", 0.0, every, allow, Reason::Allowed, false, slow, true),
        ("a slow one nobody wants", 0.0, NOTHING, allow, Reason::Allowed, false, slow, false),
    ];
    for (what, share, always, decision, reason, advisory, latency, kept) in cases {
        let (tracer, _) = started(&collector.endpoint, share, always);
        // The caller's sampled flag is set, and must not matter.
        let context = tracer.begin(Some(PARENT));
        let decided = Decided::fault(Reason::Internal);
        let it = Finished { advisory, latency, ..finished(&decided, decision, reason) };
        assert_eq!(tracer.finish(&context, &it), kept, "{what}");
        tracer.shutdown(LIMIT);
        assert_eq!(collector.spans().len(), usize::from(kept), "{what}");
    }
}

#[test]
fn off_means_ids_only() {
    let tracer = Tracer::off();
    let (one, other) = (tracer.begin(None), tracer.begin(None));
    assert!(one.trace_id != other.trace_id && one.span_id != other.span_id);
    assert_eq!(tracer.begin(Some(PARENT)).parent, Some(0x00f0_67aa_0ba9_02b7));
    let decided = Decided::fault(Reason::Timeout);
    assert!(!tracer.finish(&one, &finished(&decided, Decision::Deny, Reason::Timeout)));
    tracer.shutdown(LIMIT);
}

/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is used as it is; `/v1/traces` is put behind a base by the configuration.
#[test]
fn an_export_goes_to_the_path_that_is_written() {
    let collector = Collector::start(Manner::Takes);
    let options = options(&format!("{}/in", collector.endpoint), 1.0, NOTHING);
    let tracer = Tracer::start(&options, Metrics::new(&Names::default())).unwrap();
    let decided = Decided::fault(Reason::Internal);
    tracer.finish(&tracer.begin(None), &finished(&decided, Decision::Allow, Reason::Allowed));
    tracer.shutdown(LIMIT);
    let export = collector.next();
    assert!(export.head.starts_with("post /in http/1.1\r\n"), "{}", export.head);
}

#[test]
fn a_collector_that_fails_costs_counted_spans() {
    let refusing = Collector::start(Manner::Answers(503));
    let elsewhere = Collector::start(Manner::Answers(307));
    let not_tls = refusing.endpoint.replace("http:", "https:");
    for endpoint in [refusing.endpoint.as_str(), &elsewhere.endpoint, &not_tls, NOBODY] {
        let (tracer, metrics) = started(endpoint, 1.0, NOTHING);
        let decided = Decided::fault(Reason::Internal);
        for _ in 0..3 {
            let context = tracer.begin(None);
            assert!(tracer.finish(&context, &finished(&decided, Decision::Allow, Reason::Allowed)));
        }
        tracer.shutdown(LIMIT);
        assert_eq!(sample(&metrics.encode(), DROPPED), 3.0, "{endpoint}");
        // What comes after the end is lost as well, and said to be.
        tracer.finish(&tracer.begin(None), &finished(&decided, Decision::Allow, Reason::Allowed));
        assert_eq!(sample(&metrics.encode(), DROPPED), 4.0, "{endpoint}");
    }
}

#[test]
fn a_collector_that_hangs_holds_up_nobody() {
    const SPANS: u32 = 20_000;
    let collector = Collector::start(Manner::Hangs);
    let (tracer, metrics) = started(&collector.endpoint, 1.0, NOTHING);
    let decided = Decided::fault(Reason::Internal);
    let began = Instant::now();
    for _ in 0..SPANS {
        tracer.finish(&tracer.begin(None), &finished(&decided, Decision::Allow, Reason::Allowed));
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let overflow = sample(&metrics.encode(), DROPPED);
    assert!(overflow >= f64::from(SPANS) - 8192.0, "the queue has an end: {overflow}");

    let began = Instant::now();
    tracer.shutdown(Duration::from_millis(300));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(sample(&metrics.encode(), DROPPED), f64::from(SPANS), "every span is accounted for");
}

#[test]
fn an_address_that_is_none_is_said_to_be() {
    for endpoint in ["", "127.0.0.1:4318", "ftp://c", "http://", "/v1/traces"] {
        let start = Tracer::start(&options(endpoint, 1.0, NOTHING), Metrics::new(&Names::default()));
        assert!(start.is_err(), "{endpoint}");
    }
}
