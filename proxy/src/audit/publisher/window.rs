//! Records under way: which are acknowledged, and how far without a gap. Not a queue of payloads; those are the sink's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{Entry, EpochId, Ticket};

#[derive(Debug)]
struct Slot {
    epoch: EpochId,
    chain: Arc<str>,
    seq: u64,
    bytes: usize,
    sent: Instant,
    acked: bool,
}

/// Acknowledged records of one chain that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub epoch: EpochId,
    pub chain: Arc<str>,
    pub first: u64,
    pub last: u64,
    pub records: u64,
    /// When the first of them was handed over.
    pub sent: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    /// The ticket of the front slot; of the next record, if there is none.
    base: Ticket,
    bytes: usize,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn next_ticket(&self) -> Ticket {
        self.base.wrapping_add(self.slots.len())
    }

    /// The sink has taken `entry` under [`Window::next_ticket`], at `now`.
    pub(super) fn push(&mut self, entry: &Entry, now: Instant) {
        let bytes = entry.value.len();
        self.bytes += bytes;
        self.slots.push_back(Slot {
            epoch: entry.epoch.clone(),
            chain: Arc::clone(&entry.chain),
            seq: entry.seq,
            bytes,
            sent: now,
            acked: false,
        });
    }

    /// False for tickets from before the last [`Window::clear`].
    pub(super) fn holds(&self, ticket: Ticket) -> bool {
        ticket.wrapping_sub(self.base) < self.slots.len()
    }

    /// Which record this is; `None` for tickets from before the last [`Window::clear`].
    pub(super) fn place(&self, ticket: Ticket) -> Option<(EpochId, u64)> {
        self.slots.get(ticket.wrapping_sub(self.base)).map(|slot| (slot.epoch.clone(), slot.seq))
    }

    pub(super) fn ack(&mut self, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(ticket.wrapping_sub(self.base)) {
            slot.acked = true;
        }
    }

    /// The oldest record that is not acknowledged.
    pub(super) fn head(&self) -> Option<(EpochId, u64)> {
        self.slots.iter().find(|slot| !slot.acked).map(|slot| (slot.epoch.clone(), slot.seq))
    }

    /// Removes and returns the next acknowledged records of one chain at the front.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let mut batch: Option<Batch> = None;
        while let Some(slot) = self.slots.front() {
            if !slot.acked || batch.as_ref().is_some_and(|b| b.epoch != slot.epoch) {
                break;
            }
            let Some(slot) = self.slots.pop_front() else { break };
            self.base = self.base.wrapping_add(1);
            self.bytes -= slot.bytes;
            match &mut batch {
                Some(batch) => {
                    batch.last = slot.seq;
                    batch.records += 1;
                }
                None => {
                    batch = Some(Batch {
                        epoch: slot.epoch.clone(),
                        chain: slot.chain,
                        first: slot.seq,
                        last: slot.seq,
                        records: 1,
                        sent: slot.sent,
                    });
                }
            }
        }
        batch
    }

    /// Forgets what is under way. Tickets go on, so that late acknowledgements of it are not mistaken for others.
    pub(super) fn clear(&mut self) {
        self.base = self.next_ticket();
        self.slots.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn epoch(number: u64) -> EpochId {
        EpochId::new(number, number)
    }

    fn entry(number: u64, seq: u64) -> Entry {
        Entry {
            epoch: epoch(number),
            chain: "c".into(),
            seq,
            time_us: 0,
            value: Bytes::from_static(b"12345"),
            settled: 0,
        }
    }

    #[test]
    fn moves_only_over_the_contiguous_prefix() {
        let mut window = Window::default();
        for seq in 1..=4 {
            window.push(&entry(1, seq), Instant::now());
        }
        window.ack(1);
        window.ack(2);
        assert_eq!(window.take(), None);
        window.ack(0);
        let batch = window.take().unwrap();
        assert_eq!((batch.first, batch.last, batch.records), (1, 3, 3));
        assert_eq!((window.len(), window.bytes()), (1, 5));
        assert_eq!(window.head(), Some((epoch(1), 4)));
    }

    #[test]
    fn a_batch_is_of_one_epoch() {
        let mut window = Window::default();
        window.push(&entry(1, 9), Instant::now());
        window.push(&entry(2, 0), Instant::now());
        window.ack(0);
        window.ack(1);
        assert_eq!(window.take().unwrap().epoch, epoch(1));
        assert_eq!(window.take().unwrap().epoch, epoch(2));
        assert_eq!(window.take(), None);
    }

    #[test]
    fn late_acknowledgements_mean_nothing() {
        let mut window = Window::default();
        window.push(&entry(1, 0), Instant::now());
        window.clear();
        window.push(&entry(1, 0), Instant::now());
        assert!(!window.holds(0));
        window.ack(0);
        assert_eq!(window.take(), None);
        assert!(window.holds(1));
    }
}
