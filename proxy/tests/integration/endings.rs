//! Connections that end: each limit and each deadline of the decision endpoint that ends one is counted, once and as what it
//! is, and a peer that goes by itself as nothing. How they end is `hostile`; answers that nobody takes are counted there.

use std::collections::BTreeMap;
use std::time::Duration;

use loadtest::stub::{Script, Stub};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hostile::frames::*;
use crate::secure::House;
use crate::support::{Countersign, Running, eventually, http, question};

/// What a connection can count as, beside what its questions do.
const OUTCOMES: [&str; 8] =
    ["silent", "idle", "flooded", "unread", "lingered", "incomplete", "malformed_request", "tls_failed"];
const LIMITS: &str = "read_timeout = \"1s\"\nkeepalive = \"2s\"";
const PATIENCE: Duration = Duration::from_secs(40);

type Counts = BTreeMap<&'static str, f64>;

async fn counts(proxy: &Running) -> Counts {
    let mut counts = Counts::new();
    for outcome in OUTCOMES {
        let series = format!("countersign_front_requests_total{{client=\"unknown\",outcome=\"{outcome}\"}}");
        counts.insert(outcome, proxy.metric(&series).await);
    }
    counts
}

/// Those that grew, and by how much.
async fn grown(proxy: &Running, before: &Counts) -> Vec<(&'static str, f64)> {
    let now = counts(proxy).await;
    now.into_iter().map(|(outcome, count)| (outcome, count - before[outcome])).filter(|(_, more)| *more > 0.0).collect()
}

/// These and nothing else: all that an end counts as is counted before the peer sees it.
async fn counted(proxy: &Running, before: &Counts, what: &str, expected: &[(&'static str, f64)]) {
    let more = eventually(what, async || {
        let more = grown(proxy, before).await;
        (more.len() >= expected.len()).then_some(more)
    });
    assert_eq!(more.await, expected, "{what}");
}

async fn until_closed(mut stream: TcpStream) {
    let mut said = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it is closed").ok();
}

#[tokio::test]
async fn ends_over_http1_are_counted() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).listen(&format!("drain = \"0s\"\n{LIMITS}")).start().await;
    let whole = http::request("POST", "/", &[], question("alice", "s3:GetObject", "b", "o").to_string().as_bytes());
    // Whoever waited for the port may still be there.
    let connect = async || TcpStream::connect(proxy.address()).await.unwrap();
    until_closed(connect().await).await;
    for (what, sent, outcome) in [
        ("nothing", &b""[..], "silent"),
        ("half a head", &b"POST / HTTP/1.1\r\nHost:"[..], "incomplete"),
        ("a question and no other", &whole[..], "idle"),
        ("half of the second question", &[&whole[..], b"PO"].concat()[..], "incomplete"),
        ("no HTTP", &b"\x16\x03\x01 \r\n\r\n"[..], "malformed_request"),
    ] {
        let before = counts(&proxy).await;
        let mut stream = connect().await;
        stream.write_all(sent).await.unwrap();
        until_closed(stream).await;
        counted(&proxy, &before, what, &[(outcome, 1.0)]).await;
    }
    // The control: who goes by himself is not counted, as long as one who stays is waited for.
    let before = counts(&proxy).await;
    drop(connect().await);
    for stays in [false, true] {
        let mut stream = connect().await;
        stream.write_all(&whole).await.unwrap();
        assert!(http::read(&mut stream).await.unwrap().allowed());
        if stays {
            until_closed(stream).await;
        }
    }
    counted(&proxy, &before, "one that stays", &[("idle", 1.0)]).await;
}

/// A connection on which half a question was refused is kept until its sender goes; how long that may take is a limit, too.
#[tokio::test]
async fn who_lingers_after_the_last_answer_is_counted() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).listen("drain = \"0s\"").start().await;
    let refused = b"POST /elsewhere HTTP/1.1\r\nHost: c\r\nContent-Length: 1000\r\n\r\nhalf";
    let before = counts(&proxy).await;
    let mut held = Vec::new();
    for stays in [false, true] {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(refused).await.unwrap();
        let mut said = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said))
            .await
            .expect("the answer is the last one")
            .unwrap();
        assert!(said.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&said));
        if stays {
            held.push(stream);
        }
    }
    counted(&proxy, &before, "one that stays", &[("lingered", 1.0)]).await;
}

