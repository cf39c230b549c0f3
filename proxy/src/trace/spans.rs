//! Spans, made only when their decision is over and known to be worth keeping: the SDK samples at a span's start,
//! which is before anybody knows that it is a deny. Attributes have the names of OpenTelemetry's semantic conventions
//! where there is one. Nothing here is a person's or an object's name. Called by `trace`.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use opentelemetry_semantic_conventions::attribute as semconv;
use tokio::time::Instant;

use super::{Context, Finished, Sent};
use crate::policy::decided::{Call, Outcome};
use crate::policy::verdict::{Reason, Side};
use crate::version::VERSION;

/// Longest text of an attribute that came with a question, in bytes. MinIO's longest action has 50.
const MAX_TEXT: usize = 64;
/// Links on one span; more are counted, not sent. The SDK's own default.
const MAX_LINKS: usize = 128;

static SCOPE: LazyLock<InstrumentationScope> =
    LazyLock::new(|| InstrumentationScope::builder("countersign").with_version(VERSION).build());

/// A kept decision, as a producer's span links to it.
pub(super) fn span_context(trace_id: u128, span_id: u64) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from(trace_id), SpanId::from(span_id));
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE)
}

/// All spans of one decision, the root last.
pub(super) fn of_decision(context: &Context, finished: &Finished<'_>) -> Vec<SpanData> {
    let calls = &finished.decided.calls;
    let mut spans = Vec::with_capacity(calls.len() + 2);
    // What was declared instead of asked has no attempt to show.
    spans.extend(calls.iter().filter(|call| call.attempt > 0).map(|call| of_call(context, call)));
    spans.extend(finished.append.map(|append| of_append(context, append)));
    spans.push(of_root(context, finished));
    spans
}

/// When and what: the part of a span that differs between kinds.
struct Shape {
    name: Cow<'static, str>,
    kind: SpanKind,
    start: SystemTime,
    took: Duration,
    attributes: Vec<KeyValue>,
    status: Status,
}

fn span(span_context: SpanContext, parent: Option<u64>, remote: bool, shape: Shape) -> SpanData {
    SpanData {
        span_context,
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: remote,
        span_kind: shape.kind,
        name: shape.name,
        start_time: shape.start,
        end_time: shape.start + shape.took,
        attributes: shape.attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: shape.status,
        instrumentation_scope: SCOPE.clone(),
    }
}

fn of_root(context: &Context, finished: &Finished<'_>) -> SpanData {
    let decided = finished.decided;
    let mut attributes = vec![
        KeyValue::new(semconv::HTTP_REQUEST_METHOD, "POST"),
        KeyValue::new("countersign.decision", finished.decision.as_str()),
        KeyValue::new("countersign.reason", finished.reason.as_str()),
        KeyValue::new("countersign.origin", decided.origin.as_str()),
        KeyValue::new("countersign.advisory", finished.advisory),
        KeyValue::new("countersign.cache", decided.cache.state.as_str()),
        KeyValue::new("countersign.fallback", decided.fallback),
        KeyValue::new("countersign.client", finished.client.to_owned()),
    ];
    attributes.extend(decided.route.as_deref().map(|route| KeyValue::new("countersign.route", route.to_owned())));
    attributes.extend(finished.action.map(|action| KeyValue::new("countersign.action", cut(action).to_owned())));
    let decided_by = decided.decided_by.as_deref();
    attributes.extend(decided_by.map(|name| KeyValue::new("countersign.decided_by", name.to_owned())));
    if let Some(peer) = finished.peer {
        attributes.push(KeyValue::new(semconv::NETWORK_PEER_ADDRESS, peer.ip().to_string()));
        attributes.push(KeyValue::new(semconv::NETWORK_PEER_PORT, i64::from(peer.port())));
    }
    if let Some((chain, seq)) = finished.record {
        attributes.push(KeyValue::new("countersign.chain.id", chain.to_string()));
        attributes.push(KeyValue::new("countersign.chain.seq", i64::try_from(seq).unwrap_or(i64::MAX)));
    }
    attributes.extend(error_type(finished.reason));
    // By the conventions a server's span is no error where the client asked wrongly.
    let status = match finished.reason.side() {
        Some(Side::Authorizer | Side::Own) => Status::error(finished.reason.as_str()),
        Some(Side::Caller) | None => Status::Unset,
    };
    let shape = Shape {
        name: Cow::Borrowed("decide"),
        kind: SpanKind::Server,
        start: context.started_wall,
        took: finished.latency,
        attributes,
        status,
    };
    span(span_context(context.trace_id, context.span_id), context.parent, context.parent.is_some(), shape)
}

