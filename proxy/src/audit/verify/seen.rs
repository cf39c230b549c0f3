//! One record as `verify` sees it: its place in the chain, its hash, and what it says about other records. Pure; many can
//! be read at once.

use std::borrow::Cow;

use serde::Deserialize;

use crate::audit::chain;

/// What of a record matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub chain: String,
    pub seq: u64,
    pub prev: [u8; 32],
    /// SHA-256 of the value; for a stub, that of the record it stands for.
    pub hash: [u8; 32],
    /// As written: RFC 3339 in UTC with a fixed number of digits sorts by itself.
    pub time: String,
    pub bytes: u64,
    pub says: Says,
}

/// What a record says about the chain or about others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Nothing that matters here.
    Something,
    /// The record itself was too large for the topic.
    Stub,
    Opened(Option<Previous>),
    Closed,
    Missing(Missing),
    Rotated {
        old: String,
        new: String,
        note: String,
    },
    Checkpoint {
        note: String,
        head: String,
        /// Roots of perfect subtrees.
        tree: Vec<[u8; 32]>,
    },
}

/// Records of a chain, both ends included, that are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub chain: String,
    pub first: u64,
    pub last: u64,
    /// The hash of the record before them, where the writer knew it.
    pub before: Option<[u8; 32]>,
}

/// The end of the chain before, as its successor found it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Previous {
    pub id: String,
    pub seq: u64,
    pub hash: String,
    pub clean: bool,
}

#[derive(Deserialize)]
struct Record<'r> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'r, str>,
    #[serde(borrow)]
    time: Cow<'r, str>,
    #[serde(borrow)]
    data: Data<'r>,
}

#[derive(Deserialize)]
struct Data<'r> {
    #[serde(borrow)]
    chain: Link<'r>,
    #[serde(borrow)]
    event: Option<Cow<'r, str>>,
    previous: Option<Previous>,
    of_chain: Option<String>,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    before: Option<String>,
    old: Option<String>,
    new: Option<String>,
    note: Option<String>,
    head: Option<String>,
    tree: Option<Vec<String>>,
    sha256: Option<String>,
}

#[derive(Deserialize)]
struct Link<'r> {
    #[serde(borrow)]
    id: Cow<'r, str>,
    seq: u64,
    #[serde(borrow)]
    prev: Cow<'r, str>,
}

impl Seen {
    /// Errors, in words: these bytes are no record.
    pub fn read(value: &[u8]) -> Result<Self, String> {
        let record: Record<'_> = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        let prev = digest(&record.data.chain.prev).ok_or("`data.chain.prev` is no SHA-256")?;
        let (chain, seq) = (record.data.chain.id.clone().into_owned(), record.data.chain.seq);
        let time = record.time.clone().into_owned();
        let others = [record.data.first_seq, record.data.last_seq, record.data.previous.as_ref().map(|p| p.seq)];
        if others.into_iter().flatten().chain([seq]).any(|seq| seq > MOST_SEQ) {
            return Err(format!("a place in a chain beyond {MOST_SEQ}"));
        }
        if !is_short(&chain, &time, &record.data) {
            return Err(format!("a name or time of more than {MOST_TEXT} bytes"));
        }
        let mut hash = chain::hash(value);
        let says = match &*record.kind {
            "io.countersign.checkpoint.v1" => Says::Checkpoint {
                note: record.data.note.ok_or("a checkpoint without `note`")?,
                head: record.data.head.ok_or("a checkpoint without `head`")?,
                tree: record
                    .data
                    .tree
                    .and_then(|tree| tree.iter().map(|root| digest(root)).collect())
                    .ok_or(NO_TREE)?,
            },
            "io.countersign.stub.v1" => {
                let whole = record.data.sha256.as_deref().and_then(digest);
                hash = whole.ok_or("a stub without `sha256`")?;
                Says::Stub
            }
            "io.countersign.lifecycle.v1" => lifecycle(record.data)?,
            _ => Says::Something,
        };
        Ok(Self { chain, seq, prev, hash, time, bytes: value.len() as u64, says })
    }
}

/// No chain is as long; what follows it can still be counted.
const MOST_SEQ: u64 = 1 << 53;

/// No name of a chain is as long, nor a time or a hash (bytes): they are kept for every chain and gap.
const MOST_TEXT: usize = 256;

fn is_short(chain: &str, time: &str, data: &Data<'_>) -> bool {
    let previous = data.previous.iter().flat_map(|p| [p.id.as_str(), p.hash.as_str()]);
    let mut texts = [chain, time].into_iter().chain(data.of_chain.as_deref()).chain(previous);
    texts.all(|text| text.len() <= MOST_TEXT)
}

const NO_TREE: &str = "a checkpoint without `tree`, or not of hashes";

fn lifecycle(data: Data<'_>) -> Result<Says, String> {
    Ok(match data.event.as_deref() {
        Some("chain_opened") => Says::Opened(data.previous),
        Some("chain_closed") => Says::Closed,
        Some("damage_found" | "segments_dropped") => match (data.of_chain, data.first_seq, data.last_seq) {
            (Some(chain), Some(first), Some(last)) if first <= last => {
                let before = data.before.map(|text| digest(&text).ok_or("`before` is no SHA-256")).transpose()?;
                Says::Missing(Missing { chain, first, last, before })
            }
            _ => Says::Something,
        },
        Some("key_rotated") => match (data.old, data.new, data.note) {
            (Some(old), Some(new), Some(note)) => Says::Rotated { old, new, note },
            _ => return Err("`key_rotated` without its keys".to_owned()),
        },
        _ => Says::Something,
    })
}

/// As records have it and in no other spelling: neither upper case nor the `0x` that the decoder would let pass.
fn digest(text: &str) -> Option<[u8; 32]> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; 32];
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn a_hash_has_one_spelling() {
        let plain = "0a".repeat(32);
        assert_eq!(digest(&plain), Some([10; 32]));
        for other in
            [format!("0x{plain}"), plain.to_uppercase(), plain[1..].to_owned(), format!("{plain}00"), String::new()]
        {
            assert_eq!(digest(&other), None, "{other}");
        }
    }
}