struct Row {
    what: &'static str,
    sent: Vec<u8>,
    counted: Vec<(&'static str, f64)>,
}

/// Over HTTP/2, all of it behind an agreed TLS connection.
fn over_http2() -> Vec<Row> {
    let row = |what, counted: &[_], sent: &[Vec<u8>]| Row { what, sent: sent.concat(), counted: counted.to_vec() };
    let (silent, idle, flooded) = ([("silent", 1.0)], [("idle", 1.0)], [("flooded", 1.0)]);
    let malformed = [("malformed_request", 1.0)];
    let cancel = |stream: u32| frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    let many = |count: u32, of: &dyn Fn(u32) -> Vec<u8>| (0..count).flat_map(|n| of(2 * n + 1)).collect::<Vec<u8>>();
    let nameless: Fields<'static> = good().into_iter().filter(|(name, _)| *name != ":authority").collect();
    let refused: Fields<'static> = good().into_iter().filter(|(name, _)| *name != "authorization").collect();
    let half = frame(HEADERS, 0, 1, &block(&good()));
    let overflow = |n| [head(n, &good()), frame(WINDOW_UPDATE, 0, n, &0x7fff_ffff_u32.to_be_bytes())].concat();
    let again = |frame: Vec<u8>, times: usize| frame.repeat(times);
    vec![
        row("nothing", &silent, &[]),
        row("half a beginning", &silent, &[PREFACE[..12].to_vec()]),
        row("a beginning and no question", &silent, &[beginning()]),
        row("half a head", &silent, &[beginning(), half.clone()]),
        row("a question and no other", &idle, &[beginning(), whole(1, &refused)]),
        row("no beginning", &malformed, &[b"POST / HTTP/1.1\r\nHost: c\r\nContent-Length: 0\r\n\r\n".to_vec()]),
        row("a PING of 7 bytes", &malformed, &[beginning(), frame(PING, 0, 0, &[0; 7])]),
        row(
            "heads that are none",
            &[flooded[0], ("malformed_request", 32.0)],
            &[beginning(), many(100, &|n| whole(n, &nameless))],
        ),
        row("rapid reset", &flooded, &[beginning(), many(2000, &|n| [head(n, &good()), cancel(n)].concat())]),
        row("resets of ours", &flooded, &[beginning(), many(2000, &overflow)]),
        row("streams without end", &flooded, &[beginning(), many(2000, &|n| head(n, &good()))]),
        row("CONTINUATION without end", &flooded, &[beginning(), half, again(frame(CONTINUATION, 0, 1, &[]), 50_000)]),
        row("empty DATA", &flooded, &[beginning(), head(1, &good()), again(frame(DATA, 0, 1, &[]), 10_000)]),
        row("PING", &flooded, &[beginning(), whole(1, &refused), again(frame(PING, 0, 0, &[7; 8]), 10_000)]),
    ]
}

#[tokio::test]
async fn ends_over_http2_are_counted() {
    let (stub, house) = (Stub::start(Script::allow()).await.unwrap(), House::new());
    house.renew();
    let listen = format!("{}\n{LIMITS}", house.listen(true));
    let proxy = Countersign::asking(&stub.url()).listen(&listen).token("Bearer s3cret").start().await;
    // Whoever waited for the port has not shaken hands.
    let plain = async || {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
        until_closed(stream).await;
    };
    plain().await;
    let mut before = counts(&proxy).await;
    plain().await;
    counted(&proxy, &before, "no TLS", &[("tls_failed", 1.0)]).await;
    for Row { what, sent, counted: expected } in over_http2() {
        before = counts(&proxy).await;
        let mut raw = Raw::open(&house, &proxy).await;
        assert!(raw.exchange(&sent, |_| false).await, "{what} is not closed: {:?}", raw.heard);
        // Questions that were cut off by the end of their connection are counted for their client, not here.
        counted(&proxy, &before, what, &expected).await;
    }
    // The control: who goes by himself is not counted, as long as one who stays is waited for.
    before = counts(&proxy).await;
    let question = [beginning(), whole(1, &good())].concat();
    for (sent, stays) in [(vec![], false), (beginning(), false), (question.clone(), false), (question, true)] {
        let mut raw = Raw::open(&house, &proxy).await;
        let done = |heard: &Heard| !stays && (sent.len() < 100 || heard.ended.contains_key(&1));
        assert!(raw.exchange(&sent, done).await);
    }
    counted(&proxy, &before, "one that stays", &[("idle", 1.0)]).await;
}
