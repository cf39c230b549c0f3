//! Properties that hold for every sequence of bytes, as bodies for property tests and for a fuzzer: each takes bytes
//! and panics where a property is broken. Not part of the proxy's work; called by tests only.
//!
//! The other reader is serde_json: its `Value` for what a text means, its `IgnoredAny` for whether it is JSON at all.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::policy::request::{Request, Text};
use crate::policy::verdict::{Decision, Reason};
use crate::wire::strict::{self, Limits, Node, StrictError};
use crate::wire::{answer, question};

/// The strict reader against serde_json.
pub fn strict(data: &[u8]) {
    for finite in [false, true] {
        let limits = Limits { depth: 32, members: 64, elements: 64, finite };
        let theirs = serde_json::from_slice::<Value>(data);
        match strict::read(data, limits) {
            Ok(node) => {
                assert!(serde_json::from_slice::<IgnoredAny>(data).is_ok(), "we accept what is not JSON");
                match theirs {
                    Ok(value) => assert!(same(&node, &value), "we read {node:?}, they {value:?}"),
                    Err(error) => assert!(!finite && error.to_string().contains("number out of range"), "{error}"),
                }
            }
            Err(StrictError::NotUtf8 | StrictError::Syntax | StrictError::TrailingData | StrictError::NumberRange) => {
                assert!(theirs.is_err(), "we refuse what they read as {theirs:?}");
            }
            Err(StrictError::DuplicateMember | StrictError::TooDeep | StrictError::TooMany) => {}
        }
    }
}

/// An answer that we take for an allow plainly says so to everybody.
pub fn answer(data: &[u8]) {
    let Ok(answer) = answer::read(200, None, false, data) else { return };
    // Only a number that serde_json cannot convert keeps it from reading what we have read.
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let result = value.get("result");
    let says = result.and_then(|result| result.as_bool().or_else(|| result.get("allow")?.as_bool()));
    assert_eq!(says, Some(answer.decision() == Decision::Allow));
}

/// What we read from a question is what everybody reads from it, and it is passed on untouched.
pub fn question(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    match question::read(body.clone()) {
        Ok(request) => {
            assert_eq!(request.bytes, body);
            let value: Value = serde_json::from_slice(data).unwrap_or_default();
            assert!(value.get("input").is_some_and(|input| same_question(&request, input)), "{request:?}");
        }
        Err(Reason::MalformedRequest | Reason::AmbiguousRequest) => {}
        Err(other) => assert_eq!(other, Reason::MalformedRequest, "no other reason is ours to give"),
    }
}

fn same_question(request: &Request, input: &Value) -> bool {
    let text = |name: &str| input.get(name).and_then(Value::as_str).unwrap_or_default();
    let flag = |name: &str| input.get(name).and_then(Value::as_bool).unwrap_or_default();
    let texts =
        |value: Option<&Value>| value.cloned().and_then(|value| serde_json::from_value::<Vec<Text>>(value).ok());
    let conditions = input.get("conditions").and_then(Value::as_object);
    request.account == text("account")
        && request.action == text("action")
        && request.bucket == text("bucket")
        && request.object == text("object")
        && request.original_action.as_deref().unwrap_or_default() == text("originalAction")
        && request.owner == flag("owner")
        && request.deny_only == flag("denyOnly")
        && request.groups == texts(input.get("groups"))
        && conditions.map_or(0, serde_json::Map::len) == request.conditions.len()
        && request.conditions.iter().all(|(name, values)| {
            texts(conditions.and_then(|conditions| conditions.get(name.as_str()))).as_deref() == Some(values.as_slice())
        })
}

fn same(node: &Node<'_>, value: &Value) -> bool {
    match (node, value) {
        (Node::Null, Value::Null) => true,
        (Node::Bool(ours), Value::Bool(theirs)) => ours == theirs,
        (Node::Number(ours), Value::Number(theirs)) => {
            serde_json::from_str::<serde_json::Number>(ours).is_ok_and(|ours| ours == *theirs)
        }
        (Node::String(ours), Value::String(theirs)) => ours == theirs,
        (Node::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Node::Object(ours), Value::Object(theirs)) => {
            let equal = |name: &str, value: &Node<'_>| theirs.get(name).is_some_and(|theirs| same(value, theirs));
            ours.len() == theirs.len() && ours.iter().all(|member| equal(&member.name, &member.value))
        }
        _ => false,
    }
}
