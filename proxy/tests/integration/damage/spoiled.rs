//! A spool to which something was done, and what every record of it has come to. Called by `damage`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use countersign::audit::segment::{FRAME, HEADER, Header};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::memory::Memory;

/// Of each copy of the header, the part that means something.
const MEANT: usize = 160;
const COPY: usize = 2048;

#[derive(Clone)]
struct Frame {
    seq: u64,
    start: usize,
    length: usize,
    whole: bool,
}

#[derive(Clone)]
struct Segment {
    path: String,
    chain: String,
    first_seq: u64,
    bytes: Arc<Vec<u8>>,
    frames: Vec<Frame>,
    /// The copies of its header.
    headers: [bool; 2],
}

/// What became of a record.
pub struct Record {
    pub chain: String,
    pub seq: u64,
    pub value: Vec<u8>,
    /// All its bytes are still there, in a segment that can be read, of whatever name, in the directory of its chain.
    pub whole: bool,
    pub before_cursor: bool,
}

pub struct Spoiled<'a> {
    template: &'a Memory,
    original: Vec<Segment>,
    segments: Vec<Segment>,
    cursors: BTreeMap<String, Arc<Vec<u8>>>,
}

impl<'a> Spoiled<'a> {
    pub fn new(template: &'a Memory) -> Self {
        let files = template.all();
        let segments: Vec<Segment> = files.iter().filter(|(path, _)| path.ends_with(".seg")).map(segment).collect();
        let cursors = files.into_iter().filter(|(path, _)| path.ends_with("/cursor")).collect();
        Self { template, original: segments.clone(), segments, cursors }
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    pub fn files(&self) -> Memory {
        let files = Memory::default();
        for epoch in self.original.iter().map(|s| s.path.rsplit_once('/').unwrap().0) {
            countersign::audit::files::Files::create_dir(&files, epoch).unwrap();
        }
        countersign::audit::files::Files::create_dir(&files, "epochs").unwrap();
        for (path, bytes) in self.template.all().into_iter().filter(|(path, _)| path == "lock") {
            files.put(&path, bytes);
        }
        for (path, bytes) in &self.cursors {
            files.put(path, bytes.clone());
        }
        for segment in &self.segments {
            files.put(&segment.path, segment.bytes.clone());
        }
        files
    }

    pub fn records(&self) -> Vec<Record> {
        let mut whole = HashMap::new();
        for segment in &self.segments {
            let readable = segment.headers.contains(&true) && segment.is_at_home();
            for frame in &segment.frames {
                *whole.entry((segment.chain.as_str(), frame.seq)).or_insert(false) |= readable && frame.whole;
            }
        }
        let second = self.original.iter().map(|s| &s.chain).find(|chain| **chain != self.original[0].chain).unwrap();
        self.original
            .iter()
            .flat_map(|segment| {
                let records: Vec<Record> = segment
                    .frames
                    .iter()
                    .map(|frame| Record {
                        chain: segment.chain.clone(),
                        seq: frame.seq,
                        value: segment.bytes[frame.start + FRAME..frame.start + frame.length].to_vec(),
                        whole: whole.get(&(segment.chain.as_str(), frame.seq)) == Some(&true),
                        before_cursor: segment.chain == *second && frame.seq <= super::RECORDS as u64 / 2,
                    })
                    .collect();
                records
            })
            .collect()
    }

    /// Does something at random, and says what.
    pub fn spoil(&mut self, random: &mut StdRng) -> String {
        if self.segments.len() < 2 {
            return "nothing".to_owned();
        }
        let at = random.random_range(0..self.segments.len());
        let kind = random.random_range(0..10);
        match kind {
            0 => self.remove(at),
            1 => self.duplicate(at),
            2 => self.swap(at, random),
            3 => self.spoil_cursor(random),
            _ => self.segments[at].spoil(kind, random),
        }
    }

    fn remove(&mut self, at: usize) -> String {
        format!("removed {}", self.segments.remove(at).path)
    }

    fn duplicate(&mut self, at: usize) -> String {
        let mut copy = self.segments[at].clone();
        let name = countersign::audit::epoch::segment_name(copy.first_seq, 1000 + at as u64);
        copy.path = format!("{}/{name}", copy.path.rsplit_once('/').unwrap().0);
        let said = format!("copied {} to {name}", self.segments[at].path);
        if self.segments.iter().all(|segment| segment.path != copy.path) {
            self.segments.push(copy);
        }
        said
    }

    fn swap(&mut self, at: usize, random: &mut StdRng) -> String {
        let other = random.random_range(0..self.segments.len());
        let (one, two) = (self.segments[at].path.clone(), self.segments[other].path.clone());
        let said = format!("swapped {one} and {two}");
        (self.segments[at].path, self.segments[other].path) = (two, one);
        said
    }

    fn spoil_cursor(&mut self, random: &mut StdRng) -> String {
        let Some((path, bytes)) = self.cursors.iter_mut().next_back() else { return "no cursor".to_owned() };
        let path = path.clone();
        match random.random_range(0..4) {
            0 => drop(self.cursors.remove(&path)),
            1 => *bytes = Arc::default(),
            2 => Arc::make_mut(bytes).fill(0),
            _ => random.fill(&mut Arc::make_mut(bytes)[..]),
        }
        format!("spoiled {path}")
    }
}

impl Segment {
    /// In the directory of its chain; elsewhere it is another process's, and nobody promises to look there.
    fn is_at_home(&self) -> bool {
        let random = self.chain.rsplit('/').next().unwrap();
        self.path.rsplit_once('/').unwrap().0.ends_with(random)
    }

