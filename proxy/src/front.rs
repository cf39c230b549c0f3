//! Bytes in, bytes out: one question of the decision endpoint, over either version of HTTP. Limits, deadlines, token, MinIO's
//! empty start-up POST. Decides nothing: a whole question with a good token goes to `pipeline`. Called by `connection` and
//! `streams`.

pub mod body;
pub mod connection;
pub mod framing;
pub mod secure;
mod streams;
pub mod target;
pub mod tokens;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use pingora::ErrorType;
use pingora::http::ResponseHeader;
use pingora::protocols::http::{ReusableHttpStream, ServerSession};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::audit::spool::Spool;
use crate::front::body::{BodyError, end, linger, read_body};
use crate::front::secure::Secure;
use crate::front::tokens::Tokens;
use crate::metrics::{FrontOutcome, Metrics};
use crate::pipeline::reply::Reply;
use crate::pipeline::{Inbound, Pipeline};
use crate::policy::verdict::Reason;

/// How long, after an answer that came before the end of the question, the rest of it is read and thrown away, so that
/// the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(5);
/// An answer is some hundred bytes; a peer that does not take them within this time is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What `read_timeout` is where nobody says otherwise.
const USUAL_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// MinIO closes connections that it does not use after 15 s; and a second for it to do so.
const AHEAD: Duration = Duration::from_secs(16);

#[derive(Debug)]
pub struct Options {
    /// The decision endpoint; compared exactly, the query is ignored.
    pub path: String,
    pub tokens: Tokens,
    /// From accept to the first byte, but see `until_first_byte`, and from the first byte to the last of every
    /// question.
    pub read_timeout: Duration,
    /// Between an answer and the first byte of the next question. MinIO closes idle connections after 15 s and never
    /// repeats a question, so this must be clearly more.
    pub keepalive: Duration,
    /// Bytes.
    pub max_body: usize,
}

impl Options {
    /// How long a new connection may stay silent. Go's transport dials ahead: while a request waits for the connection
    /// that is being made for it, another one comes free and takes the request, and the new connection is parked without
    /// a byte, to be used up to [`AHEAD`] later. Closed at that very instant, it would cost a call, which is not repeated.
    /// So the usual time is lengthened to more than that; a shorter one than usual was somebody's choice, and is kept to.
    fn until_first_byte(&self) -> Duration {
        if self.read_timeout < USUAL_READ_TIMEOUT { self.read_timeout } else { self.read_timeout.max(AHEAD) }
    }
}

/// Set once, when the process begins to drain: from then on every answer closes its connection.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<Drain>);

#[derive(Debug, Default)]
struct Drain {
    begun: AtomicBool,
    begins: Notify,
}

impl Draining {
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.begins.notify_waiters();
    }

    pub fn begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Until it has begun.
    pub async fn wait(&self) {
        // Made before the look: it hears of whatever comes after.
        let begins = self.0.begins.notified();
        if !self.begun() {
            begins.await;
        }
    }
}

pub struct Front {
    pipeline: Arc<Pipeline>,
    spool: Spool,
    metrics: Arc<Metrics>,
    draining: Draining,
    options: ArcSwap<Options>,
    /// Absent: plain HTTP.
    secure: ArcSwapOption<Secure>,
}

/// What a request turned out to be.
enum Asked {
    Question {
        client: Arc<str>,
        body: Bytes,
    },
    Probe {
        client: Arc<str>,
    },
    Refused {
        client: Option<Arc<str>>,
        reason: Reason,
    },
    /// Nobody knows where it ends, so nothing after it on the connection is a question.
    Unframed {
        client: Option<Arc<str>>,
    },
    /// Nobody is there to be answered.
    Gone,
}

/// How far a request came.
enum Exchange {
    /// `whole`: it was read to its end, and what follows it is another one.
    Answered { reply: Reply, whole: bool },
    /// Bytes that are no HTTP request.
    NoHttp,
    /// The connection is of no more use.
    Gone,
}

impl Front {
    pub fn new(
        pipeline: Arc<Pipeline>,
        spool: Spool,
        metrics: Arc<Metrics>,
        draining: Draining,
        options: Options,
    ) -> Self {
        let (options, secure) = (ArcSwap::from_pointee(options), ArcSwapOption::empty());
        Self { pipeline, spool, metrics, draining, options, secure }
    }

