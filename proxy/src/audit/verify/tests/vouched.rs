//! A record that names a gap also names the hash of the record before it: so the stretch between the last checkpoint and the
//! gap, whose tree nobody can compute any more, is proved by it.

use super::*;

/// Gaps, each named by the record `by`, with the hash of the record before it if `told`.
fn chain(key: &Signer, gaps: &[(u64, u64, usize)], told: bool, forged: Option<usize>) -> Vec<Vec<u8>> {
    let mut parts = parts_signed(&trail(key).chains[0].1);
    // A record at a time: each changes all that come after.
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable_by_key(|(_, _, by)| *by);
    for (first, last, by) in sorted {
        let values = placed("i/0", &parts, key);
        // A checkpoint that is made again is another record.
        parts[..by].clone_from_slice(&self::parts(&values)[..by]);
        let before = told.then(|| values[usize::try_from(first).unwrap() - 1].as_slice());
        parts[by] = lifecycle(25, &damage("i/0", (first, last), before));
    }
    let honest = placed("i/0", &parts, key);
    let values = match forged {
        None => honest,
        Some(at) => {
            // All that came from the keeper of the key is as it was.
            let mut forged = self::parts(&honest);
            forged[at] = decision(7, "forged");
            let mut values = placed("i/0", &forged, &signer());
            // Behind the gap nothing needs to be changed.
            let behind = gaps.iter().map(|(_, last, _)| usize::try_from(*last).unwrap() + 1).find(|b| *b > at);
            values.truncate(behind.unwrap());
            values.extend_from_slice(&honest[behind.unwrap()..]);
            values
        }
    };
    let missing = |seq: u64| gaps.iter().any(|(first, last, _)| (*first..=*last).contains(&seq));
    (0_u64..).zip(values).filter(|(seq, _)| !missing(*seq)).map(|(_, value)| value).collect()
}

fn report(key: &Signer, values: Vec<Vec<u8>>) -> Report {
    let trail = Trail { chains: vec![("i/0".to_owned(), values)], stated: vec![] };
    verified(&trail, &[key.public().clone()], false)
}

#[test]
fn the_stretch_before_a_gap_is_proved() {
    let key = signer();
    let gap = [(16, 17, 25)];
    let proved = report(&key, chain(&key, &gap, true, None));
    assert_eq!(named(&proved), [(Fault::Declared, "i/0", Some((16, 17)))]);
    assert_eq!(proved.outcome, Outcome::WholeGapsDeclared);
    // As records without the member have it.
    let unproved = report(&key, chain(&key, &gap, false, None));
    assert_eq!(named(&unproved)[1], (Fault::Unproved, "i/0", Some((10, 15))));
    assert_eq!(unproved.outcome, Outcome::WholeGapsDeclared);
}

#[test]
fn a_forgery_in_that_stretch_is_found() {
    let key = signer();
    let gap = [(16, 17, 25)];
    for at in 11..16 {
        let report = report(&key, chain(&key, &gap, true, Some(at)));
        let holds = |f: &&&Finding| f.range.is_some_and(|(first, last)| (first..=last).contains(&(at as u64)));
        assert!(breaking(&report).iter().any(|f| holds(&f)), "{at}: {:#?}", report.findings);
    }
    // Without the member it is not, which is why it is there.
    let unseen = report(&key, chain(&key, &gap, false, Some(12)));
    assert_eq!(unseen.outcome, Outcome::WholeGapsDeclared, "{:#?}", unseen.findings);
}

/// The record that names the first gap lies in the stretch before the second.
#[test]
fn what_is_proved_proves_what_it_says() {
    let key = signer();
    let gaps = [(4, 5, 13), (14, 15, 25)];
    let found = report(&key, chain(&key, &gaps, true, None));
    let declared = |range| (Fault::Declared, "i/0", Some(range));
    assert_eq!(named(&found), [declared((4, 5)), declared((14, 15))], "{:#?}", found.findings);
    // Where the second does not say what was before it, nothing vouches for the first.
    assert_eq!(report(&key, chain(&key, &gaps, false, None)).outcome, Outcome::Broken);
}

#[test]
fn who_is_not_proved_vouches_for_nothing() {
    let key = signer();
    let mut values = chain(&key, &[(16, 17, 25)], false, Some(12));
    // The forger adds, in a chain of his own, what the honest one could not say.
    let claim = damage("i/0", (16, 17), Some(&values[15]));
    values.truncate(values.len() - 1);
    let other = placed("i/9", &[opened(9000, None), lifecycle(9001, &claim)], &signer());
    let trail = Trail { chains: vec![("i/0".to_owned(), values), ("i/9".to_owned(), other)], stated: vec![] };
    let report = verified(&trail, &[key.public().clone()], false);
    assert!(named(&report).contains(&(Fault::Unproved, "i/0", Some((10, 15)))), "{:#?}", report.findings);
}

/// A short chain that a crash ended before its first checkpoint: the next one names its end in a record that is signed.
#[test]
fn the_end_that_a_signed_record_names_is_proved() {
    let key = signer();
    let crashed = ("i/0".to_owned(), placed("i/0", &[opened(0, None), decision(1, "o"), decision(2, "o")], &key));
    let next = [opened(9, Some(&crashed)), decision(10, "o"), Part::Checkpoint(11)];
    let next = ("i/1".to_owned(), placed("i/1", &next, &key));
    let keys = [key.public().clone()];
    let report = verified(&Trail { chains: vec![crashed.clone(), next.clone()], stated: vec![] }, &keys, false);
    assert_eq!(named(&report), [(Fault::Declared, "i/0", Some((2, 2)))]);
    let mut forged = crashed;
    forged.1 = placed("i/0", &[opened(0, None), decision(1, "forged"), decision(2, "o")], &key);
    let report = verified(&Trail { chains: vec![forged, next], stated: vec![] }, &keys, false);
    assert_eq!(report.outcome, Outcome::Broken);
}
