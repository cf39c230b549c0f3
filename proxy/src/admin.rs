//! The listener for machines and people that look after us: `/metrics`, `/status` (`/status.json`), `/livez` (`/healthz`),
//! `/readyz`, and `/purge`, the one that changes anything. Decides nothing. Built and bound by `app`.

pub mod purge;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::admin::purge::{Purge, Refused};
use crate::metrics::{self, Metrics};
use crate::status::{self, Status};

/// From accepting, or the answer before, to the last byte of a request's header.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The body of a request that has one.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// One answer, to its last byte; the body before it included.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait or are being answered; more are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// Between two lines of the log about those.
const REMIND: Duration = Duration::from_secs(60);
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
/// The one path that takes a body.
const PURGE: &str = "/purge";

/// Whether we want new connections. Ready from the start, until [`Readiness::drain`]: it depends on nothing else,
/// because a fleet that shares one Kafka must not fall out of its Service together.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    draining: Arc<AtomicBool>,
}

impl Readiness {
    /// For good.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Acquire)
    }
}

/// The listener's app.
#[derive(Debug)]
pub struct Admin {
    metrics: Arc<Metrics>,
    readiness: Readiness,
    purge: Option<Purge>,
    status: Option<Arc<Status>>,
    connections: Semaphore,
    refused: Mutex<Connections>,
}

/// Connections that were closed at once.
#[derive(Debug, Default)]
struct Connections {
    /// Since the last line of the log.
    refused: u64,
    said: Option<Instant>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    /// What may be done here, for those who tried something else.
    allow: Option<&'static str>,
}

impl Answer {
    const fn text(status: StatusCode, body: &'static str) -> Self {
        Self { status, content_type: TEXT, body: Bytes::from_static(body.as_bytes()), allow: None }
    }

    fn page(content_type: &'static str, body: String) -> Self {
        Self { status: StatusCode::OK, content_type, body: Bytes::from(body), allow: None }
    }

    fn not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n") }
    }

    fn purged(purged: Result<(), Refused>) -> Self {
        let (status, body) = match purged {
            Ok(()) => (StatusCode::OK, serde_json::json!({ "purged": true })),
            Err(Refused(status, error)) => (status, serde_json::json!({ "purged": false, "error": error })),
        };
        Self { status, content_type: JSON, body: Bytes::from(format!("{body}\n")), allow: None }
    }

    fn header(&self) -> pingora::Result<ResponseHeader> {
        let mut header = ResponseHeader::build(self.status, Some(7))?;
        header.insert_header(CONTENT_TYPE, self.content_type)?;
        header.insert_header(CONTENT_LENGTH, self.body.len())?;
        header.insert_header(CACHE_CONTROL, "no-store")?;
        header.insert_header(X_CONTENT_TYPE_OPTIONS, "nosniff")?;
        if self.content_type == HTML {
            header.insert_header(CONTENT_SECURITY_POLICY, status::content_security_policy())?;
            header.insert_header(REFERRER_POLICY, "no-referrer")?;
        }
        if let Some(allow) = self.allow {
            header.insert_header(ALLOW, allow)?;
        }
        Ok(header)
    }
}

impl Connections {
    /// Says whether it was told.
    fn count(&mut self, now: Instant) -> bool {
        self.refused += 1;
        if self.said.is_some_and(|before| now.saturating_duration_since(before) < REMIND) {
            return false;
        }
        self.said = Some(now);
        let refused = std::mem::take(&mut self.refused);
        tracing::warn!(refused, limit = MAX_CONNECTIONS, "admin listener is full: scrapes and probes go unanswered");
        true
    }
}

impl Admin {
    pub fn new(metrics: Arc<Metrics>, readiness: Readiness) -> Self {
        let (connections, refused) = (Semaphore::new(MAX_CONNECTIONS), Mutex::default());
        Self { metrics, readiness, purge: None, status: None, connections, refused }
    }

    /// Lets those who may take answers of the cache back.
    #[must_use]
    pub fn purging(self, purge: Purge) -> Self {
        Self { purge: Some(purge), ..self }
    }

    /// Shows the page for people.
    #[must_use]
    pub fn showing(self, status: Arc<Status>) -> Self {
        Self { status: Some(status), ..self }
    }