    fn spoil(&mut self, kind: u32, random: &mut StdRng) -> String {
        let size = self.bytes.len();
        if size == 0 {
            return "nothing".to_owned();
        }
        let written = self.frames.last().map_or(size, |frame| frame.start + frame.length).min(size);
        let at = random.random_range(0..written.max(1));
        let length = 1 << random.random_range(0..17);
        let end = (at + length).min(size);
        match kind {
            4 | 5 => self.overwrite(at, at + 1, |bytes| bytes[0] ^= 1 << random.random_range(0..8)),
            6 => self.overwrite(at, end, |bytes| bytes.fill(0)),
            7 => self.overwrite(at, end, |bytes| random.fill(bytes)),
            8 => {
                self.hit(at, size);
                Arc::make_mut(&mut self.bytes).truncate(at);
                format!("cut {} at {at}", self.path)
            }
            _ => {
                self.hit(at, end);
                if at < COPY + MEANT {
                    self.headers[1] = false;
                }
                Arc::make_mut(&mut self.bytes).drain(at..end);
                for frame in self.frames.iter_mut().filter(|frame| frame.start >= end) {
                    frame.start -= end - at;
                    // What slides into the header's place is not looked for there.
                    frame.whole &= frame.start >= HEADER;
                }
                format!("took {at}..{end} out of {}", self.path)
            }
        }
    }

    fn overwrite(&mut self, at: usize, end: usize, how: impl FnOnce(&mut [u8])) -> String {
        self.hit(at, end);
        how(&mut Arc::make_mut(&mut self.bytes)[at..end]);
        format!("overwrote {at}..{end} of {}", self.path)
    }

    fn hit(&mut self, at: usize, end: usize) {
        for frame in self.frames.iter_mut().filter(|frame| frame.start < end && at < frame.start + frame.length) {
            frame.whole = false;
        }
        for (copy, whole) in self.headers.iter_mut().enumerate() {
            *whole &= !(copy * COPY < end && at < copy * COPY + MEANT);
        }
    }
}

fn segment((path, bytes): &(String, Arc<Vec<u8>>)) -> Segment {
    let header = Header::decode(&bytes[..HEADER]).unwrap();
    let (mut start, mut frames) = (HEADER, Vec::new());
    while let Some(head) = bytes.get(start..start + FRAME) {
        let payload = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        if payload == 0 {
            break;
        }
        let seq = u64::from_le_bytes(head[8..16].try_into().unwrap());
        frames.push(Frame { seq, start, length: FRAME + payload, whole: true });
        start += FRAME + payload;
    }
    Segment {
        path: path.clone(),
        chain: header.chain,
        first_seq: header.first_seq,
        bytes: bytes.clone(),
        frames,
        headers: [true; 2],
    }
}
