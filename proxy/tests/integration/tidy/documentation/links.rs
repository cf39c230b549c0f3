//! Every link between files of the repository leads to a file that exists and a heading that it has; and a reader who
//! begins with the README comes to every page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{Page, pages};
use crate::tidy::files;

/// Where a link leads, from the repository's root; None out of it.
fn resolved(from: &str, to: &str) -> Option<String> {
    let mut path = PathBuf::new();
    for part in Path::new(from).parent()?.join(to).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path.to_str()?.to_owned())
}

fn is_elsewhere(link: &str) -> bool {
    ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
}

/// Why a link of a page leads nowhere.
fn broken(page: &Page, link: &str, anchors: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { Some(page.path.clone()) } else { resolved(&page.path, path) };
    let Some(target) = target.filter(|target| files::root().join(target).exists()) else {
        return Some(format!("{}: `{link}` leads to no file", page.path));
    };
    let anchor = anchor?;
    let has = anchors.get(&target).is_some_and(|all| all.iter().any(|one| one == anchor));
    (!has).then(|| format!("{}: `{link}`: `{target}` has no such heading", page.path))
}

fn anchors(pages: &[Page]) -> BTreeMap<String, Vec<String>> {
    pages.iter().map(|page| (page.path.clone(), page.anchors.clone())).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = pages();
    let anchors = anchors(&pages);
    let all = pages.iter().flat_map(|page| page.links.iter().map(move |link| (page, link)));
    let inside: Vec<_> = all.filter(|(_, link)| !is_elsewhere(link)).collect();
    assert!(inside.len() > 100, "the links were not found");
    files::fail_on(&inside.into_iter().filter_map(|(page, link)| broken(page, link, &anchors)).collect::<Vec<_>>());
}

#[test]
fn the_rule_sees_links_that_lead_nowhere() {
    // Pages that exist, with other words in them.
    let text = "# One\n[a](#one) [b](#two) [c](NONE.md) [d](../README.md#no) [e](../../out.md)\n";
    let page = Page::read("docs/EVENTS.md", text);
    let anchors = anchors(&[Page::read("docs/EVENTS.md", text), Page::read("README.md", "# R\n")]);
    let found: Vec<String> = page.links.iter().filter_map(|link| broken(&page, link, &anchors)).collect();
    assert_eq!(found.len(), 4, "{found:#?}");
}

/// `docs/NAME.md#anchor` in code, samples, alerts: nobody follows them until they are needed.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let is_part = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '-' | '_' | '#');
    let after = text.match_indices("docs/").map(|(at, _)| &text[at..]);
    let words = after.map(|rest| {
        let end = rest[5..].find(|one| !is_part(one)).map_or(rest.len(), |end| end + 5);
        rest[..end].trim_end_matches('.')
    });
    words.filter(|word| word.contains(".md")).collect()
}

#[test]
fn what_else_names_a_page_names_one_that_exists() {
    assert_eq!(mentioned("see docs/A.md#b-c, and docs/B.md."), ["docs/A.md#b-c", "docs/B.md"].into());
    let pages = pages();
    let anchors = anchors(&pages);
    let endings = [".rs", ".toml", ".yml", ".yaml", ".json", ".py", ".service", ".sysusers", "Dockerfile"];
    let root = Page::read("README.md", "");
    let (mut found, mut count) = (Vec::new(), 0);
    // Samples of broken links stand here and beside.
    for file in files::with_ending(&endings).iter().filter(|file| !file.path.contains("/tidy/")) {
        let all = mentioned(&file.text);
        count += all.len();
        let wrong = all.into_iter().filter_map(|link| broken(&root, link, &anchors));
        found.extend(wrong.map(|why| format!("{}: {}", file.path, why.trim_start_matches("README.md: "))));
    }
    assert!(count > 20, "{count} mentions");
    files::fail_on(&found);
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages();
    let (mut reached, mut next) = (BTreeSet::new(), vec!["README.md".to_owned()]);
    while let Some(path) = next.pop() {
        if !reached.insert(path.clone()) {
            continue;
        }
        for link in pages.iter().filter(|page| page.path == path).flat_map(|page| &page.links) {
            next.extend(resolved(&path, link.split('#').next().unwrap_or_default()));
        }
    }
    let lost = pages.iter().filter(|page| !reached.contains(&page.path));
    files::fail_on(&lost.map(|page| format!("nothing leads to {}", page.path)).collect::<Vec<_>>());
    // And at once: the index names them all.
    let readme = pages.iter().find(|page| page.path == "README.md").unwrap();
    let named: BTreeSet<&str> = readme.links.iter().filter_map(|link| link.split('#').next()).collect();
    let unnamed = pages.iter().filter(|page| page.path.starts_with("docs/") && !named.contains(page.path.as_str()));
    files::fail_on(&unnamed.map(|page| format!("the README does not name {}", page.path)).collect::<Vec<_>>());
}
