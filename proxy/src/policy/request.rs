//! What MinIO asked, as data. Built by `wire::question`, which is the only reader of the bytes; used by route, key,
//! purpose and the record. Field meanings: MinIO's `policy.Args` (minio/pkg `policy/policy.go`).

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

/// Text of a question. Most are names and short values, which this holds in place.
pub type Text = CompactString;

/// The values of a condition, of which there is nearly always one.
pub type Values = SmallVec<[Text; 1]>;

/// One question, read strictly. Strings are exactly MinIO's: no case folding, no normalization anywhere.
#[derive(Debug, Clone)]
pub struct Request {
    /// The bytes that were read, and that authorizers are sent.
    pub bytes: Bytes,
    /// The access key that signed; `""` is anonymous. For derived keys this is not the person.
    pub account: Text,
    /// `None` is JSON null, the normal case for internal users.
    pub groups: Option<Vec<Text>>,
    /// `s3:…`, `admin:…` or `kms:…`.
    pub action: Text,
    /// Absent before pkg v3.0.20.
    pub original_action: Option<Text>,
    pub bucket: Text,
    pub object: Text,
    pub owner: bool,
    /// "Would an explicit deny apply?" An allow to it grants nothing.
    pub deny_only: bool,
    /// Every request header and query parameter of the S3 client is in here: secrets, and text that a client chooses.
    pub conditions: Conditions,
    pub claims: Claims,
    /// Members that this version does not know, at the root (`root.<name>`) and in `input` (`input.<name>`), as JSON
    /// text, and known ones that were not sent (`absent.<name>`). They reach the authorizer and the cache key; the
    /// record names nothing of them.
    pub unknown: Vec<(String, Bytes)>,
}

/// `input.conditions`: names, which are unique, with the values of each in the order sent. In the order of the names,
/// since a record looks for two dozen of them and the cache key takes them by name; the order in which they were sent means
/// nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    pairs: Vec<(Text, Values)>,
    /// The [`mark`]s of all names: most names that are looked for are not there, and few of those are looked for in vain.
    marks: u128,
}

/// One bit, by the length and the ends of a name.
fn mark(name: &str) -> u128 {
    let bytes = name.as_bytes();
    let end = |byte: Option<&u8>| byte.map_or(0, |byte| usize::from(*byte));
    1 << ((bytes.len() * 7 + end(bytes.first()) * 3 + end(bytes.last())) % 128)
}

impl Conditions {
    pub fn iter(&self) -> std::slice::Iter<'_, (Text, Values)> {
        self.pairs.iter()
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn get(&self, name: &str) -> Option<&Values> {
        if self.marks & mark(name) == 0 {
            return None;
        }
        let at = self.pairs.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
        self.pairs.get(at).map(|(_, values)| values)
    }
}

impl From<Vec<(Text, Values)>> for Conditions {
    fn from(mut pairs: Vec<(Text, Values)>) -> Self {
        // MinIO sends them in order, which costs one look at each.
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        let marks = pairs.iter().fold(0, |marks, (name, _)| marks | mark(name));
        Self { pairs, marks }
    }
}

#[cfg(test)]
impl Conditions {
    /// Changes them in any way; they are in order again after it.
    pub fn edit(&mut self, change: impl FnOnce(&mut Vec<(Text, Values)>)) {
        let mut pairs = std::mem::take(&mut self.pairs);
        change(&mut pairs);
        *self = pairs.into();
    }
}

/// `input.claims`: the verified session token.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// The exact JSON text, so that no number is rounded on its way into the cache key. Empty where absent.
    pub text: Bytes,
    /// The top-level members whose value is a string, in the order sent.
    pub strings: Vec<(Text, Text)>,
}

impl Claims {
    pub fn string(&self, name: &str) -> Option<&str> {
        self.strings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Request {
    /// All values of a condition; exact spelling. Empty where absent.
    pub fn condition(&self, name: &str) -> &[Text] {
        self.conditions.get(name).map_or(&[], SmallVec::as_slice)
    }

    /// The first value of a condition. MinIO's own value stands first, a client's after it.
    pub fn first_condition(&self, name: &str) -> Option<&str> {
        self.condition(name).first().map(Text::as_str)
    }

    pub fn has_condition(&self, name: &str) -> bool {
        self.conditions.get(name).is_some()
    }
}

#[cfg(test)]
impl Request {
    /// An anonymous question with this action and nothing else, for tests that add what they are about.
    pub fn bare(action: &str) -> Self {
        Self {
            bytes: Bytes::new(),
            account: Text::default(),
            groups: None,
            action: action.into(),
            original_action: None,
            bucket: Text::default(),
            object: Text::default(),
            owner: false,
            deny_only: false,
            conditions: Conditions::default(),
            claims: Claims::default(),
            unknown: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Names that are alike: of few letters, empty ones and beginnings of each other among them.
        #[test]
        fn what_is_there_is_found_and_nothing_else(
            pairs in prop::collection::btree_map("[abé]{0,4}", "[a-z]{0,30}", 0..12),
            asked in prop::collection::vec("[abé]{0,5}", 0..40),
        ) {
            let given = pairs.iter().rev().map(|(name, value)| (name.into(), Values::from_iter([Text::from(value)])));
            let mut request = Request::bare("s3:GetObject");
            request.conditions = given.collect::<Vec<_>>().into();
            let found: BTreeMap<String, String> = asked.iter().chain(pairs.keys())
                .filter(|name| request.has_condition(name))
                .map(|name| (name.clone(), request.first_condition(name).unwrap().to_owned()))
                .collect();
            prop_assert_eq!(found, pairs);
        }
    }
}
