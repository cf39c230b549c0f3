//! The dashboards are what their generator writes, with the library that knows what Grafana reads: nobody edits JSON
//! by hand, and nobody forgets to run it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use loadtest::laboratory::{Laboratory, require};

use super::files;

const GENERATOR: &str = "generate.py";

fn pages(folder: &Path) -> BTreeMap<OsString, String> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    pages.map(|path| (path.file_name().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())).collect()
}

#[tokio::test]
async fn dashboards_are_what_their_generator_writes() {
    let folder = files::root().join("dashboards");
    let lab = Laboratory::open().unwrap();
    let packages = lab.python_packages(&folder.join("source/requirements.txt")).await;
    let Some(packages) = require(packages) else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages).arg(folder.join(GENERATOR)).arg(elsewhere.path());
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (generated, committed) = (pages(elsewhere.path()), pages(&folder));
    let names: Vec<_> = generated.keys().filter_map(|name| name.to_str()).collect();
    assert_eq!(names, ["audit.json", "authorizers.json", "decisions.json"]);
    assert!(generated.keys().eq(committed.keys()), "{:?}", committed.keys());
    for (name, page) in &generated {
        assert!(committed.get(name) == Some(page), "{name:?} is not what {GENERATOR} writes: run it");
    }
}
