//! The admin listener of a running Countersign, as commands reach it: one request over a connection of its own. Not the
//! listener itself, which is `admin`. Called by `commands::purge` and `commands::check`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

/// Of the answer.
const MAX_ANSWER: u64 = 64 * 1024;

/// Where to ask, and with which token.
pub struct Door {
    pub addresses: Vec<SocketAddr>,
    /// As it is named in messages.
    pub host: String,
    pub token: Option<SecretString>,
    /// For connecting, and then for each wait for bytes.
    pub patience: Duration,
}

/// The part of `http://host:port` that says where. `None` for any other URL: the listener speaks nothing else.
pub fn host(url: &str) -> Option<&str> {
    url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'))
}

/// The addresses of `host:port`.
pub fn addresses(host: &str) -> anyhow::Result<Vec<SocketAddr>> {
    Ok(host.to_socket_addrs().with_context(|| format!("`{host}` has no address"))?.collect())
}

impl Door {
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        self.ask(&format!("GET {path}"), "")
    }

    pub fn post(&self, path: &str, json: &str) -> anyhow::Result<(u16, String)> {
        let entity = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}", json.len());
        self.ask(&format!("POST {path}"), &entity)
    }

    /// Status and body of the answer. `entity`: the last headers, the empty line and the body, or nothing of all that.
    fn ask(&self, what: &str, entity: &str) -> anyhow::Result<(u16, String)> {
        let host = &self.host;
        let mut stream = self.connect().with_context(|| format!("cannot reach `{host}`"))?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        let authorization =
            self.token.as_ref().map(|token| Zeroizing::new(format!("Authorization: {}\r\n", token.expose_secret())));
        let request = Zeroizing::new(format!(
            "{what} HTTP/1.1\r\nHost: {host}\r\n{}Connection: close\r\n{}",
            authorization.as_deref().map_or("", String::as_str),
            if entity.is_empty() { "\r\n" } else { entity },
        ));
        stream.write_all(request.as_bytes()).with_context(|| format!("cannot ask `{host}`"))?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).with_context(|| format!("no answer from `{host}`"))?;
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        match (head.parse(&answer), head.code) {
            (Ok(httparse::Status::Complete(end)), Some(status)) => {
                let body = answer.get(end..).unwrap_or_default();
                Ok((status, String::from_utf8_lossy(body).into_owned()))
            }
            _ => bail!("`{host}` does not answer in HTTP"),
        }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut failed = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, self.patience) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}
