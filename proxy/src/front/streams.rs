//! The life of one connection with HTTP/2: its questions, each on a stream of its own, the limits within which it may ask,
//! and its end. Exists because pingora's own loop waits for a connection's beginning without a limit, for its first question
//! as long as between two, and hears of a drain only when it is over. What becomes of a question is `front`'s; called by
//! `front::connection`.

mod allowance;
mod metered;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, handshake};
use pingora::protocols::{Digest, Stream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::front::Front;
use crate::front::streams::metered::Metered;
use crate::metrics::FrontOutcome;
use crate::policy::verdict::Reason;

/// Questions at a time. Go's transport opens a second connection beyond what it is told, and begins with 100 before it
/// has heard: fewer would refuse those.
const MAX_STREAMS: u32 = 128;
/// Of a head, decoded, in bytes. MinIO's is some hundred; h2 takes as many CONTINUATION frames as this needs.
const MAX_HEAD: u32 = 16 * 1024;
/// Streams that the peer took back before anybody looked at them (CVE-2023-44487).
const MAX_RESETS_UNSEEN: usize = 20;
/// Streams that we had to reset, in the life of a connection: for frames that must not be (CVE-2025-8671), and beyond
/// `MAX_STREAMS`.
const MAX_RESETS_OURS: usize = 100;
/// Questions whose head is none, in the life of a connection.
const MAX_MALFORMED: usize = 32;
/// Bytes of an answer that wait for the peer; it has some hundred.
const MAX_WAITING: usize = 16 * 1024;
/// How long a peer that was told to go may take, once nothing is being answered.
const GOODBYE: Duration = Duration::from_secs(5);

fn limits() -> H2Options {
    let mut limits = H2Options::new();
    limits
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .max_pending_accept_reset_streams(MAX_RESETS_UNSEEN)
        .max_local_error_reset_streams(Some(MAX_RESETS_OURS))
        .max_send_buffer_size(MAX_WAITING);
    limits
}

type Connection = h2::server::Connection<Stream, Bytes>;

/// Answers until the peer closes, has kept silent for too long, or has gone too far. Where it was not the peer that ended the
/// connection, what became of it is counted.
pub async fn serve(front: &Arc<Front>, stream: Stream) {
    let ended = |outcome| front.metrics.front_request(None, outcome);
    // As over HTTP/1.1, where what must come in time is the first byte. Here a connection has said something long before it
    // asks anything.
    let first = Instant::now() + front.options.load().until_first_byte();
    let (digest, too_much) = (digest(&stream), Arc::new(Notify::new()));
    let mut connection = match begin(stream, too_much.clone(), first).await {
        Ok(connection) => connection,
        Err(outcome) => return outcome.into_iter().for_each(ended),
    };
    let mut life = Life { first: Some(first), told: false, malformed: 0, asked: Arc::default() };
    loop {
        // In this order: whoever never stops sending uses up what tokio lets a task do at a time, and a timer needs some of it.
        tokio::select! {
            biased;
            () = too_much.notified() => break,
            () = front.draining.wait(), if life.may_be_told() => {
                connection.graceful_shutdown();
                life.told = true;
            }
            () = life.quiet(front.options.load().keepalive) => {
                life.in_vain().into_iter().for_each(ended);
                if !life.may_be_told() {
                    return;
                }
                connection.graceful_shutdown();
                life.told = true;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => match accepted {
                Ok(Some(H2Accept::Session(session))) => life.ask(front, session),
                Ok(Some(H2Accept::Rejected)) => {
                    ended(FrontOutcome::Refused(Reason::MalformedRequest));
                    if !life.bears_malformed() {
                        break;
                    }
                }
                Ok(None) => return,
                Err(error) => return ours(&error).into_iter().for_each(ended),
            },
        }
    }
    ended(FrontOutcome::Flooded);
    calm_down(&mut connection).await;
}

/// Until the peer's own beginning has come; otherwise, what became of the connection.
async fn begin(stream: Stream, too_much: Arc<Notify>, first: Instant) -> Result<Connection, Option<FrontOutcome>> {
    let stream: Stream = Box::new(Metered::new(stream, too_much));
    match timeout_at(first, handshake(stream, Some(limits()))).await {
        Ok(begun) => begun.map_err(|error| ours(&error)),
        Err(_) => Err(Some(FrontOutcome::Silent)),
    }
}

fn digest(stream: &Stream) -> Arc<Digest> {
    Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    })
}

/// What became of a connection that h2 has ended for what came on it; `None` where it was the peer that ended it.
fn ours(error: &pingora::Error) -> Option<FrontOutcome> {
    tracing::debug!(%error, "an HTTP/2 connection has ended");
    let error = error.root_cause().downcast_ref::<h2::Error>().filter(|error| error.is_library())?;
    Some(match error.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => FrontOutcome::Flooded,
        _ => FrontOutcome::Refused(Reason::MalformedRequest),
    })
}

/// Says why, and ends; what is being answered is recorded all the same.
async fn calm_down(connection: &mut Connection) {
    connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
    let said = timeout(GOODBYE, poll_fn(|cx| connection.poll_closed(cx))).await;
    tracing::debug!(heard = said.is_ok(), "an HTTP/2 connection was told to calm down");
}

/// How far a connection is.
struct Life {
    /// Until when it must ask; absent once it has.
    first: Option<Instant>,
    /// The peer knows that it is to go: GOAWAY. What it asked before it heard that is answered.
    told: bool,
    malformed: usize,
    asked: Arc<Asked>,
}

impl Life {
    /// As over HTTP/1.1, where an answer says that it was the last one: not before there was a question.
    fn may_be_told(&self) -> bool {
        self.first.is_none() && !self.told
    }

    /// What became of one that is quiet; `None` where it was told before, and only its good-bye is late.
    fn in_vain(&self) -> Option<FrontOutcome> {
        match (self.first, self.told) {
            (Some(_), _) => Some(FrontOutcome::Silent),
            (None, false) => Some(FrontOutcome::Idle),
            (None, true) => None,
        }
    }

    /// Ends when the connection has been of no use for too long.
    async fn quiet(&self, keepalive: Duration) {
        match self.first {
            Some(until) => sleep_until(until).await,
            None => {
                self.asked.none().await;
                sleep(if self.told { GOODBYE } else { keepalive }).await;
            }
        }
    }

    fn bears_malformed(&mut self) -> bool {
        self.malformed += 1;
        self.malformed < MAX_MALFORMED
    }

    fn ask(&mut self, front: &Arc<Front>, session: HttpSession) {
        self.first = None;
        let (front, being_answered) = (front.clone(), BeingAnswered::new(&self.asked));
        tokio::spawn(async move {
            front.serve(ServerSession::new_http2(session)).await;
            drop(being_answered);
        });
    }
}

/// Questions of a connection that are being answered.
#[derive(Default)]
struct Asked {
    count: AtomicUsize,
    fewer: Notify,
}

impl Asked {
    async fn none(&self) {
        while self.count.load(Ordering::Acquire) != 0 {
            self.fewer.notified().await;
        }
    }
}

struct BeingAnswered(Arc<Asked>);

impl BeingAnswered {
    fn new(asked: &Arc<Asked>) -> Self {
        asked.count.fetch_add(1, Ordering::AcqRel);
        Self(asked.clone())
    }
}

impl Drop for BeingAnswered {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.fewer.notify_one();
    }
}
