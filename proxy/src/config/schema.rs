//! JSON Schema (2020-12) of the configuration file, from the table of keys: for editors and deployment tools, which know TOML
//! as JSON. It says what one key takes; what keys demand of each other, and what a file or a name resolves to, only `check`
//! can say. Printed by `schema config`.

use serde_json::{Map, Value, json};
use toml::de::DeValue;

use super::keys::{self, Given, Key, Takes, takes};

/// The schema of the whole file.
pub fn schema() -> Value {
    let mut all = table(keys::ROOT);
    if let Some(all) = all.as_object_mut() {
        all.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        all.insert("title".to_owned(), json!("Countersign configuration"));
        all.insert(
            "description".to_owned(),
            json!("What `countersign check FILE` accepts has to meet more than this."),
        );
    }
    all
}

fn table(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|one| (one.name.to_owned(), key(one))).collect();
    let required: Vec<&str> =
        keys.iter().filter(|one| matches!(one.given, Given::Required)).map(|one| one.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn key(key: &Key) -> Value {
    let mut schema = value(&key.takes);
    let Some(members) = schema.as_object_mut() else { return schema };
    let mut about = key.about.to_owned();
    // What a schema has no word for, such as the bounds of a duration.
    if matches!(key.takes, Takes::Size(..) | Takes::Time(..) | Takes::Address) {
        about += &format!(" Takes {}.", takes(&key.takes));
    }
    match key.given {
        Given::Required => {}
        Given::Absent(meaning) => about += &format!(" Not written: {meaning}."),
        Given::Default(text) => drop(members.insert("default".to_owned(), default(text))),
    }
    members.insert("description".to_owned(), about.into());
    schema
}

fn value(takes: &Takes) -> Value {
    /// A number and its unit, or several.
    const WITH_UNIT: &str = "^[0-9].*[A-Za-z]$";
    let texts = |items: Value| json!({ "type": "array", "items": items });
    match takes {
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Takes::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Takes::Size(..) | Takes::Time(..) => json!({ "type": "string", "pattern": WITH_UNIT }),
        Takes::Text | Takes::Address => json!({ "type": "string" }),
        Takes::Texts => texts(json!({ "type": "string" })),
        Takes::Word(words) => json!({ "enum": words }),
        Takes::Words(words) => texts(json!({ "enum": words })),
        Takes::Secret => secret(),
        Takes::Properties => {
            json!({ "type": "object", "additionalProperties": { "anyOf": [{ "type": ["string", "number", "boolean"] }, secret()] } })
        }
        Takes::Table(keys) => table(keys),
        Takes::Tables(keys) => texts(table(keys)),
    }
}

/// Exactly one of its members.
fn secret() -> Value {
    let mut schema = table(keys::SECRET);
    if let Some(members) = schema.as_object_mut() {
        members.insert("minProperties".to_owned(), 1.into());
        members.insert("maxProperties".to_owned(), 1.into());
    }
    schema
}

/// A default is TOML in the table of keys.
fn default(text: &str) -> Value {
    DeValue::parse(text).map_or(Value::Null, |value| json_of(value.get_ref()))
}

fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Integer(number) => number.as_str().parse::<i64>().map_or(Value::Null, Value::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Datetime(_) | DeValue::Table(_) => Value::Null,
    }
}
