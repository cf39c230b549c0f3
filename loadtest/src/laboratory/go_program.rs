//! The name of a small Go program of ours in the cache: a hash of its source, so that a changed program is built again.

use super::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A hash over every file below `source`: names, lengths and bytes, in a fixed order.
pub(super) fn fingerprint(source: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(source, &mut files)?;
    files.sort();
    let mut hash = blake3::Hasher::new();
    for file in files {
        let bytes = fs::read(&file).map_err(Error::path("reading", &file))?;
        let name = file.strip_prefix(source).unwrap_or(&file).to_string_lossy().into_owned();
        for piece in [name.as_bytes(), &bytes] {
            hash.update(&(piece.len() as u64).to_le_bytes()).update(piece);
        }
    }
    Ok(hash.finalize().to_hex().chars().take(16).collect())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::path("reading", dir))? {
        let path = entry.map_err(Error::path("reading", dir))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
