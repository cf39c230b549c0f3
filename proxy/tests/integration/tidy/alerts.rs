//! Alert rules as somebody meets them at night: each says how bad it is, whose fault, what to do first and where to read
//! on; each names metrics and labels that exist. Whether they fire is tested in `observed::alerts`.

use serde_json::Value;

use super::documentation::anchor;
use super::files;
use super::names::{exists, metrics_in};
use super::promql::{self, Selector, Values};

const RUNBOOK: &str = "docs/ALERTS.md";

fn read(name: &str) -> Value {
    serde_yaml::from_str(&std::fs::read_to_string(files::root().join("dashboards").join(name)).unwrap()).unwrap()
}

fn alerts() -> Vec<Value> {
    let file = read("alerts.yml");
    let groups = file["groups"].as_array().unwrap().iter();
    let alerts: Vec<Value> = groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
    assert!(alerts.len() >= 15, "the rules were not found");
    alerts
}

/// Anchor and text of each section of the runbook.
fn sections() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(files::root().join(RUNBOOK)).unwrap();
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            found.push((anchor(line.trim_start_matches('#').trim()), String::new()));
        } else if let Some((_, body)) = found.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    found
}

fn complaints(alert: &Value, sections: &[(String, String)], values: &Values) -> Vec<String> {
    let text = |path: &str| alert.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let expression = text("/expr");
    let mut found = promql::complaints(expression, values);
    let unknown = metrics_in(expression).into_iter().filter(|word| !exists(word));
    found.extend(unknown.map(|word| format!("no metric `{word}`")));
    if !["critical", "warning"].contains(&text("/labels/severity")) {
        found.push("its severity is neither `critical` nor `warning`".to_owned());
    }
    if text("/for").is_empty() || text("/annotations/summary").is_empty() {
        found.push("no `for`, or no summary".to_owned());
    }
    let description = text("/annotations/description");
    for word in ["to blame", "First: "] {
        if !description.contains(word) {
            found.push(format!("its description does not say `{word}`"));
        }
    }
    let section = text("/annotations/runbook_url").strip_prefix(RUNBOOK).and_then(|rest| rest.strip_prefix('#'));
    let section = section.and_then(|anchor| sections.iter().find(|(known, _)| known == anchor));
    match section {
        Some((_, body)) if body.len() > 200 => {}
        Some(_) => found.push("its section of the runbook says nothing".to_owned()),
        None => found.push("it has no section of the runbook".to_owned()),
    }
    // What a template names must be on the alert: labels that are grouped away are not.
    for annotation in ["summary", "description"] {
        let text = text(&format!("/annotations/{annotation}"));
        for part in text.split("$labels.").skip(1) {
            let label: String = part.chars().take_while(|one| one.is_ascii_alphanumeric() || *one == '_').collect();
            let has = |word: &str| promql::row(word).is_some_and(|row| row.labels.contains(&label.as_str()));
            let on_a_metric = metrics_in(expression).iter().any(|word| has(word));
            let gone = expression
                .split("without (")
                .skip(1)
                .all(|rest| rest.split(')').next().is_some_and(|list| list.split(", ").any(|gone| gone == label)))
                && expression.contains("without (");
            if label != "instance" && (!on_a_metric || gone) {
                found.push(format!("its {annotation} names `{label}`, which it has not"));
            }
        }
    }
    found
}

#[test]
fn every_alert_says_whose_fault_it_is_and_what_to_do() {
    let (sections, values) = (sections(), Values::known());
    let mut all = Vec::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        all.extend(complaints(&alert, &sections, &values).into_iter().map(|why| format!("{name}: {why}")));
    }
    files::fail_on(&all);
}

#[test]
fn the_rule_sees_what_an_alert_lacks() {
    let bad = serde_json::json!({ "alert": "A", "expr": "sum without (route) (countersign_faults_total) > 0", "labels": {},
        "annotations": { "summary": "{{ $labels.route }} of {{ $labels.instance }}", "runbook_url": "docs/ALERTS.md#no" } });
    let found = complaints(&bad, &sections(), &Values::known());
    assert_eq!(found.len(), 6, "{found:#?}");
}

/// A case about series that no process has would prove nothing.
#[test]
fn cases_are_about_series_that_exist() {
    let (values, cases) = (Values::known(), read("alerts.test.yml"));
    let mut all = Vec::new();
    for case in cases["tests"].as_array().unwrap() {
        for series in case["input_series"].as_array().unwrap() {
            let series = series["series"].as_str().unwrap();
            all.extend(promql::complaints(series, &values).into_iter().map(|why| format!("{series}: {why}")));
            let [Selector { metric, matchers }] = &promql::selectors(series)[..] else { panic!("{series}") };
            let mut has: Vec<&str> = matchers.iter().map(|(label, _)| label.as_str()).collect();
            let mut needs: Vec<&str> = promql::row(metric).unwrap_or_else(|| panic!("{series}")).labels.to_vec();
            needs.push("instance");
            if metric.ends_with("_bucket") {
                needs.push("le");
            }
            has.sort_unstable();
            needs.sort_unstable();
            if has != needs {
                all.push(format!("{series}: its labels would be {needs:?}"));
            }
        }
    }
    files::fail_on(&all);
}

/// The status page names alerts, whose sections say what to do.
#[test]
fn the_status_page_names_alerts_that_exist() {
    let code = std::fs::read_to_string(files::root().join("proxy/src/status/problems.rs")).unwrap();
    let named: Vec<&str> =
        code.split('"').filter(|text| text.starts_with("Countersign") && !text.contains(' ')).collect();
    assert!(named.len() >= 10, "{named:?}");
    let known: Vec<Value> = alerts().iter().map(|alert| alert["alert"].clone()).collect();
    let unknown = named.iter().filter(|name| !known.iter().any(|alert| alert == **name));
    files::fail_on(&unknown.map(|name| format!("the status page names no alert: {name}")).collect::<Vec<_>>());
}