    /// From the next question on, other options.
    pub fn replace(&self, options: Options) {
        self.options.store(Arc::new(options));
    }

    /// From the next connection on, another certificate, or none.
    pub fn secure(&self, secure: Option<Arc<Secure>>) {
        self.secure.store(secure);
    }

    /// One question, from its first byte to its answer. Here and in what this calls, futures are pinned where they are made:
    /// they have kilobytes, and to await or to time them would move them first. Those that most questions do not need are
    /// boxed, so as not to make the others larger. `None` where the connection is of no more use.
    async fn serve(&self, mut session: ServerSession) -> Option<ReusableHttpStream> {
        let exchanged = pin!(self.exchange(&mut session)).await;
        let (reply, whole) = match exchanged {
            Exchange::Answered { reply, whole } => (reply, whole),
            Exchange::NoHttp => {
                Box::pin(refuse_head(&mut session)).await;
                self.ended(Box::pin(linger(session, LINGER)).await);
                return None;
            }
            Exchange::Gone => return None,
        };
        // Draining may have begun while the question was being decided.
        if !whole || self.draining.begun() {
            session.set_keepalive(None);
        }
        let is_last = session.get_keepalive().is_none();
        let written = tokio::time::timeout(WRITE_TIMEOUT, pin!(self.write(&mut session, &reply))).await;
        reply.left();
        self.ended(written.is_err().then_some(FrontOutcome::Unread));
        written.ok()?.ok()?;
        if !whole {
            self.ended(Box::pin(linger(session, LINGER)).await);
            return None;
        }
        if is_last {
            // Or the framework closes it, and does not say whether the next question was sent ahead.
            session.set_keepalive(Some(0));
        }
        // Where the peer has said that it ends, that is said in TLS, which a peer that takes nothing can hold up.
        let finished = tokio::time::timeout(WRITE_TIMEOUT, pin!(session.finish())).await;
        self.ended(finished.is_err().then_some(FrontOutcome::Unread));
        let stream = finished.ok()?.ok()??;
        if !is_last {
            return Some(stream);
        }
        self.ended(Box::pin(end(stream, LINGER)).await);
        None
    }

    /// Counts the limit at which a connection ended, where it was one.
    fn ended(&self, at: Option<FrontOutcome>) {
        if let Some(outcome) = at {
            self.metrics.front_request(None, outcome);
        }
    }

    async fn exchange(&self, session: &mut ServerSession) -> Exchange {
        // One and the same to the end of the question.
        let options = self.options.load_full();
        let until = Instant::now() + options.read_timeout;
        match tokio::time::timeout_at(until, pin!(session.read_request())).await {
            Ok(Ok(true)) => {}
            Ok(Err(error)) if error.etype == ErrorType::InvalidHTTPHeader => {
                self.metrics.front_request(None, FrontOutcome::Refused(Reason::MalformedRequest));
                return Exchange::NoHttp;
            }
            Ok(Ok(false) | Err(_)) | Err(_) => {
                self.metrics.front_request(None, FrontOutcome::Incomplete);
                return Exchange::Gone;
            }
        }
        // `read_request` has just taken the client's word for how long to keep the connection.
        let keepalive = session.get_keepalive().map(|_| options.keepalive.as_secs());
        session.set_keepalive(keepalive);
        let peer = session.client_addr().and_then(|address| address.as_inet()).copied();
        let asked = pin!(self.asked(session, &options, until)).await;
        let whole = !matches!(asked, Asked::Unframed { .. }) && session.is_body_done();
        match pin!(self.reply_to(session, asked, peer)).await {
            Some(reply) => Exchange::Answered { reply, whole },
            None => Exchange::Gone,
        }
    }

