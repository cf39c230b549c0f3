//! Real sockets, and a far end without a runtime: what it sends is there when the call comes back, and the runtime under test,
//! which has one thread, has not heard of it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use pingora::protocols::l4::stream::Stream as L4;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A listener and what it accepts.
struct Far {
    listener: TcpListener,
    address: SocketAddr,
}

impl Far {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// Both ends of a new connection.
    async fn connection(&self) -> (Stream, TcpStream) {
        let near = tokio::net::TcpStream::connect(self.address).await.unwrap();
        (Box::new(L4::from(near)), self.listener.accept().unwrap().0)
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// As a question and its answer leave it: the runtime has found nothing more to read.
async fn used(near: &mut Stream, far: &mut TcpStream) {
    far.write_all(b"answer").unwrap();
    near.read_exact(&mut [0; 6]).await.unwrap();
    assert!(near.read(&mut [0; 1]).now_or_never().is_none());
}

/// That the far end sees the end of its connection.
fn is_closed(far: &mut TcpStream) -> bool {
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    matches!(far.read(&mut [0; 1]), Ok(0))
}

fn is_open(far: &mut TcpStream) -> bool {
    far.set_nonblocking(true).unwrap();
    far.read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test]
async fn the_one_used_last_is_given_out_first() {
    let far = Far::new();
    let idle = Idle::new(8);
    let (one, _one_far) = far.connection().await;
    let (other, _other_far) = far.connection().await;
    let (first, second) = (one.id(), other.id());
    idle.put(far.address, one);
    idle.put(far.address, other);
    assert!(idle.take(nowhere()).is_none(), "nothing is there for another address");
    let (a, b) = (idle.take(far.address).unwrap(), idle.take(far.address).unwrap());
    assert_eq!((a.id(), b.id()), (second, first));
    assert!(idle.take(far.address).is_none());
}

/// Of a name that has moved, what is left of the old address takes up no room.
#[tokio::test]
async fn the_oldest_gives_way_where_there_are_too_many() {
    let (old, new) = (Far::new(), Far::new());
    let idle = Idle::new(1);
    let (one, mut one_far) = old.connection().await;
    let (other, mut other_far) = new.connection().await;
    idle.put(old.address, one);
    idle.put(new.address, other);
    assert!(is_closed(&mut one_far) && is_open(&mut other_far));
    assert!(idle.take(old.address).is_none() && idle.take(new.address).is_some());
}

/// The runtime has no turn between the bytes' arrival and the question.
#[tokio::test]
async fn what_came_in_this_instant_is_seen() {
    for came in [&b"HTTP/1.1 200 OK\r\n"[..], b""] {
        let far = Far::new();
        let idle = Idle::new(8);
        let (older, _older_far) = far.connection().await;
        let (mut near, mut end) = far.connection().await;
        let good = older.id();
        used(&mut near, &mut end).await;
        idle.put(far.address, older);
        idle.put(far.address, near);
        end.write_all(came).unwrap();
        if came.is_empty() {
            end.shutdown(std::net::Shutdown::Write).unwrap();
        }
        assert_eq!(idle.take(far.address).unwrap().id(), good, "{came:?}");
        assert!(idle.take(far.address).is_none());
    }
}

/// TLS reads more than it is asked for; such bytes are in no socket.
#[tokio::test]
async fn what_was_read_ahead_is_seen() {
    let far = Far::new();
    let idle = Idle::new(8);
    let near = tokio::net::TcpStream::connect(far.address).await.unwrap();
    let _far = far.listener.accept().unwrap();
    let mut near = L4::from(near);
    near.rewind(b"and more");
    idle.put(far.address, Box::new(near));
    assert!(idle.take(far.address).is_none());
}

/// Whether or not anybody asks for one.
#[tokio::test]
async fn what_is_of_no_use_is_closed() {
    let far = Far::new();
    let idle = Idle::new(8);
    let (ended, mut ended_far) = far.connection().await;
    let (good, _good_far) = far.connection().await;
    let good_id = good.id();
    idle.put(far.address, ended);
    idle.put(far.address, good);
    ended_far.shutdown(std::net::Shutdown::Write).unwrap();
    tokio::time::pause();
    tokio::time::sleep(SWEEP + Duration::from_millis(1)).await;
    assert!(is_closed(&mut ended_far) && idle.kept.lock().len() == 1, "it ended");
    assert_eq!(idle.take(far.address).unwrap().id(), good_id);

    let (old, mut old_far) = far.connection().await;
    idle.put(far.address, old);
    tokio::time::sleep(LIFE + SWEEP).await;
    assert!(is_closed(&mut old_far) && idle.kept.lock().is_empty(), "nobody asked for it");
}

/// More than are looked at with the lock held once.
#[tokio::test]
async fn all_are_looked_at() {
    let far = Far::new();
    let idle = Idle::new(3 * AT_A_TIME);
    let mut ends = Vec::new();
    for _ in 0..2 * AT_A_TIME + 5 {
        let (near, end) = far.connection().await;
        idle.put(far.address, near);
        ends.push(end);
    }
    // Every second one ends.
    for end in ends.iter().step_by(2) {
        end.shutdown(std::net::Shutdown::Write).unwrap();
    }
    tokio::time::pause();
    tokio::time::sleep(SWEEP + Duration::from_millis(1)).await;
    assert_eq!(idle.kept.lock().len(), AT_A_TIME + 2);
    assert!(ends.iter_mut().enumerate().all(|(at, end)| if at % 2 == 0 { is_closed(end) } else { is_open(end) }));
}

/// Even if nobody has looked since.
#[tokio::test]
async fn an_old_one_is_not_given_out() {
    let far = Far::new();
    let idle = Idle::new(8);
    let (near, _end) = far.connection().await;
    // As if the task that looks at them were no more.
    idle.sweeping.call_once(|| ());
    idle.put(far.address, near);
    tokio::time::pause();
    tokio::time::advance(LIFE).await;
    assert!(idle.take(far.address).is_none());
}

/// A connection that is closed with its owner is not kept open by whoever looks at it now and then.
#[tokio::test]
async fn all_are_closed_with_their_owner() {
    let far = Far::new();
    let idle = Idle::new(8);
    let (near, mut end) = far.connection().await;
    idle.put(far.address, near);
    // Whoever looks has begun.
    tokio::task::yield_now().await;
    drop(idle);
    assert!(is_closed(&mut end));
}
