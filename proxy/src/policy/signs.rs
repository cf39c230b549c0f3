//! Signs that the caller tried to forge what MinIO tells of it. A sign is no proof and its absence is none either: the
//! record names it, and `listen.suspicious` says whether it denies. Called by `pipeline`.
//!
//! MinIO builds `conditions` from its own values, then tags, headers and query parameters of the client's request.
//! A parameter `?username=root` stands behind MinIO's own value; a tag with the key `../username` takes its place.

use std::net::IpAddr;

use crate::policy::request::{Request, Text};

/// One sign. The set is closed; the words are in the record's `suspicious`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// A condition that MinIO sets, with more than one value.
    DoubledCondition,
    /// A tag key that climbs out of its place and replaces another condition.
    TagKeyTraversal,
    /// A source address that is no address.
    SourceIpInvalid,
}

impl Sign {
    pub const ALL: [Self; 3] = [Self::DoubledCondition, Self::TagKeyTraversal, Self::SourceIpInvalid];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DoubledCondition => "doubled_condition",
            Self::TagKeyTraversal => "tag_key_traversal",
            Self::SourceIpInvalid => "source_ip_invalid",
        }
    }
}

/// What MinIO sets itself, once. Not `Referer`, which it takes from the request twice.
const SET_BY_SERVER: [&str; 12] = [
    "CurrentTime",
    "EpochTime",
    "SecureTransport",
    "SourceIp",
    "UserAgent",
    "authType",
    "principaltype",
    "signatureAge",
    "signatureversion",
    "userid",
    "username",
    "versionid",
];

/// Every sign at most once, in the order of [`Sign::ALL`].
pub fn signs(request: &Request) -> Vec<Sign> {
    Sign::ALL.into_iter().filter(|sign| shows(request, *sign)).collect()
}

fn shows(request: &Request, sign: Sign) -> bool {
    match sign {
        Sign::DoubledCondition => request.conditions.iter().any(|(name, values)| is_doubled(name, values)),
        Sign::TagKeyTraversal => request.conditions.iter().any(|(name, values)| climbs(name, values)),
        Sign::SourceIpInvalid => request.condition("SourceIp").iter().any(|text| address(text).is_none()),
    }
}

/// Nearly every condition has one value, so that names are hardly ever compared.
fn is_doubled(name: &str, values: &[Text]) -> bool {
    values.len() > 1 && SET_BY_SERVER.contains(&name)
}

/// The header with the tags is not among the conditions: the list of its keys is the trace it leaves.
fn climbs(name: &str, values: &[Text]) -> bool {
    if name == "RequestObjectTagKeys" {
        return values.iter().any(|key| has_dot_dot(key));
    }
    let tag = name.strip_prefix("ExistingObjectTag/").or_else(|| name.strip_prefix("RequestObjectTag/"));
    tag.is_some_and(has_dot_dot)
}

fn has_dot_dot(key: &str) -> bool {
    key.split('/').any(|step| step == "..")
}

/// MinIO writes an IPv6 address in brackets; a link-local one has a zone.
pub fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    let address = bare.split_once('%').map_or(bare, |(address, _)| address);
    address.parse().ok()
}

#[cfg(test)]
mod tests;
