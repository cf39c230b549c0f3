//! Command lines of the documentation, read by the very definitions that the programs read theirs with. In a block of shell
//! a line must be complete; in the middle of a sentence it may be a part.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _};
use countersign::commands::Arguments;
use countersign::commands::generate::pages::PAGES;

use super::pages;
use crate::tidy::files;

/// Words that stand before a command without being one.
const BEFORE: [&str; 9] = ["until", "while", "if", "then", "do", "else", "!", "sudo", "exec"];
/// Words that end one.
const OPERATORS: [&str; 5] = ["|", "||", "&&", ";", "&"];
/// Words that send one somewhere; the next word is where.
const REDIRECTIONS: [&str; 4] = [">", ">>", "<", "2>"];
/// Begins like a command line, and is the first line of a statement that keys sign.
const NO_COMMANDS: [&str; 1] = ["countersign key rotation"];

/// The arguments of every call of one of our programs in a piece of shell.
pub fn calls(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        // A command within another one begins a line of its own.
        for line in line.split("$(") {
            let Some(words) = shlex::split(line) else { continue };
            let words: Vec<String> = words.into_iter().flat_map(apart).collect();
            for part in words.split(|word| OPERATORS.contains(&word.as_str())) {
                let end = part.iter().position(|word| REDIRECTIONS.contains(&word.as_str())).unwrap_or(part.len());
                found.extend(call(&part[..end]));
            }
        }
    }
    found
}

/// `word;` is two.
fn apart(word: String) -> Vec<String> {
    match word.strip_suffix(';') {
        Some(rest) if !rest.is_empty() => vec![rest.to_owned(), ";".to_owned()],
        _ => vec![word],
    }
}

fn call(words: &[String]) -> Option<Vec<String>> {
    let is_before = |word: &&String| {
        BEFORE.contains(&word.as_str()) || word.split_once('=').is_some_and(|(name, _)| name.to_uppercase() == name)
    };
    let words: Vec<&String> = words.iter().skip_while(is_before).collect();
    let first = words.first()?.rsplit('/').next()?;
    let (program, rest) = match first {
        "countersign" | "loadtest" => (first, &words[1..]),
        "cargo" if words.get(1)?.as_str() == "run" => {
            let end = words.iter().position(|word| *word == "--")?;
            let ours = words[..end].iter().any(|word| *word == "loadtest");
            (if ours { "loadtest" } else { "countersign" }, &words[end + 1..])
        }
        _ => return None,
    };
    // "And so on", where it is no option's value.
    let rest = match rest {
        [some @ .., before, last] if *last == "…" && !before.starts_with("--") => &rest[..=some.len()],
        _ => rest,
    };
    Some(std::iter::once(program).chain(rest.iter().map(|word| word.as_str())).map(str::to_owned).collect())
}

fn definitions(program: &str) -> Command {
    if program == "loadtest" { loadtest::commands::Command::command() } else { Arguments::command() }
}

/// Why the program would not understand it.
pub fn mistake(call: &[String], may_be_a_part: bool) -> Option<String> {
    let error = definitions(&call[0]).try_get_matches_from(call).err()?;
    let excused = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => may_be_a_part,
        // `NAME` stands for whatever the reader has.
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => match error.get(ContextKind::InvalidValue) {
            Some(ContextValue::String(value)) if value.is_empty() => may_be_a_part,
            Some(ContextValue::String(value)) => is_placeholder(value),
            _ => false,
        },
        _ => false,
    };
    (!excused).then(|| format!("`{}`: {}", call.join(" "), error.to_string().lines().next().unwrap_or_default()))
}

fn is_placeholder(value: &str) -> bool {
    value.chars().all(|one| one.is_ascii_uppercase() || matches!(one, '-' | '_' | '…'))
}

/// Code in a sentence: with the program's name, or a command and an option of it.
fn mention(span: &str) -> Option<Vec<String>> {
    let words = shlex::split(span)?;
    let first = words.first()?.as_str();
    let is_command = first != "countersign" && PAGES.iter().any(|page| page.name == first);
    if is_command && words.get(1).is_some_and(|word| word.starts_with("--")) {
        return calls(&format!("countersign {span}")).pop();
    }
    calls(span).pop().filter(|call| call.len() > 1 && !NO_COMMANDS.contains(&span))
}

#[test]
fn every_command_line_is_one_that_the_program_understands() {
    let (mut found, mut lines) = (Vec::new(), 0);
    for page in pages() {
        let shell = page.blocks.iter().filter(|(language, _)| matches!(language.as_str(), "sh" | "text" | ""));
        let whole = shell.flat_map(|(_, text)| calls(text)).map(|call| (call, false));
        let parts = page.spans.iter().filter_map(|span| mention(span)).map(|call| (call, true));
        for (call, may_be_a_part) in whole.chain(parts) {
            lines += 1;
            found.extend(mistake(&call, may_be_a_part).map(|why| format!("{}: {why}", page.path)));
        }
    }
    assert!(lines > 100, "{lines} command lines");
    files::fail_on(&found);
}

#[test]
fn the_rule_sees_what_is_no_command_line() {
    let shell = "until countersign verify --spool \"$DIR\"; do sleep 1; done\n\
                 a=$(countersign explain --json \\\n  --account bob --spool S | jq -r .x)\n\
                 X=1 ./target/debug/countersign check a.toml > bin/countersign # not this\n\
                 cargo run -p loadtest -- prove cached\nsystemctl restart countersign\n";
    let found = calls(shell);
    let shown: Vec<String> = found.iter().map(|call| call.join(" ")).collect();
    let expected = [
        "countersign verify --spool $DIR",
        "countersign explain --json --account bob --spool S",
        "countersign check a.toml",
        "loadtest prove cached",
    ];
    assert_eq!(shown, expected);
    assert!(found.iter().all(|call| mistake(call, false).is_none()));
    for wrong in [
        "countersign verify --spoool DIR",
        "countersign vrify",
        "countersign explain --time",
        "countersign tail --format csv",
        "countersign purge --prefix 2026/",
        "loadtest prove nothing",
    ] {
        assert!(mistake(&calls(wrong)[0], false).is_some(), "{wrong}");
    }
    assert!(mistake(&mention("keygen --name eu1").unwrap(), true).is_none(), "a part");
    assert!(mistake(&mention("keygen --named eu1").unwrap(), true).is_some());
    assert!(mention("tail").is_none() && mention("countersign").is_none() && mention(NO_COMMANDS[0]).is_none());
}
