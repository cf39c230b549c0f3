//! The closed world of metrics: every name, kind, help and label, and the label values that do not come from the
//! configuration. Dashboards, alerts and documentation are checked against this file by the tidy test.
//! Nothing is counted here; that is `metrics`.

/// How Prometheus reads a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// One metric as it is exposed: counters with `_total`, infos with `_info`.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// Without a full stop; the encoder adds it.
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

impl Metric {
    /// The name of the family, which OpenMetrics writes without the suffix of its kind.
    pub fn family(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }
}

const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Counter, help, labels }
}

const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Gauge, help, labels }
}

const fn histogram(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Histogram, help, labels }
}

const fn info(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Info, help, labels }
}

/// Every metric of the process.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    counter("countersign_decisions_total", "Decisions, not S3 requests: one denied GET is two", &["decision", "origin", "route", "action_class", "advisory"]),
    counter("countersign_faults_total", "Decisions that denied because something failed, by whose fault it is", &["reason", "side", "route"]),
    histogram("countersign_decision_duration_seconds", "From the last byte of the question to the answer", &["origin"]),
    gauge("countersign_decisions_in_flight", "Decisions that have begun and not yet been answered", &[]),
    gauge("countersign_last_decision_timestamp_seconds", "When the last decision was made, 0 if there was none", &[]),
    counter("countersign_front_requests_total", "HTTP requests at the decision listener, and connections that it ended, by what became of them", &["client", "outcome"]),
    counter("countersign_probes_total", "Start-up probes, as MinIO sends them", &["client"]),
    counter("countersign_authorizer_requests_total", "Attempts at an authorizer by what came of them", &["authorizer", "outcome"]),
    histogram("countersign_authorizer_duration_seconds", "One attempt at an authorizer", &["authorizer"]),
    gauge("countersign_authorizer_in_flight", "Attempts under way", &["authorizer"]),
    gauge("countersign_authorizer_breaker_open", "1 while the authorizer is left alone, but for one probe at a time", &["authorizer"]),
    counter("countersign_fallbacks_total", "Verdicts of an authorizer that was asked after another one's fault; cached ones not again", &["route"]),
    counter("countersign_shadow_comparisons_total", "Verdicts of authorizers that are only tried out, by how they differ from what was decided", &["route", "authorizer", "difference"]),
    counter("countersign_shadow_unrecorded_total", "Differences without a record, because there were too many or too little room", &[]),
    counter("countersign_cache_requests_total", "What the decision cache did for a decision", &["result"]),
    gauge("countersign_cache_entries", "Remembered decisions", &[]),
    gauge("countersign_cache_waiting", "Decisions that wait for the answer to an equal question", &[]),
    counter("countersign_cache_rechecks_total", "Answers from the cache that were asked again, by what that showed", &["outcome"]),
    gauge("countersign_cache_enabled", "1 while the route's cache is in use", &["route"]),
    gauge("countersign_audit_available", "1 while records can be made durable; 0 means that everything is denied", &[]),
    histogram("countersign_audit_append_duration_seconds", "From handing a record over to its durability", &[]),
    histogram("countersign_audit_batch_records", "Records that one write took together", &[]),
    histogram("countersign_spool_sync_duration_seconds", "One fdatasync of the spool", &[]),
    gauge("countersign_spool_bytes", "Size of the spool", &[]),
    gauge("countersign_spool_limit_bytes", "Largest size the spool may have", &[]),
    counter("countersign_spool_appended_bytes_total", "Bytes written to the spool", &[]),
    gauge("countersign_spool_filesystem_available_bytes", "What the spool's file system has left", &[]),
    gauge("countersign_checkpoint_last_timestamp_seconds", "When the chain's head was last stated, 0 if it never was", &[]),
    gauge("countersign_spool_undelivered_records", "Records that Kafka has not acknowledged", &[]),
    gauge("countersign_spool_undelivered_bytes", "Size of the records that Kafka has not acknowledged", &[]),
    gauge("countersign_spool_oldest_undelivered_age_seconds", "Age of the oldest record that Kafka has not acknowledged", &[]),
    counter("countersign_kafka_records_delivered_total", "Records that Kafka acknowledged", &[]),
    counter("countersign_kafka_stubs_total", "Records that Kafka has as stubs only, because the topic does not take their size", &[]),
    counter("countersign_kafka_errors_total", "Errors that librdkafka reported", &["code"]),
    histogram("countersign_kafka_delivery_duration_seconds", "From handing a record to librdkafka to its acknowledgement", &[]),
    counter("countersign_otlp_spans_dropped_total", "Spans that never reached the collector", &[]),
    gauge("countersign_tls_certificate_expiry_timestamp_seconds", "When a configured certificate ends, in seconds since the epoch", &["use", "name"]),
    counter("countersign_log_lines_dropped_total", "Lines of the operational log that were dropped rather than waited for", &[]),
    gauge("countersign_config_last_reload_successful", "1 if the configuration file as it was last read is in force", &[]),
    info("countersign_config_info", "The configuration generation in force", &["generation"]),
    info("countersign_build_info", "The program", &["version", "commit"]),
    gauge("process_resident_memory_bytes", "Resident memory size", &[]),
    counter("process_cpu_seconds_total", "User and system CPU time spent", &[]),
    gauge("process_open_fds", "Open file descriptors", &[]),
    gauge("process_max_fds", "Limit of open file descriptors", &[]),
    gauge("process_start_time_seconds", "Start of the process, in seconds since the epoch", &[]),
];

