//! One HTTP/1.1 question and its answer on a connection that is ours alone. Stricter than pingora's own reader,
//! which would forgive folded header fields, two lengths, and bodies that only end with the connection: here each
//! of these is a fault, because a body of which we and the sender see different ends could be somebody else's
//! verdict. Called by `authorizer::webhook`.

pub mod body;
pub mod head;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::authorizer::exchange::head::{Framing, Head};
use crate::policy::verdict::Reason;

/// Bytes of an answer's body. More is `answer_too_large`.
pub const MAX_BODY: usize = 64 * 1024;
/// Bytes of an answer's head, informational ones before it included.
const MAX_HEAD: usize = 16 * 1024;
/// Heads with a 1xx status before the real one.
const MAX_INFORMATIONAL: u32 = 5;

/// An answer that was read to its end. For a status other than 200 the body is left out: it decides nothing.
#[derive(Debug)]
pub struct Received {
    pub head: Head,
    pub body: BytesMut,
    /// Nothing about the connection was odd and the other side lets it be used again.
    pub reusable: bool,
}

/// The exchange failed; its connection must not be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    pub reason: Reason,
    pub status: Option<u16>,
    /// Not one byte of an answer arrived. On a connection out of the pool this is how a server looks that closed it
    /// while it was idle.
    pub silent: bool,
}

/// How much of an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Of a status other than 200 no body: it decides nothing.
    Deciding,
    /// Whatever comes, also a body that ends with the connection. For probes, which decide nothing.
    Everything,
}

/// Sends `question` (head and body in one piece) and reads the answer. Has no time limit of its own.
pub async fn exchange<S>(stream: &mut S, question: &[u8], reading: Reading) -> Result<Received, Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(stream, question).await?;
    let mut reader = Reader { stream, buffer: BytesMut::new(), silent: true, status: None };
    let head = reader.head().await?;
    let bodiless = matches!(head.status, 101 | 204 | 304);
    if bodiless || (head.status != 200 && reading == Reading::Deciding) {
        let reusable = reader.ends_here(&head);
        return Ok(Received { head, body: BytesMut::new(), reusable });
    }
    let body = match head.framing {
        Framing::Length(length) => reader.sized(length).await?,
        Framing::Chunked => reader.chunked().await?,
        Framing::UntilClose if reading == Reading::Everything => reader.rest().await?,
        Framing::UntilClose => return Err(reader.broken(Reason::ConnectionLost)),
    };
    let reusable = head.keep_alive && reader.buffer.is_empty();
    Ok(Received { head, body, reusable })
}

/// Writes everything. An answer that comes before the question was written cannot be an answer to it.
async fn send<S>(stream: &mut S, question: &[u8]) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut rest = question;
    poll_fn(|cx| {
        match poll_send(stream, &mut rest, cx) {
            Poll::Pending => {}
            Poll::Ready(true) => return Poll::Ready(Ok(())),
            Poll::Ready(false) => return Poll::Ready(Err((Reason::ConnectionLost, true))),
        }
        let mut byte = [0; 1];
        let mut early = ReadBuf::new(&mut byte);
        match Pin::new(&mut *stream).poll_read(cx, &mut early) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !early.filled().is_empty() => Poll::Ready(Err((Reason::MalformedAnswer, false))),
            Poll::Ready(_) => Poll::Ready(Err((Reason::ConnectionLost, true))),
        }
    })
    .await
    .map_err(|(reason, silent)| Broken { reason, status: None, silent })
}

/// Ready with whether it worked.
fn poll_send<S: AsyncWrite + Unpin>(stream: &mut S, rest: &mut &[u8], cx: &mut Context<'_>) -> Poll<bool> {
    while !rest.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, rest) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(written)) if written > 0 => *rest = rest.get(written..).unwrap_or_default(),
            Poll::Ready(_) => return Poll::Ready(false),
        }
    }
    Pin::new(stream).poll_flush(cx).map(|flushed| flushed.is_ok())
}

/// What has arrived and is not used up yet.
struct Reader<'a, S> {
    stream: &'a mut S,
    buffer: BytesMut,
    silent: bool,
    status: Option<u16>,
}

impl<S: AsyncRead + Unpin> Reader<'_, S> {
    fn broken(&self, reason: Reason) -> Broken {
        Broken { reason, status: self.status, silent: self.silent }
    }

    /// Waits for at least one more byte.
    async fn fill(&mut self) -> Result<(), Broken> {
        self.buffer.reserve(4096);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(read) if read > 0 => {
                self.silent = false;
                Ok(())
            }
            _ => Err(self.broken(Reason::ConnectionLost)),
        }
    }

    /// The first head whose status is final.
    async fn head(&mut self) -> Result<Head, Broken> {
        let mut seen = 0;
        let mut informational = 0;
        loop {
            let parsed = head::parse(&self.buffer).map_err(|reason| self.broken(reason))?;
            let Some((head, length)) = parsed else {
                if seen + self.buffer.len() > MAX_HEAD {
                    return Err(self.broken(Reason::MalformedAnswer));
                }
                self.fill().await?;
                continue;
            };
            seen += length;
            drop(self.buffer.split_to(length));
            self.status = Some(head.status);
            // 101 would make the rest of the connection something else than HTTP.
            if head.status >= 200 || head.status == 101 {
                return Ok(head);
            }
            informational += 1;
            if informational > MAX_INFORMATIONAL || seen > MAX_HEAD {
                return Err(self.broken(Reason::MalformedAnswer));
            }
        }
    }

    /// Everything until the connection ends.
    async fn rest(&mut self) -> Result<BytesMut, Broken> {
        while self.buffer.len() <= MAX_BODY {
            if self.fill().await.is_err() {
                return Ok(self.buffer.split());
            }
        }
        Err(self.broken(Reason::AnswerTooLarge))
    }

    /// Whether the body that nobody reads is here already, to the byte. Nobody waits for it.
    fn ends_here(&self, head: &Head) -> bool {
        let length = match head.framing {
            _ if matches!(head.status, 204 | 304) => 0,
            Framing::Length(length) => length,
            Framing::Chunked | Framing::UntilClose => return false,
        };
        head.keep_alive && head.status != 101 && self.buffer.len() == length
    }
}

#[cfg(test)]
mod tests;
