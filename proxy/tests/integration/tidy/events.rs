//! `docs/EVENTS.md` against the schema of the records, both ways: every member, event and reason is in it, and nothing
//! else; every word that a member may have is at least named; and its sample is a record.

use std::collections::{BTreeMap, BTreeSet};

use countersign::audit::schema::{Form, record};
use countersign::policy::advice::Advice;
use countersign::policy::verdict::Reason;
use serde_json::Value;

use super::files;

type Names = BTreeSet<String>;

fn document() -> String {
    std::fs::read_to_string(files::root().join("docs/EVENTS.md")).unwrap()
}

/// The text below a heading, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let from = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading `{heading}`")).1;
    from.split("\n## ").next().unwrap()
}

/// The cells of each row of the section's first table, without its head.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let table = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> Names {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn first_cells(section: &str) -> Names {
    rows(section).iter().flat_map(|row| quoted(row[0])).collect()
}

/// Paths of the members that hold a value; `[]` stands for the elements of a list of objects.
fn members(schema: &Value, all: &Value, path: &str) -> Names {
    if let Some(name) = schema["$ref"].as_str() {
        return members(&all["$defs"][name.trim_start_matches("#/$defs/")], all, path);
    }
    let several = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    if let Some(several) = several.filter(|_| schema["properties"].is_null()) {
        let some = several.iter().filter(|one| one["type"] != "null");
        return some.flat_map(|one| members(one, all, path)).collect();
    }
    if let Some(properties) = schema["properties"].as_object() {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        return properties.iter().flat_map(|(name, inner)| members(inner, all, &below(name))).collect();
    }
    if schema["items"].is_object() {
        let elements = members(&schema["items"], all, &format!("{path}[]"));
        if elements.len() > 1 {
            return elements;
        }
    }
    [path.to_owned()].into()
}

