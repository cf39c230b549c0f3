//! A disk that keeps what processes see and what survives power loss apart: sector by sector and name by name it loses
//! whatever was not synced, and it fails on demand. A failed sync forgets that pages were dirty, as kernels do, so that a
//! second sync of the same file would lie. Not the schedule; that is `schedule`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::planted::{self, Bug};
use super::process::ManualClock;
use crate::audit::files::{File, Files, Handle, Lock};

const SECTOR: usize = 512;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

type Sector = Box<[u8; SECTOR]>;

#[derive(Default)]
pub struct Inode {
    pub seen: Vec<u8>,
    /// What is on the platter where it is not what is seen, and a sync would write.
    dirty: BTreeMap<usize, Sector>,
    /// The same where a failed sync has lost the knowledge that there is something to write.
    forgotten: BTreeMap<usize, Sector>,
    /// Spoiled by the simulation already.
    pub spoiled: bool,
}

impl Inode {
    fn sector(&self, sector: usize) -> Sector {
        let mut bytes = Box::new([0; SECTOR]);
        let rest = self.seen.get(sector * SECTOR..).unwrap_or_default();
        let length = rest.len().min(SECTOR);
        bytes[..length].copy_from_slice(&rest[..length]);
        bytes
    }

    fn write(&mut self, bytes: &[u8], from: usize) {
        if bytes.is_empty() {
            return;
        }
        for sector in from / SECTOR..(from + bytes.len()).div_ceil(SECTOR) {
            if !self.dirty.contains_key(&sector) {
                let old = self.forgotten.remove(&sector).unwrap_or_else(|| self.sector(sector));
                self.dirty.insert(sector, old);
            }
        }
        self.seen.resize(self.seen.len().max(from + bytes.len()), 0);
        self.seen[from..from + bytes.len()].copy_from_slice(bytes);
    }

    fn sync_fails(&mut self) {
        for (index, (sector, old)) in std::mem::take(&mut self.dirty).into_iter().enumerate() {
            if index % 2 == 0 {
                self.forgotten.insert(sector, old);
            }
        }
    }

    fn lose(&mut self, rng: &mut SmallRng) {
        let dirty: Vec<_> = std::mem::take(&mut self.dirty).into_iter().filter(|_| rng.random()).collect();
        for (sector, old) in dirty.into_iter().chain(std::mem::take(&mut self.forgotten)) {
            let from = (sector * SECTOR).min(self.seen.len());
            let to = (from + SECTOR).min(self.seen.len());
            self.seen[from..to].copy_from_slice(&old[..to - from]);
        }
    }
}

/// `None` is a directory.
type Names = BTreeMap<String, Option<usize>>;

pub struct Platter {
    pub inodes: Vec<Inode>,
    pub names: Names,
    durable: Names,
    rng: SmallRng,
    /// Operations until everything fails for good, as at a crash.
    pub stop_in: Option<u64>,
    /// Operations until the next ones fail, and how many.
    pub fail_in: Option<(u64, u64)>,
    pub fail_reads: Option<(u64, u64)>,
    /// Bytes of one file that cannot be read.
    pub unreadable: Option<(usize, std::ops::Range<u64>)>,
    locked: bool,
    pub operations: u64,
    /// Syncs wait until it is open.
    pub gate: Option<Gate>,
    /// The next `create` panics.
    pub panics: bool,
    /// Bytes of segments that fit on it.
    pub capacity: u64,
    /// What each operation takes, on this clock.
    pub slow: Option<(Arc<ManualClock>, Duration)>,
}

pub type Gate = Arc<(Mutex<bool>, Condvar)>;

