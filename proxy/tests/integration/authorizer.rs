//! The webhook over real sockets, against a server that misbehaves on purpose: every misbehaviour has its reason,
//! and no connection on which something was odd is ever used for another question.

mod decided;
pub mod encrypted;
pub mod evil;
mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::authorizer::url::Url;
use countersign::authorizer::webhook::{Dialect, Options, Webhook};
use countersign::authorizer::{Attempt, Authorizer, Question, tls};
use countersign::policy::request::{Claims, Conditions, Request};
use countersign::policy::verdict::{Decision, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use evil::{ALLOW, Evil, NO_NAME, allow, answer, question};

/// Of an attempt that should end by itself.
const LIMIT: Duration = Duration::from_secs(60);
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn options(url: &str) -> Options {
    Options {
        name: "opa".into(),
        url: Url::parse(url).unwrap(),
        dialect: Dialect::Minio,
        token: None,
        tls: tls::Options::default(),
        pool: 8,
    }
}

fn webhook(url: &str) -> Webhook {
    Webhook::new(options(url)).unwrap()
}

async fn ask(webhook: &Webhook, limit: Duration) -> Attempt {
    ask_about(webhook, br#"{"input":{}}"#, limit).await
}

async fn ask_about(webhook: &Webhook, bytes: &[u8], limit: Duration) -> Attempt {
    webhook.ask(&Question { request: &request(bytes), traceparent: TRACEPARENT }, limit).await
}

/// As if it had been read from these bytes.
fn request(bytes: &[u8]) -> Request {
    Request {
        bytes: bytes::Bytes::copy_from_slice(bytes),
        account: "alice".into(),
        groups: None,
        action: "s3:GetObject".into(),
        original_action: None,
        bucket: "photos".into(),
        object: "a".into(),
        owner: false,
        deny_only: false,
        conditions: Conditions::default(),
        claims: Claims::default(),
        unknown: Vec::new(),
    }
}

fn reason(attempt: &Attempt) -> Reason {
    match &attempt.outcome {
        Ok(answer) if answer.decision() == Decision::Allow => Reason::Allowed,
        Ok(_) => Reason::Denied,
        Err(reason) => *reason,
    }
}

#[tokio::test]
async fn the_question_goes_out_as_it_was_read() {
    let seen = Arc::new(parking_lot::Mutex::new(String::new()));
    let copy = seen.clone();
    let server = Evil::start(move |mut stream, _| {
        let copy = copy.clone();
        async move {
            *copy.lock() = question(&mut stream).await.unwrap();
            stream.write_all(allow().as_bytes()).await.unwrap();
        }
    })
    .await;
    let token = Some("Bearer  s3cret\"".to_owned().into());
    let webhook = Webhook::new(Options { token, ..options(&format!("{}?x=1", server.url())) }).unwrap();
    let bytes = "{\"input\" : {\"object\":\"ä\\u00e4 \"}}\n";
    let attempt = ask_about(&webhook, bytes.as_bytes(), LIMIT).await;
    assert_eq!((reason(&attempt), attempt.status), (Reason::Allowed, Some(200)));
    let expected = format!(
        "POST /v1/data/minio/allow?x=1 HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Accept-Encoding: identity\r\nUser-Agent: countersign/{}\r\nAuthorization: Bearer  s3cret\"\r\n\
         traceparent: {TRACEPARENT}\r\nContent-Length: {}\r\n\r\n{bytes}",
        server.address,
        env!("CARGO_PKG_VERSION"),
        bytes.len()
    );
    assert_eq!(*seen.lock(), expected);
    for token in ["a\r\nX: y", "a\0", "ä\n"] {
        assert!(Webhook::new(Options { token: Some(token.to_owned().into()), ..options(&server.url()) }).is_err());
    }
}

/// Answers that decide nothing although a lax reader would find an allow in each.
fn misbehaviours() -> Vec<(String, Reason)> {
    let mut cases = Vec::new();
    let statuses =
        ["500 No", "403 No", "404 No", "401 No", "429 No", "201 A", "202 B", "203 C", "206 D", "299 E", "300 F"];
    for status in statuses {
        cases.push((answer(status, "", ALLOW), Reason::BadStatus));
    }
    cases.push(("HTTP/1.1 204 None\r\n\r\n".into(), Reason::BadStatus));
    cases.push(("HTTP/1.1 304 Same\r\n\r\n".into(), Reason::BadStatus));
    cases.push(("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n".to_owned() + &allow(), Reason::BadStatus));
    cases.push(("HTTP/1.1 100 Continue\r\n\r\n".repeat(100) + &allow(), Reason::MalformedAnswer));
    for coding in ["gzip", "br", "deflate", "identity, gzip"] {
        cases.push((answer("200 OK", &format!("Content-Encoding: {coding}\r\n"), ALLOW), Reason::ContentEncoding));
    }
    for garbage in ["SSH-2.0-x\r\n\r\n", "\0\0\0\0", ALLOW, "HTTP/0.9 200 OK\r\n\r\n", "HTTP/3.7 200 OK\r\n\r\n"] {
        cases.push((garbage.to_owned(), Reason::MalformedAnswer));
    }
    let framed = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    for (fields, body) in [
        ("Content-Length: 15\r\nContent-Length: 14\r\n", ALLOW),
        ("Content-Length: 15\r\nTransfer-Encoding: chunked\r\n", "f\r\n{\"result\":true}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "f;ext\r\n{\"result\":true}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "f\r\n{\"result\":true}\r\n0\r\nresult: true\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "zz\r\n{\"result\":true}\r\n0\r\n\r\n"),
    ] {
        cases.push((framed(fields, body), Reason::MalformedAnswer));
    }
    cases.push((framed(&"X-Flood: y\r\n".repeat(10_000), ""), Reason::MalformedAnswer));
    cases.push((format!("HTTP/1.1 200 {}\r\n\r\n", "K".repeat(65_536)), Reason::MalformedAnswer));
    let padded = format!("{ALLOW}{}", " ".repeat(65_536));
    cases.push((answer("200 OK", "", &padded), Reason::AnswerTooLarge));
    cases.push((
        framed("Transfer-Encoding: chunked\r\n", &("4000\r\n".to_owned() + &" ".repeat(0x4000) + "\r\n").repeat(9)),
        Reason::AnswerTooLarge,
    ));
    cases
}

#[tokio::test]
async fn every_misbehaviour_has_its_reason() {
    for (bytes, expected) in misbehaviours() {
        let shown: String = bytes.chars().take(200).collect();
        let server = Evil::saying(bytes).await;
        let webhook = webhook(&server.url());
        for _ in 0..2 {
            assert_eq!(reason(&ask(&webhook, LIMIT).await), expected, "{shown}");
        }
        if expected != Reason::BadStatus && expected != Reason::ContentEncoding {
            assert_eq!(server.connections(), 2, "a poisoned connection was used again: {shown}");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_refused() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bytes in [
        String::new(),
        "HTTP/1.1 200 OK\r\nConte".to_owned(),
        format!("HTTP/1.1 200 OK\r\n\r\n{ALLOW}"),
        format!("HTTP/1.0 200 OK\r\n\r\n{ALLOW}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{ALLOW}"),
        format!("{chunked}f\r\n{ALLOW}\r\n"),
        format!("{chunked}f\r\n{ALLOW}\r\n0\r\n"),
    ] {
        let server = Evil::closing_after(bytes.clone()).await;
        assert_eq!(reason(&ask(&webhook(&server.url()), LIMIT).await), Reason::ConnectionLost, "{bytes}");
        assert_eq!(server.connections(), 1, "only what was pooled is asked for again: {bytes}");
    }
}

#[tokio::test]
async fn what_is_only_unusual_is_understood() {
    for bytes in [
        answer("200 OK", "Content-Type: text/html\r\n", ALLOW),
        answer("200", "Set-Cookie: x=y\r\nLocation: http://127.0.0.1:1/\r\n", ALLOW),
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(5) + &allow(),
        allow().replace("HTTP/1.1", "HTTP/1.0"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nf\r\n{\"result\":true}\r\n0\r\n\r\n".to_owned(),
    ] {
        let server = Evil::saying(bytes.clone()).await;
        assert_eq!(reason(&ask(&webhook(&server.url()), LIMIT).await), Reason::Allowed, "{bytes}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Evil::saying(allow()).await;
    for status in [301, 302, 303, 307, 308] {
        for location in [target.url(), format!("//{}/", target.address), "/".into(), "file:///etc/passwd".into()] {
            let server =
                Evil::saying(answer(&format!("{status} Go"), &format!("Location: {location}\r\n"), ALLOW)).await;
            let attempt = ask(&webhook(&server.url()), LIMIT).await;
            assert_eq!((reason(&attempt), attempt.status), (Reason::Redirect, Some(status)), "{location}");
            assert_eq!(server.connections(), 1);
        }
    }
    assert_eq!(target.connections(), 0);
}

/// One byte at a time is progress, but not an answer in time.
#[tokio::test]
async fn a_drip_does_not_hold_a_question_beyond_its_limit() {
    let in_head = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"y".repeat(10_000);
    let in_body = answer("200 OK", "", &" ".repeat(10_000));
    let skip = in_body.len() - 10_000;
    for (bytes, at_once) in [(in_head, 0), (in_body, skip), (String::new(), 0)] {
        let left = Arc::new(AtomicUsize::new(0));
        let seen = left.clone();
        let server = Evil::start(move |mut stream, _| {
            let (bytes, seen) = (bytes.clone(), seen.clone());
            async move {
                question(&mut stream).await;
                let (whole, drip) = bytes.as_bytes().split_at(at_once);
                let mut alive = stream.write_all(whole).await.is_ok();
                for byte in drip {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    alive = alive && stream.write_all(&[*byte]).await.is_ok();
                    if !alive {
                        break;
                    }
                }
                // The client closes; with unread bytes the kernel says so with an error.
                drop(stream.read(&mut [0; 1]).await);
                seen.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await;
        let started = Instant::now();
        let attempt = ask(&webhook(&server.url()), Duration::from_millis(200)).await;
        assert_eq!(reason(&attempt), Reason::Timeout);
        let took = started.elapsed();
        // The drip would go on for ten times as long.
        assert!(took >= Duration::from_millis(200) && took < LIMIT, "{took:?}");
        evil::until("the connection's end", || left.load(Ordering::SeqCst) == 1).await;
    }
}

#[tokio::test]
async fn a_huge_answer_is_cut_and_its_connection_closed() {
    let written = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let (count, end) = (written.clone(), ended.clone());
    let server = Evil::start(move |mut stream, _| {
        let (count, end) = (count.clone(), end.clone());
        async move {
            question(&mut stream).await;
            let size = 64 << 20;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{ALLOW}", size + ALLOW.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            while count.load(Ordering::SeqCst) < size && stream.write_all(&[b' '; 4096]).await.is_ok() {
                count.fetch_add(4096, Ordering::SeqCst);
            }
            end.store(1, Ordering::SeqCst);
        }
    })
    .await;
    assert_eq!(reason(&ask(&webhook(&server.url()), LIMIT).await), Reason::AnswerTooLarge);
    evil::until("the end of the flood", || ended.load(Ordering::SeqCst) == 1).await;
    assert!(written.load(Ordering::SeqCst) < 16 << 20, "most of it was never taken");
}

#[tokio::test]
async fn a_reset_is_a_loss_at_any_moment() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n";
    for sent in ["", "HTTP/1.1 2", head, &format!("{head}{}", &ALLOW[..14])] {
        let bytes = sent.to_owned();
        let server = Evil::start(move |mut stream, _| {
            let bytes = bytes.clone();
            async move {
                // Part of the question stays unread, which turns the close into a reset.
                stream.read_exact(&mut [0; 10]).await.unwrap();
                stream.write_all(bytes.as_bytes()).await.unwrap();
            }
        })
        .await;
        assert_eq!(reason(&ask(&webhook(&server.url()), LIMIT).await), Reason::ConnectionLost, "{sent:?}");
    }
}

#[tokio::test]
async fn an_answer_before_the_whole_question_is_none() {
    let server = Evil::start(|mut stream, _| async move {
        stream.write_all(allow().as_bytes()).await.unwrap();
        tokio::time::sleep(LIMIT).await;
    })
    .await;
    let bytes = vec![b' '; 32 << 20];
    let attempt = ask_about(&webhook(&server.url()), &bytes, LIMIT).await;
    assert_eq!(reason(&attempt), Reason::MalformedAnswer);
}

#[tokio::test]
async fn nobody_there_is_told_from_nobody_answering() {
    // Nobody listens at port 1.
    assert_eq!(reason(&ask(&webhook("http://127.0.0.1:1/"), LIMIT).await), Reason::Connect);

    // The queue of this listener is full: a handshake with it never ends.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "the queue does not fill");
    }
    // Nothing comes but the end of a time, so the clock need not run: a busy machine makes nothing late.
    tokio::time::pause();
    let started = Instant::now();
    let attempt = ask(&webhook(&format!("http://{address}/")), Duration::from_millis(400)).await;
    assert_eq!(reason(&attempt), Reason::Connect);
    assert_eq!(started.elapsed().as_millis() / 10, 20, "half the time is for the connection");
    tokio::time::resume();

    let attempt = ask(&webhook(&format!("http://{NO_NAME}/")), LIMIT).await;
    assert_eq!(reason(&attempt), Reason::Dns);
}

#[tokio::test]
async fn what_the_answer_says_about_keeping_it_is_passed_on() {
    for (fields, expected) in [
        ("", None),
        ("Cache-Control: no-store\r\n", Some(0)),
        ("Cache-Control: max-age=60\r\nAge: 20\r\n", Some(40)),
        ("cache-control: max-age=60\r\nCACHE-CONTROL: max-age=7\r\n", Some(7)),
    ] {
        let server = Evil::saying(answer("200 OK", fields, ALLOW)).await;
        let attempt = ask(&webhook(&server.url()), LIMIT).await;
        assert_eq!(attempt.keep_at_most.map(|limit| limit.as_secs()), expected, "{fields}");
    }
}
