//! What the writer says about itself and about what it could not record: outages, amendments, events of others.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use crate::audit::envelope::{self, Draft};
use crate::audit::journal;
use crate::audit::lifecycle::{AmendedAnswer, Of};
use crate::audit::lifecycle::{Event, OutageCause, Refusals};
use crate::audit::shared::{Attempts, Trouble};
use crate::audit::waiting::Waiting;
use crate::policy::verdict::Reason;

use super::Writer;

/// How often counters and the segment's file are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Wall time may differ so much from what the monotonic clock expects; beyond, it was set.
const JUMP: Duration = Duration::from_secs(1);
/// An overload is over when nothing was refused for this long.
const CALM: Duration = Duration::from_secs(5);
/// Between two records of unauthorized attempts.
const ATTEMPTS: Duration = Duration::from_secs(10);

/// Questions are being refused because there are too many.
pub struct Overload {
    since: SystemTime,
    last: (Instant, SystemTime),
    count: u64,
}

fn text(time: SystemTime) -> String {
    envelope::rfc3339(envelope::micros(time))
}

impl Writer {
    /// Called in every turn without an outage.
    pub(super) fn report(&mut self, now: Instant) {
        self.place_amendments();
        self.place_events();
        self.place_shadows();
        if self.ticked.is_some_and(|t| now.saturating_duration_since(t) < TICK) {
            return;
        }
        self.ticked = Some(now);
        self.take_given_up();
        self.report_clocks();
        self.report_counts(now);
        if self.attempts_reported.is_none_or(|t| now.saturating_duration_since(t) >= ATTEMPTS) {
            self.report_attempts(now);
        }
        let stands = self.segment.as_ref().map(|s| self.shared.files.leads_to(&s.path, &s.file));
        match stands {
            None | Some(Ok(true)) => {}
            // Without a file handle to look with, nothing is known; writing needs none.
            Some(Err(error)) if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {}
            Some(_) if self.outage.is_some() => {}
            Some(_) => self.broken("segment was removed from the spool".to_owned()),
        }
    }

    /// Before `chain_closed`: whatever was counted is in the chain.
    pub(super) fn report_last(&mut self) {
        let now = self.shared.clock.now();
        self.place_amendments();
        self.place_events();
        self.place_shadows();
        self.report_counts(now);
        self.report_attempts(now);
        self.end_overload();
    }

    fn place_amendments(&mut self) {
        self.late.append(&mut self.shared.late.lock());
        for late in std::mem::take(&mut self.late) {
            let (time, of) = (self.shared.clock.wall(), Of::Record(late.id().to_string()));
            let draft = journal::amendment(&self.shared.source, time, of, AmendedAnswer::Deny);
            if self.place_own(draft) {
                self.amended.push(late);
            } else {
                self.late.push(late);
            }
        }
    }

    /// Whoever waits for Kafka and has given up is amended without it: it may be away for longer than there is memory.
    fn take_given_up(&mut self) {
        let mut held = self.shared.acknowledged.lock();
        if !held.iter().any(Waiting::is_given_up) {
            return;
        }
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = held.drain(..).partition(Waiting::is_given_up);
        *held = kept;
        drop(held);
        self.late.extend(gone.into_iter().map(|waiting| waiting.refuse(Reason::AuditTimeout)));
    }

    fn place_events(&mut self) {
        while self.outage.is_none() {
            let Some((time, event)) = self.shared.events.lock().pop_front() else { return };
            if !self.place_own(journal::lifecycle(&self.shared.source, time, &event)) {
                return self.shared.events.lock().push_front((time, event));
            }
            self.shared.recent.note(time, &event);
            if matches!(event, Event::DamageFound { .. }) {
                self.shared.naming(self.chain.next().saturating_sub(1));
            }
        }
    }

    /// What only compares takes the room that is left in the segment, never what is kept for our own records; it makes no
    /// segment roll, and no outage begin. What does not fit waits for the next segment.
    fn place_shadows(&mut self) {
        while self.outage.is_none() {
            let Some(draft) = self.shared.shadows.lock().pop_front() else { return };
            if !self.fits_beside(&draft) {
                return self.shared.shadows.lock().push_front(draft);
            }
            self.place(&draft, false);
        }
    }

    /// Nothing here depends on wall time, but whoever reads the times of records must know. Both clocks are read at once: the turn's
    /// beginning may be as long ago as the disk took since.
    fn report_clocks(&mut self) {
        let clock = &self.shared.clock;
        let (now, found) = (clock.now(), clock.wall());
        if clock.now().saturating_duration_since(now) > JUMP / 2 {
            // Held up between the two: the next look says more.
            return;
        }
        if let Some((then, wall)) = self.clocks {
            let expected = wall.checked_add(now.saturating_duration_since(then)).unwrap_or(wall);
            let off = found.duration_since(expected).unwrap_or_else(|e| e.duration());
            if off > JUMP && !self.place_event(&Event::ClockJumped { expected: text(expected), found: text(found) }) {
                return;
            }
        }
        self.clocks = Some((now, found));
    }

