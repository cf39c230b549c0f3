//! Records that Kafka has as stubs only, kept whole: one file each in the directory `whole` of the spool, which goes by
//! no age. The oldest give way once there are too many. Written by `backlog` before the cursor moves over the record,
//! listed by `recovery`; read by whoever wants to know what the record says.

use std::collections::BTreeMap;
use std::io;

use crate::audit::epoch::EpochId;
use crate::audit::files::{Files, is_full, unless_gone};
use crate::audit::shared::Shared;

const DIRECTORY: &str = "whole";
/// One that is being written. Only one is at a time.
const UNFINISHED: &str = "unfinished";
/// As many may be there, whatever their size.
const MOST: usize = 4096;
/// Of the spool's `max_size`.
const SHARE: u64 = 8;

/// Which are there, oldest first, and their bytes.
pub type Kept = BTreeMap<(EpochId, u64), u64>;

fn path(epoch: &EpochId, seq: u64) -> String {
    format!("{DIRECTORY}/{}-{seq}.json", epoch.as_str())
}

/// `None`: not a name that is given here.
fn parse(name: &str) -> Option<(EpochId, u64)> {
    let (epoch, digits) = name.strip_suffix(".json")?.rsplit_once('-')?;
    let seq = digits.parse::<u64>().ok().filter(|seq| seq.to_string() == digits)?;
    Some((EpochId::parse(epoch)?, seq))
}

/// What earlier processes kept. What cannot be listed counts for nothing, and holds up nobody.
pub fn list(files: &dyn Files) -> Kept {
    let names = match files.list(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::error!(%error, "cannot list the records that are kept whole");
            Vec::new()
        }
        Ok(names) => names,
    };
    let size = |name: &String| files.open(&format!("{DIRECTORY}/{name}")).and_then(|f| f.size()).unwrap_or(0);
    names.iter().filter_map(|name| Some((parse(name)?, size(name)))).collect()
}

/// Makes a file of the record, which survives power loss when this returns, and lets the oldest go for it. After an
/// error it is to be tried again.
pub fn keep(shared: &Shared, epoch: &EpochId, seq: u64, value: &[u8]) -> io::Result<()> {
    let place = (epoch.clone(), seq);
    let bytes = value.len() as u64 + 1;
    // Before, so that a disk that is full of them gets room.
    let limit = (shared.options.max_size / SHARE).saturating_sub(bytes);
    loop {
        let oldest = surplus(&shared.inventory.lock().whole, MOST - 1, limit);
        let Some(oldest) = oldest else { break };
        remove(shared, &oldest)?;
    }
    while let Err(error) = write(shared.files.as_ref(), &path(epoch, seq), value) {
        let oldest = shared.inventory.lock().whole.keys().next().cloned();
        match oldest.filter(|_| is_full(&error)) {
            Some(oldest) => remove(shared, &oldest)?,
            None => return Err(error),
        }
    }
    shared.inventory.lock().whole.insert(place, bytes);
    Ok(())
}

/// Makes the names of the files that are there survive power loss.
pub fn settle(files: &dyn Files) -> io::Result<()> {
    files.sync_dir("")?;
    files.sync_dir(DIRECTORY)
}

/// The oldest, if there are more than `most`, or more than `limit` bytes of them.
fn surplus(kept: &Kept, most: usize, limit: u64) -> Option<(EpochId, u64)> {
    let over = kept.len() > most || kept.values().sum::<u64>() > limit;
    kept.keys().next().filter(|_| over).cloned()
}

fn remove(shared: &Shared, place: &(EpochId, u64)) -> io::Result<()> {
    let path = path(&place.0, place.1);
    unless_gone(shared.files.remove_file(&path))?;
    shared.inventory.lock().whole.remove(place);
    tracing::warn!(path, "record of which kafka has a stub only gave way: it is kept whole no longer");
    Ok(())
}

