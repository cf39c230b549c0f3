//! `POST /purge`: answers of the cache are taken back. Who may, and what a body may say. What it does is the pipeline's.
//! Called by `admin`.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use pingora::protocols::http::ServerSession;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::decide::purge::Rule;

/// Far above any account, bucket and prefix together.
const MAX_BODY: usize = 8 * 1024;

/// Who may change state.
#[derive(Debug)]
pub enum Access {
    /// Whoever sends a token with this SHA-256 in `Authorization`.
    Token([u8; 32]),
    /// No token is configured, and only this machine can reach us.
    Local,
    /// No token is configured, and others can reach us.
    Nobody,
}

impl Access {
    pub fn new(token: Option<&SecretString>, loopback: bool) -> Self {
        match token {
            Some(token) => Self::Token(digest(token.expose_secret().as_bytes())),
            None if loopback => Self::Local,
            None => Self::Nobody,
        }
    }

    /// The client's name in the record.
    fn client(&self, headers: &HeaderMap) -> Result<&'static str, Refused> {
        match self {
            Self::Token(expected) => {
                let mut shown = headers.get_all(AUTHORIZATION).iter();
                let (Some(token), None) = (shown.next(), shown.next()) else { return Err(Refused::UNAUTHORIZED) };
                // Hashes, so that neither length nor content can be timed.
                let same = bool::from(expected.ct_eq(&digest(token.as_bytes())));
                if same { Ok("admin") } else { Err(Refused::UNAUTHORIZED) }
            }
            // Every browser says whose page makes it send, also where a name was made to lead here.
            Self::Local if headers.contains_key(ORIGIN) => {
                Err(Refused(StatusCode::FORBIDDEN, "a web page purges nothing without `admin.token`"))
            }
            Self::Local => Ok("local"),
            Self::Nobody => {
                Err(Refused(StatusCode::FORBIDDEN, "no `admin.token` is configured, and this is not loopback"))
            }
        }
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// What happens to a rule; from whom it came and from where.
pub type Act = Arc<dyn Fn(Rule, &str, Option<IpAddr>) + Send + Sync>;

/// The endpoint.
pub struct Purge {
    /// Replaced when the token is.
    pub access: Arc<ArcSwap<Access>>,
    pub act: Act,
}

impl std::fmt::Debug for Purge {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Purge").field("access", &self.access).finish_non_exhaustive()
    }
}

/// Why nothing was purged.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub StatusCode, pub &'static str);

impl Refused {
    const UNAUTHORIZED: Self = Self(StatusCode::UNAUTHORIZED, "unauthorized");
    const TOO_LARGE: Self = Self(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    const BROKEN: Self = Self(StatusCode::BAD_REQUEST, "the body is not whole");
}

/// The body, exactly.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    all: bool,
    account: Option<String>,
    bucket: Option<String>,
    prefix: Option<String>,
}

impl Purge {
    /// Reads a request to its end and does what it says.
    pub async fn serve(&self, session: &mut ServerSession) -> Result<(), Refused> {
        let head = session.req_header();
        let client = self.access.load().client(&head.headers)?;
        let length = announced(&head.headers)?;
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        let rule = rule(&read(session, length).await?)?;
        (self.act)(rule, client, peer);
        Ok(())
    }
}

/// A web page can make a browser send a body, but not of this type without asking us first.
fn announced(headers: &HeaderMap) -> Result<usize, Refused> {
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    if !is_json || headers.contains_key(CONTENT_ENCODING) {
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(length), None, false) = (lengths.next(), lengths.next(), headers.contains_key(TRANSFER_ENCODING)) else {
        return Err(Refused(StatusCode::LENGTH_REQUIRED, "the body must have one length"));
    };
    let length = length.to_str().ok().and_then(|length| length.parse::<usize>().ok()).ok_or(Refused::BROKEN)?;
    if length > MAX_BODY { Err(Refused::TOO_LARGE) } else { Ok(length) }
}

async fn read(session: &mut ServerSession, length: usize) -> Result<Bytes, Refused> {
    let mut body = BytesMut::with_capacity(length);
    while let Some(part) = session.read_request_body().await.map_err(|_| Refused::BROKEN)? {
        if body.len() + part.len() > length {
            return Err(Refused::BROKEN);
        }
        body.extend_from_slice(&part);
    }
    if body.len() == length { Ok(body.freeze()) } else { Err(Refused::BROKEN) }
}

