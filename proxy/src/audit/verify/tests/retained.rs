//! Retention, which takes from the start of each partition of a topic as far as it likes, and from the start of a spool: no
//! fault. And what only looks like it.

use super::*;

/// Chains of `trail` are in the partition of their number.
fn place(id: &str, count: i32) -> i32 {
    let number: i32 = id.rsplit('/').next().unwrap().parse().unwrap();
    number.rem_euclid(count)
}

/// What is left of a topic, by partition, and whether the partition's first records are gone.
struct Topic {
    partitions: Vec<(bool, Vec<Vec<u8>>)>,
    stated: Vec<Vec<u8>>,
}

impl Topic {
    /// A partition for each chain, nothing cut.
    fn of(trail: &Trail) -> Self {
        let partitions = trail.chains.iter().map(|(_, values)| (false, values.clone())).collect();
        Self { partitions, stated: trail.stated.clone() }
    }

    fn cut(&mut self, partition: usize, records: usize) {
        self.partitions[partition].0 = true;
        drop(self.partitions[partition].1.drain(..records));
    }

    fn read(&self, key: &Signer, stated: bool, since: Option<&str>) -> Report {
        let mut verification = Verification::new(vec![key.public().clone()]);
        verification.from_topic((0..).zip(self.partitions.iter().map(|(cut, _)| *cut)), place);
        if let Some(since) = since {
            verification.expect_complete_since(since.to_owned());
        }
        self.stated.iter().filter(|_| stated).for_each(|value| verification.stated(value));
        for (partition, (_, values)) in (0..).zip(&self.partitions) {
            values.iter().for_each(|value| verification.record_from(partition, Seen::read(value)));
        }
        verification.finish(&[])
    }

    fn outcome(&self, key: &Signer) -> Outcome {
        let with = self.read(key, true, None);
        let without = self.read(key, false, None);
        assert_eq!(with.outcome, without.outcome, "{:#?} {:#?}", with.findings, without.findings);
        with.outcome
    }
}

fn time_of(value: &[u8]) -> String {
    Seen::read(value).unwrap().time
}

#[test]
fn a_busy_partition_is_cut_while_a_quiet_one_has_an_older_chain_whole() {
    let key = signer();
    let trail = trail(&key);
    let mut topic = Topic::of(&trail);
    topic.cut(1, 17);
    assert_eq!(topic.outcome(&key), Outcome::Whole);
    let report = topic.read(&key, true, None);
    assert_eq!(named(&report)[0], (Fault::CutStart, "i/1", Some((0, 16))));
    let begins = Some(time_of(&trail.chains[1].1[17]));
    assert_eq!((report.partitions[1].cut, &report.partitions[1].begins), (true, &begins));
    assert!(!report.partitions[0].cut);
    // The same without retention: somebody has copied the topic without these.
    topic.partitions[1].0 = false;
    assert_eq!(topic.outcome(&key), Outcome::Broken);
    // And in a partition where Kafka would not have put the chain.
    let mut topic = Topic::of(&trail);
    topic.cut(1, 17);
    topic.partitions.swap(1, 2);
    assert_eq!(topic.outcome(&key), Outcome::Broken);
}

#[test]
fn of_a_partition_only_the_first_chain_is_cut() {
    let key = signer();
    let mut topic = Topic::of(&trail(&key));
    // One of fewer partitions, from before the topic grew.
    let second = std::mem::take(&mut topic.partitions[1].1);
    topic.partitions[0].1.extend(second);
    topic.cut(0, 17);
    assert_eq!(topic.outcome(&key), Outcome::Whole);
    let whole = topic.partitions[0].1.len();
    topic.partitions[0].1.drain(whole - 30..whole - 20);
    assert_eq!(topic.outcome(&key), Outcome::Broken, "the middle of the second");
    let mut topic = Topic::of(&trail(&key));
    let second = topic.partitions[1].1.split_off(17);
    topic.partitions[1].1.clear();
    topic.partitions[0].1.extend(second);
    topic.cut(0, 17);
    assert_eq!(topic.outcome(&key), Outcome::Broken, "the beginning of the second");
}

#[test]
fn a_chain_is_gone_with_its_partition_and_not_without() {
    let key = signer();
    let trail = trail(&key);
    let all = trail.chains[1].1.len();
    let mut topic = Topic::of(&trail);
    topic.cut(1, all);
    assert_eq!(topic.outcome(&key), Outcome::Whole, "all of the partition is gone");
    topic.partitions[1].0 = false;
    assert_eq!(topic.outcome(&key), Outcome::Broken, "none of it is");
    // Another instance's chain is in the partition, too, and was begun before this one.
    let beside = |at: u64| {
        let mut parts = vec![opened(at, None)];
        parts.extend((1..20).map(|n| decision(at + n, "o")));
        parts.push(Part::Checkpoint(at + 20));
        parts.push(Part::Checkpoint(at + 21));
        placed("other/1", &parts, &key)
    };
    let (before, after) = (beside(500), beside(2500));
    for (values, drained, outcome) in [
        (&before, 0, Outcome::Broken),
        (&before, 9, Outcome::Broken),
        (&after, 0, Outcome::Whole),
        (&after, 9, Outcome::Whole),
    ] {
        let mut topic = Topic::of(&trail);
        topic.partitions[1] = (true, values[drained..].to_vec());
        assert_eq!(topic.outcome(&key), outcome, "{drained}");
    }
    // An older chain of the same instance.
    let mut topic = Topic::of(&trail);
    topic.partitions[1] = (true, trail.chains[0].1[9..].to_vec());
    topic.partitions[0] = (true, Vec::new());
    assert_eq!(topic.outcome(&key), Outcome::Broken);
}

