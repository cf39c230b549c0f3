//! What `verify` says of a broken trail, as docs/INVESTIGATING.md quotes it to say what to do: words of the program, and not
//! of an earlier one.

use crate::tidy::files;

/// Between asterisks, in the first cells of rows that begin with one.
fn quoted(page: &str) -> Vec<&str> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| *")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('*').step_by(2)).filter(|words| !words.is_empty()).collect()
}

#[test]
fn findings_that_are_explained_are_findings() {
    assert_eq!(quoted("| *a b* and c | *d* |\n| *e f*, *g h* | i |\n| `j` | k |\n"), ["a b", "e f", "g h"]);
    let page = std::fs::read_to_string(files::root().join("docs/INVESTIGATING.md")).unwrap();
    let told = quoted(&page);
    assert!(told.len() >= 8, "{told:?}");
    let rust = files::rust();
    let source: Vec<&str> =
        rust.iter().filter(|file| file.path.starts_with("proxy/src/audit/")).map(|file| file.text.as_str()).collect();
    let unknown = told.iter().filter(|words| !source.iter().any(|text| text.contains(**words)));
    files::fail_on(&unknown.map(|words| format!("`verify` never says *{words}*")).collect::<Vec<_>>());
}
