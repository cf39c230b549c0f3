//! How the writer opens its epoch, goes on to another segment, and comes back after a failure.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::audit::chain::Chain;
use crate::audit::chance;
use crate::audit::cursor::Cursor;
use crate::audit::envelope;
use crate::audit::epoch::{EpochId, segment_name};
use crate::audit::files::Handle;
use crate::audit::inventory::{EpochInfo, SegmentInfo};
use crate::audit::journal;
use crate::audit::lifecycle::Event;
use crate::audit::lifecycle::{AmendedAnswer, Of};
use crate::audit::recovery;
use crate::audit::segment::{self, HEADER, Header};
use crate::audit::shared::Spare;
use crate::policy::verdict::Reason;
use crate::version;

use super::{Active, Outage, Writer};

pub const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// What cannot be read at start may be readable soon; after this long it is passed over.
const UNREADABLE: Duration = Duration::from_secs(10);
/// A segment that is being prepared is waited for this long; it is an outage then.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes at the end of a segment for the writer's own records while there is no other segment to go on to.
pub fn reserve(capacity: u64) -> u64 {
    (capacity / 8).min(256 << 10)
}

impl Writer {
    /// Takes the lock, looks at what earlier processes left, and begins the chain. Can be called again after an error.
    fn open(&mut self) -> Result<(), String> {
        self.lock_spool()?;
        if self.epoch.is_none() {
            let now = self.shared.clock.now();
            let lenient = now.saturating_duration_since(*self.opening.get_or_insert(now)) >= UNREADABLE;
            let found =
                recovery::recover(&self.shared.files, lenient).map_err(|e| format!("cannot read the spool: {e}"))?;
            let newest = found.epochs.last().and_then(|e| e.id.as_str().split_once('-')?.0.parse::<u64>().ok());
            let now = self.shared.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            // After the others by name even if the clock went back.
            let millis = u64::try_from(now).unwrap_or(0).max(newest.map_or(0, |n| n.saturating_add(1)));
            let id = EpochId::new(millis, chance::number());
            self.chain = Chain::new(format!("{}/{}", self.shared.source.instance, id.random()).into());
            self.previous = found.previous;
            let cursor = Cursor::load(self.shared.files.as_ref(), &id.directory());
            let mut inventory = self.shared.inventory.lock();
            (inventory.epochs, inventory.whole) = (found.epochs, found.whole);
            inventory.epochs.push(EpochInfo::live(id.clone(), cursor));
            drop(inventory);
            for damage in &found.damages {
                self.shared.damage(damage);
            }
            let mut progress = self.shared.progress.lock();
            (progress.epoch, progress.chain) = (Some(id.clone()), Some(self.chain.id().clone()));
            drop(progress);
            self.epoch = Some(id);
        }
        self.load_key()?;
        self.make_directories()?;
        if self.segment.is_none() {
            self.reopen()?;
        }
        self.place_opening();
        self.place_rotation();
        self.opened = true;
        Ok(())
    }

    fn lock_spool(&self) -> Result<(), String> {
        let files = &self.shared.files;
        files.prepare_root().map_err(|e| e.to_string())?;
        let mut lock = self.shared.lock.lock();
        // A directory that was moved away took its lock with it.
        let held = lock.as_ref().and_then(|l| l.identity().ok());
        let stands = files.open("lock").and_then(|f| f.identity()).ok();
        if held.is_none() || held != stands {
            let taken = files.try_lock("lock").map_err(|e| format!("cannot lock the spool: {e}"))?;
            *lock = Some(taken.ok_or("spool is locked by another process")?);
        }
        Ok(())
    }

    /// The epoch's directory, made again if somebody removed it.
    fn make_directories(&self) -> Result<(), String> {
        let Some(id) = &self.epoch else { return Ok(()) };
        let files = &self.shared.files;
        let made = files
            .create_dir("epochs")
            .and_then(|()| files.create_dir(&id.directory()))
            .and_then(|()| files.sync_dir("epochs"))
            .and_then(|()| files.sync_dir(""));
        made.map_err(|e| format!("cannot make the epoch's directory: {e}"))?;
        let mut spare = self.shared.spare.lock();
        if matches!(*spare, Spare::Idle) {
            *spare = Spare::Wanted;
            self.shared.spare_moved.notify_all();
        }
        Ok(())
    }

