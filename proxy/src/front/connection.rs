//! The life of one connection: waits for the first byte of each question, then hands it to `front`. Exists because
//! pingora times neither the wait between questions nor a whole question, only single reads. Called by pingora's
//! listener; a connection with HTTP/2 is handed to `streams`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::ServerApp;
use pingora::protocols::http::{ReusableHttpStream, ServerSession};
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt as _;

use crate::front::Front;
use crate::front::secure::Secure;
use crate::front::streams;
use crate::metrics::FrontOutcome;

/// A typical question, head and body, fits in one read.
const FIRST_READ: usize = 8 * 1024;

/// Wraps the front with the two waits that belong to a connection rather than to a question.
pub struct Connections {
    front: Arc<Front>,
}

impl Connections {
    pub fn new(front: Arc<Front>) -> Self {
        Self { front }
    }

    async fn secured(&self, secure: &Secure, stream: Stream) -> Option<Stream> {
        let secured = secure.accept(stream).await;
        if secured.is_none() {
            self.front.metrics.front_request(None, FrontOutcome::TlsFailed);
        }
        secured
    }

    /// What the peer sends next. `None` once it has closed, failed, or kept silent for `wait`, which counts as `unasked`.
    async fn first_bytes(&self, stream: &mut Stream, wait: Duration, unasked: FrontOutcome) -> Option<BytesMut> {
        let mut buffer = BytesMut::with_capacity(FIRST_READ);
        match tokio::time::timeout(wait, stream.read_buf(&mut buffer)).await {
            Ok(Ok(length)) => (length > 0).then_some(buffer),
            Ok(Err(_)) => None,
            Err(_) => {
                self.front.metrics.front_request(None, unasked);
                None
            }
        }
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, stream: Stream, _shutdown: &ShutdownWatch) -> Option<Stream> {
        let secure = self.front.secure.load_full();
        let stream = match secure {
            None => stream,
            Some(secure) => self.secured(&secure, stream).await?,
        };
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            streams::serve(&self.front, stream).await;
            return None;
        }
        let mut next = Some((stream, None));
        let (mut wait, mut unasked) = (self.front.options.load().until_first_byte(), FrontOutcome::Silent);
        while let Some((mut stream, sent_ahead)) = next.take() {
            // A peer that does not wait for answers may have sent the next question along with the one before.
            let first = match sent_ahead {
                Some(bytes) => bytes,
                None => self.first_bytes(&mut stream, wait, unasked).await?,
            };
            let mut session = ServerSession::new_http1(stream);
            session.set_pipelining_enabled(true);
            session.set_pipelined_prefix(first);
            next = pin!(self.front.serve(session)).await.map(ReusableHttpStream::into_parts);
            (wait, unasked) = (self.front.options.load().keepalive, FrontOutcome::Idle);
        }
        None
    }
}
