//! A question made of a decision's record: everything that the record holds, in MinIO's words and places. Not the question
//! that MinIO asked: most of its conditions are recorded nowhere, because they are callers' text and hold secrets. Pure.

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::policy::request::Request;
use crate::policy::verdict::{Decision, Reason};
use crate::wire::question;

/// Condition keys that a question gets from a record, where the record has them.
pub(super) const GIVEN: [&str; 14] = [
    "CurrentTime",
    "EpochTime",
    "SecureTransport",
    "SourceIp",
    "UserAgent",
    "authType",
    "principaltype",
    "userid",
    "username",
    "versionid",
    "prefix",
    "Prefix",
    "Delimiter",
    "parameters of admin actions",
];

/// What MinIO may have sent and no record says.
pub(super) const NEVER: [&str; 10] = [
    "Referer",
    "signatureversion",
    "signatureAge",
    "LocationConstraint",
    "ExistingObjectTag/*",
    "RequestObjectTag/*",
    "RequestObjectTagKeys",
    "Object-Lock-*",
    "every other header of the request",
    "every other parameter of its query",
];

pub(super) const NEVER_CLAIMS: &str =
    "all but `parent`, `iss`, `sub`, `ldapUsername`, `groups` and that there is an `sa-policy`";

/// A question, and what there is to compare its answer with.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub request: Request,
    pub decided: Decision,
    /// Equal for questions that differ in their time alone.
    pub equal: [u8; 32],
    /// Condition keys that were there when MinIO asked, and that this record does not give.
    pub not_held: Vec<String>,
}

/// Why nothing is asked about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skipped {
    /// It was denied for a fault, or could not be read: there is nothing to compare with.
    NoVerdict,
    /// The account or the object's key is a pseudonym, or left out.
    Hidden,
    /// A name was longer than a record takes.
    Cut,
    /// No record of ours says this.
    Unreadable,
}

impl Skipped {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoVerdict => "no_verdict",
            Self::Hidden => "hidden",
            Self::Cut => "cut",
            Self::Unreadable => "unreadable",
        }
    }

    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::NoVerdict => "that ended in a fault: there is no verdict to compare with",
            Self::Hidden => "whose account or object `audit.privacy` hides",
            Self::Cut => "with a name too long for a record",
            Self::Unreadable => "that are not as they should be",
        }
    }
}

pub(super) fn of(record: &Value) -> Result<Rebuilt, Skipped> {
    let data = record.get("data").ok_or(Skipped::Unreadable)?;
    let text = |at: &str| data.pointer(at).and_then(Value::as_str);
    let decided = match text("/reason") {
        Some(reason) if reason == Reason::Allowed.as_str() => Decision::Allow,
        Some(reason) if reason == Reason::Denied.as_str() => Decision::Deny,
        _ => return Err(Skipped::NoVerdict),
    };
    let named = Named::of(data)?;
    let mut not_held: Vec<String> = data
        .get("redacted")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let conditions = conditions(record, data, &named, &mut not_held);
    // An identity provider's groups are in its claims.
    let has_groups = !named.groups.is_empty() && text("/actor/issuer").is_none();
    let mut input = json!({
        "account": named.account, "groups": has_groups.then_some(&named.groups), "action": named.action, "originalAction": "",
        "bucket": named.bucket, "conditions": conditions, "owner": data.pointer("/actor/owner") == Some(&true.into()),
        "object": named.object, "claims": claims(data, &named),
        "denyOnly": data.get("deny_only") == Some(&true.into()),
    });
    let request = question::read(Bytes::from(json!({ "input": &input }).to_string()));
    let request = request.map_err(|_| Skipped::Unreadable)?;
    let conditions = input.get_mut("conditions").and_then(Value::as_object_mut);
    conditions.into_iter().for_each(|all| all.retain(|name, _| !matches!(name.as_str(), "CurrentTime" | "EpochTime")));
    Ok(Rebuilt { request, decided, equal: *blake3::hash(input.to_string().as_bytes()).as_bytes(), not_held })
}

/// The names of a question, plain.
struct Named {
    account: String,
    action: String,
    bucket: String,
    object: String,
    prefix: Option<String>,
    principal: Option<String>,
    parent: Option<String>,
    groups: Vec<String>,
}

