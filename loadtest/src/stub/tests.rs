//! Each script over a raw socket: the stub must misbehave exactly as it is told.

use std::io::ErrorKind;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const QUESTION: &[u8] = b"POST /v1/data/minio/allow HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nContent-Length: 4\r\n\r\nbody";
const ALLOW: &str =
    "HTTP/1.1 200 Stubbed\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"result\":true}";

async fn asked(script: impl Into<Script>) -> (Stub, TcpStream) {
    let stub = Stub::start(script).await.unwrap();
    let mut client = TcpStream::connect(stub.address()).await.unwrap();
    client.write_all(QUESTION).await.unwrap();
    (stub, client)
}

/// Exactly `length` bytes.
async fn read(client: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn read_to_end(client: &mut TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = client.read_to_end(&mut bytes).await;
    (String::from_utf8(bytes).unwrap(), end.err().map(|error| error.kind()))
}

/// The answer, and how it ended, for a script that ends the connection.
async fn whole(script: impl Into<Script>) -> (String, Option<ErrorKind>) {
    let (_stub, mut client) = asked(script).await;
    read_to_end(&mut client).await
}

/// The whole answer of a script that keeps the connection, which must then serve a second question.
async fn kept(answer: Answer, expected: &str) {
    let (stub, mut client) = asked(answer).await;
    assert_eq!(read(&mut client, expected.len()).await, expected);
    stub.set(Script::deny());
    client.write_all(QUESTION).await.unwrap();
    let deny = ALLOW.replace("15", "16").replace("true", "false");
    assert_eq!(read(&mut client, deny.len()).await, deny);
    assert_eq!(stub.connections(), Connections { opened: 1, open: 1 });
}

#[tokio::test]
async fn it_remembers_what_it_was_asked_and_keeps_the_connection() {
    kept(Answer::allow(), ALLOW).await;
    let (stub, mut client) = asked(Script::allow()).await;
    read(&mut client, ALLOW.len()).await;
    client.write_all(QUESTION).await.unwrap();
    assert!(stub.wait_for(2).await);
    let questions = stub.questions();
    assert_eq!(questions.len(), 2);
    assert_eq!((questions[0].connection_id, questions[1].connection_id), (1, 1));
    assert!(questions[0].at <= questions[1].at);
    assert_eq!((&questions[0].method[..], &questions[0].target[..]), ("POST", "/v1/data/minio/allow"));
    assert_eq!(questions[0].header("x-one"), Some("1"));
    assert_eq!(&questions[0].body[..], b"body");
    stub.forget();
    assert_eq!((stub.questions().len(), stub.asked()), (0, 2));
}

#[tokio::test]
async fn two_questions_sent_at_once_get_two_answers() {
    let (stub, mut client) = asked(Script::allow()).await;
    client.write_all(QUESTION).await.unwrap();
    assert_eq!(read(&mut client, 2 * ALLOW.len()).await, ALLOW.repeat(2));
    assert_eq!(stub.asked(), 2);
}

#[tokio::test]
async fn an_answer_can_depend_on_the_question() {
    let script = Script::by(|question| Answer::new(question.body.clone()).no_headers().status(201));
    let (_stub, mut client) = asked(script).await;
    let expected = "HTTP/1.1 201 Stubbed\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(read(&mut client, expected.len()).await, expected);
}

#[tokio::test]
async fn frames_are_as_right_or_wrong_as_said() {
    let answer = || Answer::new("yes").no_headers();
    kept(answer().framing(Framing::WrongLength(2)), "HTTP/1.1 200 Stubbed\r\nContent-Length: 5\r\n\r\nyes").await;
    kept(answer().framing(Framing::WrongLength(-2)), "HTTP/1.1 200 Stubbed\r\nContent-Length: 1\r\n\r\nyes").await;
    let chunked = "HTTP/1.1 200 Stubbed\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n";
    kept(answer().framing(Framing::Chunked { last: false, trailers: vec![] }), chunked).await;
    let trailers = vec![("X-T".to_owned(), "1".to_owned())];
    kept(answer().framing(Framing::Chunked { last: true, trailers }), &format!("{chunked}0\r\nX-T: 1\r\n\r\n")).await;
    kept(answer().gzip(), "HTTP/1.1 200 Stubbed\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nyes").await;
    let until_close = whole(answer().framing(Framing::UntilClose)).await;
    assert_eq!(until_close, ("HTTP/1.1 200 Stubbed\r\n\r\nyes".to_owned(), None));
    let old = whole(answer().http_1_0()).await;
    assert_eq!(old, ("HTTP/1.0 200 Stubbed\r\nContent-Length: 3\r\n\r\nyes".to_owned(), None));
    let close = whole(answer().connection_close()).await;
    assert_eq!(close.0, "HTTP/1.1 200 Stubbed\r\nConnection: close\r\nContent-Length: 3\r\n\r\nyes");
}

#[tokio::test]
async fn connections_end_as_said() {
    assert_eq!(whole(Script::close()).await, (String::new(), None));
    assert_eq!(whole(Script::reset()).await, (String::new(), Some(ErrorKind::ConnectionReset)));
    assert_eq!(whole(Script::garbage("\u{1}\u{2}no http")).await, ("\u{1}\u{2}no http".to_owned(), None));
    let (text, end) = whole(Answer::allow().close_in_body(3)).await;
    assert!(text.ends_with("Content-Length: 15\r\n\r\n{\"r") && end.is_none(), "{text}");
    // A wait lets the client read what came before; an RST throws unread bytes away.
    let (_stub, mut client) = asked(Answer::allow().reset_in_body(3).body_after(Duration::from_millis(300))).await;
    read(&mut client, ALLOW.len() - 15).await;
    assert_eq!(read_to_end(&mut client).await.1, Some(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn silence_lasts_until_the_client_goes() {
    for script in [Script::never(), Answer::allow().hang_in_body(0).into()] {
        let (stub, client) = asked(script).await;
        assert!(stub.wait_for(1).await);
        assert_eq!(stub.connections().open, 1);
        drop(client);
        assert!(stub.wait_for_connections(|connections| connections.open == 0).await);
    }
    let (stub, client) = asked(Script::never()).await;
    assert!(stub.wait_for(1).await);
    assert_eq!(client.try_read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn informational_switching_redirecting_and_large_answers() {
    let (_stub, mut client) = asked(Script::informational(3)).await;
    let one = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n";
    let expected = format!("{}{ALLOW}", one.repeat(3));
    assert_eq!(read(&mut client, expected.len()).await, expected);

    let (_stub, mut client) = asked(Script::switching()).await;
    assert!(read(&mut client, ALLOW.len()).await.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));

    let redirect = ALLOW.replace("200", "307").replace("Content-L", "Location: http://h/\r\nContent-L");
    let (_stub, mut client) = asked(Script::redirect(307, "http://h/")).await;
    assert_eq!(read(&mut client, redirect.len()).await, redirect);

    let (_stub, mut client) = asked(Script::oversized(100_000)).await;
    let head = ALLOW.len() - 15 + 4;
    assert!(read(&mut client, head + 100_000).await.contains("Content-Length: 100000\r\n"));

    let (_stub, mut client) = asked(Script::endless()).await;
    assert!(read(&mut client, 3_000_000).await.contains("\r\nf\r\n{\"result\":true}\r\n1000\r\n    "));
}

#[tokio::test]
async fn delays_are_where_they_were_put() {
    let wait = Duration::from_millis(40);
    let start = Instant::now();
    let (_stub, mut client) = asked(Answer::allow().after(wait)).await;
    read(&mut client, 1).await;
    assert!(start.elapsed() >= wait);

    let wait = Duration::from_millis(300);
    let start = Instant::now();
    let (_stub, mut client) = asked(Answer::allow().body_after(wait)).await;
    read(&mut client, ALLOW.len() - 15).await;
    assert_eq!(client.try_read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(read(&mut client, 15).await, r#"{"result":true}"#);
    assert!(start.elapsed() >= wait);

    let start = Instant::now();
    let (_stub, mut client) = asked(Answer::allow().drip(Duration::from_millis(2))).await;
    assert_eq!(read(&mut client, ALLOW.len()).await, ALLOW);
    assert!(start.elapsed() >= Duration::from_millis(2) * u32::try_from(ALLOW.len() - 1).unwrap());
}

#[tokio::test]
async fn idle_connections_do_as_they_are_told() {
    let (stub, mut client) = asked(Script::allow()).await;
    read(&mut client, ALLOW.len()).await;
    assert!(stub.wait_for_connections(|_| stub.idle() == 1).await);
    assert_eq!(stub.say_unasked(ALLOW).await, 1);
    assert_eq!(read(&mut client, ALLOW.len()).await, ALLOW);
    assert_eq!(stub.close_idle().await, 1);
    assert_eq!(read_to_end(&mut client).await, (String::new(), None));

    let mut client = TcpStream::connect(stub.address()).await.unwrap();
    assert!(stub.wait_for_connections(|connections| connections.opened == 2).await);
    assert_eq!(stub.reset_idle().await, 1);
    assert_eq!(read_to_end(&mut client).await.1, Some(ErrorKind::ConnectionReset));

    let (stub, mut client) = asked(Answer::allow().close_idle_after(Duration::from_millis(5))).await;
    assert_eq!(read_to_end(&mut client).await, (ALLOW.to_owned(), None));
    assert!(stub.wait_for_connections(|connections| connections.open == 0).await);
}

#[tokio::test]
async fn it_stops_and_starts_again_on_its_port() {
    let (mut stub, mut client) = asked(Script::allow()).await;
    read(&mut client, ALLOW.len()).await;
    let url = stub.url();
    stub.stop().await;
    assert_eq!(stub.connections().open, 0);
    assert_ne!(read_to_end(&mut client).await.0, ALLOW);
    let refused = TcpStream::connect(stub.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    stub.start_again().unwrap();
    assert_eq!(stub.url(), url);
    let mut client = TcpStream::connect(stub.address()).await.unwrap();
    client.write_all(QUESTION).await.unwrap();
    assert_eq!(read(&mut client, ALLOW.len()).await, ALLOW);
    assert_eq!(stub.asked(), 2);
}

#[tokio::test]
async fn it_remembers_a_bounded_number() {
    let (stub, mut client) = asked(Script::allow()).await;
    for _ in 0..100 {
        client.write_all(&QUESTION.repeat(101)).await.unwrap();
        read(&mut client, 101 * ALLOW.len()).await;
    }
    assert!(stub.wait_for(10_101).await);
    assert_eq!(stub.questions().len(), 10_000);
}

#[tokio::test]
async fn a_gate_holds_answers_until_it_is_open() {
    let gate = Gate::closed();
    let (stub, mut client) = asked(Answer::allow().held_by(&gate)).await;
    assert!(stub.wait_for(1).await);
    let waited = tokio::time::timeout(Duration::from_millis(50), client.readable()).await;
    assert!(waited.is_err(), "it answers behind a closed gate");
    gate.open();
    assert_eq!(read(&mut client, ALLOW.len()).await, ALLOW);
    client.write_all(QUESTION).await.unwrap();
    assert_eq!(read(&mut client, ALLOW.len()).await, ALLOW, "once open, it stays open");
}
