//! `Files` on a real disk. Every path is walked from the spool's directory with `O_NOFOLLOW`, so that a symlink put
//! there while the process runs is an error and not a way out. Called by whoever opens a spool.

use std::fs::Metadata;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use crate::audit::files::{File, Files, Handle, Lock};

const NFS_MAGIC: i64 = 0x6969;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
/// Zeros that are on their way to the disk at once, in bytes: a commit's sync may wait behind them. Measured: none of
/// theirs took more than 11 ms, where that of a whole segment took 29 to 46.
const ZEROS_AT_ONCE: u64 = 2 << 20;
/// How long that may go on for one file; what is left then goes at once. On a disk whose syncs take long, thirty of them would
/// make a segment late, and everybody waits for that.
const UNHURRIED: Duration = Duration::from_millis(200);

/// What waiting cannot mend: the process ends before it binds.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("spool `{0}` is a symbolic link; name the directory itself")]
    Symlink(PathBuf),
    #[error("spool `{0}` is not a directory")]
    NotDirectory(PathBuf),
    #[error("spool `{0}` is on NFS, where a synced write may still be lost; use a local disk")]
    Nfs(PathBuf),
    #[error("spool `{path}` may be written by others (mode {mode:04o}); `chmod go-w` it")]
    WritableByOthers { path: PathBuf, mode: u32 },
    #[error("spool `{path}` belongs to another user (uid {uid})")]
    ForeignOwner { path: PathBuf, uid: u32 },
    #[error("cannot start a thread for the spool: {0}")]
    Thread(io::Error),
}

pub struct Disk {
    root: PathBuf,
}

impl Disk {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether the directory may be used. What is missing or cannot be looked at is fine here: that may change.
    pub fn check(&self) -> Result<(), StartError> {
        let path = || self.root.clone();
        if let Ok(found) = std::fs::symlink_metadata(&self.root) {
            if found.is_symlink() {
                return Err(StartError::Symlink(path()));
            }
            if !found.is_dir() {
                return Err(StartError::NotDirectory(path()));
            }
            check_owner(&self.root, &found)?;
        }
        let existing = self.root.ancestors().find(|p| p.exists());
        if existing.and_then(|p| rustix::fs::statfs(p).ok()).is_some_and(|s| is_nfs(s.f_type)) {
            return Err(StartError::Nfs(path()));
        }
        Ok(())
    }

    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(&self.root, flags, Mode::empty())?;
        for part in path.split('/').filter(|p| !p.is_empty()) {
            at = rustix::fs::openat(&at, part, flags, Mode::empty())?;
        }
        Ok(at)
    }

    fn parent<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.directory(parent)?, name))
    }

    fn open_with(&self, path: &str, flags: OFlags) -> io::Result<std::fs::File> {
        let (parent, name) = self.parent(path)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }
}

/// By the type that `statfs` says.
fn is_nfs(kind: i64) -> bool {
    kind == NFS_MAGIC
}

fn check_owner(path: &Path, found: &Metadata) -> Result<(), StartError> {
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StartError::WritableByOthers { path: path.to_owned(), mode });
    }
    if found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw() {
        return Err(StartError::ForeignOwner { path: path.to_owned(), uid: found.uid() });
    }
    Ok(())
}

/// Makes `path`, private to us, and syncs its name into its parent. The parent must be there: where it is not, a volume
/// may not be mounted yet, and records must not end up on the disk beneath.
fn create_synced(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    std::fs::File::open(parent)?.sync_all()
}

impl Files for Disk {
    fn prepare_root(&self) -> io::Result<()> {
        create_synced(&self.root)?;
        self.check().map_err(io::Error::other)
    }