/// Under its name there is the whole or nothing.
fn write(files: &dyn Files, path: &str, value: &[u8]) -> io::Result<()> {
    let unfinished = format!("{DIRECTORY}/{UNFINISHED}");
    files.create_dir(DIRECTORY)?;
    files.sync_dir("")?;
    unless_gone(files.remove_file(&unfinished))?;
    let file = files.create(&unfinished)?;
    let line = [value, b"\n"].concat();
    let written = file.write_at(&line, 0).and_then(|()| file.sync_data());
    if let Err(error) = written.and_then(|()| files.rename(&unfinished, path)) {
        if let Err(second) = files.remove_file(&unfinished) {
            tracing::debug!(%second, "cannot remove an unfinished file");
        }
        return Err(error);
    }
    files.sync_dir(DIRECTORY)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::audit::disk::Disk;
    use crate::audit::envelope::Source;
    use crate::audit::files::SystemClock;
    use crate::audit::shared::Options;
    use crate::metrics::{Metrics, Names};

    fn opened(home: &Path, max_size: u64) -> Arc<Shared> {
        let options = Options { max_size, ..Options::new(home) };
        let (files, metrics) = (Arc::new(Disk::new(home)), Metrics::new(&Names::default()));
        let shared = Shared::new(options, Source::new("i"), ("", ""), metrics, files, Arc::new(SystemClock));
        shared.inventory.lock().whole = list(shared.files.as_ref());
        shared
    }

    fn seqs(shared: &Shared) -> Vec<u64> {
        let listed = list(shared.files.as_ref());
        assert_eq!(listed, shared.inventory.lock().whole, "what is known is what is there");
        listed.into_keys().map(|(_, seq)| seq).collect()
    }

    #[test]
    fn a_record_is_there_byte_for_byte_and_counted() {
        let home = tempfile::tempdir().unwrap();
        let (shared, epoch) = (opened(home.path(), 1 << 20), EpochId::new(1_795_439_107_000, 0x9c1e));
        for _ in 0..2 {
            keep(&shared, &epoch, 17, br#"{"a":1}"#).unwrap();
        }
        let path = home.path().join("whole/1795439107000-0000000000009c1e-17.json");
        assert_eq!(std::fs::read(path).unwrap(), b"{\"a\":1}\n");
        assert_eq!((seqs(&shared), shared.inventory.lock().bytes()), (vec![17], 8));
        assert_eq!(opened(home.path(), 1 << 20).inventory.lock().bytes(), 8, "by the next process, too");
    }

    #[test]
    fn the_oldest_give_way_for_size() {
        let home = tempfile::tempdir().unwrap();
        let (shared, value) = (opened(home.path(), 8 * 100), [b'x'; 29]);
        for (epoch, seq) in [(2, 0), (1, 9), (1, 10), (2, 1)] {
            keep(&shared, &EpochId::new(epoch, epoch), seq, &value).unwrap();
        }
        assert_eq!(seqs(&shared), [10, 0, 1], "by epoch and seq, not by name or time");
        keep(&shared, &EpochId::new(3, 3), 5, &[b'x'; 200]).unwrap();
        assert_eq!(seqs(&shared), [5], "the newest is kept whatever its size");
    }

    #[test]
    fn the_oldest_give_way_for_number() {
        let home = tempfile::tempdir().unwrap();
        let shared = opened(home.path(), 1 << 40);
        let epoch = EpochId::new(1, 1);
        keep(&shared, &epoch, 0, b"x").unwrap();
        for seq in 1..MOST as u64 {
            std::fs::write(home.path().join(path(&epoch, seq)), "x\n").unwrap();
        }
        shared.inventory.lock().whole = list(shared.files.as_ref());
        keep(&shared, &epoch, MOST as u64, b"x").unwrap();
        let kept = seqs(&shared);
        assert_eq!((kept.len(), kept.first(), kept.last()), (MOST, Some(&1), Some(&(MOST as u64))));
    }

    #[test]
    fn only_names_that_are_given_are_read() {
        let epoch = EpochId::new(1_795_439_107_000, 0x9c1e);
        let name = path(&epoch, 17);
        let name = name.strip_prefix("whole/").unwrap();
        assert_eq!(parse(name), Some((epoch, 17)));
        for wrong in ["x.json", UNFINISHED, "1795439107000-0000000000009c1e-017.json", "1795439107000-9c1e-1.json"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse(&name.replace("17.json", "+17.json")), None);
        assert_eq!(parse(&name.replace(".json", "")), None);
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_takes_nothing_along() {
        let home = tempfile::tempdir().unwrap();
        let (shared, epoch) = (opened(home.path(), 1 << 20), EpochId::new(1, 1));
        std::fs::write(home.path().join(DIRECTORY), "").unwrap();
        assert!(keep(&shared, &epoch, 1, b"x").is_err());
        assert!(shared.inventory.lock().whole.is_empty());
        std::fs::remove_file(home.path().join(DIRECTORY)).unwrap();
        keep(&shared, &epoch, 1, b"x").unwrap();
        assert_eq!(seqs(&shared), [1]);
    }
}
