//! Where questions go: an `http://` URL, resolved once, and the head of every request to it.
//!
//! TLS is left out on purpose: a load that is to be compared between servers must not measure the client's cipher.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};

/// A resolved address and the constant parts of a request.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) addresses: Vec<SocketAddr>,
    host: String,
    path: String,
    token: Option<String>,
}

impl Target {
    /// `token` is sent as the `Authorization` header, verbatim, as MinIO does.
    pub(super) async fn resolve(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let (host, path) = split(url)?;
        let token = token.map(str::to_owned);
        let printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        ensure!(printable(url) && !url.contains(' '), "`{url}` has characters that a URL cannot have");
        ensure!(token.as_deref().is_none_or(printable), "the token has characters that a header cannot have");
        let port = if has_port(&host) { host.clone() } else { format!("{host}:80") };
        let addresses: Vec<_> =
            tokio::net::lookup_host(&port).await.with_context(|| format!("cannot resolve `{host}`"))?.collect();
        ensure!(!addresses.is_empty(), "`{host}` has no address");
        Ok(Self { addresses, host, path, token })
    }

    /// The head that MinIO's HTTP client (Go's) sends before a body of this length.
    pub(super) fn head(&self, length: usize) -> Vec<u8> {
        let token = self.token.as_ref().map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {length}\r\n\
             {token}Content-Type: application/json\r\n\r\n",
            self.path, self.host
        )
        .into_bytes()
    }
}

/// Host with port, and path with query.
fn split(url: &str) -> anyhow::Result<(String, String)> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("`{url}` does not begin with http://, the only scheme the load generator speaks");
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let start = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(start);
    ensure!(!host.is_empty(), "`{url}` names no host");
    ensure!(!host.contains('@'), "`{url}` holds credentials: give them as the token");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((host.to_owned(), path))
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
        assert_eq!(parts("http://a:1"), ("a:1".into(), "/".into()));
        assert_eq!(parts("http://a/b/c?d=e#f"), ("a".into(), "/b/c?d=e".into()));
        assert_eq!(parts("http://[::1]:80?x"), ("[::1]:80".into(), "/?x".into()));
        for bad in ["https://a", "a:1", "http://", "http:///x", "http://u:p@a/"] {
            assert!(split(bad).is_err(), "{bad}");
        }
        assert!(has_port("[::1]:80") && has_port("a:1") && !has_port("[::1]") && !has_port("a:"));
    }

    #[tokio::test]
    async fn the_head_is_the_one_that_minio_sends() {
        let target = Target::resolve("http://127.0.0.1:9/x?y", Some("Bearer t")).await.unwrap();
        assert_eq!(target.addresses, ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(
            String::from_utf8(target.head(5)).unwrap(),
            "POST /x?y HTTP/1.1\r\nHost: 127.0.0.1:9\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 5\r\n\
             Authorization: Bearer t\r\nContent-Type: application/json\r\n\r\n"
        );
        let injected = Target::resolve("http://127.0.0.1:9/", Some("a\r\nb: c")).await;
        assert!(injected.unwrap_err().to_string().contains("token"));
    }
}
