//! All metrics at one moment, as far as the status page shows them. Read from the text of `/metrics`, so that both say the
//! same. Bounded: what a configuration names beyond the first few is on `/metrics` only.

use std::collections::BTreeMap;

use crate::metrics::lines::{Line, lines};
use crate::metrics::names::LATENCY;

/// Authorizers, and routes, that are shown.
const MAX_NAMES: usize = 16;

/// Counts by a label's value; those at 0 are left out.
pub(super) type Counts = BTreeMap<String, f64>;

/// Counters are totals since the start, gauges are as they are.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub allowed: f64,
    /// What authorizers denied, where a deny is an outcome.
    pub denied: f64,
    /// Denies that are no outcome.
    pub advisory: f64,
    /// All decisions, faults included.
    pub decisions: f64,
    /// Refused because something failed, with or without a record, by reason.
    pub faults: Counts,
    /// By origin.
    pub latency: BTreeMap<String, Buckets>,
    pub in_flight: f64,
    pub last_decision: f64,
    pub authorizers: BTreeMap<String, Authorizer>,
    pub cache: Counts,
    pub cache_entries: f64,
    pub cache_waiting: f64,
    /// By route.
    pub cache_enabled: BTreeMap<String, bool>,
    pub append: Buckets,
    pub spool_bytes: f64,
    pub spool_limit: f64,
    pub spool_available: f64,
    pub spool_appended: f64,
    pub undelivered_records: f64,
    pub undelivered_bytes: f64,
    pub oldest_age: f64,
    pub checkpoint_last: f64,
    pub delivered: f64,
    pub stubs: f64,
    pub kafka_errors: Counts,
    pub spans_dropped: f64,
    pub log_lines_dropped: f64,
    pub reload_successful: bool,
    /// When the first configured certificate ends; 0 without any.
    pub certificate_ends: f64,
    pub started: f64,
    pub resident: f64,
    pub version: String,
    pub commit: String,
    /// Of the configuration in force.
    pub generation: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Authorizer {
    /// Attempts by what came of them.
    pub outcomes: Counts,
    pub duration: Buckets,
    pub in_flight: f64,
    pub breaker_open: bool,
}

/// A histogram of seconds over [`LATENCY`]: how many were not longer than each bound, and all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets {
    cumulative: [f64; LATENCY.len()],
    count: f64,
}

impl Sample {
    /// `text` is what `/metrics` answers.
    pub fn read(text: &str) -> Self {
        let mut sample = Self::default();
        for line in lines(text) {
            sample.take(&line);
        }
        sample
    }

    fn take(&mut self, line: &Line<'_>) {
        let value = line.value;
        match line.name {
            "countersign_decisions_total" => self.take_decisions(line),
            "countersign_faults_total" => add(&mut self.faults, line.label("reason"), value),
            "countersign_decision_duration_seconds_bucket" | "countersign_decision_duration_seconds_count" => {
                self.latency.entry(line.label("origin").to_owned()).or_default().take(line);
            }
            "countersign_decisions_in_flight" => self.in_flight = value,
            "countersign_last_decision_timestamp_seconds" => self.last_decision = value,
            "countersign_cache_requests_total" => add(&mut self.cache, line.label("result"), value),
            "countersign_cache_entries" => self.cache_entries = value,
            "countersign_cache_waiting" => self.cache_waiting = value,
            "countersign_cache_enabled" if self.cache_enabled.len() < MAX_NAMES => {
                self.cache_enabled.insert(line.label("route").to_owned(), value > 0.0);
            }
            "countersign_audit_append_duration_seconds_bucket" | "countersign_audit_append_duration_seconds_count" => {
                self.append.take(line);
            }
            name if name.starts_with("countersign_authorizer_") => self.take_authorizer(line),
            name if name.starts_with("countersign_spool_") => self.take_spool(line),
            name if name.starts_with("countersign_kafka_") => self.take_kafka(line),
            _ => self.take_process(line),
        }
    }

    fn take_decisions(&mut self, line: &Line<'_>) {
        self.decisions += line.value;
        match (line.label("decision"), line.label("advisory"), line.label("origin")) {
            ("allow", ..) => self.allowed += line.value,
            (_, "true", _) => self.advisory += line.value,
            (_, _, "fault") => {}
            _ => self.denied += line.value,
        }
    }

