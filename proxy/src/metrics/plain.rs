//! Series without labels: one handle each. Called by `metrics`.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::names;
use super::series::register;

/// What has no labels.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) in_flight: Gauge,
    pub(super) last_decision: Gauge<f64, AtomicU64>,
    pub(super) shadow_unrecorded: Counter,
    pub(super) cache_entries: Gauge,
    pub(super) cache_waiting: Gauge,
    pub(super) audit_available: Gauge,
    pub(super) audit_append: Histogram,
    pub(super) audit_batch: Histogram,
    pub(super) sync: Histogram,
    pub(super) spool_bytes: Gauge,
    pub(super) spool_limit: Gauge,
    pub(super) spool_appended: Counter,
    pub(super) spool_available: Gauge,
    pub(super) checkpoint_last: Gauge<f64, AtomicU64>,
    pub(super) undelivered_records: Gauge,
    pub(super) undelivered_bytes: Gauge,
    pub(super) oldest_age: Gauge<f64, AtomicU64>,
    pub(super) delivered: Counter,
    pub(super) stubs: Counter,
    pub(super) delivery: Histogram,
    pub(super) spans_dropped: Counter,
    pub(super) reload_successful: Gauge,
}

impl Plain {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let latency = || Histogram::new(names::LATENCY);
        let mut plain = Registered { registry };
        Self {
            in_flight: plain.add("countersign_decisions_in_flight", Gauge::default()),
            last_decision: plain.add("countersign_last_decision_timestamp_seconds", Gauge::default()),
            shadow_unrecorded: plain.add("countersign_shadow_unrecorded_total", Counter::default()),
            cache_entries: plain.add("countersign_cache_entries", Gauge::default()),
            cache_waiting: plain.add("countersign_cache_waiting", Gauge::default()),
            audit_available: plain.add("countersign_audit_available", Gauge::default()),
            audit_append: plain.add("countersign_audit_append_duration_seconds", latency()),
            audit_batch: plain.add("countersign_audit_batch_records", Histogram::new(names::BATCH)),
            sync: plain.add("countersign_spool_sync_duration_seconds", latency()),
            spool_bytes: plain.add("countersign_spool_bytes", Gauge::default()),
            spool_limit: plain.add("countersign_spool_limit_bytes", Gauge::default()),
            spool_appended: plain.add("countersign_spool_appended_bytes_total", Counter::default()),
            spool_available: plain.add("countersign_spool_filesystem_available_bytes", Gauge::default()),
            checkpoint_last: plain.add("countersign_checkpoint_last_timestamp_seconds", Gauge::default()),
            undelivered_records: plain.add("countersign_spool_undelivered_records", Gauge::default()),
            undelivered_bytes: plain.add("countersign_spool_undelivered_bytes", Gauge::default()),
            oldest_age: plain.add("countersign_spool_oldest_undelivered_age_seconds", Gauge::default()),
            delivered: plain.add("countersign_kafka_records_delivered_total", Counter::default()),
            stubs: plain.add("countersign_kafka_stubs_total", Counter::default()),
            delivery: plain.add("countersign_kafka_delivery_duration_seconds", Histogram::new(names::DELIVERY)),
            spans_dropped: plain.add("countersign_otlp_spans_dropped_total", Counter::default()),
            reload_successful: plain.add("countersign_config_last_reload_successful", Gauge::default()),
        }
    }
}

struct Registered<'a> {
    registry: &'a mut Registry,
}

impl Registered<'_> {
    fn add<M: prometheus_client::registry::Metric + Clone>(&mut self, name: &str, it: M) -> M {
        register(self.registry, name, it.clone());
        it
    }
}
