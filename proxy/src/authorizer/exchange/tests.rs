//! Answers byte for byte, over a pipe in memory: what is read, what is refused, what may be used again.

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;

const QUESTION: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
const ALLOW: &str = r#"{"result":true}"#;

fn plain(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
}

fn with_length(body: &str) -> String {
    plain(&format!("Content-Length: {}\r\n", body.len()), body)
}

async fn server(mut stream: DuplexStream, answer: Vec<u8>, piece: usize) -> DuplexStream {
    let mut question = vec![0; QUESTION.len()];
    stream.read_exact(&mut question).await.unwrap();
    assert_eq!(question, QUESTION);
    for piece in answer.chunks(piece) {
        // The client may have left in disgust.
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    stream
}

/// The answer arrives in pieces of `piece` bytes; the connection stays open.
async fn open(answer: &[u8], piece: usize) -> Result<Received, Broken> {
    let (mut ours, theirs) = duplex(piece.max(64));
    let server = tokio::spawn(server(theirs, answer.to_vec(), piece));
    let received = exchange(&mut ours, QUESTION, Reading::Deciding).await;
    drop(ours);
    server.await.unwrap();
    received
}

/// The connection closes after the answer.
async fn closed(answer: &[u8]) -> Result<Received, Broken> {
    let (mut ours, theirs) = duplex(1 << 20);
    let answer = answer.to_vec();
    let server = tokio::spawn(async move { drop(server(theirs, answer, 1 << 20).await) });
    let received = exchange(&mut ours, QUESTION, Reading::Deciding).await;
    server.await.unwrap();
    received
}

fn reason(received: Result<Received, Broken>) -> Option<Reason> {
    received.err().map(|broken| broken.reason)
}

#[tokio::test]
async fn whole_answers_are_read_in_any_pieces() {
    let chunked = plain("Transfer-Encoding: chunked\r\n", "5\r\n{\"res\r\nA\r\nult\":true}\r\n0\r\n\r\n");
    let informed =
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n{}", with_length(ALLOW));
    for answer in [with_length(ALLOW), chunked, informed] {
        for piece in [1, 7, 1 << 16] {
            let received = open(answer.as_bytes(), piece).await.unwrap();
            assert_eq!(received.body, ALLOW, "{answer:?} by {piece}");
            assert!(received.reusable, "{answer:?} by {piece}");
        }
    }
}

#[tokio::test]
async fn only_a_clean_connection_is_used_again() {
    let old = format!("HTTP/1.0 200 OK\r\nContent-Length: 15\r\n\r\n{ALLOW}");
    let closing = plain("Content-Length: 15\r\nConnection: x, Close\r\n", ALLOW);
    let surplus = with_length(ALLOW) + "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"result\":true}";
    for answer in [old, closing, surplus] {
        let received = open(answer.as_bytes(), 1 << 16).await.unwrap();
        assert_eq!(received.body, ALLOW);
        assert!(!received.reusable, "{answer:?}");
    }
}

#[tokio::test]
async fn other_statuses_are_told_without_waiting_for_their_bodies() {
    for (answer, status, reusable) in [
        ("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", 500, true),
        ("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nn", 500, false),
        ("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nnoo", 500, false),
        ("HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n", 503, false),
        ("HTTP/1.1 204 None\r\n\r\n", 204, true),
        ("HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", 304, true),
        ("HTTP/1.1 401 No\r\n\r\n", 401, false),
        ("HTTP/1.1 101 Switch\r\nContent-Length: 0\r\nUpgrade: x\r\n\r\n", 101, false),
    ] {
        let received = open(answer.as_bytes(), 1 << 16).await.unwrap();
        assert_eq!((received.head.status, received.reusable), (status, reusable), "{answer:?}");
        assert!(received.body.is_empty());
    }
}

#[tokio::test]
async fn whoever_forges_framing_is_refused() {
    let six = "HTTP/1.1 100 Continue\r\n\r\n".repeat(6) + &with_length(ALLOW);
    let chunked = |body: &str| plain("Transfer-Encoding: chunked\r\n", body);
    for answer in [
        "garbage".to_owned() + &"\r\n".repeat(3),
        ALLOW.to_owned(),
        "HTTP/0.9 200 OK\r\n\r\n".to_owned() + ALLOW,
        with_length(ALLOW).replace("HTTP/1.1", "HTTP/3.7"),
        with_length(ALLOW).replace("200", "-20"),
        with_length(ALLOW).replace("200", "999"),
        plain("Content-Length: 15\r\nContent-Length: 15\r\n", ALLOW),
        plain("Content-Length: 15\r\nContent-Length: 5\r\n", ALLOW),
        plain("Content-Length: 15, 15\r\n", ALLOW),
        plain("Content-Length: +15\r\n", ALLOW),
        plain("Content-Length: 0x0f\r\n", ALLOW),
        plain("Content-Length:\r\n", ALLOW),
        plain("Content-Length: 18446744073709551631\r\n", ALLOW),
        plain("Content-Length: 15\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        plain("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        plain("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
        plain("Content-Length : 15\r\n", ALLOW),
        plain("X: a\r\n b\r\nContent-Length: 15\r\n", ALLOW),
        plain(&"X: y\r\n".repeat(65), ALLOW),
        chunked("g\r\n"),
        chunked("-1\r\n"),
        chunked("\r\n"),
        chunked("f;x=y\r\n{\"result\":true}\r\n0\r\n\r\n"),
        chunked("f\n{\"result\":true}\n0\n\n"),
        chunked("f\r\n{\"result\":true}xx0\r\n\r\n"),
        chunked("0\r\nresult: true\r\n\r\n"),
        chunked("00000000f\r\n{\"result\":true}\r\n0\r\n\r\n"),
        six,
    ] {
        assert_eq!(reason(open(answer.as_bytes(), 1 << 16).await), Some(Reason::MalformedAnswer), "{answer:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    for head in
        [format!("HTTP/1.1 200 {}", "x".repeat(1 << 20)), format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1 << 20))]
    {
        assert_eq!(reason(open(head.as_bytes(), 1 << 12).await), Some(Reason::MalformedAnswer));
    }
}

#[tokio::test]
async fn bodies_beyond_64_kib_are_not_read() {
    let huge = plain("Content-Length: 65537\r\n", &" ".repeat(65_537));
    let boast = plain("Content-Length: 18446744073709551615\r\n", "");
    let endless =
        plain("Transfer-Encoding: chunked\r\n", &("1000\r\n".to_owned() + &" ".repeat(0x1000) + "\r\n").repeat(64));
    let chunk = plain("Transfer-Encoding: chunked\r\n", "ffffffff\r\n");
    for answer in [huge, boast, endless, chunk] {
        assert_eq!(reason(open(answer.as_bytes(), 1 << 12).await), Some(Reason::AnswerTooLarge));
    }
    let most = with_length(&" ".repeat(65_536));
    assert_eq!(open(most.as_bytes(), 1 << 12).await.unwrap().body.len(), 65_536);
}

#[tokio::test]
async fn an_end_that_is_only_the_end_of_the_connection_is_a_loss() {
    let whole = plain("", ALLOW);
    let old = whole.replace("HTTP/1.1", "HTTP/1.0");
    let short = plain("Content-Length: 16\r\n", ALLOW);
    let unended = plain("Transfer-Encoding: chunked\r\n", "f\r\n{\"result\":true}\r\n");
    let half_ended = plain("Transfer-Encoding: chunked\r\n", "f\r\n{\"result\":true}\r\n0\r\n");
    for answer in [whole, old, short, unended, half_ended, "HTTP/1.1 200 OK\r\nCont".to_owned()] {
        let broken = closed(answer.as_bytes()).await.unwrap_err();
        assert_eq!((broken.reason, broken.silent), (Reason::ConnectionLost, false), "{answer:?}");
    }
    let broken = closed(b"").await.unwrap_err();
    assert_eq!(broken, Broken { reason: Reason::ConnectionLost, status: None, silent: true });
}

#[tokio::test]
async fn other_codings_are_refused() {
    let body = plain("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n");
    assert_eq!(reason(open(body.as_bytes(), 1 << 16).await), Some(Reason::ContentEncoding));
    let named = plain("Content-Length: 15\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\n", ALLOW);
    let received = open(named.as_bytes(), 1 << 16).await.unwrap();
    assert_eq!(received.head.content_encoding.as_deref(), Some("br"), "for `wire` to judge");
}

#[tokio::test]
async fn an_answer_to_a_question_that_is_not_written_yet_is_none() {
    let (mut ours, mut theirs) = duplex(64);
    let early = tokio::spawn(async move {
        theirs.write_all(&with_length(ALLOW).as_bytes()[..20]).await.unwrap();
        theirs
    });
    let theirs = early.await.unwrap();
    let broken = exchange(&mut ours, &[b'x'; 1000], Reading::Deciding).await.unwrap_err();
    assert_eq!(broken, Broken { reason: Reason::MalformedAnswer, status: None, silent: false });
    drop(theirs);
    let (mut ours, theirs) = duplex(64);
    drop(theirs);
    let broken = exchange(&mut ours, &[b'x'; 1000], Reading::Deciding).await.unwrap_err();
    assert_eq!(broken, Broken { reason: Reason::ConnectionLost, status: None, silent: true });
}
