//! A stub authorizer: an HTTP/1.1 server small enough to misbehave in every way that a network or a program can.
//!
//! It answers by a [`Script`], remembers what it was asked, and counts its connections. Tests of the proxy put it where
//! OPA would stand; `prove` puts it behind a proxy whose cache is measured. It never judges a question.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use loadtest::stub::{Answer, Script, Stub};
//! let stub = Stub::start(Script::allow()).await?;
//! // … point the proxy at stub.url() …
//! assert!(stub.wait_for(1).await);
//! let asked = stub.questions();
//! stub.set(Answer::deny().status(503).after(std::time::Duration::from_millis(50)));
//! # Ok(()) }
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

mod answer;
mod connection;
mod memory;
mod script;

pub use answer::{Answer, Framing};
pub use memory::{Connections, Received};
pub use script::{Gate, Script, Step};

use connection::Order;
use memory::Memory;

/// How long [`Stub::wait_for`] waits before it gives up: long enough for a busy machine, short enough for a test.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections the kernel may keep waiting for us.
const BACKLOG: u32 = 4096;

/// A running stub. Dropping it ends its connections without a word.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    /// Bound but never listening: keeps the port ours while we are stopped, and connections to it are then refused.
    _place: TcpSocket,
    memory: Arc<Memory>,
    acceptor: Option<JoinHandle<()>>,
}

impl Stub {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(script: impl Into<Script>) -> anyhow::Result<Self> {
        let place = TcpSocket::new_v4()?;
        place.set_reuseaddr(true)?;
        place.bind((Ipv4Addr::LOCALHOST, 0).into()).context("no free port for the stub authorizer")?;
        let address = place.local_addr()?;
        let mut stub = Self { address, _place: place, memory: Arc::new(Memory::new(script.into())), acceptor: None };
        stub.start_again()?;
        Ok(stub)
    }

    /// Listens again after [`Stub::stop`], on the same port. Does nothing when it runs.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        if self.acceptor.is_none() {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(self.address).with_context(|| format!("port {} is taken", self.address.port()))?;
            let listener = socket.listen(BACKLOG)?;
            self.acceptor = Some(tokio::spawn(accept(listener, Arc::clone(&self.memory))));
        }
        Ok(())
    }

    /// Stops listening and cuts every connection; connections are refused when this returns. What was asked is kept.
    pub async fn stop(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.abort();
            // The listener is closed only when its task is gone; being cancelled is what we asked for.
            drop(acceptor.await);
        }
        self.memory.wait_until(PATIENCE, |memory| memory.connections().open == 0).await;
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as an authorizer's `url`, with OPA's usual path.
    pub fn url(&self) -> String {
        format!("http://{}/v1/data/minio/allow", self.address)
    }

    /// From the next question on, answer by this script. Answers under way go on by theirs.
    pub fn set(&self, script: impl Into<Script>) {
        self.memory.set_script(script.into());
    }

    /// The latest 10,000 requests, oldest first.
    pub fn questions(&self) -> Vec<Received> {
        self.memory.questions()
    }

    /// How many requests ever arrived whole, remembered or not.
    pub fn asked(&self) -> u64 {
        self.memory.asked()
    }

    /// Forgets the requests it remembers; [`Stub::asked`] goes on counting.
    pub fn forget(&self) {
        self.memory.forget();
    }

    pub fn connections(&self) -> Connections {
        self.memory.connections()
    }

    /// Connections that wait for a question.
    pub fn idle(&self) -> usize {
        self.memory.idle()
    }

    /// Waits until `count` requests have arrived in all. False: ten seconds have passed without them.
    pub async fn wait_for(&self, count: u64) -> bool {
        self.memory.wait_until(PATIENCE, |memory| memory.asked() >= count).await
    }

    /// Waits until what `connections` says is so. False: ten seconds have passed.
    pub async fn wait_for_connections(&self, is_so: impl Fn(Connections) -> bool) -> bool {
        self.memory.wait_until(PATIENCE, |memory| is_so(memory.connections())).await
    }

    /// Sends bytes that nobody asked for on every connection that waits for a question. Returns on how many.
    pub async fn say_unasked(&self, bytes: impl Into<bytes::Bytes>) -> usize {
        self.memory.order_idle(&Order::Say(bytes.into()), PATIENCE).await
    }

    /// Closes every connection that waits for a question, as a server does whose keep-alive ends. Returns how many.
    pub async fn close_idle(&self) -> usize {
        self.memory.order_idle(&Order::Close, PATIENCE).await
    }

    /// Resets every connection that waits for a question, as a firewall or a crashed machine does. Returns how many.
    pub async fn reset_idle(&self) -> usize {
        self.memory.order_idle(&Order::Reset, PATIENCE).await
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.abort();
        }
    }
}

/// Owns the connections: they end with this task.
async fn accept(listener: TcpListener, memory: Arc<Memory>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                match accepted {
                    Ok((stream, _)) => drop(connections.spawn(connection::serve(stream, Arc::clone(&memory)))),
                    // Out of descriptors, or a client gone before we looked: the next one may do.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;
