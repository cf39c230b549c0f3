//! HTTP/2 under attack: H22, and what else its frames and heads can do. Each attack has a connection of its own; beside
//! them a good client keeps one connection and is answered on it all the time.

mod beside;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::policy::verdict::Reason;
use countersign::wire::reply;
use loadtest::figures::Claim;
use loadtest::stub::{Script, Stub};
use tokio::task::JoinSet;

use super::COMMAND;
use super::frames::*;
use super::ledger::{Found, Kept, descriptors, harmless, left_open};
use super::stage::asked;
use crate::secure::House;
use crate::support::{Countersign, Running};

/// The code of GOAWAY: RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u32 = 11;
/// Much less than the time for the whole.
const DRIP: Duration = Duration::from_millis(100);
/// What all attacks together may take of memory: some of them would be worth gigabytes.
const MEMORY: u64 = 96 << 20;

/// How an attack must end.
#[derive(Debug, Clone, Copy)]
enum Ends {
    /// The process closes, and does not speak again.
    Closed,
    /// The same, and says why.
    Calmed,
    /// Stream 1 gets no word of ours, and other streams go on.
    Stream,
    /// Stream 1 is answered so, and other streams go on.
    Refused(Reason),
}

struct Row {
    what: &'static str,
    /// Behind the beginning.
    sent: Vec<u8>,
    ends: Ends,
}

fn row(what: &'static str, ends: Ends, sent: impl Into<Vec<u8>>) -> Row {
    Row { what, sent: sent.into(), ends }
}

/// The same for stream after stream.
fn many(count: u32, of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|n| of(2 * n + 1)).collect()
}

/// Floods that are cut off by their number.
fn floods() -> Vec<Row> {
    let reset = |stream| frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    let opened = |stream| head(stream, &good());
    let unfinished = frame(HEADERS, 0, 1, &block(&good()));
    let full = frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes());
    let overflow = |stream| [opened(stream), frame(WINDOW_UPDATE, 0, stream, &full[9..])].concat();
    let surplus = |stream| whole(stream, &with(("content-length", "5")));
    let letters = "x".repeat(4020);
    // A field of 4 KB in the table, then a byte for each time that it is meant.
    let planted = [&[0x40][..], &text("x-bomb"), &text(&letters)].concat();
    let bomb = [block(&good()), planted, vec![0xbe; 12_000]].concat();
    vec![
        row("rapid reset", Ends::Closed, many(20_000, |n| [opened(n), reset(n)].concat())),
        row("resets that the process is made to send, by windows", Ends::Closed, many(2000, overflow)),
        row("resets that the process is made to send, by lengths", Ends::Closed, many(2000, surplus)),
        row("streams without end", Ends::Closed, many(2000, opened)),
        row("heads that are none", Ends::Closed, many(200, |n| whole(n, &without(":authority")))),
        row(
            "CONTINUATION without end",
            Ends::Calmed,
            [unfinished.clone(), frame(CONTINUATION, 0, 1, &block(&[("x", "y")])).repeat(50_000)].concat(),
        ),
        row(
            "empty CONTINUATION without end",
            Ends::Calmed,
            [unfinished, frame(CONTINUATION, 0, 1, &[]).repeat(50_000)].concat(),
        ),
        row("empty DATA without end", Ends::Closed, [opened(1), frame(DATA, 0, 1, &[]).repeat(200_000)].concat()),
        row("DATA a byte at a time", Ends::Closed, [opened(1), frame(DATA, 0, 1, b" ").repeat(200_000)].concat()),
        row("a head of 40 MB in 16 KB", Ends::Closed, frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)),
        row("a head of 17 KB", Ends::Stream, head(1, &[good(), vec![("x", &letters); 4]].concat())),
    ]
}

/// The good head and one more field.
fn with(field: (&'static str, &'static str)) -> Fields<'static> {
    [good(), vec![field]].concat()
}

fn without(name: &str) -> Fields<'static> {
    good().into_iter().filter(|(one, _)| *one != name).collect()
}

/// The good head with another value, or with the field twice.
fn instead(name: &'static str, value: &'static str) -> Fields<'static> {
    good().into_iter().map(|(one, old)| (one, if one == name { value } else { old })).collect()
}

