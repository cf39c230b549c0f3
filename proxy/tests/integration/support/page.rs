//! Fenced blocks of a documentation page, for tests that do what the page says.

use std::path::Path;

/// One block, and the heading that it stands under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub heading: String,
    pub language: String,
    pub text: String,
}

/// Every block of `docs/NAME`, in order.
pub fn blocks(name: &str) -> Vec<Block> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    read(&std::fs::read_to_string(page).unwrap())
}

fn read(page: &str) -> Vec<Block> {
    let (mut blocks, mut heading) = (Vec::new(), String::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: String =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            blocks.push(Block { heading: heading.clone(), language: language.to_owned(), text });
        } else if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
    }
    blocks
}

#[test]
fn blocks_stand_under_their_headings() {
    let blocks = read("# A\n```sh\none\n# no heading\n```\n## B\n```\ntwo\n```\n");
    let shown: Vec<_> = blocks.iter().map(|b| [b.heading.as_str(), b.language.as_str(), b.text.as_str()]).collect();
    assert_eq!(shown, [["A", "sh", "one\n# no heading\n"], ["B", "", "two\n"]]);
}
