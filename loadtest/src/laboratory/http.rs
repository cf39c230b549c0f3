//! One HTTP request to a part: enough for readiness, queries and tests, nothing for load.
//!
//! It speaks HTTP/1.0, so that an answer is never chunked: it ends where its length says, or with its connection.

use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// For the whole exchange.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of an answer.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// A part's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// # Errors
/// When the URL is not `http://host:port/…`, nobody answers in time, or the answer is not HTTP.
pub async fn get(url: &str) -> std::io::Result<Answer> {
    ask("GET", url, &[], b"").await
}

/// # Errors
/// As for [`get`].
pub async fn post_json(url: &str, body: &str) -> std::io::Result<Answer> {
    ask("POST", url, &[("Content-Type", "application/json")], body.as_bytes()).await
}

/// # Errors
/// As for [`get`].
pub async fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
    tokio::time::timeout(DEADLINE, exchange(method, url, headers, body)).await?
}

async fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
    let rest = url.strip_prefix("http://").ok_or_else(|| bad(format!("`{url}` is not an http URL")))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n");
    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut stream = stream.take(MAX_ANSWER);
    let mut bytes = Vec::new();
    loop {
        let ended = stream.read_buf(&mut bytes).await? == 0;
        match parse(&bytes, ended)? {
            Some(answer) => return Ok(answer),
            None if ended => return Err(bad("the connection ended before the answer did".to_owned())),
            None => {}
        }
    }
}

/// The answer, if it is whole: without a length it is only when the connection has `ended`.
fn parse(bytes: &[u8], ended: bool) -> std::io::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = answer.parse(bytes).map_err(|why| bad(why.to_string()))? else {
        return Ok(None);
    };
    let status = answer.code.unwrap_or_default();
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    let rest = bytes.get(end..).unwrap_or_default();
    let body = match length {
        Some(length) => rest.get(..length),
        None => ended.then_some(rest),
    };
    Ok(body.map(|body| Answer { status, body: String::from_utf8_lossy(body).into_owned() }))
}

fn bad(why: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why)
}

/// A value for a URL's query, encoded.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_ends_with_its_length_or_with_its_connection() {
        let sized = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(parse(sized, false).unwrap().map(|answer| answer.body).as_deref(), Some("ok"));
        assert!(parse(&sized[..sized.len() - 1], true).unwrap().is_none(), "cut short");
        let open = b"HTTP/1.0 404 Not Found\r\n\r\nno";
        assert!(parse(open, false).unwrap().is_none());
        assert_eq!(parse(open, true).unwrap().map(|answer| answer.status), Some(404));
        assert!(parse(b"nonsense\r\n\r\n", true).is_err());
    }
}
