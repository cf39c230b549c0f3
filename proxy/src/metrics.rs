//! Every metric of the process: counted through plain methods, exposed as OpenMetrics text. Names, help and labels
//! stand in `names`; no request's text ever becomes a label. The only place that knows prometheus-client.
//! Called from everywhere; read by `admin`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::policy::compare::Difference;
use crate::policy::purpose::ActionClass;
use crate::policy::verdict::{CacheState, Decision, Origin, Reason};
use names::CertificateUse;
use plain::Plain;
use process::Live;
use series::{Durations, Labels, Series, Trace, labels, register};

pub mod lines;
pub mod names;
mod plain;
mod process;
mod series;

/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The label values that come from the configuration. Everything else is a closed enum.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub routes: Vec<String>,
    pub authorizers: Vec<String>,
    /// Which authorizers are shadows of which route.
    pub shadows: Vec<ShadowName>,
    pub clients: Vec<String>,
    pub generation: String,
}

/// A route and an authorizer that it only tries out, made once: what comparisons are counted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowName(String);

impl ShadowName {
    pub fn new(route: &str, authorizer: &str) -> Self {
        // No name of the configuration has a slash in it.
        Self(format!("{route}/{authorizer}"))
    }
}

/// One decision, as it is counted.
#[derive(Debug)]
pub struct DecisionPoint<'a> {
    pub decision: Decision,
    pub reason: Reason,
    pub origin: Origin,
    /// `None` counts as route `none`.
    pub route: Option<&'a str>,
    /// `None` where the question could not be read; counts as `none`.
    pub action_class: Option<ActionClass>,
    pub advisory: bool,
    pub latency: Duration,
    /// The trace id, if the trace was kept.
    pub exemplar: Option<u128>,
}

/// A certificate that is in use.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub used: CertificateUse,
    /// A name of the configuration.
    pub name: String,
    /// Seconds since 1970.
    pub ends: i64,
}

/// What became of a request at the front, decided or not; or of a connection that the front has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrontOutcome {
    Decided,
    Probe,
    Refused(Reason),
    /// The client went away or was too slow before its question was whole.
    Incomplete,
    /// The client and we could not agree on TLS, or it was too slow about it.
    TlsFailed,
    /// A new connection on which nothing was asked in time.
    Silent,
    /// A connection on which nothing more was asked for as long as one is kept.
    Idle,
    /// A connection with HTTP/2 on which there was too much of what is no question, or of questions taken back or malformed.
    Flooded,
    /// An answer, counted before, that the client did not take in time; or the end of a connection that it did not.
    Unread,
    /// A connection with HTTP/1.1 whose last answer was given, and whose client went on sending, or did not close it in time.
    Lingered,
}

/// Handles to all series, resolved once: counting takes no lock but a histogram's own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    live: Arc<Live>,
    series: Series,
    /// In the order of `Origin::ALL`.
    decision_duration: Vec<Durations>,
    /// In the order of `CacheState::ALL`.
    cache_requests: Vec<Counter>,
    /// In the order of `Recheck::ALL`.
    cache_rechecks: Vec<Counter>,
    /// In the order of `KAFKA_CODES`, then `other`.
    kafka_errors: Vec<Counter>,
    plain: Plain,
}

/// Counts one down when dropped.
#[derive(Debug)]
pub struct InFlight {
    gauge: Gauge,
}

impl InFlight {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self { gauge: gauge.clone() }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Metrics {
    pub fn new(names: &Names) -> Arc<Self> {
        let mut registry = Registry::default();
        let live = Arc::new(Live::default());
        live.generation.lock().clone_from(&names.generation);
        registry.register_collector(Box::new(Arc::clone(&live)));
        let series = Series::register(&mut registry, names);
        let plain = Plain::register(&mut registry);
        plain.reload_successful.set(1);

        let duration: Family<Labels, Durations, fn() -> Durations> = Family::new_with_constructor(series::durations);
        register(&mut registry, "countersign_decision_duration_seconds", duration.clone());
        let of_origin = |origin: Origin| {
            duration.get_or_create_owned(&labels("countersign_decision_duration_seconds", &[origin.as_str()]))
        };
        let cache = CacheState::ALL.map(CacheState::as_str);
        let codes = names::KAFKA_CODES.into_iter().chain([names::OTHER]);
        Arc::new(Self {
            live,
            series,
            plain,
            decision_duration: Origin::ALL.map(of_origin).into(),
            cache_requests: counters(&mut registry, "countersign_cache_requests_total", cache),
            cache_rechecks: counters(
                &mut registry,
                "countersign_cache_rechecks_total",
                names::Recheck::ALL.map(names::Recheck::as_str),
            ),
            kafka_errors: counters(&mut registry, "countersign_kafka_errors_total", codes),
            registry,
        })
    }

