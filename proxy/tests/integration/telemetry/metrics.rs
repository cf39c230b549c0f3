//! The text of `/metrics`: names, types and labels are those of the table, series exist from the start and their
//! number does not grow with what is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign::metrics::names::{CertificateUse, Kind, METRICS};
use countersign::metrics::{Certificate, DecisionPoint, FrontOutcome, Metrics, Names, ShadowName};
use countersign::policy::purpose::ActionClass;
use countersign::policy::verdict::{CacheState, Decision, Origin, Reason};

fn names() -> Names {
    Names {
        routes: vec!["default".into()],
        authorizers: vec!["opa".into()],
        shadows: vec![ShadowName::new("default", "opa")],
        clients: vec!["minio-eu1".into()],
        generation: "a91c03ff".into(),
    }
}

/// The value of exactly this series.
pub fn sample(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("no `{series}`")).split(' ').next().unwrap();
    value.parse().unwrap()
}

/// Every series without its value: labels end with `} `, and a series without labels at the first space.
pub fn series(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once("} ").or_else(|| line.split_once(' ')).unwrap().0).collect()
}

fn point(route: Option<&str>) -> DecisionPoint<'_> {
    DecisionPoint {
        decision: Decision::Deny,
        reason: Reason::Timeout,
        origin: Origin::Fault,
        route,
        action_class: Some(ActionClass::Write),
        advisory: true,
        latency: Duration::from_micros(60),
        exemplar: None,
    }
}

#[test]
fn what_is_exposed_is_what_the_table_says() {
    let metrics = Metrics::new(&names());
    metrics.authorizer_certificates(&[Certificate {
        used: CertificateUse::AuthorizerCa,
        name: "opa".into(),
        ends: 1_800_000_000,
    }]);
    let text = metrics.encode();
    assert!(text.ends_with("# EOF\n"));
    let exposed: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let table: BTreeMap<&str, &str> = METRICS
        .iter()
        .map(|metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
                Kind::Info => "info",
            };
            (metric.family(), kind)
        })
        .collect();
    assert_eq!(exposed, table);
    assert_eq!(table.len(), METRICS.len(), "a name is used once");
    for metric in METRICS {
        assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        assert!(!metric.help.ends_with('.') && !metric.help.is_empty(), "{}", metric.name);
        let sample = text.lines().find(|line| line.starts_with(&format!("{}{{", metric.name)));
        let plain = matches!(metric.kind, Kind::Counter | Kind::Gauge | Kind::Info);
        if plain && !metric.labels.is_empty() {
            let labels = labels_of(sample.unwrap_or_else(|| panic!("no series of `{}`", metric.name)));
            assert_eq!(labels, metric.labels, "{}", metric.name);
        }
    }
}

fn labels_of(line: &str) -> Vec<&str> {
    let inside = line.split_once('{').unwrap().1.rsplit_once('}').unwrap().0;
    inside.split(',').map(|pair| pair.split_once('=').unwrap().0).collect()
}

#[test]
fn series_exist_from_the_start_and_do_not_multiply() {
    let metrics = Metrics::new(&names());
    let before = metrics.encode();
    assert_eq!(
        sample(
            &before,
            "countersign_decisions_total{decision=\"deny\",origin=\"cache\",route=\"default\",action_class=\"kms\",advisory=\"false\"}"
        ),
        0.0
    );
    assert_eq!(sample(&before, "countersign_kafka_errors_total{code=\"other\"}"), 0.0);
    for number in 0..2000 {
        let noise = format!("made up {number}");
        metrics.decision(&point(Some(&noise)));
        metrics.front_request(Some(&noise), FrontOutcome::Refused(Reason::Unauthorized));
        metrics.probe(&noise);
        metrics.authorizer_call(&noise, Reason::Overload, Duration::from_millis(1), None);
        metrics.kafka_error(&noise);
        metrics.cache_enabled(&noise, true);
    }
    let after = metrics.encode();
    assert_eq!(series(&before), series(&after));
    assert_eq!(
        sample(&after, "countersign_faults_total{reason=\"timeout\",side=\"authorizer\",route=\"none\"}"),
        2000.0
    );
    assert_eq!(sample(&after, "countersign_probes_total{client=\"unknown\"}"), 2000.0);
    assert_eq!(sample(&after, "countersign_kafka_errors_total{code=\"other\"}"), 2000.0);
    assert_eq!(
        sample(&after, "countersign_authorizer_requests_total{authorizer=\"unknown\",outcome=\"other\"}"),
        2000.0
    );
    let of_route = series(&after).iter().filter(|name| name.contains("route=\"default\"")).count();
    let of_authorizer =
        series(&after).iter().filter(|name| name.contains("authorizer=\"opa\"") && !name.contains("le=")).count();
    assert!(of_route + of_authorizer <= 300, "{of_route} + {of_authorizer}");
}

