//! The texts of the manual pages: one for each command and none besides, each with what a page must have, and with examples
//! that the program understands.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use countersign::commands::Arguments;
use countersign::commands::generate::pages::PAGES;

use super::commands::{calls, mistake};
use crate::tidy::files;

#[test]
fn manual_pages_are_about_commands_and_their_examples_are_understood() {
    let root = Arguments::command();
    let listed = root.get_subcommands().filter(|command| !command.is_hide_set());
    let commands: BTreeSet<&str> = listed.map(clap::Command::get_name).chain(["countersign"]).collect();
    assert_eq!(PAGES.iter().map(|page| page.name).collect::<BTreeSet<_>>(), commands);
    let mut found = Vec::new();
    for page in PAGES {
        let codes: Vec<u8> = page.exits.iter().map(|(code, _)| *code).collect();
        let in_order =
            codes.windows(2).all(|pair| pair[0] < pair[1]) && codes.iter().all(|code| [0, 1, 2, 64].contains(code));
        if !in_order || codes.first() != Some(&0) || !codes.contains(&64) || page.examples.is_empty() {
            found.push(format!("{}: its exit codes are {codes:?}, its examples {}", page.name, page.examples.len()));
        }
        found.extend(page.see.iter().filter(|name| !commands.contains(*name)).map(|name| format!("no `{name}`")));
        for (_, line) in page.examples {
            let calls = calls(line);
            if calls.is_empty() {
                found.push(format!("{}: `{line}` is no command line", page.name));
            }
            found.extend(calls.iter().filter_map(|call| mistake(call, false)));
        }
    }
    files::fail_on(&found);
}
