//! The configuration: from a TOML file to a value that is complete and valid, or to every mistake in it at once. It
//! builds nothing and opens no socket. `app` and `commands` call it; nothing else sees a configuration.
//!
//! ```text
//! text ─ toml ─ written  (places, types, words, bounds: by the table in `keys`)
//!              ─ check    (what values demand of each other)
//!              ─ meant    (`Config`)
//!              ─ adopt    (what of it a running process takes over)
//! ```

pub mod adopt;
mod check;
pub mod diagnose;
#[doc(hidden)]
pub mod fuzz;
pub mod keys;
pub mod meant;
pub mod schema;
mod secret;
pub mod summary;
#[cfg(test)]
mod tests;
mod values;
mod written;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use diagnose::{Diagnostic, Diagnostics, Severity};
pub use meant::Config;
pub use secret::file as secret_file;

use diagnose::Page;
use written::Table;

/// Far above any configuration; below what a mistaken path could cost.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;
/// Most syntax errors shown: after some, recovery only guesses.
const MOST_SYNTAX_ERRORS: usize = 10;

/// A configuration that may be used, and what its author should hear about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Diagnostic>,
    /// Files it refers to: secrets, certificates, keys. What they held is part of `config`.
    pub files: Vec<PathBuf>,
}

/// Reads a file and what it refers to in the environment and in other files. Errors: every mistake, sorted by place; or
/// that the file cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let text = read(path).map_err(|error| {
        let message = format!("cannot read: {}", secret::plain(&error));
        let found = Diagnostic { file: name.clone(), position: None, severity: Severity::Error, message };
        // A file that is there and no text is a bad configuration, not an unreadable one.
        let unreadable = error.kind() != std::io::ErrorKind::InvalidData;
        Diagnostics { all: vec![found], unreadable, files: Vec::new() }
    })?;
    parse(&text, &name, &|variable| std::env::var(variable).ok())
}

/// Reads a text. `name` stands in messages, `env` is the environment.
pub fn parse(text: &str, name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Diagnostics> {
    let page = Page::new(text, name, env);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(MOST_SYNTAX_ERRORS) {
        let message = match error.span() {
            Some(span) if error.message() == "duplicate key" => format!("duplicate key `{}`", page.excerpt(&span)),
            // Nothing else is repeated: what does not parse may be a secret without its quotes.
            Some(_) | None => error.message().to_owned(),
        };
        page.error(&error.span(), message);
    }
    let config = if errors.is_empty() {
        check::config(&Table::open(&page, "", keys::ROOT, None, Some(document.get_ref())))
    } else {
        None
    };
    let (failed, files) = (page.failed(), page.files());
    let all = page.into_found();
    match config {
        Some(config) if !failed => Ok(Loaded { config, warnings: all, files }),
        Some(_) | None => Err(Diagnostics { all, unreadable: false, files }),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other("longer than 4 MiB"));
    }
    Ok(text)
}
