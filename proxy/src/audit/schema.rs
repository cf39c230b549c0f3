//! JSON Schema (2020-12) of every record type, from the very types that are serialized. Published open: version 1 may
//! gain members and enum values. Tests use the closed form, which knows nothing more. Printed by `schema record`.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::audit::envelope::Kind;
use crate::audit::lifecycle::{Amendment, CheckpointData, Event};
use crate::audit::record::DecisionData;
use crate::audit::shadow::ShadowData;
use crate::audit::stub::StubData;

/// Whether unknown members and enum values are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Open,
    Closed,
}

/// The schema of a record, whichever its type.
pub fn record(form: Form) -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12().for_serialize());
    let mut variants = vec![
        variant::<DecisionData<'_>>(&mut generator, Kind::Decision),
        variant::<Event>(&mut generator, Kind::Lifecycle),
        variant::<Amendment>(&mut generator, Kind::Amendment),
        variant::<CheckpointData>(&mut generator, Kind::Checkpoint),
        variant::<StubData>(&mut generator, Kind::Stub),
        variant::<ShadowData<'_>>(&mut generator, Kind::Shadow),
    ];
    let mut definitions = Value::Object(generator.take_definitions(true));
    definitions.as_object_mut().map(|all| all.insert("Chain".to_owned(), chain()));
    for schema in variants.iter_mut().chain([&mut definitions]) {
        tighten(schema, form);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Countersign record, version 1",
        "description": "The value of one message of the decisions topic, and of one record of the spool.",
        "anyOf": variants,
        "$defs": definitions,
    })
}

/// The envelope around one type of data.
fn variant<T: JsonSchema>(generator: &mut SchemaGenerator, kind: Kind) -> Value {
    let mut data = T::json_schema(generator).to_value();
    chained(&mut data);
    let mut properties = json!({
        "specversion": { "const": "1.0" },
        "id": { "type": "string", "format": "uuid" },
        "source": { "type": "string", "pattern": "^/countersign/" },
        "type": { "const": kind.as_str() },
        "time": { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z$" },
        "data": data,
    });
    // The one member that may be absent: a decision without a bucket has no subject.
    let optional =
        json!({ "subject": { "type": "string", "description": "Percent-encoded, as in S3 notifications." } });
    if let (Some(all), Value::Object(more)) = (properties.as_object_mut(), optional)
        && kind == Kind::Decision
    {
        all.extend(more);
    }
    json!({ "type": "object", "properties": properties })
}

/// Adds the chain, the last member of `data` in every record.
fn chained(data: &mut Value) {
    for name in ["oneOf", "anyOf"] {
        if let Some(Value::Array(all)) = data.get_mut(name) {
            return all.iter_mut().for_each(chained);
        }
    }
    if let Some(object) = data.as_object_mut() {
        let properties = object.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("chain".to_owned(), json!({ "$ref": "#/$defs/Chain" }));
        }
    }
}

fn chain() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "seq": { "type": "integer", "minimum": 0 },
            "prev": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
        },
    })
}

/// Every member is required; in the closed form nothing else is allowed, in the open one enums are only examples.
fn tighten(schema: &mut Value, form: Form) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| tighten(item, form)),
        Value::Object(object) => {
            if form == Form::Open {
                exemplify(object);
            }
            object.values_mut().for_each(|inner| tighten(inner, form));
            require_all(object, form);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A closed list of words becomes examples of them.
fn exemplify(object: &mut Map<String, Value>) {
    let Some(words) = words(object) else { return };
    object.remove("enum");
    object.remove("oneOf");
    object.entry("type").or_insert_with(|| json!("string"));
    object.insert("examples".to_owned(), Value::Array(words));
}

/// The words of an enum: as a list or, where they are documented one by one, as alternatives.
fn words(object: &Map<String, Value>) -> Option<Vec<Value>> {
    let listed = |schema: &Map<String, Value>| match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(words)), _) => Some(words.clone()),
        (_, word) => Some(vec![word?.clone()]),
    };
    let words = match (object.get("oneOf"), object.get("enum")) {
        (Some(Value::Array(each)), _) => {
            each.iter().map(|one| listed(one.as_object()?)).collect::<Option<Vec<_>>>()?.concat()
        }
        (_, Some(Value::Array(words))) => words.clone(),
        _ => return None,
    };
    words.iter().all(|word| word.is_string() || word.is_null()).then_some(words)
}

fn require_all(object: &mut Map<String, Value>, form: Form) {
    // A member that happens to be called `properties` is not one: those of a schema are objects themselves.
    let Some(Value::Object(properties)) = object.get("properties") else { return };
    if !properties.values().all(|schema| schema.is_object() || schema.is_boolean()) {
        return;
    }
    let names: Vec<Value> = properties.keys().filter(|name| *name != "subject").cloned().map(Value::String).collect();
    object.insert("required".to_owned(), Value::Array(names));
    if form == Form::Closed {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways in which an enum may be written; events are told apart by theirs, and stay.
    #[test]
    fn the_open_form_takes_words_that_are_not_there_yet() {
        let (open, closed) = (record(Form::Open), record(Form::Closed));
        for name in ["Reason", "Decision", "Purpose", "CacheState"] {
            let of = |schema: &Value| schema["$defs"][name].clone();
            assert_eq!(of(&open)["type"], "string", "{name}");
            assert!(of(&open).get("enum").is_none() && of(&open).get("oneOf").is_none(), "{name}: {}", of(&open));
            assert!(of(&closed).get("enum").or(of(&closed).get("oneOf")).is_some(), "{name}");
        }
        assert!(open["$defs"]["Reason"]["examples"].as_array().is_some_and(|all| all.contains(&json!("timeout"))));
        assert!(open["anyOf"][1]["properties"]["data"]["oneOf"].is_array());
    }
}
