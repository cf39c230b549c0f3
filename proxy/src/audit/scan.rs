//! Reads a spool directory from outside, while another process may be writing it: no lock, no write. Called by the
//! commands `tail` and `verify`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::audit::disk::Disk;
use crate::audit::epoch::{EpochReader, Extent, Read};
use crate::audit::files::Files;

pub use crate::audit::epoch::{Damage, Entry, EpochId};

#[derive(Debug)]
pub enum Scanned {
    Record(Entry),
    /// Records that are not there, between two that are.
    Damage(Damage),
}

pub struct Scan {
    files: Arc<dyn Files>,
    reading: Option<(EpochId, EpochReader)>,
    /// The last epoch that was read to its end.
    done: Option<EpochId>,
}

impl Scan {
    /// From the first record that is there. Nothing is opened yet.
    pub fn new(directory: &Path) -> Self {
        Self::on(Arc::new(Disk::new(directory)))
    }

    pub fn on(files: Arc<dyn Files>) -> Self {
        Self { files, reading: None, done: None }
    }

    /// Reads on; `None` at the end of what is there now. Call again later to follow a spool that is being written.
    /// Errors: the directory cannot be read. One without epochs is empty.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: it goes on after `None`")]
    pub fn next(&mut self) -> io::Result<Option<Scanned>> {
        loop {
            if self.reading.is_none() {
                let Some(id) = self.following()? else { return Ok(None) };
                let reader = EpochReader::new(self.files.clone(), id.clone(), None);
                self.reading = Some((id, reader));
            }
            let Some((id, reader)) = &mut self.reading else { return Ok(None) };
            match reader.next(Extent::Followed) {
                Ok(Read::Record(entry)) => return Ok(Some(Scanned::Record(entry))),
                Ok(Read::Damage(damage)) => return Ok(Some(Scanned::Damage(damage))),
                Ok(Read::End) => {
                    let id = id.clone();
                    if let Some(damage_or_record) = self.finish(&id)? {
                        return Ok(Some(damage_or_record));
                    }
                    if self.reading.is_some() {
                        return Ok(None);
                    }
                }
                // Its files gave way while they were read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.done = self.reading.take().map(|r| r.0),
                Err(error) => return Err(error),
            }
        }
    }

    /// At the apparent end of an epoch: if a later one exists it is over, and what lies behind damage at its end is
    /// looked for; else it may go on.
    fn finish(&mut self, id: &EpochId) -> io::Result<Option<Scanned>> {
        let later = list(self.files.as_ref())?.into_iter().any(|e| e > *id);
        if !later {
            return Ok(None);
        }
        let Some((_, reader)) = &mut self.reading else { return Ok(None) };
        match reader.next(Extent::Closed)? {
            Read::Record(entry) => Ok(Some(Scanned::Record(entry))),
            Read::Damage(damage) => Ok(Some(Scanned::Damage(damage))),
            Read::End => {
                self.done = self.reading.take().map(|r| r.0);
                Ok(None)
            }
        }
    }

    fn following(&self) -> io::Result<Option<EpochId>> {
        Ok(list(self.files.as_ref())?.into_iter().find(|e| self.done.as_ref().is_none_or(|d| e > d)))
    }
}

fn list(files: &dyn Files) -> io::Result<Vec<EpochId>> {
    let names = match files.list("epochs") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names?,
    };
    let mut ids: Vec<_> = names.iter().filter_map(|n| EpochId::parse(n)).collect();
    ids.sort();
    Ok(ids)
}
