//! Which build the program says it is, in every place the same; and how the build script finds out, run alone in
//! repositories made for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::version::{COMMIT, COMMIT_OR_UNKNOWN, VERSION};
use loadtest::stub::Stub;
use serde_json::Value;

use super::support::{Countersign, binary, http, mixed};

fn printed(argument: &str) -> String {
    let output = Command::new(binary()).arg(argument).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_short_version_is_one_line_and_the_long_one_says_what_was_built() {
    assert_eq!(printed("-V"), format!("countersign {VERSION}\n"));
    let long = printed("--version");
    let lines: Vec<&str> = long.lines().collect();
    let [name, commit, features, with] = lines[..] else { panic!("{long}") };
    assert_eq!(name, format!("countersign {VERSION}"));
    assert_eq!(commit, format!("commit: {COMMIT_OR_UNKNOWN}"));
    for feature in ["ssl", "zstd", "sasl_scram", "sasl_oauthbearer"] {
        assert!(features.starts_with("features: ") && features.split(' ').any(|one| one == feature), "{features}");
    }
    assert!(with.contains("OpenSSL 3.") && with.contains("librdkafka 2."), "{with}");
    assert!(!long.contains('/'), "a path of the machine that built it: {long}");
}

#[tokio::test]
async fn metrics_status_and_the_chain_name_the_same_commit() {
    let stub = Stub::start(mixed()).await.unwrap();
    let mut it = Countersign::asking(&stub.url()).start().await;
    let info = format!("countersign_build_info{{version=\"{VERSION}\",commit=\"{COMMIT_OR_UNKNOWN}\"}} 1");
    let metrics = it.metrics().await;
    assert!(metrics.contains(&info), "{metrics}");
    let status: Value = serde_json::from_str(&http::get(it.admin(), "/status.json").await.body).unwrap();
    assert_eq!(status["process"]["commit"], COMMIT_OR_UNKNOWN);
    it.stop().await;
    let opened = it.records().swap_remove(0);
    assert_eq!((&opened["data"]["event"], &opened["data"]["version"]), (&"chain_opened".into(), &VERSION.into()));
    assert_eq!(opened["data"]["commit"], COMMIT.map_or(Value::Null, Value::from));
}

/// The build script as a program of its own.
fn script(into: &Path) -> PathBuf {
    let program = into.join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc).args(["--edition", "2024", "-o"]).arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

struct Ran(String);

impl Ran {
    fn commit(&self) -> Option<&str> {
        self.values("rustc-env=COUNTERSIGN_BUILT_FROM=").pop()
    }

    fn values(&self, of: &str) -> Vec<&str> {
        let start = format!("cargo::{of}");
        self.0.lines().filter_map(|line| line.strip_prefix(&start)).collect()
    }
}

/// Runs it as Cargo does: in the folder of the package.
fn run(program: &Path, repository: &Path, given: Option<&str>, path: Option<&str>) -> Ran {
    let mut command = Command::new(program);
    command.current_dir(repository.join("proxy")).env_remove("COUNTERSIGN_COMMIT").env("GIT_CEILING_DIRECTORIES", "/");
    command.envs(given.map(|commit| ("COUNTERSIGN_COMMIT", commit))).envs(path.map(|path| ("PATH", path)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ran(String::from_utf8(output.stdout).unwrap())
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").args(who).args(arguments).current_dir(repository).output().expect("git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with the build script in it, and one commit.
fn repository(at: &Path, package: &str) -> String {
    std::fs::create_dir_all(at.join(package)).unwrap();
    std::fs::write(at.join(package).join("build.rs"), "").unwrap();
    git(at, &["init", "--quiet"]);
    git(at, &["add", "."]);
    git(at, &["commit", "--quiet", "--message", "one"]);
    git(at, &["rev-parse", "HEAD"])
}

#[test]
fn a_build_knows_its_commit_from_its_own_repository_or_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let program = script(dir.path());
    let own = dir.path().join("own");
    let head = repository(&own, "proxy");
    assert_eq!(run(&program, &own, None, None).commit(), Some(head.as_str()));
    // An empty one is what an image's argument is that nobody gave.
    assert_eq!(run(&program, &own, Some(""), None).commit(), Some(head.as_str()));
    assert_eq!(run(&program, &own, Some("0123abc"), None).commit(), Some("0123abc"));
    assert_eq!(run(&program, &own, None, Some("/nonexistent")).commit(), None, "without git");
    for wrong in ["v1.2", "0123AB", "main", "/home/me"] {
        let ran = run(&program, &own, Some(wrong), None);
        assert!(ran.commit().is_none() && ran.values("error=").len() == 1, "{wrong}: {}", ran.0);
    }
    // A worktree has its HEAD elsewhere.
    let tree = dir.path().join("tree");
    git(&own, &["worktree", "add", "--quiet", "--detach", tree.to_str().unwrap()]);
    assert_eq!(run(&program, &tree, None, None).commit(), Some(head.as_str()));
}

#[test]
fn an_archive_inside_another_repository_is_not_of_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let program = script(dir.path());
    let other = dir.path().join("other");
    repository(&other, "something");
    std::fs::create_dir(other.join("proxy")).unwrap();
    std::fs::write(other.join("proxy/build.rs"), "").unwrap();
    assert_eq!(run(&program, &other, None, None).commit(), None, "not in it");
    let vendored = dir.path().join("vendored");
    repository(&vendored, "vendor/countersign/proxy");
    assert_eq!(run(&program, &vendored.join("vendor/countersign"), None, None).commit(), None, "elsewhere in it");
}

/// What Cargo is told to look at exists, for it would otherwise build again each time; and some of it changes with a commit.
#[test]
fn a_build_is_repeated_for_another_commit_and_for_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let program = script(dir.path());
    let own = dir.path().join("own");
    repository(&own, "proxy");
    let ran = run(&program, &own, None, None);
    let watched: Vec<PathBuf> =
        ran.values("rerun-if-changed=").into_iter().map(|path| own.join("proxy").join(path)).collect();
    let held = || watched.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let before = held();
    assert_eq!(before.len(), 4, "{watched:?}");
    git(&own, &["status"]);
    assert_eq!(held(), before, "a look changes something");
    git(&own, &["commit", "--quiet", "--allow-empty", "--message", "two"]);
    assert_ne!(held(), before, "a commit changes nothing");
}
