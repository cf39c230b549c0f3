//! `loadtest figures`: puts what tests found into the table of `docs/RELIABILITY.md`, and what was timed into those of
//! `docs/PERFORMANCE.md`. A claim without new figures keeps the row it has. Also says what a run's figures depend on. It
//! runs no test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use anyhow::Context;

use super::timed::{self, Timed};
use super::{Claim, PERFORMANCE, Run, directory};

const BEGIN: &str = "<!-- figures: written by `loadtest figures` -->";
const END: &str = "<!-- end -->";
const HEAD: &str =
    "| claim | found | seed | broken on purpose, and seen | command | run |\n|---|---|---|---|---|---|\n";

/// Write what the tests found into docs/RELIABILITY.md, and what was timed into docs/PERFORMANCE.md
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The document with the table of what was counted
    #[arg(long, default_value = "docs/RELIABILITY.md")]
    document: PathBuf,
    /// The document with the tables of what was timed
    #[arg(long, default_value = PERFORMANCE)]
    performance: PathBuf,
}

impl Command {
    /// # Errors
    /// When the document or the figures cannot be read or written, or the document has no table.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let claims: Vec<Claim> = found(&directory()).context("cannot read the figures")?;
        rewrite(&self.document, |text| rendered(text, &claims))?;
        let all: Vec<Timed> = found(&directory().join("timed")).context("cannot read the timed figures")?;
        rewrite(&self.performance, |text| timed::rendered(text, &all))?;
        println!("{} claims and {} timed scenarios with figures", claims.len(), all.len());
        Ok(ExitCode::SUCCESS)
    }
}

fn rewrite(path: &Path, render: impl FnOnce(&str) -> Option<String>) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let written = render(&text).with_context(|| format!("`{}` has no table of figures", path.display()))?;
    fs::write(path, written).with_context(|| format!("cannot write `{}`", path.display()))
}

/// One timed scenario into its page. False: the page has neither its table nor a claim of it.
pub(crate) fn show(timed: &Timed, page: &Path) -> anyhow::Result<bool> {
    let mut there = !timed.limits.is_empty();
    rewrite(page, |text| {
        there |= text.contains(&timed::begin(&timed.name));
        timed::rendered(text, std::slice::from_ref(timed))
    })?;
    Ok(there)
}

/// Everything of one kind that runs have left.
fn found<T: serde::de::DeserializeOwned>(directory: &Path) -> anyhow::Result<Vec<T>> {
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut all = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let text = fs::read_to_string(&path)?;
            all.push(serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))?);
        }
    }
    Ok(all)
}

/// The document with these claims in its table, beside those it had. `None`: it has no table.
pub fn rendered(document: &str, claims: &[Claim]) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let mut all = rows(document)?;
    all.extend(claims.iter().map(|claim| (claim.name.clone(), row(claim))));
    let lines: String = all.into_values().map(|line| format!("{line}\n")).collect();
    Some(format!("{before}{BEGIN}\n{HEAD}{lines}{END}{after}"))
}

/// The rows of the document's table by the name of their claim.
pub fn rows(document: &str) -> Option<BTreeMap<String, String>> {
    let table = document.split_once(BEGIN)?.1.split_once(END)?.0;
    let rows = table.lines().filter_map(|line| {
        let name = line.strip_prefix("| `")?.split_once('`')?.0;
        Some((name.to_owned(), line.to_owned()))
    });
    Some(rows.collect())
}

fn row(claim: &Claim) -> String {
    let figures: Vec<String> =
        claim.figures.iter().map(|(what, count)| format!("{} {what}", grouped(*count))).collect();
    let controls = if claim.controls.is_empty() { "none".to_owned() } else { claim.controls.join("; ") };
    let seed = claim.seed.map_or_else(|| "none".to_owned(), |seed| seed.to_string());
    let Run { date, commit, machine } = &claim.run;
    let cells =
        [figures.join(", "), seed, controls, format!("`{}`", claim.command), format!("{date}, {commit}, {machine}")];
    format!("| `{}` | {} |", claim.name, cells.map(|text| cell(&text)).join(" | "))
}

/// As a table can have it.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What figures depend on that are written now, of a run that wrote to this directory. What cannot be found out is left out.
pub(crate) fn this_run(written: &Path) -> Run {
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    // Programs are run in another directory.
    let written = std::path::absolute(written).unwrap_or_else(|_| written.to_owned()).display().to_string();
    let disk = output("stat", &["-f", "-c", "%T", &written]).replace("ext2/ext3", "ext4");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let machine = format!("{}, {cores} cores, Linux {}, {disk}", processor(), kernel.trim());
    Run { date, commit: commit(), machine }
}

