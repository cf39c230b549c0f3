//! Purges: rules with an instant. An answer whose question was sent before a rule's instant is not used for the questions
//! the rule is about, wherever it waits: in the cache or with an equal question under way. Nothing is searched for when a
//! rule is made. Not who may make one; that is `admin`. Called by `decide::memory`.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::decide::moment::Moment;
use crate::policy::request::Request;

/// Rules at a time. With one more they become one that is about everything: too much is forgotten, never too little.
pub const MAX_RULES: usize = 256;

/// What is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    Everything,
    /// Everything about questions that fit all of these; at least one is there, and a prefix only with a bucket.
    Matching {
        account: Option<Box<str>>,
        bucket: Option<Box<str>>,
        prefix: Option<Box<str>>,
    },
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    #[error("say what: an account, a bucket, a bucket with a prefix, or all")]
    Nothing,
    #[error("all is everything: it takes no account, bucket or prefix")]
    AllAndSome,
    #[error("a prefix needs a bucket")]
    PrefixOnly,
}

impl Rule {
    pub fn new(
        all: bool,
        account: Option<&str>,
        bucket: Option<&str>,
        prefix: Option<&str>,
    ) -> Result<Self, RuleError> {
        match (all, account, bucket, prefix) {
            (true, None, None, None) => Ok(Self::Everything),
            (true, ..) => Err(RuleError::AllAndSome),
            (false, None, None, None) => Err(RuleError::Nothing),
            (false, _, None, Some(_)) => Err(RuleError::PrefixOnly),
            (false, account, bucket, prefix) => {
                let [account, bucket, prefix] = [account, bucket, prefix].map(|name| name.map(Box::from));
                Ok(Self::Matching { account, bucket, prefix })
            }
        }
    }

    /// Where it is not clear whether a question is meant, it is.
    fn is_about(&self, request: &Request) -> bool {
        let Self::Matching { account, bucket, prefix } = self else { return true };
        account.as_deref().is_none_or(|account| acts_for(request, account))
            && bucket.as_deref().is_none_or(|bucket| request.bucket == bucket)
            // A question about the bucket, such as a listing, can reach into any prefix.
            && prefix.as_deref().is_none_or(|prefix| request.object.is_empty() || request.object.starts_with(prefix))
    }
}

/// The account itself, and the keys that were derived from it: whoever the claims name, by whichever of their names
/// (`parent`, `sub`, the login and the DN of an LDAP user, what an identity provider adds). A claim that is no name and
/// has the same text only makes one question more.
fn acts_for(request: &Request, account: &str) -> bool {
    request.account == account || request.claims.strings.iter().any(|(_, value)| value == account)
}

/// Every rule that may still matter. Read without a lock.
#[derive(Debug)]
pub struct Purges {
    rules: ArcSwap<Rules>,
    /// One at a time makes a rule.
    making: Mutex<()>,
    /// No answer lives longer, so no rule needs to.
    longest: Duration,
}

#[derive(Debug, Clone, Default)]
struct Rules {
    /// The instant of the youngest rule: most answers are younger than that, and no rule need be looked at.
    newest: Option<Moment>,
    /// That of the youngest rule about everything.
    everything: Option<Moment>,
    some: Vec<(Rule, Moment)>,
}

impl Purges {
    /// `longest` is the longest that any answer is kept.
    pub fn new(longest: Duration) -> Self {
        Self { rules: ArcSwap::default(), making: Mutex::new(()), longest }
    }

    /// From now on no answer is used whose question was sent until now. Holds for every look that begins when this has
    /// returned.
    pub fn purge(&self, rule: Rule) {
        let _making = self.making.lock();
        let now = Moment::now();
        let mut rules = Rules::clone(&self.rules.load());
        let oldest = now.saturating_sub(self.longest);
        rules.some.retain(|(other, at)| *at >= oldest && *other != rule);
        rules.newest = Some(now);
        if rule == Rule::Everything || rules.some.len() >= MAX_RULES {
            if rule != Rule::Everything {
                tracing::warn!(rules = MAX_RULES, "too many purges at a time: everything is purged instead");
            }
            rules.everything = Some(now);
            rules.some = Vec::new();
        } else {
            rules.some.push((rule, now));
        }
        self.rules.store(Arc::new(rules));
    }

    /// Whether an answer for `request` that was asked for at `sent` must not be used.
    pub fn covers(&self, request: &Request, sent: Moment) -> bool {
        let rules = self.rules.load();
        if rules.newest.is_none_or(|newest| sent > newest) {
            return false;
        }
        rules.everything.is_some_and(|at| sent <= at)
            || rules.some.iter().any(|(rule, at)| sent <= *at && rule.is_about(request))
    }
}

#[cfg(test)]
mod tests;