    fn answer(&self, method: &Method, path: &str) -> Answer {
        let status = self.status.as_ref().filter(|_| matches!(path, "/status" | "/status.json"));
        if status.is_none() && !matches!(path, "/metrics" | "/livez" | "/healthz" | "/readyz") {
            return Answer::text(StatusCode::NOT_FOUND, "not found\n");
        }
        if method != Method::GET {
            return Answer::not_allowed("GET");
        }
        let ready = self.readiness.is_ready();
        match (path, status) {
            ("/metrics", _) => Answer::page(metrics::CONTENT_TYPE, self.metrics.encode()),
            ("/status", Some(status)) => Answer::page(HTML, status.html(ready)),
            (_, Some(status)) => Answer::page(JSON, status.json(ready)),
            ("/readyz", _) if !ready => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            _ => Answer::text(StatusCode::OK, "ok\n"),
        }
    }

    /// Answers one request; says whether the connection can carry another.
    async fn serve(&self, session: &mut ServerSession, keep: bool) -> pingora::Result<bool> {
        let request = session.req_header();
        // A body is nothing we want to read to its end, so the connection ends with the answer.
        // `get_keepalive` is what the client asked for: HTTP/1.0 has to.
        let keep = keep
            && session.get_keepalive().is_some()
            && !request.headers.contains_key(http::header::TRANSFER_ENCODING)
            && no_body(&request.headers);
        let (method, path) = (request.method.clone(), request.uri.path().to_owned());
        let answer = match &self.purge {
            Some(_) if path == PURGE && method != Method::POST => Answer::not_allowed("POST"),
            Some(purge) if path == PURGE => match timeout(BODY_TIMEOUT, purge.serve(session)).await {
                Ok(purged) => Answer::purged(purged),
                Err(_) => return Ok(false),
            },
            Some(_) | None => self.answer(&method, &path),
        };
        session.set_keepalive(keep.then_some(READ_TIMEOUT.as_secs()));
        session.write_response_header(Box::new(answer.header()?)).await?;
        session.write_response_body(answer.body, true).await?;
        Ok(keep)
    }
}

fn no_body(headers: &http::HeaderMap) -> bool {
    headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0")
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let Ok(_permit) = self.connections.try_acquire() else {
            self.refused.lock().count(Instant::now());
            return None;
        };
        match timeout(READ_TIMEOUT, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false) | Err(_)) | Err(_) => return None,
        }
        let keep = !*shutdown.borrow();
        let served = timeout(WRITE_TIMEOUT, self.serve(&mut session, keep)).await;
        if !matches!(served, Ok(Ok(true))) {
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = timeout(WRITE_TIMEOUT, session.finish()).await.ok()?.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Names;

    fn admin() -> (Admin, Readiness) {
        let readiness = Readiness::default();
        (Admin::new(Metrics::new(&Names::default()), readiness.clone()), readiness)
    }

    #[test]
    fn ready_until_drained_and_alive_throughout() {
        let (admin, readiness) = admin();
        assert_eq!(admin.answer(&Method::GET, "/readyz").status, StatusCode::OK);
        readiness.drain();
        assert_eq!(admin.answer(&Method::GET, "/readyz").status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(admin.answer(&Method::GET, "/livez").status, StatusCode::OK);
        assert_eq!(admin.answer(&Method::GET, "/healthz").status, StatusCode::OK);
    }

    #[test]
    fn refused_connections_are_told_of_once_a_minute_and_all() {
        let (mut refused, began) = (Connections::default(), Instant::now());
        assert!(refused.count(began));
        let later = |seconds| began + Duration::from_secs(seconds);
        assert!(!(1..60).any(|second| refused.count(later(second))));
        assert_eq!(refused.refused, 59);
        assert!(refused.count(later(60)));
        assert_eq!(refused.refused, 0);
    }

    #[test]
    fn nothing_else_is_there() {
        let (admin, _) = admin();
        for path in ["/", "/metrics/", "/Livez", "/readyz%00", "//metrics", "/purge", "/status", "/status.json"] {
            assert_eq!(admin.answer(&Method::GET, path).status, StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(admin.answer(&Method::POST, "/metrics").status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn metrics_are_open_metrics() {
        let answer = admin().0.answer(&Method::GET, "/metrics");
        assert_eq!(answer.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(answer.body.ends_with(b"# EOF\n"));
    }
}
