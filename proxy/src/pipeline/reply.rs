//! What the front writes. The only ways to get a reply: a decision with its durable receipt, or a refusal, which always
//! denies. Used by `pipeline` and `front`.

use bytes::Bytes;
use uuid::Uuid;

use crate::audit::spool::Receipt;
use crate::decide::shadow::Beside;
use crate::policy::decided::Outcome;
use crate::policy::verdict::{Decision, Reason};
use crate::wire::reply::{self, Reply as Wire};

/// Status, body and the two headers. Fields are private: an allow cannot be put together by hand.
#[derive(Debug)]
pub struct Reply {
    wire: Wire,
    reason: Option<Reason>,
    record: Option<Uuid>,
    /// Held until the answer has left: a crash before that names the answer as unknown.
    receipt: Option<Receipt>,
    /// What is asked beside it, after it.
    beside: Option<Box<Beside>>,
}

impl Reply {
    /// The answer to a question whose record is durable: the receipt is the proof.
    pub(super) fn decided(outcome: &Outcome, receipt: Receipt, record: Uuid, beside: Option<Box<Beside>>) -> Self {
        let (decision, reason) = (outcome.decision(), outcome.reason());
        Self {
            wire: reply::reply(decision, reason),
            reason: Some(reason),
            record: Some(record),
            receipt: Some(receipt),
            beside,
        }
    }

    /// A deny although the record may say otherwise: an amendment says so.
    pub(super) fn amended(reason: Reason, record: Uuid) -> Self {
        Self { record: Some(record), ..Self::refused(reason) }
    }

    /// A deny without a record of its own.
    pub fn refused(reason: Reason) -> Self {
        Self::bare(reply::reply(Decision::Deny, reason), Some(reason))
    }

    /// The answer to MinIO's empty start-up POST: any answer will do, and it must not be an allow.
    pub fn probe() -> Self {
        Self::bare(Wire { status: 200, body: reply::DENY }, None)
    }

    fn bare(wire: Wire, reason: Option<Reason>) -> Self {
        Self { wire, reason, record: None, receipt: None, beside: None }
    }

    /// The answer has left, or nobody is there any more to take it.
    pub fn left(self) {
        drop(self.receipt);
        if let Some(beside) = self.beside {
            beside.begin();
        }
    }

    pub fn status(&self) -> u16 {
        self.wire.status
    }

    pub fn body(&self) -> Bytes {
        Bytes::from_static(self.wire.body.as_bytes())
    }

    /// `None` for the start-up probe.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The record's id, where there is one.
    pub fn record(&self) -> Option<Uuid> {
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_allows() {
        for reason in Reason::ALL {
            let reply = Reply::refused(*reason);
            let body: serde_json::Value = serde_json::from_slice(&reply.body()).unwrap();
            assert_eq!(body["result"], serde_json::Value::Bool(false), "{}", reason.as_str());
            assert!(!(300..400).contains(&reply.status()), "a redirect would be followed");
        }
        assert_eq!(Reply::probe().body().as_ref(), br#"{"result":false}"#);
    }
}
