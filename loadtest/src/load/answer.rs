//! Reads an answer off a buffer: status, the end of the body, and whether it says allow or deny.
//!
//! It understands what an authorizer or Countersign may send on a kept connection (a length or chunks) and calls the
//! rest malformed. It is lenient about what an allow looks like, for it measures any server: whether an answer is the
//! exact bytes promised is for the proxy's own tests.

use serde::{Deserialize, Serialize};

/// Of one answer, head and body, in bytes.
pub(super) const MAX_ANSWER: usize = 1024 * 1024;
const MAX_HEADERS: usize = 64;

/// What a body says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// `{"result":true}` or `{"result":{"allow":true}}`.
    Allow,
    /// The same with false.
    Deny,
    /// Anything else.
    Other,
}

/// One answer, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) verdict: Verdict,
    /// `X-Countersign-Decision`, if it was asked for.
    pub(super) decision: Option<String>,
    /// `X-Countersign-Reason`, if it was asked for.
    pub(super) reason: Option<String>,
    /// The server ends the connection after this answer.
    pub(super) close: bool,
    /// Of head and body; over HTTP/2 of the body.
    pub(super) bytes: usize,
}

pub(super) const DECISION: &str = "x-countersign-decision";
pub(super) const REASON: &str = "x-countersign-reason";

/// Headers that are read, which costs a little.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) decision: bool,
    pub(super) reason: bool,
    /// Answers have no body, whatever their length says: they are to HEAD.
    pub(super) bodiless: bool,
}

/// The bytes are no answer that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Where the body is.
enum Framing {
    Length(usize),
    Chunked,
}

/// The first answer in `buffer` if all of it is there. Informational answers before it are skipped; bytes after it are
/// malformed, since only one question was asked.
pub(super) fn read(mut buffer: &[u8], wanted: Wanted) -> Result<Option<Answer>, Malformed> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(parsed) = response.parse(buffer) else { return Err(Malformed) };
        let httparse::Status::Complete(head) = parsed else { return Ok(None) };
        let status = response.code.ok_or(Malformed)?;
        let rest = buffer.get(head..).unwrap_or_default();
        match status {
            101 => return Err(Malformed),
            100..=199 => {
                buffer = rest;
                continue;
            }
            _ => {}
        }
        let framing = if wanted.bodiless || status == 204 { Framing::Length(0) } else { framing(response.headers)? };
        let Some(body) = body(&framing, rest)? else { return Ok(None) };
        let text = |name: &str| header(response.headers, name).map(|value| String::from_utf8_lossy(value).into_owned());
        return Ok(Some(Answer {
            status,
            verdict: verdict(&body),
            decision: if wanted.decision { text(DECISION) } else { None },
            reason: if wanted.reason { text(REASON) } else { None },
            close: response.version != Some(1)
                || header(response.headers, "connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close")),
            bytes: buffer.len(),
        }));
    }
}

fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, Malformed> {
    if let Some(encoding) = header(headers, "transfer-encoding") {
        return if encoding.eq_ignore_ascii_case(b"chunked") { Ok(Framing::Chunked) } else { Err(Malformed) };
    }
    let length = header(headers, "content-length").and_then(|value| std::str::from_utf8(value).ok());
    let length: usize = length.and_then(|value| value.trim().parse().ok()).ok_or(Malformed)?;
    if length > MAX_ANSWER { Err(Malformed) } else { Ok(Framing::Length(length)) }
}

/// The body if all of it is there.
fn body<'a>(framing: &Framing, rest: &'a [u8]) -> Result<Option<std::borrow::Cow<'a, [u8]>>, Malformed> {
    match framing {
        Framing::Length(length) if rest.len() > *length => Err(Malformed),
        Framing::Length(length) => Ok(rest.get(..*length).map(Into::into)),
        Framing::Chunked => Ok(unchunk(rest)?.map(Into::into)),
    }
}

