//! What librdkafka reports about the decisions' producer, collected during `poll` on the publisher's thread. Owned by
//! `sink`, one for each producer.

use std::collections::BTreeSet;
use std::error::Error;

use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Message as _};

use super::client::{Log, error_name, said};
use super::sizes::Refused;
use super::token;
use crate::audit::publisher::{Event, Fault, Ticket};

/// Records of refused batches that are remembered. Of others it counts as unknown whether Kafka has them.
const MAX_REFUSED: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Reports {
    inbox: Mutex<Inbox>,
    log: Log,
}

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<Event>,
    under_way: usize,
    /// Of the values of those.
    bytes_under_way: usize,
    /// Those under way that are stubs.
    stubs: BTreeSet<Ticket>,
    refused: Vec<Refused>,
    /// Partitions in which a record was stored.
    opened: BTreeSet<i32>,
    /// The crate reports every error of a producer twice in a row.
    reported: Option<(KafkaError, String)>,
}

impl Reports {
    pub(super) fn sent(&self, ticket: Ticket, bytes: usize, is_stub: bool) {
        let mut inbox = self.inbox.lock();
        inbox.under_way += 1;
        inbox.bytes_under_way += bytes;
        if is_stub {
            inbox.stubs.insert(ticket);
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way().0 == 0
    }

    /// Records under way, and the bytes of their values.
    pub(super) fn under_way(&self) -> (usize, usize) {
        let inbox = self.inbox.lock();
        (inbox.under_way, inbox.bytes_under_way)
    }

    /// Whether a record of this producer was stored in the partition.
    pub(super) fn has_opened(&self, partition: i32) -> bool {
        self.inbox.lock().opened.contains(&partition)
    }

    pub(super) fn take(&self, events: &mut Vec<Event>) {
        events.append(&mut self.inbox.lock().events);
    }

    /// Records of batches that were refused for their size.
    pub(super) fn refused(&self) -> Vec<Refused> {
        std::mem::take(&mut self.inbox.lock().refused)
    }
}

/// The second is what brokers say of a batch that a segment of the topic cannot hold.
fn is_too_large(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge))
}

pub(super) fn fault(error: &KafkaError) -> Fault {
    Fault { code: error_name(error), text: said(error) }
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.line(level, facility, text);
    }

    fn stats_raw(&self, _: &[u8]) {}

    /// A fatal error comes as what led to it, not as one that is fatal: only the client knows that. What it held is failed
    /// besides.
    fn error(&self, error: KafkaError, reason: &str) {
        let mut inbox = self.inbox.lock();
        let report = (error, reason.to_owned());
        if inbox.reported.take().is_some_and(|before| before == report) {
            return;
        }
        inbox.events.push(Event::Trouble(Fault { code: error_name(&report.0), text: reason.to_owned() }));
        inbox.reported = Some(report);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token::current(config)
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Ticket) {
        let mut inbox = self.inbox.lock();
        inbox.under_way = inbox.under_way.saturating_sub(1);
        let (Ok(message) | Err((_, message))) = result;
        let bytes = message.payload().map_or(0, <[u8]>::len);
        inbox.bytes_under_way = inbox.bytes_under_way.saturating_sub(bytes);
        let was_stub = inbox.stubs.remove(&ticket);
        if result.is_ok() {
            inbox.opened.insert(message.partition());
        }
        match result {
            Ok(_) if was_stub => inbox.events.push(Event::Stubbed(ticket)),
            Ok(_) => inbox.events.push(Event::Acked(ticket)),
            Err((error, message)) => {
                if is_too_large(error)
                    && inbox.refused.len() < MAX_REFUSED
                    && let Some(value) = message.payload()
                    && let Some(refused) = Refused::read(value, was_stub)
                {
                    inbox.refused.push(refused);
                }
                inbox.events.push(Event::Failed(ticket, fault(error)));
            }
        }
    }
}
