//! Reads frames of one segment in whole chunks, and finds the next whole frame behind damage. Called by `epoch`, which
//! puts segments together; `keeper` and `scan` look at headers with it. Never writes.

use std::io;

use crate::audit::files::Handle;
use crate::audit::segment::{self, FRAME, HEADER, Header, MAX_PAYLOAD, Meta, Parsed};

#[cfg(test)]
use crate::audit::simulation::planted::{self, Bug};

/// Bytes asked of the file at a time.
const CHUNK: usize = 1 << 20;
/// Zeros are compared so many at a time.
const ZEROS: [u8; 256] = [0; 256];
/// Bytes asked of it at a time where it cannot be read.
const BLOCK: usize = 512;

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole frame; [`SegmentReader::payload`] has its bytes until [`SegmentReader::consume`].
    Frame(Meta),
    /// These bytes are no frame, and a whole frame follows them.
    Skipped { offset: u64, bytes: u64 },
    /// No whole frame follows (yet).
    End,
}

pub struct SegmentReader {
    file: Handle,
    header: Header,
    buffer: Vec<u8>,
    /// Where in `buffer` the next frame begins.
    start: usize,
    /// Offset in the file of `buffer`'s first byte.
    base: u64,
    /// Payload length of the frame that was found at `start`.
    found: Option<usize>,
    /// No frame before this seq can follow.
    floor: u64,
    /// Blocks that cannot be read are read as zeros, and so become damage.
    pub salvage: bool,
}

