//! What an authorizer may do with a connection, a status and a head: U20 to U38, F60 to F75. Rows of `authorizer`.

use std::time::Duration;

use countersign::policy::verdict::Reason::{
    self, Allowed, AnswerTooLarge, BadStatus, Connect, ConnectionLost, ContentEncoding, Denied, Dns, MalformedAnswer,
    Redirect, Timeout,
};
use loadtest::stub::Step;

use super::authorizer::{Done, ECHO, Raw, Row, TIMEOUT};
use crate::authorizer::evil::{ALLOW, allow, answer};

const DENY: &str = r#"{"result":false}"#;
/// Far beyond what is waited for.
const LONG: Duration = Duration::from_secs(30);

/// Redirects lead to `target`, which nobody may visit.
pub fn rows(target: &str) -> Vec<Row> {
    let all = [
        statuses(),
        redirects(target),
        informational(),
        heads(),
        lengths(),
        surplus(),
        chunks(),
        ends(),
        floods(),
        waits(),
        absent(),
        caching(),
    ];
    all.into_iter().flatten().collect()
}

fn plays(id: &'static str, what: &str, steps: Vec<Step>, reason: Reason) -> Row {
    Row::new(id, what, Done::Steps(steps), reason)
}

fn send(bytes: impl Into<bytes::Bytes>) -> Step {
    Step::Send(bytes.into())
}

/// Framed by hand.
fn framed(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
}

fn statuses() -> Vec<Row> {
    let row = |id, status: &str, fields: &str| Row::saying(id, status, answer(status, fields, ALLOW), BadStatus);
    let mut rows: Vec<Row> = ["500 No", "403 No", "404 No", "401 No", "429 No", "400 No", "599 No"]
        .map(|status| row("U20", status, ""))
        .into();
    rows.extend(["201 A", "202 B", "203 C", "206 D", "299 E", "300 F"].map(|status| row("U21", status, "")));
    rows.extend(
        ["204 None", "304 Same"]
            .map(|status| Row::saying("U21", status, format!("HTTP/1.1 {status}\r\n\r\n"), BadStatus)),
    );
    rows.extend(
        ["503 No", "429 No", "401 No"]
            .map(|status| row("F70", status, "Retry-After: 0\r\nWWW-Authenticate: Basic\r\n")),
    );
    rows.push(row("U38", "500 with what was asked", &format!("X: {ECHO}\r\n")));
    for (what, line) in [
        ("below zero", "-200"),
        ("two digits", "20"),
        ("four digits", "2000"),
        ("letters", "OK"),
        ("600", "600 X"),
        ("099", "099 X"),
    ] {
        rows.push(Row::saying("U31", format!("a status {what}"), answer(line, "", ALLOW), MalformedAnswer).poisoning());
    }
    rows
}

fn redirects(target: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let places = [
        format!("http://{target}/"),
        format!("//{target}/"),
        "/".into(),
        "file:///etc/passwd".into(),
        "http://169.254.169.254/".into(),
    ];
    for status in [301, 302, 303, 307, 308] {
        for place in &places {
            let bytes = answer(&format!("{status} Go"), &format!("Location: {place}\r\n"), ALLOW);
            rows.push(Row::saying("U22", format!("{status} to {place}"), bytes, Redirect));
        }
        rows.push(Row::saying(
            "F67",
            format!("{status} to nowhere"),
            answer(&format!("{status} Go"), "", ALLOW),
            BadStatus,
        ));
    }
    rows.push(Row::saying(
        "U22",
        "200 with a place",
        answer("200 OK", &format!("Location: http://{target}/\r\nRefresh: 0; url=http://{target}/\r\n"), DENY),
        Denied,
    ));
    rows
}

fn informational() -> Vec<Row> {
    let hints = |count| "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(count);
    vec![
        Row::saying("U23", "five of 103", hints(5) + &allow(), Allowed),
        Row::saying("U23", "six of 103", hints(6) + &allow(), MalformedAnswer).poisoning(),
        Row::saying("U23", "a hundred of 100", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100) + &allow(), MalformedAnswer)
            .poisoning(),
        plays("U23", "100 without end", vec![Step::Endless("HTTP/1.1 100 Continue\r\n\r\n".into())], MalformedAnswer)
            .poisoning(),
        Row::saying("U23", "101", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n".to_owned() + &allow(), BadStatus)
            .poisoning(),
        Row::saying(
            "U23",
            "100 and a deny in it",
            "HTTP/1.1 100 Continue\r\nContent-Length: 16\r\n\r\n".to_owned() + DENY + &allow(),
            MalformedAnswer,
        )
        .poisoning(),
    ]
}

