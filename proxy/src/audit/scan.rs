//! Reads a spool directory from outside, while another process may be writing it and removing its oldest segments: no lock,
//! no write. Called by the commands that read a spool, and by `again`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::audit::disk::Disk;
use crate::audit::epoch::{self, EpochReader, Extent, Read};
use crate::audit::files::Files;
use crate::audit::reader::SegmentReader;

pub use crate::audit::epoch::{Damage, Entry, EpochId};

#[derive(Debug)]
pub enum Scanned {
    Record(Entry),
    /// Records that are not there, between two that are. Not those that gave way, since their time was over, while they
    /// were to be read.
    Damage(Damage),
}

/// The oldest segment that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oldest {
    pub epoch: EpochId,
    /// `None`: its header cannot be read.
    pub chain: Option<String>,
    pub first_seq: u64,
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
            let Some(id) = self.begin()? else { return Ok(None) };
            let read = match self.read(Extent::Followed)? {
                // If a later epoch exists this one is over, and what lies behind damage at its end is looked for; else it
                // may go on.
                Some(Read::End) if list(self.files.as_ref())?.into_iter().any(|e| e > id) => {
                    self.read(Extent::Closed)?
                }
                Some(Read::End) => return Ok(None),
                read => read,
            };
            match read {
                Some(Read::Record(entry)) => return Ok(Some(Scanned::Record(entry))),
                Some(Read::Damage(damage)) if self.gave_way(&damage)? => {}
                Some(Read::Damage(damage)) => return Ok(Some(Scanned::Damage(damage))),
                Some(Read::End) | None => {
                    self.reading = None;
                    self.done = Some(id);
                }
            }
        }
    }

    /// At the end: what comes behind something that cannot be read, if anything whole does. First the damage, which
    /// is then behind us. For those who read no further; who follows a spool finds it when the next epoch begins.
    pub fn behind_damage(&mut self) -> io::Result<Option<Scanned>> {
        let Some((id, reader)) = &self.reading else { return Ok(None) };
        let is_end = |extent| -> io::Result<bool> {
            match EpochReader::new(self.files.clone(), id.clone(), reader.due_seq()).next(extent) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                read => Ok(matches!(read?, Read::End)),
            }
        };
        // Records are written in their order: once a later one is there, the one that is due is there, too, or never will be.
        if is_end(Extent::Closed)? || !is_end(Extent::Followed)? {
            return Ok(None);
        }
        match self.read(Extent::Closed)? {
            Some(Read::Record(entry)) => Ok(Some(Scanned::Record(entry))),
            Some(Read::Damage(damage)) if !self.gave_way(&damage)? => Ok(Some(Scanned::Damage(damage))),
            Some(Read::Damage(_) | Read::End) | None => Ok(None),
        }
    }

    /// The epoch that is read, which is the next one if none is.
    fn begin(&mut self) -> io::Result<Option<EpochId>> {
        if let Some((id, _)) = &self.reading {
            return Ok(Some(id.clone()));
        }
        let next = list(self.files.as_ref())?.into_iter().find(|e| self.done.as_ref().is_none_or(|d| e > d));
        if let Some(id) = &next {
            self.reading = Some((id.clone(), EpochReader::new(self.files.clone(), id.clone(), None)));
        }
        Ok(next)
    }

    /// `None`: the epoch's files gave way while they were read.
    fn read(&mut self, extent: Extent) -> io::Result<Option<Read>> {
        let Some((_, reader)) = &mut self.reading else { return Ok(None) };
        match reader.next(extent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Segments are removed from the oldest on. So what is missing has given way if a segment was not there any more when it
    /// was to be read, and nothing is left from before it.
    fn gave_way(&self, damage: &Damage) -> io::Result<bool> {
        if !self.reading.as_ref().is_some_and(|(_, reader)| reader.has_lost_segments()) {
            return Ok(false);
        }
        Ok(self.oldest()?.is_none_or(|oldest| (&damage.epoch, damage.last_seq) < (&oldest.epoch, oldest.first_seq)))
    }

    /// What is there now begins here; `None`: nothing is.
    pub fn oldest(&self) -> io::Result<Option<Oldest>> {
        for id in list(self.files.as_ref())? {
            let names = match epoch::list_segments(self.files.as_ref(), &id) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                names => names?,
            };
            let found = names.iter().filter_map(|name| self.begins(&id, name).transpose());
            let segments = found.collect::<io::Result<Vec<Oldest>>>()?;
            if let Some(oldest) = segments.into_iter().min_by_key(|oldest| oldest.first_seq) {
                return Ok(Some(oldest));
            }
        }
        Ok(None)
    }

    /// As the header says, which is right where the name is another's.
    fn begins(&self, id: &EpochId, name: &str) -> io::Result<Option<Oldest>> {
        let opened = self.files.open(&format!("{}/{name}", id.directory())).and_then(SegmentReader::open);
        let (chain, first_seq) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(Some(reader)) if reader.header().chain.ends_with(id.random()) => {
                (Some(reader.header().chain.clone()), reader.header().first_seq)
            }
            Ok(Some(_)) => return Ok(None),
            // It may hold what its name says.
            Ok(None) | Err(_) => (None, epoch::parse_segment_name(name).map_or(0, |(first, _)| first)),
        };
        Ok(Some(Oldest { epoch: id.clone(), chain, first_seq }))
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

#[cfg(test)]
mod tests;
