//! What is wrong with a configuration and where: line, column, message. Collects; never stops at the first. It does not
//! know what is right; `written` and `check` do, and `config::parse` hands the collection to whoever asked.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes of the file that a mistake is about.
pub type Span = Range<usize>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// The configuration is not used as things are; no mistake in it.
    Absent,
    /// It is used, and does something its author may not expect.
    Warning,
}

/// One mistake or warning: `countersign.toml:12:3: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub file: String,
    /// Line and column, both from 1, the column in characters. Absent for what no line says, such as a missing table.
    pub position: Option<(usize, usize)>,
    pub severity: Severity,
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        match self.severity {
            Severity::Error | Severity::Absent => write!(f, ": {}", self.message),
            Severity::Warning => write!(f, ": warning: {}", self.message),
        }
    }
}

/// Why a configuration is not used. At least one is no warning; warnings found on the way are among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    pub all: Vec<Diagnostic>,
    /// The file could not be read at all, so nothing is known about its content.
    pub unreadable: bool,
    /// Files it refers to, as far as it could be read.
    pub files: Vec<PathBuf>,
}

impl Diagnostics {
    /// Whether nothing is wrong but that something is not there yet.
    pub fn only_absent(&self) -> bool {
        let any = |severity| self.all.iter().any(|found| found.severity == severity);
        !self.unreadable && any(Severity::Absent) && !any(Severity::Error)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.all.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The text that is being read, what was found in it so far, and the environment it may refer to.
pub struct Page<'a> {
    pub text: &'a str,
    pub name: &'a str,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    found: RefCell<Vec<(Option<usize>, Severity, String)>>,
    files: RefCell<Vec<PathBuf>>,
}

impl<'a> Page<'a> {
    pub fn new(text: &'a str, name: &'a str, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { text, name, env, found: RefCell::default(), files: RefCell::default() }
    }

    pub fn error(&self, span: &Option<Span>, message: impl Into<String>) {
        self.note(span, Severity::Error, &message.into());
    }

    pub fn absent(&self, span: &Option<Span>, message: impl Into<String>) {
        self.note(span, Severity::Absent, &message.into());
    }

    pub fn warn(&self, span: &Option<Span>, message: impl Into<String>) {
        self.note(span, Severity::Warning, &message.into());
    }

    fn note(&self, span: &Option<Span>, severity: Severity, message: &str) {
        self.found.borrow_mut().push((span.as_ref().map(|at| at.start), severity, one_line(message)));
    }

    /// Notes a file whose content belongs to the configuration, whether or not it can be read.
    pub fn depends_on(&self, path: &Path) {
        self.files.borrow_mut().push(path.to_owned());
    }

    /// The files noted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }

    pub fn failed(&self) -> bool {
        self.found.borrow().iter().any(|(_, severity, _)| *severity != Severity::Warning)
    }

    /// Whether something is not there yet, so that more may be right than it seems.
    pub fn lacks(&self) -> bool {
        self.found.borrow().iter().any(|(_, severity, _)| *severity == Severity::Absent)
    }

    /// What stands at `span`, shortened to one line that fits into a message.
    pub fn excerpt(&self, span: &Span) -> String {
        const AT_MOST: usize = 60;
        let line = self.text.get(span.clone()).and_then(|text| text.lines().next()).unwrap_or_default();
        match line.char_indices().nth(AT_MOST) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
            None => line.to_owned(),
        }
    }

    /// Everything found, by position; what has none comes first.
    pub fn into_found(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort();
        found.dedup();
        let place = |offset: usize| position(self.text, offset);
        found
            .into_iter()
            .map(|(offset, severity, message)| Diagnostic {
                file: self.name.to_owned(),
                position: offset.map(place),
                severity,
                message,
            })
            .collect()
    }
}

impl fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A name or a path of the file may be quoted in it: a line stays one line, and steers no terminal.
fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for character in message.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Line and column of a byte, from 1. An offset past the end is the end.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    (before.matches('\n').count() + 1, column + 1)
}

/// The candidate that was probably meant: at most a third of the letters differ (and one at least may), or two were
/// swapped. `None` where a guess would mislead.
pub fn nearest<'c>(wrong: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let wrong = wrong.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wrong, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean …?`, or nothing.
pub fn did_you_mean<'c>(wrong: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    nearest(wrong, candidates).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// `` `a`, `b` or `c` ``.
pub fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_counts_characters() {
        assert_eq!(position("a\näöx = 1", 6), (2, 3));
        assert_eq!(position("a", 99), (1, 2));
        assert_eq!(position("ä", 1), (1, 2), "inside a character");
    }

    #[test]
    fn the_nearest_is_near() {
        let words = ["written", "synced", "acknowledged"];
        assert_eq!(nearest("sync", words), Some("synced"));
        assert_eq!(nearest("Written", words), Some("written"));
        assert_eq!(nearest("aknowleged", words), Some("acknowledged"));
        assert_eq!(nearest("always", words), None);
    }
}
