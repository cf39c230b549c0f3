//! A server on loopback that answers exactly the bytes it is told to, and counts who came. Used by the tests of the
//! webhook and by `hostile`.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::PATIENCE;

pub const ALLOW: &str = r#"{"result":true}"#;
/// Too long for a name: no name service has to be asked, or can be.
pub const NO_NAME: &str = "a-name-of-more-than-sixty-three-characters-is-none-as-everybody-knows";

/// Stops listening when dropped; connections end with their handlers.
pub struct Evil {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Evil {
    /// `handler` gets every connection and its number, from 1.
    pub async fn start<F, H>(handler: F) -> Self
    where
        F: Fn(TcpStream, usize) -> H + Send + 'static,
        H: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(handler(stream, number));
            }
        });
        Self { address, connections, accepting }
    }

    /// The same bytes for every question, on connections that stay open.
    pub async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                while question(&mut stream).await.is_some() {
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            }
        })
        .await
    }

    /// The same bytes for the first question of every connection, which then closes.
    pub async fn closing_after(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                question(&mut stream).await;
                drop(stream.write_all(&answer).await);
            }
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1/data/minio/allow", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One question, head and body; `None` where the connection ended first.
pub async fn question(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let seen = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = seen.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
            if body.len() >= length {
                return Some(seen);
            }
        }
        if stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    }
}

/// Status line, the given fields and the body's length before the body.
pub fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

pub fn allow() -> String {
    answer("200 OK", "", ALLOW)
}

/// Polls until `condition` holds; fails the test where it does not in time.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
