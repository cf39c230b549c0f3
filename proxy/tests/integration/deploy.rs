//! The files by which Countersign is built and run: manifests, the compose file, workflows. Each is read as those will who
//! use it, and held against the configuration, the image and the code that it speaks of.

mod compose;
mod kubernetes;
mod picture;
mod volume;
mod workflows;

use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::config::{self, Config};
use loadtest::laboratory::{Laboratory, require};
use serde_json::Value;

use super::support::binary;
use super::tidy::files;

const IMAGE: &str = "ghcr.io/countersign/countersign";
const DOCKERFILE: &str = include_str!("../../../Dockerfile");
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/deploy/requirements.txt");
/// Where secrets are mounted.
const SECRETS: &str = "/run/secrets";
/// What is left to do when the drain is over, in seconds: what is under way, the chain, Kafka, traces.
pub const AFTER_DRAIN: u64 = 15;

fn read(path: impl AsRef<Path>) -> String {
    let path = files::root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The image of this version.
fn image() -> String {
    format!("{IMAGE}:{}", env!("CARGO_PKG_VERSION"))
}

/// What the image runs as.
fn uid() -> u64 {
    let user = DOCKERFILE.lines().rev().find_map(|line| line.strip_prefix("USER ")).expect("the image has a user");
    user.split(':').next().unwrap().parse().expect("a number: Kubernetes cannot tell of a name whether it is root")
}

/// How long it takes to stop at most, in seconds.
fn stopping(config: &Config) -> u64 {
    config.listen.drain.as_secs() + AFTER_DRAIN
}

/// The packages of `requirements.txt`, for `PYTHONPATH`. `None` where this machine has no Python, which has been said.
async fn packages() -> Option<PathBuf> {
    require(Laboratory::open().unwrap().python_packages(Path::new(REQUIREMENTS)).await)
}

/// Runs a program to its end. Errors: what it printed, where it fails.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(printed) } else { Err(printed) }
}

/// Against one of the schemas that come with `check-jsonschema`.
fn fits(packages: &Path, schema: &str, file: &Path) -> Result<String, String> {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages).args(["-m", "check_jsonschema", "--builtin-schema", schema]);
    run(python.arg(file))
}

/// Files under `/run/secrets` that a configuration names, without that directory.
fn secrets(toml: &str) -> Vec<&str> {
    let lines = toml.lines().filter(|line| !line.trim_start().starts_with('#'));
    let quoted = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    quoted.filter_map(|text| text.strip_prefix(SECRETS)?.strip_prefix('/')).collect()
}

/// A configuration as `countersign check` reads it where its secrets are. It must find nothing, not even a warning.
fn checked(toml: &str) -> Config {
    let home = tempfile::tempdir().unwrap();
    let (file, text) = at_home(toml, home.path());
    let output = Command::new(binary()).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    config::parse(&text, "countersign.toml", &|_| None).unwrap().config
}

/// The configuration with its secrets in a directory of ours, as a file there and as text.
fn at_home(toml: &str, home: &Path) -> (PathBuf, String) {
    for secret in secrets(toml) {
        let path = home.join(secret);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "Bearer secret\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let text = toml.replace(SECRETS, &home.display().to_string());
    let file = home.join("countersign.toml");
    std::fs::write(&file, &text).unwrap();
    (file, text)
}

/// What a document has at a path, as a text, or nothing.
fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What a document has at a path, as a list, or nothing.
fn list<'a>(document: &'a Value, pointer: &str) -> &'a [Value] {
    document.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
