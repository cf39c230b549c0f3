//! The two ways in which a body says where it ends. Called by `authorizer::exchange`.

use bytes::BytesMut;
use tokio::io::AsyncRead;

use super::{Broken, MAX_BODY, Reader};
use crate::policy::verdict::Reason;

/// Hexadecimal digits of a chunk's size; sizes beyond [`MAX_BODY`] need fewer.
const MAX_SIZE_DIGITS: usize = 8;

impl<S: AsyncRead + Unpin> Reader<'_, S> {
    /// Exactly `length` bytes.
    pub(super) async fn sized(&mut self, length: usize) -> Result<BytesMut, Broken> {
        if length > MAX_BODY {
            return Err(self.broken(Reason::AnswerTooLarge));
        }
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length))
    }

    /// Chunks without extensions, up to the empty one, without trailers: no authorizer needs either.
    pub(super) async fn chunked(&mut self) -> Result<BytesMut, Broken> {
        let mut body = BytesMut::new();
        loop {
            let size = self.chunk_size().await?;
            if body.len() + size > MAX_BODY {
                return Err(self.broken(Reason::AnswerTooLarge));
            }
            body.extend_from_slice(&self.sized(size).await?);
            self.line_end().await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn chunk_size(&mut self) -> Result<usize, Broken> {
        loop {
            let digits = self.buffer.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if digits > MAX_SIZE_DIGITS {
                return Err(self.broken(Reason::MalformedAnswer));
            }
            if digits < self.buffer.len() {
                let text = self.buffer.split_to(digits);
                let size = std::str::from_utf8(&text).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
                self.line_end().await?;
                return size.ok_or_else(|| self.broken(Reason::MalformedAnswer));
            }
            self.fill().await?;
        }
    }

    async fn line_end(&mut self) -> Result<(), Broken> {
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.split_to(2) != b"\r\n"[..] {
            return Err(self.broken(Reason::MalformedAnswer));
        }
        Ok(())
    }
}
