//! Addresses of authorizers and collectors, taken apart once. Not a general URL library: http and https only, no user,
//! no fragment. The configuration parses, `webhook` connects.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Url {
    pub https: bool,
    /// Name or address; an IPv6 address without its brackets. Never empty.
    pub host: String,
    pub port: u16,
    /// Path and query as written, at least `/`.
    pub target: String,
}

/// What is connected to: an address, or a name to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

impl Url {
    /// Errors: what is wrong, in words that follow "the URL". They never repeat the text, for it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('#') {
            return Err("has a fragment, which no server is sent");
        }
        let uri: Uri = text.parse().map_err(|_| "is not one, such as `http://127.0.0.1:8181/v1/data/minio/allow`")?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err("must begin with `http://` or `https://`"),
        };
        let authority = uri.authority().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("has a user and password; use `token`");
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err("has no host");
        }
        // The parser takes any digits for a port and then says there is none.
        let port = match authority.as_str().split_once(']').map_or(authority.as_str(), |(_, rest)| rest).split_once(':')
        {
            Some((_, port)) => port.parse().ok().filter(|port| *port != 0).ok_or("has a port that is none")?,
            None if https => 443,
            None => 80,
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { https, host, port, target })
    }

    pub fn host(&self) -> Host {
        self.host.parse().map_or_else(|_| Host::Name(self.host.clone()), Host::Address)
    }

    /// `host:port` as a `Host` header and a connector want it, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_apart() {
        let url = Url::parse("https://[::1]/v1/data?pretty=true").unwrap();
        assert_eq!(
            (url.https, url.host.as_str(), url.port, url.target.as_str()),
            (true, "::1", 443, "/v1/data?pretty=true")
        );
        assert_eq!(url.to_string(), "https://[::1]:443/v1/data?pretty=true");
        assert_eq!(url.host(), Host::Address("::1".parse().unwrap()));
        assert_eq!(Url::parse("http://opa").unwrap().host(), Host::Name("opa".into()));
        assert_eq!(Url::parse("http://opa").unwrap().to_string(), "http://opa:80/");
        assert_eq!(Url::parse("http://[::1]:8181/").unwrap().to_string(), "http://[::1]:8181/");
        assert_eq!(Url::parse("http://opa?x=1").unwrap().target, "/?x=1");
    }

    #[test]
    fn refused_without_repeating_it() {
        let cases = [
            ("", "such as"),
            ("opa:8181", "http://"),
            ("/v1/data", "http://"),
            ("ftp://opa/", "http://"),
            ("http://", "is not one"),
            ("http:///path", "is not one"),
            ("http://[]/", "has no host"),
            ("http://opa:0/", "a port that is none"),
            ("http://opa:99999/", "a port that is none"),
            ("http://opa:/", "a port that is none"),
            ("http://[::1]:99999/", "a port that is none"),
            ("http://user:hunter2@opa/", "use `token`"),
            ("http://opa/a#b", "fragment"),
            ("http://o pa/", "is not one"),
        ];
        for (text, expected) in cases {
            let message = Url::parse(text).expect_err(text);
            assert!(message.contains(expected), "{text}: {message}");
            assert!(!message.contains("hunter2"));
        }
    }
}
