//! Where questions go: an `http://` or `https://` URL, resolved once, and the head of every request to it.
//!
//! What is compared between servers goes over `http://`: the client's cipher would be measured too.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};

use super::transport::Tls;

/// A resolved address and the constant parts of a request.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tls: Option<Tls>,
    pub(super) http2: bool,
    host: String,
    path: String,
    token: Option<String>,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Default)]
pub(super) struct Speaking {
    /// HTTP/2: by ALPN over TLS, else by prior knowledge.
    pub(super) http2: bool,
    /// PEM file of whom to trust, instead of the machine's.
    pub(super) ca: Option<std::path::PathBuf>,
}

impl Target {
    /// `token` is sent as the `Authorization` header, verbatim, as MinIO does.
    pub(super) async fn resolve(url: &str, token: Option<&str>, speaking: &Speaking) -> anyhow::Result<Self> {
        let (secure, host, path) = split(url)?;
        let token = token.map(str::to_owned);
        let printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        ensure!(printable(url) && !url.contains(' '), "`{url}` has characters that a URL cannot have");
        ensure!(token.as_deref().is_none_or(printable), "the token has characters that a header cannot have");
        ensure!(secure || speaking.ca.is_none(), "a CA is of use with https only");
        let port = match (has_port(&host), secure) {
            (true, _) => host.clone(),
            (false, true) => format!("{host}:443"),
            (false, false) => format!("{host}:80"),
        };
        let addresses: Vec<_> =
            tokio::net::lookup_host(&port).await.with_context(|| format!("cannot resolve `{host}`"))?.collect();
        ensure!(!addresses.is_empty(), "`{host}` has no address");
        let name = port.rsplit_once(':').map_or(port.as_str(), |(name, _)| name).trim_matches(['[', ']']);
        let tls = if secure { Some(Tls::new(name, speaking.ca.as_deref(), speaking.http2)?) } else { None };
        Ok(Self { addresses, tls, http2: speaking.http2, host, path, token })
    }

    /// The head that MinIO's HTTP client (Go's) sends before a body of this length. Nothing for HTTP/2, where it is no
    /// bytes that could be written once.
    pub(super) fn head(&self, length: usize) -> Vec<u8> {
        if self.http2 {
            return Vec::new();
        }
        let token = self.token.as_ref().map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {length}\r\n\
             {token}Content-Type: application/json\r\n\r\n",
            self.path, self.host
        )
        .into_bytes()
    }

    /// The same for HTTP/2.
    pub(super) fn request(&self, length: usize) -> Result<http::Request<()>, http::Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let request = http::Request::post(format!("{scheme}://{}{}", self.host, self.path))
            .version(http::Version::HTTP_2)
            .header(http::header::USER_AGENT, "Go-http-client/2.0")
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::CONTENT_LENGTH, length);
        match &self.token {
            Some(token) => request.header(http::header::AUTHORIZATION, token).body(()),
            None => request.body(()),
        }
    }
}

/// Whether by TLS, host with port, and path with query.
fn split(url: &str) -> anyhow::Result<(bool, String, String)> {
    let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => bail!("`{url}` begins with neither http:// nor https://"),
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let start = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(start);
    ensure!(!host.is_empty(), "`{url}` names no host");
    ensure!(!host.contains('@'), "`{url}` holds credentials: give them as the token");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((secure, host.to_owned(), path))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_host_and_path() {
        let parts = |url| split(url).unwrap();
        assert_eq!(parts("http://a:1"), (false, "a:1".into(), "/".into()));
        assert_eq!(parts("https://a/b/c?d=e#f"), (true, "a".into(), "/b/c?d=e".into()));
        assert_eq!(parts("http://[::1]:80?x"), (false, "[::1]:80".into(), "/?x".into()));
        for bad in ["ftp://a", "a:1", "http://", "http:///x", "http://u:p@a/"] {
            assert!(split(bad).is_err(), "{bad}");
        }
        assert!(has_port("[::1]:80") && has_port("a:1") && !has_port("[::1]") && !has_port("a:"));
    }

    #[tokio::test]
    async fn the_head_is_the_one_that_minio_sends() {
        let target = Target::resolve("http://127.0.0.1:9/x?y", Some("Bearer t"), &Speaking::default()).await.unwrap();
        assert_eq!(target.addresses, ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(
            String::from_utf8(target.head(5)).unwrap(),
            "POST /x?y HTTP/1.1\r\nHost: 127.0.0.1:9\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 5\r\n\
             Authorization: Bearer t\r\nContent-Type: application/json\r\n\r\n"
        );
        let injected = Target::resolve("http://127.0.0.1:9/", Some("a\r\nb: c"), &Speaking::default()).await;
        assert!(injected.unwrap_err().to_string().contains("token"));
    }
}