fn due(plan: &mut Option<(u64, u64)>) -> bool {
    match plan {
        Some((0, times)) => {
            *times -= 1;
            if *times == 0 {
                *plan = None;
            }
            true
        }
        Some((left, _)) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl Platter {
    pub fn stopped(&self) -> bool {
        self.stop_in == Some(0)
    }

    /// Bytes of all segments, whoever made them, and of those that are being made.
    fn segments(&self) -> u64 {
        let counts = |name: &str| name.ends_with(".seg") || name.contains("/spare-");
        let found = self.names.iter().filter(|(name, _)| counts(name)).filter_map(|(_, inode)| *inode);
        found.map(|inode| self.inodes.get(inode).map_or(0, |i| i.seen.len() as u64)).sum()
    }

    pub fn names_ending(&self, end: &str) -> Vec<(String, usize)> {
        self.names.iter().filter(|(n, _)| n.ends_with(end)).filter_map(|(n, i)| Some((n.clone(), (*i)?))).collect()
    }

    /// A directory and all in it, removed from outside.
    pub fn forget(&mut self, directory: &str) {
        self.names.retain(|n, _| !n.starts_with(directory));
    }

    /// One thing that a process does to the world. An error once it is not there any more.
    pub fn operation(&mut self) -> io::Result<()> {
        self.tick()?;
        if let Some((clock, time)) = &self.slow {
            clock.pass(*time);
        }
        if due(&mut self.fail_in) {
            return Err(io::Error::from_raw_os_error(if self.rng.random() { EIO } else { ENOSPC }));
        }
        Ok(())
    }

    /// The same where no disk can fail.
    pub fn tick(&mut self) -> io::Result<()> {
        self.operations += 1;
        if let Some(left) = &mut self.stop_in {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(io::Error::other("stopped"));
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        if due(&mut self.fail_reads) { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn lose(&mut self) {
        for inode in &mut self.inodes {
            inode.lose(&mut self.rng);
        }
        let old = std::mem::take(&mut self.names);
        let mut all: Vec<_> = old.keys().chain(self.durable.keys()).cloned().collect();
        all.sort();
        all.dedup();
        for name in all {
            let (seen, durable) = (old.get(&name), self.durable.get(&name));
            let kept = if seen == durable || !self.rng.random::<bool>() { durable } else { seen };
            let parent = parent_of(&name);
            if let Some(kept) = kept.filter(|_| parent.is_empty() || self.names.contains_key(parent)) {
                self.names.insert(name, *kept);
            }
        }
        self.durable.clone_from(&self.names);
    }
}

#[derive(Clone)]
pub struct Disk(pub Arc<Mutex<Platter>>);

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            inodes: Vec::new(),
            names: Names::new(),
            durable: Names::new(),
            rng: SmallRng::seed_from_u64(seed),
            stop_in: None,
            fail_in: None,
            fail_reads: None,
            unreadable: None,
            locked: false,
            operations: 0,
            gate: None,
            panics: false,
            capacity: u64::MAX,
            slow: None,
        })))
    }

    /// What the next process finds; the one before is gone. `power`: with power loss.
    pub fn end_process(&self, power: bool) {
        let mut platter = self.0.lock();
        (platter.stop_in, platter.fail_in, platter.fail_reads, platter.locked) = (None, None, None, false);
        if power {
            platter.lose();
        }
        // A limit of the model: what a failed sync forgot is remembered for the next process. On a real disk, a failed
        // sync, then the end of the process, then power loss can take a record that was only ever denied.
        for inode in &mut platter.inodes {
            let forgotten = std::mem::take(&mut inode.forgotten);
            inode.dirty.extend(forgotten);
        }
    }

    pub fn stopped(&self) -> bool {
        self.0.lock().stopped()
    }

    fn opened(&self, inode: usize) -> Handle {
        Arc::new(SimulatedFile { disk: self.clone(), inode })
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Files for Disk {
    fn prepare_root(&self) -> io::Result<()> {
        self.0.lock().operation()
    }

    fn create(&self, path: &str) -> io::Result<Handle> {
        let mut platter = self.0.lock();
        assert!(!std::mem::take(&mut platter.panics), "the panic a test is about");
        platter.operation()?;
        if platter.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !parent_of(path).is_empty() && !platter.names.contains_key(parent_of(path)) {
            return Err(missing());
        }
        platter.inodes.push(Inode::default());
        let inode = platter.inodes.len() - 1;
        platter.names.insert(path.to_owned(), Some(inode));
        Ok(self.opened(inode))
    }

    fn open(&self, path: &str) -> io::Result<Handle> {
        let mut platter = self.0.lock();
        platter.read()?;
        let inode = platter.names.get(path).copied().flatten().ok_or_else(missing)?;
        Ok(self.opened(inode))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.operation()?;
        platter.names.insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.operation()?;
        if !path.is_empty() && !platter.names.contains_key(path) {
            return Err(missing());
        }
        if planted::is(Bug::NoDirectorySync) {
            return Ok(());
        }
        let Platter { names, durable, .. } = &mut *platter;
        durable.retain(|name, _| parent_of(name) != path || names.contains_key(name));
        for (name, what) in names.iter().filter(|(name, _)| parent_of(name) == path) {
            durable.insert(name.clone(), *what);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.operation()?;
        let what = platter.names.remove(from).ok_or_else(missing)?;
        platter.names.insert(to.to_owned(), what);
        Ok(())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.operation()?;
        platter.names.remove(path).map(drop).ok_or_else(missing)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.operation()?;
        if platter.names.keys().any(|n| parent_of(n) == path) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        platter.names.remove(path).map(drop).ok_or_else(missing)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut platter = self.0.lock();
        platter.read()?;
        if !path.is_empty() && !platter.names.contains_key(path) {
            return Err(missing());
        }
        let here = platter.names.keys().filter(|n| parent_of(n) == path);
        Ok(here.map(|n| n.rsplit_once('/').map_or(n.as_str(), |(_, name)| name).to_owned()).collect())
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn Lock>>> {
        let mut platter = self.0.lock();
        platter.operation()?;
        if platter.locked {
            return Ok(None);
        }
        let inode = match platter.names.get(path) {
            Some(inode) => inode.unwrap_or(0),
            None => {
                platter.inodes.push(Inode::default());
                let inode = platter.inodes.len() - 1;
                platter.names.insert(path.to_owned(), Some(inode));
                inode
            }
        };
        platter.locked = true;
        drop(platter);
        Ok(Some(Box::new(SimulatedLock(self.clone(), inode))))
    }

    fn available(&self) -> io::Result<u64> {
        Ok(1 << 30)
    }
}

struct SimulatedLock(Disk, usize);

impl Lock for SimulatedLock {
    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((1, self.1 as u64))
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.0.lock().locked = false;
    }
}

struct SimulatedFile {
    disk: Disk,
    inode: usize,
}

impl SimulatedFile {
    fn sync_once(&self) -> io::Result<()> {
        let gate = self.disk.0.lock().gate.clone();
        if let Some(gate) = gate {
            gate.1.wait_while(&mut gate.0.lock(), |open| !*open);
        }
        let mut platter = self.disk.0.lock();
        let done = platter.operation();
        let stopped = platter.stopped();
        let inode = &mut platter.inodes[self.inode];
        match &done {
            // The process is gone; its pages are not.
            Err(_) if stopped => {}
            Err(_) => inode.sync_fails(),
            Ok(()) if planted::is(Bug::AnswerBeforeSync) => {}
            Ok(()) => inode.dirty.clear(),
        }
        done
    }
}

impl File for SimulatedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        let done = platter.operation();
        // A write that fails, or is cut short by a crash, may have done a part.
        let length = if done.is_err() { platter.rng.random_range(0..=bytes.len()) } else { bytes.len() };
        platter.inodes[self.inode].write(&bytes[..length], usize::try_from(offset).unwrap());
        done
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut platter = self.disk.0.lock();
        platter.read()?;
        let end = offset + buffer.len() as u64;
        if platter.unreadable.as_ref().is_some_and(|(i, bad)| *i == self.inode && bad.start < end && offset < bad.end) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let rest = platter.inodes[self.inode].seen.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        let done = self.sync_once();
        if done.is_err() && planted::is(Bug::SyncRetried) { self.sync_once() } else { done }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].seen.len() as u64)
    }

    /// Zeros that are lost are zeros, so none of them is kept as dirty.
    fn fill_zero(&self, size: u64) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        platter.operation()?;
        let room = platter.capacity.saturating_sub(platter.segments());
        // Cursors are small.
        let done = if size > 1024 && room < size { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) };
        let size = if done.is_err() { room } else { size };
        let inode = &mut platter.inodes[self.inode];
        assert!(inode.seen.is_empty(), "only new files are filled");
        inode.seen = vec![0; usize::try_from(size).unwrap()];
        done
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((1, self.inode as u64))
    }
}