    fn place_opening(&mut self) {
        let previous = self.previous.take();
        let unknown = previous.as_ref().and_then(|p| p.unknown.clone().map(|range| (p.id.clone(), range)));
        let config_generation = self.shared.generation.lock().clone();
        let commit = version::COMMIT.map(str::to_owned);
        let version = self.shared.version.clone();
        self.place_event(&Event::ChainOpened { version, commit, config_generation, previous });
        // Before anything follows it: a power cut that takes this record must not leave later ones behind.
        self.flush(true);
        if let Some((chain, range)) = unknown {
            let of = Of::Range { chain, first: range.first, last: range.last };
            let draft = journal::amendment(&self.shared.source, self.shared.clock.wall(), of, AmendedAnswer::Unknown);
            self.place_own(draft);
        }
    }

    /// Goes on in the prepared segment; everything before is synced. False: this is an outage now.
    pub(super) fn roll(&mut self) -> bool {
        match self.take_spare().and_then(|spare| self.begin_segment(spare)) {
            Ok(()) => true,
            Err(detail) => {
                self.begin_outage(detail);
                false
            }
        }
    }

    /// Begins another segment and writes there, byte-identical, what is not known to be durable.
    fn reopen(&mut self) -> Result<(), String> {
        let spare = self.take_spare()?;
        self.begin_segment(spare)?;
        let salt = self.segment.as_ref().map_or(0, |s| s.salt);
        segment::reseal(&mut self.buffer, salt);
        self.written = 0;
        let name = self.segment.as_ref().and_then(|s| s.path.rsplit('/').next()).unwrap_or_default().to_owned();
        let written = self.write_buffer();
        let whole = written.is_ok();
        let synced = written.and_then(|()| self.sync_buffer());
        // Whoever waited for no more than a write has been told, so that one whole attempt stays until there is another.
        let superseded = match (&synced, whole) {
            (Ok(()), _) => self.attempt.take(),
            (Err(_), true) => self.attempt.replace(name),
            (Err(_), false) => Some(name),
        };
        if let Some(name) = superseded {
            self.shared.inventory.lock().discard(&name);
        }
        match synced {
            Ok(()) => self.passed(),
            Err(_) => self.segment = None,
        }
        synced
    }

    fn take_spare(&self) -> Result<(Handle, String, u64), String> {
        let deadline = self.shared.clock.now() + self.patience;
        let mut spare = self.shared.spare.lock();
        loop {
            match &*spare {
                Spare::Ready { .. } => break,
                Spare::Failed(detail) => return Err(detail.clone()),
                Spare::Idle => return Err("no segment is being prepared".to_owned()),
                Spare::Wanted if self.shared.clock.now() >= deadline => {
                    return Err("next segment is not ready in time".to_owned());
                }
                Spare::Wanted => {
                    let left = deadline.saturating_duration_since(self.shared.clock.now());
                    self.shared.spare_moved.wait_for(&mut spare, left);
                }
            }
        }
        let taken = std::mem::replace(&mut *spare, Spare::Wanted);
        drop(spare);
        self.shared.spare_moved.notify_all();
        match taken {
            Spare::Ready { file, path, bytes } => Ok((file, path, bytes)),
            Spare::Idle | Spare::Wanted | Spare::Failed(_) => Err("next segment is not ready".to_owned()),
        }
    }

