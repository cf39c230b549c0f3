//! The life of one connection of a load: take a question when it is due, ask it, count what came back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::answer::Wanted;
use super::client::{Client, Failure};
use super::http2;
use super::mix::Prepared;
use super::pace::Pace;
use super::tally::Tally;
use super::target::Target;
use crate::question::Moment;

/// After a refused connection, so that a server that is down is not hammered and its restart is still seen at once.
const REFUSED: Duration = Duration::from_millis(5);

/// What all connections of one load share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) prepared: Prepared,
    pub(super) pace: Pace,
    pub(super) tally: Mutex<Tally>,
    pub(super) start: Instant,
    /// Questions due before this do not count.
    pub(super) measure_from: Instant,
    /// Of the measured time. None: when it is stopped.
    pub(super) end: Option<Instant>,
    pub(super) wanted: Wanted,
    pub(super) timeout: Duration,
}

impl Shared {
    fn is_measured(&self, now: Instant) -> bool {
        now >= self.measure_from && self.end.is_none_or(|end| now < end)
    }
}

/// Asks until the pace is over. Survives any failure of the server.
pub(super) async fn work(shared: Arc<Shared>, http2: Option<http2::Connection>) {
    let mut client = Client::new(http2, shared.wanted, shared.timeout);
    let mut moment = Moment::at(SystemTime::now());
    let mut request = Vec::with_capacity(2048);
    while let Some(ticket) = shared.pace.next().await {
        let now = SystemTime::now();
        if moment.is_past(now) {
            moment = Moment::at(now);
        }
        shared.prepared.write(ticket.number, &moment, &mut request);
        let result = client.ask(&shared.target, &request).await;
        let end = Instant::now();
        let refused = result.as_ref().is_err_and(|failure| *failure == Failure::Connect);
        let latency = (ticket.due >= shared.measure_from).then(|| end.saturating_duration_since(ticket.due));
        {
            let mut tally = shared.tally.lock();
            tally.count(&result, request.len(), latency, shared.is_measured(end));
            let object = shared.prepared.object(ticket.number);
            tally.remember(ticket.number, object, end.saturating_duration_since(shared.start), result);
        }
        if refused {
            tokio::time::sleep(REFUSED).await;
        }
    }
}