/// Chunks without trailers.
fn unchunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((start, length)) = httparse::parse_chunk_size(rest).map_err(|_| Malformed)?
        else {
            return Ok(None);
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_ANSWER).ok_or(Malformed)?;
        let (Some(chunk), Some(end)) = (rest.get(start..start + length), rest.get(start + length..start + length + 2))
        else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(Malformed);
        }
        rest = rest.get(start + length + 2..).unwrap_or_default();
        if length == 0 {
            return if rest.is_empty() { Ok(Some(body)) } else { Err(Malformed) };
        }
        body.extend_from_slice(chunk);
    }
}

pub(super) fn verdict(body: &[u8]) -> Verdict {
    // The two that are nearly always there cost no JSON parser.
    match body {
        br#"{"result":true}"# => return Verdict::Allow,
        br#"{"result":false}"# => return Verdict::Deny,
        _ => {}
    }
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return Verdict::Other };
    let result = body.get("result").map(|result| result.get("allow").unwrap_or(result));
    match result.and_then(serde_json::Value::as_bool) {
        Some(true) => Verdict::Allow,
        Some(false) => Verdict::Deny,
        None => Verdict::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(text: &str) -> Result<Option<Verdict>, Malformed> {
        read(text.as_bytes(), Wanted::default()).map(|answer| answer.map(|answer| answer.verdict))
    }

    #[test]
    fn an_answer_is_read_only_when_it_is_whole() {
        let whole = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Countersign-Decision: 7\r\n\
                     x-countersign-reason: allowed\r\nContent-Length: 15\r\n\r\n{\"result\":true}";
        for length in 0..whole.len() {
            assert_eq!(verdict_of(&whole[..length]), Ok(None), "{length}");
        }
        assert_eq!(verdict_of(whole), Ok(Some(Verdict::Allow)));
        let answer = read(whole.as_bytes(), Wanted { decision: true, reason: true, bodiless: false }).unwrap().unwrap();
        assert_eq!((answer.status, answer.close), (200, false));
        assert_eq!((answer.decision.as_deref(), answer.reason.as_deref()), (Some("7"), Some("allowed")));
        assert_eq!(verdict_of(&format!("{whole} ")), Err(Malformed));
    }

    #[test]
    fn chunks_are_read_only_when_they_are_whole() {
        let whole =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"result\r\n8\r\n\":false}\r\n0\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(verdict_of(&whole[..length]), Ok(None), "{length}");
        }
        assert_eq!(verdict_of(whole), Ok(Some(Verdict::Deny)));
        assert_eq!(verdict_of(&whole.replace("8\r\n{", "7\r\n{")), Err(Malformed));
    }

    #[test]
    fn an_answer_to_head_ends_with_its_head() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(verdict_of(head), Ok(None));
        let answer = read(head.as_bytes(), Wanted { bodiless: true, ..Wanted::default() }).unwrap().unwrap();
        assert_eq!((answer.status, answer.bytes), (200, head.len()));
        assert_eq!(verdict_of("HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some(Verdict::Other)));
    }

    #[test]
    fn bodies_say_what_they_say() {
        for (body, expected) in [
            (r#"{"result":true}"#, Verdict::Allow),
            (r#"{"decision_id":"x","result":true}"#, Verdict::Allow),
            (r#"{"result":{"allow":true,"x":1}}"#, Verdict::Allow),
            ("{\"result\":false}\n", Verdict::Deny),
            (r#"{"result":{"allow":false}}"#, Verdict::Deny),
            ("{}", Verdict::Other),
            (r#"{"result":1}"#, Verdict::Other),
            ("nonsense", Verdict::Other),
        ] {
            assert_eq!(verdict(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn closing_is_noticed_and_the_rest_is_malformed() {
        let close = |text: &str| read(text.as_bytes(), Wanted::default()).unwrap().unwrap().close;
        assert!(close("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"));
        assert!(close("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
        for bad in [
            "no http at all\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 101 X\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert_eq!(verdict_of(bad), Err(Malformed), "{bad}");
        }
    }
}
