//! Between a record's place in the chain and the answer that waits for it: who waits, what they are given, and what is
//! left to amend. Made by `writer`; woken by it and by `backlog`. Decides nothing about durability.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::policy::verdict::{Durability, Reason};

/// Proof that a record is durable at the level that was asked for. Only the spool makes one, after the fact; an allow
/// cannot be written without it. Hold it until the answer has left: after a crash, answers whose receipts were held are
/// named as unknown.
#[derive(Debug)]
pub struct Receipt {
    chain: Arc<str>,
    seq: u64,
    _unsettled: Arc<()>,
}

impl Receipt {
    pub fn chain(&self) -> &Arc<str> {
        &self.chain
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The answer that leaves is a deny, whatever the record says.
    pub(in crate::audit) fn denied(self, id: Uuid) -> Late {
        Late { id, _unsettled: self._unsettled }
    }
}

pub type Waiter = oneshot::Sender<Result<Receipt, Reason>>;

/// A record in the chain whose waiter has not been told.
pub struct Waiting {
    seq: u64,
    id: Uuid,
    level: Durability,
    waiter: Waiter,
    since: Instant,
    /// Held until the answer has left; see `Writer::begin_batch`.
    unsettled: Arc<()>,
}

impl Waiting {
    pub(in crate::audit) fn new(
        (seq, id): (u64, Uuid),
        level: Durability,
        (waiter, since): (Waiter, Instant),
        unsettled: Arc<()>,
    ) -> Self {
        Self { seq, id, level, waiter, since, unsettled }
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn level(&self) -> Durability {
        self.level
    }

    /// Nobody hears any more what it is told.
    pub fn is_given_up(&self) -> bool {
        self.waiter.is_closed()
    }

    /// The record is durable. One whose waiter gave up before is handed to `late`, to be amended.
    pub(in crate::audit) fn wake(self, chain: &Arc<str>, now: Instant, metrics: &Metrics, late: &mut Vec<Late>) {
        metrics.audit_appended(now.saturating_duration_since(self.since));
        let receipt = Receipt { chain: chain.clone(), seq: self.seq, _unsettled: self.unsettled };
        if let Err(Ok(receipt)) = self.waiter.send(Ok(receipt)) {
            late.push(receipt.denied(self.id));
        }
    }

    /// The answer is a refusal; the record stays in the chain and is amended once it is durable.
    pub(in crate::audit) fn refuse(self, reason: Reason) -> Late {
        drop(self.waiter.send(Err(reason)));
        Late { id: self.id, _unsettled: self.unsettled }
    }
}

/// A record whose answer was another one. Not settled before its amendment is in the chain: after a crash in between,
/// the next process names it.
pub struct Late {
    id: Uuid,
    _unsettled: Arc<()>,
}

impl Late {
    pub fn id(&self) -> Uuid {
        self.id
    }
}
