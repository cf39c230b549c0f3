//! How far an epoch has been delivered: two slots of 512 bytes, written in turn, so that a torn write costs a second of
//! progress and never all of it. Loaded by `recovery`, `writer` and `again`; stored by `shared`, for `keeper` and `orphan`.
//!
//! A slot: magic 8, generation u64, next u64 (the first seq not delivered), crc u32 over the 24 bytes before.

use std::io;

use crate::audit::files::{Files, Handle, unless_gone};

const SLOT: u64 = 512;
const MAGIC: &[u8; 8] = b"CSIGNCUR";
const NAME: &str = "cursor";

pub struct Cursor {
    /// Opened at the first write. Dropped after a failed sync, whose file is not trusted again.
    file: Option<Handle>,
    path: String,
    directory: String,
    generation: u64,
    stored: u64,
}

impl Cursor {
    /// Reads the newer whole slot. A missing or damaged cursor means that nothing was delivered: records are then sent
    /// again, byte-identical.
    pub fn load(files: &dyn Files, directory: &str) -> Self {
        let path = format!("{directory}/{NAME}");
        let mut bytes = [0; 2 * SLOT as usize];
        let read = files.open(&path).and_then(|f| f.read_at(&mut bytes, 0)).unwrap_or(0);
        let newest = bytes.get(..read).unwrap_or_default().chunks(SLOT as usize).filter_map(decode).max();
        let (generation, stored) = newest.unwrap_or((0, 0));
        Self { file: None, path, directory: directory.to_owned(), generation, stored }
    }

    /// The first seq that is not known to be delivered.
    pub fn next(&self) -> u64 {
        self.stored
    }

    /// Makes `next` durable. After an error the old value stands; the next call begins with a new file.
    pub fn store(&mut self, files: &dyn Files, next: u64) -> io::Result<()> {
        if next == self.stored {
            return Ok(());
        }
        let done = self.write(files, next);
        if done.is_err() {
            self.file = None;
        }
        done
    }

    fn write(&mut self, files: &dyn Files, next: u64) -> io::Result<()> {
        let generation = self.generation + 1;
        let slot = encode(generation, next);
        if let Some(file) = &self.file {
            file.write_at(&slot, (generation % 2) * SLOT)?;
            file.sync_data()?;
        } else {
            self.file = Some(self.replace(files, &slot, generation)?);
        }
        self.generation = generation;
        self.stored = next;
        Ok(())
    }

    /// A new file under the old name: there is no moment without a whole cursor.
    fn replace(&self, files: &dyn Files, slot: &[u8], generation: u64) -> io::Result<Handle> {
        let fresh = format!("{}.new", self.path);
        unless_gone(files.remove_file(&fresh))?;
        let file = files.create(&fresh)?;
        file.fill_zero(2 * SLOT)?;
        file.write_at(slot, (generation % 2) * SLOT)?;
        file.sync_data()?;
        files.rename(&fresh, &self.path)?;
        files.sync_dir(&self.directory)?;
        Ok(file)
    }
}

pub(super) fn encode(generation: u64, next: u64) -> [u8; 28] {
    let mut slot = [0; 28];
    let fields = MAGIC.iter().copied().chain(generation.to_le_bytes()).chain(next.to_le_bytes());
    let body: Vec<u8> = fields.collect();
    let crc = crc32fast::hash(&body).to_le_bytes();
    for (to, from) in slot.iter_mut().zip(body.into_iter().chain(crc)) {
        *to = from;
    }
    slot
}

pub(super) fn decode(slot: &[u8]) -> Option<(u64, u64)> {
    let body = slot.get(..24)?;
    let crc = u32::from_le_bytes(slot.get(24..28)?.try_into().ok()?);
    if body.get(..8)? != MAGIC || crc32fast::hash(body) != crc {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    Some((number(8)?, number(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::disk::Disk;

    #[test]
    fn a_torn_slot_costs_one_step_only() {
        let home = tempfile::tempdir().unwrap();
        let disk = Disk::new(home.path());
        disk.create_dir("e").unwrap();
        let mut cursor = Cursor::load(&disk, "e");
        assert_eq!(cursor.next(), 0);
        for next in [3, 8, 21] {
            cursor.store(&disk, next).unwrap();
            assert_eq!(Cursor::load(&disk, "e").next(), next);
        }
        let path = home.path().join("e/cursor");
        let whole = std::fs::read(&path).unwrap();
        let newest = whole.chunks(SLOT as usize).position(|s| decode(s) == Some((3, 21))).unwrap();
        for at in 0..28 {
            let mut torn = whole.clone();
            torn[newest * SLOT as usize + at] ^= 0xff;
            std::fs::write(&path, torn).unwrap();
            assert_eq!(Cursor::load(&disk, "e").next(), 8, "byte {at}");
        }
        std::fs::write(&path, b"").unwrap();
        assert_eq!(Cursor::load(&disk, "e").next(), 0);
    }
}