    fn take_authorizer(&mut self, line: &Line<'_>) {
        let name = line.label("authorizer");
        if self.authorizers.len() >= MAX_NAMES && !self.authorizers.contains_key(name) {
            return;
        }
        let authorizer = self.authorizers.entry(name.to_owned()).or_default();
        match line.name {
            "countersign_authorizer_requests_total" => {
                add(&mut authorizer.outcomes, line.label("outcome"), line.value);
            }
            "countersign_authorizer_in_flight" => authorizer.in_flight = line.value,
            "countersign_authorizer_breaker_open" => authorizer.breaker_open = line.value > 0.0,
            _ => authorizer.duration.take(line),
        }
    }

    fn take_spool(&mut self, line: &Line<'_>) {
        let place = match line.name {
            "countersign_spool_bytes" => &mut self.spool_bytes,
            "countersign_spool_limit_bytes" => &mut self.spool_limit,
            "countersign_spool_filesystem_available_bytes" => &mut self.spool_available,
            "countersign_spool_appended_bytes_total" => &mut self.spool_appended,
            "countersign_spool_undelivered_records" => &mut self.undelivered_records,
            "countersign_spool_undelivered_bytes" => &mut self.undelivered_bytes,
            "countersign_spool_oldest_undelivered_age_seconds" => &mut self.oldest_age,
            _ => return,
        };
        *place = line.value;
    }

    fn take_kafka(&mut self, line: &Line<'_>) {
        match line.name {
            "countersign_kafka_records_delivered_total" => self.delivered = line.value,
            "countersign_kafka_stubs_total" => self.stubs = line.value,
            "countersign_kafka_errors_total" => add(&mut self.kafka_errors, line.label("code"), line.value),
            _ => {}
        }
    }

    fn take_process(&mut self, line: &Line<'_>) {
        let value = line.value;
        match line.name {
            "countersign_checkpoint_last_timestamp_seconds" => self.checkpoint_last = value,
            "countersign_otlp_spans_dropped_total" => self.spans_dropped = value,
            "countersign_log_lines_dropped_total" => self.log_lines_dropped = value,
            "countersign_config_last_reload_successful" => self.reload_successful = value > 0.0,
            "countersign_tls_certificate_expiry_timestamp_seconds"
                if self.certificate_ends == 0.0 || value < self.certificate_ends =>
            {
                self.certificate_ends = value;
            }
            "process_start_time_seconds" => self.started = value,
            "process_resident_memory_bytes" => self.resident = value,
            "countersign_config_info" => line.label("generation").clone_into(&mut self.generation),
            "countersign_build_info" => {
                line.label("version").clone_into(&mut self.version);
                line.label("commit").clone_into(&mut self.commit);
            }
            _ => {}
        }
    }
}

fn add(counts: &mut Counts, name: &str, value: f64) {
    if value > 0.0 {
        *counts.entry(name.to_owned()).or_default() += value;
    }
}

/// How much each count has grown; what has not is left out.
pub(super) fn growth(now: &Counts, before: &Counts) -> Counts {
    let grown = now.iter().map(|(name, count)| (name.clone(), count - before.get(name).copied().unwrap_or(0.0)));
    grown.filter(|(_, count)| *count > 0.0).collect()
}

impl Buckets {
    fn take(&mut self, line: &Line<'_>) {
        if line.name.ends_with("_count") {
            self.count = line.value;
            return;
        }
        let bound: f64 = line.label("le").parse().unwrap_or(f64::INFINITY);
        #[expect(clippy::float_cmp, reason = "the same number, printed and read")]
        let place = LATENCY.iter().position(|known| *known == bound);
        if let Some(place) = place.and_then(|at| self.cumulative.get_mut(at)) {
            *place = line.value;
        }
    }

    /// What came since.
    pub fn since(&self, before: &Self) -> Self {
        let mut grown = self.clone();
        for (now, then) in grown.cumulative.iter_mut().zip(before.cumulative) {
            *now -= then;
        }
        grown.count -= before.count;
        grown
    }

