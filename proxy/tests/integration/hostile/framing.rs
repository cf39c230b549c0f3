//! Where a question ends. Whatever has two ends, or none, is refused and ends its connection: nothing behind it may be
//! taken for another question. The bytes are sent as they stand here.

use countersign::policy::verdict::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stage::{Row, Said, TOKEN, asked, post, sized};
use crate::front::behind_token;
use crate::support::{PATIENCE, Running, http, question};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

fn chunk(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

/// The good question in one chunk.
fn whole() -> Vec<u8> {
    format!("{}0\r\n\r\n", chunk(&asked())).into_bytes()
}

fn replaced(sent: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(sent).unwrap().replacen(from, to, 1).into_bytes()
}

/// Everything that comes back until the connection ends, which it must, by itself and in order.
async fn everything(proxy: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut text = Vec::new();
    let both = async { tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut text)) };
    let (sent, read) = tokio::time::timeout(PATIENCE, both).await.expect("the connection is held open");
    sent.expect("the sender is not cut off");
    read.expect("an end, and no reset");
    String::from_utf8(text).unwrap()
}

fn statuses(text: &str) -> Vec<&str> {
    text.match_indices("HTTP/1.1 ").map(|(at, start)| &text[at + start.len()..][..3]).collect()
}

/// H09 to H11, H14, H15: requests with more than one end, or one that cannot be found. A good question follows each, which
/// must not be one. A broken chunk used to leave its connection open: what followed it was read as a question.
pub fn rows() -> Vec<Row> {
    let without_one_end = lengths().into_iter().chain(codings()).chain(chunks()).chain(lines());
    let closed = |(id, what, sent): (&'static str, &str, Vec<u8>)| {
        Row::new(id, what, [sent, sized(asked())].concat(), &[Said::Closed])
    };
    without_one_end.map(closed).chain(unusual()).collect()
}

type Bad = (&'static str, &'static str, Vec<u8>);

fn lengths() -> Vec<Bad> {
    let body = asked();
    let length = body.len();
    let two = |value: String| post(&format!("Content-Length: {length}\r\nContent-Length: {value}\r\n"), &body);
    let one = |value: String| post(&format!("Content-Length: {value}\r\n"), &body);
    vec![
        ("H10", "one length twice", two(length.to_string())),
        ("H10", "two lengths", two("5".to_owned())),
        ("H10", "a length and none", two(String::new())),
        ("H10", "a list of lengths", one(format!("{length}, {length}"))),
        ("H10", "a sign", one(format!("+{length}"))),
        ("H10", "a leading zero", one(format!("0{length}"))),
        ("H10", "hexadecimal", one("0x5".to_owned())),
        ("H10", "below zero", one("-1".to_owned())),
        ("H10", "a fraction", one(format!("{length}.0"))),
        ("H10", "a blank in it", one("1 0".to_owned())),
        ("H10", "beyond 64 bits", one("18446744073709551616".to_owned())),
    ]
}

fn codings() -> Vec<Bad> {
    let good = whole();
    let coded = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), &good);
    vec![
        ("H09", "length and coding", post(&format!("Content-Length: 5\r\n{CHUNKED}"), &good)),
        ("H09", "coding and length", post(&format!("{CHUNKED}content-LENGTH: {}\r\n", good.len()), &good)),
        ("H09", "chunked, then something", coded("chunked, identity")),
        ("H09", "something, then chunked", coded("gzip, chunked")),
        ("H09", "chunked twice", post(&format!("{CHUNKED}{CHUNKED}"), &good)),
        ("H09", "chunked in a list of one", coded("chunked,")),
        ("H09", "almost chunked", coded("xchunked")),
        ("H09", "quoted", coded("\"chunked\"")),
        ("H09", "a vertical tab before it", coded("\u{b}chunked")),
        ("H09", "no coding", coded("")),
        ("H09", "a space before the colon", post("Transfer-Encoding : chunked\r\n", &good)),
        ("H11", "HTTP/1.0 with a coding", replaced(post(CHUNKED, &good), "HTTP/1.1", "HTTP/1.0")),
    ]
}

fn chunks() -> Vec<Bad> {
    let body = asked();
    let length = body.len();
    let bad = |body: String| post(CHUNKED, body);
    vec![
        ("H14", "no number", bad(format!("zz\r\n{body}"))),
        ("H14", "a chunk below zero", bad(format!("-5\r\n{body}"))),
        ("H14", "a chunk beyond 64 bits", bad(format!("FFFFFFFFFFFFFFFFF\r\n{body}"))),
        ("H14", "bare line feeds", bad(format!("{length:x}\n{body}\n0\n\n"))),
        ("H14", "a chunk longer than it says", bad(format!("{:x}\r\n{body}\r\n0\r\n\r\n", length - 1))),
        ("H14", "an endless extension", bad(format!("{length:x};{}\r\n{body}\r\n0\r\n\r\n", "a".repeat(1 << 20)))),
    ]
}

