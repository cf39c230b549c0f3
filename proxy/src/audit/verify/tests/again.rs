//! Records that come again: whatever lies between, copies are harmless and nothing else is.

use super::*;
use crate::audit::verify::recent::Recent;

/// A chain with a gap from 12 to 14 that record 25 names.
fn with_gap(key: &Signer) -> Vec<Vec<u8>> {
    let mut parts = parts_signed(&trail(key).chains[0].1);
    parts[25] = lifecycle(25, &damage("i/0", (12, 14), None));
    let mut values = placed("i/0", &parts, key);
    values.drain(12..15);
    values
}

/// What is read of it before the rest comes again.
fn begun(key: &Signer, values: &[Vec<u8>], forgetful: bool) -> Verification {
    let mut verification = Verification::new(vec![key.public().clone()]);
    values.iter().for_each(|value| verification.record(Seen::read(value)));
    if forgetful {
        // As if many other chains had been read meanwhile.
        verification.room.recent = Recent::default();
    }
    verification
}

#[test]
fn copies_from_before_a_declared_gap_are_harmless() {
    let key = signer();
    let values = with_gap(&key);
    for (forgetful, from) in [(false, 5), (false, 11), (false, 13), (true, 0), (true, 5), (true, 11), (true, 12)] {
        let mut verification = begun(&key, &values, forgetful);
        values[from..].iter().for_each(|value| verification.record(Seen::read(value)));
        let report = verification.finish(&[]);
        assert_eq!(report.outcome, Outcome::WholeGapsDeclared, "{forgetful} {from}: {:#?}", report.findings);
        assert_eq!(report.chains[0].copies, (values.len() - from) as u64);
    }
}

#[test]
fn what_is_no_copy_is_found_before_and_behind_a_gap() {
    let key = signer();
    let values = with_gap(&key);
    for forgetful in [false, true] {
        for at in [5, 11, 12, 20] {
            let mut verification = begun(&key, &values, forgetful);
            let mut again = values.clone();
            again[at].push(b' ');
            again.iter().for_each(|value| verification.record(Seen::read(value)));
            let report = verification.finish(&[]);
            assert!(
                breaking(&report).iter().any(|f| f.fault == Fault::Fork),
                "{forgetful} {at}: {:#?}",
                report.findings
            );
        }
    }
    // A run that ends before it reaches what is known.
    let mut verification = begun(&key, &values, true);
    values[2..9].iter().for_each(|value| verification.record(Seen::read(value)));
    assert_eq!(verification.finish(&[]).outcome, Outcome::Broken);
}

/// After a loss of power a chain has more than its successor found. However many records of others are between, the one
/// that the successor names is compared.
#[test]
fn the_end_of_a_chain_that_crashed_is_remembered() {
    let key = signer();
    let mut crashed = trail(&key);
    crashed.chains.truncate(2);
    crashed.chains[1].1.truncate(41);
    let previous = |hash: &[u8]| {
        let hash = hex::encode(chain::hash(hash));
        Head { id: "i/1".into(), seq: 38, hash, clean: false, unknown: None }
    };
    let opened = |previous| {
        let event = Event::ChainOpened {
            version: "v".into(),
            commit: None,
            config_generation: "g".into(),
            previous: Some(previous),
        };
        placed("i/2", &[lifecycle(2000, &event)], &key)
    };
    let honest = opened(previous(&crashed.chains[1].1[38]));
    let forged = opened(previous(&crashed.chains[1].1[37]));
    for (next, outcome) in [(honest, Outcome::WholeGapsDeclared), (forged, Outcome::Broken)] {
        let mut verification = Verification::default();
        crashed.chains.iter().flat_map(|c| &c.1).for_each(|value| verification.record(Seen::read(value)));
        let busy = Seen::read(&placed("other/1", &[decision(0, "x")], &key)[0]).unwrap();
        for seq in 0..2 * recent::MOST as u64 {
            let (prev, mut hash) = ([0; 32], [0; 32]);
            hash[..8].copy_from_slice(&seq.to_be_bytes());
            let number = verification.threads.len();
            verification.room.recent.put(u32::try_from(number).unwrap(), seq, hash);
            assert_eq!(busy.prev, prev);
        }
        next.iter().for_each(|value| verification.record(Seen::read(value)));
        let report = verification.finish(&[]);
        assert_eq!(report.outcome, outcome, "{:#?}", report.findings);
    }
}
