//! Trails as the writer makes them, whole and forged. The forger has everything but the signing key.

mod again;
mod bounded;
mod forged;
mod keys;
mod resumed;
mod retained;
mod vouched;

use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::audit::chain::{self, Chain};
use crate::audit::envelope::{Draft, Kind, Source};
use crate::audit::journal;
use crate::audit::lifecycle::{CheckpointData, Event, Previous as Head};
use crate::audit::note::{self, Signer, Verifier};
use crate::audit::tree::Tree;

const CHAINS: usize = 3;
const RECORDS: usize = 36;

/// A record without its place.
#[derive(Clone)]
enum Part {
    Plain(Vec<u8>),
    /// To be signed by whoever gives it its place.
    Checkpoint(u64),
    /// A checkpoint with the note it has had; only its `head` is made to fit.
    Kept(Vec<u8>),
}

#[derive(Clone)]
struct Trail {
    chains: Vec<(String, Vec<Vec<u8>>)>,
    stated: Vec<Vec<u8>>,
}

fn time(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_439_107 + second)
}

/// Gives every part its place, as the writer does.
fn placed(id: &str, parts: &[Part], signer: &Signer) -> Vec<Vec<u8>> {
    let (mut chain, mut tree, mut values) = (Chain::new(id.into()), Tree::new(), Vec::new());
    for part in parts {
        let head = match part {
            Part::Plain(head) => head.clone(),
            Part::Checkpoint(at) => {
                let point = Checkpoint { origin: id.to_owned(), size: tree.size(), root: tree.root() };
                let note = note::sign(&point.body(), &[signer]).unwrap();
                let roots = tree.frontier().iter().map(hex::encode).collect();
                let data = CheckpointData { note, head: hex::encode(chain.prev()), tree: roots };
                journal::checkpoint(&Source::new("i"), time(*at), &data).unwrap().head
            }
            Part::Kept(head) => {
                let mut text = String::from_utf8(head.clone()).unwrap();
                let digits = text.rfind("\"head\":\"").unwrap() + 8;
                text.replace_range(digits..digits + 64, &hex::encode(chain.prev()));
                text.into_bytes()
            }
        };
        let mut value = Vec::new();
        chain.finish(&head, &mut value);
        tree.push(&chain.prev());
        values.push(value);
    }
    values
}

fn lifecycle(at: u64, event: &Event) -> Part {
    Part::Plain(journal::lifecycle(&Source::new("i"), time(at), event).unwrap().head)
}

fn opened(at: u64, before: Option<&(String, Vec<Vec<u8>>)>) -> Part {
    let previous = before.map(|(id, values)| Head {
        id: id.clone(),
        seq: values.len() as u64 - 1,
        hash: hex::encode(chain::hash(values.last().unwrap())),
        clean: true,
        unknown: None,
    });
    lifecycle(at, &Event::ChainOpened { version: "v".into(), commit: None, config_generation: "g".into(), previous })
}

fn decision(at: u64, object: &str) -> Part {
    let data = json!({"decision": "deny", "resource": {"object": object}});
    let draft = Draft::new(&Source::new("i"), Kind::Decision, Uuid::now_v7(), time(at), None, &data);
    Part::Plain(draft.unwrap().head)
}

fn trail(signer: &Signer) -> Trail {
    let mut trail = Trail { chains: Vec::new(), stated: Vec::new() };
    for number in 0..CHAINS {
        let at = number as u64 * 1000;
        let mut parts = vec![opened(at, trail.chains.last())];
        for n in 0..RECORDS as u64 {
            parts.push(decision(at + n, &format!("o{n}")));
            if n % 9 == 8 {
                parts.push(Part::Checkpoint(at + n));
            }
        }
        if number + 1 < CHAINS {
            parts.push(lifecycle(at + 100, &Event::ChainClosed {}));
        } else {
            parts.push(decision(at + 101, "after the last checkpoint"));
        }
        let id = format!("i/{number}");
        let values = placed(&id, &parts, signer);
        trail.stated.extend(values.iter().filter(|v| is_checkpoint(v)).cloned());
        trail.chains.push((id, values));
    }
    trail
}

