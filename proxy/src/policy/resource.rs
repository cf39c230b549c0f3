//! What was asked about, as the record tells it. Not the names of conditions or headers: only members of this list
//! leave. Names pass through `privacy` before anything is made of them. Called by the record.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::policy::actor::MAX_NAME;
use crate::policy::limited::limited;
use crate::policy::privacy::Privacy;
use crate::policy::privacy::forms::{is_flag, is_opaque_beside};
use crate::policy::request::Request;

/// Bytes of an object's key or a prefix in a record; S3 allows no longer key.
pub const MAX_KEY: usize = 1024;

/// `data.resource` of a decision record. `None` is what the question does not have, or what could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Resource<'a> {
    #[serde(rename = "type")]
    pub kind: Option<ResourceKind>,
    /// At most 256 bytes.
    pub bucket: Option<Cow<'a, str>>,
    /// The key, not encoded; at most 1024 bytes.
    pub object: Option<Cow<'a, str>>,
    /// The version that was asked for. At most 256 bytes.
    pub version: Option<Cow<'a, str>>,
    /// What a listing was restricted to; at most 1024 bytes. Null where it is the whole bucket.
    pub prefix: Option<Cow<'a, str>>,
    /// At most 256 bytes.
    pub kms_key: Option<Cow<'a, str>>,
    /// Whom or what an admin action is about: `name=value` pairs joined by `&` in the order of a fixed list, values
    /// percent-encoded, such as `accessKey=bob` or `userOrGroup=bob&isGroup=false&policyName=readonly`.
    pub target: Option<String>,
}

/// What kind of thing a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    Object,
    Bucket,
    KmsKey,
    /// Something that `admin:` actions manage; `target` says what, where that is known.
    Admin,
    /// The server as a whole, such as its list of buckets.
    Service,
}

/// The query parameters of admin calls that name a user, group, policy, access key or bucket. None carries a secret:
/// those travel in encrypted bodies.
const TARGETS: [(&str, Names); 9] = [
    ("accessKey", Names::Person),
    ("user", Names::Person),
    ("userDN", Names::Person),
    ("userOrGroup", Names::Person),
    ("isGroup", Names::Nothing),
    ("group", Names::Person),
    ("policyName", Names::Thing),
    ("name", Names::Thing),
    ("bucket", Names::Thing),
];

/// What the value of such a parameter is the name of.
#[derive(Debug, Clone, Copy)]
enum Names {
    /// Or a group of them.
    Person,
    Thing,
    /// It is a flag.
    Nothing,
}

impl<'a> Resource<'a> {
    /// The resource of a question that could not be read.
    pub const UNREAD: Self =
        Self { kind: None, bucket: None, object: None, version: None, prefix: None, kms_key: None, target: None };

    pub fn of(request: &'a Request, privacy: &Privacy) -> Self {
        let kind = ResourceKind::of(request);
        let is_kms = kind == ResourceKind::KmsKey;
        let bucket = present(&request.bucket);
        let condition = |name| request.first_condition(name).and_then(present);
        let name = |text| limited(text, MAX_NAME);
        let prefix = condition("prefix").filter(|_| lists(&request.action));
        // As MinIO makes them.
        let is_version = |text: &str| text == "null" || is_opaque_beside(request, text);
        Self {
            kind: Some(kind),
            bucket: bucket.filter(|_| !is_kms).map(name),
            object: present(&request.object).and_then(|key| privacy.object(key)),
            version: condition("versionid").and_then(|text| privacy.text(text, MAX_NAME, is_version)),
            prefix: prefix.and_then(|text| privacy.object(text)),
            kms_key: bucket.or_else(|| condition("key-id")).filter(|_| is_kms).map(name),
            target: target(request, privacy),
        }
    }
}

impl ResourceKind {
    pub const ALL: [Self; 5] = [Self::Object, Self::Bucket, Self::KmsKey, Self::Admin, Self::Service];

    /// MinIO sends the name of a KMS key as `bucket`, or as the query parameter `key-id`.
    fn of(request: &Request) -> Self {
        match request.action.split_once(':') {
            Some(("kms", _)) => Self::KmsKey,
            Some(("admin", name)) if name.starts_with("KMS") => Self::KmsKey,
            Some(("admin", _)) => Self::Admin,
            _ if request.bucket.is_empty() => Self::Service,
            _ if request.object.is_empty() => Self::Bucket,
            _ => Self::Object,
        }
    }
}

/// `bucket/object`, or the bucket alone, percent-encoded as keys are in S3 notifications: `/` stays, a space is `+`.
/// `None` without a bucket.
pub fn subject(resource: &Resource<'_>) -> Option<String> {
    let bucket = resource.bucket.as_deref()?;
    let object = resource.object.as_deref();
    Some(object.map_or_else(|| encode(bucket).into_owned(), |key| format!("{}/{}", encode(bucket), encode(key))))
}

fn encode(text: &str) -> Cow<'_, str> {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
    // A plus of the text itself is encoded: what stands for a space cannot meet it.
    let encoded = Cow::from(utf8_percent_encode(text, KEPT));
    if encoded.contains("%20") { Cow::Owned(encoded.replace("%20", "+")) } else { encoded }
}

fn lists(action: &str) -> bool {
    action.strip_prefix("s3:").is_some_and(|name| name.starts_with("List"))
}

fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn target(request: &Request, privacy: &Privacy) -> Option<String> {
    if !request.action.starts_with("admin:") {
        return None;
    }
    let pairs = TARGETS.iter().filter(|(name, _)| !is_claim(request, name)).filter_map(|(name, of)| {
        let value = request.first_condition(name).and_then(present)?;
        let shown = match of {
            Names::Person => privacy.account(value),
            Names::Thing => Some(limited(value, MAX_NAME)),
            Names::Nothing => privacy.text(value, MAX_NAME, is_flag),
        };
        shown.map(|shown| format!("{name}={}", encode(&shown)))
    });
    let joined = pairs.collect::<Vec<_>>().join("&");
    (!joined.is_empty()).then_some(joined)
}

/// MinIO copies claims into the conditions, lower-cased and without a leading `ldap`: there, `name` is the caller's
/// own and not the target's.
fn is_claim(request: &Request, name: &str) -> bool {
    request.claims.strings.iter().any(|(claim, _)| {
        let lower = claim.to_lowercase();
        lower.strip_prefix("ldap").unwrap_or(&lower) == name
    })
}

#[cfg(test)]
mod tests;
