//! Real sockets, and a far end without a runtime: what it sends is there when the call comes back, and the runtime under test,
//! which has one thread, has not heard of it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use pingora::protocols::l4::stream::Stream as L4;

use super::*;

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
    far.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    matches!(far.read(&mut [0; 1]), Ok(0))
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

#[tokio::test]
async fn no_more_than_its_most_are_kept() {
    let far = Far::new();
    let idle = Idle::new(1);
    let (one, mut one_far) = far.connection().await;
    let (other, mut other_far) = far.connection().await;
    idle.put(far.address, one);
    idle.put(far.address, other);
    assert!(is_closed(&mut other_far) && !is_closed(&mut one_far));
    assert!(idle.take(far.address).is_some() && idle.take(far.address).is_none());
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

/// TLS and the framework read more than they are asked for; such bytes are in no socket.
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

/// A connection that is closed with its owner is not kept open by whoever looks at it now and then.
#[tokio::test]
async fn all_are_closed_with_their_owner() {
    let far = Far::new();
    let idle = Idle::new(8);
    let (near, mut end) = far.connection().await;
    idle.put(far.address, near);
    drop(idle);
    assert!(is_closed(&mut end));
}
