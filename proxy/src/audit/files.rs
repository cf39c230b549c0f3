//! The file system as the spool needs it: a small trait, so that the writer, recovery and the readers run unchanged on a
//! disk that tears writes and forgets. Paths are relative to the spool's directory. Not the disk itself; that is `disk`.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// An open file, shared between who writes and who reads it.
pub type Handle = Arc<dyn File>;

pub trait File: Send + Sync {
    /// Writes all of `bytes`, or fails; after a failure any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// After success everything written before survives power loss. After a failure nothing may be assumed, and asking
    /// again may succeed without meaning it.
    fn sync_data(&self) -> io::Result<()>;
    fn size(&self) -> io::Result<u64>;
    /// Gives the file `size` bytes of real zeros, not a hole: later syncs then have no metadata to journal. Few of them are on
    /// their way to the disk at any time, so that syncs of other files do not wait for all.
    fn fill_zero(&self, size: u64) -> io::Result<()>;
    /// The same for two handles of one file, and for no other.
    fn identity(&self) -> io::Result<(u64, u64)>;
}

/// Held until dropped, and by the kernel no longer than the process lives.
pub trait Lock: Send {
    /// Of the file it is on.
    fn identity(&self) -> io::Result<(u64, u64)>;
}

pub trait Files: Send + Sync + 'static {
    /// Makes the spool's directory, synced into its parent, which must be there. `Err` also for what must not be used: a
    /// symlink, NFS, a directory others may write.
    fn prepare_root(&self) -> io::Result<()>;
    /// A new file, only for its owner. `AlreadyExists` if there is one.
    fn create(&self, path: &str) -> io::Result<Handle>;
    /// Opens for reading. Never follows a symlink, in no part of the path.
    fn open(&self, path: &str) -> io::Result<Handle>;
    /// Fine if it is already there.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// `""` is the spool's directory. Names made, moved and removed in it before survive power loss afterwards.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove_file(&self, path: &str) -> io::Result<()>;
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Names in the directory, sorted; an absent directory is `NotFound`.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// `None`: another process holds it.
    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn Lock>>>;
    /// Whether the name still leads to `file`. What is written to one that was removed, or moved away with its directory,
    /// is lost to everybody who looks here.
    fn leads_to(&self, path: &str, file: &Handle) -> io::Result<bool> {
        match self.open(path) {
            Ok(found) => Ok(found.identity()? == file.identity()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
    /// Bytes the file system would still give us.
    fn available(&self) -> io::Result<u64>;
}

/// What came of something that is done where nothing may be: it is fine if nothing was.
pub fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The disk is, or the user's share of it.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Monotonic time for every decision about waiting, wall time for what is written down.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Instant;
    fn wall(&self) -> SystemTime;
}

#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