    fn create(&self, path: &str) -> io::Result<Handle> {
        Ok(Arc::new(DiskFile(self.open_with(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?)))
    }

    fn open(&self, path: &str) -> io::Result<Handle> {
        Ok(Arc::new(DiskFile(self.open_with(path, OFlags::RDONLY)?)))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.directory(path)?)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_dir, from) = self.parent(from)?;
        let (to_dir, to) = self.parent(to)?;
        Ok(rustix::fs::renameat(&from_dir, from, &to_dir, to)?)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(self.directory(path)?)? {
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn Lock>>> {
        let file = self.open_with(path, OFlags::RDWR | OFlags::CREATE)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(DiskLock(file)))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn available(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

struct DiskLock(std::fs::File);

impl Lock for DiskLock {
    fn identity(&self) -> io::Result<(u64, u64)> {
        identity(&self.0)
    }
}

fn identity(file: &std::fs::File) -> io::Result<(u64, u64)> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}

struct DiskFile(std::fs::File);

impl File for DiskFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let mut total = 0;
        while !buffer.is_empty() {
            match self.0.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(read) => {
                    total += read;
                    offset += read as u64;
                    buffer = buffer.split_at_mut_checked(read).map_or(&mut [], |(_, rest)| rest);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn fill_zero(&self, size: u64) -> io::Result<()> {
        let began = Instant::now();
        let write = |piece: &[u8], offset| self.0.write_all_at(piece, offset);
        fill(self.size()?, size, write, || self.0.sync_data(), || began.elapsed() < UNHURRIED)
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        identity(&self.0)
    }
}

/// Zeros from `offset` on up to `size`, synced a few at a time while there is no hurry; the last are left to the caller's sync.
fn fill(
    mut offset: u64,
    size: u64,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
    mut sync: impl FnMut() -> io::Result<()>,
    unhurried: impl Fn() -> bool,
) -> io::Result<()> {
    while offset < size {
        let piece = ZEROS.get(..usize::try_from(size - offset).unwrap_or(ZEROS.len())).unwrap_or(&ZEROS);
        write(piece, offset)?;
        offset += piece.len() as u64;
        if offset.is_multiple_of(ZEROS_AT_ONCE) && offset < size && unhurried() {
            sync()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::PermissionsExt;

    /// Seen: each new segment went to the disk with one sync of thirty milliseconds, beside those of the writer.
    #[test]
    fn few_zeros_are_on_their_way_at_once() {
        let (unsynced, most, end) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let write = |piece: &[u8], offset: u64| {
            assert_eq!(offset, end.get());
            end.set(offset + piece.len() as u64);
            unsynced.set(unsynced.get() + piece.len() as u64);
            most.set(most.get().max(unsynced.get()));
            Ok(())
        };
        let sync = || {
            unsynced.set(0);
            Ok(())
        };
        fill(0, (64 << 20) + 100, write, sync, || true).unwrap();
        assert_eq!((end.get(), most.get()), ((64 << 20) + 100, ZEROS_AT_ONCE));
        let failing = || Err(io::Error::other("no"));
        assert!(fill(0, 64 << 20, |_, _| Ok(()), failing, || true).is_err());
        assert!(fill(0, 1024, |_, _| Ok(()), failing, || true).is_ok(), "a cursor is synced by who made it");
    }

    /// Where a sync takes a tenth of a second, thirty of them would make a segment seconds late, and every decision with it.
    #[test]
    fn a_disk_that_is_slow_to_sync_is_asked_a_few_times_only() {
        let (syncs, written) = (Cell::new(0), Cell::new(0));
        let sync = || {
            syncs.set(syncs.get() + 1);
            Ok(())
        };
        let write = |piece: &[u8], _| {
            written.set(written.get() + piece.len());
            Ok(())
        };
        fill(0, 64 << 20, write, sync, || syncs.get() < 2).unwrap();
        assert_eq!((syncs.get(), written.get()), (2, 64 << 20));
    }

    #[test]
    fn refuses_what_waiting_cannot_mend() {
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("spool");
        assert!(Disk::new(&spool).check().is_ok(), "a missing directory may come");
        std::fs::create_dir(&spool).unwrap();
        std::fs::set_permissions(&spool, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(matches!(Disk::new(&spool).check(), Err(StartError::WritableByOthers { mode: 0o777, .. })));
        std::fs::set_permissions(&spool, PermissionsExt::from_mode(0o750)).unwrap();
        assert!(Disk::new(&spool).check().is_ok());
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&spool, &link).unwrap();
        assert!(matches!(Disk::new(&link).check(), Err(StartError::Symlink(_))));
        std::fs::write(home.path().join("file"), "").unwrap();
        assert!(matches!(Disk::new(&home.path().join("file")).check(), Err(StartError::NotDirectory(_))));
    }

    #[test]
    fn nfs_is_known_by_its_type() {
        let (ext4, tmpfs, xfs) = (0xef53, 0x0102_1994, 0x5846_5342);
        assert!(is_nfs(0x6969));
        assert!(![ext4, tmpfs, xfs].into_iter().any(is_nfs));
    }

    #[test]
    fn follows_no_symlink_on_the_way() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("volume/spool");
        let disk = Disk::new(&root);
        assert!(disk.prepare_root().is_err(), "the volume is not there");
        std::fs::create_dir(home.path().join("volume")).unwrap();
        disk.prepare_root().unwrap();
        assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
        std::fs::create_dir(home.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(home.path().join("elsewhere"), root.join("epochs")).unwrap();
        assert!(disk.create("epochs/x").is_err());
        disk.create_dir("real").unwrap();
        disk.create("real/x").unwrap();
        assert_eq!(std::fs::metadata(root.join("real/x")).unwrap().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(root.join("real/x"), root.join("real/y")).unwrap();
        assert!(disk.open("real/y").is_err());
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let home = tempfile::tempdir().unwrap();
        let disk = Disk::new(home.path());
        let held = disk.try_lock("lock").unwrap();
        assert!(held.is_some());
        assert!(disk.try_lock("lock").unwrap().is_none());
        drop(held);
        assert!(disk.try_lock("lock").unwrap().is_some());
    }
}
