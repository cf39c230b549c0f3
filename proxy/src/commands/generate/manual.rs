//! A manual page in roff: synopsis, options and commands by clap_mangen, the rest from `pages`. Called by `generate`.

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::pages::{self, Page};
use super::settings;
use crate::commands::Arguments;
use crate::version::VERSION;

/// The command with what the formatter must not fill in of its own.
const NAME: &str = "countersign";

/// Path and text of each page: the program's own, one for every command that is in its list, and one for the file.
pub(super) fn pages() -> Vec<(String, String)> {
    let mut root = Arguments::command().disable_help_subcommand(true);
    root.build();
    let commands = root.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let all = std::iter::once(root.clone()).chain(commands);
    let pages = all.filter_map(|command| Some((format!("man1/{}.1", title(&command)), page(command)?)));
    pages.chain([(format!("man5/{}.5", settings::NAME), quoted(&settings::page()))]).collect()
}

fn title(command: &Command) -> String {
    let name = command.get_name();
    if name == NAME { NAME.to_owned() } else { format!("{NAME}-{name}") }
}

/// None for a command that `pages` does not know; a test sees to it that there is none.
fn page(command: Command) -> Option<String> {
    let told = pages::of(command.get_name())?;
    let (title, is_root) = (title(&command), command.get_name() == NAME);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(with_short_synopsis(command));
    let mut page = heading(&title, 1).into_bytes();
    // Into memory: nothing fails.
    let mut name = Roff::new();
    name.control("SH", ["NAME"]).text([roman(format!("{title} - {}", lower(&about)))]);
    name.to_writer(&mut page).ok()?;
    man.render_synopsis_section(&mut page).ok()?;
    description(told).to_writer(&mut page).ok()?;
    if is_root {
        man.render_subcommands_section(&mut page).ok()?;
    } else {
        man.render_options_section(&mut page).ok()?;
    }
    rest(told, is_root).to_writer(&mut page).ok()?;
    Some(quoted(&String::from_utf8(page).ok()?))
}

/// The first line. Its date is empty: two builds of one commit should not differ. (The crate would leave it out, so that what
/// follows would be taken for it.)
pub(super) fn heading(title: &str, section: u8) -> String {
    format!(".TH \"{}\" \"{section}\" \"\" \"{NAME} {VERSION}\" \"Countersign\"\n", title.to_uppercase())
}

/// `[OPTIONS]` instead of all of them: they are listed below.
fn with_short_synopsis(mut command: Command) -> Command {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    command.override_usage(usage)
}

/// NAME sections begin in lower case, but for names.
fn lower(about: &str) -> String {
    let mut rest = about.chars();
    rest.next().map(|first| first.to_lowercase().chain(rest).collect()).unwrap_or_default()
}

fn description(told: &Page) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    for (at, paragraph) in told.about.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
    roff
}

fn rest(told: &Page, is_root: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, when) in told.exits {
        entry(&mut roff, bold(code.to_string()), when);
    }
    listed(&mut roff, "ENVIRONMENT", told.environment);
    listed(&mut roff, "FILES", told.files);
    if !told.examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (at, (what, line)) in told.examples.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*what)]);
        roff.control("PP", []).control("RS", ["4"]).control("nf", []);
        roff.text([roman(*line)]);
        roff.control("fi", []).control("RE", []);
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = told.see.iter().map(|name| if is_root { (*name).to_owned() } else { format!("{NAME}-{name}") });
    let mut names: Vec<Inline> = Vec::new();
    for name in (!is_root).then(|| NAME.to_owned()).into_iter().chain(others) {
        if !names.is_empty() {
            names.push(roman(", "));
        }
        names.extend([bold(name), roman("(1)")]);
    }
    if told.files.iter().any(|(file, _)| file.ends_with(settings::NAME)) {
        names.extend([roman(if names.is_empty() { "" } else { ", " }), bold(settings::NAME), roman("(5)")]);
    }
    if !names.is_empty() {
        names.push(roman("; "));
    }
    names.push(roman("the pages in docs of the source, which packages install as documentation"));
    roff.text(names);
    roff
}

fn listed(roff: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    if !entries.is_empty() {
        roff.control("SH", [heading]);
    }
    for (name, about) in entries {
        entry(roff, italic(*name), about);
    }
}

fn entry(roff: &mut Roff, name: Inline, about: &str) {
    roff.control("TP", []).text([name]).text([roman(about)]);
}

/// What is in backticks becomes bold: roff would make quotation marks of them.
fn quoted(page: &str) -> String {
    let mut made = String::with_capacity(page.len());
    for line in page.lines() {
        let pairs = line.matches('`').count() / 2 * 2;
        for (at, part) in line.splitn(pairs + 1, '`').enumerate() {
            match at {
                0 => {}
                odd if odd % 2 == 1 => made.push_str("\\fB"),
                _ => made.push_str("\\fR"),
            }
            made.push_str(part);
        }
        made.push('\n');
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_become_bold_in_pairs() {
        assert_eq!(quoted("a `b` c `d`\n`e\n"), "a \\fBb\\fR c \\fBd\\fR\n`e\n");
    }

    #[test]
    fn every_command_has_its_page() {
        let names: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
        let mut expected = vec!["man1/countersign.1".to_owned()];
        let root = Arguments::command();
        let listed = root.get_subcommands().filter(|command| !command.is_hide_set());
        expected.extend(listed.map(|command| format!("man1/countersign-{}.1", command.get_name())));
        expected.push("man5/countersign.toml.5".to_owned());
        assert_eq!(names, expected);
        assert!(names.len() > 13, "{names:?}");
    }
}