    /// Framing, method, path, token, encoding and size, in this order; then the body.
    async fn asked(&self, session: &mut ServerSession, options: &Options, until: Instant) -> Asked {
        if !framing::is_plain(session) {
            return Asked::Unframed { client: None };
        }
        let head = session.req_header();
        if head.method != Method::POST {
            return Asked::Refused { client: None, reason: Reason::MethodNotAllowed };
        }
        if !target::is(session, &options.path) {
            return Asked::Refused { client: None, reason: Reason::UnknownPath };
        }
        let Some(client) = options.tokens.client(&head.headers) else {
            return Asked::Refused { client: None, reason: Reason::Unauthorized };
        };
        if head.headers.contains_key(header::CONTENT_ENCODING) {
            return Asked::Refused { client: Some(client), reason: Reason::UnsupportedEncoding };
        }
        match tokio::time::timeout_at(until, pin!(read_body(session, options.max_body))).await {
            Ok(Ok(body)) if body.is_empty() => Asked::Probe { client },
            Ok(Ok(body)) => Asked::Question { client, body },
            Ok(Err(BodyError::TooLarge)) => Asked::Refused { client: Some(client), reason: Reason::RequestTooLarge },
            Ok(Err(BodyError::Broken)) => Asked::Unframed { client: Some(client) },
            Ok(Err(BodyError::Gone)) | Err(_) => {
                self.metrics.front_request(Some(&client), FrontOutcome::Incomplete);
                Asked::Gone
            }
        }
    }

    async fn reply_to(&self, session: &mut ServerSession, asked: Asked, peer: Option<SocketAddr>) -> Option<Reply> {
        match asked {
            Asked::Question { client, body } => {
                let traceparent = session.req_header().headers.get("traceparent").map(|v| v.as_bytes().to_vec());
                let inbound = Inbound { client: client.clone(), peer, traceparent, body, received: Instant::now() };
                let reply = pin!(self.pipeline.answer(inbound)).await;
                self.metrics.front_request(Some(&client), outcome(&reply));
                Some(reply)
            }
            Asked::Probe { client } => {
                self.metrics.probe(&client);
                self.metrics.front_request(Some(&client), FrontOutcome::Probe);
                Some(Reply::probe())
            }
            Asked::Refused { client, reason } => {
                self.metrics.front_request(client.as_deref(), FrontOutcome::Refused(reason));
                if reason == Reason::Unauthorized
                    && let Some(peer) = peer
                {
                    self.spool.unauthorized(peer.ip());
                }
                Some(Reply::refused(reason))
            }
            Asked::Unframed { client } => {
                self.metrics.front_request(client.as_deref(), FrontOutcome::Refused(Reason::MalformedRequest));
                Some(Reply::refused(Reason::MalformedRequest))
            }
            Asked::Gone => None,
        }
    }

    /// One write: status line, headers and body together.
    async fn write(&self, session: &mut ServerSession, reply: &Reply) -> pingora::Result<()> {
        let body = reply.body();
        let mut head = head(reply)?;
        if session.get_keepalive().is_none() && !session.is_http2() {
            head.insert_header(header::CONNECTION, "close")?;
        }
        session.write_response_header(Box::new(head)).await?;
        session.write_response_body(body, true).await
    }
}

fn head(reply: &Reply) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(reply.status(), Some(6))?;
    head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))?;
    head.insert_header(header::CONTENT_LENGTH, reply.body().len())?;
    if reply.reason() == Some(Reason::MethodNotAllowed) {
        head.insert_header(header::ALLOW, "POST")?;
    }
    if let Some(record) = reply.record() {
        head.insert_header("X-Countersign-Decision", record.to_string())?;
    }
    if let Some(reason) = reply.reason() {
        head.insert_header("X-Countersign-Reason", HeaderValue::from_static(reason.as_str()))?;
    }
    Ok(head)
}

/// The answer to bytes that are no HTTP request. There is no request to go by, so the framework's own way to answer
/// without one is taken; it closes the connection.
async fn refuse_head(session: &mut ServerSession) {
    let reply = Reply::refused(Reason::MalformedRequest);
    let Ok(head) = head(&reply) else { return };
    let write = Box::pin(session.write_error_response(head, reply.body()));
    let written = tokio::time::timeout(WRITE_TIMEOUT, write).await;
    if !matches!(written, Ok(Ok(()))) {
        tracing::debug!("whoever sent no HTTP request did not wait for the answer");
    }
}

/// Whether a question that reached the pipeline was decided, or turned away there.
fn outcome(reply: &Reply) -> FrontOutcome {
    match (reply.record(), reply.reason()) {
        (None, Some(reason)) => FrontOutcome::Refused(reason),
        _ => FrontOutcome::Decided,
    }
}
