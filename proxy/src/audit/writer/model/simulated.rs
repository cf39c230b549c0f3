//! A disk that keeps two images: what processes see, and what survives power loss. Between them it loses whatever was not
//! synced, sector by sector and name by name, and it fails on demand. A failed sync forgets that pages were dirty, as
//! kernels do, so that a second sync of the same file would lie.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::audit::files::{File, Files, Handle, Lock};

const SECTOR: usize = 512;

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Inode {
    /// Makes the chosen sectors durable.
    fn settle(&mut self, mut keep: impl FnMut() -> bool) {
        for sector in std::mem::take(&mut self.dirty) {
            if keep() {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.seen.len()));
                self.durable.resize(self.durable.len().max(to), 0);
                self.durable[from..to].copy_from_slice(&self.seen[from..to]);
            }
        }
    }
}

/// `None` is a directory.
type Names = BTreeMap<String, Option<usize>>;

#[derive(Default)]
pub struct World {
    inodes: Vec<Inode>,
    names: Names,
    durable_names: Names,
    /// Operations until everything fails for good, as at a crash.
    pub stop_in: Option<u64>,
    /// Operations until the next ones fail, and how many.
    pub fail_in: Option<(u64, u64)>,
    /// Bytes of one file that cannot be read.
    pub unreadable: Option<(usize, std::ops::Range<u64>)>,
    /// Negative controls: syncs that do nothing.
    pub lie_data: bool,
    pub lie_names: bool,
}

impl World {
    pub fn names_ending(&self, end: &str) -> Vec<(String, usize)> {
        self.names.iter().filter(|(n, _)| n.ends_with(end)).filter_map(|(n, i)| Some((n.clone(), (*i)?))).collect()
    }

    /// A directory and all in it, removed from outside.
    pub fn forget(&mut self, directory: &str) {
        self.names.retain(|n, _| !n.starts_with(directory));
    }

