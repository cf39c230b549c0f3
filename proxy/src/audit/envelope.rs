//! The CloudEvents 1.0 envelope (structured mode) around every record, up to the place where the chain goes.
//! Built by `record` and `journal`; finished by `chain`, on the writer's thread.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use uuid::Uuid;

use crate::audit::json;

/// A record is at most this long, envelope and chain included (bytes).
pub const MAX_RECORD: usize = 64 * 1024;

/// Who writes: the same in every record of a process.
#[derive(Debug, Clone)]
pub struct Source {
    /// `instance` of the configuration.
    pub instance: Arc<str>,
    /// `/countersign/<instance>`.
    pub uri: Arc<str>,
}

impl Source {
    pub fn new(instance: &str) -> Self {
        Self { instance: instance.into(), uri: format!("/countersign/{instance}").into() }
    }
}

/// Record types, as CloudEvents names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Decision,
    Amendment,
    /// A difference between what was decided and what an authorizer that is tried out would have said.
    Shadow,
    Lifecycle,
    Checkpoint,
    /// Only in Kafka, made by `stub`; never drafted.
    Stub,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "io.countersign.decision.v1",
            Self::Amendment => "io.countersign.amendment.v1",
            Self::Shadow => "io.countersign.shadow.v1",
            Self::Lifecycle => "io.countersign.lifecycle.v1",
            Self::Checkpoint => "io.countersign.checkpoint.v1",
            Self::Stub => "io.countersign.stub.v1",
        }
    }
}

/// A record that lacks only its place in the chain.
#[derive(Debug, Clone)]
pub struct Draft {
    pub id: Uuid,
    pub kind: Kind,
    /// Microseconds since 1970, UTC: the record's `time`.
    pub time_us: i64,
    /// The JSON up to, and without, `,"chain":{…}}}`: what is left open is `data` and the envelope.
    pub head: Vec<u8>,
}

/// Why a draft could not be built.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error("record is not serializable: {0}")]
    Serialize(#[from] serde_json::Error),
    #[error("record of {0} bytes exceeds {MAX_RECORD}")]
    TooLarge(usize),
}

#[derive(Serialize)]
struct Envelope<'a, D> {
    specversion: &'static str,
    id: Uuid,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    data: &'a D,
}

/// Enough for most records (bytes): one allocation instead of a growing one.
const TYPICAL_RECORD: usize = 2048;
/// What the chain member and the two closing braces may take of [`MAX_RECORD`].
pub const CHAIN_ROOM: usize = 512;

impl Draft {
    /// `data` must serialize as an object with at least one member. `subject` is already percent-encoded.
    pub fn new<D: Serialize>(
        source: &Source,
        kind: Kind,
        id: Uuid,
        time: SystemTime,
        subject: Option<String>,
        data: &D,
    ) -> Result<Self, DraftError> {
        let time_us = micros(time);
        let envelope = Envelope {
            specversion: "1.0",
            id,
            source: &source.uri,
            kind: kind.as_str(),
            time: rfc3339(time_us),
            subject,
            data,
        };
        let mut head = Vec::with_capacity(TYPICAL_RECORD);
        json::write(&envelope, &mut head)?;
        if head.len() + CHAIN_ROOM > MAX_RECORD {
            return Err(DraftError::TooLarge(head.len()));
        }
        head.truncate(head.len().saturating_sub(2));
        Ok(Self { id, kind, time_us, head })
    }
}

/// Microseconds since 1970; a clock before 1970 reads as 0.
pub fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with six digits of fraction.
pub fn rfc3339(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us)
        .map_or_else(|_| "1970-01-01T00:00:00.000000Z".to_owned(), |t| format!("{t:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_six_digits() {
        assert_eq!(rfc3339(1_795_439_107_000_000), "2026-11-23T13:05:07.000000Z");
        assert_eq!(rfc3339(1_795_439_107_123_456), "2026-11-23T13:05:07.123456Z");
    }

    #[test]
    fn head_lacks_only_the_chain() {
        let data = serde_json::json!({"event": "x"});
        let id = Uuid::nil();
        let draft = Draft::new(&Source::new("i"), Kind::Lifecycle, id, SystemTime::UNIX_EPOCH, None, &data).unwrap();
        let whole = format!("{},\"chain\":{{}}}}}}", String::from_utf8(draft.head).unwrap());
        let value: serde_json::Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(value["data"]["chain"], serde_json::json!({}));
        assert_eq!(value["source"], "/countersign/i");
    }
}
