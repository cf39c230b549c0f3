//! The bytes of a segment: a header of 4 KiB, then frames, then zeros. Pure: slices in, slices out. Reading files is
//! `reader`, writing them is `writer`.
//!
//! All integers are little endian. Header, twice (at 0 and at 2048, so that one bad sector does not cost the segment):
//! magic 8, version u32, crc u32 over the rest, number u64, first seq u64, prev 32, salt u64, created_us i64, chain
//! length u16, chain. Frame: length u32, crc u32, seq u64, time_us i64, settled u64, payload. A length of zero is the end.

#[cfg(test)]
use crate::audit::simulation::planted::{self, Bug};

/// Bytes before the first frame.
pub const HEADER: usize = 4096;
/// Bytes of a frame before its payload.
pub const FRAME: usize = 32;
/// No payload is longer; what claims to be is damage.
pub const MAX_PAYLOAD: usize = 72 * 1024;
const COPY: usize = 2048;
const MAGIC: &[u8; 8] = b"CSIGNSEG";
const VERSION: u32 = 1;
const FIXED: usize = 16 + 8 + 8 + 32 + 8 + 8 + 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub chain: String,
    /// Counts the segments of an epoch from 0, also those given up.
    pub number: u64,
    pub first_seq: u64,
    /// SHA-256 of the record before the first one here.
    pub prev: [u8; 32],
    /// Part of every crc of this segment: bytes of an older file never pass for frames.
    pub salt: u64,
    pub created_us: i64,
}

impl Header {
    /// [`HEADER`] bytes. A chain id beyond 1 KiB is cut, which configuration makes impossible.
    pub fn encode(&self) -> Vec<u8> {
        let chain = self.chain.as_bytes();
        let chain = chain.get(..1024).unwrap_or(chain);
        let mut body = Vec::with_capacity(COPY);
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&self.first_seq.to_le_bytes());
        body.extend_from_slice(&self.prev);
        body.extend_from_slice(&self.salt.to_le_bytes());
        body.extend_from_slice(&self.created_us.to_le_bytes());
        body.extend_from_slice(&u16::try_from(chain.len()).unwrap_or(0).to_le_bytes());
        body.extend_from_slice(chain);
        let mut copy = Vec::with_capacity(COPY);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        copy.append(&mut body);
        copy.resize(COPY, 0);
        copy.extend_from_within(..);
        copy
    }

    /// From the first [`HEADER`] bytes of a file; `None` if neither copy is whole or the version is not ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.chunks(COPY).take(2).find_map(Self::decode_copy)
    }

    fn decode_copy(copy: &[u8]) -> Option<Self> {
        if copy.get(..8)? != MAGIC || u32_at(copy, 8)? != VERSION {
            return None;
        }
        let length = usize::from(u16::from_le_bytes(copy.get(FIXED - 2..FIXED)?.try_into().ok()?));
        let end = FIXED.checked_add(length)?;
        if crc32fast::hash(copy.get(16..end)?) != u32_at(copy, 12)? {
            return None;
        }
        Some(Self {
            chain: String::from_utf8(copy.get(FIXED..end)?.to_vec()).ok()?,
            number: u64_at(copy, 16)?,
            first_seq: u64_at(copy, 24)?,
            prev: copy.get(32..64)?.try_into().ok()?,
            salt: u64_at(copy, 64)?,
            created_us: u64_at(copy, 72)?.cast_signed(),
        })
    }
}

/// The version of a file that a later version of this program wrote: from the first [`HEADER`] bytes, both copies must say
/// so, as one alone may be damage.
pub fn later_version(bytes: &[u8]) -> Option<u32> {
    let claimed = |copy: &[u8]| if copy.get(..8)? == MAGIC { u32_at(copy, 8) } else { None };
    let first = claimed(bytes)?;
    (first > VERSION && claimed(bytes.get(COPY..)?) == Some(first)).then_some(first)
}

/// What a frame says beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub seq: u64,
    pub time_us: i64,
    /// When this was written, the answers to all records before this seq had left or been given up.
    pub settled: u64,
}

/// Reserves room for a frame's head; the payload is then appended to `buffer`, and [`seal`] closes the frame.
pub fn begin(buffer: &mut Vec<u8>) -> usize {
    let start = buffer.len();
    buffer.resize(start + FRAME, 0);
    start
}

