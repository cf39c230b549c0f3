//! The one way to read a small file that somebody else writes: a secret, a key, a certificate. Under a limit, and nothing that
//! could keep us waiting. What is in it is the caller's to judge; it is wiped when it goes. Called by `certificates`, `config` and
//! `kafka::token`.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use secrecy::zeroize::Zeroizing;

/// What a regular file of at most `most` bytes holds. Symlinks are followed, for Kubernetes mounts secrets as such; anything
/// but a regular file is refused before it is opened, for a pipe would make us wait.
pub fn content(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = fs::metadata(path)?;
    if !file.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // Room for all of it at once: what grows leaves copies behind that nobody wipes.
    let room = usize::try_from(file.len().min(most)).unwrap_or_default() + 64;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::other(format!("longer than {} KiB", most / 1024)));
    }
    Ok(content)
}
