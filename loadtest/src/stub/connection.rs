//! One connection of the stub: reads a question, does the script's steps, reads the next.
//!
//! Requests without a readable head or with more than the limits end the connection: the stub is for answers that
//! misbehave, not for questions that do.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::memory::{Command, Memory, Received};
use super::script::Step;

/// Of a request's head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Of a request's body, in bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;
const MAX_HEADERS: usize = 128;
/// As long as anybody waits for anything here.
const HOLD: Duration = Duration::from_secs(3600);

/// What a test can tell a connection that waits for a question.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Say(Bytes),
    Close,
    Reset,
}

/// Whether the connection goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Question,
    End,
}

/// Tells the memory that the connection is over, also when its task is cancelled.
struct Registered {
    id: u64,
    memory: Arc<Memory>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.memory.closed(self.id);
    }
}

/// Serves the connection to its end. Errors of the socket are the client's business: they end it silently.
pub(super) async fn serve(stream: TcpStream, memory: Arc<Memory>) {
    let (id, orders) = memory.opened();
    let registered = Registered { id, memory };
    let mut connection = Connection { stream, buffer: BytesMut::new(), orders };
    // Small writes are steps of a script and must leave one by one.
    if connection.stream.set_nodelay(true).is_ok() {
        drop(connection.run(id, &registered.memory).await);
    }
    // The socket is closed before the memory stops counting it.
    drop(connection);
    drop(registered);
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    orders: mpsc::UnboundedReceiver<Command>,
}

impl Connection {
    async fn run(&mut self, id: u64, memory: &Memory) -> io::Result<()> {
        loop {
            memory.set_idle(id, true);
            let Some(received) = self.next_question(id).await? else { return Ok(()) };
            memory.set_idle(id, false);
            let steps = memory.script().for_question(&received);
            memory.remember(received);
            for step in steps {
                if self.perform(step).await? == Next::End {
                    return Ok(());
                }
            }
        }
    }

    /// None: the connection ended, by the client or by an order.
    async fn next_question(&mut self, id: u64) -> io::Result<Option<Received>> {
        loop {
            if let Some(received) = take_request(&mut self.buffer, id)? {
                return Ok(Some(received));
            }
            tokio::select! {
                read = self.stream.read_buf(&mut self.buffer) => if read? == 0 { return Ok(None) },
                Some((order, done)) = self.orders.recv() => if self.obey(order, done).await? == Next::End {
                    return Ok(None);
                },
            }
        }
    }

    async fn obey(&mut self, order: Order, done: oneshot::Sender<()>) -> io::Result<Next> {
        let step = match order {
            Order::Say(bytes) => Step::Send(bytes),
            Order::Close => Step::Close,
            Order::Reset => Step::Reset,
        };
        let next = self.perform(step).await?;
        // Nobody waits any more: then nobody needs to know.
        done.send(()).ok();
        Ok(next)
    }

    async fn perform(&mut self, step: Step) -> io::Result<Next> {
        match step {
            Step::Send(bytes) => self.stream.write_all(&bytes).await?,
            Step::Drip(bytes, interval) => {
                for byte in bytes.chunks(1) {
                    self.stream.write_all(byte).await?;
                    if self.gone_within(interval).await {
                        return Ok(Next::End);
                    }
                }
            }
            Step::Endless(bytes) => loop {
                self.stream.write_all(&bytes).await?;
            },
            Step::Wait(time) if self.gone_within(time).await => return Ok(Next::End),
            Step::Wait(_) => {}
            Step::Hold(gate) => {
                let gone = tokio::select! {
                    () = gate.passed() => false,
                    gone = self.gone_within(HOLD) => gone,
                };
                if gone {
                    return Ok(Next::End);
                }
            }
            Step::Hang => {
                while !self.gone_within(HOLD).await {}
                return Ok(Next::End);
            }
            Step::Close => {
                // The question was read whole, so that the kernel sends a FIN and no RST.
                self.stream.shutdown().await?;
                return Ok(Next::End);
            }
            Step::Reset => {
                self.stream.set_zero_linger()?;
                return Ok(Next::End);
            }
        }
        Ok(Next::Question)
    }

    /// Waits, and notices a client that closes meanwhile. What it sends is kept for the next question.
    async fn gone_within(&mut self, time: Duration) -> bool {
        let until = tokio::time::Instant::now() + time;
        loop {
            // A client that sends without end while it waits gets no more room here.
            if self.buffer.len() > MAX_HEAD + MAX_BODY {
                return true;
            }
            match tokio::time::timeout_at(until, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return false,
                Ok(Ok(read)) if read > 0 => {}
                Ok(_) => return true,
            }
        }
    }
}

/// Takes one whole request off the buffer, or leaves it for more bytes to come.
fn take_request(buffer: &mut BytesMut, connection_id: u64) -> io::Result<Option<Received>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(buffer).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if buffer.len() > MAX_HEAD => return Err(io::Error::other("the head is too large")),
        httparse::Status::Partial => return Ok(None),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let mut received = Received {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers: request.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect(),
        body: Bytes::new(),
        at: Instant::now(),
        connection_id,
    };
    let length = received.header("Content-Length").map_or(Ok(0), str::parse::<usize>).map_err(io::Error::other)?;
    if length > MAX_BODY || received.header("Transfer-Encoding").is_some() {
        return Err(io::Error::other("the body is too large or has no length"));
    }
    if buffer.len() < head + length {
        return Ok(None);
    }
    let mut whole = buffer.split_to(head + length);
    received.body = whole.split_off(head).freeze();
    Ok(Some(received))
}
