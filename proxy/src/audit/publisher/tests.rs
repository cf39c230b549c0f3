//! The publisher against a source and a sink that misbehave in every way they are allowed to.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::metrics::Names;

/// What outlives publishers: the spool, and what the broker stored.
#[derive(Debug, Default)]
struct World {
    spool: Vec<Entry>,
    /// Index into the spool: what the next rewind goes back to.
    durable: usize,
    /// Index after the last record that was reported as delivered.
    delivered: usize,
    /// Indexes into the spool, in the order stored.
    stored: Vec<usize>,
    acked: HashSet<usize>,
    /// Stored as stubs, and those of them that are kept whole.
    stubs: HashSet<usize>,
    stubbed: HashSet<usize>,
    most_under_way: usize,
    sends: usize,
    rebuilds: usize,
    /// Promises broken, in words.
    broken: Vec<String>,
    faults_left: usize,
}

type Shared = Arc<Mutex<World>>;

impl World {
    fn index(&self, epoch: &EpochId, seq: u64) -> Option<usize> {
        self.spool.iter().position(|e| e.epoch == *epoch && e.seq == seq)
    }
}

/// Two epochs, the second of which begins at 0 again.
fn world(records: usize, faults: usize) -> Shared {
    let split = records / 3;
    let entry = |i: usize| {
        let (epoch, seq) = if i < split { (1, i) } else { (2, i - split) };
        let value = format!("record {i}").into();
        Entry {
            epoch: EpochId::new(epoch, epoch),
            settled: 0,
            chain: format!("i/{epoch}").into(),
            seq: seq as u64,
            time_us: 0,
            value,
        }
    };
    let spool = (0..records).map(entry).collect();
    Arc::new(Mutex::new(World { spool, faults_left: faults, ..World::default() }))
}

struct FakeSource {
    world: Shared,
    at: usize,
    /// The cursor becomes durable every so many reports.
    lag: usize,
    reports: usize,
    keeps: usize,
}

impl FakeSource {
    fn new(world: &Shared, lag: usize) -> Self {
        let at = world.lock().durable;
        Self { world: Arc::clone(world), at, lag, reports: 0, keeps: 0 }
    }
}

impl Source for FakeSource {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let entry = self.world.lock().spool.get(self.at).cloned();
        self.at += usize::from(entry.is_some());
        Ok(entry)
    }

    fn wait(&self, _: Duration) -> bool {
        thread::yield_now();
        false
    }

    fn delivered(&mut self, epoch: &EpochId, seq: u64) {
        let mut world = self.world.lock();
        let Some(index) = world.index(epoch, seq) else {
            return world.broken.push(format!("{epoch:?} {seq} delivered, never existed"));
        };
        if let Some(missing) = (0..=index).find(|i| !world.acked.contains(i)) {
            world.broken.push(format!("{index} reported as delivered, {missing} not acknowledged"));
        }
        if let Some(lost) = world.stubs.iter().find(|i| **i <= index && !world.stubbed.contains(i)) {
            let lost = format!("{index} reported as delivered, {lost} is nowhere whole");
            world.broken.push(lost);
        }
        world.delivered = world.delivered.max(index + 1);
        self.reports += 1;
        if self.reports.is_multiple_of(self.lag) {
            world.durable = world.delivered;
        }
    }

    fn stubbed(&mut self, epoch: &EpochId, seq: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        let index = world.index(epoch, seq).unwrap();
        self.keeps += 1;
        if world.faults_left > 0 && self.keeps.is_multiple_of(2) {
            world.faults_left -= 1;
            return Err(io::Error::other("injected"));
        }
        world.stubbed.insert(index);
        Ok(())
    }

    fn rewind(&mut self) {
        self.at = self.world.lock().durable;
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut world = self.world.lock();
        world.durable = world.delivered;
        Ok(())
    }
}

struct FakeSink {
    world: Shared,
    rng: StdRng,
    room: usize,
    /// Taken, not stored.
    queue: VecDeque<(Ticket, usize)>,
    /// Stored, not acknowledged.
    acks: Vec<(Ticket, usize)>,
    dead: bool,
}

