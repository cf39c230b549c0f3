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
pub struct Conditions(Vec<(Text, Values)>);

impl Conditions {
    pub fn iter(&self) -> std::slice::Iter<'_, (Text, Values)> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, name: &str) -> Option<&Values> {
        let at = self.0.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|(_, values)| values)
    }
}

impl From<Vec<(Text, Values)>> for Conditions {
    fn from(mut conditions: Vec<(Text, Values)>) -> Self {
        // MinIO sends them in order, which costs one look at each.
        conditions.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self(conditions)
    }
}

#[cfg(test)]
impl Conditions {
    /// Changes them in any way; they are in order again after it.
    pub fn edit(&mut self, change: impl FnOnce(&mut Vec<(Text, Values)>)) {
        let mut conditions = std::mem::take(&mut self.0);
        change(&mut conditions);
        *self = conditions.into();
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