    /// Seconds, as Prometheus' `histogram_quantile` has it: between two bounds in a straight line, above the last bound that
    /// bound. `None` where nothing was observed.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.count <= 0.0 {
            return None;
        }
        let rank = share * self.count;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in LATENCY.into_iter().zip(self.cumulative) {
            if count >= rank {
                let inside = if count > below { (rank - below) / (count - below) } else { 1.0 };
                return Some(low + (bound - low) * inside);
            }
            (low, below) = (bound, count);
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{DecisionPoint, Metrics, Names};
    use crate::policy::purpose::ActionClass;
    use crate::policy::verdict::{Decision, Origin, Reason};

    fn metrics() -> std::sync::Arc<Metrics> {
        let names = |name: &str| vec![name.to_owned()];
        Metrics::new(&Names { routes: names("default"), authorizers: names("opa"), ..Names::default() })
    }

    fn point(decision: Decision, reason: Reason, origin: Origin, advisory: bool) -> DecisionPoint<'static> {
        let (route, action_class) = (Some("default"), Some(ActionClass::Read));
        let latency = Duration::from_micros(900);
        DecisionPoint { decision, reason, origin, route, action_class, advisory, latency, exemplar: Some(1) }
    }

    #[test]
    fn decisions_are_told_apart() {
        let metrics = metrics();
        metrics.decision(&point(Decision::Allow, Reason::Allowed, Origin::Cache, false));
        metrics.decision(&point(Decision::Allow, Reason::Allowed, Origin::Authorizer, true));
        metrics.decision(&point(Decision::Deny, Reason::Denied, Origin::Authorizer, false));
        metrics.decision(&point(Decision::Deny, Reason::Denied, Origin::Authorizer, true));
        metrics.decision(&point(Decision::Deny, Reason::Timeout, Origin::Fault, false));
        metrics.fault(Reason::AuditUnavailable);
        let sample = Sample::read(&metrics.encode());
        assert_eq!((sample.allowed, sample.denied, sample.advisory, sample.decisions), (2.0, 1.0, 1.0, 5.0));
        let faults: Vec<_> = sample.faults.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(faults, [("audit_unavailable", 1.0), ("timeout", 1.0)]);
        assert_eq!(sample.latency["authorizer"].count, 3.0);
        assert_eq!(sample.version, env!("CARGO_PKG_VERSION"));
        assert!(sample.started > 1e9 && sample.resident > 1e6 && sample.reload_successful);
    }

    #[test]
    fn every_gauge_finds_its_place() {
        let metrics = metrics();
        metrics.spool_size(10, 20, 30);
        metrics.spool_appended(40);
        metrics.spool_undelivered(1, 2, Duration::from_secs(3));
        metrics.kafka_delivered(5, Duration::from_millis(1));
        metrics.kafka_error("ssl");
        metrics.cache_entries(6);
        metrics.cache_enabled("default", true);
        metrics.checkpointed(Duration::from_secs(7));
        metrics.spans_dropped(8);
        metrics.audit_appended(Duration::from_micros(80));
        metrics.authorizer_breaker("opa", true);
        metrics.authorizer_call("opa", Reason::Allowed, Duration::from_millis(1), None);
        let s = Sample::read(&metrics.encode());
        let spool = [s.spool_bytes, s.spool_limit, s.spool_available, s.spool_appended];
        assert_eq!(spool, [10.0, 20.0, 30.0, 40.0]);
        assert_eq!([s.undelivered_records, s.undelivered_bytes, s.oldest_age, s.delivered], [1.0, 2.0, 3.0, 5.0]);
        assert_eq!((s.kafka_errors["ssl"], s.cache_entries, s.cache_enabled["default"]), (1.0, 6.0, true));
        assert_eq!((s.checkpoint_last, s.spans_dropped, s.append.count), (7.0, 8.0, 1.0));
        let opa = &s.authorizers["opa"];
        assert!(opa.breaker_open && opa.outcomes["allowed"] == 1.0 && opa.duration.count == 1.0);
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let metrics = metrics();
        assert_eq!(Sample::read(&metrics.encode()).append.quantile(0.5), None);
        for micros in [60, 60, 120, 120] {
            metrics.audit_appended(Duration::from_micros(micros));
        }
        let append = Sample::read(&metrics.encode()).append;
        // Two of four are up to 75 µs: the second quarter ends there.
        assert!((append.quantile(0.5).unwrap() - 0.000_075).abs() < 1e-9);
        assert!((append.quantile(0.75).unwrap() - 0.000_125).abs() < 1e-9);
        metrics.audit_appended(Duration::from_secs(100));
        let later = Sample::read(&metrics.encode()).append.since(&append);
        assert_eq!((later.count, later.quantile(0.5)), (1.0, Some(10.0)));
    }
}
