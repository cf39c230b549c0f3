//! Which authorizers are asked about a question, in which way, and for how long their answer is kept. The first
//! route that matches wins. Not the asking; that is `decide`, the only caller beside `config`, which builds routes.

use std::sync::Arc;
use std::time::Duration;

use wildmatch::WildMatch;

use crate::policy::request::Request;

/// How the verdicts of several authorizers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// In order, the next one only on a fault of the one before.
    First,
    /// At once; every one must allow.
    All,
    /// At once; one allow is enough.
    Any,
}

/// For how long an answer is kept, counted from when its question was sent. Zero keeps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub allow: Duration,
    pub deny: Duration,
}

impl Lifetimes {
    pub const OFF: Self = Self { allow: Duration::ZERO, deny: Duration::ZERO };

    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}

#[derive(Debug, Clone)]
pub struct Route {
    pub name: Arc<str>,
    pub matcher: Matcher,
    /// Places in the decider's list of authorizers, in the order they are asked; none twice.
    pub ask: Vec<usize>,
    pub combine: Combine,
    /// Places in the decider's list of shadows: asked beside, never waited for.
    pub shadow: Vec<usize>,
    pub cache: Lifetimes,
}

/// All of these must match.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The name of the token that the question came with.
    pub client: Globs,
    pub action: Globs,
    /// `""` for questions without a bucket.
    pub bucket: Globs,
    /// `""` for anonymous.
    pub account: Globs,
}

impl Matcher {
    pub const fn any() -> Self {
        Self { client: Globs::any(), action: Globs::any(), bucket: Globs::any(), account: Globs::any() }
    }

    pub fn matches(&self, request: &Request, client: &str) -> bool {
        self.client.matches(client)
            && self.action.matches(&request.action)
            && self.bucket.matches(&request.bucket)
            && self.account.matches(&request.account)
    }
}

/// Patterns of which one must match the whole text: `*` is any run of characters, none included, `?` exactly one.
/// Letter case counts.
#[derive(Debug, Clone)]
pub struct Globs(Option<Vec<WildMatch>>);

impl Globs {
    /// What an absent list means.
    pub const fn any() -> Self {
        Self(None)
    }

    /// An empty list matches nothing.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Self {
        // The usual pattern costs nothing at run time.
        if patterns.iter().any(|pattern| pattern.as_ref() == "*") {
            return Self::any();
        }
        Self(Some(patterns.iter().map(|pattern| WildMatch::new(pattern.as_ref())).collect()))
    }

    pub fn matches(&self, text: &str) -> bool {
        self.0.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.matches(text)))
    }
}

/// The table of routes, in the order written.
#[derive(Debug, Clone)]
pub struct Routes(Vec<Route>);

impl Routes {
    pub fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    /// The first route that matches. Without one the question is denied as `no_route`.
    pub fn pick(&self, request: &Request, client: &str) -> Option<&Route> {
        self.0.iter().find(|route| route.matcher.matches(request, client))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: &str, bucket: &str, account: &str) -> Request {
        Request { account: account.into(), bucket: bucket.into(), ..Request::bare(action) }
    }

    fn route(name: &str, matcher: Matcher) -> Route {
        Route {
            name: name.into(),
            matcher,
            ask: vec![0],
            combine: Combine::First,
            shadow: Vec::new(),
            cache: Lifetimes::OFF,
        }
    }

    #[test]
    fn star_and_absence_match_the_empty_text() {
        for globs in [Globs::any(), Globs::new(&["*"]), Globs::new(&["x", "**"])] {
            assert!(globs.matches(""));
            assert!(globs.matches("anything/at all"));
        }
        assert!(!Globs::new::<&str>(&[]).matches(""), "an empty list matches nothing");
        assert!(!Globs::new(&["?"]).matches(""));
    }

    #[test]
    fn globs_match_whole_texts_and_letter_case_counts() {
        let globs = Globs::new(&["s3:Get*", "admin:?"]);
        for (text, expected) in
            [("s3:GetObject", true), ("s3:Get", true), ("s3:getObject", false), ("xs3:Get", false), ("admin:x", true)]
        {
            assert_eq!(globs.matches(text), expected, "{text}");
        }
    }

    #[test]
    fn the_first_route_that_matches_wins_and_every_part_must_match() {
        let narrow = Matcher {
            client: Globs::new(&["eu*"]),
            action: Globs::new(&["s3:*"]),
            bucket: Globs::new(&["photos"]),
            account: Globs::new(&["alice"]),
        };
        let routes = Routes::new(vec![
            route("narrow", narrow),
            route("s3", Matcher { action: Globs::new(&["s3:*"]), ..Matcher::any() }),
        ]);
        let pick = |request: &Request, client: &str| routes.pick(request, client).map(|route| route.name.to_string());
        assert_eq!(pick(&request("s3:GetObject", "photos", "alice"), "eu1").as_deref(), Some("narrow"));
        for (request, client) in [
            (request("s3:GetObject", "photos", "alice"), "us1"),
            (request("s3:GetObject", "music", "alice"), "eu1"),
            (request("s3:GetObject", "photos", "bob"), "eu1"),
            (request("s3:ListAllMyBuckets", "", ""), "eu1"),
        ] {
            assert_eq!(pick(&request, client).as_deref(), Some("s3"), "{request:?}");
        }
        assert_eq!(pick(&request("admin:ServerInfo", "photos", "alice"), "eu1"), None);
    }
}