/// Every word of every closed list.
fn words(schema: &Value) -> Names {
    let own = schema["enum"].as_array().into_iter().flatten().chain([&schema["const"]]).filter_map(Value::as_str);
    let mut found: Names = own.map(str::to_owned).collect();
    match schema {
        Value::Array(all) => found.extend(all.iter().flat_map(words)),
        Value::Object(all) => found.extend(all.values().flat_map(words)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

fn difference(what: &str, is: &Names, told: &Names) -> Vec<String> {
    let untold = is.difference(told).map(|name| format!("{what}: `{name}` is not in docs/EVENTS.md"));
    let invented = told.difference(is).map(|name| format!("{what}: `{name}` is in docs/EVENTS.md only"));
    untold.chain(invented).collect()
}

/// By event, its members without those that all events have.
fn events(lifecycle: &Value, all: &Value) -> BTreeMap<String, Names> {
    let of = |event: &Value| {
        let mut names = members(event, all, "");
        names.retain(|name| name != "event" && !name.starts_with("chain."));
        (event["properties"]["event"]["const"].as_str().unwrap().to_owned(), names)
    };
    lifecycle["oneOf"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn every_member_is_explained() {
    let (text, all) = (document(), record(Form::Closed));
    let data = |variant: usize| &all["anyOf"][variant]["properties"]["data"];
    let envelope: Names = all["anyOf"][0]["properties"].as_object().unwrap().keys().cloned().collect();
    let mut amendment = members(data(2), &all, "");
    amendment.retain(|name| !name.starts_with("chain."));
    let mut found = difference("envelope", &envelope, &first_cells(section(&text, "The envelope")));
    found.extend(difference("decision", &members(data(0), &all, ""), &first_cells(section(&text, "A decision"))));
    let mut stub = members(data(4), &all, "");
    stub.retain(|name| !name.starts_with("chain."));
    found.extend(difference("stub", &stub, &first_cells(section(&text, "Stubs"))));
    let mut shadow = members(data(5), &all, "");
    shadow.retain(|name| !name.starts_with("chain."));
    found.extend(difference("shadow", &shadow, &first_cells(section(&text, "Shadows"))));
    found.extend(difference("amendment", &amendment, &first_cells(section(&text, "Amendments"))));
    let told = rows(section(&text, "Lifecycle events"));
    let told: BTreeMap<String, Names> = told.iter().map(|row| (row[0].replace('`', ""), quoted(row[1]))).collect();
    let events = events(data(1), &all);
    found.extend(difference("event", &events.keys().cloned().collect(), &told.keys().cloned().collect()));
    for (event, names) in &events {
        found.extend(told.get(event).map(|told| difference(event, names, told)).unwrap_or_default());
    }
    files::fail_on(&found);
}

/// The table of what a record says about people names every member of a decision, and says of each how personal it is.
#[test]
fn every_member_has_its_class() {
    let all = record(Form::Closed);
    let text = document();
    // The first table of the section is that of the settings.
    let part = section(&text, "Personal data").split_once("| member | class |").expect("the table of classes").1;
    let table = format!("| member | class |{part}");
    let rows = rows(&table);
    let decision = &all["anyOf"][0];
    let mut is = members(&decision["properties"]["data"], &all, "");
    is.extend(members(decision, &all, "").into_iter().filter(|name| !name.starts_with("data.")));
    is.extend(["peers", "before"].map(str::to_owned));
    let told: Names = rows.iter().flat_map(|row| quoted(row[0])).collect();
    let mut found = difference("personal data", &is, &told);
    let settings = ["account", "object", "reported_ip"];
    for row in &rows {
        if !["0", "1", "2", "3"].contains(&row[1])
            || !quoted(row[2]).iter().all(|name| settings.contains(&name.as_str()))
        {
            found.push(format!("personal data: {} has the class `{}` and is hidden by `{}`", row[0], row[1], row[2]));
        }
        // What is personal is hidden by something.
        if matches!(row[1], "2" | "3") && row[2].trim_matches(['–', ' ']).is_empty() {
            found.push(format!("personal data: nothing hides {}", row[0]));
        }
    }
    files::fail_on(&found);
}

#[test]
fn every_reason_has_its_row_and_its_side() {
    let text = document();
    let rows = rows(section(&text, "Reasons"));
    let told: BTreeMap<String, &str> =
        rows.iter().flat_map(|row| quoted(row[0]).into_iter().map(|reason| (reason, row[1]))).collect();
    let is: BTreeMap<String, &str> = Reason::ALL
        .iter()
        .map(|reason| (reason.as_str().to_owned(), reason.side().map_or("–", |side| side.as_str())))
        .collect();
    assert_eq!(told, is);
}

/// Text without backticks, and links without their targets.
fn plain(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell;
    while let Some((before, link)) = rest.split_once('[') {
        let (words, after) = link.split_once("](").unwrap_or((link, ")"));
        text += &format!("{before}{words}");
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    (text + rest).replace('`', "")
}

/// `explain` says what the page says.
#[test]
fn advice_is_that_of_the_page() {
    let text = document();
    let mut all = Vec::new();
    for row in rows(section(&text, "Reasons")) {
        for word in quoted(row[0]) {
            let reason = Reason::ALL.iter().find(|reason| reason.as_str() == word).unwrap();
            let advice = Advice::on(*reason);
            let told = (plain(row[2]), plain(row[3]));
            let is = (advice.meaning.to_owned(), advice.what_to_do.unwrap_or("–").to_owned());
            if told != is {
                all.push(format!("{word}: {told:?} is {is:?} in `explain`"));
            }
        }
    }
    files::fail_on(&all);
}

/// It is what a reader copies.
#[test]
fn the_sample_is_a_decision() {
    let text = document();
    let samples: Vec<&str> = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [sample] = samples[..] else { panic!("{} samples", samples.len()) };
    let sample: Value = serde_json::from_str(sample).unwrap();
    let validator = jsonschema::validator_for(&record(Form::Closed)).unwrap();
    let errors: Vec<String> = validator.iter_errors(&sample).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    assert_eq!(sample["type"], "io.countersign.decision.v1");
}

#[test]
fn every_word_is_named() {
    let named = quoted(&document().replace("```", ""));
    let unnamed = words(&record(Form::Closed)).into_iter().filter(|word| !named.contains(word));
    files::fail_on(&unnamed.map(|word| format!("`{word}` is nowhere in docs/EVENTS.md")).collect::<Vec<_>>());
}

#[test]
fn the_rule_reads_tables_and_schemas() {
    assert_eq!(plain("is [left `alone`](A.md#b) for `a` while"), "is left alone for a while");
    let text = "\n## One\ntext `x`\n| a | b |\n|---|---|\n| `m`, `n` | `o` |\n\n| c |\n|---|\n| `p` |\n## Two\n";
    assert_eq!(first_cells(section(text, "One")), ["m", "n"].map(str::to_owned).into());
    let all = serde_json::json!({ "$defs": { "D": { "type": "object", "properties": { "e": {}, "f": {} } } } });
    let schema = serde_json::json!({ "properties": {
        "a": { "anyOf": [{ "$ref": "#/$defs/D" }, { "type": "null" }] },
        "b": { "type": "array", "items": { "$ref": "#/$defs/D" } },
        "c": { "type": "array", "items": { "enum": ["w"] } },
    }});
    assert_eq!(members(&schema, &all, ""), ["a.e", "a.f", "b[].e", "b[].f", "c"].map(str::to_owned).into());
    assert_eq!(words(&schema), ["w".to_owned()].into());
    assert_eq!(difference("", &["a".to_owned()].into(), &["b".to_owned()].into()).len(), 2);
}
