//! Our reading of answers against MinIO's own, which is Go's encoding/json: whatever we take for an allow, MinIO asking
//! directly would have taken for one.

mod bodies;
mod oracle;

use base64::Engine;
use countersign::policy::verdict::{Decision, Reason};
use countersign::wire::lax::{self, Lax};
use countersign::wire::{answer, fuzz};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::support::{count, number};
use oracle::Verdict;

/// Bodies of one run of the oracle.
const BATCH: usize = 25_000;

/// How often MinIO (row) and we (column) said what.
#[derive(Debug, Default)]
struct Table {
    both_allow: usize,
    only_minio: usize,
    only_we: usize,
    neither: usize,
    /// What a reader that takes the last of two members, as most do, would have allowed and MinIO not.
    only_lax: usize,
}

impl Table {
    fn count(&mut self, minio: bool, we: bool, lax: bool) {
        match (minio, we) {
            (true, true) => self.both_allow += 1,
            (true, false) => self.only_minio += 1,
            (false, true) => self.only_we += 1,
            (false, false) => self.neither += 1,
        }
        self.only_lax += usize::from(lax && !minio);
    }

    fn print(&self, seed: u64) {
        println!("seed {seed}           we allow   we deny");
        println!("MinIO allows   {:>10} {:>10}", self.both_allow, self.only_minio);
        println!("MinIO denies   {:>10} {:>10}", self.only_we, self.neither);
        println!("a lax reader allows what MinIO denies: {}", self.only_lax);
    }
}

fn we_allow(body: &[u8]) -> bool {
    answer::read(200, None, false, body).is_ok_and(|answer| answer.decision() == Decision::Allow)
}

fn lax_allows(body: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    value["result"].as_bool().or_else(|| value["result"]["allow"].as_bool()) == Some(true)
}

#[test]
fn what_we_allow_minio_allows() {
    let Some(oracle) = oracle::open() else { return };
    let seed = number("COUNTERSIGN_ORACLE_SEED", 20_261_123);
    let total: usize = count("COUNTERSIGN_ORACLE_BODIES", 200_000);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut table = Table::default();
    for start in (0..total).step_by(BATCH) {
        let batch: Vec<_> = (start..total.min(start + BATCH)).map(|_| bodies::generate(&mut rng)).collect();
        for (index, (body, verdict)) in batch.iter().zip(oracle.ask(&batch)).enumerate() {
            let (minio, we) = (verdict == Verdict::Allow, we_allow(body));
            assert!(
                minio || !we,
                "seed {seed}, body {}: only we allow {}",
                start + index,
                String::from_utf8_lossy(body)
            );
            let told = match lax::read(body) {
                Lax::Allow => Verdict::Allow,
                Lax::Deny => Verdict::Deny,
                Lax::Error => Verdict::Error,
            };
            assert_eq!(told, verdict, "the probe would say something else of {}", String::from_utf8_lossy(body));
            table.count(minio, we, lax_allows(body));
            fuzz::strict(body);
            fuzz::answer(body);
        }
    }
    table.print(seed);
    // A run that never comes near the border proves nothing.
    assert!(table.only_minio * 4 >= total, "too few bodies that only MinIO allows: {table:?}");
    assert!(table.both_allow * 10 >= total, "too few bodies that both allow: {table:?}");
    assert!(table.only_lax * 100 >= total, "too few bodies that mislead a lax reader: {table:?}");
}

#[test]
fn the_oracle_reads_the_vectors_as_minio_did() {
    let Some(oracle) = oracle::open() else { return };
    let lines = include_str!("../vectors/authorizer-answers.jsonl").lines();
    let vectors: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let decode =
        |vector: &Value| base64::engine::general_purpose::STANDARD.decode(vector["body_b64"].as_str().unwrap());
    let bodies: Vec<_> = vectors.iter().map(|vector| decode(vector).unwrap()).collect();
    for (vector, verdict) in vectors.iter().zip(oracle.ask(&bodies)) {
        let word = match verdict {
            Verdict::Allow => "ALLOW",
            Verdict::Deny => "DENY",
            Verdict::Error => "DENY+log",
        };
        assert_eq!(vector["minio"], word, "{}", vector["id"]);
    }
}

#[test]
fn every_reason_of_a_body_is_met() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut missing = vec![
        Reason::Undefined,
        Reason::MalformedAnswer,
        Reason::AmbiguousAnswer,
        Reason::ContradictoryAnswer,
        Reason::AnswerTooLarge,
    ];
    for _ in 0..20_000 {
        if let Err(reason) = answer::read(200, None, false, &bodies::generate(&mut rng)) {
            missing.retain(|other| *other != reason);
        }
    }
    assert!(missing.is_empty(), "never met: {missing:?}");
}
