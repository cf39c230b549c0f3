//! MinIO's question as an evaluation of the OpenID AuthZEN Authorization API 1.0 (section 6.1): subject, action, resource,
//! context. Whatever stands in the question has a place in it, values of credentials excepted, so that two questions
//! become one evaluation only where they differ in those. Not the answer; that is `wire::answer`. Called by
//! `authorizer::webhook`; the mapping for people is in `docs/AUTHORIZERS.md`.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::audit::record::SECRET_CONDITIONS;
use crate::policy::request::{Request, Text};

/// Held back from records, but a policy must be able to enforce it: MinIO does not.
const SESSION_POLICY: &str = "sessionpolicy";

#[derive(Serialize)]
struct Evaluation<'a> {
    subject: Entity<'a, SubjectProperties<'a>>,
    action: Action<'a>,
    resource: Entity<'a, ResourceProperties<'a>>,
    context: Context<'a>,
}

#[derive(Serialize)]
struct Entity<'a, P> {
    r#type: &'static str,
    id: std::borrow::Cow<'a, str>,
    properties: P,
}

#[derive(Serialize)]
struct SubjectProperties<'a> {
    groups: Option<&'a [Text]>,
    owner: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Action<'a> {
    name: &'a str,
    properties: ActionProperties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActionProperties<'a> {
    deny_only: bool,
    original_action: Option<&'a str>,
}

#[derive(Serialize)]
struct ResourceProperties<'a> {
    bucket: &'a str,
    object: &'a str,
}

#[derive(Serialize)]
struct Context<'a> {
    conditions: Conditions<'a>,
    withheld: Vec<&'a str>,
    other: Other<'a>,
    absent: Vec<&'a str>,
}

/// The evaluation, as JSON.
pub fn evaluation(request: &Request) -> Vec<u8> {
    let subject = SubjectProperties {
        groups: request.groups.as_deref(),
        owner: request.owner,
        claims: serde_json::from_slice(&request.claims.text).ok(),
    };
    let (r#type, id) = match (request.bucket.as_str(), request.object.as_str()) {
        ("", "") => ("service", "minio".into()),
        (bucket, "") => ("bucket", bucket.into()),
        (bucket, object) => ("object", format!("{bucket}/{object}").into()),
    };
    let evaluation = Evaluation {
        subject: Entity { r#type: "user", id: request.account.as_str().into(), properties: subject },
        action: Action {
            name: &request.action,
            properties: ActionProperties {
                deny_only: request.deny_only,
                original_action: request.original_action.as_deref(),
            },
        },
        resource: Entity {
            r#type,
            id,
            properties: ResourceProperties { bucket: &request.bucket, object: &request.object },
        },
        context: Context {
            conditions: Conditions(request),
            withheld: names(request).filter(|name| is_withheld(name)).collect(),
            other: Other(request),
            absent: request.unknown.iter().filter_map(|(name, _)| name.strip_prefix("absent.")).collect(),
        },
    };
    // Text and numbers under text always become JSON; an empty body would be a fault of the authorizer's, not an allow.
    serde_json::to_vec(&evaluation).unwrap_or_default()
}

fn names(request: &Request) -> impl Iterator<Item = &str> {
    request.conditions.iter().map(|(name, _)| name.as_str())
}

/// A header keeps its meaning whatever its letter case.
fn is_withheld(name: &str) -> bool {
    SECRET_CONDITIONS.iter().any(|secret| secret.eq_ignore_ascii_case(name) && *secret != SESSION_POLICY)
}

struct Conditions<'a>(&'a Request);

impl Serialize for Conditions<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(
            self.0
                .conditions
                .iter()
                .filter(|(name, _)| !is_withheld(name))
                .map(|(name, values)| (name, values.as_slice())),
        )
    }
}

/// Members that this version does not know, as they were sent.
struct Other<'a>(&'a Request);

