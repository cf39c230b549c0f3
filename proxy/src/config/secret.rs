//! Secrets, by reference only: `{ file = "…" }` or `{ env = "…" }`. What is read here appears in no message. Called by
//! `check` for every token, key, header and property.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::written::Table;
use crate::small_file::content;

/// Far above any token or PEM key; below what a mistaken path could cost.
const MOST: u64 = 64 * 1024;

/// Where a secret goes, and so what it may consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The value of an HTTP header: visible ASCII and inner spaces.
    Header,
    /// Any text without NUL.
    Text,
}

/// Reads what a table `{ file = … }` or `{ env = … }` refers to. `None` where nothing usable is written, which has then
/// been reported.
pub fn read(table: &Table<'_>, used: Use) -> Option<SecretString> {
    let (file, env) = (table.get::<String>("file"), table.get::<String>("env"));
    match (file, env) {
        (Some(file), None) => from_file(table, &file, used),
        (None, Some(env)) => from_env(table, &env, used),
        (Some(_), Some(_)) => {
            table.page.error(&table.span, format!("`{}` takes `file` or `env`, not both", table.path));
            None
        }
        (None, None) => {
            if table.is_written() && !table.has("file") && !table.has("env") {
                table.page.error(&table.span, format!("`{}` needs `file` or `env`", table.path));
            }
            None
        }
    }
}

fn from_env(table: &Table<'_>, name: &str, used: Use) -> Option<SecretString> {
    let Some(value) = (table.page.env)(name).map(Zeroizing::new) else {
        table.error("env", format!("environment variable `{name}` is not set"));
        return None;
    };
    usable(table, "env", &format!("environment variable `{name}`"), &value, used)
}

/// Where systemd puts the credentials of its services, each in a directory that is there while the service runs. That a
/// service of that name exists is taken on trust.
const CREDENTIALS: &str = "/run/credentials";

/// Reports a file that is there only while its service runs, which it does not. True if so: it is then not looked at.
pub fn is_absent(table: &Table<'_>, key: &str, path: &Path) -> bool {
    let absent = path.parent().is_some_and(|directory| {
        directory.parent() == Some(Path::new(CREDENTIALS))
            && directory.extension().is_some_and(|of| of == "service")
            && matches!(directory.try_exists(), Ok(false))
    });
    if absent {
        let path = path.display();
        table.absent(key, format!("`{path}` is not there: systemd puts it there while its service runs"));
    }
    absent
}

fn from_file(table: &Table<'_>, path: &str, used: Use) -> Option<SecretString> {
    table.page.depends_on(Path::new(path));
    if is_absent(table, "file", Path::new(path)) {
        return None;
    }
    match file(path) {
        Ok((text, kept)) => {
            kept.warn(table, "file", path);
            usable(table, "file", &format!("`{path}`"), &text, used)
        }
        Err(why) => {
            table.error("file", why);
            None
        }
    }
}

/// Who may do what with a file, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    mode: u32,
    owner: u32,
}

impl Kept {
    fn of(found: &Metadata) -> Self {
        Self { mode: found.mode(), owner: found.uid() }
    }

    fn warn(self, table: &Table<'_>, key: &str, path: &str) {
        if self.is_wide(rustix::process::geteuid().as_raw()) {
            let others = self.mode & 0o777;
            table.warn(key, format!("`{path}` can be read by others (mode {others:04o}); 0600 is enough"));
        }
    }

    /// Whether more may read it than need be. What belongs to somebody else can only be read by us through our group: so
    /// Kubernetes hands a secret to a process that is not root.
    fn is_wide(self, us: u32) -> bool {
        let needed = if self.owner == us { 0o700 } else { 0o740 };
        self.mode & 0o777 & !needed != 0
    }
}

/// Warns of a file with a secret that somebody else reads, where more may read it than need be.
pub fn warn_if_wide(table: &Table<'_>, key: &str, path: &Path) {
    if let Ok(found) = fs::metadata(path) {
        Kept::of(&found).warn(table, key, &path.to_string_lossy());
    }
}

/// The text of a file without one newline at its end, and who may read it; or why there is none. Wiped when it goes.
pub fn file(path: &str) -> Result<(Zeroizing<String>, Kept), String> {
    let (content, kept) =
        read_file(Path::new(path)).map_err(|error| format!("cannot read `{path}`: {}", plain(&error)))?;
    let text = std::str::from_utf8(&content).map_err(|_| format!("`{path}` is not text"))?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok((Zeroizing::new(line.unwrap_or(text).to_owned()), kept))
}

/// The content and who may read it.
fn read_file(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Kept)> {
    let content = content(path, MOST)?;
    Ok((content, Kept::of(&fs::metadata(path)?)))
}

fn usable(table: &Table<'_>, key: &str, whence: &str, value: &str, used: Use) -> Option<SecretString> {
    let fits = match used {
        Use::Header => value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && value.trim() == value,
        Use::Text => !value.contains('\0'),
    };
    if value.is_empty() {
        table.error(key, format!("{whence} is empty"));
        None
    } else if !fits {
        let why = match used {
            Use::Header => "more than one line, a space at an end, or a character that is not visible ascii",
            Use::Text => "a zero byte",
        };
        table.error(key, format!("{whence} does not fit: it has {why}"));
        None
    } else {
        Some(SecretString::from(value))
    }
}

/// The system's words without its error number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn a_file_of_somebody_else_may_be_read_by_our_group_and_nobody_besides() {
        let wide = |mode: u32, owner| Kept { mode: 0o100_000 | mode, owner }.is_wide(10_001);
        assert!([0o600, 0o400].into_iter().all(|mode| !wide(mode, 10_001)));
        assert!([0o640, 0o440, 0o604, 0o444, 0o620].into_iter().all(|mode| wide(mode, 10_001)));
        assert!([0o440, 0o640, 0o400].into_iter().all(|mode| !wide(mode, 0)));
        assert!([0o444, 0o644, 0o460, 0o604].into_iter().all(|mode| wide(mode, 0)));
    }
}
