//! A client that sends exactly the bytes it is given, and reads one answer by its Content-Length.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An HTTP answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The record's id.
    pub fn decision(&self) -> &str {
        self.header("x-countersign-decision").expect("an answer with a record")
    }

    pub fn reason(&self) -> &str {
        self.header("x-countersign-reason").expect("an answer with a reason")
    }

    /// Its record did not become durable in time, which a disk that stalls does to any answer.
    pub fn is_late(&self) -> bool {
        self.status == 503 && self.body.contains("\"audit_timeout\"")
    }

    /// What MinIO would make of it.
    pub fn allowed(&self) -> bool {
        serde_json::from_str::<serde_json::Value>(&self.body).unwrap()["result"] == true
    }
}

pub async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request("POST", path, headers, body)).await.unwrap();
    read(&mut stream).await.expect("an answer")
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    try_get(address, path).await.expect("an answer")
}

/// `None` where nobody answers.
pub async fn try_get(address: SocketAddr, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(&request("GET", path, &[], b"")).await.ok()?;
    read(&mut stream).await
}

/// The bytes of a request with the headers that MinIO sends, and a Content-Length.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: countersign\r\nUser-Agent: Go-http-client/1.1\r\n");
    head.push_str(&format!("Content-Length: {}\r\nContent-Type: application/json\r\n", body.len()));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// One answer, or `None` where the connection ended before it was whole.
pub async fn read(stream: &mut TcpStream) -> Option<Answer> {
    read_from(stream).await
}

/// The same from any half of a connection.
pub async fn read_from(stream: &mut (impl AsyncRead + Unpin)) -> Option<Answer> {
    let mut bytes = Vec::new();
    loop {
        if let Some((answer, _)) = whole(&bytes) {
            return Some(answer);
        }
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_buf(&mut bytes)).await;
        match read.expect("an answer or an end within a minute") {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Every whole answer, one behind the other, and what is behind them. An invitation to go on is none.
pub fn several(mut bytes: &[u8]) -> (Vec<Answer>, &[u8]) {
    let mut answers = Vec::new();
    bytes = bytes.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(bytes);
    while let Some((answer, length)) = whole(bytes) {
        answers.push(answer);
        bytes = &bytes[length..];
    }
    (answers, bytes)
}

/// The first answer, and how many bytes it takes.
fn whole(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length: usize = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.parse().ok()?;
    let body = bytes.get(end..end + length)?;
    Some((Answer { status, headers, body: String::from_utf8_lossy(body).into_owned() }, end + length))
}
