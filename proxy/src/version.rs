//! Which build this is: constants that `--version`, the metrics, the status page and the first record of a chain show.
//! Found out by `build.rs`. Not what the build can do; that is `commands::version`.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, in lower-case hex; `None` where the build could not know.
pub const COMMIT: Option<&str> = option_env!("COUNTERSIGN_BUILT_FROM");

/// The same where something has to stand.
pub const COMMIT_OR_UNKNOWN: &str = match COMMIT {
    Some(commit) => commit,
    None => "unknown",
};
