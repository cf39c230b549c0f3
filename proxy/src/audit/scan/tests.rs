//! Segments that go while they are read, in the order in which retention takes them and in another.

use super::*;
use crate::audit::epoch::segment_name;
use crate::audit::segment::{self, Header, Meta};

/// Records of each of its segments.
const EACH: u64 = 10;

fn path(home: &Path, epoch: u64, segment: u64) -> std::path::PathBuf {
    home.join(EpochId::new(epoch, epoch).directory()).join(segment_name(segment * EACH, segment))
}

/// An epoch of so many segments.
fn write(home: &Path, epoch: u64, segments: u64) {
    std::fs::create_dir_all(home.join(EpochId::new(epoch, epoch).directory())).unwrap();
    for number in 0..segments {
        let chain = format!("i/{epoch:016x}");
        let first_seq = number * EACH;
        let header = Header { chain, number, first_seq, prev: [7; 32], salt: 5, created_us: 0 };
        let mut bytes = header.encode();
        for seq in first_seq..first_seq + EACH {
            let start = segment::begin(&mut bytes);
            bytes.extend_from_slice(format!("record {seq}").as_bytes());
            segment::seal(&mut bytes, start, 5, Meta { seq, time_us: 0, settled: 0 });
        }
        bytes.resize(bytes.len() + 4096, 0);
        std::fs::write(path(home, epoch, number), bytes).unwrap();
    }
}

/// Epoch and seq of each record, and ranges of damage.
type Found = (Vec<(EpochId, u64)>, Vec<(u64, u64)>);

fn rest(scan: &mut Scan) -> Found {
    let (mut records, mut damages) = (Vec::new(), Vec::new());
    while let Some(scanned) = scan.next().unwrap() {
        match scanned {
            Scanned::Record(entry) => records.push((entry.epoch, entry.seq)),
            Scanned::Damage(damage) => damages.push((damage.first_seq, damage.last_seq)),
        }
    }
    (records, damages)
}

fn begun() -> (tempfile::TempDir, Scan) {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), 1, 6);
    write(home.path(), 2, 2);
    let mut scan = Scan::new(home.path());
    for seq in 0..3 {
        assert!(matches!(scan.next().unwrap(), Some(Scanned::Record(entry)) if entry.seq == seq));
    }
    (home, scan)
}

#[test]
fn what_gives_way_while_it_is_read_is_no_damage() {
    // All of the first epoch but so many segments.
    for left in [3, 1] {
        let (home, mut scan) = begun();
        (0..6 - left).for_each(|gone| std::fs::remove_file(path(home.path(), 1, gone)).unwrap());
        let (records, damages) = rest(&mut scan);
        assert_eq!(damages, []);
        // What was opened before stays readable.
        let first: Vec<u64> = records.iter().filter(|(e, _)| *e == EpochId::new(1, 1)).map(|(_, seq)| *seq).collect();
        assert!(first.ends_with(&(60 - left * EACH..60).collect::<Vec<_>>()), "{first:?}");
        assert!(!first.contains(&(60 - left * EACH - 1)), "{first:?}");
        assert_eq!(records.len() - first.len(), 20);
        let oldest = scan.oldest().unwrap().unwrap();
        assert_eq!((oldest.epoch, oldest.first_seq), (EpochId::new(1, 1), 60 - left * EACH));
    }
    // All of the first epoch.
    let (home, mut scan) = begun();
    std::fs::remove_dir_all(home.path().join(EpochId::new(1, 1).directory())).unwrap();
    let (records, damages) = rest(&mut scan);
    assert!(
        damages.is_empty() && records.ends_with(&[(EpochId::new(2, 2), 18), (EpochId::new(2, 2), 19)]),
        "{records:?}"
    );
    assert_eq!(scan.oldest().unwrap().unwrap().chain, Some(format!("i/{:016x}", 2)));
}

