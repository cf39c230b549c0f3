//! An authorizer behind a URL: pingora's connector, our own pool and exchange. Not the meaning of what it answers; that is
//! `wire::answer`. Built by `app`, called through the [`Authorizer`] trait.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::ErrorType;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::Stream;
use pingora::upstreams::peer::HttpPeer;
use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use tokio::time::{Instant, timeout_at};

use crate::authorizer::exchange::head::Framing;
use crate::authorizer::exchange::{self, Broken, Reading, Received};
use crate::authorizer::idle::Idle;
use crate::authorizer::resolve::Resolver;
use crate::authorizer::tls::{self, TlsError};
use crate::authorizer::url::Url;
use crate::authorizer::{Attempt, Authorizer, Question};
use crate::metrics::names::CertificateUse;
use crate::policy::verdict::Reason;
use crate::version::VERSION;
use crate::wire::answer::Answer;
use crate::wire::{answer, authzen};

/// Everything about one authorizer that does not change until a reload.
#[derive(Debug, Clone)]
pub struct Options {
    pub name: Arc<str>,
    pub url: Url,
    pub dialect: Dialect,
    /// Sent as `Authorization`, as it is.
    pub token: Option<SecretString>,
    /// Not looked at for `http://`.
    pub tls: tls::Options,
    /// Idle connections kept; the authorizer's `max_in_flight`.
    pub pool: usize,
}

/// How question and answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The question is sent exactly as MinIO wrote it.
    Minio,
    /// An evaluation of the OpenID AuthZEN Authorization API 1.0.
    Authzen,
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the token holds characters that a header field cannot carry")]
    Token,
}

pub struct Webhook {
    name: Arc<str>,
    dialect: Dialect,
    /// The part of a question's head that is always the same; the token is in it.
    head: SecretBox<Vec<u8>>,
    tls: Option<tls::Client>,
    resolver: Resolver,
    connector: TransportConnector,
    /// Of this authorizer alone: no connection is shared with another one at the same address.
    idle: Arc<Idle>,
    /// The place of the address that was connected to last.
    preferred: AtomicUsize,
}

/// A question as it is sent. The token at its beginning is wiped when it goes.
struct OnTheWire {
    bytes: Vec<u8>,
    /// So many bytes may hold it.
    secret: usize,
}

impl Drop for OnTheWire {
    fn drop(&mut self) {
        if let Some(secret) = self.bytes.get_mut(..self.secret) {
            secret.zeroize();
        }
    }
}

/// What came back to a probe.
#[derive(Debug, Clone)]
pub struct Probed {
    /// What it would be if it decided.
    pub outcome: Result<Answer, Reason>,
    pub status: Option<u16>,
    /// Of whatever status; absent where none arrived whole.
    pub body: Option<Bytes>,
}

/// Nobody's trace: W3C knows no id of zeros, and a random one would be looked for.
const PROBE_TRACE: &str = "00-00000000000000000000000000000001-0000000000000001-00";

impl Webhook {
    /// Reads certificate files, connects to nothing.
    pub fn new(options: Options) -> Result<Self, WebhookError> {
        let url = &options.url;
        let tls = url.https.then(|| tls::Client::load(&options.tls, &url.host())).transpose()?;
        Ok(Self {
            head: SecretBox::new(Box::new(fixed_head(url, options.token.as_ref())?)),
            name: options.name,
            dialect: options.dialect,
            tls,
            resolver: Resolver::new(&url.host(), url.port),
            // Of its pool nothing is used.
            connector: TransportConnector::new(Some(ConnectorOptions::new(1))),
            idle: Idle::new(options.pool),
            preferred: AtomicUsize::new(0),
        })
    }

    /// When the certificates that were read end.
    pub fn certificates(&self) -> &[(CertificateUse, i64)] {
        self.tls.as_ref().map_or(&[], tls::Client::ends)
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        match &self.tls {
            Some(tls) => tls.peer(address),
            None => HttpPeer::new(address, false, String::new()),
        }
    }

    /// Head and body in one piece: one system call, one packet where it fits.
    fn on_the_wire(&self, traceparent: &str, body: &[u8]) -> OnTheWire {
        let head = self.head.expose_secret();
        // Enough for all of it: what grows leaves a copy behind.
        let mut bytes = Vec::with_capacity(head.len() + body.len() + 128);
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(b"traceparent: ");
        bytes.extend_from_slice(traceparent.as_bytes());
        bytes.extend_from_slice(b"\r\nContent-Length: ");
        bytes.extend_from_slice(body.len().to_string().as_bytes());
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(body);
        OnTheWire { bytes, secret: head.len() }
    }

    async fn attempt(&self, question: &Question<'_>, end: Instant) -> Attempt {
        let body = match self.dialect {
            Dialect::Minio => Cow::Borrowed(question.request.bytes.as_ref()),
            Dialect::Authzen => Cow::Owned(authzen::evaluation(question.request)),
        };
        let sent = self.on_the_wire(question.traceparent, &body);
        match self.asked(&sent.bytes, Reading::Deciding, end).await {
            Ok(received) => Attempt {
                outcome: self.meaning(&received),
                status: Some(received.head.status),
                keep_at_most: received.head.freshness.keep_at_most(),
            },
            Err(broken) => Attempt { outcome: Err(broken.reason), status: broken.status, keep_at_most: None },
        }
    }

