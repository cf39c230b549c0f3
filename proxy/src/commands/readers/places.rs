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
use crate::audit::scan::{EpochId, Oldest, Scan, Scanned};
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
                Ok(Some(Scanned::Damage(damage))) => eprintln!("countersign: records are missing here: {damage:?}"),
                Ok(None) if self.follow => std::thread::sleep(POLL),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
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
    fn a_configuration_with_mistakes_is_64_and_one_that_is_not_there_2() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[listen]\nadress = 1\n").unwrap();
        let wrong = Places.config(file.path()).unwrap_err();
        assert_eq!(wrong.code(), 64);
        assert!(wrong.to_string().contains(":2:1: unknown key `listen.adress`; did you mean `address`?"), "{wrong}");
        assert_eq!(Places.config(Path::new("/nowhere/c.toml")).unwrap_err().code(), 2);
    }
}
