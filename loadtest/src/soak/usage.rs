//! What a process holds: descriptors, threads, memory, and the disk below its spool. From `/proc`; Linux only.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// Between two looks of a [`Watch`].
const LOOK: Duration = Duration::from_millis(50);
/// Of `st_blocks`.
const BLOCK: u64 = 512;
const MIB: u64 = 1024 * 1024;

/// Counts, and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub descriptors: u64,
    pub threads: u64,
    pub resident: u64,
    pub disk: u64,
}

impl Usage {
    /// # Errors
    /// When the process has ended or its spool cannot be read.
    pub fn of(pid: u32, spool: &Path) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        };
        Ok(Self {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            threads: number("Threads:").context("no number of threads")?,
            resident: number("VmRSS:").context("the process has ended")? * 1024,
            disk: below(spool)?,
        })
    }

    #[must_use]
    pub fn most(self, other: Self) -> Self {
        self.each(other, u64::max)
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    fn each(self, other: Self, what: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            descriptors: what(self.descriptors, other.descriptors),
            threads: what(self.threads, other.threads),
            resident: what(self.resident, other.resident),
            disk: what(self.disk, other.disk),
        }
    }

    /// What of this is above `limit`, in words; empty where nothing is.
    pub fn above(self, limit: Self) -> Vec<String> {
        let rows = [
            ("descriptors", self.descriptors, limit.descriptors),
            ("threads", self.threads, limit.threads),
            ("bytes resident", self.resident, limit.resident),
            ("bytes on disk", self.disk, limit.disk),
        ];
        let above = rows.into_iter().filter(|(_, found, most)| found > most);
        above.map(|(what, found, most)| format!("{found} {what}, at most {most}")).collect()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, threads, resident, disk } = self;
        let (resident, disk) = (resident / MIB, disk / MIB);
        write!(out, "{descriptors} descriptors, {threads} threads, {resident} MiB resident, {disk} MiB on disk")
    }
}

/// What the files below `directory` take of the disk. One that goes while we look takes nothing.
fn below(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let Ok(entries) = fs::read_dir(directory) else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { below(&entry.path())? } else { metadata.blocks() * BLOCK };
    }
    Ok(bytes)
}

/// Looks at a process again and again until it is asked for the most it saw.
#[derive(Debug)]
pub struct Watch {
    most: Arc<Mutex<Usage>>,
    looking: JoinHandle<()>,
}

impl Watch {
    pub fn start(pid: u32, spool: PathBuf) -> Self {
        let most = Arc::new(Mutex::new(Usage::default()));
        let seen = Arc::clone(&most);
        let looking = tokio::spawn(async move {
            while let Ok(usage) = Usage::of(pid, &spool) {
                let now = seen.lock().most(usage);
                *seen.lock() = now;
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { most, looking }
    }

    /// The most of each, not at one time.
    pub fn most(self) -> Usage {
        *self.most.lock()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let before = Usage::of(std::process::id(), dir.path()).unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), vec![1; 100_000]).unwrap();
        let after = Usage::of(std::process::id(), dir.path()).unwrap();
        // Other tests of this process open and close, too.
        assert!(after.descriptors + 30 > before.descriptors + files.len() as u64, "{before} {after}");
        assert_eq!((before.disk, after.disk >= 100_000), (0, true));
        assert!(after.threads > 0 && after.resident > MIB);
        assert!(Usage::of(u32::MAX, dir.path()).is_err());
    }

    #[test]
    fn what_is_above_a_limit_is_named() {
        let limit = Usage { descriptors: 10, threads: 2, resident: 5, disk: 0 };
        assert!(limit.above(limit).is_empty());
        let more = Usage { threads: 3, ..limit };
        assert_eq!(more.above(limit), ["3 threads, at most 2"]);
        assert_eq!(limit.most(Usage { descriptors: 11, ..Usage::default() }).descriptors, 11);
    }
}