    /// Sends `body` as it is, whether or not it is a question, and gives back whatever comes within `limit`. For the
    /// conformance probe: what it says decides nothing.
    pub async fn probe(&self, body: &[u8], limit: Duration) -> Probed {
        let sent = self.on_the_wire(PROBE_TRACE, body);
        let end = Instant::now() + limit;
        let asked = timeout_at(end, self.asked(&sent.bytes, Reading::Everything, end)).await;
        let lost = Broken { reason: Reason::Timeout, status: None, silent: false };
        match asked.unwrap_or(Err(lost)) {
            Ok(received) => Probed {
                outcome: match received.head.framing {
                    Framing::UntilClose if received.head.status == 200 => Err(Reason::ConnectionLost),
                    Framing::UntilClose | Framing::Length(_) | Framing::Chunked => self.meaning(&received),
                },
                status: Some(received.head.status),
                body: Some(received.body.freeze()),
            },
            Err(broken) => Probed { outcome: Err(broken.reason), status: broken.status, body: None },
        }
    }

    async fn asked(&self, bytes: &[u8], reading: Reading, end: Instant) -> Result<Received, Broken> {
        let no_connection = |reason| Broken { reason, status: None, silent: false };
        let Ok(Some(addresses)) = timeout_at(half_way(end), self.resolver.addresses()).await else {
            return Err(no_connection(Reason::Dns));
        };
        if let Some((address, stream)) = self.pooled(&addresses) {
            match self.converse(stream, address, bytes, reading).await {
                // Closed while it was idle, which says nothing about the authorizer: not an attempt of its own.
                Err(Broken { silent: true, .. }) => {}
                done => return done,
            }
        }
        let (address, stream) = self.connect(&addresses, half_way(end)).await.map_err(no_connection)?;
        self.converse(stream, address, bytes, reading).await
    }

    fn pooled(&self, addresses: &[SocketAddr]) -> Option<(SocketAddr, Stream)> {
        self.in_turn(addresses).find_map(|address| Some((address, self.idle.take(address)?)))
    }

    /// A new connection to the first address that takes one; each gets an equal share of the time.
    async fn connect(&self, addresses: &[SocketAddr], by: Instant) -> Result<(SocketAddr, Stream), Reason> {
        let mut left = addresses.len() as u32;
        let mut last = Reason::Connect;
        for address in self.in_turn(addresses) {
            let now = Instant::now();
            let share = by.saturating_duration_since(now) / left.max(1);
            left = left.saturating_sub(1);
            let peer = self.peer(address);
            match timeout_at(now + share, self.connector.new_stream(&peer)).await {
                Ok(Ok(stream)) if self.tls.is_some() && !tls::Client::is_modern(&stream) => return Err(Reason::Tls),
                Ok(Ok(stream)) => {
                    let place = addresses.iter().position(|other| *other == address).unwrap_or(0);
                    self.preferred.store(place, Ordering::Relaxed);
                    return Ok((address, stream));
                }
                Ok(Err(error)) => last = refusal(&error.etype),
                Err(_) => last = Reason::Connect,
            }
            if last == Reason::Tls {
                break;
            }
        }
        Err(last)
    }

    /// All addresses, beginning with the one that worked last.
    fn in_turn<'a>(&self, addresses: &'a [SocketAddr]) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let first = self.preferred.load(Ordering::Relaxed);
        addresses.iter().copied().cycle().skip(first % addresses.len().max(1)).take(addresses.len())
    }

    /// Only a connection on which everything went by the book goes back to the pool; any other ends here.
    async fn converse(
        &self,
        mut stream: Stream,
        address: SocketAddr,
        bytes: &[u8],
        reading: Reading,
    ) -> Result<Received, Broken> {
        let received = exchange::exchange(&mut stream, bytes, reading).await?;
        if received.reusable {
            self.idle.put(address, stream);
        }
        Ok(received)
    }

    fn meaning(&self, Received { head, body, .. }: &Received) -> Result<Answer, Reason> {
        let read = match self.dialect {
            Dialect::Minio => answer::read,
            Dialect::Authzen => answer::read_authzen,
        };
        read(head.status, head.content_encoding.as_deref(), head.location, body)
    }
}

#[async_trait]
impl Authorizer for Webhook {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    async fn ask(&self, question: &Question<'_>, limit: Duration) -> Attempt {
        let end = Instant::now() + limit;
        timeout_at(end, self.attempt(question, end)).await.unwrap_or(Attempt::fault(Reason::Timeout))
    }
}

/// Name and connection get half of the time each could have, so that a black hole is told from a slow policy.
fn half_way(end: Instant) -> Instant {
    let now = Instant::now();
    now + end.saturating_duration_since(now) / 2
}

fn fixed_head(url: &Url, token: Option<&SecretString>) -> Result<Vec<u8>, WebhookError> {
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept-Encoding: identity\r\n\
         User-Agent: countersign/{}\r\n",
        url.target,
        url.authority(),
        VERSION,
    );
    let Some(token) = token else { return Ok(head.into_bytes()) };
    let token = token.expose_secret().as_bytes();
    // Looked at where it is: a header's value would be a copy that nobody wipes. RFC 9110, section 5.5.
    if !token.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Err(WebhookError::Token);
    }
    // In one piece, of its full size from the start.
    Ok([head.as_bytes(), b"Authorization: ", token, b"\r\n"].concat())
}

/// Why there is no connection.
fn refusal(error: &ErrorType) -> Reason {
    match error {
        ErrorType::TLSWantX509Lookup
        | ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError => Reason::Tls,
        _ => Reason::Connect,
    }
}

#[cfg(test)]
mod tests;
