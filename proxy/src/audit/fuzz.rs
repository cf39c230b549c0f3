//! Properties of what is read back from disk and from Kafka, for every sequence of bytes: bodies for property tests and
//! for a fuzzer, each of which panics where a property is broken. Not part of the proxy's work; called by tests only.

use std::io;
use std::sync::Arc;

use serde_json::Value;

use crate::audit::chain;
use crate::audit::cursor;
use crate::audit::files::File;
use crate::audit::note::{self, Checkpoint, Signer};
use crate::audit::reader::{SegmentReader, Step};
use crate::audit::segment::{self, FRAME, HEADER, Header, Meta, Parsed};
use crate::audit::stub;
use crate::audit::verify::Seen;

/// What we read from a record is what everybody reads from it, and its stub has the same place and stands for its hash.
pub fn record(data: &[u8]) {
    let link = chain::link(data);
    let seen = Seen::read(data);
    if let Ok(seen) = &seen {
        let ours = link.as_ref().map(|link| (&link.id, link.seq, link.prev.to_lowercase()));
        assert_eq!(ours, Some((&seen.chain, seen.seq, hex::encode(seen.prev))));
    }
    // Members that we pass over may be nothing that anybody can read: the hash speaks for them. A list is no record to
    // others, and its place in a chain is then nobody's.
    if let Ok(theirs) = serde_json::from_slice::<Value>(data) {
        let chain = theirs.get("data").and_then(|data| data.get("chain")).filter(|chain| chain.is_object());
        if let (Some(link), Some(chain)) = (&link, chain) {
            assert!(same_link(link, chain), "{link:?}");
        }
        let is_stub = theirs.get("type").is_some_and(|kind| kind == "io.countersign.stub.v1");
        let stands_for_another = seen.is_ok_and(|seen| seen.hash != chain::hash(data));
        assert!(is_stub || !stands_for_another || !theirs.is_object(), "only a stub stands for another record");
    }
    if let Some(short) = stub::of(data) {
        assert!(short.len() < data.len());
        assert_eq!(chain::link(&short), chain::link(data), "a stub has its record's place");
        let stands_for = Seen::read(&short).map(|seen| seen.hash);
        assert!(stands_for.is_err() || stands_for == Ok(chain::hash(data)), "a stub stands for its record");
    }
}

fn same_link(link: &chain::Link, theirs: &Value) -> bool {
    let is = |name: &str, ours: &str| theirs.get(name).and_then(Value::as_str) == Some(ours);
    is("id", &link.id) && is("prev", &link.prev) && theirs.get("seq").and_then(Value::as_u64) == Some(link.seq)
}

/// A file that claims to be a segment is read to its end: every whole frame comes once, at its place, and every byte
/// belongs to the header, a frame, what is skipped, or the end. The header says the same after it was written again.
pub fn segment(data: &[u8]) {
    if let Some(header) = Header::decode(data) {
        assert_eq!(Header::decode(&header.encode()), Some(header));
        assert_eq!(segment::later_version(data).filter(|version| *version <= 1), None);
    }
    let salt = header_of(data).salt;
    for start in (0..data.len().min(4 * FRAME)).step_by(3) {
        frame(data.get(start..).unwrap_or_default(), salt);
    }
    let Some(mut reader) = opened(data.to_vec()) else { return };
    let mut at = HEADER as u64;
    loop {
        match step(&mut reader, data.len()) {
            Step::Frame(meta) => {
                let payload = reader.payload();
                let written = sealed(payload, reader.header().salt, meta);
                let end = at.saturating_add(written.len() as u64);
                let (from, to) =
                    (usize::try_from(at).unwrap_or(usize::MAX), usize::try_from(end).unwrap_or(usize::MAX));
                assert_eq!(data.get(from..to), Some(&*written), "a frame that nobody wrote so");
                reader.consume(meta);
                at = end;
            }
            Step::Skipped { offset, bytes } => {
                assert_eq!(offset, at);
                assert!(bytes > 0, "nothing was skipped");
                at += bytes;
            }
            // A file that is cut within its header still has the first copy of it.
            Step::End => return assert!(at <= data.len().max(HEADER) as u64),
        }
        assert_eq!(reader.offset(), at);
    }
}

fn step(reader: &mut SegmentReader, length: usize) -> Step {
    let step = reader.step(length as u64, true);
    assert!(step.is_ok(), "memory does not fail");
    step.unwrap_or(Step::End)
}

/// A whole frame is the bytes that its writer would write; one bit less, and it is none.
fn frame(bytes: &[u8], salt: u64) {
    let Parsed::Frame { meta, length } = segment::parse(bytes, salt) else { return };
    let whole = bytes.get(..FRAME + length).unwrap_or_default();
    let payload = whole.get(FRAME..).unwrap_or_default();
    assert_eq!(sealed(payload, salt, meta), whole);
    let (at, bit) = (meta.seq as usize % whole.len(), meta.time_us.rem_euclid(8));
    let mut damaged = whole.to_vec();
    if let Some(byte) = damaged.get_mut(at) {
        *byte ^= 1 << bit;
    }
    assert!(!matches!(segment::parse(&damaged, salt), Parsed::Frame { .. }), "a damaged frame passes its checksum");
}

