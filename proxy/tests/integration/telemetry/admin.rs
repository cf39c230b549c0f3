//! The admin listener over a socket.

use std::sync::Arc;
use std::time::Duration;

use countersign::admin::{Admin, Readiness};
use countersign::metrics::{Metrics, Names};
use pingora::apps::ServerApp;
use pingora::protocols::l4::stream::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

struct Served {
    address: std::net::SocketAddr,
    readiness: Readiness,
    _shutdown: watch::Sender<bool>,
}

async fn serve() -> Served {
    let readiness = Readiness::default();
    let admin = Arc::new(Admin::new(Metrics::new(&Names::default()), readiness.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (admin, shutdown) = (Arc::clone(&admin), shutdown.clone());
            tokio::spawn(async move {
                let mut stream: Option<pingora::protocols::Stream> = Some(Box::new(Stream::from(connection)));
                while let Some(next) = stream.take() {
                    stream = admin.process_new(next, &shutdown).await;
                }
            });
        }
    });
    Served { address, readiness, _shutdown: sender }
}

/// Sends all of `requests` and reads until the other side closes.
async fn talk(address: std::net::SocketAddr, requests: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an end").unwrap();
    answer
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn probes_and_metrics_are_answered() {
    let served = serve().await;
    let metrics = talk(served.address, &request("GET", "/metrics")).await;
    assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics:.200}");
    let head = metrics.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(metrics.ends_with("# EOF\n"));
    for path in ["/livez", "/healthz", "/readyz"] {
        assert!(talk(served.address, &request("GET", path)).await.starts_with("HTTP/1.1 200 "), "{path}");
    }
    served.readiness.drain();
    assert!(talk(served.address, &request("GET", "/readyz")).await.starts_with("HTTP/1.1 503 "));
    assert!(talk(served.address, &request("GET", "/livez?verbose")).await.starts_with("HTTP/1.1 200 "));
    assert!(talk(served.address, &request("GET", "/")).await.starts_with("HTTP/1.1 404 "));
    let refused = talk(served.address, &request("DELETE", "/metrics")).await;
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.to_ascii_lowercase().contains("\r\nallow: get\r\n"));
}

#[tokio::test]
async fn a_connection_carries_several_requests_but_no_body() {
    let served = serve().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed early");
        }
    }
    drop(stream);
    // The body looks like a second request, and must not be answered as one.
    let inner = request("GET", "/livez");
    let with_body = format!("GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{inner}", inner.len());
    let answers = talk(served.address, &with_body).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}