impl SegmentReader {
    /// `None`: neither copy of the header is whole.
    pub fn open(file: Handle) -> io::Result<Option<Self>> {
        let mut head = vec![0; HEADER];
        let read = file.read_at(&mut head, 0)?;
        let Some(header) = Header::decode(head.get(..read).unwrap_or_default()) else { return Ok(None) };
        let floor = header.first_seq;
        Ok(Some(Self {
            file,
            header,
            buffer: Vec::new(),
            start: 0,
            base: HEADER as u64,
            found: None,
            floor,
            salvage: false,
        }))
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where in the file the next frame begins or would begin.
    pub fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// The next frame, which stays until consumed. `limit`: bytes of the file from here on are still being written.
    /// `closed`: nobody writes any more, so what comes behind zeros and damage is looked for.
    pub fn step(&mut self, limit: u64, closed: bool) -> io::Result<Step> {
        loop {
            self.found = None;
            match segment::parse(self.rest(), self.header.salt) {
                Parsed::Frame { meta, length } => {
                    self.found = Some(length);
                    return Ok(Step::Frame(meta));
                }
                Parsed::Short(needed) => {
                    if self.fill(needed, limit)? {
                        continue;
                    }
                    return if closed { self.search(limit) } else { Ok(Step::End) };
                }
                Parsed::End | Parsed::Bad if !closed => return Ok(Step::End),
                Parsed::End | Parsed::Bad => return self.search(limit),
            }
        }
    }

    /// Of the frame that [`Self::step`] returned last.
    pub fn payload(&self) -> &[u8] {
        let length = self.found.unwrap_or(0);
        self.rest().get(FRAME..FRAME + length).unwrap_or_default()
    }

    /// Goes past the frame that [`Self::step`] returned last.
    pub fn consume(&mut self, meta: Meta) {
        if let Some(length) = self.found.take() {
            self.start += FRAME + length;
            self.floor = meta.seq + 1;
        }
    }

    /// Forgets what was read ahead: it may have been read before it was written.
    pub fn forget(&mut self) {
        self.base = self.offset();
        self.buffer.clear();
        self.start = 0;
        self.found = None;
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Has at least `needed` bytes at `start`, or returns false.
    fn fill(&mut self, needed: usize, limit: u64) -> io::Result<bool> {
        if self.rest().len() >= needed {
            return Ok(true);
        }
        self.base += self.start as u64;
        self.buffer.drain(..self.start.min(self.buffer.len()));
        self.start = 0;
        let have = self.buffer.len();
        let from = self.base + have as u64;
        // Most files are shorter than a chunk.
        let limit = limit.min(self.file.size()?);
        let room = usize::try_from(limit.saturating_sub(from)).unwrap_or(usize::MAX).min(CHUNK.max(needed));
        self.buffer.resize(have + room, 0);
        let read = match self.buffer.get_mut(have..) {
            Some(space) if self.salvage => read_around(&self.file, space, from),
            Some(space) => self.file.read_at(space, from),
            None => Ok(0),
        };
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        read?;
        Ok(self.buffer.len() >= needed)
    }

    /// Looks for the next whole frame behind bytes that are none. A frame counts if its salted checksum is right and its
    /// seq can follow; payloads are text and know no salt, so they cannot pass for one.
    fn search(&mut self, limit: u64) -> io::Result<Step> {
        #[cfg(test)]
        if planted::is(Bug::StopAtFirstDamage) {
            return Ok(Step::End);
        }
        let from = self.offset();
        // Near the end the file is asked once, not at every byte.
        let mut more = true;
        loop {
            self.skip_zeros();
            more = more && self.fill(FRAME + MAX_PAYLOAD, limit)?;
            if self.rest().len() < FRAME {
                self.start = self.buffer.len();
                return Ok(Step::End);
            }
            let plausible = segment::claimed_seq(self.rest()).is_some_and(|s| s >= self.floor);
            let whole = plausible && matches!(segment::parse(self.rest(), self.header.salt), Parsed::Frame { .. });
            if whole && self.offset() == from {
                return self.step(limit, false);
            }
            if whole {
                return Ok(Step::Skipped { offset: from, bytes: self.offset() - from });
            }
            self.start += 1;
        }
    }

    /// Runs of zeros are most of a segment that was not filled. A length's lower three bytes may be zero: stay that far
    /// before what is not.
    fn skip_zeros(&mut self) {
        let whole = self.rest().chunks_exact(ZEROS.len()).take_while(|chunk| **chunk == ZEROS).count() * ZEROS.len();
        let tail = self.rest().get(whole..).unwrap_or_default();
        self.start += (whole + tail.iter().take_while(|b| **b == 0).count()).saturating_sub(3);
    }
}

/// What can be read of a range; zeros for the blocks that cannot.
fn read_around(file: &Handle, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    if let Ok(read) = file.read_at(buffer, from) {
        return Ok(read);
    }
    let there = usize::try_from(file.size()?.saturating_sub(from)).unwrap_or(usize::MAX).min(buffer.len());
    let mut at = from;
    for piece in buffer.get_mut(..there).unwrap_or_default().chunks_mut(BLOCK) {
        if file.read_at(piece, at).is_err() {
            piece.fill(0);
        }
        at += piece.len() as u64;
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::disk::Disk;
    use crate::audit::files::Files;

    fn written(records: &[&[u8]], spoil: impl Fn(&mut Vec<u8>)) -> (tempfile::TempDir, SegmentReader) {
        let header = Header { chain: "i/e".into(), number: 0, first_seq: 0, prev: [0; 32], salt: 5, created_us: 0 };
        let mut bytes = header.encode();
        for (seq, record) in (0..).zip(records) {
            let start = segment::begin(&mut bytes);
            bytes.extend_from_slice(record);
            segment::seal(&mut bytes, start, 5, Meta { seq, time_us: 0, settled: 0 });
        }
        bytes.resize(bytes.len() + 3 * CHUNK, 0);
        spoil(&mut bytes);
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("s"), bytes).unwrap();
        let reader = SegmentReader::open(Disk::new(home.path()).open("s").unwrap()).unwrap().unwrap();
        (home, reader)
    }

    fn all(reader: &mut SegmentReader) -> (Vec<u64>, u64) {
        let (mut seqs, mut skipped) = (Vec::new(), 0);
        loop {
            match reader.step(u64::MAX, true).unwrap() {
                Step::Frame(meta) => {
                    seqs.push(meta.seq);
                    reader.consume(meta);
                }
                Step::Skipped { bytes, .. } => skipped += bytes,
                Step::End => return (seqs, skipped),
            }
        }
    }

    #[test]
    fn every_byte_flipped_costs_one_record_only() {
        let middle = vec![b'x'; 256];
        let records: [&[u8]; 3] = [b"first", &middle, b"last"];
        let begin = HEADER + FRAME + 5;
        for at in begin..begin + FRAME + 256 {
            let (_home, mut reader) = written(&records, |b| b[at] ^= 0xff);
            assert_eq!(all(&mut reader), (vec![0, 2], (FRAME + 256) as u64), "byte {at}");
        }
        // A length of 256 is the bytes 00 01 00 00: one bit away from the zero that means end.
        let (_home, mut reader) = written(&records, |b| b[begin + 1] = 0);
        assert_eq!(all(&mut reader).0, [0, 2]);
    }

    #[test]
    fn a_megabyte_of_zeros_hides_nothing_behind_it() {
        let (_home, mut reader) = written(&[b"first"], |bytes| {
            let at = HEADER + FRAME + 5 + CHUNK + 77;
            let mut frame = Vec::new();
            let start = segment::begin(&mut frame);
            frame.extend(vec![b'y'; 512]);
            segment::seal(&mut frame, start, 5, Meta { seq: 9, time_us: 0, settled: 0 });
            bytes[at..at + frame.len()].copy_from_slice(&frame);
        });
        assert_eq!(all(&mut reader), (vec![0, 9], CHUNK as u64 + 77));
    }
}
