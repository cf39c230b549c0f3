//! What the mutations begin with: real questions and answers, the sample configurations, and what the writer writes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::audit::chain::Chain;
use countersign::audit::envelope::{Draft, Kind, Source};
use countersign::audit::note::{self, Checkpoint, Signer};
use countersign::audit::segment::{self, Header, Meta};
use serde_json::{Value, json};
use uuid::Uuid;

/// Of Go's own test of signed notes.
const KEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "strict" => [answers(), questions()].concat(),
        "answer" => answers(),
        "question" => questions(),
        "record" => records(),
        "segment" => segments(),
        "recovery" => scripts(),
        "cursor" => cursors(),
        "checkpoint" => checkpoints(),
        "config" => configurations(),
        "head" => heads(),
        other => panic!("no seeds for {other}"),
    }
}

fn vectors(lines: &str) -> impl Iterator<Item = Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn answers() -> Vec<Vec<u8>> {
    let vectors = vectors(include_str!("../../vectors/authorizer-answers.jsonl"));
    let body = |vector: Value| BASE64_STANDARD.decode(vector["body_b64"].as_str().unwrap()).unwrap();
    // The long ones are about length alone.
    vectors.map(body).filter(|body| body.len() < 4096).collect()
}

fn questions() -> Vec<Vec<u8>> {
    let vectors = vectors(include_str!("../../vectors/minio-requests.jsonl"));
    vectors.map(|vector| vector["body"].to_string().into_bytes()).collect()
}

fn records() -> Vec<Vec<u8>> {
    let signer = Signer::parse(KEY).unwrap();
    let point = Checkpoint { origin: "i/e".into(), size: 3, root: [7; 32] };
    let note = note::sign(&point.body(), &[&signer]).unwrap();
    let hash = "ab".repeat(32);
    let datas = [
        (
            Kind::Decision,
            json!({"decision": "allow", "reason": "allowed", "account": "a\u{17f}\"\\", "filler": "x".repeat(700)}),
        ),
        (Kind::Amendment, json!({"of": {"first_seq": 2, "last_seq": 9}, "answer": "deny"})),
        (Kind::Checkpoint, json!({"note": note, "head": hash, "tree": [hash, hash]})),
        (Kind::Stub, json!({"of_type": "io.countersign.decision.v1", "size": 70000, "sha256": hash})),
        (
            Kind::Lifecycle,
            json!({"event": "chain_opened", "previous": {"id": "i/d", "seq": 4, "hash": hash, "clean": false}}),
        ),
        (
            Kind::Lifecycle,
            json!({"event": "damage_found", "of_chain": "i/e", "first_seq": 2, "last_seq": 4, "before": hash}),
        ),
        (Kind::Lifecycle, json!({"event": "key_rotated", "old": "a", "new": "b", "note": note})),
        (Kind::Lifecycle, json!({"event": "chain_closed"})),
    ];
    let mut chain = Chain::new("i/e".into());
    let mut record = |(kind, data): (Kind, Value)| {
        let (id, time) = (Uuid::from_u128(7), std::time::SystemTime::UNIX_EPOCH);
        let draft = Draft::new(&Source::new("i"), kind, id, time, Some("photos/a".into()), &data).unwrap();
        let mut value = Vec::new();
        chain.finish(&draft.head, &mut value);
        value
    };
    datas.into_iter().map(&mut record).collect()
}

fn segments() -> Vec<Vec<u8>> {
    let segment = |salt: u64, records: &[Vec<u8>]| {
        let header = Header { chain: "i/e".into(), number: 1, first_seq: 5, prev: [9; 32], salt, created_us: 8 };
        let mut bytes = header.encode();
        for (seq, record) in (5..).zip(records) {
            let start = segment::begin(&mut bytes);
            bytes.extend_from_slice(record);
            segment::seal(&mut bytes, start, salt, Meta { seq, time_us: 3, settled: seq });
        }
        bytes.resize(bytes.len() + 300, 0);
        bytes
    };
    vec![segment(3, &[]), segment(4, &records()), segment(5, &[b"x".to_vec(), vec![0; 256], vec![b'y'; 300]])]
}

/// For `recovery`: three bytes a frame, four a blow.
fn scripts() -> Vec<Vec<u8>> {
    let frames = [5u8, 0, b'a', 0, 1, 0, 0, 2, b'b', 255, 3, b'c', 1, 0, b'd', 200, 0, 0, 33, 0, b'e', 64, 6, 255];
    let blows: Vec<u8> = [[10u8, 0, 4, 255], [60, 1, 32, 0], [0, 4, 255, 1], [7, 9, 1, 8]].concat();
    vec![frames.to_vec(), [&frames[..], &blows].concat(), [&frames[..9], &[255; 15], &blows[4..]].concat()]
}

fn cursors() -> Vec<Vec<u8>> {
    let slot = |generation: u64, next: u64| {
        let mut slot = b"CSIGNCUR".to_vec();
        slot.extend_from_slice(&generation.to_le_bytes());
        slot.extend_from_slice(&next.to_le_bytes());
        slot.extend_from_slice(&crc32fast::hash(&slot).to_le_bytes());
        slot
    };
    vec![slot(1, 7), slot(2, 0), slot(u64::MAX, u64::MAX), [slot(3, 184_467), vec![0; 484]].concat()]
}

fn checkpoints() -> Vec<Vec<u8>> {
    let signer = Signer::parse(KEY).unwrap();
    let body = |size| Checkpoint { origin: "minio-eu1/9c1e".into(), size, root: [5; 32] }.body();
    let signed = note::sign(&body(184_467), &[&signer]).unwrap();
    let rotation = note::sign(&note::rotation(signer.public(), signer.public()), &[&signer]).unwrap();
    [body(0), body(u64::MAX), body(10), signed, rotation].map(String::into_bytes).to_vec()
}

fn configurations() -> Vec<Vec<u8>> {
    let samples = [
        include_str!("../../../../config/minimal.toml"),
        include_str!("../../../../config/full.toml"),
        include_str!("../../../../config/two-authorizers.toml"),
        include_str!("../../../../config/shadow.toml"),
        include_str!("../../../../config/private.toml"),
    ];
    // Comments are most of a sample, and say nothing to the reader. Secrets are nowhere: nothing of this machine is read.
    let bare = |text: &str| {
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim_end());
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        (lines.join("\n") + "\n").into_bytes()
    };
    samples
        .into_iter()
        .flat_map(|sample| [bare(sample), bare(sample)])
        .chain([samples[1].as_bytes().to_vec()])
        .collect()
}

fn heads() -> Vec<Vec<u8>> {
    let heads = [
        "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nContent-Type: application/json\r\n\r\n{\"result\":true}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=5, no-store\r\nAge: 2\r\n\r\n",
        "HTTP/1.0 503 Unavailable\r\nConnection: close, x\r\n\r\n",
        "HTTP/1.1 307 Elsewhere\r\nLocation: http://x/\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ];
    heads.map(|head| head.as_bytes().to_vec()).to_vec()
}
