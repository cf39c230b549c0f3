//! Metrics as dashboards, alerts, documentation, sample configurations and tests name them, against the table they come
//! from; and what a dashboard must have to be of use to a stranger.

use std::collections::BTreeSet;

use countersign::metrics::names::{Kind, METRICS};
use serde_json::Value;

use super::files::{self, File};
use super::promql::{self, Values};

/// What an operator reads.
fn readable() -> Vec<File> {
    let files = files::with_ending(&[".json", ".yaml", ".yml", ".md", ".toml", ".py", ".rules"]);
    let where_metrics_are_named = |file: &File| {
        let path = file.path.as_str();
        path == "README.md" || ["dashboards/", "docs/", "config/"].iter().any(|folder| path.starts_with(folder))
    };
    files.into_iter().filter(where_metrics_are_named).collect()
}

/// Words that can only be metrics. A trailing `_` or `*` stands for several.
pub fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !is_word(character));
    let ours =
        words.filter(|word| word.starts_with("countersign_") || PROCESS.iter().any(|start| word.starts_with(start)));
    ours.map(str::to_owned).collect()
}

/// Beginnings of the metrics every process has.
const PROCESS: [&str; 5] = ["process_resident_", "process_cpu_", "process_open_", "process_max_", "process_start_"];

pub fn exists(word: &str) -> bool {
    METRICS.iter().any(|metric| {
        let histogram = metric.kind == Kind::Histogram;
        let part = word.strip_prefix(metric.name);
        part == Some("")
            || (histogram && matches!(part, Some("_bucket" | "_sum" | "_count")))
            || (word.ends_with('_') && metric.name.starts_with(word))
    })
}

#[test]
fn the_rule_knows_metrics_from_words() {
    let text = "rate(countersign_decisions_total{a=\"b\"}[5m]) of the process_open_fds, `countersign_spool_*`, countersign.toml";
    let found: Vec<String> = metrics_in(text).into_iter().collect();
    assert_eq!(found, ["countersign_decisions_total", "countersign_spool_", "process_open_fds"]);
    assert!(found.iter().all(|word| exists(word)));
    assert!(exists("countersign_decision_duration_seconds_bucket"));
    for wrong in
        ["countersign_decisions", "countersign_decisions_total_bucket", "countersign_made_up_", "process_open_files"]
    {
        assert!(!exists(wrong), "{wrong}");
    }
}

#[test]
fn only_metrics_that_exist_are_named() {
    let mut unknown = Vec::new();
    for file in readable() {
        let words = metrics_in(&file.text).into_iter().filter(|word| !exists(word));
        unknown.extend(words.map(|word| format!("{}: no metric `{word}`", file.path)));
    }
    files::fail_on(&unknown);
}

/// A test that looks at a metric that there is not finds the zero that it may be waiting for.
#[test]
fn tests_name_only_metrics_that_exist() {
    let ours = |file: &File| {
        let path = file.path.as_str();
        // Here and beside are samples of wrong ones.
        (path.starts_with("proxy/tests/") || path.starts_with("loadtest/src/")) && !path.contains("/tidy/")
    };
    let (mut named, mut unknown) = (BTreeSet::new(), Vec::new());
    for file in files::rust().into_iter().filter(ours) {
        let words = metrics_in(&file.text);
        let wrong = words.iter().filter(|word| !exists(word));
        unknown.extend(wrong.map(|word| format!("{}: no metric `{word}`", file.path)));
        named.extend(words);
    }
    assert!(named.len() > 20, "{named:?}");
    files::fail_on(&unknown);
}

#[test]
fn every_metric_is_shown_or_explained_somewhere() {
    let shown = readable().into_iter().filter(|file| {
        file.path.ends_with(".json") && file.path.starts_with("dashboards/") || file.path == "docs/OPERATIONS.md"
    });
    let words: BTreeSet<String> = shown.flat_map(|file| metrics_in(&file.text)).collect();
    let mentions = |name: &str| words.iter().any(|word| word.strip_suffix("_bucket").unwrap_or(word) == name);
    let missing = METRICS.iter().filter(|metric| !mentions(metric.name));
    files::fail_on(&missing.map(|metric| format!("`{}` is nowhere", metric.name)).collect::<Vec<_>>());
}

#[test]
fn dashboards_can_be_imported_and_explain_themselves() {
    let dashboards: Vec<File> = readable()
        .into_iter()
        .filter(|file| file.path.starts_with("dashboards/") && file.path.ends_with(".json"))
        .collect();
    assert!(!dashboards.is_empty());
    let mut all = Vec::new();
    for file in dashboards {
        let page: Value = serde_json::from_str(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        all.extend(complaints(&page, &Values::known()).into_iter().map(|why| format!("{}: {why}", file.path)));
    }
    files::fail_on(&all);
}

/// What would make a panel of nothing look as if it showed something.
const CONSTANTS: [&str; 3] = ["vector(", "scalar(", "absent("];

/// Units that Grafana knows and that are used here. A unit it does not know is shown as a suffix.
const UNITS: [&str; 6] = ["short", "ops", "s", "bytes", "Bps", "percentunit"];

fn complaints(page: &Value, values: &Values) -> Vec<String> {
    let mut found = Vec::new();
    if page["schemaVersion"].as_i64().is_none_or(|version| version < 39) || !page["uid"].is_string() {
        found.push("not a dashboard of schema 39 with a uid".to_owned());
    }
    let variables = page["templating"]["list"].as_array().cloned().unwrap_or_default();
    for needed in ["datasource", "instance"] {
        if !variables.iter().any(|variable| variable["name"] == needed) {
            found.push(format!("no variable `{needed}`"));
        }
    }
    if page["links"][0]["tags"][0] != "countersign" || page["tags"][0] != "countersign" {
        found.push("no links to the other dashboards".to_owned());
    }
    if !page["time"]["from"].is_string() || !page["refresh"].is_string() {
        found.push("no range of time, or no refresh".to_owned());
    }
    for panel in page["panels"].as_array().cloned().unwrap_or_default() {
        let title = panel["title"].as_str().unwrap_or_default();
        if panel["type"] == "row" {
            continue;
        }
        let defaults = &panel["fieldConfig"]["defaults"];
        if panel["description"].as_str().is_none_or(|text| text.len() < 10)
            || !defaults["unit"].as_str().is_some_and(|unit| UNITS.contains(&unit))
            || defaults["thresholds"]["steps"].as_array().is_none_or(Vec::is_empty)
        {
            found.push(format!("panel `{title}` has no description, unit or threshold"));
        }
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let asks = |target: &Value| {
            let expression = target["expr"].as_str().unwrap_or_default();
            expression.contains("$instance") && CONSTANTS.iter().all(|constant| !expression.contains(constant))
        };
        for target in &targets {
            let wrong = promql::complaints(target["expr"].as_str().unwrap_or_default(), values);
            found.extend(wrong.into_iter().map(|why| format!("panel `{title}`: {why}")));
        }
        if targets.is_empty() || !targets.iter().all(asks) || panel["datasource"]["uid"] != "${datasource}" {
            found.push(format!("panel `{title}` asks for nothing, for all instances, or for what is always there"));
        }
    }
    found
}
