//! The address of an authorizer, taken apart once at start. Called by `authorizer::webhook`; `config` may use it to
//! say early what is wrong.

use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub https: bool,
    pub host: Host,
    pub port: u16,
    /// For the `Host` field, as written.
    pub authority: String,
    /// Path and query, as written; at least `/`.
    pub target: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    #[error("`{0}` is not a URL")]
    Invalid(String),
    #[error("`{0}` must begin with http:// or https://")]
    Scheme(String),
    #[error("`{0}` must not hold a user name or password; use `token`")]
    UserInfo(String),
    #[error("`{0}` has a port that does not exist")]
    Port(String),
    #[error("`{0}` has a fragment, which is never sent")]
    Fragment(String),
}

impl Url {
    /// `http` and `https` with a host; no user name, no fragment.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::Fragment(text.to_owned()));
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Invalid(text.to_owned()))?;
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let authority = uri.authority().ok_or_else(|| UrlError::Invalid(text.to_owned()))?.as_str();
        if authority.contains('@') {
            return Err(UrlError::UserInfo(text.to_owned()));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| UrlError::Invalid(text.to_owned()))?;
        let port = match authority.strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) {
            None => Some(if https { 443 } else { 80 }),
            Some(port) => port.parse().ok().filter(|port| *port != 0),
        };
        Ok(Self {
            https,
            host: Host::parse(host).ok_or_else(|| UrlError::Invalid(text.to_owned()))?,
            port: port.ok_or_else(|| UrlError::Port(text.to_owned()))?,
            authority: authority.to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })
    }
}

impl Host {
    fn parse(host: &str) -> Option<Self> {
        if let Some(inner) = host.strip_prefix('[') {
            return Some(Self::Address(IpAddr::V6(inner.strip_suffix(']')?.parse().ok()?)));
        }
        Some(host.parse().map_or_else(|_| Self::Name(host.to_owned()), Self::Address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_written() {
        let url = Url::parse("https://opa.example:8181/v1/data/minio/allow?pretty=false").unwrap();
        assert_eq!((url.https, url.port), (true, 8181));
        assert_eq!(url.host, Host::Name("opa.example".into()));
        assert_eq!(url.authority, "opa.example:8181");
        assert_eq!(url.target, "/v1/data/minio/allow?pretty=false");
        let short = Url::parse("http://127.0.0.1").unwrap();
        assert_eq!((short.https, short.port, short.target.as_str()), (false, 80, "/"));
        assert_eq!(short.host, Host::Address("127.0.0.1".parse().unwrap()));
        let six = Url::parse("https://[::1]/x").unwrap();
        assert_eq!((six.host, six.port), (Host::Address("::1".parse().unwrap()), 443));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for (text, expected) in [
            ("ftp://h/", UrlError::Scheme("ftp://h/".into())),
            ("h:80", UrlError::Scheme("h:80".into())),
            ("/v1/data", UrlError::Scheme("/v1/data".into())),
            ("http://u:p@h/", UrlError::UserInfo("http://u:p@h/".into())),
            ("http://h:0/", UrlError::Port("http://h:0/".into())),
            ("http://h/#x", UrlError::Fragment("http://h/#x".into())),
            ("http://h/a b", UrlError::Invalid("http://h/a b".into())),
            ("", UrlError::Invalid(String::new())),
        ] {
            assert_eq!(Url::parse(text), Err(expected), "{text}");
        }
        assert!(Url::parse("http://h:99999/").is_err());
        assert!(Url::parse("http:///x").is_err());
    }
}