impl Serialize for Other<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw = |text| serde_json::from_slice::<&RawValue>(text).ok();
        to.collect_map(self.0.unknown.iter().filter_map(|(name, text)| Some((name, raw(text)?))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::wire::question;

    fn evaluated(question: &Value) -> Value {
        let request = question::read(question.to_string().into()).unwrap();
        serde_json::from_slice(&evaluation(&request)).unwrap()
    }

    fn question() -> Value {
        json!({ "input": {
            "account": "alice", "groups": ["staff"], "action": "s3:GetObject", "originalAction": "s3:GetObject",
            "bucket": "photos", "object": "2026/a.jpg", "owner": false, "denyOnly": false,
            "conditions": { "SourceIp": ["203.0.113.9"], "Authorization": ["Credential=x, Signature=secret"] },
            "claims": { "sub": "alice", "exp": 1_764_000_000 },
        }})
    }

    #[test]
    fn a_question_becomes_this_evaluation() {
        let expected = json!({
            "subject": { "type": "user", "id": "alice", "properties": {
                "groups": ["staff"], "owner": false, "claims": { "sub": "alice", "exp": 1_764_000_000 } } },
            "action": { "name": "s3:GetObject", "properties": { "denyOnly": false, "originalAction": "s3:GetObject" } },
            "resource": { "type": "object", "id": "photos/2026/a.jpg",
                          "properties": { "bucket": "photos", "object": "2026/a.jpg" } },
            "context": { "conditions": { "SourceIp": ["203.0.113.9"] }, "withheld": ["Authorization"],
                         "other": {}, "absent": [] },
        });
        assert_eq!(evaluated(&question()), expected);
    }

    #[test]
    fn resources_without_object_or_bucket_have_a_type_of_their_own() {
        let mut asked = question();
        asked["input"]["object"] = json!("");
        assert_eq!(evaluated(&asked)["resource"]["type"], "bucket");
        assert_eq!(evaluated(&asked)["resource"]["id"], "photos");
        asked["input"]["bucket"] = json!("");
        assert_eq!(evaluated(&asked)["resource"]["type"], "service");
    }

    /// A cached verdict is shared by equal questions; so whatever makes questions unequal must reach who decides.
    #[test]
    fn every_change_of_a_question_changes_the_evaluation() {
        let before = evaluated(&question());
        for (member, value) in [
            ("account", json!("bob")),
            ("groups", json!(null)),
            ("groups", json!([])),
            ("action", json!("s3:PutObject")),
            ("originalAction", json!("")),
            ("bucket", json!("photos2")),
            ("object", json!("2026/b.jpg")),
            ("owner", json!(true)),
            ("denyOnly", json!(true)),
            ("claims", json!({ "sub": "alice", "exp": 1_764_000_001 })),
            ("conditions", json!({ "SourceIp": ["203.0.113.8"], "Authorization": ["x"] })),
            ("conditions", json!({ "SourceIp": ["203.0.113.9", "x"], "Authorization": ["x"] })),
            ("conditions", json!({ "SourceIp": ["203.0.113.9"] })),
            ("conditions", json!(null)),
            ("someday", json!({ "new": [1, null] })),
        ] {
            let mut changed = question();
            changed["input"][member] = value.clone();
            assert_ne!(evaluated(&changed), before, "{member} {value}");
        }
        let mut at_the_root = question();
        at_the_root["someday"] = json!(1);
        assert_eq!(evaluated(&at_the_root)["context"]["other"], json!({ "root.someday": 1 }));
        let mut absent = question();
        absent["input"].as_object_mut().unwrap().remove("originalAction");
        assert_eq!(evaluated(&absent)["context"]["absent"], json!(["originalAction"]));
    }

    #[test]
    fn no_credential_is_sent_and_a_session_policy_is() {
        let mut asked = question();
        for name in SECRET_CONDITIONS.iter().copied().chain(["x-amz-security-token", "AUTHORIZATION"]) {
            asked["input"]["conditions"][name] = json!(["canary"]);
        }
        let text = evaluated(&asked).to_string();
        assert_eq!(text.matches("canary").count(), 1, "{text}");
        assert_eq!(evaluated(&asked)["context"]["conditions"]["sessionpolicy"], json!(["canary"]));
        assert_eq!(evaluated(&asked)["context"]["withheld"].as_array().unwrap().len(), SECRET_CONDITIONS.len() + 1);
    }
}
