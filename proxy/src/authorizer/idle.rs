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
/// How often all of them are looked at, so that what the other side has closed does not keep its descriptor.
const SWEEP: Duration = Duration::from_secs(5);
/// So many at a time: questions wait for the lock.
const AT_A_TIME: usize = 32;

pub struct Idle {
    /// In the order in which they were put here. The last one is given out first, so that the others can come to their end.
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
            if !found.is_old() && found.is_quiet() {
                return Some(found.stream);
            }
        }
    }

    fn newest(&self, address: SocketAddr) -> Option<Kept> {
        let mut kept = self.kept.lock();
        let at = kept.iter().rposition(|one| one.address == address)?;
        Some(kept.remove(at))
    }

    /// Within a runtime. The oldest gives way where there are too many: it may be to an address that is asked no more.
    /// Whatever of its last answer was not read is found by [`Idle::take`].
    pub fn put(self: &Arc<Self>, address: SocketAddr, stream: Stream) {
        self.sweeping.call_once(|| drop(tokio::spawn(sweep(Arc::downgrade(self)))));
        let one = Kept { stream, address, since: Instant::now() };
        let mut kept = self.kept.lock();
        let oldest = (kept.len() >= self.most).then(|| kept.remove(0));
        kept.push(one);
        // Closed when nobody waits for the lock any more.
        drop((kept, oldest));
    }

    /// Looks at some of them, from this place on. Where to go on, if there are more.
    fn sweep(&self, from: usize) -> Option<usize> {
        let mut kept = self.kept.lock();
        let to = kept.len().min(from + AT_A_TIME);
        if from >= to {
            return None;
        }
        let gone: Vec<Kept> = kept.extract_if(from..to, |one| one.is_old() || !one.is_quiet()).collect();
        drop(kept);
        Some(to - gone.len())
    }
}

impl Kept {
    fn is_old(&self) -> bool {
        self.since.elapsed() >= LIFE
    }

    /// Neither a byte nor the end has come. A byte would be read as the answer to a question that was asked after it.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        // The system is asked, since the runtime may not have heard of what is there.
        if recv(self.stream.id(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) != Err(Errno::EAGAIN) {
            return false;
        }
        // What has been read already, as the rest of a TLS record, is in no socket. Outside the task's budget, which would
        // say that there is nothing.
        tokio::task::unconstrained(self.stream.read(&mut byte)).now_or_never().is_none()
    }
}

/// Ends with the connections' owner.
async fn sweep(of: Weak<Idle>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let mut from = Some(0);
        while let Some(at) = from {
            let Some(idle) = of.upgrade() else { return };
            from = idle.sweep(at);
            drop(idle);
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests;
