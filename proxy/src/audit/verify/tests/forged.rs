//! Forgeries that need more than one edit, each by its name; and honest streams that look like them. The forger has
//! everything but the signing key.

use super::*;

fn outcome(trail: &Trail, key: &Signer, stated: bool) -> Outcome {
    verified(trail, &[key.public().clone()], stated).outcome
}

#[test]
fn a_cut_start_does_not_excuse_a_later_chain() {
    let key = signer();
    let mut trail = trail(&key);
    trail.chains[0].1.drain(..17);
    assert_eq!(outcome(&trail, &key, true), Outcome::Whole);
    trail.chains.remove(1);
    for stated in [true, false] {
        assert_eq!(outcome(&trail, &key, stated), Outcome::Broken, "{stated}");
    }
}

#[test]
fn older_chains_are_gone_with_a_cut_start() {
    let key = signer();
    let mut trail = trail(&key);
    trail.chains.remove(0);
    trail.chains[0].1.drain(..17);
    assert_eq!(outcome(&trail, &key, true), Outcome::Whole);
}

#[test]
fn what_nothing_signed_covers_declares_nothing() {
    let (key, forger) = (signer(), signer());
    let mut forged = trail(&key);
    let chain = &mut forged.chains[CHAINS - 1];
    let checkpoints: Vec<u64> =
        (0_u64..).zip(&chain.1).filter(|(_, value)| is_checkpoint(value)).map(|(seq, _)| seq).collect();
    let mut rewritten = parts(&chain.1);
    rewritten[5] = decision(7, "forged");
    let mut rewritten = placed(&chain.0, &rewritten, &forger);
    rewritten.retain(|value| !is_checkpoint(value));
    let id = chain.0.clone();
    chain.1 = rewritten;
    let mut claims = vec![opened(9000, None)];
    claims.extend(checkpoints.iter().map(|seq| lifecycle(9001, &damage(&id, (*seq, *seq), None))));
    forged.chains.push(("elsewhere/1".into(), placed("elsewhere/1", &claims, &forger)));
    for stated in [true, false] {
        assert_eq!(outcome(&forged, &key, stated), Outcome::Broken, "{stated}");
    }
}

#[test]
fn a_checkpoint_kept_elsewhere_is_missed_in_the_middle_and_at_the_end() {
    let key = signer();
    for take in [11_usize, 41] {
        let mut trail = trail(&key);
        let chain = &mut trail.chains[CHAINS - 1].1;
        let seq = chain.iter().enumerate().filter(|(_, v)| is_checkpoint(v)).map(|(n, _)| n).find(|n| *n + 2 > take);
        let seq = seq.unwrap();
        chain.truncate(seq);
        chain.drain(..seq - 3);
        assert_eq!(outcome(&trail, &key, true), Outcome::Broken, "{seq}");
    }
}

#[test]
fn a_chain_is_not_opened_by_a_stub() {
    let key = signer();
    let mut trail = trail(&key);
    trail.chains.remove(1);
    let opening = &trail.chains[1].1[0];
    let link = serde_json::from_slice::<serde_json::Value>(opening).unwrap()["data"]["chain"].clone();
    let stub = json!({"specversion": "1.0", "id": "x", "source": "s", "type": "io.countersign.stub.v1",
        "time": "2026-11-24T00:00:00.000000Z", "data": {"sha256": hex::encode(chain::hash(opening)), "chain": link}});
    trail.chains[1].1[0] = stub.to_string().into_bytes();
    assert_eq!(outcome(&trail, &key, false), Outcome::Broken);
}

#[test]
fn an_invented_successor_does_not_silence_the_real_one() {
    let (key, forger) = (signer(), signer());
    for instance in ["0", "i"] {
        let mut forged = trail(&key);
        forged.chains[1].1.truncate(29);
        let shorter = forged.chains[1].clone();
        let id = format!("{instance}/0000");
        let invented = placed(&id, &[opened(5000, Some(&shorter))], &forger);
        forged.chains.insert(0, (id, invented));
        assert_eq!(outcome(&forged, &key, false), Outcome::Broken, "{instance}");
    }
}

#[test]
fn late_records_that_fit_nothing_are_found() {
    let key = signer();
    let keys = [key.public().clone()];
    // Behind a cut start, and in a gap that the chain declares.
    let mut parts_of: Vec<Part> = parts(&trail(&key).chains[0].1);
    for part in &mut parts_of {
        if matches!(part, Part::Kept(_)) {
            *part = Part::Checkpoint(0);
        }
    }
    parts_of[25] = lifecycle(25, &damage("i/0", (12, 14), None));
    let honest = placed("i/0", &parts_of, &key);
    for (gone, invented) in [(0..17, 5), (12..15, 13)] {
        let mut values = honest.clone();
        values.drain(gone);
        let mut forged = parts(&honest);
        forged[invented] = decision(3, "forged");
        values.push(placed("i/0", &forged, &signer()).swap_remove(invented));
        let trail = Trail { chains: vec![("i/0".to_owned(), values)], stated: vec![] };
        let report = patiently_verified(&trail, &keys, false);
        assert_eq!(report.outcome, Outcome::Broken, "{invented}: {:#?}", report.findings);
    }
}

