//! The last lifecycle events that the chain has, for people who look at the status page. Not the trail: what is here is cut
//! short, names nobody, and is gone with the process. Filled by `writer`, read by `Spool::recent`.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::audit::lifecycle::{Event, OutageCause};

/// Events remembered. The oldest give way.
const CAPACITY: usize = 32;

/// An event as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub time: SystemTime,
    /// As in `data.event`.
    pub event: &'static str,
    /// What happened, without accounts, object keys and addresses.
    pub about: String,
}

#[derive(Debug, Default)]
pub struct Recent {
    noted: Mutex<VecDeque<Noted>>,
}

impl Recent {
    pub fn note(&self, time: SystemTime, event: &Event) {
        let (event, about) = said(event);
        let mut noted = self.noted.lock();
        if noted.len() == CAPACITY {
            noted.pop_front();
        }
        noted.push_back(Noted { time, event, about });
    }

    /// The newest first.
    pub fn newest(&self) -> Vec<Noted> {
        self.noted.lock().iter().rev().cloned().collect()
    }
}

fn said(event: &Event) -> (&'static str, String) {
    match event {
        Event::ChainOpened { previous: None, version, .. } => {
            ("chain_opened", format!("version {version} began, in a new spool"))
        }
        Event::ChainOpened { previous: Some(previous), version, .. } if previous.clean => {
            ("chain_opened", format!("version {version} began; the process before had ended in order"))
        }
        Event::ChainOpened { version, .. } => {
            ("chain_opened", format!("version {version} began; the process before was killed, or its disk failed"))
        }
        Event::ChainClosed {} => ("chain_closed", "ended in order".to_owned()),
        Event::OutageStarted { cause, detail, .. } => ("outage_started", format!("{}: {detail}", refused(*cause))),
        Event::OutageEnded { refused: by, cause, .. } => {
            let count = by.audit_unavailable.saturating_add(by.audit_timeout).saturating_add(by.overload);
            ("outage_ended", format!("{}: {count} answers were refused", refused(*cause)))
        }
        Event::DamageFound { bytes, segment, .. } => {
            ("damage_found", format!("{bytes} bytes of segment {segment} are not what was written; look at the disk"))
        }
        Event::SegmentsDropped { first_seq, last_seq, .. } => {
            ("segments_dropped", format!("records {first_seq} to {last_seq} gave way; there is no Kafka to keep them"))
        }
        Event::CachePurged { account, bucket, prefix, .. } => {
            let by = [("account", account), ("bucket", bucket), ("prefix", prefix)];
            let by: Vec<_> = by.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect();
            ("cache_purged", if by.is_empty() { "everything".to_owned() } else { format!("by {}", by.join(" and ")) })
        }
        Event::CacheSwitchedOff { route, .. } => {
            ("cache_switched_off", format!("route {route}: two questions with one key have different answers"))
        }
        Event::ConfigChanged { new, changed, pending_restart, .. } => {
            let waits = if pending_restart.is_empty() { "" } else { "; some of it waits for a restart" };
            ("config_changed", format!("{} is in force: {}{waits}", new, changed.join(" ")))
        }
        Event::ConfigRefused { config_generation, mistakes, .. } => {
            ("config_refused", format!("{mistakes} mistakes; {config_generation} stays in force"))
        }
        Event::ClockJumped { expected, found } => ("clock_jumped", format!("from {expected} to {found}")),
        Event::KeyRotated { .. } => ("key_rotated", "another key signs the checkpoints".to_owned()),
        Event::AuditAccessed { by, .. } => ("audit_accessed", format!("{} read the spool", by.as_str())),
        Event::UnauthorizedAttempts { count, .. } => {
            ("unauthorized_attempts", format!("{count} questions with a wrong token, or none"))
        }
    }
}

const fn refused(cause: OutageCause) -> &'static str {
    match cause {
        OutageCause::Audit => "records could not be made durable",
        OutageCause::Overload => "overload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(account: Option<&str>) -> Event {
        let (account, at) = (account.map(str::to_owned), "t".to_owned());
        Event::CachePurged { client: "admin".into(), peer: Some("p".into()), account, bucket: None, prefix: None, at }
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_give_way() {
        let recent = Recent::default();
        for count in 0..40 {
            let (first, last, peers) = (String::new(), String::new(), Vec::new());
            let event = Event::UnauthorizedAttempts { count, first, last, peers, peers_omitted: 0 };
            recent.note(SystemTime::UNIX_EPOCH, &event);
        }
        let shown = recent.newest();
        assert_eq!(shown.len(), CAPACITY);
        assert_eq!(shown[0].about, "39 questions with a wrong token, or none");
    }

    #[test]
    fn nobody_is_named() {
        let recent = Recent::default();
        recent.note(SystemTime::UNIX_EPOCH, &purge(Some("alice")));
        recent.note(SystemTime::UNIX_EPOCH, &purge(None));
        let [all, one] = &recent.newest()[..] else { panic!("two events") };
        assert_eq!((one.event, one.about.as_str(), all.about.as_str()), ("cache_purged", "by account", "everything"));
    }

    #[test]
    fn words_are_those_of_the_record() {
        for event in [purge(None), Event::ChainClosed {}] {
            let recorded = serde_json::to_value(&event).unwrap()["event"].clone();
            assert_eq!(recorded, said(&event).0);
        }
    }
}
