//! What the configuration can say and this version does not do. Refused, never ignored: whoever asks for it would
//! believe to have it. A feature that gets built deletes its line here. Called by `written` for every key it meets.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnose::Page;

const MISSING: &[&str] = &["listen.tls"];

/// What of a key, or of the table it is in, is refused, for the documentation.
pub fn note(path: &str) -> Option<String> {
    let within = |outer: &str| path == outer || path.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    MISSING.iter().any(|missing| within(missing)).then(|| "Not available in this version.".to_owned())
}

/// Whether this key is still refused.
pub fn is_missing(path: &str) -> bool {
    MISSING.contains(&path)
}

/// Reports a key that asks for what is not there.
pub fn refuse(page: &Page<'_>, path: &str, value: &Spanned<DeValue<'_>>) {
    if is_missing(path) {
        page.error(&Some(value.span()), format!("`{path}` is not available in this version"));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_names_a_key() {
        let exists = |path: &str| {
            let below = format!("{path}.");
            super::super::keys::leaves().iter().any(|leaf| leaf.path == path || leaf.path.starts_with(&below))
        };
        for path in super::MISSING {
            assert!(exists(path), "{path}");
        }
    }
}