/// Checkpoints are kept for longer than decisions.
#[test]
fn checkpoints_outlive_what_they_state() {
    let key = signer();
    let trail = trail(&key);
    let mut topic = Topic::of(&trail);
    for gone in 0..2 {
        topic.cut(gone, trail.chains[gone].1.len());
    }
    topic.cut(2, 20);
    assert_eq!(topic.outcome(&key), Outcome::Whole);
    // Nothing is left at all: with checkpoints that is known, without nobody is there to say it.
    for partition in &mut topic.partitions {
        partition.1.clear();
    }
    let report = topic.read(&key, true, None);
    assert_eq!(report.findings.iter().filter(|f| f.fault == Fault::CutStart).count(), 3);
    // A file or a spool that begins with a whole chain.
    let mut later = trail.clone();
    later.chains.remove(0);
    let keys = [key.public().clone()];
    assert_eq!(verified(&later, &keys, true).outcome, Outcome::Whole);
    later.chains.remove(0);
    assert_eq!(verified(&later, &keys, true).outcome, Outcome::Whole);
    // And one that begins with the first of all.
    let mut forged = trail;
    forged.chains.remove(1);
    assert_eq!(verified(&forged, &keys, true).outcome, Outcome::Broken);
}

/// The record that names a chain's end can be gone sooner than the chain.
#[test]
fn an_open_chain_whose_successor_is_cut() {
    let key = signer();
    let mut crashed = trail(&key);
    crashed.chains[0].1.truncate(41);
    mend_successor(&mut crashed, 0, &key);
    let again = parts_signed(&crashed.chains[1].1);
    crashed.chains[1].1 = placed("i/1", &again, &key);
    mend_successor(&mut crashed, 1, &key);
    let again = parts_signed(&crashed.chains[2].1);
    crashed.chains[2].1 = placed("i/2", &again, &key);
    crashed.stated.clear();
    let mut topic = Topic::of(&crashed);
    assert_eq!(topic.outcome(&key), Outcome::WholeGapsDeclared);
    topic.cut(1, 17);
    assert_eq!(topic.read(&key, false, None).outcome, Outcome::Whole);
    topic.cut(1, crashed.chains[1].1.len() - 17);
    assert_eq!(topic.read(&key, false, None).outcome, Outcome::Whole, "all of it");
    topic.partitions[1].0 = false;
    let report = topic.read(&key, false, None);
    assert!(breaking(&report).iter().any(|f| f.fault == Fault::NeverClosed), "{:#?}", report.findings);
}

/// What an auditor can say against whoever calls a deletion retention.
#[test]
fn since_a_time_everything_must_be_there() {
    let key = signer();
    let trail = trail(&key);
    let mut topic = Topic::of(&trail);
    topic.cut(1, 17);
    let (before, after) = (time_of(&trail.chains[1].1[15]), time_of(&trail.chains[1].1[18]));
    assert_eq!(topic.read(&key, true, Some(&after)).outcome, Outcome::Whole);
    assert_eq!(topic.read(&key, true, Some(&before)).outcome, Outcome::Broken);
    topic.cut(1, trail.chains[1].1.len() - 17);
    assert_eq!(topic.read(&key, true, Some(&after)).outcome, Outcome::Broken, "a whole chain");
    let ended = time_of(&trail.chains[2].1[0]);
    assert_eq!(topic.read(&key, true, Some(&ended)).outcome, Outcome::Whole);
}

/// Segments of a spool are removed while it is read: what was read of them is there, what was not is not.
#[test]
fn what_gave_way_while_a_spool_was_read() {
    let key = signer();
    let keys = vec![key.public().clone()];
    let whole = trail(&key);
    // Read up to 12 of the first chain; then on from 30 of the second.
    let mut read_of = whole.clone();
    read_of.chains[0].1.truncate(12);
    read_of.chains[1].1.drain(..30);
    let begun = || read(Verification::new(keys.clone()), &read_of, false);
    let mut verification = begun();
    verification.spool_still_has("i/1".into(), 30);
    let report = verification.finish(&[]);
    assert_eq!(report.outcome, Outcome::Whole, "{:#?}", report.findings);
    // There is still something from before what is missing: that did not give way, since the oldest gives way first.
    for (chain, seq) in [("i/1", 29), ("i/0", 5)] {
        let mut verification = begun();
        verification.spool_still_has(chain.into(), seq);
        assert_eq!(verification.finish(&[]).outcome, Outcome::Broken, "{chain} {seq}");
    }
    // A gap in the middle of a chain, and a whole chain between two.
    let mut holed = whole.clone();
    holed.chains[1].1.drain(5..20);
    let mut removed = whole;
    removed.chains.remove(1);
    for (trail, oldest) in [(holed, ("i/1", 25)), (removed, ("i/2", 0))] {
        let mut verification = read(Verification::new(keys.clone()), &trail, false);
        verification.spool_still_has(oldest.0.into(), oldest.1);
        let report = verification.finish(&[]);
        assert_eq!(report.outcome, Outcome::Whole, "{:#?}", report.findings);
        let mut verification = read(Verification::new(keys.clone()), &trail, false);
        verification.spool_still_has("i/0".into(), 3);
        assert_eq!(verification.finish(&[]).outcome, Outcome::Broken);
    }
}
