//! The key that pseudonyms are made with, and the form they have. Its bytes are wiped when it goes and shown nowhere.
//! Called by `privacy`, and by `commands::pseudonym`, which knows the keys of earlier periods, too.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sha2::Sha256;

/// What a pseudonym begins with; 64 lower-case hex digits follow.
pub const PREFIX: &str = "hmac-sha256:";

/// What a text is the name of. The same text has another pseudonym as each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Accounts, principals, parents, groups, and the people and groups that an admin action is about.
    Account,
    /// Object keys, and prefixes of listings.
    Object,
    /// Addresses as MinIO wrote them.
    ReportedIp,
    /// What a client or an authorizer chose: user agents, and ids in an unusual form.
    Text,
    /// A whole question, for `input_sha256`.
    Input,
    /// For `session_policy_sha256`.
    SessionPolicy,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Account, Self::Object, Self::ReportedIp, Self::Text, Self::Input, Self::SessionPolicy];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Object => "object",
            Self::ReportedIp => "reported_ip",
            Self::Text => "text",
            Self::Input => "input",
            Self::SessionPolicy => "session_policy",
        }
    }
}

/// Why a secret is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("it has {0} bytes, a key has {SHORTEST} or more: `openssl rand -hex 32` makes one")]
    TooShort(usize),
    #[error("it cannot be used as a key")]
    Unusable,
}

/// Bytes: what HMAC-SHA-256 puts out, below which a key is easier to guess than a pseudonym.
pub const SHORTEST: usize = 32;

/// A key with its name. The states of the hash stand for the key and are wiped like it.
#[derive(Clone)]
pub struct Key {
    id: Arc<str>,
    mac: Hmac<Sha256>,
}

impl Key {
    /// `secret` is used as it is, byte for byte.
    pub fn new(id: &str, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SHORTEST {
            return Err(KeyError::TooShort(secret.len()));
        }
        let mac = Hmac::new_from_slice(secret).map_err(|_| KeyError::Unusable)?;
        Ok(Self { id: id.into(), mac })
    }

    /// One that nobody knows, without a name.
    pub fn random() -> Self {
        Self { id: "".into(), mac: Hmac::new(&rand::random::<[u8; 64]>().into()) }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// `hmac-sha256:` and the digest: what stands in a record instead of a name.
    pub fn pseudonym(&self, kind: Kind, name: &[u8]) -> String {
        format!("{PREFIX}{}", self.digest(kind, name))
    }

    /// Lower-case hex HMAC-SHA-256 of the kind's name, a zero byte, and the text. No name of a kind has a zero byte, so
    /// that no two pairs of kind and text are the same bytes.
    pub fn digest(&self, kind: Kind, text: &[u8]) -> String {
        let mut mac = self.mac.clone();
        mac.update(kind.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(text);
        hex::encode(mac.finalize().into_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    /// Computed with Python's `hmac`.
    #[test]
    fn a_pseudonym_is_the_hmac_of_kind_and_name() {
        let key = Key::new("2026-11", SECRET).unwrap();
        assert_eq!(
            key.pseudonym(Kind::Account, b"alice"),
            "hmac-sha256:b2753dfa76017312c5fc840d971023150703f36168ee4fa3b99605b4024ff44a"
        );
        assert_eq!(
            key.digest(Kind::Object, "é\0".as_bytes()),
            "6caf1a0223272c1f4b1a21eeca011c32b3f4b188384d09ef7956243d3536013e"
        );
        assert_eq!(key.digest(Kind::Input, b""), "47856cff08889e6856ae1fd3fb3403d7c4a1e9d8cd3551f5bb913ac4f5ad6694");
    }

    #[test]
    fn each_kind_has_its_own() {
        let key = Key::new("k", SECRET).unwrap();
        let all: std::collections::BTreeSet<String> =
            Kind::ALL.iter().map(|kind| key.digest(*kind, b"alice")).collect();
        assert_eq!(all.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert!(!kind.as_str().contains('\0'));
        }
    }

    #[test]
    fn a_short_secret_is_no_key() {
        assert_eq!(Key::new("k", &SECRET[1..]).unwrap_err(), KeyError::TooShort(31));
        assert!(Key::new("k", SECRET).is_ok());
        assert!(Key::new("k", &[7; 200]).is_ok());
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let shown = format!("{:?}", Key::new("2026-11", SECRET).unwrap());
        assert_eq!(shown, "Key { id: \"2026-11\", .. }");
        assert_ne!(Key::random().digest(Kind::Input, b""), Key::random().digest(Kind::Input, b""));
    }
}
