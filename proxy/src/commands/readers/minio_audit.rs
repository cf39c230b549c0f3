//! MinIO's own audit log, as its webhook target sends it and a sink writes it down: one JSON object a line. Only what joins it
//! with decisions is kept of an entry; the log itself holds signatures, session tokens and customer keys, which go nowhere
//! from here. Used by `explain` and `reconcile`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::stream::Stream;
use super::{Openers, Where};
use crate::audit::record::bare_signature;
use crate::kafka::reader::Start;
use crate::policy::limited::sha256_hex;

/// One call of a client, as MinIO saw it end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// When it ended, microseconds since 1970.
    pub time_us: Option<i64>,
    /// When it began.
    pub began_us: Option<i64>,
    pub request_id: String,
    /// Such as `GetObject`.
    pub api: String,
    pub bucket: Option<String>,
    pub object: Option<String>,
    pub status: Option<u16>,
    pub access_key: Option<String>,
    /// Joins decisions; `None` of an unsigned call, and of a form upload, whose signature the log does not have.
    pub signature_sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    time: Option<String>,
    #[serde(rename = "requestID")]
    request_id: Option<String>,
    access_key: Option<String>,
    #[serde(default)]
    api: Api,
    #[serde(default)]
    request_header: BTreeMap<String, Value>,
    #[serde(default)]
    request_query: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Api {
    name: Option<String>,
    bucket: Option<String>,
    object: Option<String>,
    status_code: Option<u16>,
    /// Nanoseconds; text in some versions, a number in others.
    #[serde(rename = "timeToResponseInNS")]
    time_to_response_ns: Option<Value>,
}

impl Operation {
    /// `None` for a line that is no entry of a call, such as one of healing or of the scanner.
    pub fn read(line: &[u8]) -> Option<Self> {
        let entry: Entry = serde_json::from_slice(line).ok()?;
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let header = text(&entry.request_header, "Authorization").and_then(bare_signature);
        let query = text(&entry.request_query, "X-Amz-Signature").or_else(|| text(&entry.request_query, "Signature"));
        let signature = header.or(query).filter(|signature| !signature.is_empty());
        let ended =
            entry.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_microsecond);
        let took = entry.api.time_to_response_ns.as_ref();
        let took = took.and_then(|ns| ns.as_i64().or_else(|| ns.as_str()?.parse().ok())).unwrap_or(0);
        Some(Self {
            time_us: ended,
            began_us: ended.map(|ended| ended.saturating_sub(took / 1000)),
            request_id: filled(entry.request_id)?,
            api: filled(entry.api.name)?,
            bucket: filled(entry.api.bucket),
            object: filled(entry.api.object),
            status: entry.api.status_code,
            access_key: filled(entry.access_key),
            signature_sha256: signature.map(|signature| sha256_hex(signature.as_bytes())),
        })
    }
}

/// Header names in whatever case.
fn text<'a>(members: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a str> {
    members.iter().find(|(member, _)| member.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
}

/// All entries of a file; `-` is standard input.
pub struct Operations {
    stream: Stream,
    /// Lines that are no entry of a call.
    pub passed_over: u64,
}

impl Operations {
    pub fn open(file: &Path, openers: &dyn Openers) -> anyhow::Result<Self> {
        let place = Where::File(PathBuf::from(file));
        Ok(Self { stream: Stream::open(&place, Start::Beginning, false, openers)?, passed_over: 0 })
    }

    /// The next entry and how many bytes it had.
    pub fn read(&mut self) -> anyhow::Result<Option<(Operation, u64)>> {
        while let Some(found) = self.stream.read()? {
            if let Some(operation) = Operation::read(&found.value) {
                return Ok(Some((operation, found.value.len() as u64)));
            }
            self.passed_over += 1;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(header: &Value, query: &Value) -> Value {
        json!({"version": "1", "deploymentid": "d", "time": "2026-11-23T13:00:00.123456789Z", "trigger": "incoming",
            "api": {"name": "GetObject", "bucket": "photos", "object": "a.jpg", "status": "OK", "statusCode": 200,
                    "timeToResponseInNS": "5000000"},
            "remotehost": "127.0.0.1", "requestID": "17F0", "requestHeader": header, "requestQuery": query,
            "accessKey": "alice"})
    }

    fn read(entry: &Value) -> Option<Operation> {
        Operation::read(entry.to_string().as_bytes())
    }

    #[test]
    fn an_entry_is_read_without_its_secrets() {
        let header = json!({"Authorization": "AWS4-HMAC-SHA256 Credential=alice/…, SignedHeaders=host, Signature=abc", "X": "y"});
        let operation = read(&entry(&header, &json!({}))).unwrap();
        assert_eq!(operation.time_us, Some(1_795_438_800_123_456));
        assert_eq!(operation.began_us, Some(1_795_438_800_118_456));
        assert_eq!(
            (operation.api.as_str(), operation.status, operation.bucket.as_deref()),
            ("GetObject", Some(200), Some("photos"))
        );
        assert_eq!(operation.signature_sha256, Some(sha256_hex(b"abc")));
        assert!(!format!("{operation:?}").contains("Credential"));
    }

    #[test]
    fn every_way_to_sign_is_known() {
        let of = |header: &Value, query: &Value| read(&entry(header, query)).unwrap().signature_sha256;
        let hash = Some(sha256_hex(b"s1g="));
        assert_eq!(of(&json!({"authorization": "AWS alice:s1g="}), &json!({})), hash);
        assert_eq!(of(&json!({}), &json!({"X-Amz-Signature": "s1g="})), hash);
        assert_eq!(of(&json!({}), &json!({"Signature": "s1g="})), hash);
        assert_eq!(of(&json!({}), &json!({})), None);
        assert_eq!(of(&json!({"Authorization": "Bearer x"}), &json!({})), None);
    }

    #[test]
    fn what_is_no_call_is_passed_over() {
        for line in ["", "{}", "[]", "not json", r#"{"requestID":"a"}"#, r#"{"api":{"name":"HealObject"}}"#] {
            assert_eq!(Operation::read(line.as_bytes()), None, "{line}");
        }
        let mut other = entry(&json!({}), &json!({}));
        other["requestHeader"] = json!({"Authorization": ["a", "b"]});
        assert_eq!(read(&other).unwrap().signature_sha256, None);
    }
}
