//! HTTP/2 as bytes: frames that no client library would send, over TLS, and what comes back for them. Beside it a good
//! client, which is a library. Knows no attack; those are in `streams`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use openssl::ssl::SslVersion;
use pingora::tls::tokio_ssl::SslStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use super::stage::asked;
use crate::secure::House;
use crate::support::Running;
use crate::support::http::Answer;

// RFC 9113, section 6.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// For a connection or a stream to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// Names and values, in the order of sending.
pub type Fields<'a> = Vec<(&'a str, &'a str)>;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// One setting: RFC 9113, section 6.5.1.
pub fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// What begins a connection.
pub fn beginning() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The head of a good question.
pub fn good() -> Fields<'static> {
    let pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];
    pseudo.into_iter().chain([("authorization", "Bearer s3cret"), ("content-type", "application/json")]).collect()
}

/// Literal fields that are not indexed, without Huffman: RFC 7541, section 6.2.2.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat()).collect()
}

pub fn text(text: &str) -> Vec<u8> {
    [number(text.len(), 7), text.as_bytes().to_vec()].concat()
}

/// With a prefix of so many bits, the others zero: RFC 7541, section 5.1.
fn number(value: usize, bits: u32) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![u8::try_from(value).unwrap()];
    }
    let (mut bytes, mut rest) = (vec![u8::try_from(most).unwrap()], value - most);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// The head of a question whose body follows.
pub fn head(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(fields))
}

/// A whole question.
pub fn whole(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    [head(stream, fields), frame(DATA, END_STREAM, stream, asked().as_bytes())].concat()
}

/// What came back.
#[derive(Debug, Default)]
pub struct Heard {
    pub bodies: BTreeMap<u32, Vec<u8>>,
    /// Streams that ended, by an answer or a reset.
    pub ended: BTreeMap<u32, Ended>,
    /// The codes of GOAWAY.
    pub told_to_go: Vec<u32>,
    pub pongs: usize,
    pub closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Answered,
    Reset,
}

/// A connection on which anything may be sent.
pub struct Raw {
    reader: ReadHalf<SslStream<TcpStream>>,
    writer: WriteHalf<SslStream<TcpStream>>,
    bytes: Vec<u8>,
    pub heard: Heard,
}

impl Raw {
    /// Nothing is sent yet; HTTP/2 is agreed on.
    pub async fn open(house: &House, proxy: &Running) -> Self {
        let stream = house.connect(proxy, SslVersion::TLS1_3).await.unwrap();
        assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
        let (reader, writer) = tokio::io::split(stream);
        Self { reader, writer, bytes: Vec::new(), heard: Heard::default() }
    }

    /// Sends, and listens meanwhile, until it is so or the connection has ended. False where neither comes.
    pub async fn exchange(&mut self, sent: &[u8], so: impl Fn(&Heard) -> bool) -> bool {
        let Self { reader, writer, bytes, heard } = self;
        let sending = async {
            // It may be closed before all of it is sent.
            if writer.write_all(sent).await.is_ok() {
                writer.flush().await.ok();
            }
        };
        let hearing = async {
            while !heard.closed && !so(heard) {
                match reader.read_buf(bytes).await {
                    Ok(0) | Err(_) => heard.closed = true,
                    Ok(_) => heard.take(bytes),
                }
            }
        };
        tokio::time::timeout(PATIENCE, async { tokio::join!(sending, hearing) }).await.is_ok()
    }

    /// Whether the process still speaks on it.
    pub async fn goes_on(&mut self) -> bool {
        let before = self.heard.pongs;
        let answered = self.exchange(&frame(PING, 0, 0, &[1; 8]), |heard| heard.pongs > before).await;
        answered && !self.heard.closed
    }

    /// Sends `at_once`, then the drip again and again, until the process closes. False where it does not.
    pub async fn hold(self, held: &Held) -> bool {
        let Self { mut reader, mut writer, .. } = self;
        let sending = async {
            let mut open = writer.write_all(&held.at_once).await.is_ok() && writer.flush().await.is_ok();
            while let Some(pause) = held.pause.filter(|_| open) {
                tokio::time::sleep(pause).await;
                open = writer.write_all(&held.drip).await.is_ok() && writer.flush().await.is_ok();
            }
            if open {
                std::future::pending::<()>().await;
            }
        };
        let hearing = async {
            let mut thrown_away = vec![0; 64 * 1024];
            if !held.listens {
                std::future::pending::<()>().await;
            }
            while reader.read(&mut thrown_away).await.is_ok_and(|read| read > 0) {}
        };
        let either = async {
            tokio::select! { () = sending => {} () = hearing => {} }
        };
        tokio::time::timeout(PATIENCE, either).await.is_ok()
    }
}

/// A connection that is kept busy with nothing.
pub struct Held {
    pub what: &'static str,
    pub at_once: Vec<u8>,
    pub drip: Vec<u8>,
    /// Between two drips; without one there is silence.
    pub pause: Option<Duration>,
    pub listens: bool,
}

impl Heard {
    /// Every whole frame.
    fn take(&mut self, bytes: &mut Vec<u8>) {
        while let Some(&[a, b, c, kind, flags, s0, s1, s2, s3]) = bytes.first_chunk::<9>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some(payload) = bytes.get(9..9 + length).map(<[u8]>::to_vec) else { return };
            bytes.drain(..9 + length);
            self.note(kind, flags, u32::from_be_bytes([s0, s1, s2, s3]), &payload);
        }
    }

    fn note(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        match kind {
            DATA => self.bodies.entry(stream).or_default().extend_from_slice(payload),
            RST_STREAM => {
                // A reset behind an answer takes nothing back.
                self.ended.entry(stream).or_insert(Ended::Reset);
            }
            PING => self.pongs += usize::from(flags & ACK != 0),
            GOAWAY => self.told_to_go.push(u32::from_be_bytes(*payload[4..].first_chunk().unwrap())),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            self.ended.insert(stream, Ended::Answered);
        }
    }

    pub fn body(&self, stream: u32) -> String {
        String::from_utf8_lossy(self.bodies.get(&stream).map_or(&[][..], Vec::as_slice)).into_owned()
    }
}

/// A client that keeps to the rules.
pub struct Good {
    sender: SendRequest<Bytes>,
    token: String,
}

impl Good {
    pub async fn open(house: &House, proxy: &Running) -> Self {
        Self::with(house, proxy, "Bearer s3cret").await
    }

    pub async fn with(house: &House, proxy: &Running, token: &str) -> Self {
        let stream = house.connect(proxy, SslVersion::TLS1_3).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { connection.await.ok() });
        Self { sender, token: token.to_owned() }
    }

    /// The good question; `None` where the connection has ended.
    pub async fn ask(&self) -> Option<Answer> {
        let request = Request::post("https://localhost/").header("authorization", &self.token);
        let mut sender = self.sender.clone().ready().await.ok()?;
        let (answer, mut body) = sender.send_request(request.body(()).unwrap(), false).ok()?;
        // Who is refused for the head alone may be told before this, and that no more is wanted. RFC 9113, section 8.1.
        body.send_data(asked().into(), true).ok();
        let (head, mut stream) = answer.await.ok()?.into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            match data {
                Ok(data) => body.extend_from_slice(&data),
                Err(error) if error.reason() == Some(h2::Reason::NO_ERROR) => break,
                Err(_) => return None,
            }
        }
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Some(Answer { status: head.status.as_u16(), headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