    /// Header, sync, name, sync of the directory: only then is it the segment. After an error the old one stands.
    fn begin_segment(&mut self, (file, path, bytes): (Handle, String, u64)) -> Result<(), String> {
        let Some(id) = self.epoch.clone() else { return Err("no epoch".to_owned()) };
        let number = self.next_number;
        self.next_number += 1;
        let header = Header {
            chain: self.chain.id().to_string(),
            number,
            first_seq: self.durable.0,
            prev: self.durable.1,
            salt: chance::number(),
            created_us: envelope::micros(self.shared.clock.wall()),
        };
        let name = segment_name(header.first_seq, number);
        let files = &self.shared.files;
        let named = format!("{}/{name}", id.directory());
        let begun = file
            .write_at(&header.encode(), 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| files.rename(&path, &named))
            .and_then(|()| files.sync_dir(&id.directory()));
        let mut inventory = self.shared.inventory.lock();
        // The next one may be prepared already.
        inventory.spare_bytes = inventory.spare_bytes.saturating_sub(bytes);
        if let Err(error) = begun {
            // Nothing is in it; an outage of many attempts must not fill the spool with them.
            inventory.rubbish.extend([(path, bytes), (named, 0)]);
            return Err(format!("cannot begin a segment: {error}"));
        }
        if let Some(live) = inventory.live() {
            let (first_seq, end, delivered_since) = (header.first_seq, None, None);
            live.segments.push(SegmentInfo { name, number, first_seq, end, bytes, delivered_since });
        }
        drop(inventory);
        let start = HEADER as u64;
        self.segment = Some(Active { file, path: named, number, salt: header.salt, start, capacity: bytes });
        if self.buffer.is_empty() {
            self.passed();
        }
        Ok(())
    }

    /// Everything in the chain is durable: no segment before the one that is written holds anything that comes later.
    fn passed(&self) {
        if let Some(live) = self.shared.inventory.lock().live()
            && let Some((_, before)) = live.segments.split_last_mut()
        {
            for segment in before {
                segment.end.get_or_insert(self.durable.0);
            }
        }
    }

    /// A write or sync failed: nothing is known about the segment's end, and a second sync could lie. It is never
    /// touched again; what it may have lost is written to another one at once, or when there is one.
    pub(super) fn broken(&mut self, detail: String) {
        tracing::error!(detail, segment = self.segment.as_ref().map(|s| s.number), "segment is given up");
        self.segment = None;
        if self.outage.is_some() {
            return;
        }
        if let Err(second) = self.reopen() {
            self.begin_outage(format!("{detail}; {second}"));
        }
    }

    pub(super) fn begin_outage(&mut self, detail: String) {
        tracing::error!(detail, "audit records cannot be made durable: every question is denied");
        let since = self.shared.clock.wall();
        self.set_trouble(since, &detail);
        self.shared.available.store(false, Ordering::Release);
        self.shared.metrics.audit_available(false);
        self.outage = Some(Outage { since, detail, recorded: false, starting: false });
        self.retry_at = self.shared.clock.now() + self.backoff;
        // Their records stay in the chain, and are amended once they are durable.
        for waiting in self.waiting.drain(..) {
            self.late.push(waiting.refuse(Reason::AuditUnavailable));
        }
        if self.segment.is_some() {
            let recorded = self.place_outage_started();
            self.flush(true);
            if let Some(outage) = &mut self.outage {
                outage.recorded = recorded;
            }
        }
    }

    pub(super) fn try_recover(&mut self, now: Instant) {
        let recovered = if self.opened { self.come_back() } else { self.open() };
        match recovered {
            Ok(()) => self.end_outage(),
            Err(detail) => {
                self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
                self.retry_at = now + self.backoff;
                let Some(outage) = &mut self.outage else { return };
                outage.starting = false;
                if outage.detail != detail {
                    tracing::error!(detail, "audit spool is still not available");
                    outage.detail.clone_from(&detail);
                    let since = outage.since;
                    self.set_trouble(since, &detail);
                }
            }
        }
    }

    /// Nobody has looked at the directories since the outage began, and whoever needed room may have removed them.
    fn come_back(&mut self) -> Result<(), String> {
        self.lock_spool()?;
        self.make_directories()?;
        if self.segment.is_none() {
            return self.reopen();
        }
        let spare = self.take_spare()?;
        self.begin_segment(spare)
    }

    fn end_outage(&mut self) {
        self.place_outage_ended();
        self.flush(true);
        if self.segment.is_none() {
            self.retry_at = self.shared.clock.now() + self.backoff;
            return;
        }
        self.outage = None;
        self.backoff = FIRST_BACKOFF;
        *self.shared.trouble.lock() = None;
        self.shared.metrics.audit_available(true);
        self.shared.available.store(true, Ordering::Release);
        tracing::info!(chain = &**self.chain.id(), "audit records are durable");
    }
}
