//! Words that do not belong into the repository: reminders, trackers, somebody's machine, lints switched off.

use super::files;

/// Written in halves, so that this file does not break its own rule.
const BANNED: [(&str, &str); 7] = [
    (concat!("TO", "DO"), "do it, or say in the documentation that it is left out"),
    (concat!("FIX", "ME"), "do it, or say in the documentation that it is left out"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/tmp/", "plan"), "a path of one machine"),
    (concat!("/tmp/", "wt/"), "a path of one machine"),
    (concat!("issue ", "#"), "say what it was instead of where it was written down"),
    (concat!("#[allo", "w("), "write `expect` with a reason"),
];

const INNER_ALLOW: &str = concat!("#![allo", "w(");

fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (word, why) in BANNED.into_iter().chain([(INNER_ALLOW, "write `expect` with a reason")]) {
            if line.contains(word) {
                found.push(format!("{path}:{}: `{word}`: {why}", number + 1));
            }
        }
    }
    found
}

#[test]
fn the_rule_sees_banned_words() {
    let bad = format!("// {}: later\n#![allo{}dead_code)]\nfine\n", BANNED[0].0, "w(");
    assert_eq!(complaints("sample", &bad).len(), 2);
    assert!(complaints("sample", "allowed, to do, an issue\n").is_empty());
}

#[test]
fn nothing_is_put_off_or_points_to_one_machine() {
    let endings = [".rs", ".toml", ".md", ".py", ".yaml", ".yml", ".sh", ".json", ".rego", ".conf", "Dockerfile"];
    let files = files::with_ending(&endings);
    files::fail_on(&files.iter().flat_map(|file| complaints(&file.path, &file.text)).collect::<Vec<_>>());
}

/// `cargo deny check sources` says which one.
#[test]
fn crates_come_from_one_registry() {
    let locks = files::with_ending(&["Cargo.lock"]);
    let paths: Vec<&str> = locks.iter().map(|lock| lock.path.as_str()).collect();
    assert_eq!(paths, ["Cargo.lock", "proxy/fuzz/Cargo.lock"]);
    let sources = locks.iter().flat_map(|lock| lock.text.lines()).filter_map(|line| line.strip_prefix("source = "));
    let sources: std::collections::BTreeSet<&str> = sources.map(|source| source.trim_matches('"')).collect();
    assert!(sources.len() == 1 && sources.iter().all(|source| source.starts_with("registry+")), "{sources:?}");
}
