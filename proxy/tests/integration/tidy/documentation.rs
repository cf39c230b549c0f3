//! The documentation as its readers use it: links lead somewhere, command lines are ones that the program understands, and
//! configurations are ones that it takes. What a command then says is for the tests of single pages.

mod commands;
mod configurations;
mod links;
mod manual;
mod quotes;

use std::collections::BTreeMap;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::files;

/// What the rules look at of one page.
#[derive(Default)]
struct Page {
    /// From the repository's root.
    path: String,
    /// Of headings.
    anchors: Vec<String>,
    /// Targets.
    links: Vec<String>,
    /// Code within a line.
    spans: Vec<String>,
    /// Language and text of what is set apart.
    blocks: Vec<(String, String)>,
}

impl Page {
    fn read(path: &str, text: &str) -> Self {
        let mut page = Self { path: path.to_owned(), ..Self::default() };
        let (mut heading, mut block) = (None::<String>, None::<(String, String)>);
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.anchors.extend(heading.take()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some((language, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(text) => match (&mut heading, &mut block) {
                    (Some(heading), _) => heading.push_str(&text),
                    (None, Some((_, code))) => code.push_str(&text),
                    (None, None) => {}
                },
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    page.spans.push(code.into_string());
                }
                _ => {}
            }
        }
        page.anchors = numbered(page.anchors.iter().map(|heading| anchor(heading)));
        page
    }
}

/// The anchor of a heading, as the usual renderers of Markdown make it.
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'));
    kept.map(|one| if one == ' ' { '-' } else { one.to_ascii_lowercase() }).collect()
}

/// The second of two equal ones gets `-1`, and so on.
fn numbered(anchors: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let number = |anchor: String| {
        let count = seen.entry(anchor.clone()).or_default();
        *count += 1;
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    };
    anchors.map(number).collect()
}

/// Every page of Markdown in the repository.
fn pages() -> Vec<Page> {
    let pages: Vec<Page> = files::with_ending(&[".md"]).iter().map(|file| Page::read(&file.path, &file.text)).collect();
    assert!(pages.len() >= 15, "the pages were not found");
    pages
}

#[test]
fn a_page_is_read_as_it_is_shown() {
    let page = Page::read(
        "a.md",
        "# A `b` (c)\n## A b c\n[x](y.md#z) `code` ![p](p.png)\n\n| a | b |\n|---|---|\n| [t](u) | `v` |\n\n```sh\n# no [link](here)\n```\n\n    indented\n",
    );
    assert_eq!(page.anchors, ["a-b-c", "a-b-c-1"]);
    assert_eq!(page.links, ["y.md#z", "p.png", "u"]);
    assert_eq!(page.spans, ["b", "code", "v"]);
    assert_eq!(page.blocks, [("sh".into(), "# no [link](here)\n".into()), (String::new(), "indented\n".into())]);
}
