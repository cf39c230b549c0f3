//! What goes to Kafka in the place of a record that the topic does not take for its size: its id, time, type and place in
//! the chain, and the SHA-256 that stands for its value. Made from the record's bytes alone, so that a stub sent again is
//! the same bytes. Pure; called by the sink. When a stub is due is not decided here.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::audit::chain;
use crate::audit::envelope::Kind;

/// `data` of `io.countersign.stub.v1`, before the chain member, which is that of the record it stands for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StubData {
    /// `type` of the record.
    pub of_type: String,
    /// Bytes of its value.
    pub size: u64,
    /// Lower-case hex SHA-256 of its value: what the next record's `prev` names, and what the tree's leaf is made of.
    pub sha256: String,
}

#[derive(Deserialize)]
struct Whole<'r> {
    #[serde(borrow)]
    specversion: Cow<'r, str>,
    #[serde(borrow)]
    id: Cow<'r, str>,
    #[serde(borrow)]
    source: Cow<'r, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'r, str>,
    #[serde(borrow)]
    time: Cow<'r, str>,
    #[serde(borrow)]
    data: Place<'r>,
}

#[derive(Deserialize)]
struct Place<'r> {
    #[serde(borrow)]
    chain: &'r RawValue,
}

#[derive(Serialize)]
struct Stub<'r> {
    specversion: &'r str,
    id: &'r str,
    source: &'r str,
    #[serde(rename = "type")]
    kind: &'static str,
    time: &'r str,
    data: Placed<'r>,
}

#[derive(Serialize)]
struct Placed<'r> {
    #[serde(flatten)]
    data: StubData,
    chain: &'r RawValue,
}

/// `None` where it would not be shorter than the record, or the value is no record.
pub fn of(value: &[u8]) -> Option<Vec<u8>> {
    let whole: Whole<'_> = serde_json::from_slice(value).ok()?;
    let data = StubData {
        of_type: whole.kind.into_owned(),
        size: value.len() as u64,
        sha256: hex::encode(chain::hash(value)),
    };
    let stub = Stub {
        specversion: &whole.specversion,
        id: &whole.id,
        source: &whole.source,
        kind: Kind::Stub.as_str(),
        time: &whole.time,
        data: Placed { data, chain: whole.data.chain },
    };
    serde_json::to_vec(&stub).ok().filter(|stub| stub.len() < value.len())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::audit::chain::Chain;
    use crate::audit::envelope::{Draft, Source};
    use crate::audit::verify::{Outcome, Seen, Verification};

    /// Records of a chain whose values are `sizes` long and a little.
    fn records(sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut chain = Chain::new("eu\"1/9c".into());
        let one = |size: &usize| {
            let data = serde_json::json!({"decision": "deny", "filler": "x".repeat(*size)});
            let draft =
                Draft::new(&Source::new("eu\"1"), Kind::Decision, uuid::Uuid::now_v7(), SystemTime::now(), None, &data);
            let mut value = Vec::new();
            chain.finish(&draft.unwrap().head, &mut value);
            value
        };
        sizes.iter().map(one).collect()
    }

    #[test]
    fn a_stub_has_the_records_place_and_stands_for_its_hash() {
        let value = records(&[9, 5000]).remove(1);
        let stub = of(&value).unwrap();
        assert_eq!(of(&value).unwrap(), stub, "sent again it is the same bytes");
        let (whole, short) = (Seen::read(&value).unwrap(), Seen::read(&stub).unwrap());
        assert_eq!((whole.hash, whole.seq, whole.prev, whole.chain), (short.hash, short.seq, short.prev, short.chain));
        assert_eq!(chain::link(&value), chain::link(&stub));
        let json: serde_json::Value = serde_json::from_slice(&stub).unwrap();
        let original: serde_json::Value = serde_json::from_slice(&value).unwrap();
        for member in ["specversion", "id", "source", "time"] {
            assert_eq!(json[member], original[member], "{member}");
        }
        assert_eq!(json["data"]["of_type"], "io.countersign.decision.v1");
        assert_eq!(json["data"]["size"], value.len());
        assert!(stub.ends_with(&value[value.len() - 80..]), "the chain member is the same bytes, and the last");
    }

    #[test]
    fn what_is_not_longer_than_its_stub_has_none() {
        assert_eq!(of(&records(&[1])[0]), None);
        assert_eq!(of(b"{}"), None);
        assert_eq!(of(b"no record"), None);
    }

    #[test]
    fn a_chain_with_stubs_is_whole_and_a_stub_for_another_record_is_not() {
        let values = records(&[9, 5000, 9, 6000, 9]);
        let sent = |values: &[Vec<u8>]| {
            let mut verification = Verification::default();
            values.iter().for_each(|value| verification.record(Seen::read(value)));
            verification.finish(&[])
        };
        let mut mixed: Vec<Vec<u8>> = values.iter().map(|v| of(v).unwrap_or_else(|| v.clone())).collect();
        let report = sent(&mixed);
        assert_eq!((report.outcome, report.chains[0].stubs), (Outcome::WholeGapsDeclared, 2), "{:?}", report.findings);
        // The whole record after its stub, as after the limit was raised: the same record, not another one.
        mixed.insert(2, values[1].clone());
        assert_eq!((sent(&mixed).outcome, sent(&mixed).chains[0].copies), (Outcome::WholeGapsDeclared, 1));
        let forged = String::from_utf8(mixed[1].clone()).unwrap();
        let at = forged.find("\"sha256\":\"").unwrap() + 10;
        mixed[1] = format!("{}{}{}", &forged[..at], "0".repeat(64), &forged[at + 64..]).into_bytes();
        assert_eq!(sent(&mixed).outcome, Outcome::Broken);
    }
}
