//! The sockets: what the front answers to whatever may arrive, and that it goes on afterwards. The answers are those of
//! the table in `docs/EVENTS.md`.

use std::time::Duration;

use loadtest::stub::{Script, Stub};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Countersign, Running, eventually, http, question, records};

const TOKEN: &str = "Bearer s3cret";

/// An authorizer that allows everything, and a proxy that wants [`TOKEN`].
pub async fn behind_token() -> (Stub, Running) {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).token(TOKEN).start().await;
    (stub, proxy)
}

/// It serves on: a good question is still allowed.
async fn serves(proxy: &Running) {
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    let answer = proxy.post(asked.to_string().as_bytes(), &[("Authorization", TOKEN)]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"result":true}"#));
}

#[tokio::test]
async fn an_allow_is_exactly_these_bytes() {
    let (stub, proxy) = behind_token().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    let answer = proxy.post(asked.as_bytes(), &[("Authorization", TOKEN)]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"result":true}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-length"), Some("15"));
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.reason(), "allowed");
    let record = proxy.record_of(&answer);
    assert_eq!(record["data"]["request"]["client"], "minio");
    assert_eq!(record["data"]["authorizers"][0]["decision"], "allow");
    assert_eq!(stub.questions()[0].body, asked.as_bytes(), "the authorizer is sent exactly what MinIO sent");
}

