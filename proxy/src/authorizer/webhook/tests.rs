//! Names with several addresses, which no host name of a test machine has.

use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::policy::request::Request;

/// Allows every question, one a connection, and counts them.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            count.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 15\r\n\r\n{\"result\":true}";
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, asked)
}

/// Nobody listens here.
async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn webhook(addresses: Vec<SocketAddr>) -> Webhook {
    let options = Options {
        name: "opa".into(),
        url: Url::parse("http://opa.example/").unwrap(),
        dialect: Dialect::Minio,
        token: None,
        tls: tls::Options::default(),
        pool: 8,
    };
    let resolver = Resolver::with_lookup(move || {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    });
    Webhook { resolver, ..Webhook::new(options).unwrap() }
}

async fn ask(webhook: &Webhook) -> Attempt {
    let request = Request { bytes: Bytes::from_static(b"{\"input\":{}}"), ..Request::bare("") };
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    webhook.ask(&Question { request: &request, traceparent }, Duration::from_secs(5)).await
}

#[tokio::test]
async fn every_address_is_tried_and_the_good_one_comes_first_next_time() {
    let (good, asked) = server().await;
    let webhook = webhook(vec![closed().await, closed().await, good]);
    for turn in 1..=3 {
        assert!(ask(&webhook).await.outcome.is_ok());
        assert_eq!((asked.load(Ordering::Relaxed), webhook.preferred.load(Ordering::Relaxed)), (turn, 2));
    }
}

#[tokio::test]
async fn an_address_that_went_away_is_followed_by_the_others() {
    let (first, second) = (server().await, server().await);
    let webhook = webhook(vec![first.0, closed().await, second.0]);
    assert!(ask(&webhook).await.outcome.is_ok());
    assert_eq!(first.1.load(Ordering::Relaxed), 1);
    // As if the last one had been the good one, and is gone: the turn goes round.
    webhook.preferred.store(1, Ordering::Relaxed);
    assert!(ask(&webhook).await.outcome.is_ok());
    assert_eq!((first.1.load(Ordering::Relaxed), second.1.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(webhook.preferred.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn without_a_good_address_there_is_no_connection() {
    let webhook = webhook(vec![closed().await, closed().await]);
    assert_eq!(ask(&webhook).await.outcome.err(), Some(Reason::Connect));
}
