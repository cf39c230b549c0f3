//! What Kafka has, and the wire to it: refuses, fails records under way, loses acknowledgements, is down for a while. What
//! is stored outlives the processes. Judges what arrives only as far as no later look could: order and equality.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::disk::Disk;
use super::planted::{self, Bug};
use crate::audit::epoch::Entry;
use crate::audit::publisher::{Event, Fault, SendError, Sink, Ticket};

pub type Chains = BTreeMap<Arc<str>, BTreeMap<u64, Bytes>>;

pub struct Kafka {
    pub chains: Chains,
    pub stored: u64,
    /// Stored after later ones.
    pub late: Vec<(Arc<str>, u64)>,
    /// The first promise that was broken here.
    pub broken: Option<String>,
    /// One send or poll in so many goes wrong; 0 is never.
    pub faulty: u32,
    pub down: bool,
    rng: SmallRng,
}

pub type Topic = Arc<Mutex<Kafka>>;

impl Kafka {
    pub fn new(seed: u64, faulty: u32) -> Topic {
        let (chains, rng) = (Chains::new(), SmallRng::seed_from_u64(seed));
        Arc::new(Mutex::new(Self { chains, stored: 0, late: Vec::new(), broken: None, faulty, down: false, rng }))
    }

    pub fn has(&self, chain: &str, seq: u64) -> bool {
        self.chains.get(chain).is_some_and(|c| c.contains_key(&seq))
    }

    fn store(&mut self, entry: &Entry) {
        self.stored += 1;
        let records = self.chains.entry(entry.chain.clone()).or_default();
        let last = records.keys().next_back().copied();
        match records.get(&entry.seq) {
            Some(old) if *old == entry.value => {}
            Some(_) => drop(self.broken.get_or_insert(format!("{} {} has two contents", entry.chain, entry.seq))),
            None => {
                if last > Some(entry.seq) {
                    self.late.push((entry.chain.clone(), entry.seq));
                }
                records.insert(entry.seq, entry.value.clone());
            }
        }
    }

    fn strikes(&mut self) -> bool {
        self.faulty > 0 && self.rng.random_ratio(1, self.faulty)
    }
}

/// The producer of one process.
pub struct Wire {
    pub topic: Topic,
    pub disk: Disk,
    pub room: usize,
    /// Taken, not stored. Shared with the simulation: the network goes on when the process does not.
    pub queue: Arc<Mutex<VecDeque<(Ticket, Entry)>>>,
    acks: Vec<Ticket>,
    dead: bool,
}

impl Wire {
    pub fn new(topic: Topic, disk: Disk, room: usize) -> Self {
        Self { topic, disk, room, queue: Arc::default(), acks: Vec::new(), dead: false }
    }

    fn deliver(&mut self, kafka: &mut Kafka, events: &mut Vec<Event>) {
        let mut queue = self.queue.lock();
        let count = kafka.rng.random_range(0..=queue.len());
        for _ in 0..count {
            let strikes = kafka.strikes();
            let Some((ticket, entry)) = queue.pop_front() else { return };
            if !strikes {
                kafka.store(&entry);
                self.acks.push(ticket);
                continue;
            }
            self.dead = true;
            match kafka.rng.random_range(0..3) {
                0 => events.push(Event::Trouble(fault())),
                1 => events.extend(queue.drain(..).map(|(t, _)| Event::Failed(t, fault()))),
                // Stored, and nobody will ever know.
                _ => kafka.store(&entry),
            }
            events.push(Event::Failed(ticket, fault()));
            return;
        }
    }
}

/// The process is gone; what was on its way may arrive.
pub fn arrive(topic: &Topic, queue: &Mutex<VecDeque<(Ticket, Entry)>>) {
    let (mut kafka, queue) = (topic.lock(), queue.lock());
    let count = if kafka.down { 0 } else { kafka.rng.random_range(0..=queue.len()) };
    for (_, entry) in queue.iter().take(count) {
        kafka.store(entry);
    }
}

fn fault() -> Fault {
    Fault { code: "test".into(), text: String::new() }
}

impl Sink for Wire {
    fn topic(&self) -> &str {
        "t"
    }

    fn send(&mut self, entry: &Entry, ticket: Ticket) -> Result<(), SendError> {
        if self.disk.0.lock().tick().is_err() {
            return Err(SendError::NotReady(fault()));
        }
        if self.dead {
            return Err(SendError::Refused(fault()));
        }
        let mut queue = self.queue.lock();
        if queue.len() >= self.room {
            return Err(SendError::Full);
        }
        let mut kafka = self.topic.lock();
        if kafka.strikes() {
            return Err(match kafka.rng.random_range(0..3) {
                0 => SendError::NotReady(fault()),
                1 => SendError::Full,
                _ => {
                    self.dead = true;
                    SendError::Refused(fault())
                }
            });
        }
        if planted::is(Bug::CursorBeforeAcknowledgement) {
            self.acks.push(ticket);
        }
        queue.push_back((ticket, entry.clone()));
        Ok(())
    }

    fn poll(&mut self, _: Duration, events: &mut Vec<Event>) {
        if self.disk.stopped() {
            return;
        }
        let topic = self.topic.clone();
        let mut kafka = topic.lock();
        if kafka.down {
            return events.push(Event::Trouble(fault()));
        }
        if !self.dead {
            self.deliver(&mut kafka, events);
        }
        // Out of order, and some late.
        while !self.acks.is_empty() && kafka.rng.random_ratio(3, 4) {
            let at = kafka.rng.random_range(0..self.acks.len());
            events.push(Event::Acked(self.acks.swap_remove(at)));
        }
        if kafka.strikes() {
            events.push(Event::Trouble(fault()));
        }
    }

    fn rebuild(&mut self) {
        self.queue.lock().clear();
        self.acks.clear();
        self.dead = false;
    }
}
