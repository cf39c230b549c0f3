//! The cache key of a question: a keyed 128-bit hash over everything an authorizer could have looked at, except a
//! declared list of condition keys that change from call to call. Forgetting a member here would hand one caller
//! another's verdict, so whatever is not on the list counts. Called by `decide`.

use crate::policy::request::{Request, Text, Values};

/// Condition keys that do not count unless `cache.ignore_defaults` is off. Exact spellings, as MinIO sends them: the
/// time, the signature and its date, ids of a single call or trace, parts of an upload, pages of a listing.
pub const IGNORED_BY_DEFAULT: [&str; 24] = [
    "CurrentTime",
    "EpochTime",
    "Authorization",
    "Date",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "Amz-Sdk-Invocation-Id",
    "Amz-Sdk-Request",
    "X-Amz-User-Agent",
    "X-Request-Id",
    "Traceparent",
    "Tracestate",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Algorithm",
    "X-Amz-SignedHeaders",
    "Signature",
    "AWSAccessKeyId",
    "uploadId",
    "partNumber",
    "continuation-token",
    "encoding-type",
    "fetch-owner",
    "list-type",
];

const PAYLOAD_HASH: &str = "X-Amz-Content-Sha256";
const TAG_KEYS: &str = "RequestObjectTagKeys";

/// A keyed hash, so that nobody outside the process can look for two questions with the same key, and so that a
/// customer's encryption key, which is in the conditions, is nowhere in the cache.
pub type Key = [u8; 16];

/// Which condition keys do not count.
#[derive(Debug, Clone)]
pub struct IgnoreList {
    /// In order.
    names: Vec<Box<str>>,
    /// One payload hash is like another; the words beside hashes (`UNSIGNED-PAYLOAD`, `STREAMING-…`) still count.
    reduce_payload_hash: bool,
}

impl IgnoreList {
    /// `defaults` is `cache.ignore_defaults`; `additions` are exact names.
    pub fn new<S: AsRef<str>>(defaults: bool, additions: &[S]) -> Self {
        let built_in = IGNORED_BY_DEFAULT.into_iter().filter(|_| defaults);
        let mut names: Vec<_> = built_in.chain(additions.iter().map(AsRef::as_ref)).map(Box::from).collect();
        names.sort_unstable();
        Self { names, reduce_payload_hash: defaults }
    }
}

/// Makes keys that mean something only within this process and cache generation.
#[derive(Debug)]
pub struct KeyMaker {
    secret: [u8; 32],
    generation: u64,
    ignore: IgnoreList,
}

impl KeyMaker {
    /// `generation` changes whenever authorizers, routes or cache settings do.
    pub fn new(generation: u64, ignore: IgnoreList) -> Self {
        Self { secret: rand::random(), generation, ignore }
    }

    /// The key of a question that came from `client` and goes to `route`.
    pub fn key(&self, request: &Request, client: &str, route: &str) -> Key {
        let mut parts = Parts(Vec::with_capacity(request.bytes.len() + 256));
        parts.number(self.generation);
        parts.text(client);
        parts.text(route);
        parts.flag(request.deny_only);
        parts.flag(request.owner);
        parts.text(&request.account);
        parts.optional(request.groups.as_deref(), Parts::texts);
        parts.text(&request.action);
        parts.optional(request.original_action.as_deref(), Parts::text);
        parts.text(&request.bucket);
        parts.text(&request.object);
        parts.bytes(&request.claims.text);
        self.conditions(&mut parts, request);
        parts.number(request.unknown.len() as u64);
        for (name, text) in &request.unknown {
            parts.text(name);
            parts.bytes(text);
        }
        let hash = blake3::keyed_hash(&self.secret, &parts.0);
        let mut key = Key::default();
        key.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        key
    }

    /// By name, because the order of an object's members means nothing; each value list in the order sent.
    fn conditions(&self, parts: &mut Parts, request: &Request) {
        let mut counted: Vec<&(Text, Values)> = request.conditions.iter().collect();
        // Both are in the order of their names.
        let mut ignored = self.ignore.names.iter().map(AsRef::as_ref).peekable();
        counted.retain(|(name, _)| {
            while ignored.next_if(|ignored: &&str| *ignored < name.as_str()).is_some() {}
            ignored.peek().is_none_or(|ignored| *ignored != name.as_str())
        });
        parts.number(counted.len() as u64);
        for (name, values) in counted {
            parts.text(name);
            match name.as_str() {
                PAYLOAD_HASH if self.ignore.reduce_payload_hash => parts.payload_hashes(values),
                TAG_KEYS => {
                    // MinIO takes them from a map and so sends them in any order.
                    let mut sorted = values.clone();
                    sorted.sort_unstable();
                    parts.texts(&sorted);
                }
                _ => parts.texts(values),
            }
        }
    }
}

/// What is hashed. Every part says how long it is, so that no two sequences of parts have the same bytes.
struct Parts(Vec<u8>);

impl Parts {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn texts(&mut self, texts: &[Text]) {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text);
        }
    }

    /// Null is neither empty nor a list with nothing in it.
    fn optional<T: ?Sized>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn payload_hashes(&mut self, values: &[Text]) {
        self.number(values.len() as u64);
        for value in values {
            let is_hash = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
            self.flag(is_hash);
            if !is_hash {
                self.text(value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
