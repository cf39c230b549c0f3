//! Equal questions under way are asked once: the first one leads, the others wait for what becomes of it. A waiter is
//! given the leader's answer only when the record of the leader's decision is durable, because its own record names it.
//! Not whether the answer may still be used; `decide::memory`, the only caller, looks at lifetime and purges.
//!
//! What becomes of waiters:
//!
//! | the leader | the waiters |
//! |---|---|
//! | has a durable answer with a lifetime | share it |
//! | has an answer without a lifetime (`no-store`) | ask for themselves, at once: it was for one question only |
//! | failed, panicked, was dropped, or its record did not become durable | one of them leads, the others wait on |
//!
//! So a fault is nobody's but its own question's, and a failing authorizer is asked one equal question at a time. Every
//! leader and every waiter is a decision that holds one of the places of `listen.max_in_flight`: that is their limit.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::decide::cache::Kept;
use crate::policy::key::Key;
use crate::policy::verdict::Reason;

/// The questions under way, by key.
#[derive(Debug, Default)]
pub struct Flights(Mutex<HashMap<Key, Flight>>);

/// One question under way.
#[derive(Debug, Default)]
struct Flight {
    waiters: VecDeque<oneshot::Sender<Turn>>,
    /// Why the leader before failed.
    last_fault: Option<Reason>,
}

/// What a question is to do about an equal one under way.
#[derive(Debug)]
pub enum Joined {
    Lead(Lead),
    Wait(oneshot::Receiver<Turn>),
}

/// What became of the leader, for a waiter.
#[derive(Debug)]
pub enum Turn {
    Shared(Kept),
    /// Ask, and others will wait for you.
    Lead(Lead),
    /// Ask for yourself.
    Alone,
}

/// The duty to say what became of a question. Dropped without a word it passes to the next waiter.
#[derive(Debug)]
#[must_use = "dropping it makes another question the leader"]
pub struct Lead {
    flights: Arc<Flights>,
    key: Key,
    fault: Option<Reason>,
    /// Nothing is left to be said.
    over: bool,
}

impl Flights {
    /// Leads, or waits for whoever does.
    pub fn join(self: &Arc<Self>, key: Key) -> Joined {
        let mut flights = self.0.lock();
        match flights.entry(key) {
            Slot::Vacant(slot) => {
                slot.insert(Flight::default());
                Joined::Lead(self.lead(key))
            }
            Slot::Occupied(mut slot) => {
                let (turn, wait) = oneshot::channel();
                slot.get_mut().waiters.push_back(turn);
                Joined::Wait(wait)
            }
        }
    }

    /// Why the last leader failed, if one did and the question is still under way.
    pub fn last_fault(&self, key: &Key) -> Option<Reason> {
        self.0.lock().get(key)?.last_fault
    }

    pub fn under_way(&self) -> usize {
        self.0.lock().len()
    }

    fn lead(self: &Arc<Self>, key: Key) -> Lead {
        Lead { flights: Arc::clone(self), key, fault: None, over: false }
    }

    /// The next waiter that is still there leads; without one nothing is under way any more.
    fn hand_over(self: &Arc<Self>, key: &Key, fault: Option<Reason>) {
        loop {
            let next = {
                let mut flights = self.0.lock();
                let Some(flight) = flights.get_mut(key) else { return };
                flight.last_fault = fault.or(flight.last_fault);
                let next = flight.waiters.pop_front();
                if next.is_none() {
                    flights.remove(key);
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn::Lead(self.lead(*key))) {
                Ok(()) => return,
                // It has given up. Its turn is not to be handed over once more when it is dropped here.
                Err(mut turn) => {
                    if let Turn::Lead(lead) = &mut turn {
                        lead.over = true;
                    }
                }
            }
        }
    }
}

impl Lead {
    /// The answer, for all who wait. Its record is durable.
    pub fn share(self, kept: &Kept) {
        self.tell(|| Turn::Shared(kept.clone()));
    }

    /// There is an answer, and it is nobody else's.
    pub fn keep_to_itself(self) {
        self.tell(|| Turn::Alone);
    }

    /// There is none. Another one leads.
    pub fn failed(mut self, reason: Reason) {
        self.fault = Some(reason);
    }

    fn tell(mut self, turn: impl Fn() -> Turn) {
        self.over = true;
        let flight = self.flights.0.lock().remove(&self.key);
        for waiter in flight.into_iter().flat_map(|flight| flight.waiters) {
            // One that has given up need not be told.
            drop(waiter.send(turn()));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.over {
            self.flights.hand_over(&self.key, self.fault);
        }
    }
}

#[cfg(test)]
mod tests;