fn is_checkpoint(value: &[u8]) -> bool {
    matches!(Seen::read(value).unwrap().says, Says::Checkpoint { .. })
}

/// What a forger starts from: the records without their places, the notes kept.
fn parts(values: &[Vec<u8>]) -> Vec<Part> {
    let one = |value: &Vec<u8>| {
        let text = std::str::from_utf8(value).unwrap();
        let head = value[..text.rfind(",\"chain\":{").unwrap()].to_vec();
        if is_checkpoint(value) { Part::Kept(head) } else { Part::Plain(head) }
    };
    values.iter().map(one).collect()
}

fn verified(trail: &Trail, keys: &[Verifier], with_stated: bool) -> Report {
    fed(Verification::new(keys.to_vec()), trail, with_stated)
}

fn patiently_verified(trail: &Trail, keys: &[Verifier], with_stated: bool) -> Report {
    let mut verification = Verification::new(keys.to_vec());
    verification.expect_published_again();
    fed(verification, trail, with_stated)
}

fn fed(verification: Verification, trail: &Trail, with_stated: bool) -> Report {
    read(verification, trail, with_stated).finish(&[])
}

fn read(mut verification: Verification, trail: &Trail, with_stated: bool) -> Verification {
    for value in trail.stated.iter().filter(|_| with_stated) {
        verification.stated(value);
    }
    for value in trail.chains.iter().flat_map(|(_, values)| values) {
        verification.record(Seen::read(value));
    }
    verification
}

/// The same records, to be signed again.
fn parts_signed(values: &[Vec<u8>]) -> Vec<Part> {
    let one = |(part, value): (Part, &Vec<u8>)| if is_checkpoint(value) { Part::Checkpoint(0) } else { part };
    parts(values).into_iter().zip(values).map(one).collect()
}

/// Records of this chain are missing, as a later record says.
fn damage(of: &str, (first, last): (u64, u64), before: Option<&[u8]>) -> Event {
    Event::DamageFound {
        chain: of.into(),
        segment: "s".into(),
        offset: 0,
        bytes: 1,
        first_seq: Some(first),
        last_seq: Some(last),
        before: before.map(|value| hex::encode(chain::hash(value))),
    }
}

type Named<'r> = (Fault, &'r str, Option<(u64, u64)>);

fn named(report: &Report) -> Vec<Named<'_>> {
    report.findings.iter().map(|f| (f.fault, f.chain.as_str(), f.range)).collect()
}

fn signer() -> Signer {
    Signer::parse(&note::generate("i").unwrap()).unwrap()
}

fn breaking(report: &Report) -> Vec<&Finding> {
    report.findings.iter().filter(|f| f.fault.breaks()).collect()
}

/// The chain and the record that was touched.
type Edit = (usize, u64);

/// Edits that leave the hashes as they are.
fn plain(trail: &mut Trail, rng: &mut StdRng) -> Edit {
    let number = rng.random_range(0..CHAINS);
    let values = &mut trail.chains[number].1;
    // The last of a chain are stated by nothing.
    // Nor are the first of the oldest: retention takes them, too.
    let at = rng.random_range(usize::from(number == 0)..values.len() - 3);
    match rng.random_range(0..5) {
        0 => {
            let byte = rng.random_range(0..values[at].len());
            values[at][byte] ^= 1 << rng.random_range(0..8);
        }
        1 => drop(values.remove(at)),
        2 => {
            let other = rng.random_range(at + 1..values.len() - 2);
            values.swap(at, other);
        }
        3 => {
            let forged = String::from_utf8(values[at].clone()).unwrap().replace("\"specversion\"", " \"specversion\"");
            values.insert(at + 1, forged.into_bytes());
        }
        _ => values.truncate(at),
    }
    (number, at as u64)
}

