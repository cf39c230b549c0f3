//! Reading a question's body under a limit: pingora has none of its own. Also what is done with the rest of a body
//! that was answered before its end. Called by `front`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Version, header};
use pingora::ErrorType;
use pingora::protocols::Stream;
use pingora::protocols::http::{ReusableHttpStream, ServerSession};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::metrics::FrontOutcome;

/// A sender who goes on after being refused is cut off beyond this many bytes.
const LINGER_BYTES: usize = 256 * 1024 * 1024;
/// At a time.
const LINGER_READ: usize = 8 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    /// More than the limit, announced or sent.
    TooLarge,
    /// Framing that cannot be read.
    Broken,
    /// The sender went away before the end.
    Gone,
}

/// The whole body, at most `max` bytes. Cancel it to give up.
pub async fn read_body(session: &mut ServerSession, max: usize) -> Result<Bytes, BodyError> {
    if announced(session).is_some_and(|length| length > max as u64) {
        return Err(BodyError::TooLarge);
    }
    if waits(session) {
        session.write_continue_response().await.map_err(|_| BodyError::Gone)?;
    }
    let Some(first) = next(session).await? else { return Ok(Bytes::new()) };
    if session.is_body_done() {
        return if first.len() > max { Err(BodyError::TooLarge) } else { Ok(first) };
    }
    let mut whole = BytesMut::from(first.as_ref());
    while let Some(part) = next(session).await? {
        if whole.len() + part.len() > max {
            return Err(BodyError::TooLarge);
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

/// Says that the answer was the last one, then reads and forgets what a refused sender still sends, however it is
/// framed: closing on unread bytes would reset the answer away. What to count where a limit ended that.
pub async fn linger(session: ServerSession, limit: Duration) -> Option<FrontOutcome> {
    // HTTP/2 resets a stream without harm to its answer.
    let ServerSession::H1(session) = session else { return None };
    drain(session.into_inner(), limit).await
}

/// Ends a connection whose last answer has left. Of a peer that sends questions ahead, more may come, or lie unread: they are
/// read and forgotten for the same reason. What to count where a limit ended that.
pub async fn end(stream: ReusableHttpStream, limit: Duration) -> Option<FrontOutcome> {
    let (mut stream, sent_ahead) = stream.into_parts();
    if sent_ahead.is_some() {
        return drain(stream, limit).await;
    }
    tokio::time::timeout(limit, stream.shutdown()).await.is_err().then_some(FrontOutcome::Unread)
}

async fn drain(mut stream: Stream, limit: Duration) -> Option<FrontOutcome> {
    let drain = async {
        stream.shutdown().await?;
        let mut room = [0; LINGER_READ];
        let mut seen = 0;
        while seen < LINGER_BYTES {
            match stream.read(&mut room).await? {
                0 => return Ok(true),
                read => seen += read,
            }
        }
        std::io::Result::Ok(false)
    };
    match tokio::time::timeout(limit, drain).await {
        // One whose connection fails has gone, too.
        Ok(Ok(true) | Err(_)) => None,
        Ok(Ok(false)) | Err(_) => Some(FrontOutcome::Lingered),
    }
}

/// Whether the sender waits to be told to go on before it sends the body. RFC 9110, section 10.1.1.
fn waits(session: &ServerSession) -> bool {
    let head = session.req_header();
    let expected = head.headers.get(header::EXPECT).map(|value| value.as_bytes());
    head.version == Version::HTTP_11 && expected.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

fn announced(session: &ServerSession) -> Option<u64> {
    session.req_header().headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn next(session: &mut ServerSession) -> Result<Option<Bytes>, BodyError> {
    session.read_request_body().await.map_err(|error| match error.etype {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::ReadTimedout => BodyError::Gone,
        _ => BodyError::Broken,
    })
}
