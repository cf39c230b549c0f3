//! Properties of reading a configuration, for every text: a body for property tests and for a fuzzer, which panics where
//! a property is broken. Not part of the proxy's work; called by tests only.

use super::{Diagnostic, Severity, keys, parse};

/// Whatever is wrong is said, at a place that is in the text; what is accepted means the same when it is read again.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // No secret: what they hold is no matter of the text.
    let read = || parse(text, "fuzzed.toml", &|_| None);
    match read() {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|warning| warning.severity == Severity::Warning));
            loaded.warnings.iter().for_each(|warning| told(warning, text));
            let again = read().map(|again| again.config.generation());
            assert_eq!(again, Ok(loaded.config.generation()), "the same text means something else");
        }
        Err(found) => {
            assert!(!found.unreadable, "it was not even a file");
            assert!(found.all.iter().any(|one| one.severity != Severity::Warning), "refused without a reason");
            found.all.iter().for_each(|one| told(one, text));
            let sorted = found.all.is_sorted_by_key(|one| one.position);
            assert!(sorted, "not in the order of the text:\n{found}");
            assert_eq!(read().map(drop), Err(found), "the same text is wrong otherwise");
        }
    }
}

/// A mistake has one line of words, and a place that exists; only what is missing has none.
fn told(one: &Diagnostic, text: &str) {
    let line = one.to_string();
    assert!(!one.message.is_empty() && !line.contains('\n'), "{line:?}");
    let Some((line, column)) = one.position else {
        let known = keys::leaves();
        let names_a_key = known.iter().any(|leaf| leaf.path.split('.').any(|part| one.message.contains(part)));
        return assert!(names_a_key, "neither a place nor a name: {}", one.message);
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let there = line.checked_sub(1).and_then(|line| lines.get(line));
    let width = there.map(|line| line.chars().count());
    assert!(width.is_some_and(|width| (1..=width + 1).contains(&column)), "{line}:{column} is not in the text");
}
