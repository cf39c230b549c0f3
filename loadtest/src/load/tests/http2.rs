//! The load generator over HTTP/2 and over TLS, against the smallest server that speaks both.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, select_next_proto};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// What it has seen.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicU64,
    questions: AtomicU64,
}

/// Answers every question with an allow, over HTTP/2 unless it says otherwise.
async fn server(acceptor: Option<SslAcceptor>) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&shared));
            tokio::spawn(async move {
                let Some(acceptor) = acceptor else { return serve(stream, &seen).await };
                let mut stream = tokio_openssl::SslStream::new(Ssl::new(acceptor.context()).unwrap(), stream).unwrap();
                if Pin::new(&mut stream).accept().await.is_ok() {
                    match stream.ssl().selected_alpn_protocol() {
                        Some(b"h2") => serve(stream, &seen).await,
                        _ => serve_1(stream).await,
                    }
                }
            });
        }
    });
    (address, seen)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, seen: &Seen) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        seen.questions.fetch_add(1, Ordering::SeqCst);
        let token = request.headers().get("authorization").map(|value| value.as_bytes().to_vec());
        let mut body = request.into_body();
        // Without its connection a body would wait for ever.
        tokio::spawn(async move {
            let mut length = 0;
            while let Some(Ok(data)) = body.data().await {
                length += data.len();
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            let fine = length == QUESTION_SIZE && token.as_deref() == Some(b"Bearer t");
            let head =
                http::Response::builder().status(200).header("x-countersign-reason", "allowed").body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from(format!("{{\"result\":{fine}}}")), true).unwrap();
        });
    }
}

/// One answer, and the end: enough to see that it came this way.
async fn serve_1(mut stream: impl AsyncWrite + Unpin) {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"result\":true}").await.ok();
    std::future::pending::<()>().await;
}

/// For 127.0.0.1, and itself the CA.
fn acceptor(alpn: &'static [u8]) -> (SslAcceptor, Vec<u8>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "load").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.append_extension(BasicConstraints::new().ca().build().unwrap()).unwrap();
    let address = SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(address).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    acceptor.set_alpn_select_callback(move |_, offered| select_next_proto(alpn, offered).ok_or(AlpnError::NOACK));
    (acceptor.build(), certificate.to_pem().unwrap())
}

fn load(scheme: &str, address: SocketAddr) -> Load {
    let load = Load::new(format!("{scheme}://{address}/")).connections(2).token("Bearer t").reasons();
    load.mix(Mix::of(Question::read().size(QUESTION_SIZE))).rate(1000.0).duration(Duration::from_millis(100))
}

#[tokio::test]
async fn questions_share_a_connection_by_prior_knowledge() {
    let (address, seen) = server(None).await;
    let report = load("http", address).http2(4).run().await.unwrap();
    assert_eq!((report.allow, report.answers(), report.failed()), (100, 100, 0), "{report}");
    assert_eq!(report.reasons, [("allowed".to_owned(), 100)].into());
    assert_eq!((report.sent_bytes, report.received_bytes), (100 * QUESTION_SIZE as u64, 100 * 15));
    assert_eq!(seen.questions.load(Ordering::SeqCst), 100);
    assert!(seen.connections.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn http_2_is_agreed_upon_over_tls_and_the_server_proves_who_it_is() {
    let (acceptor, pem) = acceptor(b"\x02h2\x08http/1.1");
    let home = tempfile::tempdir().unwrap();
    let ca = home.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let (address, seen) = server(Some(acceptor)).await;
    let report = load("https", address).ca(&ca).http2(1).run().await.unwrap();
    assert_eq!((report.allow, report.failed()), (100, 0), "{report}");
    // Without being asked for HTTP/2 it is HTTP/1.1, over the same door.
    let one = load("https", address).ca(&ca).connections(1).duration(Duration::from_millis(1));
    assert_eq!(one.run().await.unwrap().allow, 1);
    // Nobody on this machine trusts that certificate otherwise.
    let stranger = load("https", address).http2(1).duration(Duration::from_millis(1)).run().await.unwrap();
    assert_eq!(stranger.failures, [(Failure::Connect, 1)].into(), "{stranger}");
    assert_eq!(seen.questions.load(Ordering::SeqCst), 100);
}

#[tokio::test]
async fn a_server_without_http_2_is_a_failure_to_connect() {
    let (acceptor, pem) = acceptor(b"\x08http/1.1");
    let home = tempfile::tempdir().unwrap();
    let ca = home.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let (address, _) = server(Some(acceptor)).await;
    let report = load("https", address).ca(&ca).http2(1).duration(Duration::from_millis(1)).run().await.unwrap();
    assert_eq!(report.failures, [(Failure::Connect, 1)].into(), "{report}");
}

#[tokio::test]
async fn streams_are_bounded_and_a_ca_needs_tls() {
    let error = async |load: Load| load.run().await.unwrap_err().to_string();
    let nowhere = || load("http", "127.0.0.1:1".parse().unwrap());
    assert!(error(nowhere().http2(0)).await.contains("streams"));
    assert!(error(nowhere().http2(101)).await.contains("streams"));
    assert!(error(nowhere().ca("/x")).await.contains("https"));
}
