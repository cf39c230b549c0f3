//! What the configuration can say and this version does not do. Refused, never ignored: whoever asks for it would
//! believe to have it. A feature that gets built deletes its line here. Called by `written` for every key it meets.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnose::Page;

/// When a key asks for something that is not there.
#[derive(Debug)]
enum Asks {
    /// Whenever it is written.
    Always,
    /// With a list that is not empty.
    NotEmpty,
}

const MISSING: &[(&str, Asks)] = &[("listen.tls", Asks::Always), ("route.shadow", Asks::NotEmpty)];

/// What of a key, or of the table it is in, is refused, for the documentation.
pub fn note(path: &str) -> Option<String> {
    let within = |outer: &str| path == outer || path.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    let (_, asks) = MISSING.iter().find(|(missing, _)| within(missing))?;
    Some(match asks {
        Asks::Always => "Not available in this version.".to_owned(),
        Asks::NotEmpty => "Only `[]` is available in this version.".to_owned(),
    })
}

/// Whether some use of this key is still refused.
pub fn is_missing(path: &str) -> bool {
    MISSING.iter().any(|(missing, _)| *missing == path)
}

/// Reports a value that asks for what is not there. Values of the wrong type are left to their reader.
pub fn refuse(page: &Page<'_>, path: &str, value: &Spanned<DeValue<'_>>) {
    let Some((_, asks)) = MISSING.iter().find(|(missing, _)| *missing == path) else { return };
    let written = value.get_ref();
    let asked = match asks {
        Asks::Always => true,
        Asks::NotEmpty => written.as_array().is_some_and(|list| !list.is_empty()),
    };
    if asked {
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
        for (path, _) in super::MISSING {
            assert!(exists(path), "{path}");
        }
    }
}
