//! Who asks: the tokens MinIO may show in `Authorization`. Compared in constant time over their hashes, so that neither
//! length nor content can be timed. Called by `front`; reading the secrets is the configuration's work.

use std::sync::Arc;

use http::{HeaderMap, header};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// Name of the client where no token is configured, which is possible on loopback only.
pub const LOCAL: &str = "local";

/// The accepted tokens; several while one is being rotated.
#[derive(Debug)]
pub struct Tokens {
    /// Empty: the header is not looked at.
    known: Vec<(Arc<str>, [u8; 32])>,
    local: Arc<str>,
}

impl Tokens {
    /// `(name, token)` pairs. Without any, everybody is the client `local`.
    pub fn new<'a>(tokens: impl IntoIterator<Item = (&'a str, &'a SecretString)>) -> Self {
        let known = tokens.into_iter().map(|(name, token)| (name.into(), digest(token.expose_secret().as_bytes())));
        Self { known: known.collect(), local: LOCAL.into() }
    }

    /// The name of the client that shows exactly one `Authorization` header with an accepted token.
    pub fn client(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        if self.known.is_empty() {
            return Some(self.local.clone());
        }
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(token), None) = (shown.next(), shown.next()) else { return None };
        self.matching(&digest(token.as_bytes())).map(|(name, _)| name.clone())
    }

    /// Looks at every token, found or not: the time taken does not tell which one matched.
    fn matching(&self, shown: &[u8; 32]) -> Option<&(Arc<str>, [u8; 32])> {
        let mut found = u32::MAX;
        for (index, (_, known)) in (0u32..).zip(&self.known) {
            let equal: Choice = known.ct_eq(shown);
            found = u32::conditional_select(&found, &index, equal);
        }
        self.known.get(usize::try_from(found).ok()?)
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(tokens: &Tokens, shown: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in shown {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        tokens.client(&headers).map(|name| name.to_string())
    }

    fn two() -> Tokens {
        let (old, new) = (SecretString::from("Bearer old"), SecretString::from("Bearer new"));
        Tokens::new([("minio-old", &old), ("minio-new", &new)])
    }

    #[test]
    fn each_token_has_its_name() {
        assert_eq!(client(&two(), &["Bearer old"]).as_deref(), Some("minio-old"));
        assert_eq!(client(&two(), &["Bearer new"]).as_deref(), Some("minio-new"));
    }

    #[test]
    fn nothing_else_is_accepted() {
        for wrong in [
            "Bearer",
            "Bearer ol",
            "Bearer old ",
            "bearer old",
            "Bearer olD",
            "Bearer old2",
            "",
            "Bearer old, Bearer new",
        ] {
            assert_eq!(client(&two(), &[wrong]), None, "`{wrong}`");
        }
        assert_eq!(client(&two(), &[]), None);
        assert_eq!(client(&two(), &["Bearer old", "Bearer old"]), None, "two headers");
    }

    #[test]
    fn without_tokens_the_header_is_not_looked_at() {
        assert_eq!(client(&Tokens::new([]), &["anything"]).as_deref(), Some(LOCAL));
    }
}