fn heads() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in ["text/html", "text/plain", "multipart/mixed"] {
        let bytes = answer("200 OK", &format!("Content-Type: {kind}\r\n"), ALLOW);
        rows.push(Row::saying("U24", kind, bytes.clone(), Allowed));
        rows.push(Row::saying("F68", kind, bytes, Allowed));
    }
    for coding in ["gzip", "br", "deflate", "identity, gzip", "x"] {
        let bytes = answer("200 OK", &format!("Content-Encoding: {coding}\r\n"), ALLOW);
        rows.push(Row::saying("U25", coding, bytes, ContentEncoding));
    }
    let bomb = [
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", 60_000).into_bytes(),
        vec![0x1f; 60_000],
    ]
    .concat();
    rows.push(Row::saying("F66", "a bomb", bomb, ContentEncoding));
    for garbage in [
        "SSH-2.0-x\r\n\r\n",
        "\0\0\0\0",
        ALLOW,
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/3.7 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
    ] {
        rows.push(Row::saying("F64", garbage.escape_debug().to_string(), garbage, MalformedAnswer).poisoning());
    }
    rows.push(Row::saying(
        "U36",
        "cookies and the like",
        answer(
            "200 OK",
            "Set-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nServer: x\r\nX-Countersign-Decision: forged\r\n",
            DENY,
        ),
        Denied,
    ));
    for (what, line) in [
        ("folded", "X: a\r\n b"),
        ("a NUL", "X: a\0b"),
        ("no colon", "X"),
        ("a blank before the colon", "Content-Length : 15"),
    ] {
        rows.push(
            Row::saying(
                "U29",
                format!("a line, {what}"),
                framed(&format!("{line}\r\nContent-Length: 15\r\n"), ALLOW),
                MalformedAnswer,
            )
            .poisoning(),
        );
    }
    rows
}

fn lengths() -> Vec<Row> {
    let close = |fields: &str, body: &str| vec![send(framed(fields, body)), Step::Close];
    let bad = |what: &str, fields: &str| Row::saying("U29", what, framed(fields, ALLOW), MalformedAnswer).poisoning();
    vec![
        plays("U26", "a byte less than said, then closed", close("Content-Length: 16\r\n", ALLOW), ConnectionLost)
            .poisoning(),
        plays("U26", "nothing of it, then closed", close("Content-Length: 15\r\n", ""), ConnectionLost).poisoning(),
        plays(
            "U26",
            "less than said, and held",
            vec![send(framed("Content-Length: 16\r\n", ALLOW)), Step::Hang],
            Timeout,
        )
        .poisoning(),
        plays("U30", "until closed", close("", ALLOW), ConnectionLost).poisoning(),
        plays("U30", "HTTP/1.0", vec![send(framed("", ALLOW).replace("1.1", "1.0")), Step::Close], ConnectionLost)
            .poisoning(),
        bad("two lengths", "Content-Length: 15\r\nContent-Length: 14\r\n"),
        bad("one length twice", "Content-Length: 15\r\nContent-Length: 15\r\n"),
        bad("a sign", "Content-Length: +15\r\n"),
        bad("below zero", "Content-Length: -1\r\n"),
        bad("hexadecimal", "Content-Length: 0xf\r\n"),
        bad("a list", "Content-Length: 15, 15\r\n"),
        bad("beyond 64 bits", "Content-Length: 18446744073709551631\r\n"),
        Row::saying(
            "U29",
            "almost beyond 64 bits",
            framed("Content-Length: 18446744073709551615\r\n", ALLOW),
            AnswerTooLarge,
        )
        .poisoning(),
    ]
}

/// More than was asked for: it would be the answer to the next question.
fn surplus() -> Vec<Row> {
    let deny = || answer("200 OK", "", DENY);
    let surplus = |what: &str, bytes: String, reason| Row::saying("U27", what, bytes, reason).poisoning();
    vec![
        surplus("an allow behind a deny", deny() + &allow(), Denied),
        surplus("an allow behind an allow", allow() + &allow(), Allowed),
        surplus("a length too short", framed("Content-Length: 16\r\n", &format!("{DENY}\r\n")), Denied),
        surplus("a byte", deny() + "x", Denied),
        surplus("behind a status", answer("500 No", "", ALLOW) + &allow(), BadStatus),
        surplus("behind a redirect", answer("302 Go", "Location: /\r\n", "") + &allow(), Redirect),
        surplus("behind no body", "HTTP/1.1 204 None\r\n\r\n".to_owned() + &allow(), BadStatus),
        surplus(
            "behind a last chunk",
            framed("Transfer-Encoding: chunked\r\n", &format!("10\r\n{DENY}\r\n0\r\n\r\n{}", allow())),
            Denied,
        ),
        Row::saying("U28", "an allow before the question", deny(), Denied).after_unasked(allow()),
        Row::saying("U28", "half an allow before the question", deny(), Denied).after_unasked(allow()[..40].to_owned()),
        Row::saying("U28", "a byte before the question", deny(), Denied).after_unasked("H".to_owned()),
        Row::saying("U28", "408 before the question", deny(), Denied).after_unasked(answer(
            "408 Slow",
            "Connection: close\r\n",
            "",
        )),
    ]
}

