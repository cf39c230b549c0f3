//! Shadow records take the room that decisions leave: none makes a segment roll or an outage begin, and what does not fit
//! waits for the next segment.

use std::time::Duration;

use uuid::Uuid;

use super::unreadable::Bench;
use crate::audit::envelope::{Draft, Kind};
use crate::audit::files::Clock as _;
use crate::policy::verdict::Durability;

impl Bench {
    fn shadow(&self, size: usize) {
        let (source, time) = (&self.shared.source, self.clock.wall());
        let data = serde_json::json!({ "pad": "x".repeat(size) });
        let draft = Draft::new(source, Kind::Shadow, Uuid::now_v7(), time, None, &data).unwrap();
        self.shared.shadows.lock().push_back(draft);
    }

    fn waiting(&self) -> usize {
        self.shared.shadows.lock().len()
    }

    fn segment(&self) -> u64 {
        self.shared.progress.lock().number
    }

    fn shadows_in_kafka(&mut self) -> usize {
        self.deliver();
        let is_shadow =
            |value: &[u8]| serde_json::from_slice::<serde_json::Value>(value).unwrap()["type"] == Kind::Shadow.as_str();
        self.kafka.iter().filter(|entry| is_shadow(&entry.value)).count()
    }
}

#[test]
fn a_shadow_record_makes_no_segment_roll() {
    let (mut bench, _) = Bench::with_five();
    let before = bench.segment();
    for _ in 0..12 {
        bench.shadow(10_000);
        bench.turn(Vec::new());
        bench.clock.pass(Duration::from_millis(20));
    }
    bench.settle();
    let waiting = bench.waiting();
    assert_eq!(bench.segment(), before, "twelve of 10 kB are more than a segment of 64 KiB");
    assert!((6..=10).contains(&waiting), "{waiting}");
    assert!(bench.shared.available.load(std::sync::atomic::Ordering::Acquire), "no outage");
    assert_eq!(bench.shadows_in_kafka(), 12 - waiting);
    // A decision makes it roll, and the others follow.
    let mut told = bench.append(Durability::Synced, 40_000);
    assert!(matches!(told.try_recv(), Ok(Ok(_))));
    assert!(bench.segment() > before);
    bench.settle();
    assert!(bench.waiting() < waiting, "they take what the next segment has left");
    assert_eq!(bench.shadows_in_kafka(), 12 - bench.waiting());
}