fn first(field: (&'static str, &'static str)) -> Fields<'static> {
    [vec![field], good()].concat()
}

/// Heads with two meanings, or none.
fn heads() -> Vec<Row> {
    let stream = |what, fields: Fields<'static>| row(what, Ends::Stream, whole(1, &fields));
    // What is no text of a head at all takes the connection with it.
    let closed = |what, fields: Fields<'static>| row(what, Ends::Closed, whole(1, &fields));
    let refused = |what, reason, fields: Fields<'static>| row(what, Ends::Refused(reason), whole(1, &fields));
    vec![
        stream("two methods", first((":method", "GET"))),
        stream("two paths", first((":path", "/"))),
        stream("two authorities", first((":authority", "localhost"))),
        stream("two schemes", first((":scheme", "https"))),
        stream("no method", without(":method")),
        stream("no path", without(":path")),
        stream("no scheme", without(":scheme")),
        stream("no authority", without(":authority")),
        stream("an empty path", instead(":path", "")),
        stream("a path that is a URL", instead(":path", "http://other/")),
        stream("a path with a line's end", instead(":path", "/\r\nx: y")),
        closed("a method with a blank", instead(":method", "POST /")),
        closed("a pseudo-field that there is not", first((":other", "x"))),
        stream("a pseudo-field of an answer", first((":status", "200"))),
        stream("a pseudo-field behind the others", with((":path", "/"))),
        closed("a name in capitals", with(("X-Other", "x"))),
        closed("a name with a blank", with(("x other", "x"))),
        closed("a value with a line's end", with(("x", "y\r\nauthorization: Bearer s3cret"))),
        closed("a value with a zero", with(("x", "\0"))),
        stream("another host", with(("host", "other"))),
        stream("Connection", with(("connection", "close"))),
        stream("Transfer-Encoding", with(("transfer-encoding", "chunked"))),
        stream("Upgrade", with(("upgrade", "h2c"))),
        stream("TE", with(("te", "gzip"))),
        stream("a length of less than there is", with(("content-length", "5"))),
        stream("a length of more than there is", with(("content-length", "50000"))),
        stream("a length that is none", with(("content-length", "-1"))),
        stream("two lengths", [with(("content-length", "5")), vec![("content-length", "6")]].concat()),
        stream("CONNECT", instead(":method", "CONNECT")),
        refused("GET", Reason::MethodNotAllowed, instead(":method", "GET")),
        refused("another path", Reason::UnknownPath, instead(":path", "//")),
        refused("no path but a star", Reason::UnknownPath, instead(":path", "*")),
        refused("a coding", Reason::UnsupportedEncoding, with(("content-encoding", "gzip"))),
        refused("no token", Reason::Unauthorized, without("authorization")),
        refused("another token", Reason::Unauthorized, instead("authorization", "Bearer s3creT")),
        refused("the token twice", Reason::Unauthorized, with(("authorization", "Bearer s3cret"))),
        row(
            "too much announced",
            Ends::Refused(Reason::RequestTooLarge),
            head(1, &with(("content-length", "99999999"))),
        ),
    ]
}

