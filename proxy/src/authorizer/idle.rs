//! Connections to one authorizer that carry no question: kept, given out again, closed when they are of no use. Not how they
//! are made. pingora's own pool has a task for each of them, which every question wakes and waits for, and believes what the
//! runtime has heard of a connection so far. Called by `authorizer::webhook`.

use std::net::SocketAddr;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

/// How long a connection is kept that nobody asks for. Servers close theirs after anything from 2 s (gunicorn) to never (OPA).
const LIFE: Duration = Duration::from_secs(60);
/// How often all of them are looked at: a descriptor outlives what it was for by so much at most.
const SWEEP: Duration = Duration::from_secs(5);

pub struct Idle {
    /// The one that was used last is at the end, and is given out first: the others can come to their end.
    kept: Mutex<Vec<Kept>>,
    most: usize,
    sweeping: Once,
}

struct Kept {
    stream: Stream,
    address: SocketAddr,
    since: Instant,
}

impl Idle {
    /// At most `most` connections are kept, at least one.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), most: most.max(1), sweeping: Once::new() })
    }

    /// One on which nothing has come since its last answer.
    pub fn take(&self, address: SocketAddr) -> Option<Stream> {
        loop {
            let mut found = self.newest(address)?;
            if found.is_quiet() {
                return Some(found.stream);
            }
        }
    }

    fn newest(&self, address: SocketAddr) -> Option<Kept> {
        let mut kept = self.kept.lock();
        let at = kept.iter().rposition(|one| one.address == address)?;
        Some(kept.remove(at))
    }

    /// Whatever of its last answer was not read is found by [`Idle::take`].
    pub fn put(self: &Arc<Self>, address: SocketAddr, stream: Stream) {
        self.sweeping.call_once(|| drop(tokio::spawn(sweep(Arc::downgrade(self)))));
        let one = Kept { stream, address, since: Instant::now() };
        let mut kept = self.kept.lock();
        if kept.len() < self.most {
            kept.push(one);
        }
    }

    fn sweep(&self) {
        let of_no_use = |one: &mut Kept| one.since.elapsed() >= LIFE || !one.is_quiet();
        let gone: Vec<Kept> = self.kept.lock().extract_if(.., of_no_use).collect();
        // Closed when nobody waits for the lock any more.
        drop(gone);
    }
}

impl Kept {
    /// Neither a byte nor the end has come. A byte would be read as the answer to a question that was asked after it.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        // The system is asked, since the runtime may not have heard of what is there.
        if recv(self.stream.id(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) != Err(Errno::EAGAIN) {
            return false;
        }
        // What TLS or the framework has read already is in no socket. Outside the task's budget, which would say that there
        // is nothing.
        tokio::task::unconstrained(self.stream.read(&mut byte)).now_or_never().is_none()
    }
}

/// Ends with the connections' owner.
async fn sweep(of: Weak<Idle>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(idle) = of.upgrade() else { return };
        idle.sweep();
    }
}

#[cfg(test)]
mod tests;