/// Edits after which every later hash, and what is not signed, is computed anew.
fn recomputed(trail: &mut Trail, rng: &mut StdRng, forger: &Signer) -> Edit {
    let number = rng.random_range(0..CHAINS);
    let mut parts = parts(&trail.chains[number].1);
    let at = rng.random_range(1..parts.len() - 3);
    let how = rng.random_range(0..6);
    match how {
        0 => parts[at] = decision(number as u64 * 1000, "forged"),
        1 => drop(parts.remove(at)),
        2 => parts.insert(at, decision(number as u64 * 1000, "never asked")),
        3 => {
            parts[at] = decision(number as u64 * 1000, "forged");
            for part in &mut parts {
                if matches!(part, Part::Kept(_)) {
                    *part = Part::Checkpoint(0);
                }
            }
        }
        4 => {
            parts[at] = decision(number as u64 * 1000, "forged");
            parts.retain(|part| matches!(part, Part::Plain(_)));
        }
        _ => {
            remove_chain(trail, number, forger);
            return (number, at as u64);
        }
    }
    let id = trail.chains[number].0.clone();
    let forged = placed(&id, &parts, forger);
    // Checkpoints that were signed anew or taken out are edits, too, and may come before.
    let first = trail.chains[number].1.iter().zip(&forged).take_while(|(was, is)| was == is).count();
    trail.chains[number].1 = forged;
    mend_successor(trail, number, forger);
    (number, first as u64)
}

/// The chain after an edited one names its new end.
fn mend_successor(trail: &mut Trail, number: usize, forger: &Signer) {
    if number + 1 < trail.chains.len() {
        let mut parts = parts(&trail.chains[number + 1].1);
        parts[0] = opened((number as u64 + 1) * 1000, Some(&trail.chains[number]));
        let id = trail.chains[number + 1].0.clone();
        trail.chains[number + 1].1 = placed(&id, &parts, forger);
    }
}

fn remove_chain(trail: &mut Trail, number: usize, forger: &Signer) {
    trail.chains.remove(number);
    if number < trail.chains.len() {
        let mut parts = parts(&trail.chains[number].1);
        let before = number.checked_sub(1).and_then(|n| trail.chains.get(n));
        parts[0] = opened((number as u64 + 1) * 1000, before);
        let id = trail.chains[number].0.clone();
        trail.chains[number].1 = placed(&id, &parts, forger);
    }
}

#[test]
fn a_trail_as_written_is_whole() {
    let key = signer();
    let trail = trail(&key);
    for (keys, stated) in [(vec![key.public().clone()], true), (vec![], false), (vec![key.public().clone()], false)] {
        let report = verified(&trail, &keys, stated);
        assert_eq!((report.outcome, breaking(&report)), (Outcome::Whole, vec![]));
        assert!(report.chains.iter().all(|c| c.covered >= 40 && c.checkpoints == 4), "{:?}", report.chains);
    }
}

#[test]
fn copies_a_cut_start_and_a_crash_are_no_fault() {
    let key = signer();
    let mut trail = trail(&key);
    let keys = [key.public().clone()];
    // Delivered again from the middle on.
    let again: Vec<Vec<u8>> = trail.chains[1].1[20..].to_vec();
    trail.chains[1].1.extend(again);
    let report = verified(&trail, &keys, true);
    assert_eq!((report.outcome, report.chains[1].copies), (Outcome::Whole, 22));
    // Retention has taken the beginning.
    trail.chains[0].1.drain(..17);
    let report = verified(&trail, &keys, true);
    assert_eq!(report.outcome, Outcome::Whole, "{:?}", report.findings);
    // A crash: the chain ends without its end, and the next names where.
    let mut crashed = self::trail(&key);
    crashed.chains[1].1.pop();
    mend_successor(&mut crashed, 1, &key);
    crashed.stated.retain(|v| Seen::read(v).unwrap().chain != "i/2");
    let report = verified(&crashed, &[], true);
    assert!(report.findings.iter().any(|f| f.fault == Fault::Declared && f.chain == "i/1"), "{:?}", report.findings);
}

#[test]
fn a_gap_is_declared_or_missing() {
    let key = signer();
    let id = "i/x".to_owned();
    let hole = |told: bool| {
        let mut parts = vec![opened(0, None)];
        parts.extend((0..10).map(|n| decision(n, "o")));
        parts.push(if told { lifecycle(20, &damage(&id, (3, 5), None)) } else { decision(20, "o") });
        let mut values = placed(&id, &parts, &key);
        values.drain(3..6);
        verified(&Trail { chains: vec![(id.clone(), values)], stated: vec![] }, &[], false)
    };
    assert_eq!(hole(true).outcome, Outcome::WholeGapsDeclared);
    let report = hole(false);
    assert_eq!((report.outcome, breaking(&report)[0].range), (Outcome::Broken, Some((3, 5))));
}

