//! Which key may sign what, and what must be signed at all.

use super::*;

fn bound(keys: &[(&str, &Signer)]) -> Vec<TrustedKey> {
    let one = |(instance, key): &(&str, &Signer)| TrustedKey {
        key: key.public().clone(),
        instance: (!instance.is_empty()).then(|| (*instance).to_owned()),
    };
    keys.iter().map(one).collect()
}

/// A chain with two checkpoints.
fn chain(id: &str, key: &Signer, between: &[Part]) -> (String, Vec<Vec<u8>>) {
    let mut parts = vec![opened(0, None), decision(1, "o"), Part::Checkpoint(2)];
    parts.extend_from_slice(between);
    parts.push(Part::Checkpoint(9));
    (id.to_owned(), placed(id, &parts, key))
}

fn report(keys: &[(&str, &Signer)], chains: Vec<(String, Vec<Vec<u8>>)>, stated: bool) -> Report {
    let kept = chains.iter().flat_map(|c| &c.1).filter(|value| is_checkpoint(value)).cloned().collect();
    fed(Verification::new(bound(keys)), &Trail { chains, stated: kept }, stated)
}

#[test]
fn a_key_of_one_instance_signs_no_other() {
    let (a, b) = (signer(), signer());
    for stated in [false, true] {
        let honest = vec![chain("a/1", &a, &[]), chain("b/1", &b, &[])];
        let forged = vec![chain("a/1", &b, &[]), chain("b/1", &b, &[])];
        let keys = [("a", &a), ("b", &b)];
        let found = report(&keys, honest, stated);
        assert_eq!((found.outcome, &found.findings), (Outcome::Whole, &vec![]), "{stated}");
        let found = report(&keys, forged.clone(), stated);
        assert!(breaking(&found).iter().all(|f| f.fault == Fault::Signature && f.chain.starts_with('a')), "{found:#?}");
        assert!(breaking(&found)[0].text.contains("for this instance"), "{found:#?}");
        // That is what binding is for.
        assert_eq!(report(&[("", &a), ("", &b)], forged, stated).outcome, Outcome::Whole, "{stated}");
    }
    // One key may be given for several, and one for all beside one for one.
    let both = vec![chain("a/1", &a, &[]), chain("b/1", &a, &[])];
    assert_eq!(report(&[("a", &a), ("b", &a)], both.clone(), false).outcome, Outcome::Whole);
    assert_eq!(report(&[("b", &b), ("", &a)], both, false).outcome, Outcome::Whole);
}

/// The next key is trusted for whom the one before was.
#[test]
fn a_rotation_keeps_to_the_instance() {
    let (a, b, next) = (signer(), signer(), signer());
    let note = note::sign(&note::rotation(a.public(), next.public()), &[&a, &next]).unwrap();
    let event = Event::KeyRotated { old: a.public().text().into(), new: next.public().text().into(), note };
    let rotated =
        ("a/2".to_owned(), placed("a/2", &[opened(0, None), lifecycle(1, &event), Part::Checkpoint(2)], &next));
    let keys = [("a", &a), ("b", &b)];
    let honest = vec![rotated.clone(), chain("b/1", &b, &[])];
    assert_eq!(report(&keys, honest, false).outcome, Outcome::Whole);
    for chains in [[rotated.clone(), chain("b/1", &next, &[])], [chain("b/1", &next, &[]), rotated]] {
        assert_eq!(report(&keys, chains.to_vec(), false).outcome, Outcome::Broken);
    }
}

