//! What can be wrong with a body, and what only looks wrong: H24, H25, H27 to H38, H42, H43, H47, H49, H51, H52. Rows of
//! `stage`.

use std::io::Write as _;

use countersign::policy::verdict::Reason::{AmbiguousRequest, MalformedRequest, RequestTooLarge, UnsupportedEncoding};
use loadtest::stub::Received;
use serde_json::{Value, json};

use super::stage::{Row, Said, asked, post, sized};
use crate::support::question;

/// `target` is an address that nobody may visit.
pub fn rows(target: &str) -> Vec<Row> {
    let all =
        [texts(), bombs(), doubles(), garbage(), numbers(), types(), members(), names(), conditions(), steered(target)];
    all.into_iter().flatten().collect()
}

/// The good question with one text replaced by another.
fn but(from: &str, to: &str) -> String {
    let good = asked();
    assert!(good.contains(from), "{from} is not in {good}");
    good.replacen(from, to, 1)
}

/// The good question with this in place of its claims.
fn claims(text: &str) -> String {
    but(r#""claims":{}"#, &format!(r#""claims":{text}"#))
}

/// The good question, changed.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut question = question("alice", "s3:GetObject", "reports", "a.txt");
    change(&mut question["input"]);
    question.to_string()
}

fn texts() -> Vec<Row> {
    let good = asked();
    let bytes = |of: &[u8]| {
        let (before, behind) = good.split_once("alice").unwrap();
        [before.as_bytes(), of, behind.as_bytes()].concat()
    };
    let utf_16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let unread = |what: &str, body: Vec<u8>| Row::unread("H27", what, body, MalformedRequest);
    vec![
        unread("a byte that is no UTF-8", bytes(b"ali\xffce")),
        unread("an overlong slash", bytes(b"\xc0\xaf")),
        unread("a surrogate as UTF-8", bytes(b"\xed\xa0\x80")),
        unread("beyond the last character", bytes(b"\xf4\x90\x80\x80")),
        unread("cut in a character", bytes(b"\xe2\x82")),
        unread("a byte order mark", ["\u{feff}".as_bytes(), good.as_bytes()].concat()),
        unread("UTF-16", utf_16),
        unread("a NUL behind it", [good.as_bytes(), b"\0"].concat()),
        unread("a NUL in a name", bytes(b"ali\0ce")),
        unread("a control character in a name", bytes(b"ali\x01ce")),
        unread("nothing but blanks", b" \r\n\t ".to_vec()),
    ]
}

fn bombs() -> Vec<Row> {
    let unread = |what: &str, body: String| Row::unread("H28", what, body, MalformedRequest);
    let nested = |open: &str, close: &str, depth: usize| {
        claims(&format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth)))
    };
    let keys = |count: usize| {
        claims(&format!("{{{}}}", (0..count).map(|key| format!("\"{key}\":1")).collect::<Vec<_>>().join(",")))
    };
    let items = |count: usize| claims(&format!("{{\"a\":[{}0]}}", "0,".repeat(count)));
    let too_large = |id, what: &str, body: Vec<u8>| Row::new(id, what, sized(body), &[Said::Refused(RequestTooLarge)]);
    let zipped = Row::new(
        "H25",
        "a bomb",
        post("Content-Encoding: gzip\r\nContent-Length: 1000\r\n", [0x1f; 1000]),
        &[Said::Refused(UnsupportedEncoding)],
    );
    let mut endless = Vec::new();
    for _ in 0..17 {
        write!(endless, "10000\r\n{}\r\n", " ".repeat(0x10000)).unwrap();
    }
    vec![
        unread("100,000 arrays", nested("[", "]", 100_000)),
        unread("100,000 arrays without an end", nested("[", "", 100_000)),
        unread("100,000 objects", nested("{\"a\":", "}", 100_000)),
        unread("33 levels", nested("[", "]", 30)),
        unread("100,000 members", keys(75_000)),
        unread("400,000 elements", items(400_000)),
        Row::passed("H28", "a name of 500 KiB", claims(&format!("{{\"{}\":1}}", "x".repeat(500_000)))),
        too_large("H28", "a text of 10 MiB", claims(&format!("{{\"a\":\"{}\"}}", "x".repeat(10 << 20))).into_bytes()),
        too_large("H24", "a byte more than may be", vec![b' '; (1 << 20) + 1]),
        Row::new(
            "H24",
            "more than may be, in chunks",
            post("Transfer-Encoding: chunked\r\n", endless),
            &[Said::Refused(RequestTooLarge)],
        ),
        Row::unread("H24", "as much as may be", vec![b' '; 1 << 20], MalformedRequest),
        zipped,
    ]
}

