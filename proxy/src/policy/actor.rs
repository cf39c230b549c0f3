//! Who asked, as the record tells it: from `account`, `owner`, `groups` and the verified `claims` only, never from
//! conditions, which a client can forge. Not an authentication: MinIO did that, or says that it had not yet. Names pass
//! through `privacy`. Called by the record.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::policy::limited::limited;
use crate::policy::privacy::Privacy;
use crate::policy::privacy::key::Kind;
use crate::policy::request::{Claims, Request};

/// Limits of the record: bytes of a name, number of groups.
pub const MAX_NAME: usize = 256;
pub const MAX_GROUPS: usize = 64;

/// `data.actor` of a decision record. `None` is what could not be read, as all of it in [`Actor::UNREAD`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Actor<'a> {
    /// The access key that signed; empty for an anonymous caller. At most 256 bytes, as all names here.
    pub account: Option<Cow<'a, str>>,
    pub kind: Option<ActorKind>,
    /// The person behind a derived key, as far as the claims tell.
    pub principal: Option<Cow<'a, str>>,
    pub principal_from: Option<PrincipalFrom>,
    /// `claims.iss`.
    pub issuer: Option<Cow<'a, str>>,
    /// `claims.parent`: whose key a derived key is.
    pub parent: Option<Cow<'a, str>>,
    /// `input.groups`, else the strings of `claims.groups`; the first 64.
    pub groups: Vec<Cow<'a, str>>,
    /// Root, or a key of root that no session policy restricts.
    pub owner: Option<bool>,
    pub assurance: Option<Assurance>,
    /// Lower-case hex SHA-256 of `claims.sessionPolicy` as sent (base64); keyed where `privacy_key_id` is not null.
    pub session_policy_sha256: Option<String>,
}

/// What kind of key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    User,
    /// A long-lived key derived from a user, root included.
    ServiceAccount,
    /// A temporary key, by whichever way of logging in.
    Sts,
    /// Nobody signed.
    Anonymous,
    Root,
}

/// Where `principal` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
pub enum PrincipalFrom {
    #[serde(rename = "ldapUsername")]
    LdapUsername,
    #[serde(rename = "parent")]
    Parent,
    #[serde(rename = "sub")]
    Sub,
    #[serde(rename = "account")]
    Account,
}

/// Whether MinIO had checked the signature when it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// Not for sure: whoever knows an access key can cause this question. Also where nobody signed at all.
    Claimed,
    Authenticated,
}

impl<'a> Actor<'a> {
    /// The actor of a question that could not be read.
    pub const UNREAD: Self = Self {
        account: None,
        kind: None,
        principal: None,
        principal_from: None,
        issuer: None,
        parent: None,
        groups: Vec::new(),
        owner: None,
        assurance: None,
        session_policy_sha256: None,
    };

    pub fn of(request: &'a Request, privacy: &Privacy) -> Self {
        let claims = &request.claims;
        let (principal, principal_from) = principal(request);
        Self {
            account: privacy.account(&request.account),
            kind: Some(ActorKind::of(request)),
            principal: privacy.account(principal),
            principal_from: Some(principal_from),
            issuer: claims.string("iss").map(|text| limited(text, MAX_NAME)),
            parent: claims.string("parent").and_then(|text| privacy.account(text)),
            groups: groups(request, privacy),
            owner: Some(request.owner),
            assurance: Some(Assurance::of(request)),
            session_policy_sha256: claims.string("sessionPolicy").map(|text| privacy.digest(Kind::SessionPolicy, text)),
        }
    }
}

impl ActorKind {
    pub const ALL: [Self; 5] = [Self::User, Self::ServiceAccount, Self::Sts, Self::Anonymous, Self::Root];

    /// MinIO gives every service account the claim `sa-policy`, every temporary key some claims, and nobody else any.
    fn of(request: &Request) -> Self {
        if request.account.is_empty() {
            Self::Anonymous
        } else if request.claims.string("sa-policy").is_some() {
            Self::ServiceAccount
        } else if !is_empty(&request.claims) {
            Self::Sts
        } else if request.owner {
            Self::Root
        } else {
            Self::User
        }
    }
}

impl Assurance {
    /// MinIO asks for PutObject (upload of a part and of a snowball included) before it has checked the signature.
    fn of(request: &Request) -> Self {
        let before = request.action == "s3:PutObject" || request.account.is_empty();
        if before { Self::Claimed } else { Self::Authenticated }
    }
}

fn principal(request: &Request) -> (&str, PrincipalFrom) {
    [("ldapUsername", PrincipalFrom::LdapUsername), ("parent", PrincipalFrom::Parent), ("sub", PrincipalFrom::Sub)]
        .into_iter()
        .find_map(|(name, from)| request.claims.string(name).filter(|text| !text.is_empty()).map(|text| (text, from)))
        .unwrap_or((&request.account, PrincipalFrom::Account))
}

/// Absent, null or `{}`.
fn is_empty(claims: &Claims) -> bool {
    claims.text == "null" || claims.text.iter().all(|byte| byte.is_ascii_whitespace() || matches!(byte, b'{' | b'}'))
}

fn groups<'a>(request: &'a Request, privacy: &Privacy) -> Vec<Cow<'a, str>> {
    match &request.groups {
        Some(groups) => groups.iter().take(MAX_GROUPS).filter_map(|group| privacy.group(group)).collect(),
        None => {
            let claimed = claimed_groups(&request.claims);
            let shown = claimed.iter().take(MAX_GROUPS).filter_map(|group| privacy.group(group));
            shown.map(|group| Cow::Owned(group.into_owned())).collect()
        }
    }
}

/// An identity provider's groups are in `claims.groups`, and only there. The text was read strictly before: what does
/// not fit here is another shape, such as one string.
pub fn claimed_groups(claims: &Claims) -> Vec<String> {
    #[derive(Deserialize)]
    struct Grouped {
        groups: Vec<String>,
    }
    // Most callers have none: that is known without the error that a reader would build.
    if is_empty(claims) {
        return Vec::new();
    }
    serde_json::from_slice::<Grouped>(&claims.text).map(|claims| claims.groups).unwrap_or_default()
}

#[cfg(test)]
mod tests;
