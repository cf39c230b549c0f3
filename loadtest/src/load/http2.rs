//! The same question over HTTP/2: several workers may share a connection, each with a stream of its own at a time.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use tokio::sync::Mutex;

use super::answer::{self, Answer, MAX_ANSWER, Wanted};
use super::client::Failure;
use super::target::Target;
use super::transport;

/// A connection that is opened when it is needed; its clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Connection(Arc<Mutex<Option<SendRequest<Bytes>>>>);

impl Connection {
    /// One question on a stream of its own. A failure closes the connection for those that come after.
    pub(super) async fn ask(&self, target: &Target, body: &[u8], wanted: Wanted) -> Result<Answer, Failure> {
        let result = self.exchange(target, body, wanted).await;
        if result.is_err() {
            self.forget().await;
        }
        result
    }

    /// The next question opens a new one.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }

    async fn exchange(&self, target: &Target, body: &[u8], wanted: Wanted) -> Result<Answer, Failure> {
        let mut sender = self.sender(target).await?;
        sender = sender.ready().await.map_err(|_| Failure::Send)?;
        let request = target.request(body.len()).map_err(|_| Failure::Send)?;
        let (response, mut stream) = sender.send_request(request, false).map_err(|_| Failure::Send)?;
        stream.send_data(Bytes::copy_from_slice(body), true).map_err(|_| Failure::Send)?;
        answered(response, wanted).await
    }

    async fn sender(&self, target: &Target) -> Result<SendRequest<Bytes>, Failure> {
        let mut place = self.0.lock().await;
        if let Some(sender) = &*place {
            return Ok(sender.clone());
        }
        let stream = transport::connect(target).await.map_err(|_| Failure::Connect)?;
        let (sender, connection) = h2::client::handshake(stream).await.map_err(|_| Failure::Connect)?;
        // It ends with its connection; what goes wrong there is seen by who waits for an answer.
        tokio::spawn(async move { connection.await.ok() });
        *place = Some(sender.clone());
        Ok(sender)
    }
}

async fn answered(response: ResponseFuture, wanted: Wanted) -> Result<Answer, Failure> {
    let (head, mut stream) = response.await.map_err(|_| Failure::Lost)?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.map_err(|_| Failure::Lost)?;
        // A connection that does not take this back is at its end.
        stream.flow_control().release_capacity(data.len()).map_err(|_| Failure::Lost)?;
        if body.len() + data.len() > MAX_ANSWER {
            return Err(Failure::Malformed);
        }
        body.extend_from_slice(&data);
    }
    let text = |name: &str| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    Ok(Answer {
        status: head.status.as_u16(),
        verdict: answer::verdict(&body),
        decision: if wanted.decision { text(answer::DECISION) } else { None },
        reason: if wanted.reason { text(answer::REASON) } else { None },
        close: false,
        bytes: body.len(),
    })
}