/// The row of a metric. An unknown name gives a row that the test of this table cannot overlook.
pub fn metric(name: &str) -> Metric {
    METRICS.iter().find(|metric| metric.name == name).copied().unwrap_or(UNKNOWN)
}

const UNKNOWN: Metric = gauge("countersign_unknown", "Not in the table", &[]);

/// Seconds. From 50 µs, a cached decision, to the largest deadline anybody sets.
pub const LATENCY: [f64; 24] = [
    0.000_05, 0.000_075, 0.000_1, 0.000_15, 0.000_2, 0.000_3, 0.000_5, 0.000_75, 0.001, 0.001_5, 0.002_5, 0.005,
    0.007_5, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// Records in one batch of the spool's writer.
pub const BATCH: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Seconds until Kafka acknowledges: a network away, and minutes after an outage.
pub const DELIVERY: [f64; 13] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

/// What a producer meets: librdkafka's errors by the words of `RDKafkaErrorCode`, `client` for one without a code, and
/// `spool` and `internal` for ours. Whatever else comes counts as `other`.
pub const KAFKA_CODES: [&str; 37] = [
    "all_brokers_down",
    "authentication",
    "broker_transport_failure",
    "client",
    "cluster_authorization_failed",
    "fatal",
    "gapless_guarantee",
    "inconsistent",
    "internal",
    "invalid_different_record",
    "invalid_producer_epoch",
    "invalid_record",
    "invalid_timestamp",
    "kafka_storage_error",
    "leader_not_available",
    "message_batch_too_large",
    "message_size_too_large",
    "message_timed_out",
    "network_exception",
    "not_enough_replicas",
    "not_enough_replicas_after_append",
    "not_leader_for_partition",
    "operation_timed_out",
    "out_of_order_sequence_number",
    "policy_violation",
    "purge_inflight",
    "purge_queue",
    "queue_full",
    "request_timed_out",
    "resolve",
    "sasl_authentication_failed",
    "spool",
    "ssl",
    "topic_authorization_failed",
    "unknown_partition",
    "unknown_topic",
    "unknown_topic_or_partition",
];

/// What a certificate is for: the label `use`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateUse {
    /// Vouches for an authorizer.
    AuthorizerCa,
    /// Says to an authorizer who we are.
    AuthorizerClient,
    /// The decision endpoint's own.
    Listener,
    /// Vouches for Kafka's brokers.
    KafkaCa,
    /// Says to Kafka's brokers who we are.
    KafkaClient,
}

impl CertificateUse {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizerCa => "authorizer_ca",
            Self::AuthorizerClient => "authorizer_client",
            Self::Listener => "listener",
            Self::KafkaCa => "kafka_ca",
            Self::KafkaClient => "kafka_client",
        }
    }
}

/// A librdkafka error outside [`KAFKA_CODES`], or an attempt's outcome that no authorizer can have.
pub const OTHER: &str = "other";
/// The action class of a question that could not be read.
pub const NO_CLASS: &str = "none";
/// The route of a decision that no route took.
pub const NO_ROUTE: &str = "none";
/// A client or authorizer that the configuration does not name.
pub const UNKNOWN_NAME: &str = "unknown";

/// What asking again showed about an answer from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    Same,
    /// The policy has changed since.
    Stale,
    /// The key takes for equal what is not.
    Different,
    /// An authorizer failed.
    Unanswered,
    /// Too many at a time, or the question of the answer is no longer held.
    Skipped,
}

impl Recheck {
    pub const ALL: [Self; 5] = [Self::Same, Self::Stale, Self::Different, Self::Unanswered, Self::Skipped];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Stale => "stale",
            Self::Different => "different",
            Self::Unanswered => "unanswered",
            Self::Skipped => "skipped",
        }
    }
}