#[tokio::test]
async fn what_is_no_question_is_refused_by_name() {
    let (stub, proxy) = behind_token().await;
    let good = ("Authorization", TOKEN);
    let body = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    let body = body.as_bytes();
    let at = proxy.address();
    let rows = [
        (http::post(at, "/", &[], body).await, 401, "unauthorized"),
        (http::post(at, "/", &[("Authorization", "Bearer s3creT")], body).await, 401, "unauthorized"),
        (http::post(at, "/", &[("Authorization", "Bearer s3cret")], b"").await, 200, ""),
        (http::post(at, "/", &[good, good], body).await, 401, "unauthorized"),
        (http::post(at, "/", &[], b"").await, 401, "unauthorized"),
        (http::post(at, "/v1", &[good], body).await, 404, "unknown_path"),
        (http::post(at, "//", &[good], body).await, 404, "unknown_path"),
        (http::get(at, "/").await, 405, "method_not_allowed"),
        (http::post(at, "/", &[good, ("Content-Encoding", "gzip")], body).await, 415, "unsupported_encoding"),
        (http::post(at, "/?metrics=true", &[good], b"").await, 200, ""),
    ];
    for (row, (answer, status, reason)) in rows.iter().enumerate() {
        assert_eq!(answer.status, *status, "row {row}: {answer:?}");
        let expected = if reason.is_empty() {
            r#"{"result":false}"#.to_owned()
        } else {
            format!(r#"{{"result":false,"error":"{reason}"}}"#)
        };
        assert_eq!(answer.body, expected, "row {row}");
        assert_eq!(answer.header("location"), None);
        assert_eq!(answer.header("x-countersign-decision"), None, "row {row} has no record of its own");
    }
    assert_eq!(stub.asked(), 0, "nothing of this reaches the authorizer");
    serves(&proxy).await;
}

#[tokio::test]
async fn the_start_up_probe_is_counted_and_never_sent_on() {
    let (stub, proxy) = behind_token().await;
    let answer = proxy.post(b"", &[("Authorization", TOKEN)]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"result":false}"#));
    assert_eq!(proxy.metric(r#"countersign_probes_total{client="minio"}"#).await, 1.0);
    assert_eq!(stub.asked(), 0);
    assert!(proxy.decisions().is_empty(), "a probe is no decision");
}

#[tokio::test]
async fn a_question_that_cannot_be_read_has_a_record() {
    let (stub, proxy) = behind_token().await;
    for (body, reason) in [
        ("{", "malformed_request"),
        ("[]", "malformed_request"),
        (r#"{"input":{"account":"a","account":"b"}}"#, "ambiguous_request"),
        ("{\"input\":{\"account\":\"a\",\"action\":\"s3:GetObject\",\"Account\":\"b\"}}", "ambiguous_request"),
    ] {
        let answer = proxy.post(body.as_bytes(), &[("Authorization", TOKEN)]).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.body, format!(r#"{{"result":false,"error":"{reason}"}}"#));
        let record = proxy.record_of(&answer);
        assert_eq!(record["data"]["reason"], reason);
        assert!(record["data"]["action"].is_null());
        assert!(record["data"]["actor"]["account"].is_null());
    }
    assert_eq!(stub.asked(), 0);
    serves(&proxy).await;
}

#[tokio::test]
async fn a_body_of_100_mib_is_refused_with_a_clear_answer() {
    let (_stub, proxy) = behind_token().await;
    let body = vec![b' '; 100 * 1024 * 1024];
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let request = http::request("POST", "/", &[("Authorization", TOKEN)], &body);
    // The answer comes early, and must not be lost to a reset while the rest is still being sent.
    let (mut reader, mut writer) = stream.split();
    let send = async { writer.write_all(&request).await };
    let (sent, answer) = tokio::join!(send, http::read_from(&mut reader));
    sent.expect("the sender is not cut off before it is done");
    let answer = answer.expect("a clear answer");
    assert_eq!((answer.status, answer.body.as_str()), (413, r#"{"result":false,"error":"request_too_large"}"#));
    serves(&proxy).await;
}

#[tokio::test]
async fn an_endless_chunked_body_is_cut_off() {
    let (_stub, proxy) = behind_token().await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: c\r\nAuthorization: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..17 {
        stream.write_all(&chunk).await.unwrap();
    }
    let answer = http::read(&mut stream).await.expect("a clear answer");
    assert_eq!(answer.status, 413);
    serves(&proxy).await;
}

#[tokio::test]
async fn half_a_body_decides_nothing() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).listen("drain = \"0s\"\nread_timeout = \"1s\"").start().await;
    let body = question("alice", "s3:GetObject", "reports", "a.txt").to_string();
    let request = http::request("POST", "/", &[], body.as_bytes());
    // Gone after half of it, and silent after half of it.
    let mut gone = TcpStream::connect(proxy.address()).await.unwrap();
    gone.write_all(&request[..request.len() - 40]).await.unwrap();
    drop(gone);
    let mut silent = TcpStream::connect(proxy.address()).await.unwrap();
    silent.write_all(&request[..request.len() - 40]).await.unwrap();
    assert!(http::read(&mut silent).await.is_none(), "closed at the deadline, without an answer");
    let incomplete = r#"countersign_front_requests_total{client="local",outcome="incomplete"}"#;
    eventually("both are counted", async || (proxy.metric(incomplete).await == 2.0).then_some(())).await;
    assert_eq!(stub.asked(), 0);
    assert!(proxy.decisions().is_empty());
    assert!(proxy.ask(&question("alice", "s3:GetObject", "reports", "a.txt")).await.allowed());
}

#[tokio::test]
async fn garbage_gets_an_answer_and_the_connection_ends() {
    let (_stub, proxy) = behind_token().await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS where none is\r\n\r\n").await.unwrap();
    let answer = http::read(&mut stream).await.expect("an answer");
    assert_eq!((answer.status, answer.allowed()), (400, false));
    serves(&proxy).await;
}

#[tokio::test]
async fn one_connection_carries_many_questions() {
    let (stub, proxy) = behind_token().await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    for number in 0..50 {
        let asked = question("alice", "s3:GetObject", "reports", &format!("{number}"));
        let request = http::request("POST", "/", &[("Authorization", TOKEN)], asked.to_string().as_bytes());
        stream.write_all(&request).await.unwrap();
        let answer = http::read(&mut stream).await.expect("the connection is kept");
        assert!(answer.allowed());
        assert_ne!(answer.header("connection"), Some("close"));
    }
    assert_eq!(stub.connections().opened, 1, "and so is the one to the authorizer");
}

#[tokio::test]
async fn sigterm_drains_and_closes_the_chain() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).listen("drain = \"8s\"").start().await;
    let asked = question("alice", "s3:GetObject", "reports", "a.txt");
    assert_eq!(http::get(proxy.admin(), "/readyz").await.status, 200);
    let mut kept = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.signal("TERM");
    eventually("it says that it is not ready", async || {
        (http::get(proxy.admin(), "/readyz").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(http::get(proxy.admin(), "/livez").await.status, 200);
    // Still answering, on old connections and new ones, and saying good-bye.
    kept.write_all(&http::request("POST", "/", &[], asked.to_string().as_bytes())).await.unwrap();
    for answer in [http::read(&mut kept).await.expect("an answer"), proxy.ask(&asked).await] {
        assert!(answer.allowed());
        assert_eq!(answer.header("connection"), Some("close"));
    }
    proxy.ended().await;
    let records = proxy.records();
    assert_eq!(records.last().unwrap()["data"]["event"], "chain_closed");
    assert_eq!(records::decisions(records).len(), 2);
}

#[tokio::test]
async fn wrong_tokens_become_one_record() {
    let (_stub, mut proxy) = behind_token().await;
    for _ in 0..5 {
        assert_eq!(proxy.post(b"{}", &[("Authorization", "wrong")]).await.status, 401);
    }
    proxy.stop().await;
    let events = records::events(&proxy.records(), "unauthorized_attempts");
    let count: u64 = events.iter().map(|event| event["data"]["count"].as_u64().unwrap()).sum();
    assert_eq!(count, 5);
    assert_eq!(events[0]["data"]["peers"][0], "127.0.0.1");
}

/// MinIO never speaks HTTP/2 without TLS. A listener that waits for its preface would hold a silent client for ever, and
/// one that sends less than the preface.
#[tokio::test]
async fn http2_without_tls_is_not_spoken() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).listen("drain = \"0s\"\nread_timeout = \"1s\"").start().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for sent in [&preface[..], &preface[..10], b"GET / HTTP/1.1"] {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut said = Vec::new();
        // An end, or a reset where we did not read all of it.
        let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "held for ever after {:?}", String::from_utf8_lossy(sent));
        assert!(said.is_empty() || said.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&said));
    }
    serves(&proxy).await;
    assert_eq!(stub.asked(), 1);
}

/// A limit on each read would never be over: it is one for the whole question, its head included.
#[tokio::test]
async fn a_head_that_drips_in_is_not_waited_for() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let proxy = Countersign::asking(&stub.url()).listen("drain = \"0s\"\nread_timeout = \"1s\"").start().await;
    let (mut read, mut write) = TcpStream::connect(proxy.address()).await.unwrap().into_split();
    let drip = tokio::spawn(async move {
        for byte in b"POST / HTTP/1.1\r\nHost: x\r\n".iter().chain(b"X-Drip: y\r\n".iter().cycle()) {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut said = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), read.read_to_end(&mut said)).await;
    drip.abort();
    assert!(ended.is_ok(), "the head drips in for ever");
    assert_eq!(stub.asked(), 0);
}
