//! Rows of docs/RELIABILITY.md name claims that some test writes, and tests that exist; docs/PERFORMANCE.md names every
//! scenario that can be timed, and no other.

use std::collections::BTreeSet;

use loadtest::figures::rows;
use loadtest::prove::SCENARIOS;

use super::files;

fn document() -> String {
    std::fs::read_to_string(files::root().join("docs/RELIABILITY.md")).unwrap()
}

/// Names in `Claim::new("…"`.
fn claims(text: &str) -> Vec<String> {
    let after = text.split("Claim::new(").skip(1);
    after.filter_map(|rest| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned())).collect()
}

#[test]
fn every_row_with_figures_is_a_claim_that_a_test_writes() {
    assert_eq!(claims("Claim::new(\"a\", B); Claim::new(\n  \"c\","), ["a", "c"]);
    let known: Vec<String> = files::rust().iter().flat_map(|file| claims(&file.text)).collect();
    let rows = rows(&document()).expect("a table of figures");
    let unknown: Vec<String> = rows.into_keys().filter(|name| !known.contains(name)).collect();
    files::fail_on(&unknown);
}

/// `module::test`, in the second column.
#[test]
fn every_test_that_the_document_names_exists() {
    let document = document();
    let named = document.lines().filter_map(|line| {
        let second = line.strip_prefix("| `")?.split(" | ").nth(1)?;
        second.strip_prefix('`')?.strip_suffix('`')?.split_once("::")
    });
    let named: Vec<(&str, &str)> = named.collect();
    assert!(named.len() >= 5, "{named:?}");
    let rust = files::rust();
    let absent = named.iter().filter(|(module, test)| !files::has_test(&rust, module, test));
    let absent: Vec<String> = absent.map(|(module, test)| format!("{module}::{test}")).collect();
    files::fail_on(&absent);
}

/// Words behind `prove `, in code.
fn proved(text: &str) -> BTreeSet<String> {
    let after = text.split("`loadtest prove ").skip(1);
    after.filter_map(|rest| rest.split(['`', ' ']).next().map(str::to_owned)).collect()
}

#[test]
fn every_timed_claim_is_told_with_its_command() {
    assert_eq!(proved("a `loadtest prove b` c `loadtest prove d --e`"), ["b".to_owned(), "d".to_owned()].into());
    let told = proved(&std::fs::read_to_string(files::root().join("docs/PERFORMANCE.md")).unwrap());
    let known: BTreeSet<String> = SCENARIOS.iter().map(|scenario| scenario.name.to_owned()).collect();
    let complaints: Vec<String> = told.symmetric_difference(&known).cloned().collect();
    files::fail_on(&complaints);
}