/// A topic lost records after it had acknowledged them, and got them again.
#[test]
fn records_that_were_published_again_fill_their_gap() {
    let key = signer();
    let keys = [key.public().clone()];
    let lost = |range: std::ops::Range<usize>, again: std::ops::Range<usize>| {
        let mut trail = trail(&key);
        let values = &mut trail.chains[1].1;
        let copies = values[again].to_vec();
        values.drain(range);
        values.extend(copies);
        trail
    };
    let whole = patiently_verified(&trail(&key), &keys, true);
    // A hole in the middle, the beginning, several times what was lost.
    for (range, again) in [(12..25, 12..25), (0..25, 0..25), (12..25, 5..39), (0..20, 0..40), (10..11, 10..11)] {
        let late = range.len() as u64;
        let report = patiently_verified(&lost(range.clone(), again), &keys, true);
        assert_eq!((report.outcome, &report.findings), (Outcome::Whole, &vec![]), "{range:?}");
        let chain = &report.chains[1];
        assert_eq!((chain.late, chain.first, chain.covered), (late, 0, whole.chains[1].covered), "{range:?}");
    }
    assert_eq!(verified(&lost(12..25, 12..25), &keys, true).outcome, Outcome::Broken, "unless it is expected");
    // Not all of it.
    let report = patiently_verified(&lost(12..25, 12..24), &keys, true);
    assert_eq!(breaking(&report)[0].range, Some((24, 24)), "{:?}", report.findings);
    assert_eq!(report.outcome, Outcome::Broken);
}

/// Whoever may write to the topic cannot use a gap to slip something in, even with every hash computed anew.
#[test]
fn a_gap_is_not_filled_with_anything_else() {
    let key = signer();
    let keys = [key.public().clone()];
    for at in [5, 12, 30] {
        let mut forged = trail(&key);
        let mut parts = parts(&forged.chains[1].1);
        parts[at] = decision(1000, "forged");
        let mut values = placed("i/1", &parts, &key);
        mend_successor(&mut forged, 1, &key);
        let slipped = values.remove(at);
        values.push(slipped);
        forged.chains[1].1 = values;
        let report = patiently_verified(&forged, &keys, false);
        assert_eq!(report.outcome, Outcome::Broken, "{at}: {:?}", report.findings);
        // Without computing anything anew.
        let mut forged = trail(&key);
        let text = String::from_utf8(forged.chains[1].1.remove(at)).unwrap();
        let text = text.replace("\"deny\"", "\"allow\"").replace("\"head\":\"", "\"head\":\"0");
        forged.chains[1].1.push(text.into_bytes());
        let report = patiently_verified(&forged, &keys, false);
        assert_eq!(report.outcome, Outcome::Broken, "{at}: {:?}", report.findings);
    }
}

#[test]
fn a_stub_stands_for_its_record() {
    let key = signer();
    let mut trail = trail(&key);
    let whole = &trail.chains[0].1[5];
    let link = serde_json::from_slice::<serde_json::Value>(whole).unwrap()["data"]["chain"].clone();
    let stub = json!({"specversion": "1.0", "id": "x", "source": "s", "type": "io.countersign.stub.v1", "time": "t",
        "data": {"of": "x", "sha256": hex::encode(chain::hash(whole)), "chain": link}});
    trail.chains[0].1[5] = stub.to_string().into_bytes();
    let report = verified(&trail, &[key.public().clone()], true);
    assert_eq!((report.outcome, report.chains[0].stubs), (Outcome::WholeGapsDeclared, 1), "{:?}", report.findings);
    // Anybody who may write to the topic can make one, of any record: it is named.
    assert_eq!(named(&report), [(Fault::Declared, "i/0", Some((5, 5)))]);
}

