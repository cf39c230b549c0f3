//! How the stub answers: a question goes in, a list of steps on the socket comes out.
//!
//! The steps are few and low; [`super::Answer`] composes HTTP answers, right and wrong, out of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::answer::{Answer, Framing};
use super::memory::Received;

/// One thing to do on the connection that asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Send(Bytes),
    /// One byte, then the wait, and so on.
    Drip(Bytes, Duration),
    /// The same bytes over and over, until the client goes.
    Endless(Bytes),
    Wait(Duration),
    /// Goes on once the gate is open.
    Hold(Gate),
    /// Says nothing more, and keeps the connection until the client goes.
    Hang,
    /// An orderly end (FIN), after what was sent.
    Close,
    /// An RST, which also throws away what the client has not read.
    Reset,
}

/// Closed until somebody opens it, for good. All clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns once it is open.
    pub async fn passed(&self) {
        // The sender is ours, so that it cannot be gone.
        self.0.subscribe().wait_for(|is_open| *is_open).await.ok();
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Gate {}

type Steps = dyn Fn(&Received) -> Vec<Step> + Send + Sync;

/// What the stub does with a question. Cheap to clone.
#[derive(Clone)]
pub struct Script(Arc<Steps>);

impl fmt::Debug for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Script")
    }
}

impl From<Answer> for Script {
    fn from(answer: Answer) -> Self {
        Self::steps(answer.steps())
    }
}

impl Script {
    /// `{"result":true}`, 200, as it should be.
    pub fn allow() -> Self {
        Answer::allow().into()
    }

    /// `{"result":false}`, 200, as it should be.
    pub fn deny() -> Self {
        Answer::deny().into()
    }

    /// An answer that depends on the question.
    pub fn by(answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |received| answer(received).steps()))
    }

    /// Anything at all, depending on the question.
    pub fn by_steps(steps: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self(Arc::new(steps))
    }

    /// Anything at all, the same for each question.
    pub fn steps(steps: Vec<Step>) -> Self {
        Self(Arc::new(move |_| steps.clone()))
    }

    /// Reads the question and is silent.
    pub fn never() -> Self {
        Self::steps(vec![Step::Hang])
    }

    /// Closes the connection instead of answering.
    pub fn close() -> Self {
        Self::steps(vec![Step::Close])
    }

    /// Resets the connection instead of answering.
    pub fn reset() -> Self {
        Self::steps(vec![Step::Reset])
    }

    /// Bytes that are no HTTP, then closes.
    pub fn garbage(bytes: impl Into<Bytes>) -> Self {
        Self::steps(vec![Step::Send(bytes.into()), Step::Close])
    }

    /// `count` answers 103 before the allow.
    pub fn informational(count: usize) -> Self {
        let flood = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n".repeat(count);
        let mut steps = vec![Step::Send(flood.into())];
        steps.extend(Answer::allow().steps());
        Self::steps(steps)
    }

    /// 101 to a protocol that nobody asked for, then an allow as that protocol's first bytes.
    pub fn switching() -> Self {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let mut steps = vec![Step::Send(Bytes::from_static(head.as_bytes()))];
        steps.extend(Answer::allow().steps());
        Self::steps(steps)
    }

    /// A redirect whose own body would allow.
    pub fn redirect(status: u16, location: &str) -> Self {
        Answer::allow().status(status).header("Location", location).into()
    }

    /// An allow padded with white space to `bytes`, correctly framed.
    pub fn oversized(bytes: usize) -> Self {
        let mut body = br#"{"result":true}"#.to_vec();
        body.resize(bytes.max(body.len()), b' ');
        Answer::allow().body(body).into()
    }

    /// A chunked body that begins with an allow and never ends.
    pub fn endless() -> Self {
        let mut steps = Answer::allow().framing(Framing::Chunked { last: false, trailers: Vec::new() }).steps();
        steps.push(Step::Endless(Bytes::from(format!("1000\r\n{}\r\n", " ".repeat(0x1000)))));
        Self::steps(steps)
    }

    pub(super) fn for_question(&self, received: &Received) -> Vec<Step> {
        (self.0)(received)
    }
}
