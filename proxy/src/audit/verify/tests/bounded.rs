//! However many chains, gaps and checkpoints there are: what is kept is bounded, and work grows with what is read. Counted,
//! not timed.

use super::*;
use crate::audit::verify::{recent, room, stated, work};

/// As many chains, every other one ended by a crash, each naming the one before; and one with as many gaps, all declared.
fn many(count: u64) -> Vec<Vec<u8>> {
    let key = signer();
    let mut values = Vec::new();
    let mut before: Option<(String, Vec<Vec<u8>>)> = None;
    for number in 0..count {
        let at = number * 10;
        let mut parts = vec![opened(at, before.as_ref()), decision(at + 1, "o")];
        if number % 2 == 0 {
            parts.push(lifecycle(at + 2, &Event::ChainClosed {}));
        }
        let id = format!("i/{number:08}");
        let chain = placed(&id, &parts, &key);
        values.extend(chain.iter().cloned());
        before = Some((id, chain));
    }
    let mut parts = vec![opened(0, None)];
    parts.extend((1..2 * count).map(|n| match n % 2 {
        0 => lifecycle(n, &damage("gaps/1", (n - 1, n - 1), None)),
        _ => decision(n, "gone"),
    }));
    let chain = placed("gaps/1", &parts, &key);
    values.extend(chain.into_iter().enumerate().filter(|(at, _)| at % 2 == 0).map(|(_, value)| value));
    values
}

fn work_for(count: u64) -> (u64, Report) {
    let values = many(count);
    work::taken();
    let mut verification = Verification::default();
    values.iter().for_each(|value| verification.record(Seen::read(value)));
    let (hashes, runs, late) = verification.room.held();
    assert!(
        hashes <= recent::MOST + recent::MOST_ENDS && runs <= room::MOST_RUNS && late == 0,
        "{hashes} {runs} {late}"
    );
    let report = verification.finish(&[]);
    (work::taken(), report)
}

#[test]
fn work_grows_with_what_is_read() {
    let (few, _) = work_for(2_000);
    let (many, report) = work_for(20_000);
    assert_eq!(report.chains.len(), 20_001);
    assert_eq!(report.outcome, Outcome::WholeGapsDeclared, "{:?}", breaking(&report).first());
    let declared = report.findings.len() as u64 + report.more;
    assert!(declared >= 29_000, "10,000 chains without an end and 19,999 gaps: {declared}");
    assert!(many <= few * 11, "{few} steps for 2,000 chains and gaps, {many} for 20,000");
    assert!(many >= 20_000 && many <= 20 * report.records, "{many} steps for {} records", report.records);
}

fn seen(chain: &str, seq: u64) -> Seen {
    let mut hash = [1; 32];
    hash[..8].copy_from_slice(&seq.to_be_bytes());
    let (chain, time) = (chain.to_owned(), "2026-11-24T00:00:00.000000Z".to_owned());
    Seen { chain, seq, prev: [0; 32], hash, time, bytes: 1, says: Says::Something }
}

/// More than there is room for is never in favour of the trail.
#[test]
fn gaps_beyond_the_room_are_missing_records() {
    let count = room::MOST_RUNS as u64 + 1000;
    let mut verification = Verification::default();
    for n in 0..count {
        verification.record(Ok(seen("i/0", 2 * n)));
    }
    let (hashes, runs, _) = verification.room.held();
    assert!(hashes <= recent::MOST + recent::MOST_ENDS && runs == room::MOST_RUNS, "{hashes} {runs}");
    assert!(verification.found.list.iter().any(|f| f.fault == Fault::Missing && f.text.contains("too many gaps")));
    assert_eq!(verification.finish(&[]).outcome, Outcome::Broken);
}

/// Records behind gaps that may be filled share one room; where it ends, the gap stays one.
#[test]
fn chains_with_gaps_share_one_room() {
    let mut verification = Verification::default();
    verification.expect_published_again();
    for chain in 0..40_000 {
        let id = format!("i/{chain}");
        for seq in (0..40).filter(|seq| *seq != 1) {
            verification.record(Ok(seen(&id, seq)));
        }
    }
    let (hashes, _, late) = verification.room.held();
    assert!(hashes <= recent::MOST + recent::MOST_ENDS, "{hashes}");
    assert!(late <= room::MOST_LATE && late > room::MOST_LATE / 2, "{late}");
    let given_up = verification.threads.iter().filter(|t| t.late.given_up()).count();
    assert!(given_up > 20_000, "{given_up}");
    assert_eq!(verification.finish(&[]).outcome, Outcome::Broken);
}

fn point() -> Point {
    Point { root: [0; 32], hash: [0; 32], met: false, unknown: None }
}

#[test]
fn of_very_many_checkpoints_kept_elsewhere_the_newest_of_each_chain_stays() {
    let mut stated = Stated::default();
    let count = 3 * stated::MOST as u64;
    for n in 0..count {
        stated.add(&format!("i/{}", n % 3), &format!("{n:09}"), n, point());
    }
    assert!(stated.held() <= stated::MOST, "{}", stated.held());
    for chain in 0..3_u64 {
        let of_chain = stated.get(&format!("i/{chain}")).unwrap();
        let newest = count - 3 + chain;
        assert_eq!(of_chain.points.last_key_value().map(|(size, _)| *size), Some(newest));
        assert_eq!(of_chain.until, format!("{newest:09}"));
        assert!(of_chain.points.len() > 10_000);
    }
    // Many chains with one each: one is kept of each.
    let mut stated = Stated::default();
    work::taken();
    for n in 0..count {
        stated.add(&format!("i/{n}"), "t", 1, point());
    }
    assert_eq!(stated.held() as u64, count);
    assert!(work::taken() < 8 * count, "every one is not looked at for every one");
}

/// What is lost with the others is where a fault is, not that there is one.
#[test]
fn few_checkpoints_kept_elsewhere_find_as_much() {
    let (key, forger) = (signer(), signer());
    let keys = vec![key.public().clone()];
    let whole = trail(&key);
    for n in 0..200 {
        let mut rng = StdRng::seed_from_u64(n);
        let mut forged = whole.clone();
        recomputed(&mut forged, &mut rng, &forger);
        let mut verification = Verification::new(keys.clone());
        verification.stated = Stated::with_room(4);
        assert_eq!(fed(verification, &forged, true).outcome, Outcome::Broken, "{n}");
    }
    let mut verification = Verification::new(keys);
    verification.stated = Stated::with_room(4);
    assert_eq!(fed(verification, &whole, true).outcome, Outcome::Whole);
}