fn doubles() -> Vec<Row> {
    let good = asked();
    let mut rows = Vec::new();
    let mut ambiguous = |id, what: &str, body: String| rows.push(Row::unread(id, what, body, AmbiguousRequest));
    ambiguous("H29", "two inputs", format!("{{\"input\":{{}},{}", &good[1..]));
    ambiguous("H29", "claims.sub", claims(r#"{"sub":"a","sub":"b"}"#));
    ambiguous("H29", "one below another", claims(r#"{"a":{"b":[{"c":1,"c":1}]}}"#));
    ambiguous("H29", "a condition", but(r#""UserAgent":"#, r#""SourceIp":["127.0.0.1"],"UserAgent":"#));
    ambiguous("H29", "one of them escaped", but(r#""account":"#, r#""\u0061ccount":"root","account":"#));
    for name in ["account", "action", "bucket", "object", "owner", "denyOnly", "claims", "conditions", "groups"] {
        ambiguous("H29", name, but(&format!("\"{name}\":"), &format!("\"{name}\":null,\"{name}\":")));
    }
    for (variant, of) in [
        ("Account", "account"),
        ("ACCOUNT", "account"),
        ("acc\u{f6}unt", ""),
        ("denyonly", "denyOnly"),
        ("conditionſ", "conditions"),
        ("bucKet", "bucket"),
        ("buc\u{212a}et", "bucket"),
        ("Owner", "owner"),
    ] {
        let body = but(r#""account":"#, &format!("\"{variant}\":true,\"account\":"));
        let row = if of.is_empty() {
            Row::passed("H30", variant, body)
        } else {
            Row::unread("H30", variant, body, AmbiguousRequest)
        };
        rows.push(row);
    }
    rows.push(Row::unread("H30", "Input", format!("{{\"Input\":{{}},{}", &good[1..]), AmbiguousRequest));
    rows
}

fn garbage() -> Vec<Row> {
    let good = asked();
    let unread = |(what, body): (&str, String)| Row::unread("H31", what, body, MalformedRequest);
    [
        ("something behind it", format!("{good}x")),
        ("two documents", good.repeat(2)),
        ("a comment", format!("/**/{good}")),
        ("a comment behind it", format!("{good}//")),
        ("single quotes", good.replace('"', "'")),
        ("a comma too many", but("\"denyOnly\":false", "\"denyOnly\":false,")),
        ("no quotes", but("\"account\"", "account")),
        ("cut short", good[..good.len() - 1].to_owned()),
        ("NaN", claims(r#"{"a":NaN}"#)),
        ("Infinity", claims(r#"{"a":-Infinity}"#)),
        ("a leading zero", claims(r#"{"a":01}"#)),
        ("a point alone", claims(r#"{"a":1.}"#)),
        ("a plus sign", claims(r#"{"a":+1}"#)),
        ("hexadecimal", claims(r#"{"a":0x1}"#)),
        ("beyond every double", claims(r#"{"a":1e999}"#)),
        ("a literal in capitals", but("\"owner\":false", "\"owner\":False")),
        ("a form", "input=%7B%7D".to_owned()),
        ("XML", "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>".to_owned()),
    ]
    .map(unread)
    .into()
}

fn numbers() -> Vec<Row> {
    ["9007199254740993", "18446744073709551616", "-0", "1.0", "1e5", "0.1000000000000000055511151231257827"]
        .map(|number| Row::passed("H32", number, claims(&format!("{{ \"a\" : {number} }}"))))
        .into()
}

fn types() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in ["alice", "reports", "a.txt"] {
        for (what, bad) in
            [("half a surrogate", r"\ud800"), ("the other half", r"\udc00x"), ("NUL", r"\u0000"), ("no escape", r"\x")]
        {
            let body = but(&format!("\"{name}\""), &format!("\"{bad}\""));
            rows.push(Row::unread("H33", format!("{what} for {name}"), body, MalformedRequest));
        }
    }
    for (name, bad) in [
        ("account", json!(["alice"])),
        ("account", json!(null)),
        ("groups", json!("admins")),
        ("groups", json!([1])),
        ("action", json!(1)),
        ("bucket", json!({})),
        ("object", json!(true)),
        ("owner", json!("true")),
        ("owner", json!(1)),
        ("denyOnly", json!(1)),
        ("denyOnly", json!("false")),
        ("conditions", json!([])),
        ("conditions", json!({ "SourceIp": "127.0.0.1" })),
        ("conditions", json!({ "SourceIp": [1] })),
        ("claims", json!("x")),
    ] {
        let body = changed(|input| input[name] = bad.clone());
        rows.push(Row::unread("H34", format!("{name} {bad}"), body, MalformedRequest));
    }
    rows
}

fn members() -> Vec<Row> {
    let without = |name: &str| changed(|input| drop(input.as_object_mut().unwrap().remove(name)));
    let unread = |(what, body): (&str, String)| Row::unread("H35", what, body, MalformedRequest);
    let mut rows: Vec<Row> = [
        ("no account", without("account")),
        ("no action", without("action")),
        ("an empty action", changed(|input| input["action"] = "".into())),
        ("no input", "{}".to_owned()),
        ("another input", r#"{"input":[]}"#.to_owned()),
        ("an array", format!("[{}]", asked())),
        ("null", "null".to_owned()),
    ]
    .map(unread)
    .into();
    rows.push(Row::passed(
        "H35",
        "more than is known",
        but("{\"input\":{", "{\"extra\":[1],\"input\":{\"unknown\":{\"x\":1},"),
    ));
    let nobody = changed(|input| input["account"] = "".into());
    rows.push(Row::passed("H36", "nobody", nobody).looks(|record, _| record["data"]["actor"]["kind"] == "anonymous"));
    rows
}

/// Names that somebody could mend, read as commands, or print.
fn names() -> Vec<Row> {
    let composed = ["caf\u{e9}", "cafe\u{301}"];
    let paths = ["../../etc/passwd", "a%2Fb", "a//b", "/", ".", "a\\b", "C:\\a", "a\nb", "a\tb", "a\r\nX: y", " a "];
    let shown = ["\u{202e}txt.exe", "\u{1b}[2J\u{1b}]0;title\u{7}", "\u{2028}x\u{2029}", "\u{9b}31m", "\u{feff}a"];
    let commands =
        ["${HOME}", "$(id)", "`id`", "%s%n%x", "{{7*7}}", "%{env:PATH}", "${jndi:ldap://127.0.0.1/a}", "' OR 1=1 --"];
    let mut rows = Vec::new();
    let mut named = |id, object: &str| {
        let body = changed(|input| input["object"] = object.into());
        rows.push(Row::passed(id, object.escape_debug().to_string(), body).looks(is_named_as_asked));
    };
    composed.into_iter().chain(paths).chain(["/proc/self/environ"]).for_each(|object| named("H37", object));
    named("H37", &"x".repeat(1024));
    shown.into_iter().for_each(|object| named("H42", object));
    commands.into_iter().for_each(|object| named("H51", object));
    let everywhere = changed(|input| {
        let bad = "\u{1b}]0;x\u{7}\r\n{\"level\":\"error\"}\u{2028}";
        input["account"] = bad.into();
        input["conditions"]["UserAgent"] = json!([bad]);
        input["conditions"][bad] = json!([bad]);
    });
    rows.push(Row::passed("H42", "in every place", everywhere));
    for bad in
        ["s3:Get\"} 1\ncountersign_decisions_total{evil=\"", "s3:\u{1f4a3}", "x:y", "admin:", &"s3:x".repeat(500)]
    {
        let body = changed(|input| {
            input["action"] = bad.into();
            input["bucket"] = bad.into();
        });
        rows.push(Row::passed("H43", format!("{bad:.30}").escape_debug().to_string(), body));
    }
    rows
}

/// What was asked is what is recorded, character for character.
fn is_named_as_asked(record: &Value, received: &Received) -> bool {
    let sent: Value = serde_json::from_slice(&received.body).unwrap();
    record["data"]["resource"]["object"] == sent["input"]["object"]
}

fn conditions() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, value, sign) in [
        ("username", json!(["alice", "admin"]), true),
        ("userid", json!(["alice", "root"]), true),
        ("principaltype", json!(["User", "Account"]), true),
        ("Username", json!(["admin"]), false),
    ] {
        let body = changed(|input| input["conditions"][name] = value.clone());
        let look = if sign { is_alice_and_suspicious } else { is_alice };
        rows.push(Row::passed("H38", format!("{name} {value}"), body).looks(look));
    }
    // Equal in the hash function of Java's strings, and in whatever else adds 31 times.
    let equal = |number: usize| (0..12).map(|bit| if number >> bit & 1 == 0 { "Aa" } else { "BB" }).collect::<String>();
    let flood: serde_json::Map<_, _> = (0..4000).map(|number| (equal(number), json!([]))).collect();
    rows.push(Row::passed("H47", "4,000 names with one hash", changed(|input| input["conditions"] = flood.into())));
    let twice = sized(asked()).repeat(2);
    rows.push(Row::new("H49", "sent again", twice, &[Said::Allow; 2]).asks(asked()).asks(asked()));
    rows
}

fn is_alice(record: &Value, _: &Received) -> bool {
    let actor = &record["data"]["actor"];
    actor["account"] == "alice" && actor["principal"] == "alice" && actor["owner"] == false
}

fn is_alice_and_suspicious(record: &Value, received: &Received) -> bool {
    is_alice(record, received) && record["data"]["request"]["suspicious"] == json!(["doubled_condition"])
}

/// Addresses in every place where a careless program would turn to them.
fn steered(target: &str) -> Vec<Row> {
    let url = format!("http://{target}/");
    let mut rows = Vec::new();
    for name in ["url", "authorizer", "callback", "host", "topic", "brokers", "jwks_uri", "$ref"] {
        let body = changed(|input| {
            input[name] = url.clone().into();
            input["claims"] = json!({ name: url, "iss": url, "jku": url });
            input["conditions"][name] = json!([url]);
        });
        rows.push(Row::passed("H52", name, body));
    }
    let body = asked();
    let head = format!("X-Forwarded-Host: {target}\r\nReferer: {url}\r\nContent-Length: {}\r\n", body.len());
    let sent = String::from_utf8(post(&head, &body)).unwrap().replacen("Host: c", &format!("Host: {target}"), 1);
    rows.push(Row::new("H52", "in the head", sent, &[Said::Allow]).asks(body));
    rows
}
