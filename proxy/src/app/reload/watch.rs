//! Whether a file of the configuration has changed. Looks at the files instead of waiting for the system's word: that
//! word does not come for a file mounted by itself into a container, over NFS, or for a symbolic link further up that was
//! turned, which is how Kubernetes renews what it mounts. Called by `reload`, once a second.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another; `None` where it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// Before the configuration was read; `None` for a file that was not known then.
    read: Vec<Option<Stamp>>,
    /// At the last look.
    seen: Vec<Stamp>,
}

impl Watch {
    pub(super) fn new(file: &Path, others: &[PathBuf]) -> Self {
        let mut watch = Self { files: Vec::new(), read: Vec::new(), seen: Vec::new() };
        watch.files(file, others);
        watch
    }

    /// Looks at these from now on. One that is new counts as changed: nobody knows whether it was read as it is now.
    pub(super) fn files(&mut self, file: &Path, others: &[PathBuf]) {
        let files: Vec<PathBuf> =
            std::iter::once(file).chain(others.iter().map(PathBuf::as_path)).map(PathBuf::from).collect();
        if files != self.files {
            let before: Vec<_> = self.files.iter().zip(&self.read).collect();
            let known = |path: &PathBuf| before.iter().find(|(file, _)| *file == path).and_then(|(_, stamp)| **stamp);
            self.read = files.iter().map(known).collect();
            self.files = files;
            self.seen = self.look();
        }
    }

    /// What is there now is about to be read.
    pub(super) fn remember(&mut self) {
        self.seen = self.look();
        self.read = self.seen.iter().copied().map(Some).collect();
    }

    /// Whether the files are others than those that were read, and the same as at the last look.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = self.look();
        let settled = now == self.seen;
        self.seen = now;
        settled && !self.seen.iter().map(Some).eq(self.read.iter().map(Option::as_ref))
    }

    fn look(&self) -> Vec<Stamp> {
        self.files.iter().map(|path| stamp(path)).collect()
    }
}

/// Follows symbolic links, as reading does.
fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("c.toml"), dir.path().join("secret"));
        fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(&file, std::slice::from_ref(&secret));
        watch.remember();
        assert!(!watch.has_changed());
        fs::write(&file, "ab").unwrap();
        assert!(!watch.has_changed(), "it may still be being written");
        fs::write(&file, "abc").unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
        watch.remember();
        assert!(!watch.has_changed());
        // One that was not there, and one that goes.
        fs::write(&secret, "s").unwrap();
        assert!(!watch.has_changed() && watch.has_changed());
        watch.remember();
        fs::remove_file(&secret).unwrap();
        assert!(!watch.has_changed() && watch.has_changed());
    }

    #[test]
    fn a_link_that_is_turned_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("one", "x"), ("two", "y")] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("token"), text).unwrap();
        }
        let link = dir.path().join("..data");
        std::os::unix::fs::symlink("one", &link).unwrap();
        let mut watch = Watch::new(&link.join("token"), &[]);
        watch.remember();
        std::os::unix::fs::symlink("two", dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), &link).unwrap();
        assert!(!watch.has_changed() && watch.has_changed());
    }

    #[test]
    fn a_file_that_was_not_looked_at_before_it_was_read_is_read_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("c.toml"), dir.path().join("secret"));
        fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(&file, &[]);
        assert!(watch.has_changed(), "it was read before we looked");
        watch.remember();
        fs::write(&secret, "s").unwrap();
        watch.files(&file, std::slice::from_ref(&secret));
        assert!(watch.has_changed(), "it was named by what was read, and may have changed since");
        watch.remember();
        watch.files(&file, std::slice::from_ref(&secret));
        assert!(!watch.has_changed() && !watch.has_changed(), "the same list is nothing new");
    }
}
