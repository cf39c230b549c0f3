//! What a reliability test found, kept as one small file a claim, so that `docs/RELIABILITY.md` holds figures that a run
//! wrote and nobody typed. Called by tests; rendered by `loadtest figures`. What is timed is in `figures/timed`, and goes to
//! `docs/PERFORMANCE.md`.

mod document;
mod timed;

use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};

pub use document::{Command, rendered, rows};
pub use timed::Timed;

pub(crate) use document::{grouped, show, this_run};
pub(crate) use timed::OTHERS;

/// The page of what was timed, from where a checkout begins.
pub(crate) const PERFORMANCE: &str = "docs/PERFORMANCE.md";

/// One claim of one run.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Claim {
    /// Names the row of the document: lower case, one word.
    pub name: String,
    /// What anybody types to see it again.
    pub command: String,
    /// Of the randomness, if there is any.
    pub seed: Option<u64>,
    /// What was counted, in the order of telling: ("cuts", 50).
    pub figures: Vec<(String, u64)>,
    /// What was broken on purpose, and that the test saw it.
    pub controls: Vec<String>,
    /// When, where and of what; filled in by [`Claim::write`].
    #[serde(default)]
    pub run: Run,
}

/// What the figures of a run depend on.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Run {
    /// Day, in UTC.
    pub date: String,
    /// Of the working copy, with `+` where it was changed.
    pub commit: String,
    /// Processor, cores, kernel, file system of what was written to.
    pub machine: String,
}

impl Claim {
    pub fn new(name: &str, command: &str) -> Self {
        let (figures, controls) = (Vec::new(), Vec::new());
        Self { name: name.to_owned(), command: command.to_owned(), seed: None, figures, controls, run: Run::default() }
    }

    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    #[must_use]
    pub fn figure(mut self, what: &str, count: impl TryInto<u64>) -> Self {
        self.figures.push((what.to_owned(), count.try_into().unwrap_or(u64::MAX)));
        self
    }

    /// To be called only where this run has seen the control fail.
    #[must_use]
    pub fn control(mut self, what: &str) -> Self {
        self.controls.push(what.to_owned());
        self
    }

    /// Into `target/figures`, over what an earlier run left.
    pub fn write(&self) -> io::Result<()> {
        let directory = directory();
        fs::create_dir_all(&directory)?;
        let claim = Self { run: document::this_run(&std::env::temp_dir()), ..self.clone() };
        let text = serde_json::to_string_pretty(&claim)?;
        fs::write(directory.join(format!("{}.json", self.name)), text)
    }
}

/// Where claims are kept: beside what is built, so that `cargo clean` takes them along.
pub fn directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target"))).join("figures")
}
