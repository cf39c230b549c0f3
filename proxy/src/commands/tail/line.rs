//! A record as one line for people. Values are callers' text: nothing of it may move the cursor, change colours or
//! reorder the line.

use std::fmt::Write as _;

use serde_json::Value;

use crate::commands::readers::printable::escape;

/// Whether a line has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

impl Style {
    /// Colours only for people: on a terminal, unless `NO_COLOR` is set.
    pub fn of(terminal: bool, no_color: bool) -> Self {
        if terminal && !no_color { Self::Colour } else { Self::Plain }
    }
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// Without the line end.
pub fn text(record: &Value, style: Style) -> String {
    let mut line = member(record, "/time");
    if record.pointer("/data/decision").is_some() {
        decision(&mut line, record, style);
    } else {
        other(&mut line, record, style);
    }
    line.push_str("  ");
    line.push_str(&member(record, "/id"));
    line
}

fn decision(line: &mut String, record: &Value, style: Style) {
    let decision = member(record, "/data/decision");
    let advisory = record.pointer("/data/advisory").and_then(Value::as_bool).unwrap_or(false);
    let colour = match (decision.as_str(), advisory) {
        ("allow", _) => GREEN,
        (_, true) => DIM,
        (_, false) => RED,
    };
    let word = if advisory { format!("{decision} (advisory)") } else { decision };
    paint(line, &word, colour, style);
    for at in ["/data/actor/principal", "/data/action"] {
        line.push_str("  ");
        line.push_str(&member(record, at));
    }
    line.push_str("  ");
    line.push_str(&resource(record));
    for at in ["/data/reason", "/data/origin"] {
        line.push_str("  ");
        line.push_str(&member(record, at));
    }
    line.push_str("  ");
    match record.pointer("/data/latency_us").and_then(Value::as_u64) {
        Some(us) if us < 1000 => append(line, format_args!("{us}us")),
        Some(us) => append(line, format_args!("{}.{}ms", us / 1000, us % 1000 / 100)),
        None => line.push('-'),
    }
}

/// Lifecycle records, amendments, checkpoints: type, event and the members that are plain values.
fn other(line: &mut String, record: &Value, style: Style) {
    let kind = member(record, "/type");
    let kind = kind.trim_start_matches("io.countersign.").trim_end_matches(".v1");
    paint(line, kind, DIM, style);
    let Some(data) = record.get("data").and_then(Value::as_object) else { return };
    if let Some(event) = data.get("event") {
        line.push_str("  ");
        line.push_str(&shown(event));
    }
    for (name, value) in data.iter().filter(|(name, _)| !matches!(name.as_str(), "event" | "chain" | "note")) {
        append(line, format_args!("  {}={}", escape(name), shown(value)));
    }
}

/// What was asked for, for show.
pub fn resource(record: &Value) -> String {
    let part = |at| record.pointer(at).filter(|value| !value.is_null()).map(shown);
    match (part("/data/resource/bucket"), part("/data/resource/object"), part("/data/resource/target")) {
        (Some(bucket), Some(object), _) => format!("{bucket}/{object}"),
        (Some(bucket), None, _) => bucket,
        (None, _, Some(target)) => target,
        (None, _, None) => "-".to_owned(),
    }
}

/// A member for show; `-` where it is missing or null.
pub fn member(record: &Value, at: &str) -> String {
    record.pointer(at).map_or_else(|| "-".to_owned(), shown)
}

/// A string without its quotes, null as `-`, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => escape(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => escape(&value.to_string()),
    }
}

fn paint(line: &mut String, text: &str, colour: &str, style: Style) {
    match style {
        Style::Plain => append(line, format_args!("  {text}")),
        Style::Colour => append(line, format_args!("  {colour}{text}{RESET}")),
    }
}

fn append(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    line.write_fmt(text).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::readers::printable::hides;

    fn record() -> Value {
        json!({"id": "01939e2b", "type": "io.countersign.decision.v1", "time": "2026-11-23T13:00:00.123456Z",
            "data": {"decision": "deny", "reason": "denied", "origin": "cache", "advisory": false,
                "action": "s3:GetObject", "latency_us": 1023, "actor": {"principal": "alice"},
                "resource": {"bucket": "photos", "object": "2026/a.jpg", "target": null}}})
    }

    #[test]
    fn a_decision_is_one_line() {
        assert_eq!(
            text(&record(), Style::Plain),
            "2026-11-23T13:00:00.123456Z  deny  alice  s3:GetObject  photos/2026/a.jpg  denied  cache  1.0ms  01939e2b"
        );
        assert!(text(&record(), Style::Colour).contains("  \x1b[31mdeny\x1b[0m  alice"));
    }

    #[test]
    fn what_is_missing_is_a_dash() {
        let bare = json!({"data": {"decision": "deny", "advisory": true}});
        assert_eq!(text(&bare, Style::Plain), "-  deny (advisory)  -  -  -  -  -  -  -");
    }

    #[test]
    fn callers_text_cannot_act_on_the_terminal() {
        let mut record = record();
        record["data"]["resource"]["object"] = json!("\x1b]0;owned\x07\r\n2026 allow\u{202e}\u{9b}31m\\");
        record["data"]["actor"]["principal"] = json!("\x1b[32mallow");
        let line = text(&record, Style::Plain);
        assert!(!line.chars().any(|c| c.is_control() || hides(c)), "{line:?}");
        assert!(line.contains(r"photos/\u{1b}]0;owned\u{7}\u{d}\u{a}2026 allow\u{202e}\u{9b}31m\\"), "{line}");
    }

    #[test]
    fn a_long_value_is_cut() {
        let mut record = record();
        record["data"]["resource"]["object"] = json!("x".repeat(5000));
        assert!(text(&record, Style::Plain).len() < 400);
    }

    #[test]
    fn lifecycle_records_are_lines_too() {
        let record = json!({"id": "7", "type": "io.countersign.lifecycle.v1", "time": "t",
            "data": {"event": "outage_ended", "cause": "audit", "refused": {"overload": 3}, "chain": {"seq": 1}}});
        assert_eq!(text(&record, Style::Plain), "t  lifecycle  outage_ended  cause=audit  refused={\"overload\":3}  7");
    }

    #[test]
    fn colours_are_for_people_who_want_them() {
        assert_eq!(Style::of(true, false), Style::Colour);
        assert_eq!(Style::of(true, true), Style::Plain);
        assert_eq!(Style::of(false, false), Style::Plain);
    }
}
