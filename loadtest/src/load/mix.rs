//! Which questions are asked, how often each, and about how many objects.
//!
//! The order is fixed: question number n is always the same question, so that two runs ask two servers the same.

use anyhow::{Context, bail, ensure};

use super::target::Target;
use crate::question::{Moment, Question, Template};

/// Questions and their shares.
#[derive(Debug, Clone)]
pub struct Mix {
    questions: Vec<(u32, Question)>,
    objects: u64,
}

impl Mix {
    /// One question only, about one object.
    pub fn of(question: Question) -> Self {
        Self { questions: vec![(1, question)], objects: 1 }
    }

    /// Actions with their shares, like `s3:GetObject=70,s3:PutObject=20,s3:ListBucket=10`; a share may be left out
    /// and is then 1. `make` builds the question for an action.
    pub fn parse(text: &str, make: impl Fn(&str) -> Question) -> anyhow::Result<Self> {
        let mut questions = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (action, share) = part.split_once('=').unwrap_or((part, "1"));
            let share: u32 = share.trim().parse().with_context(|| format!("`{share}` in `{part}` is no share"))?;
            ensure!(share > 0, "`{part}` has no share: leave it out");
            questions.push((share, make(action.trim())));
        }
        if questions.is_empty() {
            bail!("`{text}` names no action");
        }
        Ok(Self { questions, objects: 1 })
    }

    /// Spreads the questions over this many objects, one after the other; 0 counts as 1.
    #[must_use]
    pub fn objects(mut self, objects: u64) -> Self {
        self.objects = objects.max(1);
        self
    }

    pub(super) fn prepare(&self, target: &Target) -> Prepared {
        let mut until = 0;
        let questions = self.questions.iter().map(|(share, question)| {
            until += u64::from(*share);
            let template = question.template();
            Part { until, head: target.head(template.size()), template }
        });
        Prepared { questions: questions.collect(), objects: self.objects }
    }
}

#[derive(Debug)]
struct Part {
    /// The sum of the shares up to and with this one.
    until: u64,
    head: Vec<u8>,
    template: Template,
}

/// The requests of a mix to one target, encoded but for what varies.
#[derive(Debug)]
pub(super) struct Prepared {
    questions: Vec<Part>,
    objects: u64,
}

impl Prepared {
    /// The object that question `number` is about.
    pub(super) fn object(&self, number: u64) -> u64 {
        number % self.objects
    }

    /// Replaces `request` by the bytes of question `number`.
    pub(super) fn write(&self, number: u64, moment: &Moment, request: &mut Vec<u8>) {
        request.clear();
        let total = self.questions.last().map_or(1, |part| part.until);
        let point = scatter(number) % total;
        if let Some(part) = self.questions.iter().find(|part| point < part.until) {
            request.extend_from_slice(&part.head);
            part.template.write(moment, self.object(number), request);
        }
    }
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

    use super::*;

    #[tokio::test]
    async fn shares_and_objects_come_out_as_asked() {
        let make = |action: &str| Question::new("a", action, "b", "o/####");
        let mix = Mix::parse("s3:GetObject=70, s3:PutObject=20,s3:ListBucket=10", make).unwrap().objects(50);
        let prepared = mix.prepare(&Target::resolve("http://127.0.0.1:1/", None).await.unwrap());
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

    #[test]
    fn a_wrong_mix_is_named() {
        for (text, said) in [("", "names no action"), ("a=x", "`x` in `a=x`"), ("a=0", "no share"), ("a=-1", "`-1`")] {
            let error = Mix::parse(text, |_| Question::read()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
