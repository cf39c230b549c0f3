//! The hash chain: gives a draft its place and finishes its JSON. Pure. `prev` is the SHA-256 of the record before, byte
//! for byte as it is published, so that anyone can check it with a JSON reader and `sha256sum`.

use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// `prev` of the first record of a chain.
pub const GENESIS: [u8; 32] = [0; 32];

#[derive(Debug)]
pub struct Chain {
    id: Arc<str>,
    /// `,"chain":{"id":"…","seq":`, the same in every record.
    infix: Vec<u8>,
    next: u64,
    prev: [u8; 32],
}

impl Chain {
    pub fn new(id: Arc<str>) -> Self {
        let quoted = serde_json::Value::from(&*id).to_string();
        Self { id, infix: format!(",\"chain\":{{\"id\":{quoted},\"seq\":").into_bytes(), next: 0, prev: GENESIS }
    }

    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The seq the next record gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The hash the next record names.
    pub fn prev(&self) -> [u8; 32] {
        self.prev
    }

    /// Appends the finished record to `out` and moves on. Returns its seq.
    pub fn finish(&mut self, head: &[u8], out: &mut Vec<u8>) -> u64 {
        let (start, seq) = (out.len(), self.next);
        out.extend_from_slice(head);
        out.extend_from_slice(&self.infix);
        push_decimal(seq, out);
        out.extend_from_slice(b",\"prev\":\"");
        let mut digits = [0; 64];
        if hex::encode_to_slice(self.prev, &mut digits).is_ok() {
            out.extend_from_slice(&digits);
        }
        out.extend_from_slice(b"\"}}}");
        self.prev = hash(out.get(start..).unwrap_or_default());
        self.next += 1;
        seq
    }
}

/// SHA-256 of a record's value.
pub fn hash(value: &[u8]) -> [u8; 32] {
    Sha256::digest(value).into()
}

/// The chain member of a record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Link {
    pub id: String,
    pub seq: u64,
    pub prev: String,
}

/// Reads a record's place in its chain; `None` if it is not a record.
pub fn link(value: &[u8]) -> Option<Link> {
    #[derive(Deserialize)]
    struct Data {
        chain: Link,
    }
    #[derive(Deserialize)]
    struct Record {
        data: Data,
    }
    serde_json::from_slice::<Record>(value).ok().map(|r| r.data.chain)
}

fn push_decimal(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_names_the_bytes_before_it() {
        let mut chain = Chain::new("mini\"o/9c".into());
        let head = br#"{"id":"x","data":{"decision":"deny""#;
        let (mut one, mut two) = (Vec::new(), Vec::new());
        assert_eq!(chain.finish(head, &mut one), 0);
        assert_eq!(chain.finish(head, &mut two), 1);
        assert_eq!(link(&one), Some(Link { id: "mini\"o/9c".into(), seq: 0, prev: "0".repeat(64) }));
        assert_eq!(link(&two).unwrap().prev, hex::encode(Sha256::digest(&one)));
        assert_eq!((chain.next(), chain.prev()), (2, hash(&two)));
        assert!(String::from_utf8(two).unwrap().ends_with(r#""}}}"#));
    }

    #[test]
    fn decimals() {
        for number in [0, 7, 10, 184_467, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
