//! Where records are missing, by retention or by damage, the tree goes on from the next checkpoint: what follows is no
//! easier to forge than without the gap.

use super::*;

/// Whichever record of `seqs` is forged, with all hashes after it computed anew: it is found, and the range holds it.
fn each_is_found(values: &[Vec<u8>], seqs: std::ops::Range<usize>, missing: std::ops::Range<usize>, patient: bool) {
    let (key, forger) = (signer(), signer());
    let keys = [key.public().clone()];
    let honest = placed("i/0", &parts_signed(values), &key);
    for seq in seqs.filter(|seq| !missing.contains(seq) && !is_checkpoint(&honest[*seq])) {
        let mut forged = parts(&honest);
        forged[seq] = decision(7, "forged");
        let mut forged = placed("i/0", &forged, &forger);
        forged.drain(missing.clone());
        let trail = Trail { chains: vec![("i/0".to_owned(), forged)], stated: vec![] };
        let report = if patient { patiently_verified(&trail, &keys, false) } else { verified(&trail, &keys, false) };
        let holds = |f: &&&Finding| f.range.is_some_and(|(first, last)| (first..=last).contains(&(seq as u64)));
        assert!(breaking(&report).iter().any(|f| holds(&f)), "{seq}: {:#?}", report.findings);
    }
}

/// A chain that says itself that some of its records are not there.
fn damaged(named: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let mut parts = parts_signed(&trail(&signer()).chains[0].1);
    parts[25] = lifecycle(25, &damage("i/0", (named.start, named.end - 1), None));
    placed("i/0", &parts, &signer())
}

#[test]
fn behind_a_cut_start() {
    let whole = trail(&signer()).chains[0].1.clone();
    // Checkpoints are 10, 20, 30 and 40; what lies behind the first that is there is covered by the one after it.
    for cut in [1, 5, 10, 11, 17, 20] {
        each_is_found(&whole, cut..40, 0..cut, false);
        each_is_found(&whole, cut..40, 0..cut, true);
    }
}

#[test]
fn behind_a_declared_gap() {
    let chain = damaged(12..15);
    for patient in [false, true] {
        each_is_found(&chain, 1..40, 12..15, patient);
    }
}

#[test]
fn an_honest_gap_is_declared_and_the_rest_covered() {
    let key = signer();
    let mut values = placed("i/0", &parts_signed(&damaged(12..15)), &key);
    values.drain(12..15);
    let trail = Trail { chains: vec![("i/0".to_owned(), values)], stated: vec![] };
    for report in [verified, patiently_verified].map(|how| how(&trail, &[key.public().clone()], false)) {
        assert_eq!(report.outcome, Outcome::WholeGapsDeclared, "{:#?}", report.findings);
        assert_eq!(report.chains[0].covered, 40);
        let named: Vec<_> = report.findings.iter().map(|f| (f.fault, f.range)).collect();
        // The two before the gap were covered by a checkpoint whose tree nobody can compute any more.
        assert_eq!(named, [(Fault::Declared, Some((12, 14))), (Fault::Unproved, Some((10, 11)))]);
    }
}

/// The forger takes records away and lets a record say that they were damaged.
#[test]
fn damage_cannot_be_claimed_afterwards() {
    let key = signer();
    let honest = placed("i/0", &parts_signed(&trail(&key).chains[0].1), &key);
    let claim = parts(&damaged(12..15)).swap_remove(25);
    let mut forged = parts(&honest);
    forged[25] = claim;
    let mut forged = placed("i/0", &forged, &signer());
    forged.drain(12..15);
    let trail = Trail { chains: vec![("i/0".to_owned(), forged)], stated: vec![] };
    for report in [verified, patiently_verified].map(|how| how(&trail, &[key.public().clone()], false)) {
        assert_eq!(report.outcome, Outcome::Broken, "{:#?}", report.findings);
    }
}

#[test]
fn a_tree_that_the_note_does_not_state_is_a_fault() {
    let key = signer();
    let mut values = trail(&key).chains[0].1.clone();
    let at = values.iter().position(|v| is_checkpoint(v)).unwrap();
    let text = String::from_utf8(values[at].clone()).unwrap();
    let digits = text.find("\"tree\":[\"").unwrap() + 9;
    let mut forged = text;
    forged.replace_range(digits..digits + 64, &"0".repeat(64));
    values[at] = forged.into_bytes();
    let trail = Trail { chains: vec![("i/0".to_owned(), values)], stated: vec![] };
    let report = verified(&trail, &[key.public().clone()], false);
    assert!(breaking(&report).iter().any(|f| f.fault == Fault::Checkpoint), "{:#?}", report.findings);
}

/// The newest checkpoint is covered by none, but for its copy elsewhere.
#[test]
fn the_newest_checkpoint_is_compared_with_its_copy() {
    let key = signer();
    let mut forged = trail(&key);
    let chain = &mut forged.chains[CHAINS - 1];
    let at = chain.1.iter().rposition(|v| is_checkpoint(v)).unwrap();
    let text = String::from_utf8(chain.1[at].clone()).unwrap().replace("000000Z", "000001Z");
    chain.1[at] = text.into_bytes();
    let parts = parts(&chain.1);
    chain.1 = placed(&chain.0, &parts, &key);
    let keys = [key.public().clone()];
    assert_eq!(verified(&forged, &keys, false).outcome, Outcome::Whole);
    let report = verified(&forged, &keys, true);
    let range = breaking(&report)[0].range.unwrap();
    assert!((range.0..=range.1).contains(&(at as u64)), "{:#?}", report.findings);
}
