//! Finds out which commit is being built, for `proxy/src/version.rs`. Cargo runs it; it adds nothing else to the binary, above
//! all no path of the machine that builds.
//!
//! `COUNTERSIGN_COMMIT` comes first: source archives and images are built where no repository is. Else git is asked, if
//! the sources are those of the repository that it finds. Else no commit is known, which is no error. Changes that are not
//! committed are not seen: Cargo would have to run this at every build.

use std::path::Path;
use std::process::Command;

const GIVEN: &str = "COUNTERSIGN_COMMIT";

fn main() {
    println!("cargo::rerun-if-env-changed={GIVEN}");
    // Without any path Cargo would look at all files of the package.
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var(GIVEN).unwrap_or_default();
    if given.is_empty() {
        if let Some(commit) = checked_out() {
            found(&commit);
        }
    } else if is_commit(&given) {
        found(&given);
    } else {
        println!("cargo::error={GIVEN} is no commit, which has 7 to 64 lower-case hex digits");
    }
}

fn found(commit: &str) {
    println!("cargo::rustc-env=COUNTERSIGN_BUILT_FROM={commit}");
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The commit that is checked out. None where this file is not the one of the repository around it: an archive that was
/// unpacked inside another repository is not of that one's commit.
fn checked_out() -> Option<String> {
    let here = git(&["ls-files", "--full-name", "--error-unmatch", "build.rs"])?;
    if here != "proxy/build.rs" {
        return None;
    }
    // `HEAD` changes with the branch, its log and the branch's own file with every commit.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", "logs/HEAD", branch.as_str()] {
        // A path that does not exist would count as changed at every build.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).is_file()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--verify", "HEAD"]).filter(|commit| is_commit(commit))
}

/// What git says, in one line. None without git, or where it refuses.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
