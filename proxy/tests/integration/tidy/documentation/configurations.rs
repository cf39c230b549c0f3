//! Pieces of configuration in the documentation, taken by the reader that `serve` and `check` use: a whole one as it
//! stands, a part on top of a sample.

use countersign::config;
use toml::{Table, Value};

use super::pages;
use crate::tidy::files;

/// What parts are put on: it has the two authorizers that the pages speak of.
const BASE: &str = "config/two-authorizers.toml";

/// `part` over `all`: tables member by member, authorizers by name, everything else as a whole.
fn merge(all: &mut Table, part: Table) {
    for (key, value) in part {
        match (all.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) if key == "authorizer" => {
                old.retain(|one| !new.iter().any(|other| one["name"] == other["name"]));
                old.extend(new);
            }
            (_, value) => drop(all.insert(key, value)),
        }
    }
}

/// What is wrong with it, but for secrets and certificates that are on the reader's machine only.
fn mistakes(text: &str) -> Vec<String> {
    let env = |_: &str| Some("a-value-that-is-there".to_owned());
    let Err(found) = config::parse(text, "block", &env) else { return Vec::new() };
    let messages = found.all.into_iter().filter(|one| one.severity == config::Severity::Error);
    messages.map(|one| one.message).filter(|message| !message.contains("cannot read `")).collect()
}

/// `key = …   # in [table]` is how a page shows single keys of several tables.
fn in_their_tables(text: &str) -> String {
    let placed = |line: &str| {
        let table = line.rsplit_once("# in [").and_then(|(_, rest)| rest.strip_suffix(']'));
        table.map_or_else(|| line.to_owned(), |table| format!("{table}.{line}"))
    };
    text.lines().map(|line| placed(line) + "\n").collect()
}

/// A whole one is checked alone; a part on what the page's parts before it have made.
fn looked_at(text: &str, before: &mut Table) -> Vec<String> {
    let part: Table = match in_their_tables(text).parse() {
        Ok(part) => part,
        Err(why) => return vec![format!("no TOML: {why}")],
    };
    if ["listen", "authorizer", "audit"].iter().all(|table| part.contains_key(*table)) {
        return mistakes(text);
    }
    merge(before, part);
    mistakes(&before.to_string())
}

fn base() -> Table {
    std::fs::read_to_string(files::root().join(BASE)).unwrap().parse().unwrap()
}

#[test]
fn every_piece_of_configuration_is_taken() {
    let (mut found, mut count) = (Vec::new(), 0);
    for page in pages() {
        let mut before = base();
        for (_, text) in page.blocks.iter().filter(|(language, _)| language == "toml") {
            count += 1;
            let wrong = looked_at(text, &mut before);
            found.extend(wrong.into_iter().map(|why| format!("{}: {why}, in\n{text}", page.path)));
        }
    }
    assert!(count >= 5, "{count} pieces");
    files::fail_on(&found);
}

#[test]
fn the_rule_sees_what_is_not_taken() {
    let minimal = std::fs::read_to_string(files::root().join("config/minimal.toml")).unwrap();
    assert_eq!(looked_at(&minimal, &mut base()), [""; 0]);
    for wrong in [
        minimal.replace("url =", "uri ="),
        "[listen]\ndeadline = 2\n".to_owned(),
        "[listen]\nport = 8281\n".to_owned(),
        "[[route]]\nname = \"r\"\nask = [\"nobody\"]\n".to_owned(),
        "[kafka\n".to_owned(),
    ] {
        assert!(!looked_at(&wrong, &mut base()).is_empty(), "{wrong}");
    }
    assert_eq!(looked_at("deadline = \"3s\"   # in [listen]\n", &mut base()), [""; 0]);
    assert_eq!(looked_at("[listen]\ntokens = [{ name = \"a\", file = \"/run/secrets/no\" }]\n", &mut base()), [""; 0]);
}