fn lines() -> Vec<Bad> {
    let body = asked();
    let with = |field: &str| post(&format!("{field}\r\nContent-Length: {}\r\n", body.len()), &body);
    vec![
        ("H15", "a folded line", with("X: a\r\n b")),
        ("H15", "a carriage return in a value", with("X: a\rb")),
        ("H15", "a NUL in a value", with("X: a\0b")),
        ("H15", "a NUL in a name", with("X\0: a")),
        ("H15", "a letter of another alphabet in a name", with("Xé: a")),
        ("H15", "no name", with(": a")),
        ("H15", "no colon", with("X")),
    ]
}

/// Where everybody finds the same end, however it looks.
fn unusual() -> Vec<Row> {
    use Said::{Allow, Closed, Probe};
    let (body, good) = (asked(), whole());
    let old = replaced(post("", &body), "HTTP/1.1", "HTTP/1.0");
    let trailer = format!("{}0\r\nAuthorization: Bearer another\r\n\r\n", chunk(&body));
    let no_token = replaced(post(CHUNKED, trailer.replace("another", "s3cret")), TOKEN, "");
    vec![
        Row::new("H09", "a tab before the coding", post("Transfer-Encoding:\tchunked\r\n", &good), &[Allow])
            .asks(&*body),
        Row::new("H09", "the coding in capitals", post("TRANSFER-ENCODING: CHUNKED\r\n", &good), &[Allow]).asks(&*body),
        Row::new("H11", "HTTP/1.0 without a length", old, &[Probe]),
        Row::new("H11", "HTTP/1.1 without a length", post("", &body), &[Probe, Closed]),
        Row::new("H14", "a trailer with another token", post(CHUNKED, trailer), &[Allow]).asks(&*body),
        Row::new("H14", "the token in a trailer alone", no_token, &[Said::Refused(Reason::Unauthorized)]),
        Row::new("H14", "no end of the last chunk", post(CHUNKED, &good[..good.len() - 2]), &[]),
        Row::new("H14", "no last chunk", post(CHUNKED, chunk(&body)), &[]),
        Row::new("H20", "shorter than its length", post("Content-Length: 1000\r\n", &body), &[]),
        Row::new("H20", "half a head", sized(&body)[..40].to_vec(), &[]),
        some_bad_among_many(),
    ]
}

/// The first framing error ends the connection; what came before it is answered in order.
fn some_bad_among_many() -> Row {
    let body = asked();
    let some = sized(&body).repeat(10);
    let sent = [some.clone(), sized("{"), some.clone(), post("Content-Length: x\r\n", &body), some].concat();
    let unread = [Said::Recorded(Reason::MalformedRequest)];
    let answers = [&[Said::Allow; 10][..], &unread, &[Said::Allow; 10], &[Said::Closed]].concat();
    (0..20).fold(Row::new("H16", "many at once, some of them bad", sent, &answers), |row, _| row.asks(&*body))
}

/// The answer to bytes that nobody reads to their end used to be lost to a reset.
#[tokio::test]
async fn no_refusal_is_lost_to_a_reset() {
    let (_stub, proxy) = behind_token().await;
    let much = " ".repeat(8 << 20);
    for (name, request, status) in [
        ("no length", post("Content-Length: -1\r\n", &much), "400"),
        ("no chunk", post(CHUNKED, format!("zz\r\n{much}")), "400"),
        ("no head", post(&format!("X: {much}\r\n"), ""), "400"),
        ("no token", replaced(sized(&much), TOKEN, ""), "401"),
        ("too much", sized(&much), "413"),
    ] {
        let text = everything(&proxy, &request).await;
        assert_eq!(statuses(&text), [status], "{name}: {text}");
    }
}

#[tokio::test]
async fn questions_sent_ahead_are_answered_in_their_order() {
    let (stub, proxy) = behind_token().await;
    let mut bytes = Vec::new();
    for number in 0..100 {
        let body = question("alice", "s3:GetObject", "reports", &number.to_string()).to_string();
        bytes.extend(if number % 2 == 0 { sized(&body) } else { post(CHUNKED, format!("{}0\r\n\r\n", chunk(&body))) });
    }
    // One without a token in the midst of them ends nothing but itself and what is behind it.
    let text = everything(&proxy, &[bytes, replaced(sized("{}"), TOKEN, ""), sized(asked())].concat()).await;
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
    stream.write_all(&head).await.unwrap();
    let mut go_on = [0; 25];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut go_on)).await.expect("nobody is told").unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(http::read(&mut stream).await.unwrap().allowed());
    // Who is refused anyway need not send it.
    let text = everything(&proxy, &replaced(head, TOKEN, "")).await;
    assert_eq!(statuses(&text), ["401"]);
}