impl Named {
    fn of(data: &Value) -> Result<Self, Skipped> {
        let keyed = data.get("privacy_key_id").is_some_and(Value::is_string);
        let name = |at: &str| data.pointer(at).and_then(Value::as_str).map(|text| plain(text, keyed)).transpose();
        let action = name("/action")?.ok_or(Skipped::Unreadable)?;
        let account = name("/actor/account")?.ok_or(Skipped::Hidden)?;
        let object = name("/resource/object")?;
        if object.is_none() && data.pointer("/resource/type").and_then(Value::as_str) == Some("object") {
            return Err(Skipped::Hidden);
        }
        let groups = data.pointer("/actor/groups").and_then(Value::as_array).into_iter().flatten();
        let groups = groups.filter_map(Value::as_str).map(|group| plain(group, keyed)).collect::<Result<_, _>>()?;
        Ok(Self {
            account,
            action,
            bucket: name("/resource/bucket")?.or(name("/resource/kms_key")?).unwrap_or_default(),
            object: object.unwrap_or_default(),
            prefix: name("/resource/prefix")?,
            principal: name("/actor/principal")?,
            parent: name("/actor/parent")?,
            groups,
        })
    }
}

/// A name as it was asked about, or why it is none.
fn plain(text: &str, keyed: bool) -> Result<String, Skipped> {
    if keyed && ends_in_hash(text, "hmac-sha256:") {
        return Err(Skipped::Hidden);
    }
    if ends_in_hash(text, "…sha256:") {
        return Err(Skipped::Cut);
    }
    Ok(text.to_owned())
}

fn ends_in_hash(text: &str, mark: &str) -> bool {
    text.rsplit_once(mark)
        .is_some_and(|(_, hash)| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// In MinIO's names. What was hidden or cut is noted as not held.
fn conditions(record: &Value, data: &Value, named: &Named, not_held: &mut Vec<String>) -> Value {
    let text = |at: &str| data.pointer(at).and_then(Value::as_str);
    let keyed = text("/privacy_key_id").is_some();
    let mut all = Map::new();
    let mut give = |name: &str, value: &str| drop(all.insert(name.to_owned(), json!([value])));
    let time = record.get("time").and_then(Value::as_str).and_then(|time| time.parse::<jiff::Timestamp>().ok());
    if let Some(time) = time {
        give("CurrentTime", &format!("{time:.0}"));
        give("EpochTime", &time.as_second().to_string());
    }
    if let Some(tls) = data.pointer("/request/tls").and_then(Value::as_bool) {
        give("SecureTransport", if tls { "true" } else { "false" });
    }
    for (name, at) in [
        ("SourceIp", "/request/reported_ip"),
        ("UserAgent", "/request/user_agent"),
        ("authType", "/request/auth_type"),
        ("versionid", "/resource/version"),
    ] {
        match text(at).map(|text| plain(text, keyed)) {
            Some(Ok(value)) => give(name, &value),
            // MinIO always sends these two.
            None if matches!(name, "authType" | "versionid") => give(name, ""),
            Some(Err(_)) | None => not_held.push(name.to_owned()),
        }
    }
    let user = named.principal.as_deref().filter(|_| text("/actor/principal_from") != Some("sub"));
    let user = user.unwrap_or(&named.account);
    give("username", user);
    give("userid", named.parent.as_deref().unwrap_or(user));
    give(
        "principaltype",
        match text("/actor/kind") {
            Some("anonymous") => "Anonymous",
            Some("root") => "Account",
            Some("sts" | "service_account") => "AssumedRole",
            _ => "User",
        },
    );
    if let Some(prefix) = &named.prefix {
        give("prefix", prefix);
    }
    if text("/purpose") == Some("list_filter") {
        give("Prefix", "");
        give("Delimiter", "/");
    }
    for pair in text("/resource/target").unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
        let value = pair.1.replace('+', " ");
        let value = percent_decode_str(&value).decode_utf8_lossy();
        match plain(&value, keyed) {
            Ok(value) => give(pair.0, &value),
            Err(_) => not_held.push(pair.0.to_owned()),
        }
    }
    Value::Object(all)
}

fn claims(data: &Value, named: &Named) -> Value {
    let text = |at: &str| data.pointer(at).and_then(Value::as_str);
    let kind = text("/actor/kind");
    if kind == Some("anonymous") {
        return Value::Null;
    }
    let issuer = text("/actor/issuer");
    let from = text("/actor/principal_from").filter(|from| matches!(*from, "sub" | "ldapUsername"));
    let mut claims = Map::new();
    let mut claim = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    if let Some((from, principal)) = from.zip(named.principal.as_deref()) {
        claim(from, principal.into());
    }
    if let Some(parent) = &named.parent {
        claim("parent", parent.as_str().into());
    }
    if let Some(issuer) = issuer {
        claim("iss", issuer.into());
        if !named.groups.is_empty() {
            claim("groups", json!(named.groups));
        }
    }
    match kind {
        // Which policy it has is not recorded; most have their user's.
        Some("service_account") => claim("sa-policy", "inherited-policy".into()),
        Some("sts") => claim("accessKey", named.account.as_str().into()),
        _ => {}
    }
    Value::Object(claims)
}

#[cfg(test)]
mod tests;