/// Fills in the head of the frame that begins at `start` and ends with the buffer.
pub fn seal(buffer: &mut [u8], start: usize, salt: u64, meta: Meta) {
    let Some(frame) = buffer.get_mut(start..) else { return };
    let Some((head, payload)) = frame.split_at_mut_checked(FRAME) else { return };
    // The length, and a crc of zero above it.
    let length = u64::from(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    let (fields, _) = head.as_chunks_mut::<8>();
    for (to, from) in fields.iter_mut().zip([length, meta.seq, meta.time_us.cast_unsigned(), meta.settled]) {
        *to = from.to_le_bytes();
    }
    let crc = checksum(salt, head, payload).to_le_bytes();
    if let Some(field) = head.get_mut(4..8) {
        field.copy_from_slice(&crc);
    }
}

/// Gives whole frames the checksums of another segment; the payloads stay as they are.
pub fn reseal(mut frames: &mut [u8], salt: u64) {
    while let Some(length) = u32_at(frames, 0).map(|l| l as usize) {
        let Some((frame, rest)) = frames.split_at_mut_checked(FRAME + length) else { return };
        if let Some((head, payload)) = frame.split_at_mut_checked(FRAME) {
            let crc = checksum(salt, head, payload).to_le_bytes();
            if let Some(field) = head.get_mut(4..8) {
                field.copy_from_slice(&crc);
            }
        }
        frames = rest;
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole frame of [`FRAME`] + `length` bytes.
    Frame {
        meta: Meta,
        length: usize,
    },
    /// Zeros where a frame would begin.
    End,
    /// More bytes are needed to say: this many in all.
    Short(usize),
    Bad,
}

pub fn parse(bytes: &[u8], salt: u64) -> Parsed {
    let (Some(length), Some(head)) = (u32_at(bytes, 0), bytes.get(..FRAME)) else { return Parsed::Short(FRAME) };
    let length = length as usize;
    if length == 0 {
        return Parsed::End;
    }
    if length > MAX_PAYLOAD {
        return Parsed::Bad;
    }
    let Some(payload) = bytes.get(FRAME..FRAME + length) else { return Parsed::Short(FRAME + length) };
    let (Some(crc), Some(seq), Some(time), Some(settled)) =
        (u32_at(head, 4), u64_at(head, 8), u64_at(head, 16), u64_at(head, 24))
    else {
        return Parsed::Bad;
    };
    let wrong = crc != checksum(salt, head, payload);
    #[cfg(test)]
    let wrong = wrong && !planted::is(Bug::ChecksumOff);
    if wrong {
        return Parsed::Bad;
    }
    Parsed::Frame { meta: Meta { seq, time_us: time.cast_signed(), settled }, length }
}

/// The seq a frame at the beginning of `bytes` would have, if its length is one a frame can have. Cheap: no checksum.
pub fn claimed_seq(bytes: &[u8]) -> Option<u64> {
    let length = u32_at(bytes, 0)? as usize;
    if length == 0 || length > MAX_PAYLOAD { None } else { u64_at(bytes, 8) }
}

fn checksum(salt: u64, head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(head.get(..4).unwrap_or_default());
    hasher.update(head.get(8..).unwrap_or_default());
    hasher.update(payload);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { chain: "i/9c1e".into(), number: 3, first_seq: 7, prev: [5; 32], salt: 99, created_us: -1 }
    }

    fn framed(salt: u64, payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let start = begin(&mut buffer);
        buffer.extend_from_slice(payload);
        seal(&mut buffer, start, salt, Meta { seq: 4, time_us: -9, settled: 2 });
        buffer
    }

    #[test]
    fn header_survives_the_loss_of_either_copy() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER);
        for at in 0..HEADER {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            assert_eq!(Header::decode(&damaged), Some(header()), "byte {at}");
        }
        let mut both = bytes;
        both[20] ^= 1;
        both[COPY + 20] ^= 1;
        assert_eq!(Header::decode(&both), None);
    }

    #[test]
    fn no_changed_byte_of_a_frame_goes_unnoticed() {
        let frame = framed(1, b"payload");
        let meta = Meta { seq: 4, time_us: -9, settled: 2 };
        assert_eq!(parse(&frame, 1), Parsed::Frame { meta, length: 7 });
        assert_eq!(parse(&frame, 2), Parsed::Bad, "another segment's salt");
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[at] ^= 1 << bit;
                assert!(!matches!(parse(&damaged, 1), Parsed::Frame { .. }), "byte {at} bit {bit}");
            }
        }
        assert_eq!(parse(&frame[..20], 1), Parsed::Short(FRAME));
        assert_eq!(parse(&frame[..35], 1), Parsed::Short(FRAME + 7));
        assert_eq!(parse(&[0; 64], 1), Parsed::End);
    }

    #[test]
    fn frames_move_to_another_segment_with_the_same_payload() {
        let mut frames = framed(1, b"one");
        frames.extend(framed(1, b"three"));
        reseal(&mut frames, 8);
        let Parsed::Frame { length, .. } = parse(&frames, 8) else { panic!("first frame is not whole") };
        assert_eq!(&frames[FRAME..FRAME + length], b"one");
        assert!(matches!(parse(&frames[FRAME + length..], 8), Parsed::Frame { length: 5, .. }));
        assert_eq!(parse(&frames, 1), Parsed::Bad);
    }
}