    /// OpenMetrics text.
    pub fn encode(&self) -> String {
        if let Some((records, bytes)) = self.live.undelivered.get().and_then(|read| read()) {
            set(&self.plain.undelivered_records, records);
            set(&self.plain.undelivered_bytes, bytes);
        }
        let mut text = String::with_capacity(64 * 1024);
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a string cannot fail; half a page would be worse than none.
            Err(std::fmt::Error) => String::from("# EOF\n"),
        }
    }

    /// Before a reload: series for names that are new.
    pub fn expect(&self, names: &Names) {
        self.series.extend(names);
    }

    /// After a reload: the generation in force. Counters of names that went stay, because one that vanishes reads as a
    /// restart; no breaker of theirs is open, and no cache of theirs in use.
    pub fn reloaded(&self, names: &Names) {
        self.series.extend(names);
        self.series.retire(names);
        self.live.generation.lock().clone_from(&names.generation);
        self.plain.reload_successful.set(1);
    }

    /// The configuration file was read again and refused; the generation before it stays in force.
    pub fn reload_refused(&self) {
        self.plain.reload_successful.set(0);
    }

    /// Where the number of lost log lines is read at each scrape. Only the first call counts.
    pub fn watch_log(&self, lines_dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        self.live.log_lines_dropped.get_or_init(|| Box::new(lines_dropped));
    }

    /// Where it is read at each scrape how many records and bytes Kafka has not got: a backlog that is a moment old must not
    /// read as none. Only the first call counts.
    pub fn watch_undelivered(&self, read: impl Fn() -> Option<(u64, u64)> + Send + Sync + 'static) {
        self.live.undelivered.get_or_init(|| Box::new(read));
    }

