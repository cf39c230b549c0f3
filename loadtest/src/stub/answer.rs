//! An HTTP answer of the stub: its parts, and every way in which they can be wrong.

use std::time::Duration;

use bytes::Bytes;

use super::script::{Gate, Step};

/// How the body's end is told, truly or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// A `Content-Length` that is right.
    Length,
    /// A `Content-Length` that promises this many bytes more (or fewer: then the rest is surplus) than are sent. The
    /// connection stays open.
    WrongLength(i64),
    /// One chunk; without `last` the body never ends.
    Chunked { last: bool, trailers: Vec<(String, String)> },
    /// Neither: the body ends where the connection closes.
    UntilClose,
}

/// An answer under construction. Starts as a plain allow or deny.
#[derive(Debug, Clone)]
pub struct Answer {
    version: &'static str,
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    framing: Framing,
    held_by: Option<Gate>,
    before_head: Duration,
    before_body: Duration,
    drip: Option<Duration>,
    cut_body: Option<(usize, Step)>,
    close: bool,
    close_idle_after: Option<Duration>,
}

impl Answer {
    /// 200 with a body, whatever it is.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            version: "HTTP/1.1",
            status: 200,
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: body.into(),
            framing: Framing::Length,
            held_by: None,
            before_head: Duration::ZERO,
            before_body: Duration::ZERO,
            drip: None,
            cut_body: None,
            close: false,
            close_idle_after: None,
        }
    }

    pub fn allow() -> Self {
        Self::new(r#"{"result":true}"#)
    }

    pub fn deny() -> Self {
        Self::new(r#"{"result":false}"#)
    }

    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header; nothing is checked or replaced, so that headers can be doubled or malformed.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves out every header that was there, `Content-Type` too.
    #[must_use]
    pub fn no_headers(mut self) -> Self {
        self.headers.clear();
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// `HTTP/1.0`, which closes after its answer.
    #[must_use]
    pub fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self.close = true;
        self
    }

    /// Says `Content-Encoding: gzip`; the body is sent as it is, for the tests are about who looks at the header.
    #[must_use]
    pub fn gzip(self) -> Self {
        self.header("Content-Encoding", "gzip")
    }

    /// Waits before the first byte of the answer.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.before_head = wait;
        self
    }

    /// Waits before the first byte of the answer until the gate is open.
    #[must_use]
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.held_by = Some(gate.clone());
        self
    }

    /// Waits between the head and the body.
    #[must_use]
    pub fn body_after(mut self, wait: Duration) -> Self {
        self.before_body = wait;
        self
    }

    /// Sends head and body one byte an interval.
    #[must_use]
    pub fn drip(mut self, interval: Duration) -> Self {
        self.drip = Some(interval);
        self
    }

    /// Closes the connection after `bytes` of the body.
    #[must_use]
    pub fn close_in_body(mut self, bytes: usize) -> Self {
        self.cut_body = Some((bytes, Step::Close));
        self
    }

    /// Resets the connection after `bytes` of the body.
    #[must_use]
    pub fn reset_in_body(mut self, bytes: usize) -> Self {
        self.cut_body = Some((bytes, Step::Reset));
        self
    }

    /// Falls silent after `bytes` of the body.
    #[must_use]
    pub fn hang_in_body(mut self, bytes: usize) -> Self {
        self.cut_body = Some((bytes, Step::Hang));
        self
    }

    /// Says `Connection: close` and does it.
    #[must_use]
    pub fn connection_close(mut self) -> Self {
        self.close = true;
        self.header("Connection", "close")
    }

    /// Keeps the connection without a word about its end and closes it this long after the answer.
    #[must_use]
    pub fn close_idle_after(mut self, wait: Duration) -> Self {
        self.close_idle_after = Some(wait);
        self
    }

    /// What to do on the socket.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.held_by.iter().cloned().map(Step::Hold).collect();
        if !self.before_head.is_zero() {
            steps.push(Step::Wait(self.before_head));
        }
        let (head, mut body) = (self.head(), self.framed_body());
        let cut = self.cut_body.clone().map(|(length, end)| {
            body.truncate(length);
            end
        });
        if self.before_body.is_zero() && cut.is_none() {
            self.send(&mut steps, [head, body].concat());
        } else {
            self.send(&mut steps, head);
            if !self.before_body.is_zero() {
                steps.push(Step::Wait(self.before_body));
            }
            self.send(&mut steps, body);
        }
        steps.extend(cut);
        if let Some(wait) = self.close_idle_after {
            steps.extend([Step::Wait(wait), Step::Close]);
        }
        if self.close || self.framing == Framing::UntilClose {
            steps.push(Step::Close);
        }
        steps
    }

    fn send(&self, steps: &mut Vec<Step>, bytes: Vec<u8>) {
        match self.drip {
            Some(interval) => steps.push(Step::Drip(bytes.into(), interval)),
            None => steps.push(Step::Send(bytes.into())),
        }
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} Stubbed\r\n", self.version, self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = i64::try_from(self.body.len()).unwrap_or(i64::MAX);
        match &self.framing {
            Framing::Length => head.push_str(&format!("Content-Length: {length}\r\n")),
            Framing::WrongLength(by) => {
                head.push_str(&format!("Content-Length: {}\r\n", length.saturating_add(*by).max(0)))
            }
            Framing::Chunked { .. } => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::UntilClose => {}
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn framed_body(&self) -> Vec<u8> {
        let Framing::Chunked { last, trailers } = &self.framing else { return self.body.to_vec() };
        let mut body = format!("{:x}\r\n", self.body.len()).into_bytes();
        body.extend_from_slice(&self.body);
        body.extend_from_slice(b"\r\n");
        if *last {
            body.extend_from_slice(b"0\r\n");
            for (name, value) in trailers {
                body.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            body.extend_from_slice(b"\r\n");
        }
        body
    }
}
