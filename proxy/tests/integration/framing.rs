//! Where a question ends. Whatever has two ends, or none, is refused and ends its connection: nothing behind it may be
//! taken for another question. The bytes are sent as they stand here.

use loadtest::stub::{Script, Stub};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Countersign, Running, http, question};

const TOKEN: &str = "Authorization: Bearer s3cret\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

async fn behind_token() -> (Stub, Running) {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).token("Bearer s3cret").start().await;
    (stub, proxy)
}

fn asked() -> String {
    question("alice", "s3:GetObject", "reports", "a.txt").to_string()
}

fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: c\r\n{TOKEN}{headers}\r\n{body}")
}

fn sized(body: &str) -> String {
    post(&format!("Content-Length: {}\r\n", body.len()), body)
}

fn chunk(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

/// Everything that comes back until the connection ends, which it must, by itself and in order.
async fn everything(proxy: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut text = Vec::new();
    let (sent, read) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut text));
    sent.expect("the sender is not cut off");
    read.expect("an end, and no reset");
    String::from_utf8(text).unwrap()
}

fn statuses(text: &str) -> Vec<&str> {
    text.match_indices("HTTP/1.1 ").map(|(at, start)| &text[at + start.len()..][..3]).collect()
}

/// Requests with more than one end, or one that cannot be found.
fn without_one_end() -> Vec<(&'static str, String)> {
    let body = asked();
    let length = body.len();
    let good = format!("{}0\r\n\r\n", chunk(&body));
    let two = |value: String| post(&format!("Content-Length: {length}\r\nContent-Length: {value}\r\n"), &body);
    let one = |value: String| post(&format!("Content-Length: {value}\r\n"), &body);
    let coded = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), &good);
    let bad = |body: String| post(CHUNKED, &body);
    vec![
        ("length and coding", post(&format!("Content-Length: 5\r\n{CHUNKED}"), &good)),
        ("coding and length", post(&format!("{CHUNKED}content-LENGTH: {}\r\n", good.len()), &good)),
        ("one length twice", two(length.to_string())),
        ("two lengths", two("5".to_owned())),
        ("a list of lengths", one(format!("{length}, {length}"))),
        ("a sign", one(format!("+{length}"))),
        ("a leading zero", one(format!("0{length}"))),
        ("hexadecimal", one("0x5".to_owned())),
        ("below zero", one("-1".to_owned())),
        ("beyond 64 bits", one("18446744073709551616".to_owned())),
        ("chunked, then something", coded("chunked, identity")),
        ("something, then chunked", coded("gzip, chunked")),
        ("chunked twice", post(&format!("{CHUNKED}{CHUNKED}"), &good)),
        ("almost chunked", coded("xchunked")),
        ("a space before the colon", post("Transfer-Encoding : chunked\r\n", &good)),
        ("a folded line", post(&format!("X: a\r\n b\r\nContent-Length: {length}\r\n"), &body)),
        ("HTTP/1.0 with a coding", post(CHUNKED, &good).replacen("HTTP/1.1", "HTTP/1.0", 1)),
        ("no number", bad(format!("zz\r\n{body}"))),
        ("a chunk below zero", bad(format!("-5\r\n{body}"))),
        ("a chunk beyond 64 bits", bad(format!("FFFFFFFFFFFFFFFFF\r\n{body}"))),
        ("bare line feeds", bad(format!("{length:x}\n{body}\n0\n\n"))),
        ("a chunk longer than it says", bad(format!("{:x}\r\n{body}\r\n0\r\n\r\n", length - 1))),
        ("an endless extension", bad(format!("{length:x};{}\r\n{body}\r\n0\r\n\r\n", "a".repeat(1 << 20)))),
    ]
}

/// A broken chunk used to leave its connection open: what followed it was read as a question.
#[tokio::test]
async fn nothing_behind_a_question_without_an_end_is_a_question() {
    let (stub, proxy) = behind_token().await;
    for (name, request) in without_one_end() {
        let text = everything(&proxy, format!("{request}{}", sized(&asked())).as_bytes()).await;
        assert_eq!(statuses(&text), ["400"], "{name}: {text}");
        assert!(text.contains(r#"{"result":false,"error":"malformed_request"}"#), "{name}: {text}");
        assert!(text.contains("Connection: close"), "{name}: {text}");
    }
    assert_eq!(stub.asked(), 0);
    assert!(proxy.decisions().is_empty());
}

/// The answer to bytes that nobody reads to their end used to be lost to a reset.
#[tokio::test]
async fn no_refusal_is_lost_to_a_reset() {
    let (_stub, proxy) = behind_token().await;
    let much = " ".repeat(8 << 20);
    for (name, request, status) in [
        ("no length", post("Content-Length: -1\r\n", &much), "400"),
        ("no chunk", post(CHUNKED, &format!("zz\r\n{much}")), "400"),
        ("no head", post(&format!("X: {much}\r\n"), ""), "400"),
        ("no token", sized(&much).replace(TOKEN, ""), "401"),
        ("too much", sized(&much), "413"),
    ] {
        let text = everything(&proxy, request.as_bytes()).await;
        assert_eq!(statuses(&text), [status], "{name}: {text}");
    }
}

#[tokio::test]
async fn questions_sent_ahead_are_answered_in_their_order() {
    let (stub, proxy) = behind_token().await;
    let mut bytes = String::new();
    for number in 0..100 {
        let body = question("alice", "s3:GetObject", "reports", &number.to_string()).to_string();
        bytes.push_str(&if number % 2 == 0 {
            sized(&body)
        } else {
            post(CHUNKED, &format!("{}0\r\n\r\n", chunk(&body)))
        });
    }
    // One without a token in the midst of them ends nothing but itself and what is behind it.
    let text =
        everything(&proxy, format!("{bytes}{}{}", sized("{}").replace(TOKEN, ""), sized(&asked())).as_bytes()).await;
    assert_eq!(statuses(&text), [&["200"; 100][..], &["401"]].concat());
    assert_eq!(text.matches(r#"{"result":true}"#).count(), 100);
    let order: Vec<String> =
        stub.questions().iter().map(|sent| sent.body.escape_ascii().to_string()).map(object).collect();
    assert_eq!(order, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
}

fn object(body: String) -> String {
    body.split(r#"\"object\":\""#).nth(1).unwrap().split('\\').next().unwrap().to_owned()
}

#[tokio::test]
async fn who_waits_to_be_told_to_go_on_is_told() {
    let (_stub, proxy) = behind_token().await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let body = asked();
    let head = post(&format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len()), "");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(http::read(&mut stream).await.unwrap().allowed());
    // Who is refused anyway need not send it.
    let text = everything(&proxy, head.replace(TOKEN, "").as_bytes()).await;
    assert_eq!(statuses(&text), ["401"]);
}

/// The path is compared as it was sent, not as somebody would mend it.
#[tokio::test]
async fn only_the_exact_path_is_the_endpoint() {
    let (stub, proxy) = behind_token().await;
    for target in ["*", "//", "/./", "/;x", "/%2f", "/%2e%2e", "/ x", "http://c/"] {
        let text = everything(&proxy, sized(&asked()).replacen(" / ", &format!(" {target} "), 1).as_bytes()).await;
        assert_eq!(statuses(&text), ["404"], "{target}: {text}");
    }
    assert_eq!(stub.asked(), 0);
    let text = everything(&proxy, sized(&asked()).replacen("POST", "PUT", 1).as_bytes()).await;
    assert!(statuses(&text) == ["405"] && text.to_lowercase().contains("allow: post\r\n"), "{text}");
}
