//! What a query says about labels, against the metrics that exist: dashboards, alert rules and their cases. Not a parser
//! of PromQL: whether a query is one, Prometheus itself says in `observed`.

use std::collections::{BTreeMap, BTreeSet};

use countersign::metrics::names::{CertificateUse, Kind, METRICS, Metric};
use countersign::metrics::{Certificate, Metrics, Names};

/// Labels that Prometheus adds, and that buckets have.
const ADDED: [&str; 2] = ["instance", "le"];

/// Words before a list of labels.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// `metric{label="value", …}` in a query.
#[derive(Debug, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<(String, String)>,
}

/// The row of a series, which of a histogram may be one of three.
pub fn row(series: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| {
        let part = series.strip_prefix(metric.name);
        part == Some("") || metric.kind == Kind::Histogram && matches!(part, Some("_bucket" | "_sum" | "_count"))
    })
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

pub fn selectors(query: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    for (place, _) in query.match_indices('{') {
        let metric: String = query[..place].chars().rev().take_while(|one| is_word(*one)).collect();
        let metric: String = metric.chars().rev().collect();
        let inside = query[place + 1..].split('}').next().unwrap();
        // Values hold no quotes of their own here: every second piece is a value.
        let pieces: Vec<&str> = inside.split('"').collect();
        let matchers = pieces.chunks_exact(2).map(|pair| {
            let label: String = pair[0].chars().filter(|one| is_word(*one)).collect();
            (label, pair[1].to_owned())
        });
        found.push(Selector { metric, matchers: matchers.collect() });
    }
    found
}

/// Labels in `by (…)` and its like.
fn listed(query: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (place, _) in query.match_indices('(') {
        let before = query[..place].trim_end();
        let word = before.rsplit(|one| !is_word(one)).next().unwrap_or_default();
        if LISTS.contains(&word) {
            let inside = query[place + 1..].split(')').next().unwrap_or_default();
            found.extend(inside.split(',').map(str::trim).filter(|label| !label.is_empty()));
        }
    }
    found
}

/// The values that each label of each metric can have, where they do not come from the configuration.
pub struct Values(BTreeMap<(String, String), BTreeSet<String>>);

impl Values {
    /// As a process exposes them from its start.
    pub fn known() -> Self {
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let metrics = Metrics::new(&Names::default());
        let certificate = |used| Certificate { used, name: "any".to_owned(), ends: 0 };
        metrics.authorizer_certificates(
            &[CertificateUse::AuthorizerCa, CertificateUse::AuthorizerClient].map(certificate),
        );
        metrics.listener_certificate(Some(certificate(CertificateUse::Listener)));
        for series in selectors(&metrics.encode()) {
            for (label, value) in series.matchers {
                all.entry((series.metric.clone(), label)).or_default().insert(value);
            }
        }
        Self(all)
    }

    fn has(&self, metric: &str, label: &str, value: &str) -> bool {
        // Names of the configuration, versions and hashes.
        let free = ["route", "authorizer", "client", "name", "generation", "version", "commit"].contains(&label);
        let of = |metric: &str| self.0.get(&(metric.to_owned(), label.to_owned()));
        free || ADDED.contains(&label) || value.starts_with('$') || of(metric).is_some_and(|all| all.contains(value))
    }
}

/// Labels that are grouped, matched or joined by, and no metric of the query has; values that no series has.
pub fn complaints(query: &str, values: &Values) -> Vec<String> {
    let words = query.split(|one| !is_word(one)).filter_map(row);
    let of_metrics: BTreeSet<&str> = words.flat_map(|metric| metric.labels.iter().copied()).chain(ADDED).collect();
    let unknown = listed(query).into_iter().filter(|label| !of_metrics.contains(label));
    let mut found: Vec<String> = unknown.map(|label| format!("no metric here has a label `{label}`")).collect();
    for Selector { metric, matchers } in selectors(query) {
        let labels = row(&metric).map_or(&[][..], |row| row.labels);
        for (label, value) in matchers {
            if !labels.contains(&label.as_str()) && !ADDED.contains(&label.as_str()) {
                found.push(format!("`{metric}` has no label `{label}`"));
            }
            let wrong = value.split('|').filter(|value| !values.has(&metric, &label, value));
            found.extend(wrong.map(|value| format!("`{metric}` has no `{label}` of `{value}`")));
        }
    }
    found
}

#[test]
fn labels_that_are_not_there_are_seen() {
    let values = Values::known();
    for good in [
        "sum by (route, instance) (rate(countersign_decisions_total[5m]))",
        "sum without(code) (increase(countersign_kafka_errors_total{code=~\"ssl|resolve\", instance=~\"$instance\"}[5m]))",
        "histogram_quantile(0.5, sum by (le, origin) (countersign_decision_duration_seconds_bucket{origin!=\"fault\"}))",
        "countersign_cache_enabled{route=\"anything\"} * on (instance) group_left () countersign_build_info",
    ] {
        assert_eq!(complaints(good, &values), [""; 0], "{good}");
    }
    for bad in [
        "sum by (rout) (rate(countersign_decisions_total[5m]))",
        "sum without (reason) (countersign_decisions_total)",
        "countersign_faults_total{side=\"own\"}",
        "countersign_faults_total{reason=~\"timeout|time_out\"}",
        "countersign_spool_bytes{route=\"default\"}",
    ] {
        assert_eq!(complaints(bad, &values).len(), 1, "{bad}");
    }
}
