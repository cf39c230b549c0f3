//! Something that can be asked for a verdict. One question, one attempt, within a limit: no retry, no cache, no
//! opinion about what a fault means. Called by `decide::attempt`.

pub mod conformance;
pub mod exchange;
pub mod freshness;
#[doc(hidden)]
pub mod fuzz;
mod idle;
pub mod resolve;
pub mod tls;
pub mod url;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::policy::request::Request;
use crate::policy::verdict::Reason;
use crate::wire::answer::Answer;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub request: &'a Request,
    /// W3C trace context that names the attempt's span.
    pub traceparent: &'a str,
}

/// What came of one attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// An answer that was read to its end, or why there is none. Faults are on the authorizer's side only.
    pub outcome: Result<Answer, Reason>,
    /// From the status line, if one arrived whole.
    pub status: Option<u16>,
    /// How long the authorizer lets its answer be kept, less the age it states; `None` where it says nothing.
    pub keep_at_most: Option<Duration>,
}

impl Attempt {
    pub const fn fault(reason: Reason) -> Self {
        Self { outcome: Err(reason), status: None, keep_at_most: None }
    }
}

#[async_trait]
pub trait Authorizer: Send + Sync {
    /// As configured; in records, metrics and spans.
    fn name(&self) -> &Arc<str>;

    /// Asks once and answers within `limit`, whatever the other side does; afterwards the reason is
    /// [`Reason::Timeout`]. Dropping the future ends the attempt and closes its connection.
    async fn ask(&self, question: &Question<'_>, limit: Duration) -> Attempt;
}
