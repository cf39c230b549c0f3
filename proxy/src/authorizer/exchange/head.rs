//! Status line and header fields of an answer, reduced to what decides. Called by `authorizer::exchange`.

use crate::authorizer::freshness::Freshness;
use crate::policy::verdict::Reason;

/// Header fields in one head. More is not an answer.
const MAX_FIELDS: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub framing: Framing,
    /// HTTP/1.1 without `Connection: close`.
    pub keep_alive: bool,
    /// The first coding that is not `identity`.
    pub content_encoding: Option<String>,
    pub location: bool,
    pub freshness: Freshness,
}

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    /// With the connection, whole or not: nobody can tell.
    UntilClose,
}

/// The head and its length in bytes; `None` where more must be read first.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Reason> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Reason::MalformedAnswer),
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(Reason::MalformedAnswer);
    };
    if !(100..=599).contains(&status) {
        return Err(Reason::MalformedAnswer);
    }
    let mut fields = Fields::default();
    for field in response.headers.iter() {
        fields.add(field.name, field.value.trim_ascii())?;
    }
    let framing = fields.framing(minor)?;
    let head = Head {
        status,
        framing,
        keep_alive: minor == 1 && !fields.close,
        content_encoding: fields.content_encoding,
        location: fields.location,
        freshness: fields.freshness,
    };
    Ok(Some((head, length)))
}

#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    content_encoding: Option<String>,
    location: bool,
    freshness: Freshness,
}

impl Fields {
    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Reason> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("content-length") {
            // Twice is refused even where both say the same: nobody sends that without a fault in between.
            if self.length.replace(digits(value).ok_or(Reason::MalformedAnswer)?).is_some() {
                return Err(Reason::MalformedAnswer);
            }
        } else if is("transfer-encoding") {
            if std::mem::replace(&mut self.chunked, true) {
                return Err(Reason::MalformedAnswer);
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Reason::ContentEncoding);
            }
        } else if is("content-encoding") {
            if !value.eq_ignore_ascii_case(b"identity") && self.content_encoding.is_none() {
                self.content_encoding = Some(String::from_utf8_lossy(value).into_owned());
            }
        } else if is("connection") {
            self.close |=
                value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
        } else if is("location") {
            self.location = true;
        } else if is("cache-control") {
            self.freshness.cache_control(value);
        } else if is("age") {
            self.freshness.age(value);
        }
        Ok(())
    }

    fn framing(&self, minor: u8) -> Result<Framing, Reason> {
        match (self.chunked, self.length) {
            // Two ends in one answer, or a coding that HTTP/1.0 does not have: this is how answers are smuggled.
            (true, Some(_)) => Err(Reason::MalformedAnswer),
            (true, None) if minor == 0 => Err(Reason::MalformedAnswer),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(usize::try_from(length).unwrap_or(usize::MAX))),
            (false, None) => Ok(Framing::UntilClose),
        }
    }
}

/// A number of at most 64 bits, digits only.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