impl FakeSink {
    fn new(world: &Shared, seed: u64, room: usize) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { world: Arc::clone(world), rng, room, queue: VecDeque::new(), acks: Vec::new(), dead: false }
    }

    fn fault(&mut self) -> bool {
        let mut world = self.world.lock();
        let strikes = world.faults_left > 0 && self.rng.random_ratio(1, 12);
        world.faults_left -= usize::from(strikes);
        strikes
    }

    fn store(&mut self, events: &mut Vec<Event>) {
        let count = self.rng.random_range(0..=self.queue.len());
        for _ in 0..count {
            if self.fault() {
                self.dead = true;
                return match self.rng.random_range(0..3) {
                    0 => {
                        events.push(Event::Trouble(fault()));
                        events.extend(self.queue.drain(..).map(|(ticket, _)| Event::Failed(ticket, fault())));
                    }
                    1 => events.extend(self.queue.drain(..).map(|(ticket, _)| Event::Failed(ticket, fault()))),
                    // Stored, and nobody will ever know.
                    _ => {
                        let (ticket, index) = self.queue.pop_front().unwrap();
                        self.world.lock().stored.push(index);
                        events.push(Event::Failed(ticket, fault()));
                    }
                };
            }
            let (ticket, index) = self.queue.pop_front().unwrap();
            self.world.lock().stored.push(index);
            self.acks.push((ticket, index));
        }
    }
}

fn fault() -> Fault {
    Fault { code: "test".into(), text: "injected".into() }
}

impl Sink for FakeSink {
    fn topic(&self) -> &str {
        "t"
    }

    fn send(&mut self, entry: &Entry, ticket: Ticket) -> Result<(), SendError> {
        self.world.lock().sends += 1;
        if self.dead {
            return Err(SendError::Refused(fault()));
        }
        if self.queue.len() >= self.room {
            return Err(SendError::Full);
        }
        if self.fault() {
            return Err(match self.rng.random_range(0..3) {
                0 => SendError::NotReady(fault()),
                1 => SendError::Full,
                _ => {
                    self.dead = true;
                    SendError::Refused(fault())
                }
            });
        }
        let mut world = self.world.lock();
        let index = world.index(&entry.epoch, entry.seq).unwrap();
        self.queue.push_back((ticket, index));
        world.most_under_way = world.most_under_way.max(self.queue.len() + self.acks.len());
        Ok(())
    }

    fn poll(&mut self, _: Duration, events: &mut Vec<Event>) {
        if !self.dead {
            self.store(events);
        }
        // Out of order, and some late.
        while !self.acks.is_empty() && self.rng.random_ratio(3, 4) {
            let (ticket, index) = self.acks.swap_remove(self.rng.random_range(0..self.acks.len()));
            self.world.lock().acked.insert(index);
            if index % 5 == 3 {
                self.world.lock().stubs.insert(index);
                events.push(Event::Stubbed(ticket));
            } else {
                events.push(Event::Acked(ticket));
            }
        }
        if self.fault() {
            events.push(Event::Trouble(fault()));
        }
    }

    fn rebuild(&mut self) {
        self.world.lock().rebuilds += 1;
        self.queue.clear();
        self.acks.clear();
        self.dead = false;
    }
}

fn spawn(source: impl Source + 'static, sink: impl Sink + 'static, max_records: usize) -> Publisher {
    let backoff = (Duration::from_micros(10), Duration::from_micros(100));
    let options = Options { max_records, max_bytes: 1 << 20, backoff };
    Publisher::spawn(source, sink, options, Metrics::new(&Names::default()), Tracer::off()).unwrap()
}