fn sealed(payload: &[u8], salt: u64, meta: Meta) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = segment::begin(&mut bytes);
    bytes.extend_from_slice(payload);
    segment::seal(&mut bytes, start, salt, meta);
    bytes
}

/// The header that these bytes stand for, with a salt from them where they are none.
fn header_of(data: &[u8]) -> Header {
    let salt = data.first_chunk().copied().map_or(1, u64::from_le_bytes);
    let fallback = || Header { chain: "i/e".into(), number: 0, first_seq: 0, prev: [0; 32], salt, created_us: 0 };
    Header::decode(data).unwrap_or_else(fallback)
}

fn opened(bytes: Vec<u8>) -> Option<SegmentReader> {
    SegmentReader::open(Arc::new(InMemory(bytes))).ok().flatten()
}

/// A script for a segment of whole frames and for damage to it: whatever the damage has not touched is found behind it,
/// once, as it was written, and nothing else is. Three bytes are a frame (length and filling), the rest is damage.
pub fn recovery(data: &[u8]) {
    let (frames, damage) = data.split_at(data.len().min(24) / 3 * 3);
    let mut bytes = header_of(data).encode();
    let salt = header_of(data).salt;
    // A header that was just written is whole.
    let mut written = Vec::new();
    for (seq, script) in (0..).zip(frames.chunks_exact(3)) {
        let [low, high, filling] = script else { continue };
        let length = 1 + usize::from(u16::from_le_bytes([*low, *high]) % 2048);
        let meta = Meta { seq, time_us: 7, settled: 0 };
        let frame = sealed(&vec![*filling; length], salt, meta);
        written.push((meta, bytes.len(), frame.len()));
        bytes.extend(frame);
    }
    bytes.resize(bytes.len() + 256, 0);
    let original = bytes.clone();
    for blow in damage.chunks_exact(4) {
        let [low, high, count, value] = blow else { continue };
        let room = bytes.len() - HEADER;
        let from = HEADER + usize::from(u16::from_le_bytes([*low, *high])) % room;
        bytes.iter_mut().skip(from).take(usize::from(*count)).for_each(|byte| *byte = *value);
    }
    let is_whole = |start: usize, length: usize| {
        let range = start..start + length;
        bytes.get(range.clone()) == original.get(range)
    };
    let mut expected: Vec<_> =
        written.into_iter().filter(|(_, start, length)| is_whole(*start, *length)).map(|(meta, ..)| meta.seq).collect();
    let length = bytes.len();
    let Some(mut reader) = opened(bytes) else { return assert!(expected.is_empty(), "the header is whole") };
    expected.reverse();
    loop {
        match step(&mut reader, length) {
            Step::Frame(meta) => {
                assert_eq!(Some(meta.seq), expected.pop(), "another frame than the next whole one");
                reader.consume(meta);
            }
            Step::Skipped { .. } => {}
            Step::End => return assert!(expected.is_empty(), "whole frames were not found: {expected:?}"),
        }
    }
}

/// Of two slots the newer whole one counts; what counts is what its writer wrote, and one bit less is none.
pub fn cursor(data: &[u8]) {
    let Some((generation, next)) = cursor::decode(data) else { return };
    let written = cursor::encode(generation, next);
    assert_eq!(data.get(..written.len()), Some(&written[..]));
    let mut damaged = written;
    if let Some(byte) = damaged.get_mut(next as usize % written.len()) {
        *byte ^= 1 << (generation % 8);
    }
    assert_eq!(cursor::decode(&damaged), None);
}

/// Of Go's own test of signed notes: a key that everybody has.
const KEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

/// A checkpoint is read exactly as it is written, and no note opens but with the text that was signed.
pub fn checkpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(point) = Checkpoint::parse(text) {
        assert_eq!(point.body(), text, "two texts for one statement");
    }
    let Ok(signer) = Signer::parse(KEY) else { return assert!(text.is_empty(), "the key is one") };
    if let Ok((body, _)) = note::open(text, &[signer.public().clone()]) {
        assert_eq!(note::body(text).as_ref(), Ok(&body));
        // Ed25519 has one signature a text and key, so whoever signs this gets these bytes; others may have signed, too.
        let signed = note::sign(&body, &[&signer]);
        assert!(signed.is_ok_and(|signed| text.starts_with(&body) && text.contains(signature(&signed))), "{text}");
    }
    let body = format!("{}\n", text.trim_end_matches('\n'));
    if let Ok(signed) = note::sign(&body, &[&signer]) {
        let opened = note::open(&signed, &[signer.public().clone()]).map(|(opened, _)| opened);
        assert_eq!(opened, Ok(body.clone()), "what was signed does not open");
        let other = signed.replacen(body.get(..1).unwrap_or_default(), "\u{17f}", 1);
        let opened = note::open(&other, &[signer.public().clone()]);
        assert!(opened.is_err() || other == signed, "a changed text passes its signature");
    }
}

/// The last line, without its end.
fn signature(note: &str) -> &str {
    note.trim_end().rsplit('\n').next().unwrap_or_default()
}

/// Read only.
struct InMemory(Vec<u8>);

impl File for InMemory {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let read = rest.iter().zip(buffer.iter_mut()).map(|(from, to)| *to = *from).count();
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn fill_zero(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((0, 0))
    }
}
