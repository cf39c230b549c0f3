//! The repository's files, as the rules read them, and the rule about how a file begins.

use std::fs;
use std::path::{Path, PathBuf};

/// What is built or fetched, and not ours.
const NOT_OURS: [&str; 5] = ["target", ".git", "node_modules", "__pycache__", "proptest-regressions"];

pub struct File {
    /// From the repository's root, with `/`.
    pub path: String,
    pub text: String,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files of the repository whose name ends in one of these, sorted.
pub fn with_ending(endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    collect(&root(), endings, &mut found);
    found.sort_by(|a: &File, b| a.path.cmp(&b.path));
    found
}

pub fn rust() -> Vec<File> {
    let files = with_ending(&[".rs"]);
    assert!(files.len() > 40, "the sources were not found");
    files
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_symlink() || NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, endings, found);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            found.push(File { path, text });
        }
    }
}

/// Whether a file that is called like the module has this test. A function of the name alone is none.
pub fn has_test(files: &[File], module: &str, test: &str) -> bool {
    let (end, start) = (format!("/{module}.rs"), format!("fn {test}("));
    let is_test = |text: &str| {
        let Some((before, _)) = text.split_once(&start) else { return false };
        let mut above = before.lines().rev().take(4).map(str::trim_start);
        above.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    files.iter().any(|file| file.path.ends_with(&end) && is_test(&file.text))
}

/// All complaints in one failure, so that they are mended in one go.
pub fn fail_on(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn has_head(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.strip_prefix("//! ").is_some_and(|head| head.len() > 10))
}

#[test]
fn every_file_says_first_what_it_is() {
    assert!(has_head("//! What this is.\n") && !has_head("//! stub\n") && !has_head("use a;\n//! Late head.\n"));
    let headless: Vec<String> = rust().into_iter().filter(|file| !has_head(&file.text)).map(|file| file.path).collect();
    fail_on(&headless);
}

#[test]
fn modules_stand_beside_their_folder() {
    let old: Vec<String> = rust().into_iter().map(|file| file.path).filter(|path| path.ends_with("/mod.rs")).collect();
    fail_on(&old);
}