/// A reader that was not run for long: segments came and went that it never saw.
#[test]
fn what_came_and_gave_way_between_two_looks_is_no_damage() {
    for (removed, expected) in [(0..5, vec![]), (2..5, vec![(20, 49)]), (1..5, vec![(20, 49)])] {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), 1, 2);
        let mut scan = Scan::new(home.path());
        assert_eq!(rest(&mut scan).0.len(), 20);
        write(home.path(), 1, 6);
        removed.for_each(|segment| std::fs::remove_file(path(home.path(), 1, segment)).unwrap());
        let (records, damages) = rest(&mut scan);
        assert_eq!(records.first().map(|(_, seq)| *seq), Some(50));
        assert_eq!(damages, expected, "it is damage where something before it is still there");
    }
}

#[test]
fn what_is_taken_out_of_the_middle_is_damage() {
    // The first segment is still there, or a whole epoch before.
    let (home, mut scan) = begun();
    std::fs::remove_file(path(home.path(), 1, 3)).unwrap();
    assert_eq!(rest(&mut scan).1, [(30, 39)]);
    let (home, mut scan) = begun();
    write(home.path(), 2, 6);
    while !matches!(scan.next().unwrap(), Some(Scanned::Record(entry)) if entry.epoch == EpochId::new(2, 2)) {}
    (0..4).for_each(|gone| std::fs::remove_file(path(home.path(), 2, gone)).unwrap());
    let (_, damages) = rest(&mut scan);
    assert!(matches!(damages[..], [(from, 39)] if from <= 30), "{damages:?}");
}

/// A reader from outside used to take it for the end of the spool, and `verify` called what was before it whole.
#[test]
fn what_is_whole_behind_damage_in_the_newest_segment_is_read() {
    for spoiled in [10, 14, 19] {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), 1, 2);
        let file = path(home.path(), 1, 1);
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.windows(9).position(|w| w == format!("record {spoiled}").as_bytes()).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let mut scan = Scan::new(home.path());
        let (records, damages) = rest(&mut scan);
        assert_eq!((records.len() as u64, damages), (spoiled, vec![]), "it may be written still");
        match scan.behind_damage().unwrap() {
            Some(Scanned::Damage(damage)) => {
                assert_eq!((damage.first_seq, damage.last_seq), (spoiled, spoiled));
                let before = format!("record {}", spoiled - 1);
                assert_eq!(damage.before, Some(crate::audit::chain::hash(before.as_bytes())));
            }
            // Nothing is whole behind the last one: it may be a tail that was torn.
            None => assert_eq!(spoiled, 19),
            Some(Scanned::Record(entry)) => panic!("{entry:?}"),
        }
        let (behind, damages) = rest(&mut scan);
        let seqs: Vec<u64> = behind.into_iter().map(|(_, seq)| seq).collect();
        assert_eq!((seqs, damages), ((spoiled + 1..20).collect(), vec![]));
        assert!(scan.behind_damage().unwrap().is_none());
    }
}

#[test]
fn damage_says_what_was_before_it() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), 1, 3);
    let file = path(home.path(), 1, 0);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|w| w == b"record 4").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let mut scan = Scan::new(home.path());
    let found = loop {
        match scan.next().unwrap() {
            Some(Scanned::Damage(damage)) => break damage,
            Some(Scanned::Record(_)) => {}
            None => panic!("damage is found"),
        }
    };
    assert_eq!((found.first_seq, found.before), (4, Some(crate::audit::chain::hash(b"record 3"))));
    // Whoever begins at the damage knows the record before it from the segment's header only, if that one begins there.
    for (from, before) in [(10, Some([7; 32])), (4, None)] {
        let bytes = std::fs::read(path(home.path(), 1, from / EACH)).unwrap();
        let mut spoiled = bytes.clone();
        let at = bytes.windows(7).position(|w| w == b"record ").unwrap();
        spoiled[at] ^= u8::from(from == 10);
        std::fs::write(path(home.path(), 1, from / EACH), spoiled).unwrap();
        let files: Arc<dyn Files> = Arc::new(Disk::new(home.path()));
        let mut reader = EpochReader::new(files, EpochId::new(1, 1), Some(from));
        let Read::Damage(found) = reader.next(Extent::Closed).unwrap() else { panic!("{from}") };
        assert_eq!((found.first_seq, found.before), (from, before));
    }
}