    fn operation(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.stop_in {
            if *left == 0 {
                return Err(io::Error::other("stopped"));
            }
            *left -= 1;
        }
        match &mut self.fail_in {
            Some((0, times)) => {
                *times -= 1;
                if *times == 0 {
                    self.fail_in = None;
                }
                Err(io::Error::other("injected"))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[derive(Clone, Default)]
pub struct Simulated(pub Arc<Mutex<World>>);

impl Simulated {
    /// What the next process finds. `power`: with power loss; else the process alone ended.
    pub fn after_crash(&self, power: bool, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let old = self.0.lock();
        let mut world = World { lie_data: old.lie_data, lie_names: old.lie_names, ..World::default() };
        world.inodes.clone_from(&old.inodes);
        world.names.clone_from(&old.names);
        if power {
            for inode in &mut world.inodes {
                inode.settle(|| rng.random());
                inode.seen.clone_from(&inode.durable);
            }
            let all: BTreeSet<_> = old.names.keys().chain(old.durable_names.keys()).cloned().collect();
            world.names.clear();
            for name in all {
                let (seen, durable) = (old.names.get(&name), old.durable_names.get(&name));
                let parent = name.rsplit_once('/').map_or("", |(p, _)| p);
                let kept = if seen == durable || !rng.random::<bool>() { durable } else { seen };
                if let Some(kept) = kept.filter(|_| parent.is_empty() || world.names.contains_key(parent)) {
                    world.names.insert(name, *kept);
                }
            }
            world.durable_names.clone_from(&world.names);
        } else {
            world.durable_names.clone_from(&old.durable_names);
            // A limit of the model: what a failed sync forgot is remembered for the next process. On a real disk, a failed
            // sync, then the end of the process, then power loss can take a record that was only ever denied.
            for inode in &mut world.inodes {
                let differs = |at: &usize| inode.seen.get(*at) != inode.durable.get(*at);
                inode.dirty.extend((0..inode.seen.len()).filter(differs).map(|at| at / SECTOR));
            }
        }
        Self(Arc::new(Mutex::new(world)))
    }

    fn opened(&self, inode: usize) -> Handle {
        Arc::new(SimulatedFile { world: self.clone(), inode })
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Files for Simulated {
    fn prepare_root(&self) -> io::Result<()> {
        self.0.lock().operation()
    }

    fn create(&self, path: &str) -> io::Result<Handle> {
        let mut world = self.0.lock();
        world.operation()?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !parent_of(path).is_empty() && !world.names.contains_key(parent_of(path)) {
            return Err(missing());
        }
        world.inodes.push(Inode::default());
        let inode = world.inodes.len() - 1;
        world.names.insert(path.to_owned(), Some(inode));
        Ok(self.opened(inode))
    }

    fn open(&self, path: &str) -> io::Result<Handle> {
        let inode = self.0.lock().names.get(path).copied().flatten().ok_or_else(missing)?;
        Ok(self.opened(inode))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.operation()?;
        world.names.insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.operation()?;
        if world.lie_names {
            return Ok(());
        }
        let World { names, durable_names, .. } = &mut *world;
        durable_names.retain(|name, _| parent_of(name) != path || names.contains_key(name));
        for (name, what) in names.iter().filter(|(name, _)| parent_of(name) == path) {
            durable_names.insert(name.clone(), *what);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.operation()?;
        let what = world.names.remove(from).ok_or_else(missing)?;
        world.names.insert(to.to_owned(), what);
        Ok(())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.operation()?;
        world.names.remove(path).map(drop).ok_or_else(missing)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.remove_file(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let world = self.0.lock();
        if !path.is_empty() && !world.names.contains_key(path) {
            return Err(missing());
        }
        let here = world.names.keys().filter(|n| parent_of(n) == path);
        Ok(here.map(|n| n.rsplit_once('/').map_or(n.as_str(), |(_, name)| name).to_owned()).collect())
    }

    fn try_lock(&self, _path: &str) -> io::Result<Option<Box<dyn Lock>>> {
        Ok(Some(Box::new(SimulatedLock)))
    }

    fn available(&self) -> io::Result<u64> {
        Ok(1 << 30)
    }
}

struct SimulatedLock;

impl Lock for SimulatedLock {
    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((0, 0))
    }
}

struct SimulatedFile {
    world: Simulated,
    inode: usize,
}

impl File for SimulatedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world.0.lock();
        let failed = world.operation();
        // A write that fails, or is cut short by a crash, may have done a part.
        let done = if failed.is_err() { bytes.len() / 2 } else { bytes.len() };
        let inode = &mut world.inodes[self.inode];
        let from = usize::try_from(offset).unwrap();
        inode.seen.resize(inode.seen.len().max(from + done), 0);
        inode.seen[from..from + done].copy_from_slice(&bytes[..done]);
        inode.dirty.extend(from / SECTOR..(from + done).div_ceil(SECTOR));
        failed
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.world.0.lock();
        let end = offset + buffer.len() as u64;
        if world.unreadable.as_ref().is_some_and(|(i, bad)| *i == self.inode && bad.start < end && offset < bad.end) {
            return Err(io::Error::other("unreadable"));
        }
        let rest = world.inodes[self.inode].seen.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world.0.lock();
        let (failed, lie) = (world.operation(), world.lie_data);
        let stopped = world.stop_in == Some(0);
        let inode = &mut world.inodes[self.inode];
        if stopped && failed.is_err() {
            // The process is gone; its pages are not.
        } else if failed.is_err() {
            let mut every_other = false;
            inode.settle(|| {
                every_other = !every_other;
                every_other
            });
        } else if !lie {
            inode.settle(|| true);
        }
        failed
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.world.0.lock().inodes[self.inode].seen.len() as u64)
    }

    fn fill_zero(&self, size: u64) -> io::Result<()> {
        self.write_at(&vec![0; usize::try_from(size).unwrap()], 0)
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((1, self.inode as u64))
    }
}