fn rule(body: &[u8]) -> Result<Rule, Refused> {
    const SHAPE: &str = "the body must be an object with `account`, `bucket`, `prefix` (with a bucket), or `all`";
    let refused = || Refused(StatusCode::BAD_REQUEST, SHAPE);
    let Body { all, account, bucket, prefix } = serde_json::from_slice(body).map_err(|_| refused())?;
    Rule::new(all, account.as_deref(), bucket.as_deref(), prefix.as_deref()).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_shown_exactly_once_and_verbatim() {
        let access = Access::new(Some(&SecretString::from("Bearer t")), true);
        let client = |pairs: &[(&str, &str)]| access.client(&headers(pairs)).map_err(|refused| refused.0.as_u16());
        assert_eq!(client(&[("authorization", "Bearer t")]), Ok("admin"));
        for wrong in ["", "t", "bearer t", "Bearer t ", "Bearer tt"] {
            assert_eq!(client(&[("authorization", wrong)]), Err(401), "`{wrong}`");
        }
        assert_eq!(client(&[]), Err(401), "on loopback too");
        assert_eq!(client(&[("authorization", "Bearer t"), ("authorization", "Bearer t")]), Err(401));
    }

    #[test]
    fn without_a_token_only_this_machine_may() {
        let client =
            |loopback| Access::new(None, loopback).client(&HeaderMap::new()).map_err(|refused| refused.0.as_u16());
        assert_eq!((client(true), client(false)), (Ok("local"), Err(403)));
        let page = headers(&[("origin", "http://127.0.0.1:9281")]);
        assert_eq!(Access::new(None, true).client(&page).map_err(|refused| refused.0.as_u16()), Err(403));
    }

    #[test]
    fn a_body_announces_itself() {
        let json = ("content-type", "application/json");
        let of = |pairs: &[(&str, &str)]| announced(&headers(pairs)).map_err(|refused| refused.0.as_u16());
        assert_eq!(of(&[json, ("content-length", "8192")]), Ok(8192));
        assert_eq!(of(&[("content-type", "Application/JSON; charset=utf-8"), ("content-length", "2")]), Ok(2));
        assert_eq!(of(&[json, ("content-length", "8193")]), Err(413));
        assert_eq!(of(&[json]), Err(411));
        assert_eq!(of(&[json, ("content-length", "2"), ("content-length", "2")]), Err(411));
        assert_eq!(of(&[json, ("content-length", "2"), ("transfer-encoding", "chunked")]), Err(411));
        assert_eq!(of(&[json, ("content-length", "-1")]), Err(400));
        for other in ["text/plain", "application/jsonx", "application/x-www-form-urlencoded", ""] {
            assert_eq!(of(&[("content-type", other), ("content-length", "2")]), Err(415), "{other}");
        }
        assert_eq!(of(&[("content-length", "2")]), Err(415));
        assert_eq!(of(&[json, ("content-encoding", "gzip"), ("content-length", "2")]), Err(415));
    }

    #[test]
    fn a_body_says_one_thing() {
        assert_eq!(rule(br#"{"all":true}"#), Ok(Rule::Everything));
        let alice = Rule::new(false, Some("alice"), None, None).unwrap();
        assert_eq!(rule(br#"{"account":"alice","bucket":null,"all":false}"#), Ok(alice));
        let prefix = Rule::new(false, Some("alice"), Some("photos"), Some("2026/")).unwrap();
        assert_eq!(rule(br#"{"prefix":"2026/","bucket":"photos","account":"alice"}"#), Ok(prefix));
        for wrong in [
            "",
            "{}",
            "null",
            "[]",
            r#"{"all":false}"#,
            r#"{"all":1}"#,
            r#"{"all":true,"account":"alice"}"#,
            r#"{"prefix":"a/"}"#,
            r#"{"acount":"alice"}"#,
            r#"{"account":["alice"]}"#,
            r#"{"account":"alice","account":"bob"}"#,
            r#"{"account":"alice"} {}"#,
            "{\"account\":\"\u{0}\"",
        ] {
            assert_eq!(rule(wrong.as_bytes()).map_err(|refused| refused.0.as_u16()), Err(400), "{wrong}");
        }
    }
}
