//! Records, wherever a test found them. Whoever reads records through here has them checked: closed schema and chain.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use countersign::audit::note::{self, Checkpoint};
use countersign::audit::scan::{Scan, Scanned};
use countersign::audit::schema::{Form, record};
use countersign::audit::tree::Tree;
use countersign::audit::verify::Seen;
use serde_json::Value;

static SCHEMA: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&record(Form::Closed)).expect("the record's schema is one"));

/// A record with the bytes that the chain is made of.
#[derive(Debug, Clone)]
pub struct Raw {
    pub bytes: Vec<u8>,
    pub value: Value,
}

impl Raw {
    pub fn new(bytes: &[u8]) -> Self {
        let value = serde_json::from_slice(bytes).expect("a record is JSON");
        Self { bytes: bytes.to_vec(), value }
    }
}

/// All records of a spool, chain after chain. Damage is not expected.
pub fn in_spool(dir: &Path) -> Vec<Raw> {
    let (mut scan, mut records) = (Scan::new(dir), Vec::new());
    while let Some(found) = scan.next().expect("a readable spool") {
        match found {
            Scanned::Record(entry) => records.push(Raw::new(&entry.value)),
            Scanned::Damage(damage) => panic!("records are missing: {damage:?}"),
        }
    }
    records
}

/// Each record against the closed schema; each chain from 0 without a gap, hash upon hash. Byte-identical duplicates
/// are allowed, as delivery is at least once.
pub fn checked(records: Vec<Raw>) -> Vec<Value> {
    let mut chains: BTreeMap<String, Vec<&Raw>> = BTreeMap::new();
    for raw in &records {
        let errors: Vec<String> =
            SCHEMA.iter_errors(&raw.value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{:#}", raw.value);
        let chain = raw.value["data"]["chain"]["id"].as_str().unwrap().to_owned();
        chains.entry(chain).or_default().push(raw);
    }
    for (id, chain) in chains {
        check_chain(&id, &chain);
    }
    records.into_iter().map(|raw| raw.value).collect()
}

fn check_chain(id: &str, chain: &[&Raw]) {
    let (mut seen, mut tree): (Vec<&Raw>, _) = (Vec::new(), Tree::new());
    for raw in chain {
        let link = &raw.value["data"]["chain"];
        let seq = usize::try_from(link["seq"].as_u64().unwrap()).unwrap();
        if let Some(before) = seen.get(seq) {
            assert_eq!(before.bytes, raw.bytes, "a duplicate of {id}#{seq} differs");
            continue;
        }
        assert_eq!(seq, seen.len(), "a gap in {id}");
        let expected = seen.last().map_or("0".repeat(64), |before| hex::encode(stands_for(before)));
        assert_eq!(link["prev"], expected, "{id}#{seq} does not continue its chain");
        if raw.value["type"] == "io.countersign.checkpoint.v1" {
            check_point(id, seq, &tree, &raw.value["data"], &expected);
        }
        tree.push(&stands_for(raw));
        seen.push(raw);
    }
    if let Some(first) = seen.first() {
        assert_eq!(first.value["data"]["event"], "chain_opened", "{id} begins with {:#}", first.value);
    }
}

/// The hash of the record, be it there as a stub only.
fn stands_for(raw: &Raw) -> [u8; 32] {
    Seen::read(&raw.bytes).expect("a record").hash
}

/// A checkpoint states the records before it. Who signed it is looked at in `checkpoints`.
fn check_point(id: &str, seq: usize, tree: &Tree, data: &Value, head: &str) {
    let body = note::body(data["note"].as_str().unwrap()).expect("a signed note");
    let point = Checkpoint { origin: id.to_owned(), size: seq as u64, root: tree.root() };
    assert_eq!(body, point.body(), "{id}#{seq} states another tree");
    assert_eq!(data["head"], head, "{id}#{seq} states another head");
}

pub fn decisions(records: Vec<Value>) -> Vec<Value> {
    records.into_iter().filter(|record| record["type"] == "io.countersign.decision.v1").collect()
}

/// Lifecycle records of one event.
pub fn events(records: &[Value], event: &str) -> Vec<Value> {
    records.iter().filter(|record| record["data"]["event"] == event).cloned().collect()
}