fn chunks() -> Vec<Row> {
    let chunked = |what: &str, body: &str, reason| {
        Row::saying("U29", what, framed("Transfer-Encoding: chunked\r\n", body), reason)
    };
    let bad = |what: &str, body: &str| chunked(what, body, MalformedAnswer).poisoning();
    let good = format!("f\r\n{ALLOW}\r\n0\r\n\r\n");
    let both = framed("Content-Length: 15\r\nTransfer-Encoding: chunked\r\n", &good);
    vec![
        chunked("chunks", &good, Allowed),
        Row::saying("U29", "length and chunks", both, MalformedAnswer).poisoning(),
        bad("an extension", &format!("f;a=b\r\n{ALLOW}\r\n0\r\n\r\n")),
        bad("a trailer", &format!("f\r\n{ALLOW}\r\n0\r\nresult: true\r\n\r\n")),
        bad("no number", &format!("zz\r\n{ALLOW}\r\n0\r\n\r\n")),
        bad("below zero", &format!("-f\r\n{ALLOW}\r\n0\r\n\r\n")),
        bad("a number beyond 32 bits", &format!("fffffffff\r\n{ALLOW}\r\n")),
        bad("longer than said", &format!("e\r\n{ALLOW}\r\n0\r\n\r\n")),
        bad("bare line feeds", &format!("f\n{ALLOW}\n0\n\n")),
        Row::saying("U29", "another coding", framed("Transfer-Encoding: gzip, chunked\r\n", &good), ContentEncoding)
            .poisoning(),
        Row::saying(
            "U29",
            "chunked twice",
            framed("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &good),
            MalformedAnswer,
        )
        .poisoning(),
        Row::saying(
            "U29",
            "chunks of HTTP/1.0",
            framed("Transfer-Encoding: chunked\r\n", &good).replace("1.1 ", "1.0 "),
            MalformedAnswer,
        )
        .poisoning(),
    ]
}

/// Ends at every stage.
fn ends() -> Vec<Row> {
    let whole = allow();
    let head = whole.len() - ALLOW.len();
    let chunked = framed("Transfer-Encoding: chunked\r\n", &format!("f\r\n{ALLOW}\r\n0\r\n\r\n"));
    let mut rows = vec![
        Row::new("F63", "closed at once", Done::Raw(Raw::CloseAtOnce), ConnectionLost),
        Row::new("F63", "reset at the first byte", Done::Raw(Raw::ResetAtFirst), ConnectionLost),
        Row::new("F63", "reset in the question", Done::Raw(Raw::ResetInQuestion), ConnectionLost),
        Row::new("F63", "closed on one side", Done::Raw(Raw::HalfClose), ConnectionLost),
        plays("F63", "reset behind an answer", vec![send(allow()), Step::Reset], Allowed),
        plays("F63", "closed behind an answer", vec![send(allow()), Step::Close], Allowed),
    ];
    for (what, end) in [("closed", Step::Close), ("reset", Step::Reset)] {
        for length in [0, 1, 9, head - 2, head, head + 1, whole.len() - 1] {
            let steps =
                vec![send(whole.as_bytes()[..length].to_vec()), Step::Wait(Duration::from_millis(5)), end.clone()];
            rows.push(plays("F63", &format!("{what} after {length} bytes"), steps, ConnectionLost).poisoning());
        }
        for missing in [2, 5, 7] {
            let steps = vec![send(chunked.as_bytes()[..chunked.len() - missing].to_vec()), end.clone()];
            rows.push(
                plays("F63", &format!("{what} {missing} bytes before the end of chunks"), steps, ConnectionLost)
                    .poisoning(),
            );
        }
    }
    rows
}

fn floods() -> Vec<Row> {
    let padded = |size: usize| answer("200 OK", "", &format!("{ALLOW}{}", " ".repeat(size)));
    let head = |field: &str| {
        vec![send(format!("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n{field}")), Step::Endless("X-Flood: y\r\n".into())]
    };
    vec![
        Row::saying(
            "U31",
            "10,000 fields",
            framed(&("X-Flood: y\r\n".repeat(10_000) + "Content-Length: 15\r\n"), ALLOW),
            MalformedAnswer,
        )
        .poisoning(),
        Row::saying(
            "U31",
            "65 fields",
            framed(&("X: y\r\n".repeat(64) + "Content-Length: 15\r\n"), ALLOW),
            MalformedAnswer,
        )
        .poisoning(),
        Row::saying(
            "U31",
            "a value of 1 MiB",
            framed(&format!("X: {}\r\nContent-Length: 15\r\n", "y".repeat(1 << 20)), ALLOW),
            MalformedAnswer,
        )
        .poisoning(),
        Row::saying(
            "U31",
            "a first line of 64 KiB",
            format!("HTTP/1.1 200 {}\r\nContent-Length: 15\r\n\r\n{ALLOW}", "K".repeat(65_536)),
            MalformedAnswer,
        )
        .poisoning(),
        plays("U31", "a head without end", head(""), MalformedAnswer).poisoning(),
        Row::saying("U33", "64 KiB", padded((64 << 10) - ALLOW.len()), Allowed),
        Row::saying("U33", "a byte more", padded((64 << 10) - ALLOW.len() + 1), AnswerTooLarge).poisoning(),
        Row::saying("U33", "64 MiB", padded(64 << 20), AnswerTooLarge).poisoning(),
        plays("F65", "chunks without end", endless(), AnswerTooLarge).poisoning(),
        plays("F65", "empty lines without end", vec![Step::Endless("\r\n".into())], MalformedAnswer).poisoning(),
        plays("F65", "nothing but bytes", vec![Step::Endless(vec![b'x'; 4096].into())], MalformedAnswer).poisoning(),
    ]
}

fn endless() -> Vec<Step> {
    let chunk = |body: &str| format!("{:x}\r\n{body}\r\n", body.len());
    let begin = framed("Transfer-Encoding: chunked\r\n", &chunk(ALLOW));
    vec![send(begin), Step::Endless(chunk(&" ".repeat(0x1000)).into())]
}

fn waits() -> Vec<Row> {
    let drip = TIMEOUT / 10;
    let head = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1000));
    let late = |by: Duration| vec![Step::Wait(by), send(allow()), Step::Hang];
    let tiny = "1\r\n \r\n".repeat(300);
    vec![
        plays("U32", "a head that drips", vec![Step::Drip(head.into(), drip)], Timeout).poisoning(),
        plays(
            "U32",
            "a body that drips",
            vec![send(framed("Content-Length: 1000\r\n", "")), Step::Drip(vec![b' '; 1000].into(), drip)],
            Timeout,
        )
        .poisoning(),
        plays(
            "F62",
            "an allow that drips",
            vec![send(framed("Content-Length: 15\r\n", "")), Step::Drip(ALLOW.into(), drip)],
            Timeout,
        )
        .poisoning(),
        plays(
            "F62",
            "chunks that drip",
            vec![send(framed("Transfer-Encoding: chunked\r\n", "")), Step::Drip(tiny.into(), drip)],
            Timeout,
        )
        .poisoning(),
        plays("F62", "nothing", vec![Step::Hang], Timeout).poisoning(),
        plays("F62", "half a head, and held", vec![send("HTTP/1.1 200"), Step::Hang], Timeout).poisoning(),
        plays("F75", "too late by half", late(TIMEOUT * 3 / 2), Timeout).poisoning(),
        plays("F75", "much too late", late(LONG), Timeout).poisoning(),
        plays(
            "F75",
            "half of it too late",
            vec![send(allow().as_bytes()[..50].to_vec()), Step::Wait(TIMEOUT * 3 / 2), send(allow()), Step::Hang],
            Timeout,
        )
        .poisoning(),
        Row::new("F60", "held unread", Done::Raw(Raw::Hang), Timeout),
    ]
}

fn absent() -> Vec<Row> {
    vec![Row::new("F60", "refused", Done::Nobody, Connect), Row::new("F61", "no such name", Done::Nowhere, Dns)]
}

/// Nothing makes our lifetimes longer; `no-store` ends them.
fn caching() -> Vec<Row> {
    let says = |what: &str, fields: &str| Row::saying("U37", what, answer("200 OK", fields, ALLOW), Allowed);
    vec![
        says(
            "a billion seconds",
            "Cache-Control: max-age=1000000000\r\nAge: 0\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        ),
        says("beyond 64 bits", "Cache-Control: max-age=99999999999999999999999\r\n"),
        says("below zero", "Age: -1\r\nExpires: 0\r\n"),
        says("no-store", "Cache-Control: no-store\r\n").not_kept(),
        says("no-store in the midst", "Cache-Control: max-age=60, NO-STORE, public\r\n").not_kept(),
        says("nothing left of it", "Cache-Control: max-age=60\r\nAge: 60\r\n").not_kept(),
    ]
}