    fn report_counts(&mut self, now: Instant) {
        let stragglers = self.shared.take_audit_refusals();
        if stragglers != Refusals::default() {
            let time = text(self.shared.clock.wall());
            let (cause, detail) = (OutageCause::Audit, "refused while an outage began or ended".to_owned());
            let begun = Event::OutageStarted { cause, detail: detail.clone(), started: time.clone() };
            let (started, ended) = (time.clone(), time);
            let over = Event::OutageEnded { cause, detail, started, ended, refused: stragglers };
            if !self.place_event(&begun) || !self.place_event(&over) {
                self.shared.put_back(stragglers);
            }
        }
        let refused = self.shared.overload.swap(0, Ordering::Relaxed);
        let wall = self.shared.clock.wall();
        match &mut self.overload {
            Some(overload) if refused > 0 => {
                overload.count += refused;
                overload.last = (now, wall);
            }
            Some(overload) if now.saturating_duration_since(overload.last.0) >= CALM => {
                self.end_overload();
            }
            Some(_) => {}
            None if refused > 0 => {
                let (cause, detail) = (OutageCause::Overload, OVERLOAD.to_owned());
                if self.place_event(&Event::OutageStarted { cause, detail, started: text(wall) }) {
                    self.overload = Some(Overload { since: wall, last: (now, wall), count: refused });
                } else {
                    self.shared.put_back(Refusals { overload: refused, ..Refusals::default() });
                }
            }
            None => {}
        }
    }

    /// Stays open if it cannot be written.
    fn end_overload(&mut self) {
        let Some(overload) = self.overload.take() else { return };
        let placed = self.place_event(&Event::OutageEnded {
            cause: OutageCause::Overload,
            detail: OVERLOAD.to_owned(),
            started: text(overload.since),
            ended: text(overload.last.1),
            refused: Refusals { overload: overload.count, ..Refusals::default() },
        });
        if !placed {
            self.overload = Some(overload);
        }
    }

    fn report_attempts(&mut self, now: Instant) {
        let attempts = std::mem::take(&mut *self.shared.attempts.lock());
        let (Some(first), Some(last)) = (attempts.first, attempts.last) else { return };
        let peers = self.peers(&attempts);
        let placed = self.place_event(&Event::UnauthorizedAttempts {
            count: attempts.count,
            first: text(first),
            last: text(last),
            peers_omitted: if peers.is_empty() { attempts.count } else { attempts.omitted },
            peers,
        });
        if placed {
            self.attempts_reported = Some(now);
        } else {
            self.shared.put_back_attempts(attempts);
        }
    }

    /// As much of them as may be told, each once.
    fn peers(&self, attempts: &Attempts) -> Vec<String> {
        let privacy = &self.shared.options.privacy;
        let mut told = Vec::new();
        for peer in attempts.peers.iter().map(ToString::to_string) {
            let shown = privacy.reported_ip(&peer).map(Cow::into_owned);
            told.extend(shown.filter(|shown| !told.contains(shown)));
        }
        told
    }

    /// In the room kept for it. False if even that is used up: it is then written when the outage ends.
    pub(super) fn place_outage_started(&mut self) -> bool {
        let Some(outage) = &self.outage else { return false };
        let (detail, started) = (outage.detail.clone(), text(outage.since));
        let event = Event::OutageStarted { cause: OutageCause::Audit, detail, started };
        let time = self.shared.clock.wall();
        let draft = journal::lifecycle(&self.shared.source, time, &event);
        let placed = draft.is_some_and(|d| self.place(&d, true).is_some());
        if placed {
            self.shared.recent.note(time, &event);
        }
        placed
    }

    pub(super) fn place_outage_ended(&mut self) {
        let refused = self.shared.take_audit_refusals();
        let Some(outage) = &self.outage else { return };
        if outage.starting && refused == Refusals::default() {
            return;
        }
        let (detail, started) = (outage.detail.clone(), text(outage.since));
        if !outage.recorded {
            self.place_outage_started();
        }
        let ended = text(self.shared.clock.wall());
        if !self.place_event(&Event::OutageEnded { cause: OutageCause::Audit, detail, started, ended, refused }) {
            self.shared.put_back(refused);
        }
    }

    /// False if there was no room.
    pub(super) fn place_event(&mut self, event: &Event) -> bool {
        let time = self.shared.clock.wall();
        let placed = self.place_own(journal::lifecycle(&self.shared.source, time, event));
        if placed {
            self.shared.recent.note(time, event);
        }
        placed
    }

    /// Into the chain without anybody waiting for it. False if there was no room; what cannot be built is not tried
    /// again.
    pub(super) fn place_own(&mut self, draft: Option<Draft>) -> bool {
        draft.is_none_or(|d| {
            self.place(&d, true).is_some() || (self.outage.is_none() && self.place(&d, false).is_some())
        })
    }

    pub(super) fn set_trouble(&self, since: SystemTime, detail: &str) {
        *self.shared.trouble.lock() = Some(Trouble { since, detail: detail.to_owned() });
    }
}

const OVERLOAD: &str = "more questions than could be decided and recorded in time";