    pub fn decision(&self, point: &DecisionPoint<'_>) {
        self.series.routes.with(point.route, |route| route.count(point));
        let now = SystemTime::now();
        self.plain.last_decision.set(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        if let Some(duration) = self.decision_duration.get(point.origin as usize) {
            observe(duration, point.latency, point.exemplar, now);
        }
    }

    /// A question refused without a record of its own, before or after it was decided.
    pub fn fault(&self, reason: Reason) {
        self.series.routes.with(None, |route| route.fault(reason));
    }

    pub fn decision_in_flight(&self) -> InFlight {
        InFlight::begin(&self.plain.in_flight)
    }

    /// `client` is a token's name; `None` counts as `unknown`.
    pub fn front_request(&self, client: Option<&str>, outcome: FrontOutcome) {
        self.series.clients.with(client, |client| client.count(outcome));
    }

    pub fn probe(&self, client: &str) {
        self.series.clients.with(Some(client), |client| client.probes.inc());
    }

    /// `outcome` is `allowed`, `denied` or the fault.
    pub fn authorizer_call(&self, authorizer: &str, outcome: Reason, latency: Duration, exemplar: Option<u128>) {
        self.series.authorizers.with(Some(authorizer), |authorizer| {
            authorizer.count(outcome);
            observe(&authorizer.duration, latency, exemplar, SystemTime::now());
        });
    }

    /// A question that an authorizer was spared.
    pub fn authorizer_not_asked(&self, authorizer: &str, why: Reason) {
        self.series.authorizers.with(Some(authorizer), |authorizer| authorizer.count(why));
    }

    /// The latency of an attempt that decides nothing. What came of it is counted as a comparison: a shadow that fails is
    /// no authorizer that is down.
    pub fn shadow_call(&self, authorizer: &str, latency: Duration) {
        self.series.authorizers.with(Some(authorizer), |authorizer| {
            observe(&authorizer.duration, latency, None, SystemTime::now());
        });
    }

    pub fn shadow_comparison(&self, name: &ShadowName, difference: Difference) {
        self.series.shadows.with(Some(&name.0), |shadow| shadow.count(difference));
    }

    /// A difference that has no record of its own.
    pub fn shadow_unrecorded(&self) {
        self.plain.shadow_unrecorded.inc();
    }

    pub fn authorizer_breaker(&self, authorizer: &str, open: bool) {
        self.series.authorizers.with(Some(authorizer), |authorizer| authorizer.breaker_open.set(i64::from(open)));
    }

    pub fn authorizer_in_flight(&self, authorizer: &str) -> InFlight {
        self.series.authorizers.with(Some(authorizer), |authorizer| InFlight::begin(&authorizer.in_flight))
    }

    /// The route's verdict came from an authorizer that was asked after another one's fault.
    pub fn fallback(&self, route: &str) {
        self.series.routes.with(Some(route), |route| route.fallbacks.as_ref().map(Counter::inc));
    }

    pub fn cache_request(&self, result: CacheState) {
        if let Some(requests) = self.cache_requests.get(result as usize) {
            requests.inc();
        }
    }

    pub fn cache_recheck(&self, outcome: names::Recheck) {
        if let Some(rechecks) = self.cache_rechecks.get(outcome as usize) {
            rechecks.inc();
        }
    }

    pub fn cache_waiting(&self) -> InFlight {
        InFlight::begin(&self.plain.cache_waiting)
    }

    pub fn cache_entries(&self, entries: usize) {
        self.plain.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    pub fn cache_enabled(&self, route: &str, enabled: bool) {
        self.series.cache_enabled(route, enabled);
    }

    pub fn audit_available(&self, available: bool) {
        self.plain.audit_available.set(i64::from(available));
    }

    /// From handing the record over to its durability.
    pub fn audit_appended(&self, latency: Duration) {
        self.plain.audit_append.observe(latency.as_secs_f64());
    }

    pub fn audit_batch(&self, records: usize) {
        self.plain.audit_batch.observe(f64::from(u32::try_from(records).unwrap_or(u32::MAX)));
    }

    pub fn spool_synced(&self, latency: Duration) {
        self.plain.sync.observe(latency.as_secs_f64());
    }

    pub fn spool_appended(&self, bytes: u64) {
        self.plain.spool_appended.inc_by(bytes);
    }

    pub fn spool_size(&self, bytes: u64, limit: u64, filesystem_available: u64) {
        set(&self.plain.spool_bytes, bytes);
        set(&self.plain.spool_limit, limit);
        set(&self.plain.spool_available, filesystem_available);
    }

    /// `time`: since 1970.
    pub fn checkpointed(&self, time: Duration) {
        self.plain.checkpoint_last.set(time.as_secs_f64());
    }

    pub fn spool_undelivered(&self, records: u64, bytes: u64, oldest_age: Duration) {
        set(&self.plain.undelivered_records, records);
        set(&self.plain.undelivered_bytes, bytes);
        self.plain.oldest_age.set(oldest_age.as_secs_f64());
    }

    pub fn kafka_delivered(&self, records: u64, latency: Duration) {
        self.plain.delivered.inc_by(records);
        self.plain.delivery.observe(latency.as_secs_f64());
    }

    /// A record that Kafka has as a stub only.
    pub fn kafka_stub(&self) {
        self.plain.stubs.inc();
    }

    /// librdkafka's error name, from a closed list; others count as `other`. Case and underscores do not matter, so
    /// that `SSL`, `_SSL` and `s_s_l` are one.
    pub fn kafka_error(&self, code: &str) {
        let letters = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let code = letters(code);
        let known = names::KAFKA_CODES.iter().position(|known| letters(known) == code);
        if let Some(errors) = self.kafka_errors.get(known.unwrap_or(names::KAFKA_CODES.len())) {
            errors.inc();
        }
    }

    /// All of authorizers that are loaded now; what was loaded before is not shown any more.
    pub fn authorizer_certificates(&self, loaded: &[Certificate]) {
        let of_authorizers = |used| matches!(used, CertificateUse::AuthorizerCa | CertificateUse::AuthorizerClient);
        self.series.certificates(of_authorizers, loaded);
    }

    /// The same of the decision endpoint.
    pub fn listener_certificate(&self, loaded: Option<Certificate>) {
        self.series.certificates(|used| used == CertificateUse::Listener, loaded.as_slice());
    }

    /// The same of Kafka. They are read once, at the start.
    pub fn kafka_certificates(&self, loaded: &[Certificate]) {
        self.series.certificates(|used| matches!(used, CertificateUse::KafkaCa | CertificateUse::KafkaClient), loaded);
    }

    pub fn spans_dropped(&self, spans: u64) {
        self.plain.spans_dropped.inc_by(spans);
    }
}

/// One counter for each value of a metric's only label.
fn counters<'v>(registry: &mut Registry, name: &str, values: impl IntoIterator<Item = &'v str>) -> Vec<Counter> {
    let family: Family<Labels, Counter> = Family::default();
    register(registry, name, family.clone());
    values.into_iter().map(|value| family.get_or_create_owned(&labels(name, &[value]))).collect()
}

/// The timestamp goes with the exemplar, because Prometheus drops exemplars without one from native histograms.
fn observe(histogram: &Durations, latency: Duration, exemplar: Option<u128>, now: SystemTime) {
    let trace: Option<Trace> = exemplar.map(|id| [("trace_id", format!("{id:032x}"))]);
    histogram.observe(latency.as_secs_f64(), trace, Some(now));
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