#[test]
fn every_combination_is_counted_where_it_belongs() {
    let metrics = Metrics::new(&names());
    for decision in Decision::ALL {
        for origin in Origin::ALL {
            for action_class in ActionClass::ALL {
                for advisory in [false, true] {
                    let it = DecisionPoint {
                        decision,
                        origin,
                        action_class: Some(action_class),
                        advisory,
                        reason: Reason::Denied,
                        ..point(Some("default"))
                    };
                    metrics.decision(&it);
                    let labels = format!(
                        "decision=\"{}\",origin=\"{}\",route=\"default\",action_class=\"{}\",advisory=\"{advisory}\"",
                        decision.as_str(),
                        origin.as_str(),
                        action_class.as_str()
                    );
                    let text = metrics.encode();
                    assert_eq!(sample(&text, &format!("countersign_decisions_total{{{labels}}}")), 1.0);
                }
            }
        }
    }
    for reason in Reason::ALL {
        metrics.authorizer_call("opa", *reason, Duration::ZERO, None);
        metrics.front_request(Some("minio-eu1"), FrontOutcome::Refused(*reason));
        metrics.decision(&DecisionPoint { reason: *reason, ..point(None) });
        let text = metrics.encode();
        let word = reason.as_str();
        if let Some(side) = reason.side() {
            let fault =
                format!("countersign_faults_total{{reason=\"{word}\",side=\"{}\",route=\"none\"}}", side.as_str());
            assert_eq!(sample(&text, &fault), 1.0);
            let refused = format!("countersign_front_requests_total{{client=\"minio-eu1\",outcome=\"{word}\"}}");
            assert_eq!(sample(&text, &refused), 1.0);
        }
    }
    for state in CacheState::ALL {
        metrics.cache_request(state);
        let series = format!("countersign_cache_requests_total{{result=\"{}\"}}", state.as_str());
        assert_eq!(sample(&metrics.encode(), &series), 1.0);
    }
}

#[test]
fn a_kept_trace_is_an_exemplar_of_its_bucket() {
    let metrics = Metrics::new(&names());
    metrics.decision(&point(None));
    assert!(!metrics.encode().contains("trace_id"));
    metrics.decision(&DecisionPoint { exemplar: Some(0xabc), ..point(None) });
    metrics.authorizer_call("opa", Reason::Allowed, Duration::from_micros(60), Some(0xdef));
    let text = metrics.encode();
    let bucket =
        |series: &str| text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series}"));
    let decision = bucket("countersign_decision_duration_seconds_bucket{le=\"0.000075\",origin=\"fault\"}");
    assert!(decision.contains(" 2 # {trace_id=\"00000000000000000000000000000abc\"} "), "{decision}");
    assert_eq!(decision.split(' ').count(), 6, "value and timestamp of the exemplar: {decision}");
    let call = bucket("countersign_authorizer_duration_seconds_bucket{le=\"0.000075\",authorizer=\"opa\"}");
    assert!(call.contains("00000def"), "{call}");
    assert_eq!(sample(&text, "countersign_decision_duration_seconds_bucket{le=\"0.00005\",origin=\"fault\"}"), 0.0);
}

#[test]
fn gauges_come_back_down() {
    let metrics = Metrics::new(&names());
    let held = (metrics.decision_in_flight(), metrics.authorizer_in_flight("opa"));
    let text = metrics.encode();
    assert_eq!(sample(&text, "countersign_decisions_in_flight"), 1.0);
    assert_eq!(sample(&text, "countersign_authorizer_in_flight{authorizer=\"opa\"}"), 1.0);
    drop(held);
    assert_eq!(sample(&metrics.encode(), "countersign_decisions_in_flight"), 0.0);
    assert_eq!(sample(&metrics.encode(), "countersign_authorizer_in_flight{authorizer=\"opa\"}"), 0.0);
}

#[test]
fn a_reload_adds_names_and_changes_the_generation() {
    let metrics = Metrics::new(&names());
    metrics.decision(&point(Some("default")));
    metrics.reload_refused();
    assert_eq!(sample(&metrics.encode(), "countersign_config_last_reload_successful"), 0.0);
    metrics.reloaded(&Names { routes: vec!["new".into()], generation: "b".into(), ..names() });
    metrics.decision(&point(Some("new")));
    let text = metrics.encode();
    for route in ["default", "new"] {
        let faults = format!("countersign_faults_total{{reason=\"timeout\",side=\"authorizer\",route=\"{route}\"}}");
        assert_eq!(sample(&text, &faults), 1.0);
    }
    assert_eq!(sample(&text, "countersign_config_info{generation=\"b\"}"), 1.0);
    assert!(!text.contains("a91c03ff"));
    assert_eq!(sample(&text, "countersign_config_last_reload_successful"), 1.0);
}

/// 1 would say that it is in use, and a fall to 0 is what pages somebody.
#[test]
fn a_route_that_is_gone_has_no_cache() {
    let metrics = Metrics::new(&names());
    let of = |route: &str| format!("countersign_cache_enabled{{route=\"{route}\"}}");
    assert_eq!(sample(&metrics.encode(), &of("default")), 0.0);
    metrics.cache_enabled("default", true);
    assert_eq!(sample(&metrics.encode(), &of("default")), 1.0);
    metrics.reloaded(&Names { routes: vec!["new".into()], ..names() });
    let text = metrics.encode();
    assert!(!text.contains(&of("default")), "{text}");
    assert_eq!(sample(&text, &of("new")), 0.0);
    // It comes back as its decider says.
    metrics.expect(&names());
    metrics.cache_enabled("default", true);
    metrics.reloaded(&names());
    let text = metrics.encode();
    assert_eq!(sample(&text, &of("default")), 1.0);
    assert!(!text.contains(&of("new")), "{text}");
}

#[test]
fn names_of_errors_are_read_by_their_letters() {
    let metrics = Metrics::new(&names());
    for code in ["ssl", "_SSL", "s_s_l"] {
        metrics.kafka_error(code);
    }
    assert_eq!(sample(&metrics.encode(), "countersign_kafka_errors_total{code=\"ssl\"}"), 3.0);
}