fn first_occurrences(world: &World) -> Vec<usize> {
    let mut seen = HashSet::new();
    world.stored.iter().copied().filter(|index| seen.insert(*index)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: everything is stored, first occurrences in order, the cursor never ahead.
    #[test]
    fn everything_arrives_in_order_whatever_happens(
        seed in any::<u64>(),
        records in 1_usize..120,
        faults in 0_usize..40,
        window in 1_usize..12,
        room in 1_usize..12,
        lag in 1_usize..8,
        lives in proptest::collection::vec(0_u64..800, 0..4),
    ) {
        let world = world(records, faults);
        for (i, micros) in lives.iter().enumerate() {
            let sink = FakeSink::new(&world, seed ^ i as u64, room);
            let publisher = spawn(FakeSource::new(&world, lag), sink, window);
            thread::sleep(Duration::from_micros(*micros));
            // A life that ends in order, or in the middle (the cursor as it happens to be).
            publisher.shutdown(Duration::ZERO);
        }
        let publisher = spawn(FakeSource::new(&world, lag), FakeSink::new(&world, !seed, room), window);
        prop_assert_eq!(publisher.shutdown(Duration::from_secs(60)), Ending::Drained);

        let world = world.lock();
        prop_assert_eq!(&world.broken, &Vec::<String>::new());
        prop_assert_eq!(first_occurrences(&world), (0..records).collect::<Vec<_>>());
        prop_assert_eq!(world.durable, records);
        prop_assert_eq!(&world.stubbed, &world.stubs);
        prop_assert!(world.most_under_way <= window, "{} under way", world.most_under_way);
    }
}

/// Refuses everything, for ever.
struct Refusing(Shared);

impl Sink for Refusing {
    fn topic(&self) -> &str {
        "t"
    }
    fn send(&mut self, _: &Entry, _: Ticket) -> Result<(), SendError> {
        self.0.lock().sends += 1;
        Err(SendError::Refused(fault()))
    }
    fn poll(&mut self, timeout: Duration, _: &mut Vec<Event>) {
        thread::sleep(timeout);
    }
    fn rebuild(&mut self) {
        self.0.lock().rebuilds += 1;
    }
}

#[test]
fn a_lasting_refusal_is_retried_slowly_and_keeps_everything() {
    let world = world(9, 0);
    let options = Options { backoff: (Duration::from_millis(20), Duration::from_millis(80)), ..Options::default() };
    let (source, sink) = (FakeSource::new(&world, 1), Refusing(Arc::clone(&world)));
    let publisher = Publisher::spawn(source, sink, options, Metrics::new(&Names::default()), Tracer::off()).unwrap();
    assert_eq!(publisher.shutdown(Duration::from_secs(2)), Ending::Left);
    let world = world.lock();
    // 20 + 40 + 80 + 80 … at their shortest: half of it.
    assert!((3..=60).contains(&world.sends), "{} tries", world.sends);
    assert_eq!((world.durable, world.delivered), (0, 0));
}

/// Panics once in `poll`, with records under way.
struct Panicking(FakeSink, bool);

impl Sink for Panicking {
    fn topic(&self) -> &str {
        self.0.topic()
    }
    fn send(&mut self, entry: &Entry, ticket: Ticket) -> Result<(), SendError> {
        self.0.send(entry, ticket)
    }
    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) {
        assert!(std::mem::replace(&mut self.1, true), "the panic this test is about");
        self.0.poll(timeout, events);
    }
    fn rebuild(&mut self) {
        self.0.rebuild();
    }
}

#[test]
fn a_panic_does_not_end_publishing() {
    let world = world(9, 0);
    let sink = Panicking(FakeSink::new(&world, 1, 4), false);
    let publisher = spawn(FakeSource::new(&world, 1), sink, 4);
    assert_eq!(publisher.shutdown(Duration::from_secs(60)), Ending::Drained);
    let world = world.lock();
    assert_eq!(first_occurrences(&world), (0..9).collect::<Vec<_>>());
    assert_eq!(world.rebuilds, 1);
}

#[test]
fn bytes_under_way_are_bounded() {
    let world = world(50, 0);
    let options = Options { max_bytes: 20, ..Options::default() };
    let sink = FakeSink::new(&world, 7, usize::MAX);
    let publisher =
        Publisher::spawn(FakeSource::new(&world, 1), sink, options, Metrics::new(&Names::default()), Tracer::off())
            .unwrap();
    assert_eq!(publisher.shutdown(Duration::from_secs(60)), Ending::Drained);
    // Records of 8 or 9 bytes: the third one reaches the bound.
    assert_eq!(world.lock().most_under_way, 3);
}