/// A chain by the next key, of very many checkpoints, is read before the record that vouches for that key: one of them waits.
#[test]
fn however_long_a_rotation_is_ago() {
    let (old, new, forger) = (signer(), signer(), signer());
    let rotated = |signers: &[&Signer]| {
        let note = note::sign(&note::rotation(old.public(), new.public()), signers).unwrap();
        let event = Event::KeyRotated { old: old.public().text().into(), new: new.public().text().into(), note };
        ("i/0".to_owned(), placed("i/0", &[opened(0, None), lifecycle(1, &event), Part::Checkpoint(2)], &new))
    };
    let first = rotated(&[&old, &new]);
    let mut parts = vec![opened(9, Some(&first))];
    parts.extend((0..300).map(|n| Part::Checkpoint(10 + n)));
    let later = ("i/1".to_owned(), placed("i/1", &parts, &new));
    let read_first = |later: &(String, Vec<Vec<u8>>), stated: bool| {
        let mut verification = Verification::new(bound(&[("i", &old)]));
        later.1.iter().filter(|v| stated && is_checkpoint(v)).for_each(|value| verification.stated(value));
        later.1.iter().for_each(|value| verification.record(Seen::read(value)));
        verification
    };
    for stated in [false, true] {
        let mut verification = read_first(&later, stated);
        assert_eq!(verification.trust.waiting(), 1);
        first.1.iter().for_each(|value| verification.record(Seen::read(value)));
        let report = verification.finish(&[]);
        assert_eq!(breaking(&report), Vec::<&Finding>::new(), "{stated}");
        // Nobody vouches.
        let report = read_first(&later, stated).finish(&[]);
        let range = |f: &&&Finding| {
            f.fault == Fault::Signature && f.range.is_some_and(|(first, last)| first <= 1 && last == 300)
        };
        assert!(breaking(&report).iter().any(|f| range(&f)), "{stated} {:#?}", report.findings);
        // Whoever has neither key puts checkpoints of their own among them.
        let mut forged = self::parts(&later.1);
        forged[150] = decision(50, "forged");
        forged[160] = Part::Checkpoint(60);
        let mut verification = read_first(&("i/1".to_owned(), placed("i/1", &forged, &forger)), stated);
        first.1.iter().for_each(|value| verification.record(Seen::read(value)));
        assert_eq!(verification.finish(&[]).outcome, Outcome::Broken);
    }
}

/// Nor does it let records of others be called missing.
#[test]
fn a_key_of_one_instance_declares_nothing_of_another() {
    let (a, b) = (signer(), signer());
    let mut hole = chain("a/1", &a, &[decision(3, "o"), decision(4, "o"), Part::Checkpoint(5)]);
    hole.1.remove(3);
    let claim = chain("b/1", &b, &[lifecycle(3, &damage("a/1", (3, 3), None))]);
    let chains = vec![hole, claim];
    assert_eq!(report(&[("a", &a), ("b", &b)], chains.clone(), false).outcome, Outcome::Broken);
    assert_eq!(report(&[("", &a), ("", &b)], chains, false).outcome, Outcome::WholeGapsDeclared);
}

/// With a key, a trail without any signature by it is not whole, however short it is.
#[test]
fn what_is_not_signed_at_all_is_broken() {
    let (key, forger) = (signer(), signer());
    let unsigned = ("i/0".to_owned(), placed("i/0", &[opened(0, None), decision(1, "forged")], &forger));
    let found = report(&[("", &key)], vec![unsigned.clone()], false);
    assert_eq!(found.outcome, Outcome::Broken);
    assert!(breaking(&found)[0].text.contains("nothing of this instance is signed"), "{found:#?}");
    assert_eq!(
        report(&[], vec![unsigned.clone()], false).outcome,
        Outcome::Whole,
        "without a key nothing is asked for"
    );
    // Of each instance.
    let beside = vec![chain("other/1", &key, &[]), unsigned.clone()];
    assert_eq!(report(&[("", &key)], beside, false).outcome, Outcome::Broken);
    // The newest chain may be too young for its first checkpoint.
    let before = chain("i/9", &key, &[lifecycle(8, &Event::ChainClosed {})]);
    let young = placed("i/A", &[opened(20, Some(&before)), decision(21, "o")], &key);
    let found = report(&[("", &key)], vec![before, ("i/A".to_owned(), young)], false);
    assert!(found.findings.iter().any(|f| f.fault == Fault::Unproved && f.chain == "i/A"), "{found:#?}");
    assert!(breaking(&found).iter().all(|f| f.chain == "i/9"), "closed behind its last checkpoint: {found:#?}");
    // Nothing at all is not signed, either.
    assert_eq!(report(&[("", &key)], vec![], false).outcome, Outcome::Broken);
    assert_eq!(report(&[], vec![], false).outcome, Outcome::Whole);
}

/// Behind the last checkpoint as before the first: no longer than checkpoints can be apart.
#[test]
fn an_end_without_checkpoints_may_last_an_hour() {
    let key = signer();
    for (seconds, outcome) in [(3_600, Outcome::Whole), (3_700, Outcome::Broken)] {
        let parts = [opened(0, None), decision(1, "o"), Part::Checkpoint(2), decision(2 + seconds, "forged")];
        let ends = vec![("i/0".to_owned(), placed("i/0", &parts, &key))];
        assert_eq!(report(&[("", &key)], ends, false).outcome, outcome, "{seconds}");
    }
}
