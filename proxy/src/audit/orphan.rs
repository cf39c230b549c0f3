//! A spool that lost its process, opened to ship what it has not delivered: under the spool's lock, with its cursors, and
//! without a chain of its own, because nobody may go on with another one's. A [`Source`] for the publisher; opened by
//! the command `publish`.
//!
//! Damage on the way cannot be named in a record here. It is told to the caller, and the cursor stays before it, so that
//! a process that opens the spool later names it, as it would have.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::backlog::Backlog;
use crate::audit::disk::{Disk, StartError};
use crate::audit::envelope::Source as Instance;
use crate::audit::files::{Files, SystemClock};
use crate::audit::publisher::{Entry, EpochId, Source};
use crate::audit::recovery::{self, Found};
use crate::audit::shared::{Options, Shared};
use crate::audit::tally::Tally;
use crate::metrics::Metrics;

/// Between two writes of the cursors.
const STORE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    #[error("`{0}` is no spool: it has no `epochs`")]
    NoSpool(PathBuf),
    #[error("spool `{0}` is locked: its process lives and ships it")]
    Live(PathBuf),
    #[error(transparent)]
    Unusable(#[from] StartError),
    #[error("spool `{path}` cannot be {what}: {error}")]
    Io { path: PathBuf, what: &'static str, error: io::Error },
}

pub struct Orphan {
    backlog: Backlog,
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    stored: Instant,
}

impl Orphan {
    /// Takes the lock and keeps it until dropped. Nothing is written but the lock's file, the cursors, and whole
    /// copies of records of which the topic took a stub only.
    pub fn open(directory: &Path, metrics: Arc<Metrics>) -> Result<Self, OrphanError> {
        let disk = Disk::new(directory);
        disk.check()?;
        let wrong = |what| move |error| OrphanError::Io { path: directory.to_owned(), what, error };
        match disk.list("epochs") {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OrphanError::NoSpool(directory.to_owned()));
            }
            Err(error) => return Err(wrong("read")(error)),
        }
        let lock = disk.try_lock("lock").map_err(wrong("locked"))?;
        let lock = lock.ok_or_else(|| OrphanError::Live(directory.to_owned()))?;
        let files: Arc<dyn Files> = Arc::new(disk);
        // What cannot be read must not keep the rest from leaving; it is tried again on the way.
        let found = recovery::recover(&files, false).or_else(|_| recovery::recover(&files, true));
        let found = found.map_err(wrong("read"))?;
        let source = Instance::new(instance(&found));
        let options = Options::new(directory);
        let shared = Shared::new(options, source, ("", ""), metrics, files, Arc::new(SystemClock));
        *shared.lock.lock() = Some(lock);
        for damage in &found.damages {
            shared.damage(damage);
        }
        {
            let mut inventory = shared.inventory.lock();
            (inventory.epochs, inventory.whole) = (found.epochs, found.whole);
        }
        let (waiting, _) = shared.inventory.lock().undelivered();
        let tally = Arc::new(Tally::of(waiting));
        let orphan = Self { backlog: Backlog::new(shared.clone()), shared, tally, stored: Instant::now() };
        orphan.count();
        Ok(orphan)
    }

    /// How far shipping is, to be looked at from another thread.
    pub fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    fn count(&self) {
        let (waiting, _) = self.shared.inventory.lock().undelivered();
        let missing =
            self.shared.reported.lock().iter().map(|d| (d.chain.to_string(), d.first_seq, d.last_seq)).collect();
        self.tally.left(waiting, missing);
    }

    fn store(&mut self) -> io::Result<()> {
        self.stored = Instant::now();
        self.shared.store_cursors()
    }
}

/// Whose chains these are; for damage in an epoch of which not even the header is whole.
fn instance(found: &Found) -> &str {
    found.previous.as_ref().and_then(|p| p.id.rsplit_once('/')).map_or("unknown", |(instance, _)| instance)
}

impl Source for Orphan {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let next = self.backlog.next()?;
        if next.is_none() {
            self.count();
        }
        Ok(next)
    }

    fn wait(&self, timeout: Duration) -> bool {
        self.backlog.wait(timeout)
    }

    fn delivered(&mut self, epoch: &EpochId, seq: u64) {
        self.backlog.delivered(epoch, seq);
        self.count();
        if self.stored.elapsed() >= STORE
            && let Err(error) = self.store()
        {
            tracing::warn!(%error, "cannot store a cursor; what is shipped now would be shipped again");
        }
    }

    fn stubbed(&mut self, epoch: &EpochId, seq: u64) -> io::Result<()> {
        self.backlog.stubbed(epoch, seq)
    }

    fn rewind(&mut self) {
        self.backlog.rewind();
    }

    fn flush(&mut self) -> io::Result<()> {
        self.store()
    }
}
