//! What MinIO would make of an answer if it asked directly: Go's `encoding/json` into the two structs of its plugin
//! (`internal/config/policy/plugin/config.go`, `IsAllowed`). It reads the first JSON value only, takes letter case for
//! nothing and the last of two members for the whole. For telling people where both differ; nothing is decided by it.
//! Called by `authorizer::conformance`; compared with Go itself in the tests.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::wire::strict::folds_to;

/// What MinIO does with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lax {
    Allow,
    /// Without a trace.
    Deny,
    /// A deny with a line in MinIO's log.
    Error,
}

/// How an answer says what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// `{"result":<bool>}`
    Bool,
    /// `{"result":{"allow":<bool>}}`
    Object,
    /// `{"decision":<bool>}`, as AuthZEN has it.
    Decision,
    /// JSON without any of these.
    Other,
    /// No JSON at all.
    None,
}

impl Shape {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => r#"{"result": true}"#,
            Self::Object => r#"{"result": {"allow": true}}"#,
            Self::Decision => r#"{"decision": true}"#,
            Self::Other => "JSON without a verdict",
            Self::None => "no JSON",
        }
    }
}

/// The body as MinIO takes it, whatever status and headers say: it looks at neither.
pub fn read(body: &[u8]) -> Lax {
    let Some(root) = first(body) else { return Lax::Error };
    let allows = plain(&root).or_else(|()| nested(&root));
    match allows {
        Ok(true) => Lax::Allow,
        Ok(false) => Lax::Deny,
        Err(()) => Lax::Error,
    }
}

pub fn shape(body: &[u8]) -> Shape {
    let Some(root) = first(body) else { return Shape::None };
    let Node::Object(members) = &root else { return Shape::Other };
    let member = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    match (member("result"), member("decision")) {
        (Some(Node::Bool(_)), _) => Shape::Bool,
        (Some(Node::Object(inner)), _) if inner.iter().any(|(name, value)| name == "allow" && value.is_bool()) => {
            Shape::Object
        }
        (_, Some(Node::Bool(_))) => Shape::Decision,
        _ => Shape::Other,
    }
}

/// MinIO's first pass. A member of another type is an error whatever comes after it, null is none.
fn plain(root: &Node) -> Result<bool, ()> {
    fold(root, "result", |allows, value| match value {
        Node::Bool(value) => Ok(*value),
        Node::Null => Ok(allows),
        Node::Object(_) | Node::Other => Err(()),
    })
}

/// Its second pass, only after an error of the first.
fn nested(root: &Node) -> Result<bool, ()> {
    fold(root, "result", |allows, result| {
        fold_from(allows, result, "allow", |allows, value| match value {
            Node::Bool(value) => Ok(*value),
            Node::Null => Ok(allows),
            Node::Object(_) | Node::Other => Err(()),
        })
    })
}

fn fold(root: &Node, name: &str, take: impl Fn(bool, &Node) -> Result<bool, ()>) -> Result<bool, ()> {
    fold_from(false, root, name, take)
}

/// Over all members that Go takes for this one, in their order; the first error stays one.
fn fold_from(
    start: bool,
    object: &Node,
    name: &str,
    take: impl Fn(bool, &Node) -> Result<bool, ()>,
) -> Result<bool, ()> {
    match object {
        Node::Null => Ok(start),
        Node::Object(members) => {
            let named = members.iter().filter(|(member, _)| folds_to(member, name));
            named.map(|(_, value)| value).try_fold(start, take)
        }
        Node::Bool(_) | Node::Other => Err(()),
    }
}

/// As much of a value as matters here, members in their order and as often as they were sent.
enum Node {
    Null,
    Bool(bool),
    Object(Vec<(String, Node)>),
    Other,
}

impl Node {
    fn is_bool(&self) -> bool {
        matches!(self, Self::Bool(_))
    }
}

/// The first value; Go looks at nothing behind it, and takes bytes that are no UTF-8 for another character.
fn first(body: &[u8]) -> Option<Node> {
    let text = String::from_utf8_lossy(body);
    Node::deserialize(&mut serde_json::Deserializer::from_str(&text)).ok()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Node, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            // What cannot matter is not kept.
            if ["result", "allow", "decision"].iter().any(|known| folds_to(&name, known)) {
                all.push((name, members.next_value()?));
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Node::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minio_reads_the_first_value_and_takes_the_last_member() {
        for (body, expected) in [
            (r#"{"result":true}"#, Lax::Allow),
            (r#"{"result":{"allow":true}}"#, Lax::Allow),
            (r#"{"RESULT":{"Allow":true}}"#, Lax::Allow),
            ("{\"re\u{17f}ult\":true}", Lax::Allow),
            (r#"{"result":false,"Result":true}"#, Lax::Allow),
            (r#"{"result":true,"result":null}"#, Lax::Allow),
            (r#"{"result":{"allow":true},"result":{"x":1}}"#, Lax::Allow),
            (r#"{"result":true}<html>"#, Lax::Allow),
            (r#"{"n":1e9999,"result":true}"#, Lax::Allow),
            (r#"{"result":true,"result":false}"#, Lax::Deny),
            (r#"{"result":false}"#, Lax::Deny),
            ("{}", Lax::Deny),
            ("null", Lax::Deny),
            ("nullt{", Lax::Deny),
            (r#"{"result":{}}"#, Lax::Deny),
            (r#"{"decision":true}"#, Lax::Deny),
            ("", Lax::Error),
            ("true", Lax::Error),
            (r#"{"result":"true"}"#, Lax::Error),
            (r#"{"result":true,"result":{"allow":false}}"#, Lax::Error),
            (r#"{"result":true"#, Lax::Error),
        ] {
            assert_eq!(read(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(read(b"{\"x\":\"\xff\",\"result\":true}"), Lax::Allow);
    }

    #[test]
    fn an_answer_has_a_shape() {
        for (body, expected) in [
            (r#"{"result":false,"decision_id":"x"}"#, Shape::Bool),
            (r#"{"result":{"allow":false,"why":"x"}}"#, Shape::Object),
            (r#"{"decision":true}"#, Shape::Decision),
            (r#"{"result":{}}"#, Shape::Other),
            ("[]", Shape::Other),
            ("<html>", Shape::None),
            ("", Shape::None),
        ] {
            assert_eq!(shape(body.as_bytes()), expected, "{body}");
        }
    }
}
