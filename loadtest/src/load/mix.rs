//! Which questions are asked, how often each, by whom and about how many objects.
//!
//! The order is fixed: question number n is always the same question, so that two runs ask two servers the same.

use anyhow::{Context, bail, ensure};

use super::target::Target;
use crate::question::{Moment, Question, Template};

/// Different accounts at most: each has its encoded questions.
pub(super) const MAX_ACCOUNTS: u32 = 10_000;

/// Questions and their shares.
#[derive(Debug, Clone)]
pub struct Mix {
    parts: Vec<(u32, Asked)>,
    objects: u64,
    accounts: u32,
    hits: Option<f64>,
    scattered: bool,
}

#[derive(Debug, Clone)]
enum Asked {
    Question(Question),
    /// Sent as it is.
    Raw(Vec<u8>),
}

impl Mix {
    /// One question only, about one object.
    pub fn of(question: Question) -> Self {
        Self::with(vec![(1, Asked::Question(question))])
    }

    /// Whole HTTP/1.1 requests, sent as they are, one after the other in no order.
    pub fn raw(requests: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::with(requests.into_iter().map(|request| (1, Asked::Raw(request))).collect())
    }

    /// Actions with their shares, like `s3:GetObject=70,s3:PutObject=20,s3:ListBucket=10`; a share may be left out
    /// and is then 1. `make` builds the question for an action.
    pub fn parse(text: &str, make: impl Fn(&str) -> Question) -> anyhow::Result<Self> {
        let actions = shares(text).context("the mix names no action")?;
        Ok(Self::with(actions.into_iter().map(|(share, action)| (share, Asked::Question(make(action)))).collect()))
    }

    fn with(parts: Vec<(u32, Asked)>) -> Self {
        Self { parts, objects: 1, accounts: 1, hits: None, scattered: false }
    }

    /// Each question in several sizes in bytes with their shares, like `1024=90,16384=10`.
    pub fn sizes(mut self, text: &str) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        for (size_share, size) in shares(text).context("no size is named")? {
            let size: usize = size.parse().with_context(|| format!("`{size}` is no size in bytes"))?;
            for (share, asked) in &self.parts {
                let Asked::Question(question) = asked else { continue };
                parts.push((share.saturating_mul(size_share), Asked::Question(question.clone().size(size))));
            }
        }
        self.parts = parts;
        Ok(self)
    }

    /// Spreads the questions over this many objects, one after the other; 0 counts as 1.
    #[must_use]
    pub fn objects(mut self, objects: u64) -> Self {
        self.objects = objects.max(1);
        self
    }

    /// Spreads the questions over this many accounts, whose names are numbered where they are several.
    #[must_use]
    pub fn accounts(mut self, accounts: u32) -> Self {
        self.accounts = accounts.clamp(1, MAX_ACCOUNTS);
        self
    }

    /// The objects in no order, so that few questions are about all of them.
    #[must_use]
    pub fn scattered(mut self) -> Self {
        self.scattered = true;
        self
    }

    /// This share of the questions has been asked before: about one of the objects (as many as `objects` says) that were
    /// new most lately. All others are about an object of their own.
    #[must_use]
    pub fn hits(mut self, share: f64) -> Self {
        self.hits = Some(share.clamp(0.0, 1.0));
        self
    }

    /// In words, each kind with its share, for a report.
    pub(super) fn told(&self) -> Vec<String> {
        let told = |(share, asked): &(u32, Asked)| match asked {
            Asked::Raw(bytes) => {
                let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                format!("{share} × {}", String::from_utf8_lossy(line))
            }
            Asked::Question(question) => format!("{share} × {question}"),
        };
        self.parts.iter().map(told).collect()
    }

    pub(super) fn counts(&self) -> (u64, u32, Option<f64>) {
        (self.objects, self.accounts, self.hits)
    }

    pub(super) fn prepare(&self, target: &Target) -> Prepared {
        let mut until = 0;
        let parts = self.parts.iter().map(|(share, asked)| {
            until += u64::from(*share);
            let requests = match asked {
                Asked::Raw(bytes) => vec![(bytes.clone(), None)],
                Asked::Question(question) => (0..self.accounts)
                    .map(|number| {
                        let template = question.of_account(self.accounts, number).template();
                        (target.head(template.size()), Some(template))
                    })
                    .collect(),
            };
            Part { until, requests }
        });
        Prepared { parts: parts.collect(), objects: self.objects, hits: self.hits, scattered: self.scattered }
    }
}

/// `a=70,b` as shares and names.
fn shares(text: &str) -> anyhow::Result<Vec<(u32, &str)>> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, share) = part.split_once('=').unwrap_or((part, "1"));
        let share: u32 = share.trim().parse().with_context(|| format!("`{share}` in `{part}` is no share"))?;
        ensure!(share > 0, "`{part}` has no share: leave it out");
        all.push((share, name.trim()));
    }
    if all.is_empty() {
        bail!("`{text}` is empty");
    }
    Ok(all)
}

#[derive(Debug)]
struct Part {
    /// The sum of the shares up to and with this one.
    until: u64,
    /// Of each account: what never changes, and the rest.
    requests: Vec<(Vec<u8>, Option<Template>)>,
}

/// The requests of a mix to one target, encoded but for what varies.
#[derive(Debug)]
pub(super) struct Prepared {
    parts: Vec<Part>,
    objects: u64,
    hits: Option<f64>,
    scattered: bool,
}

impl Prepared {
    /// The object that question `number` is about.
    pub(super) fn object(&self, number: u64) -> u64 {
        let Some(hits) = self.hits else {
            let place = if self.scattered { scatter(number) } else { number };
            return place % self.objects;
        };
        let known = new_before(number, hits);
        if new_before(number + 1, hits) > known {
            return known;
        }
        let recent = known.min(self.objects);
        known.saturating_sub(1 + scatter(number) % recent.max(1))
    }

