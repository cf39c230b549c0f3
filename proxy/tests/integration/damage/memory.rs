//! A file system in memory, copied in no time: a spool to be spoiled again and again. It never fails.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign::audit::files::{File, Files, Handle, Lock};
use parking_lot::Mutex;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Shared between copies until one writes.
struct InMemory {
    id: u64,
    bytes: Mutex<Arc<Vec<u8>>>,
}

#[derive(Default)]
pub struct Memory {
    files: Mutex<BTreeMap<String, Arc<InMemory>>>,
    directories: Mutex<BTreeMap<String, ()>>,
}

impl Memory {
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        *copy.directories.lock() = self.directories.lock().clone();
        for (path, bytes) in self.all() {
            copy.put(&path, bytes);
        }
        copy
    }

    pub fn all(&self) -> Vec<(String, Arc<Vec<u8>>)> {
        self.files.lock().iter().map(|(path, file)| (path.clone(), file.bytes.lock().clone())).collect()
    }

    pub fn put(&self, path: &str, bytes: Arc<Vec<u8>>) {
        let file = Arc::new(InMemory { id: NEXT.fetch_add(1, Ordering::Relaxed), bytes: Mutex::new(bytes) });
        self.files.lock().insert(path.to_owned(), file);
    }

    /// Onto a real disk.
    pub fn write_to(&self, root: &Path) {
        for directory in std::iter::once(String::new()).chain(self.directories.lock().keys().cloned()) {
            std::fs::create_dir_all(root.join(&directory)).unwrap();
        }
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o700)).unwrap();
        for (path, bytes) in self.all() {
            std::fs::write(root.join(path), &*bytes).unwrap();
        }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Files for Memory {
    fn prepare_root(&self) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &str) -> io::Result<Handle> {
        if self.files.lock().contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.put(path, Arc::default());
        self.open(path)
    }

    fn open(&self, path: &str) -> io::Result<Handle> {
        Ok(self.files.lock().get(path).ok_or_else(not_found)?.clone())
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.directories.lock().insert(path.to_owned(), ());
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or_else(not_found)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.files.lock().remove(path).map(drop).ok_or_else(not_found)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.directories.lock().remove(path).ok_or_else(not_found)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let below = format!("{path}/");
        let (files, directories) = (self.files.lock(), self.directories.lock());
        if !directories.contains_key(path) {
            return Err(not_found());
        }
        let names = files.keys().chain(directories.keys()).filter_map(|known| known.strip_prefix(&below));
        let mut names: Vec<String> = names.filter(|name| !name.contains('/')).map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Box<dyn Lock>>> {
        let file = self.open(path).or_else(|_| self.create(path))?;
        Ok(Some(Box::new(Held(file.identity()?))))
    }

    fn available(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

struct Held((u64, u64));

impl Lock for Held {
    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok(self.0)
    }
}

impl File for InMemory {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut held = self.bytes.lock();
        let held = Arc::make_mut(&mut held);
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        held.resize(held.len().max(to), 0);
        held[from..to].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let held = self.bytes.lock().clone();
        let rest = held.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn fill_zero(&self, size: u64) -> io::Result<()> {
        Arc::make_mut(&mut *self.bytes.lock()).resize(size as usize, 0);
        Ok(())
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((1, self.id))
    }
}