#[test]
fn what_an_honest_gap_leaves_uncovered_is_named() {
    let key = signer();
    let mut parts_of: Vec<Part> = parts(&trail(&key).chains[0].1);
    for part in &mut parts_of {
        if matches!(part, Part::Kept(_)) {
            *part = Part::Checkpoint(0);
        }
    }
    parts_of[25] = lifecycle(25, &damage("i/0", (16, 17), None));
    let mut values = placed("i/0", &parts_of, &key);
    values.drain(16..18);
    let trail = Trail { chains: vec![("i/0".to_owned(), values)], stated: vec![] };
    let report = verified(&trail, &[key.public().clone()], false);
    assert_eq!(report.outcome, Outcome::WholeGapsDeclared);
    let unproved: Vec<_> = report.findings.iter().filter(|f| f.fault == Fault::Unproved).map(|f| f.range).collect();
    assert_eq!(unproved, [Some((10, 15))], "{:#?}", report.findings);
}

/// With the checkpoint topic, and whichever chain is read first.
#[test]
fn a_rotation_is_followed_in_any_order() {
    let (old, new) = (signer(), signer());
    let note = note::sign(&note::rotation(old.public(), new.public()), &[&old, &new]).unwrap();
    let event = Event::KeyRotated { old: old.public().text().into(), new: new.public().text().into(), note };
    let first = ("i/0".to_owned(), placed("i/0", &[opened(0, None), lifecycle(1, &event), Part::Checkpoint(2)], &new));
    let second =
        ("i/1".to_owned(), placed("i/1", &[opened(9, Some(&first)), decision(10, "o"), Part::Checkpoint(11)], &new));
    let stated: Vec<_> =
        [&first, &second].iter().flat_map(|c| &c.1).filter(|value| is_checkpoint(value)).cloned().collect();
    for chains in [vec![first.clone(), second.clone()], vec![second.clone(), first]] {
        let trail = Trail { chains, stated: stated.clone() };
        let report = verified(&trail, &[old.public().clone()], true);
        assert_eq!(breaking(&report), Vec::<&Finding>::new());
    }
    // Without the rotation nobody vouches for the new key.
    let alone = Trail { chains: vec![second], stated: vec![] };
    assert_eq!(outcome(&alone, &old, false), Outcome::Broken);
}

#[test]
fn what_kafka_had_and_the_disk_had_not_is_named() {
    let key = signer();
    let mut honest = trail(&key);
    // The next process found less than was published.
    let shorter = (honest.chains[1].0.clone(), honest.chains[1].1[..40].to_vec());
    honest.chains[1].1.truncate(41);
    let mut next = parts(&honest.chains[2].1);
    let previous = Head {
        id: shorter.0.clone(),
        seq: 39,
        hash: hex::encode(chain::hash(&shorter.1[39])),
        clean: false,
        unknown: None,
    };
    let event = Event::ChainOpened {
        version: "v".into(),
        commit: None,
        config_generation: "g".into(),
        previous: Some(previous),
    };
    next[0] = lifecycle(2000, &event);
    for part in &mut next {
        if matches!(part, Part::Kept(_)) {
            *part = Part::Checkpoint(2001);
        }
    }
    honest.chains[2].1 = placed("i/2", &next, &key);
    let report = verified(&honest, &[key.public().clone()], false);
    assert_eq!(report.outcome, Outcome::WholeGapsDeclared, "{:#?}", report.findings);
    assert!(report.findings.iter().any(|f| f.fault == Fault::Declared && f.range == Some((40, 40))));
    // Another record than the one that the next process found.
    let mut parts_of = parts(&honest.chains[1].1);
    parts_of[39] = decision(1100, "forged");
    honest.chains[1].1 = placed("i/1", &parts_of, &key);
    assert_eq!(outcome(&honest, &key, false), Outcome::Broken);
}

#[test]
fn impossible_places_are_no_records() {
    let huge =
        |member: &str| format!("{{\"type\":\"io.countersign.lifecycle.v1\",\"time\":\"t\",\"data\":{{{member}}}}}");
    let prev = "0".repeat(64);
    let max = u64::MAX;
    for text in [
        huge(&format!("\"chain\":{{\"id\":\"i/0\",\"seq\":{max},\"prev\":\"{prev}\"}}")),
        huge(&format!(
            "\"event\":\"chain_opened\",\"previous\":{{\"id\":\"i/9\",\"seq\":{max},\"hash\":\"{prev}\",\"clean\":true}},\
             \"chain\":{{\"id\":\"i/0\",\"seq\":0,\"prev\":\"{prev}\"}}"
        )),
        huge(&format!(
            "\"event\":\"damage_found\",\"of_chain\":\"i/0\",\"first_seq\":1,\"last_seq\":{max},\
             \"chain\":{{\"id\":\"i/0\",\"seq\":0,\"prev\":\"{prev}\"}}"
        )),
    ] {
        let mut verification = Verification::default();
        verification.record(Seen::read(text.as_bytes()));
        assert_eq!(verification.finish(&[]).outcome, Outcome::Broken, "{text}");
    }
}

/// What is kept of a chain is as long as its name.
#[test]
fn names_of_any_length_are_no_records() {
    let text = |id: &str, of_chain: &str, before: &str, time: &str| {
        let prev = "0".repeat(64);
        let previous = json!({"id": before, "seq": 1, "hash": prev, "clean": true});
        let data = json!({"event": "damage_found", "of_chain": of_chain, "first_seq": 1, "last_seq": 2,
            "previous": previous, "chain": {"id": id, "seq": 0, "prev": prev}});
        json!({"type": "io.countersign.lifecycle.v1", "time": time, "data": data}).to_string()
    };
    let (longest, longer) = ("i".repeat(256), "i".repeat(257));
    assert!(Seen::read(text(&longest, &longest, &longest, &longest).as_bytes()).is_ok());
    for at in 0..4 {
        let mut all = [longest.as_str(); 4];
        all[at] = &longer;
        let [id, of_chain, before, time] = all;
        assert!(Seen::read(text(id, of_chain, before, time).as_bytes()).unwrap_err().contains("256"), "{at}");
    }
}
