//! What tests do about a disk that stalls: wait until it keeps up before something is tried again that took too long, or do without it
//! where the disk is not what is tested. What must hold on any disk does neither.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// In a row.
const SYNCS: usize = 20;
/// Of each of them; a disk that serves takes a few milliseconds, beside others' writes some tens.
const QUICK: Duration = Duration::from_millis(100);
/// Whoever waits in vain tries anyhow.
const PATIENCE: Duration = Duration::from_secs(180);

/// A directory in memory, where the machine has such a place.
pub fn quick() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Blocks its thread.
pub fn keeps_up() {
    let file = tempfile::tempfile().unwrap();
    let (since, mut quick) = (Instant::now(), 0);
    while quick < SYNCS && since.elapsed() < PATIENCE {
        quick = if sync(&file) < QUICK { quick + 1 } else { 0 };
    }
}

fn sync(file: &File) -> Duration {
    let since = Instant::now();
    file.write_all_at(&[1; 4096], 0).unwrap();
    file.sync_data().unwrap();
    since.elapsed()
}
