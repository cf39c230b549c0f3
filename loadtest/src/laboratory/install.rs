//! A part gets into the cache once: one process installs, the others wait for it, nobody ever sees half a part.
//!
//! `<cache>/<part>-<version>/` exists only when it is whole: it is made beside and renamed. The recipes are in
//! `recipes.rs`.

use super::error::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Lines of a log that an error carries.
const TAIL: usize = 40;

/// What a part is called, how long making it takes, and what it is made with.
#[derive(Debug)]
pub(super) struct Recipe {
    pub part: String,
    pub version: String,
    /// For people, such as `about 200 s`.
    pub takes: &'static str,
    /// Tools, each with what to do when it is missing.
    pub needs: &'static [(&'static str, &'static str)],
}

impl Recipe {
    /// The directory of the part, made by `make` if this is the first time.
    pub fn once(&self, cache: &Path, make: impl FnOnce(&Workbench<'_>) -> Result<()>) -> Result<PathBuf> {
        let name = format!("{}-{}", self.part, self.version);
        let home = cache.join(&name);
        if home.is_dir() {
            return Ok(home);
        }
        self.tools()?;
        let _alone = self.lock(cache, &name)?;
        if home.is_dir() {
            return Ok(home);
        }
        sweep(cache, &name);
        let begun = Instant::now();
        let progress = Progress::start(&format!("installing {} {} ({}, once) …", self.part, self.version, self.takes));
        let beside = tempfile::Builder::new().prefix(&format!(".{name}.")).tempdir_in(cache);
        let beside = beside.map_err(Error::path("making a directory in", cache))?;
        make(&Workbench { part: &self.part, home: beside.path() })?;
        let made = beside.keep();
        fs::rename(&made, &home).map_err(Error::path("moving the new part to", &home))?;
        progress.end(&format!("installed {} {} in {} s", self.part, self.version, begun.elapsed().as_secs()));
        Ok(home)
    }

    fn tools(&self) -> Result<()> {
        match self.needs.iter().find(|(tool, _)| on_path(tool).is_none()) {
            None => Ok(()),
            Some((tool, hint)) => {
                Err(Error::Missing { tool: (*tool).to_owned(), part: self.part.clone(), hint: (*hint).to_owned() })
            }
        }
    }

    fn lock(&self, cache: &Path, name: &str) -> Result<fs::File> {
        let path = cache.join(format!("{name}.lock"));
        let file = fs::File::create(&path).map_err(Error::path("creating", &path))?;
        if file.try_lock().is_err() {
            say(&format!("waiting for another process that installs {} …", self.part));
            file.lock().map_err(Error::path("locking", &path))?;
        }
        Ok(file)
    }
}

/// Where a recipe works: `home` becomes the part's directory.
#[derive(Debug)]
pub(super) struct Workbench<'a> {
    pub part: &'a str,
    pub home: &'a Path,
}

impl Workbench<'_> {
    /// Runs one step to its end.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        run(self.part, command)
    }

    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.home.join(name);
        fs::write(&path, text).map_err(Error::path("writing", &path))
    }
}

/// Runs one step to its end; an error carries the last lines it printed.
pub(super) fn run(part: &str, command: &mut Command) -> Result<()> {
    let step = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(std::process::Stdio::null()).output().map_err(Error::io(format!("running `{step}`")))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    Err(Error::Install { part: part.to_owned(), step, log: tail(&String::from_utf8_lossy(&printed)) })
}

/// The last lines of a log.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n")
}

/// A program of the machine. Daemons live in the system directories, which are not on every user's path.
pub(super) fn on_path(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(tool)).find(|file| file.is_file())
}

/// To people, past the test harness, which hides what a passing test prints.
pub(super) fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// What an interrupted installation left; nobody else is at it, since we hold the lock.
fn sweep(cache: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!(".{name}.")) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// A spinner with the time that passed on a terminal, plain lines otherwise.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn start(text: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            say(text);
            return Self(None);
        }
        let bar = ProgressBar::new_spinner().with_message(text.to_owned());
        bar.set_style(
            ProgressStyle::default_spinner()
                .template("{spinner} {msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(Some(bar))
    }

    fn end(self, text: &str) {
        match &self.0 {
            None => say(text),
            Some(bar) => bar.finish_with_message(text.to_owned()),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.abandon();
        }
    }
}
