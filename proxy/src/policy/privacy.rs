//! What becomes of personal data on its way into a record: kept, shortened, replaced by a pseudonym or left out. The one
//! place that decides it, for every member that can hold a name. Pure. Not the limits of a record's strings (`limited`),
//! which hold for what stays plain, and not what never leaves at all (`audit::record`). Built by `app` from
//! `[audit.privacy]`; called where a record is made, and by `commands::pseudonym`.
//!
//! Everything is derived from the exact bytes of the question, before anything is cut: whoever holds the key can compute
//! each pseudonym again from the name alone.

pub mod forms;
pub mod key;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::policy::actor::MAX_NAME;
use crate::policy::limited::{limited, limited_in_list, sha256_hex};
use crate::policy::resource::MAX_KEY;
use forms::{directories, network};
use key::{Key, Kind};

/// Bytes of a reported address.
const MAX_ADDRESS: usize = 128;

/// For accounts, principals, parents, groups, and the names of people and groups among admin targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Account {
    Plain,
    Hmac,
    Drop,
}

/// For object keys, and for the prefixes that listings ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    Plain,
    /// The first directories, then a pseudonym of the whole key.
    Prefix,
    Hmac,
    Drop,
}

/// For the address that MinIO reports for its client, and those that unauthorized attempts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportedIp {
    Plain,
    /// The network it is in, /24 or /48.
    Truncate,
    Hmac,
    Drop,
}

/// The three settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Modes {
    pub account: Account,
    pub object: Object,
    pub reported_ip: ReportedIp,
}

impl Modes {
    pub const PLAIN: Self = Self { account: Account::Plain, object: Object::Plain, reported_ip: ReportedIp::Plain };

    pub fn is_plain(self) -> bool {
        self == Self::PLAIN
    }

    /// The settings that make no sense without a key, as the configuration names them.
    pub fn keyed(self) -> impl Iterator<Item = &'static str> {
        let account = (self.account == Account::Hmac).then_some("account");
        let object = matches!(self.object, Object::Hmac | Object::Prefix).then_some("object");
        let reported_ip = (self.reported_ip == ReportedIp::Hmac).then_some("reported_ip");
        [account, object, reported_ip].into_iter().flatten()
    }
}

/// Pseudonyms are asked for, and there is no key to make them with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`audit.privacy.{0}` needs `audit.privacy.keys`")]
pub struct NeedsKey(&'static str);

/// The settings with the key in force. There is no way from here to a name that a setting hides: what cannot become a
/// pseudonym is left out.
#[derive(Debug, Clone)]
pub struct Privacy {
    modes: Modes,
    hidden: Option<Hidden>,
}

/// What there is as soon as one setting is not plain.
#[derive(Debug, Clone)]
struct Hidden {
    /// Makes pseudonyms; without it there are none.
    names: Option<Key>,
    /// Keys the digests of texts that hold what is hidden: the same key, or one that nobody knows and that ends with the
    /// process.
    digests: Key,
}

impl Privacy {
    pub const PLAIN: Self = Self { modes: Modes::PLAIN, hidden: None };

    /// `key` is the one in force, if there is any.
    pub fn new(modes: Modes, key: Option<Key>) -> Result<Self, NeedsKey> {
        if let (Some(setting), None) = (modes.keyed().next(), &key) {
            return Err(NeedsKey(setting));
        }
        let hidden =
            (!modes.is_plain()).then(|| Hidden { digests: key.clone().unwrap_or_else(Key::random), names: key });
        Ok(Self { modes, hidden })
    }

    /// Which key a record's pseudonyms and digests are made with; `None` if nothing is keyed by a key that anybody has.
    pub fn key_id(&self) -> Option<&str> {
        self.hidden.as_ref()?.names.as_ref().map(Key::id)
    }

    /// An account, principal or parent. That nobody signed (`""`) names nobody, and stays.
    pub fn account<'t>(&self, name: &'t str) -> Option<Cow<'t, str>> {
        match self.modes.account {
            Account::Plain => Some(limited(name, MAX_NAME)),
            Account::Hmac if name.is_empty() => Some(Cow::Borrowed(name)),
            Account::Hmac => self.pseudonym(Kind::Account, name).map(Cow::Owned),
            Account::Drop => None,
        }
    }

    /// One of many names, such as groups.
    pub fn group<'t>(&self, name: &'t str) -> Option<Cow<'t, str>> {
        match self.modes.account {
            Account::Plain => Some(limited_in_list(name, MAX_NAME)),
            Account::Hmac | Account::Drop => self.account(name),
        }
    }

    /// An object's key, or the prefix of keys that a listing asks for.
    pub fn object<'t>(&self, key: &'t str) -> Option<Cow<'t, str>> {
        match self.modes.object {
            Object::Plain => Some(limited(key, MAX_KEY)),
            Object::Prefix => self
                .pseudonym(Kind::Object, key)
                .map(|pseudonym| Cow::Owned(format!("{}{pseudonym}", directories(key)))),
            Object::Hmac => self.pseudonym(Kind::Object, key).map(Cow::Owned),
            Object::Drop => None,
        }
    }

    /// An address as somebody wrote it. What is none cannot be shortened.
    pub fn reported_ip<'t>(&self, address: &'t str) -> Option<Cow<'t, str>> {
        match self.modes.reported_ip {
            ReportedIp::Plain => Some(limited(address, MAX_ADDRESS)),
            ReportedIp::Truncate => {
                network(address).or_else(|| self.pseudonym(Kind::ReportedIp, address)).map(Cow::Owned)
            }
            ReportedIp::Hmac => self.pseudonym(Kind::ReportedIp, address).map(Cow::Owned),
            ReportedIp::Drop => None,
        }
    }

    /// A text that a client or an authorizer chose and that could hold any name. As soon as something is hidden only what
    /// is harmless stays.
    pub fn text<'t>(&self, text: &'t str, max: usize, is_harmless: impl Fn(&str) -> bool) -> Option<Cow<'t, str>> {
        if self.hidden.is_none() || is_harmless(text) {
            return Some(limited(text, max));
        }
        self.pseudonym(Kind::Text, text).map(Cow::Owned)
    }

    /// Hex SHA-256; keyed as soon as something is hidden, for else what is hidden could be guessed and compared.
    pub fn digest(&self, kind: Kind, bytes: impl AsRef<[u8]>) -> String {
        match &self.hidden {
            None => sha256_hex(bytes),
            Some(hidden) => hidden.digests.digest(kind, bytes.as_ref()),
        }
    }

    fn pseudonym(&self, kind: Kind, text: &str) -> Option<String> {
        let key = self.hidden.as_ref()?.names.as_ref()?;
        Some(key.pseudonym(kind, text.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