#[test]
fn trust_goes_over_to_the_next_key_only_with_both_signatures() {
    let (old, new) = (signer(), signer());
    let rotated = |signers: &[&Signer]| {
        let note = note::sign(&note::rotation(old.public(), new.public()), signers).unwrap();
        let event = Event::KeyRotated { old: old.public().text().into(), new: new.public().text().into(), note };
        let parts = [opened(0, None), lifecycle(1, &event), Part::Checkpoint(2)];
        let chains = vec![("i/0".to_owned(), placed("i/0", &parts, &new))];
        verified(&Trail { chains, stated: vec![] }, &[old.public().clone()], false).outcome
    };
    assert_eq!(rotated(&[&old, &new]), Outcome::Whole);
    assert_eq!(rotated(&[&new]), Outcome::Broken);
}

/// Every edit of a record that a checkpoint covers is found, and the range that is named holds it.
#[test]
fn tampering_is_found() {
    let count: u64 = std::env::var("COUNTERSIGN_TAMPERINGS").map_or(10_000, |n| n.parse().unwrap());
    let seed = 20_261_124;
    let key = signer();
    let whole = trail(&key);
    let keys = [key.public().clone()];
    let forger = signer();
    let (mut anew, mut removed) = (0, 0);
    for n in 0..count {
        let mut rng = StdRng::seed_from_u64(seed + n);
        let mut forged = whole.clone();
        let later = rng.random_range(0..10) < 6;
        let (number, seq) =
            if later { recomputed(&mut forged, &mut rng, &forger) } else { plain(&mut forged, &mut rng) };
        if forged.chains.iter().map(|c| &c.1).eq(whole.chains.iter().map(|c| &c.1)) {
            panic!("edit {n} changes nothing");
        }
        let report = verified(&forged, &keys, true);
        let id = &whole.chains[number].0;
        let named = breaking(&report)
            .iter()
            .any(|f| f.chain == *id && f.range.is_some_and(|(first, last)| (first..=last).contains(&seq)));
        assert!(report.outcome == Outcome::Broken && named, "edit {n} of {id} {seq}: {:#?}", report.findings);
        anew += u64::from(later);
        removed += u64::from(forged.chains.len() < CHAINS);
    }
    assert!(anew * 2 >= count && (removed > 0 || count < 100));
    without_key_and_checkpoints_a_forger_goes_unnoticed();
    loadtest::figures::Claim::new("tampering", "cargo test -p countersign --lib tampering")
        .seed(seed)
        .figure("edits", count)
        .figure("with every later hash computed anew", anew)
        .figure("removing a whole chain", removed)
        .figure("unnoticed", 0_u64)
        .control("without public key and checkpoint topic, records forged with hashes and notes anew pass as whole")
        .write()
        .unwrap();
}

/// The edits of the test above are forgeries indeed: who has neither the key nor the checkpoints does not see them.
#[test]
fn without_key_and_checkpoints_a_forger_goes_unnoticed() {
    let key = signer();
    let mut forged = trail(&key);
    let forger = signer();
    for number in 0..CHAINS {
        let mut parts = parts(&forged.chains[number].1);
        parts[7] = decision(7, "forged");
        for part in &mut parts {
            if matches!(part, Part::Kept(_)) {
                *part = Part::Checkpoint(0);
            }
        }
        let id = forged.chains[number].0.clone();
        forged.chains[number].1 = placed(&id, &parts, &forger);
        mend_successor(&mut forged, number, &forger);
    }
    let unseen = verified(&forged, &[], false);
    assert_eq!((unseen.outcome, breaking(&unseen)), (Outcome::Whole, vec![]));
    assert_eq!(verified(&forged, &[key.public().clone()], false).outcome, Outcome::Broken);
}

/// A checkpoint topic that lost what it had says nothing about these chains, and finds no fault.
#[test]
fn chains_of_which_nothing_was_kept_elsewhere_are_counted() {
    let key = signer();
    let trail = trail(&key);
    let mut verification = Verification::new(vec![key.public().clone()]);
    verification.compare_elsewhere();
    let emptied = fed(verification, &trail, false);
    assert_eq!((emptied.outcome, emptied.unstated), (Outcome::Whole, CHAINS));
    let keys = [key.public().clone()];
    assert_eq!([true, false].map(|stated| verified(&trail, &keys, stated).unstated), [0, 0]);
}