/// Frames that must not be where they are.
fn frames() -> Vec<Row> {
    let closed = |what, sent: Vec<u8>| row(what, Ends::Closed, sent);
    let one = |kind, flags, stream, payload: &[u8]| frame(kind, flags, stream, payload);
    let question = whole(1, &good());
    vec![
        closed("DATA on the connection", one(DATA, 0, 0, b"x")),
        closed("DATA on a stream that there is not", one(DATA, END_STREAM, 1, asked().as_bytes())),
        closed("HEADERS on the connection", one(HEADERS, END_HEADERS, 0, &block(&good()))),
        closed("a stream of ours", whole(2, &good())),
        closed("a promise", one(PUSH_PROMISE, END_HEADERS, 1, &[&2u32.to_be_bytes()[..], &block(&good())].concat())),
        closed("CONTINUATION of nothing", one(CONTINUATION, END_HEADERS, 1, &block(&good()))),
        closed("another frame within a head", [one(HEADERS, 0, 1, &block(&good())), one(PING, 0, 0, &[0; 8])].concat()),
        closed("a PING of 7 bytes", one(PING, 0, 0, &[0; 7])),
        closed("SETTINGS of 5 bytes", one(SETTINGS, 0, 0, &[0; 5])),
        closed("SETTINGS on a stream", one(SETTINGS, 0, 1, &[])),
        closed("a window that is too large", setting(4, 0x8000_0000)),
        closed("frames that are too small", setting(5, 100)),
        closed("no increment", one(WINDOW_UPDATE, 0, 0, &[0; 4])),
        closed("an increment that is too large", one(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        closed("a frame of 100 KB", one(DATA, 0, 1, &[b' '; 100_000])),
        closed("a reset of nothing", one(RST_STREAM, 0, 1, &[0; 4])),
        closed("a head that is no HPACK", one(HEADERS, END_HEADERS, 1, &[0xff; 64])),
        closed("padding that is longer than its frame", one(DATA, 8, 1, &[200, 1, 2])),
        closed("HTTP/1.1", b"POST / HTTP/1.1\r\nHost: c\r\nContent-Length: 0\r\n\r\n".to_vec()),
        row(
            "a stream that depends on itself",
            Ends::Stream,
            one(HEADERS, END_HEADERS | 0x20, 1, &{ [&1u32.to_be_bytes()[..], &[16], &block(&good())].concat() }),
        ),
        row("a body behind its end", Ends::Stream, {
            let refused = head(1, &with(("content-length", "3")));
            [refused, one(DATA, 0, 1, b"{} "), one(DATA, END_STREAM, 1, &question[..10])].concat()
        }),
    ]
}

/// Those that go on until the process has had enough.
fn enduring() -> Vec<Held> {
    let silent = |what, at_once: Vec<u8>| Held { what, at_once, drip: Vec::new(), pause: None, listens: true };
    let drips = |what, at_once, drip: &[u8]| Held { drip: drip.to_vec(), pause: Some(DRIP), ..silent(what, at_once) };
    let flood = |what, unit: Vec<u8>| Held {
        drip: unit.repeat(1000),
        pause: Some(Duration::ZERO),
        ..silent(what, beginning())
    };
    let ping = frame(PING, 0, 0, &[7; 8]);
    let body = [beginning(), head(1, &good())].concat();
    vec![
        silent("nothing", Vec::new()),
        silent("half a beginning", PREFACE[..12].to_vec()),
        drips("a beginning that drips", PREFACE[..3].to_vec(), b" "),
        silent("a beginning and no question", beginning()),
        silent("half a head", [beginning(), frame(HEADERS, 0, 1, &block(&good()))].concat()),
        drips("a PING at times", beginning(), &ping),
        flood("PING", ping.clone()),
        Held { listens: false, ..flood("PING, unheard", ping) },
        flood("SETTINGS", setting(3, 100)),
        Held { listens: false, ..flood("SETTINGS, unheard", setting(3, 100)) },
        flood("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16])),
        flood("frames that nobody knows", frame(0xee, 0, 0, &[7; 8])),
        drips("a body that drips", body.clone(), &frame(DATA, 0, 1, b" ")),
        silent("a body that falls silent", body),
    ]
}

/// The process, and the good client.
struct Stage {
    house: House,
    stub: Stub,
    proxy: Running,
    client: Good,
    kept: Vec<Kept>,
    found: Found,
}

impl Stage {
    async fn start() -> Self {
        let house = House::new();
        house.renew();
        let stub = Stub::start(Script::allow()).await.unwrap();
        let listen = format!("{}\nread_timeout = \"2s\"\nkeepalive = \"15s\"", house.listen(true));
        let proxy = Countersign::asking(&stub.url()).listen(&listen).token("Bearer s3cret").start().await;
        let client = Good::open(&house, &proxy).await;
        let mut stage = Self { house, stub, proxy, client, kept: Vec::new(), found: Found::default() };
        stage.serves("the first").await;
        stage
    }

    /// On the connection that is there from the start.
    async fn serves(&mut self, after: &str) {
        match self.client.ask().await {
            Some(answer) if answer.allowed() => self.kept.push(Kept::new(after, &answer)),
            other => {
                self.found.complain(after, format!("a good question beside it: {other:?}"));
                self.client = Good::open(&self.house, &self.proxy).await;
            }
        }
    }

    async fn attack(&mut self, row: &Row) {
        self.found.tried += 1;
        let mut raw = Raw::open(&self.house, &self.proxy).await;
        let why = row.judge(&mut raw).await;
        if raw.heard.bodies.values().any(|body| body.windows(4).any(|word| word == b"true")) {
            self.found.wrongly_allowed += 1;
        }
        if let Some(why) = why {
            let Heard { bodies, ended, told_to_go, closed, .. } = &raw.heard;
            let told =
                format!("closed: {closed}, {told_to_go:?}, {} ended, {:?}", ended.len(), bodies.first_key_value());
            self.found.complain(row.what, format!("{why}; {told}"));
        }
        self.serves(row.what).await;
    }

    /// All of them at once, and good questions meanwhile.
    async fn endure(&mut self) {
        let (left, mut holding) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for held in enduring() {
            self.found.tried += 1;
            left.fetch_add(1, Ordering::SeqCst);
            let (raw, left) = (Raw::open(&self.house, &self.proxy).await, left.clone());
            holding.spawn(async move {
                let ended = raw.hold(&held).await;
                left.fetch_sub(1, Ordering::SeqCst);
                (held.what, ended)
            });
        }
        while left.load(Ordering::SeqCst) > 0 {
            self.serves("those that go on").await;
            // Their records must fit into the spool on any machine.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Some(ended) = holding.join_next().await {
            let (what, ended) = ended.unwrap();
            if !ended {
                self.found.complain(what, "not closed");
            }
        }
    }

    /// Ends the process, and compares what it recorded with what it answered.
    async fn finish(mut self) -> Found {
        if self.stub.asked() != self.kept.len() as u64 {
            self.found.complain("H22", format!("{} questions reached the authorizer", self.stub.asked()));
        }
        self.proxy.stop().await;
        if let Err(why) = harmless(&self.proxy.log()) {
            self.found.complain("the log", why);
        }
        self.found.compare(&self.kept, self.proxy.records());
        self.found
    }
}

impl Row {
    /// What is not as it must be.
    async fn judge(&self, raw: &mut Raw) -> Option<&'static str> {
        let mut sent = [beginning(), self.sent.clone()].concat();
        if matches!(self.ends, Ends::Closed) {
            sent.extend(frame(PING, 0, 0, &[1; 8]));
        }
        let whole = |heard: &Heard| match self.ends {
            Ends::Closed => heard.pongs > 0,
            Ends::Calmed => false,
            Ends::Stream | Ends::Refused(_) => heard.ended.contains_key(&1),
        };
        if !raw.exchange(&sent, whole).await {
            return Some("neither an answer nor an end");
        }
        let (closed, said) = (raw.heard.closed, raw.heard.body(1));
        match self.ends {
            Ends::Closed => (!closed).then_some("it goes on"),
            Ends::Calmed => (!raw.heard.told_to_go.contains(&ENHANCE_YOUR_CALM)).then_some("not told to calm down"),
            Ends::Stream if !said.is_empty() => Some("answered"),
            Ends::Refused(reason) if said != reply::refusal(reason) => Some("another answer"),
            Ends::Stream | Ends::Refused(_) => (!raw.goes_on().await).then_some("other streams do not go on"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hostile_gets_in_over_http2() {
    let (found, taken_back, ()) = tokio::join!(attacked(), taken_back(), broken_oracles_are_found());
    found.assert();
    Claim::new("hostile-streams", COMMAND)
        .figure("attacks tried", found.tried)
        .figure("allows wrongly given", found.wrongly_allowed)
        .figure("records missing", found.missing)
        .figure("questions asked and taken back, all of them recorded", taken_back)
        .control("an allow where none may be, an answer that is another, and a connection that stays are found")
        .write()
        .unwrap();
}

async fn attacked() -> Found {
    let mut stage = Stage::start().await;
    let (open, memory) = (descriptors(&stage.proxy), stage.proxy.peak());
    for row in [floods(), beside::floods(), heads(), frames()].into_iter().flatten() {
        stage.attack(&row).await;
    }
    beside::honest(&mut stage).await;
    stage.endure().await;
    if let Some(still) = left_open(&stage.proxy, open).await {
        stage.found.complain("H22", format!("{still} descriptors, {open} before"));
    }
    let more = stage.proxy.peak() - memory;
    if more > MEMORY {
        stage.found.complain("H22", format!("{} MiB of memory more", more >> 20));
    }
    stage.finish().await
}

/// Questions whose answers nobody waits for, or cannot get: each that reached the authorizer has its record. How many.
async fn taken_back() -> u64 {
    let mut stage = Stage::start().await;
    let (open, before) = (descriptors(&stage.proxy), stage.stub.asked());
    // Reset as soon as they are whole, but not faster than they are looked at.
    let mut raw = Raw::open(&stage.house, &stage.proxy).await;
    let reset = |stream| [whole(stream, &good()), frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat();
    let mut sent = beginning();
    for stream in (1..2000).step_by(2) {
        sent.extend(reset(stream));
        assert!(raw.exchange(&sent, |_| true).await && raw.goes_on().await, "{:?}", raw.heard);
        sent.clear();
    }
    // As many as there may be at once, and some more.
    let mut raw = Raw::open(&stage.house, &stage.proxy).await;
    let opened = [beginning(), many(128 + 20, |stream| head(stream, &good()))].concat();
    let asked = many(128, |stream| frame(DATA, END_STREAM, stream, asked().as_bytes()));
    assert!(raw.exchange(&[opened, asked].concat(), |heard| heard.ended.len() == 148).await);
    let ended = |how| raw.heard.ended.values().filter(|ended| **ended == how).count();
    assert_eq!((ended(Ended::Answered), ended(Ended::Reset), raw.heard.closed), (128, 20, false));
    assert!((1..256).step_by(2).all(|stream| raw.heard.body(stream) == reply::ALLOW));
    // An answer for which there is never room.
    let mut raw = Raw::open(&stage.house, &stage.proxy).await;
    let narrow = [PREFACE, &setting(4, 0), &whole(1, &good())].concat();
    assert!(raw.exchange(&narrow, |heard| heard.ended.contains_key(&1)).await);
    assert_eq!((raw.heard.body(1).as_str(), raw.heard.ended[&1]), ("", Ended::Reset));
    drop(raw);
    stage.client = Good::open(&stage.house, &stage.proxy).await;
    stage.serves("those that were taken back").await;
    // Those to the authorizer are kept: at most one for each question that was asked at once.
    assert_eq!(left_open(&stage.proxy, open + 128).await, None);
    let (kept, reached) = (stage.kept.len() as u64, stage.stub.asked());
    assert!(reached - before > 128 + 1 + kept, "none of those that were reset was asked");
    stage.proxy.stop().await;
    let decisions = stage.proxy.decisions();
    assert_eq!(decisions.len() as u64, reached, "questions without a record, or records without a question");
    assert!(stage.kept.iter().all(|kept| decisions.iter().any(|record| record["id"] == kept.id.as_str())));
    stage.found.assert();
    reached - kept
}

/// The controls: what every row relies on does fail.
async fn broken_oracles_are_found() {
    let refused = whole(1, &instead(":method", "GET"));
    let mut stage = Stage::start().await;
    for (row, wrongly_allowed, complaint) in [
        (row("a good question", Ends::Stream, whole(1, &good())), 1, "answered"),
        (row("a refused question", Ends::Closed, refused.clone()), 0, "it goes on"),
        (row("a refused question", Ends::Refused(Reason::UnknownPath), refused), 0, "another answer"),
        (row("a frame that must not be", Ends::Calmed, frame(DATA, 0, 0, b"x")), 0, "not told to calm down"),
    ] {
        stage.found = Found::default();
        stage.attack(&row).await;
        let found = &stage.found;
        assert_eq!((found.wrongly_allowed, found.complaints.len()), (wrongly_allowed, 1), "{:#?}", found.complaints);
        assert!(found.complaints[0].contains(complaint), "{:#?}", found.complaints);
    }
    // The question that must not have been one.
    stage.found = Found::default();
    let found = stage.finish().await;
    assert_eq!(found.complaints.len(), 2, "{:#?}", found.complaints);
}
