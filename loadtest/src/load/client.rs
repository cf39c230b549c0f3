//! One connection of the load generator: one question at a time, a new connection whenever the old one is gone.
//!
//! It repeats nothing by itself, as MinIO does not: what fails is counted by its caller.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{self, Answer, MAX_ANSWER, Wanted};
use super::http2;
use super::target::Target;
use super::transport::{self, Stream};

/// Why a question has no answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No connection: the question was never sent.
    Connect,
    /// The connection ended while the question was sent: some of it may have arrived.
    Send,
    /// The connection ended before the answer did: whether there was a decision is unknown.
    Lost,
    /// Bytes that are no answer, or more than one.
    Malformed,
    /// No whole answer within the time allowed.
    Timeout,
}

/// A connection, perhaps not open at the moment.
#[derive(Debug)]
pub(super) struct Client {
    stream: Option<Stream>,
    /// Where HTTP/2 is spoken, instead of the stream.
    http2: Option<http2::Connection>,
    buffer: Vec<u8>,
    wanted: Wanted,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(http2: Option<http2::Connection>, wanted: Wanted, timeout: Duration) -> Self {
        Self { stream: None, http2, buffer: Vec::with_capacity(4096), wanted, timeout }
    }

    /// Sends the bytes of one request and waits for its answer; connecting counts as part of it.
    pub(super) async fn ask(&mut self, target: &Target, request: &[u8]) -> Result<Answer, Failure> {
        if let Some(connection) = &self.http2 {
            let asked = connection.ask(target, request, self.wanted);
            let result = tokio::time::timeout(self.timeout, asked).await;
            if result.is_err() {
                connection.forget().await;
            }
            return result.unwrap_or(Err(Failure::Timeout));
        }
        let result = tokio::time::timeout(self.timeout, self.exchange(target, request)).await;
        let result = result.unwrap_or(Err(Failure::Timeout));
        if !result.as_ref().is_ok_and(|answer| !answer.close) {
            self.stream = None;
        }
        result
    }

    async fn exchange(&mut self, target: &Target, request: &[u8]) -> Result<Answer, Failure> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => empty.insert(transport::connect(target).await.map_err(|_| Failure::Connect)?),
        };
        self.buffer.clear();
        stream.write_all(request).await.map_err(|_| Failure::Send)?;
        loop {
            let read = stream.read_buf(&mut self.buffer).await.map_err(|_| Failure::Lost)?;
            match answer::read(&self.buffer, self.wanted) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) if read == 0 => return Err(Failure::Lost),
                Ok(None) if self.buffer.len() > MAX_ANSWER => return Err(Failure::Malformed),
                Ok(None) => {}
                Err(answer::Malformed) => return Err(Failure::Malformed),
            }
        }
    }
}
