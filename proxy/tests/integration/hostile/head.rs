//! What can be wrong before the body: H01 to H08, H12, H13, H17, H18, H23, H26, H41, H50. Rows of `stage`.

use countersign::policy::verdict::Reason::{
    MethodNotAllowed, RequestTooLarge, Unauthorized, UnknownPath, UnsupportedEncoding,
};
use loadtest::stub::Received;
use serde_json::Value;

use super::stage::{Row, Said, TOKEN, asked, post, sized};

/// `target` is an address that nobody may visit.
pub fn rows(target: &str) -> Vec<Row> {
    let all = [tokens(), large(), probes(), methods(), paths(target), other_protocols(), fields(target), traces()];
    all.into_iter().flatten().collect()
}

/// The good question with these lines instead of the token's.
fn shown(lines: &str) -> Vec<u8> {
    let body = asked();
    format!("POST / HTTP/1.1\r\nHost: c\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The good question with other words in its first line.
fn first_line(method: &str, target: &str) -> Vec<u8> {
    let body = asked();
    let length = body.len();
    format!("{method} {target} HTTP/1.1\r\nHost: c\r\n{TOKEN}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// The good question with further lines in its head.
fn with(lines: &str) -> Vec<u8> {
    let body = asked();
    post(&format!("{lines}Content-Length: {}\r\n", body.len()), body)
}

fn tokens() -> Vec<Row> {
    let refused = |id, what: &str, sent| Row::new(id, what, sent, &[Said::Refused(Unauthorized)]);
    let mut rows = vec![
        refused("H01", "no token", shown("")),
        refused("H01", "an empty token", shown("Authorization:\r\n")),
        refused("H03", "the token twice", shown(&TOKEN.repeat(2))),
        refused("H03", "the token and another", shown(&format!("{TOKEN}Authorization: Bearer x\r\n"))),
        refused("H03", "a list", shown("Authorization: Bearer s3cret, Bearer s3cret\r\n")),
        refused("H03", "in a cookie", shown("Cookie: Authorization=Bearer s3cret\r\n")),
        refused("H03", "for a proxy", shown("Proxy-Authorization: Bearer s3cret\r\n")),
        refused("H05", "a token of 64 KiB", shown(&format!("Authorization: Bearer {}\r\n", "x".repeat(65_536)))),
        refused("H15", "not ASCII", shown("Authorization: Bearer s3cr\u{e9}t\r\n")),
    ];
    for query in ["token=Bearer%20s3cret", "access_token=s3cret", "Authorization=Bearer+s3cret"] {
        let sent = String::from_utf8(shown("")).unwrap().replacen(" / ", &format!(" /?{query} "), 1);
        rows.push(refused("H03", query, sent.into_bytes()));
    }
    let wrong = ["Bearer s3creT", "Bearer s3cre", "Bearer s3crets", "bearer s3cret", "Bearer  s3cret", "Basic s3cret"];
    for token in wrong.into_iter().chain(["s3cret", "\"Bearer s3cret\"", "Bearer\ts3cret", "Bearer"]) {
        rows.push(refused("H02", token, shown(&format!("Authorization: {token}\r\n"))));
    }
    // Blanks around a value are no part of it. RFC 9110, section 5.5.
    rows.push(
        Row::new("H02", "blanks behind it", shown("Authorization: Bearer s3cret \t\r\n"), &[Said::Allow]).asks(asked()),
    );
    rows
}

fn large() -> Vec<Row> {
    let many = |count: usize| with(&(0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>());
    vec![
        Row::new("H05", "a value of 1 MiB", with(&format!("X: {}\r\n", "x".repeat(1 << 20))), &[Said::Closed]),
        Row::new("H05", "a name of 64 KiB", with(&format!("{}: x\r\n", "x".repeat(65_536))), &[Said::Closed]),
        Row::new("H05", "300 fields", many(300), &[Said::Closed]),
        Row::new("H05", "200 fields", many(200), &[Said::Allow]).asks(asked()),
        Row::new(
            "H24",
            "100 MiB announced",
            post("Content-Length: 104857600\r\n", ""),
            &[Said::Refused(RequestTooLarge)],
        ),
        Row::new(
            "H25",
            "said to be compressed",
            with("Content-Encoding: gzip\r\n"),
            &[Said::Refused(UnsupportedEncoding)],
        ),
    ]
}

fn probes() -> Vec<Row> {
    let empty = String::from_utf8(sized("")).unwrap();
    vec![
        Row::new("H06", "the empty question", empty.clone(), &[Said::Probe]),
        Row::new("H06", "without a token", empty.replace(TOKEN, ""), &[Said::Refused(Unauthorized)]),
        Row::new("H06", "in no chunk", post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[Said::Probe]),
    ]
}

fn methods() -> Vec<Row> {
    let refused = |method: &str| Row::new("H07", method, first_line(method, "/"), &[Said::Refused(MethodNotAllowed)]);
    let mut rows: Vec<Row> =
        ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post", "POSTS"].map(refused).into();
    rows.push(Row::new("H07", "HEAD", first_line("HEAD", "/"), &[Said::Headless]));
    rows.push(Row::new(
        "H07",
        "CONNECT to somewhere",
        first_line("CONNECT", "c:443"),
        &[Said::Refused(MethodNotAllowed)],
    ));
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
    rows.push(Row::new("H07", "HTTP/2's preface", preface, &[Said::Closed]));
    rows.push(Row::new("H07", "no method", first_line("", "/"), &[Said::Closed]));
    rows
}

/// The path is compared as it was sent, not as somebody would mend it.
fn paths(target: &str) -> Vec<Row> {
    let unknown = |id, path: &str| Row::new(id, path, first_line("POST", path), &[Said::Refused(UnknownPath)]);
    let mut rows: Vec<Row> = ["*", "//", "/./", "/../", "/;x", "/%2f", "/%2e%2e", "/ x", "http://c/"]
        .map(|path| unknown("H08", path))
        .into();
    // A fragment used to be taken away, so that what is in front of it was the endpoint.
    rows.extend(["/#", "/#/v1", "/?a=b#c"].map(|path| unknown("H08", path)));
    let elsewhere = first_line("POST", &format!("http://{target}/"));
    rows.push(Row::new("H08", "another host than the head's", elsewhere, &[Said::Closed]));
    rows.push(Row::new("H08", "a query", first_line("POST", "/?x=/../&path=/v1"), &[Said::Allow]).asks(asked()));
    rows.push(Row::new("H08", "two hosts", with("Host: c\r\n"), &[Said::Closed]));
    let other = String::from_utf8(with("")).unwrap().replacen("Host: c", "Host: other", 1);
    rows.push(Row::new("H08", "a host that is not ours", other, &[Said::Allow]).asks(asked()));
    rows.extend(["/v1", "/v1/data/minio/allow", "/tenant-b/"].map(|path| unknown("H04", path)));
    rows.extend(
        ["/metrics", "/status", "/status.json", "/purge", "/readyz", "/debug/pprof/"].map(|path| unknown("H50", path)),
    );
    rows
}

fn other_protocols() -> Vec<Row> {
    let body = asked();
    let unasked = shown("");
    let mut rows = Vec::new();
    for upgrade in [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n",
        "Upgrade: TLS/1.0\r\n",
    ] {
        // What follows is another question, and needs a token of its own.
        let sent = [with(upgrade), unasked.clone()].concat();
        let answers = [Said::Allow, Said::Refused(Unauthorized)];
        rows.push(Row::new("H12", upgrade.lines().next().unwrap(), sent, &answers).asks(&*body));
    }
    let expected = |expect: &str| with(&format!("Expect: {expect}\r\n"));
    rows.push(Row::new("H13", "the body at once", expected("100-continue"), &[Said::Allow]).asks(&*body));
    rows.push(Row::new("H13", "another expectation", expected("y 100-continue"), &[Said::Allow]).asks(&*body));
    rows.push(Row::new("H13", "no body after all", post("Expect: 100-continue\r\nContent-Length: 9\r\n", ""), &[]));
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS where none is\r\n\r\n";
    rows.push(Row::new("H23", "TLS where none is", hello, &[Said::Closed]));
    rows.push(Row::new("H23", "an SSH client", "SSH-2.0-OpenSSH_9.9\r\n\r\n", &[Said::Closed]));
    rows
}

const FORWARDED: [&str; 8] = [
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-User",
    "X_Forwarded_User",
    "Forwarded",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
];

fn fields(target: &str) -> Vec<Row> {
    let forwarded: String = FORWARDED.iter().map(|name| format!("{name}: {target}\r\n")).collect();
    let mut rows = vec![
        Row::new("H17", "somebody else's address", with(&forwarded), &[Said::Allow])
            .asks(asked())
            .looks(nothing_goes_on),
        Row::new("H39", "an address in a header", with("X-Forwarded-For: 198.51.100.66\r\n"), &[Said::Allow])
            .asks(asked())
            .looks(|record, _| record["data"]["request"]["reported_ip"] == "203.0.113.9"),
    ];
    for named in ["Authorization, Content-Length", "Authorization", "close, Host, X-Countersign-Decision"] {
        let sent = with(&format!("Connection: {named}\r\n"));
        rows.push(Row::new("H18", named, sent, &[Said::Allow]).asks(asked()));
    }
    for kind in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: \u{e9}\r\n",
    ] {
        rows.push(Row::new("H26", format!("`{}`", kind.trim()), with(kind), &[Said::Allow]).asks(asked()));
    }
    rows
}

/// Nothing of the head is sent on, and who connects is who is recorded.
fn nothing_goes_on(record: &Value, received: &Received) -> bool {
    let request = &record["data"]["request"];
    let names = FORWARDED.iter().all(|name| received.header(name).is_none());
    names && request["peer"] == "127.0.0.1" && request["reported_ip"] == "203.0.113.9"
}

fn traces() -> Vec<Row> {
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let hostile = [
        "garbage".to_owned(),
        GOOD.to_uppercase(),
        GOOD.replacen("00-", "ff-", 1),
        format!("{GOOD}-more"),
        "00-00000000000000000000000000000000-0000000000000000-01".to_owned(),
        format!("00-{}", "4".repeat(8192)),
        "\" } drop table".to_owned(),
    ];
    let row = |lines: String, look| {
        Row::new("H41", format!("{lines:.40}").escape_debug().to_string(), with(&lines), &[Said::Allow])
            .asks(asked())
            .looks(look)
    };
    let mut rows: Vec<Row> = hostile.map(|value| row(format!("traceparent: {value}\r\n"), a_trace_of_its_own)).into();
    rows.push(row(format!("traceparent: {GOOD}\r\ntraceparent: {GOOD}\r\n"), one_trace));
    rows.push(row(
        format!("traceparent: {GOOD}\r\ntracestate: a={}\r\nbaggage: k={0}\r\n", "x".repeat(8192)),
        one_trace,
    ));
    rows
}

/// The authorizer gets one well-formed `traceparent`, the trace of the record, and nothing else that came along.
fn one_trace(record: &Value, received: &Received) -> bool {
    let traces: Vec<_> = received.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("traceparent")).collect();
    let [(_, trace)] = traces.as_slice() else { return false };
    let id = record["data"]["trace_id"].as_str().unwrap_or("none");
    // Not sampled: whatever the caller asked for, nothing is exported here.
    let form = trace.len() == 55 && trace.starts_with("00-") && trace.ends_with("-00");
    let none = |name| received.header(name).is_none();
    form && trace.contains(id) && none("tracestate") && none("baggage")
}

fn a_trace_of_its_own(record: &Value, received: &Received) -> bool {
    let id = record["data"]["trace_id"].as_str().unwrap_or_default();
    one_trace(record, received) && id.len() == 32 && !id.starts_with("4bf92f35") && !id.starts_with("4444")
}