    /// Replaces `request` by the bytes of question `number`.
    pub(super) fn write(&self, number: u64, moment: &Moment, request: &mut Vec<u8>) {
        request.clear();
        let object = self.object(number);
        // What was asked before was asked so by that account, too.
        let what = scatter(if self.hits.is_some() { object } else { number });
        let total = self.parts.last().map_or(1, |part| part.until);
        let Some(part) = self.parts.iter().find(|part| what % total < part.until) else { return };
        let accounts = part.requests.len().max(1);
        let account = usize::try_from(scatter(what) % accounts as u64).unwrap_or(0);
        if let Some((head, template)) = part.requests.get(account) {
            request.extend_from_slice(head);
            if let Some(template) = template {
                template.write(moment, object, request);
            }
        }
    }
}

/// How many of the first `number` questions are about an object of their own.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^53")]
fn new_before(number: u64, hits: f64) -> u64 {
    (number as f64 * (1.0 - hits)).ceil() as u64
}

/// splitmix64's finalizer: neighbouring numbers get unrelated points, so that shares and objects do not march in step.
fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::SystemTime;

    use super::super::target::Speaking;
    use super::*;

    #[tokio::test]
    async fn shares_and_objects_come_out_as_asked() {
        let make = |action: &str| Question::new("a", action, "b", "o/####");
        let mix = Mix::parse("s3:GetObject=70, s3:PutObject=20,s3:ListBucket=10", make).unwrap().objects(50);
        let prepared = mix.prepare(&Target::resolve("http://127.0.0.1:1/", None, &Speaking::default()).await.unwrap());
        let mut counts = BTreeMap::new();
        let mut pairs = BTreeSet::new();
        let mut request = Vec::new();
        for number in 0..10_000 {
            prepared.write(number, &Moment::at(SystemTime::now()), &mut request);
            let text = String::from_utf8(request.clone()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            *counts.entry(body["input"]["action"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            pairs.insert(format!("{} {}", body["input"]["action"], body["input"]["object"]));
            *counts.entry(body["input"]["object"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        for (action, expected) in [("s3:GetObject", 7000_i32), ("s3:PutObject", 2000), ("s3:ListBucket", 1000)] {
            assert!((counts[action] - expected).abs() < 200, "{action}: {}", counts[action]);
        }
        assert_eq!((counts["o/0000"], counts["o/0049"], counts.len()), (200, 200, 53));
        // Every object is asked about in every way: the shares and the objects do not march in step.
        assert_eq!(pairs.len(), 150);
    }

    async fn asked(mix: &Mix, count: u64) -> Vec<serde_json::Value> {
        let prepared = mix.prepare(&Target::resolve("http://127.0.0.1:1/", None, &Speaking::default()).await.unwrap());
        let mut request = Vec::new();
        let bodies = (0..count).map(|number| {
            prepared.write(number, &Moment::at(SystemTime::UNIX_EPOCH), &mut request);
            let text = String::from_utf8(request.clone()).unwrap();
            serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
        });
        bodies.collect()
    }

    #[tokio::test]
    async fn the_share_of_hits_is_the_one_that_is_asked_for() {
        let make = |action: &str| Question::new("a", action, "b", "o/########");
        for (hits, expected) in [(0.9, 9000), (0.5, 5000), (0.0, 0), (1.0, 9999)] {
            let mix = Mix::parse("s3:GetObject=7,s3:PutObject=3", make).unwrap().objects(100).accounts(3).hits(hits);
            let mut before = BTreeSet::new();
            let key = |body: &serde_json::Value| {
                let input = &body["input"];
                format!("{} {} {}", input["account"], input["action"], input["object"])
            };
            let again = asked(&mix, 10_000).await.iter().filter(|body| !before.insert(key(body))).count();
            assert!(again.abs_diff(expected) <= 1, "{hits}: {again}");
        }
    }

    #[tokio::test]
    async fn accounts_and_sizes_come_out_as_asked() {
        let mix = Mix::of(Question::read()).accounts(5).sizes("1024=3,4096=1").unwrap();
        let mut counts = BTreeMap::new();
        for body in asked(&mix, 4000).await {
            *counts.entry(body["input"]["account"].to_string()).or_insert(0) += 1;
            *counts.entry(body.to_string().len().div_ceil(1024).to_string()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 7, "{counts:?}");
        assert!((3000_i32 - counts["1"]).abs() < 200 && (1000_i32 - counts["4"]).abs() < 200, "{counts:?}");
        for number in 0..5 {
            assert!((800_i32 - counts[&format!("\"alice-{number}\"")]).abs() < 200, "{counts:?}");
        }
        assert!(Mix::of(Question::read()).sizes("big").is_err());
    }

    #[tokio::test]
    async fn a_few_questions_are_about_all_objects_where_they_are_scattered() {
        let mix = Mix::of(Question::new("a", "s3:GetObject", "b", "########")).objects(1_000_000).scattered();
        let number = |body: serde_json::Value| body["input"]["object"].as_str().unwrap().parse::<u32>().unwrap();
        let quarters: BTreeSet<_> = asked(&mix, 100).await.into_iter().map(|body| number(body) / 250_000).collect();
        assert_eq!(quarters, [0, 1, 2, 3].into());
    }

    #[test]
    fn a_wrong_mix_is_named() {
        for (text, said) in [("", "names no action"), ("a=x", "`x` in `a=x`"), ("a=0", "no share"), ("a=-1", "`-1`")] {
            let error = format!("{:#}", Mix::parse(text, |_| Question::read()).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
