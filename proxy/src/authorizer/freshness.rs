//! `Cache-Control` and `Age` of an answer: how long its sender lets it be kept. They can only shorten what is
//! configured, so what cannot be read means "not at all". Formats: RFC 9111, sections 5.1 and 5.2.2. Called by
//! `authorizer::exchange`.

use std::time::Duration;

/// What the header fields of one answer say, field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    max_age: Option<Duration>,
    age: Duration,
}

impl Freshness {
    /// One `Cache-Control` field; the strictest of all directives counts.
    pub fn cache_control(&mut self, value: &[u8]) {
        let Ok(value) = std::str::from_utf8(value) else { return self.limit(Duration::ZERO) };
        for directive in value.split(',') {
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name.trim(), Some(argument.trim().trim_matches('"'))),
                None => (directive.trim(), None),
            };
            let is = |word: &str| name.eq_ignore_ascii_case(word);
            // We keep answers for many callers, so what is private to one is not ours to keep.
            if is("no-store") || is("no-cache") || is("private") {
                self.limit(Duration::ZERO);
            } else if is("max-age") || is("s-maxage") {
                self.limit(argument.and_then(seconds).unwrap_or(Duration::ZERO));
            }
        }
    }

    /// One `Age` field: the answer was in somebody's cache for so long already.
    pub fn age(&mut self, value: &[u8]) {
        let age = std::str::from_utf8(value).ok().and_then(|value| seconds(value.trim()));
        self.age = self.age.max(age.unwrap_or(Duration::MAX));
    }

    /// How much longer it may be kept, from when it was asked for.
    pub fn keep_at_most(&self) -> Option<Duration> {
        self.max_age.map(|max_age| max_age.saturating_sub(self.age))
    }

    fn limit(&mut self, max_age: Duration) {
        self.max_age = Some(self.max_age.map_or(max_age, |before| before.min(max_age)));
    }
}

/// Digits only; so many that they do not fit mean "for ever", which is only an upper limit here.
fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(cache_control: &[&str], age: &[&str]) -> Option<u64> {
        let mut freshness = Freshness::default();
        cache_control.iter().for_each(|value| freshness.cache_control(value.as_bytes()));
        age.iter().for_each(|value| freshness.age(value.as_bytes()));
        freshness.keep_at_most().map(|limit| limit.as_secs())
    }

    #[test]
    fn the_strictest_directive_counts() {
        for (fields, expected) in [
            (&[][..], None),
            (&["public"], None),
            (&["must-revalidate, immutable"], None),
            (&["no-store"], Some(0)),
            (&["No-Cache"], Some(0)),
            (&["no-cache=\"x\""], Some(0)),
            (&["no-cache=\"set-cookie, x\""], Some(0)),
            (&["must-understand, no-store"], Some(0)),
            (&["max-age=60, stale-while-revalidate=600, stale-if-error=600"], Some(60)),
            (&["MAX-AGE=60 ,\tno-store"], Some(0)),
            (&["private, max-age=60"], Some(0)),
            (&["max-age=60"], Some(60)),
            (&["max-age=\"60\""], Some(60)),
            (&["max-age=60", "max-age=5"], Some(5)),
            (&["max-age=60, s-maxage=5"], Some(5)),
            (&["max-age=99999999999999999999"], Some(u64::MAX)),
            (&["max-age=-1"], Some(0)),
            (&["max-age=+1"], Some(0)),
            (&["max-age"], Some(0)),
            (&["max-age=soon"], Some(0)),
        ] {
            assert_eq!(keep(fields, &[]), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_time_in_other_caches_is_taken_off() {
        assert_eq!(keep(&["max-age=60"], &["20"]), Some(40));
        assert_eq!(keep(&["max-age=60"], &["20", "50"]), Some(10));
        assert_eq!(keep(&["max-age=60"], &["90"]), Some(0));
        assert_eq!(keep(&["max-age=60"], &["yesterday"]), Some(0));
        assert_eq!(keep(&[], &["90"]), None, "an age alone sets no limit");
    }
}
