//! The one way to write a lifecycle record, an amendment, a checkpoint or a shadow record: turns an event into a draft.
//! Called by `writer`, which puts the drafts into the chain; others hand their events to `Spool::record`, and differences
//! to `Spool::shadow`.

use std::time::SystemTime;

use crate::audit::chance;
use crate::audit::envelope::{Draft, DraftError, Kind, Source};
use crate::audit::lifecycle::{AmendedAnswer, Amendment, CheckpointData, Event, Of};
use crate::audit::shadow::ShadowData;

/// The draft of a lifecycle record; `None`, with a line in the log, if it cannot be built.
pub fn lifecycle(source: &Source, time: SystemTime, event: &Event) -> Option<Draft> {
    built(Draft::new(source, Kind::Lifecycle, chance::id(time), time, None, event))
}

pub fn amendment(source: &Source, time: SystemTime, of: Of, answer: AmendedAnswer) -> Option<Draft> {
    built(Draft::new(source, Kind::Amendment, chance::id(time), time, None, &Amendment { of, answer }))
}

pub fn checkpoint(source: &Source, time: SystemTime, data: &CheckpointData) -> Option<Draft> {
    built(Draft::new(source, Kind::Checkpoint, chance::id(time), time, None, data))
}

pub fn shadow(source: &Source, time: SystemTime, data: &ShadowData<'_>) -> Option<Draft> {
    built(Draft::new(source, Kind::Shadow, chance::id(time), time, None, data))
}

fn built(draft: Result<Draft, DraftError>) -> Option<Draft> {
    draft.inspect_err(|error| tracing::error!(%error, "cannot build a record of our own")).ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn data(draft: &Draft) -> serde_json::Value {
        let whole = [&draft.head[..], br#","chain":null}}"#].concat();
        serde_json::from_slice::<serde_json::Value>(&whole).unwrap()["data"].clone()
    }

    #[test]
    fn members() {
        let source = Source::new("i");
        let closed = lifecycle(&source, SystemTime::UNIX_EPOCH, &Event::ChainClosed {}).unwrap();
        assert_eq!(data(&closed), serde_json::json!({"event": "chain_closed", "chain": null}));
        let of = Of::Record(Uuid::nil().to_string());
        let amended = amendment(&source, SystemTime::UNIX_EPOCH, of, AmendedAnswer::Deny).unwrap();
        assert_eq!(amended.kind, Kind::Amendment);
        assert_eq!(data(&amended)["of"], "00000000-0000-0000-0000-000000000000");
        assert_eq!(data(&amended)["answer"], "deny");
        let of = Of::Range { chain: "i/e".into(), first: 3, last: 4 };
        let amended = amendment(&source, SystemTime::UNIX_EPOCH, of, AmendedAnswer::Unknown).unwrap();
        assert_eq!(data(&amended)["of"], serde_json::json!({"chain": "i/e", "first": 3, "last": 4}));
    }
}
