//! The log of a process into a pipe of ours, which is read or not, as whoever tests it wants.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tempfile::TempDir;

const LOOK: Duration = Duration::from_millis(10);

/// A named pipe and who reads it.
#[derive(Debug)]
pub struct Log {
    directory: TempDir,
    reads: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Log {
    /// # Errors
    /// When the pipe or its reader cannot be made.
    pub fn open() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("log");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("no pipe can be made")?;
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits())?;
        // For writing, too: it is then never at its end, and nobody waits for the other side.
        let pipe = File::options().read(true).write(true).custom_flags(nonblocking).open(&path)?;
        let (reads, ended) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (reading, over) = (Arc::clone(&reads), Arc::clone(&ended));
        std::thread::Builder::new().name("log-reader".to_owned()).spawn(move || read(pipe, &reading, &over))?;
        Ok(Self { directory, reads, ended })
    }

    /// Whether somebody reads it from now on.
    pub fn read(&self, reads: bool) {
        self.reads.store(reads, Ordering::SeqCst);
    }

    /// A program that is `binary` with its standard error in this pipe.
    /// # Errors
    /// When it cannot be written.
    pub fn program(&self, binary: &Path) -> anyhow::Result<PathBuf> {
        let program = self.directory.path().join("countersign");
        let (log, binary) = (self.directory.path().join("log"), binary.display());
        let script = format!("#!/bin/sh\nexec '{binary}' \"$@\" 2>'{}'\n", log.display());
        // By another process: while one of ours has it open for writing, none of our children could run it.
        let mut install = Command::new("install");
        let mut child = install.args(["-m", "700", "/dev/stdin"]).arg(&program).stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("no pipe")?.write_all(script.as_bytes())?;
        ensure!(child.wait()?.success(), "`install` failed");
        Ok(program)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn read(mut pipe: File, reads: &AtomicBool, ended: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while !ended.load(Ordering::SeqCst) {
        if !reads.load(Ordering::SeqCst) {
            std::thread::sleep(LOOK);
            continue;
        }
        match pipe.read(&mut buffer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK),
            Err(_) => return,
        }
    }
}
