//! The real places that records are read from: what a configuration names, and a spool's directory. Used by every
//! command that reads records.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;

use super::{Configured, Failure, Openers, SpoolEntries, SpoolReading, Where};
use crate::app::parts;
use crate::audit::publisher::Entry;
use crate::audit::scan::{Damage, EpochId, Oldest, Scan, Scanned};
use crate::config;

/// Between two looks at a spool that another process writes.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Places;

impl Openers for Places {
    fn config(&self, path: &Path) -> Result<Configured, Failure> {
        let config = config::load(path)?.config;
        let Some(kafka) = &config.kafka else { return Ok(Where::Spool(config.audit.spool).into()) };
        let place = Where::Kafka { connection: parts::connection(&config, kafka), topic: kafka.topic.clone() };
        Ok(Configured { place, checkpoint_topic: Some(kafka.checkpoint_topic.clone()) })
    }

    fn spool(&self, dir: &Path, follow: bool) -> anyhow::Result<SpoolEntries> {
        if !dir.is_dir() {
            bail!("`{}` is no directory", dir.display());
        }
        Ok(Box::new(Entries { scan: Scan::new(dir), follow, read: BTreeSet::new() }))
    }
}

struct Entries {
    scan: Scan,
    follow: bool,
    /// Epochs that had a record.
    read: BTreeSet<EpochId>,
}

impl Entries {
    fn scan(&mut self) -> io::Result<Option<Scanned>> {
        match self.scan.next()? {
            None if !self.follow => self.scan.behind_damage(),
            scanned => Ok(scanned),
        }
    }
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.scan() {
                Ok(Some(Scanned::Record(entry))) => {
                    if !self.read.contains(&entry.epoch) {
                        self.read.insert(entry.epoch.clone());
                    }
                    return Some(Ok(entry));
                }
                Ok(Some(Scanned::Damage(damage))) => eprintln!("countersign: {}", missing(&damage)),
                Ok(None) if self.follow => std::thread::sleep(POLL),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// For standard error, between the records.
fn missing(damage: &Damage) -> String {
    let Damage { epoch, chain, segment, offset, bytes, first_seq, last_seq, before: _ } = damage;
    // As it stands in a file, which may be anybody's: nothing of it may reach the terminal as a command.
    let (chain, segment) = (chain.escape_debug(), segment.escape_debug());
    let records = if first_seq == last_seq {
        format!("record {first_seq} of chain {chain} is")
    } else {
        format!("records {first_seq} to {last_seq} of chain {chain} are")
    };
    // No bytes: nothing stands where they were, or their file is gone.
    let place =
        if *bytes > 0 { format!("{bytes} bytes at {offset} of {segment} cannot be read, ") } else { String::new() };
    format!("{records} missing here: {place}in epochs/{}", epoch.as_str())
}

impl SpoolReading for Entries {
    fn oldest(&self) -> io::Result<Option<(String, u64)>> {
        // An epoch between those that were read and had nothing to be read: it tells nothing about them.
        let known = |oldest: &Oldest| {
            self.read.contains(&oldest.epoch) || self.read.last().is_none_or(|last| oldest.epoch > *last)
        };
        Ok(self.scan.oldest()?.filter(known).and_then(|oldest| Some((oldest.chain?, oldest.first_seq))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_records_are_told_with_their_place() {
        let epoch = EpochId::new(1_795_439_107_000, 0x9c1e);
        let (chain, segment) = ("i/9c1e".into(), "184467-000003".to_owned());
        let mut damage =
            Damage { epoch, chain, segment, offset: 8192, bytes: 512, first_seq: 17, last_seq: 20, before: None };
        let (place, epoch) =
            ("512 bytes at 8192 of 184467-000003 cannot be read", "epochs/1795439107000-0000000000009c1e");
        let told = format!("records 17 to 20 of chain i/9c1e are missing here: {place}, in {epoch}");
        assert_eq!(missing(&damage), told);
        damage.chain = "i\u{1b}[2J".into();
        assert!(missing(&damage).starts_with("records 17 to 20 of chain i\\u{1b}[2J are"), "{}", missing(&damage));
        damage.chain = "i/9c1e".into();
        (damage.last_seq, damage.bytes) = (17, 0);
        assert_eq!(missing(&damage), format!("record 17 of chain i/9c1e is missing here: in {epoch}"));
    }

    #[test]
    fn a_configuration_with_mistakes_is_64_and_one_that_is_not_there_2() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[listen]\nadress = 1\n").unwrap();
        let wrong = Places.config(file.path()).unwrap_err();
        assert_eq!(wrong.code(), 64);
        assert!(wrong.to_string().contains(":2:1: unknown key `listen.adress`; did you mean `address`?"), "{wrong}");
        assert_eq!(Places.config(Path::new("/nowhere/c.toml")).unwrap_err().code(), 2);
    }
}
