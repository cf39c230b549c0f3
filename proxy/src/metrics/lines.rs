//! The series of `/metrics`, read back from its own text, so that whoever shows numbers elsewhere shows the same ones. Reads
//! what `Metrics::encode` writes, not every exposition there is. Called by `status`.

use std::borrow::Cow;

/// One series and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// As exposed: with `_bucket`, `_total` and the like.
    pub name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    pub value: f64,
}

impl Line<'_> {
    /// Empty where there is no such label.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value.as_ref())
    }
}

/// Every series, in the order of the text; comments and exemplars are passed over.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line)
}

fn line(text: &str) -> Option<Line<'_>> {
    let end = text.find(['{', ' '])?;
    let (name, mut rest) = text.split_at_checked(end)?;
    let mut labels = Vec::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, after) = inside.trim_start_matches(',').split_once('=')?;
            let (value, after) = quoted(after)?;
            labels.push((label, value));
            inside = after;
        }
        rest = inside.strip_prefix('}')?;
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Line { name, labels, value })
}

/// What stands between quotation marks, and what follows them.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let text = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = text.char_indices().find_map(|(at, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(at)
    })?;
    let (value, rest) = text.split_at_checked(end)?;
    let value = if value.contains('\\') { Cow::Owned(unescaped(value)) } else { Cow::Borrowed(value) };
    Some((value, rest.strip_prefix('"')?))
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Metrics, Names};
    use crate::policy::verdict::Reason;

    #[test]
    fn our_own_text_is_read_whole() {
        let odd = "a\"b\\c\nd{e}=\"f\",g";
        let metrics = Metrics::new(&Names { authorizers: vec![odd.to_owned()], ..Names::default() });
        metrics.authorizer_call(odd, Reason::Denied, Duration::from_micros(300), Some(7));
        let text = metrics.encode();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines(&text).count(), series, "no line is passed over");
        let of = |name: &str| lines(&text).filter(|line| line.name == name).collect::<Vec<_>>();
        let denied = of("countersign_authorizer_requests_total");
        let denied: Vec<_> = denied.iter().filter(|line| line.label("outcome") == "denied").collect();
        assert!(denied.iter().any(|line| line.label("authorizer") == odd && line.value == 1.0), "{denied:?}");
        // An exemplar follows the bucket's value.
        let bucket = of("countersign_authorizer_duration_seconds_bucket");
        let bucket = bucket.iter().find(|line| line.label("authorizer") == odd && line.label("le") == "0.0003");
        assert_eq!(bucket.unwrap().value, 1.0);
        assert_eq!(of("countersign_audit_available")[0].value, 0.0);
    }

    #[test]
    fn what_is_no_series_is_nothing() {
        for bad in ["", "a", "a{b=\"c", "a{b=c} 1", "a{b=\"c\"} x", "a{b=\"c\\\"} 1", "# TYPE a counter"] {
            assert_eq!(lines(bad).count(), 0, "{bad}");
        }
    }
}