fn of_call(context: &Context, call: &Call) -> SpanData {
    let reason = call.outcome.reason();
    let mut attributes = vec![
        KeyValue::new(semconv::HTTP_REQUEST_METHOD, "POST"),
        KeyValue::new("countersign.authorizer", call.authorizer.to_string()),
        KeyValue::new("countersign.outcome", reason.as_str()),
    ];
    attributes.extend(call.status.map(|code| KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(code))));
    if call.attempt > 1 {
        attributes.push(KeyValue::new(semconv::HTTP_REQUEST_RESEND_COUNT, i64::from(call.attempt - 1)));
    }
    attributes.extend(error_type(reason));
    let shape = Shape {
        name: Cow::Owned(format!("authorizer {}", call.authorizer)),
        kind: SpanKind::Client,
        start: wall(context, call.started),
        took: call.latency,
        attributes,
        status: match call.outcome {
            Outcome::Answered(_) | Outcome::Declared => Status::Unset,
            Outcome::Fault(reason) => Status::error(reason.as_str()),
        },
    };
    span(span_context(context.trace_id, call.span_id), Some(context.span_id), false, shape)
}

fn of_append(context: &Context, (started, took, durability): (Instant, Duration, &'static str)) -> SpanData {
    let shape = Shape {
        name: Cow::Borrowed("audit append"),
        kind: SpanKind::Internal,
        start: wall(context, started),
        took,
        attributes: vec![KeyValue::new("countersign.durability", durability)],
        status: Status::Unset,
    };
    span(span_context(context.trace_id, super::ids::new_span_id()), Some(context.span_id), false, shape)
}

/// One batch that Kafka acknowledged, in a trace of its own: it belongs to many decisions.
pub(super) fn of_batch(sent: &Sent<'_>, decisions: Vec<SpanContext>) -> SpanData {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let records = sent.last_seq.saturating_sub(sent.first_seq).saturating_add(1);
    let shape = Shape {
        name: Cow::Owned(format!("send {}", sent.topic)),
        kind: SpanKind::Producer,
        start: SystemTime::now().checked_sub(sent.started.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH),
        took: sent.took,
        attributes: vec![
            KeyValue::new(semconv::MESSAGING_SYSTEM, "kafka"),
            KeyValue::new(semconv::MESSAGING_OPERATION_NAME, "send"),
            KeyValue::new(semconv::MESSAGING_OPERATION_TYPE, "send"),
            KeyValue::new(semconv::MESSAGING_DESTINATION_NAME, sent.topic.to_owned()),
            KeyValue::new(semconv::MESSAGING_BATCH_MESSAGE_COUNT, number(records)),
            KeyValue::new("countersign.chain.id", sent.chain.to_owned()),
            KeyValue::new("countersign.chain.first_seq", number(sent.first_seq)),
            KeyValue::new("countersign.chain.last_seq", number(sent.last_seq)),
        ],
        status: Status::Unset,
    };
    let root = span_context(super::ids::new_trace_id(), super::ids::new_span_id());
    let mut producer = span(root, None, false, shape);
    let unsent = decisions.len().saturating_sub(MAX_LINKS);
    producer.links.dropped_count = u32::try_from(unsent).unwrap_or(u32::MAX);
    producer.links.links =
        decisions.into_iter().take(MAX_LINKS).map(|decision| Link::new(decision, Vec::new(), 0)).collect();
    producer
}

/// A plain deny is an answer; only a fault is an error.
fn error_type(reason: Reason) -> Option<KeyValue> {
    reason.side().map(|_| KeyValue::new(semconv::ERROR_TYPE, reason.as_str()))
}

/// Durations are measured on a clock that cannot jump; only the beginning has a wall time.
fn wall(context: &Context, at: Instant) -> SystemTime {
    context.started_wall + at.saturating_duration_since(context.started)
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
}