/// That of the Countersign which `COUNTERSIGN_BIN` names, where it names one: it may be older than the checkout.
fn commit() -> String {
    let named = std::env::var_os("COUNTERSIGN_BIN").and_then(|binary| built_from(Path::new(&binary)));
    named.unwrap_or_else(checked_out)
}

/// With `+` where what is built was changed. Its documentation is: figures are put there.
fn checked_out() -> String {
    let commit = output("git", &["rev-parse", "--short=10", "HEAD"]);
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no", "--", "..", ":(exclude,top)docs"]);
    if changed.is_empty() { commit } else { commit + "+" }
}

fn built_from(binary: &Path) -> Option<String> {
    let version = std::process::Command::new(binary).arg("--version").output().ok()?;
    commit_in(&String::from_utf8_lossy(&version.stdout))
}

/// Of what `countersign --version` prints; `None` where it does not know.
fn commit_in(version: &str) -> Option<String> {
    let commit = version.lines().find_map(|line| line.strip_prefix("commit: "))?;
    commit.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| commit.chars().take(10).collect())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, name)| name);
    name.to_owned()
}

/// Of a program run in this crate's directory; empty where it cannot be had.
fn output(program: &str, args: &[&str]) -> String {
    let run = std::process::Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = run.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen: figures of an older binary stood under the commit of the checkout.
    #[test]
    fn a_named_binary_says_what_it_was_built_from() {
        let version = |commit: &str| format!("countersign 0.1.0\ncommit: {commit}\nfeatures: ssl\n");
        assert_eq!(commit_in(&version("7b01a28d63bd95d4f5c3f956754507b2873459b1")).as_deref(), Some("7b01a28d63"));
        assert_eq!(commit_in(&version("unknown")), None);
        assert_eq!(commit_in("something else"), None);
    }

    /// Seen: it was said that a page had what it has no table for.
    #[test]
    fn what_a_page_has_no_place_for_is_not_said_to_be_there() {
        use crate::prove::{Bound, Limit, Outcome, Row};
        let page = tempfile::NamedTempFile::new().unwrap();
        let claims = "<!-- claims: written by `loadtest figures` -->\n<!-- end -->\n";
        fs::write(page.path(), format!("{claims}{}<!-- end -->\n", timed::begin("there"))).unwrap();
        let shown = |scenario: &str, limits: Vec<Limit>| {
            let (setting, ratios) = (BTreeMap::new(), BTreeMap::new());
            let rows = vec![Row { contender: "somebody".to_owned(), per_second: 1.0, ..Row::default() }];
            let outcome = Outcome { scenario: scenario.to_owned(), binary: "b".into(), setting, rows, ratios, limits };
            show(&Timed::of(&outcome, scenario, Run::default()), page.path()).unwrap()
        };
        assert!(!shown("elsewhere", Vec::new()));
        assert!(!fs::read_to_string(page.path()).unwrap().contains("somebody"));
        assert!(shown("there", Vec::new()) && shown("elsewhere", vec![Limit::new("x", 1.0, Bound::Below(2.0))]));
        let text = fs::read_to_string(page.path()).unwrap();
        assert!(text.contains("| somebody | 1 ") && text.contains("| x | below 2 | 1.00 |"), "{text}");
    }

    #[test]
    fn a_row_is_replaced_and_the_others_stay() {
        let document = format!("# R\n{BEGIN}\n{HEAD}| `a` | old |\n| `b` | kept |\n{END}\ntail\n");
        let mut claim = Claim::new("a", "cargo test a").seed(7).figure("cuts", 12_345_u64).control("x | y");
        claim.run = Run { date: "2026-01-02".into(), commit: "abc".into(), machine: "m".into() };
        let written = rendered(&document, &[claim]).unwrap();
        let expected = r"| `a` | 12,345 cuts | 7 | x \| y | `cargo test a` | 2026-01-02, abc, m |";
        assert!(written.contains(expected) && written.contains("| `b` | kept |"), "{written}");
        assert!(written.starts_with("# R\n") && written.ends_with("\ntail\n") && !written.contains("old"));
        assert_eq!(rendered("no table", &[]), None);
    }
}
