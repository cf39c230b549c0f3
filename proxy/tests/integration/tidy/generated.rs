//! The dashboards are what their generator writes: nobody edits JSON by hand, and nobody forgets to run it.

use std::fs;
use std::process::Command;

use super::files;

const NAME: &str = "generate.py";

#[test]
fn dashboards_are_what_their_generator_writes() {
    let committed = files::root().join("dashboards");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(committed.join(NAME), elsewhere.path().join(NAME)).unwrap();
    let Ok(output) = Command::new("python3").arg(elsewhere.path().join(NAME)).output() else {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        eprintln!("NOT RUN: there is no python3 to generate dashboards with");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pages = |folder: &std::path::Path| {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let pages = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        pages
            .map(|path| (path.file_name().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (generated, committed) = (pages(elsewhere.path()), pages(&committed));
    assert!(!generated.is_empty() && generated.keys().eq(committed.keys()), "{:?}", committed.keys());
    for (name, page) in &generated {
        assert!(committed.get(name) == Some(page), "{name:?} is not what {NAME} writes: run it");
    }
}
