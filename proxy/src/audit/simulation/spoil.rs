//! Changes bytes of segments that nobody writes any more: a bit, a sector of zeros, two sectors for each other, one copy
//! of a header. Says which records stood there.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, Inode};
use crate::audit::epoch::{EpochId, parse_segment_name};
use crate::audit::segment::{self, FRAME, HEADER, Header, Parsed};

const SECTOR: usize = 512;

/// Chain and seq of what was hit.
pub type Hit = Vec<(String, u64)>;

/// `live`: the epoch that is written, and the number of its last segment.
pub fn one(disk: &Disk, lot: u64, live: Option<(&EpochId, u64)>) -> Hit {
    let mut rng = SmallRng::seed_from_u64(lot);
    let mut platter = disk.0.lock();
    let closed = |name: &str| {
        let number = name.rsplit('/').next().and_then(parse_segment_name).map(|(_, number)| number);
        live.is_none_or(|(epoch, last)| !name.contains(epoch.as_str()) || number < Some(last))
    };
    let mut files = platter.names_ending(".seg");
    files.retain(|(name, inode)| closed(name) && !platter.inodes[*inode].spoiled);
    if files.is_empty() {
        return Hit::new();
    }
    let at = rng.random_range(0..files.len());
    spoil(&mut platter.inodes[files[at].1], &mut rng)
}

fn spoil(inode: &mut Inode, rng: &mut SmallRng) -> Hit {
    let Some(header) = inode.seen.get(..HEADER).and_then(Header::decode) else { return Hit::new() };
    let frames = frames(&inode.seen, header.salt);
    let Some((_, _, end)) = frames.last().copied() else { return Hit::new() };
    // Who spoils the record that names a gap hides the gap: two things at once, which nobody promises to survive.
    let names = |(_, from, to): &(u64, usize, usize)| inode.seen[*from..*to].windows(12).any(|w| w == b"damage_found");
    if frames.iter().any(names) {
        return Hit::new();
    }
    inode.spoiled = true;
    let mut places = Vec::new();
    match rng.random_range(0..5) {
        0 => {
            let at = rng.random_range(0..64) + if rng.random() { HEADER / 2 } else { 0 };
            inode.seen[at] ^= 1 << rng.random_range(0..8);
        }
        1 if end - HEADER > 4 * SECTOR => {
            let (a, b) = (sector(rng, end), sector(rng, end));
            for i in 0..SECTOR {
                inode.seen.swap(a + i, b + i);
            }
            places = vec![a..a + SECTOR, b..b + SECTOR];
        }
        2 if end - HEADER > SECTOR => {
            let at = sector(rng, end);
            inode.seen[at..at + SECTOR].fill(0);
            places.push(at..at + SECTOR);
        }
        _ => {
            let at = rng.random_range(HEADER..end);
            inode.seen[at] ^= 1 << rng.random_range(0..8);
            places.push(at..at + 1);
        }
    }
    // Whole frames that change places are found where they are, and what stood between counts as gone: a limit of the
    // reader, which goes forward only and names what it passes over.
    if let [a, b] = places[..].as_ref() {
        let all = a.start.min(b.start)..a.end.max(b.end);
        places.clear();
        places.push(all);
    }
    let hit = |(_, from, to): &(u64, usize, usize)| places.iter().any(|p| p.start < *to && *from < p.end);
    frames.iter().filter(|f| hit(f)).map(|(seq, ..)| (header.chain.clone(), *seq)).collect()
}

fn sector(rng: &mut SmallRng, end: usize) -> usize {
    rng.random_range(HEADER / SECTOR..end / SECTOR) * SECTOR
}

/// Seq, begin and end of each whole frame up to the first place where none is.
fn frames(bytes: &[u8], salt: u64) -> Vec<(u64, usize, usize)> {
    let (mut at, mut found) = (HEADER, Vec::new());
    while let Parsed::Frame { meta, length } = segment::parse(bytes.get(at..).unwrap_or_default(), salt) {
        found.push((meta.seq, at, at + FRAME + length));
        at += FRAME + length;
    }
    found
}

/// Whether a whole frame of `seq` is in the file.
pub fn holds(disk: &Disk, inode: usize, seq: u64) -> bool {
    let bytes = disk.0.lock().inodes[inode].seen.clone();
    Header::decode(&bytes[..HEADER]).is_some_and(|header| frames(&bytes, header.salt).iter().any(|(s, ..)| *s == seq))
}
