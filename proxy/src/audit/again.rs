//! Delivered records once more, in their order, for a topic that lost them after it had acknowledged them. A [`Source`]
//! for the publisher that only reads: no lock, no cursor, so that the spool's own process may go on. Opened by the
//! command `publish`.
//!
//! Nothing that the cursors do not call delivered is handed out: that is the process's to ship, and in order.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::audit::cursor::Cursor;
use crate::audit::disk::Disk;
use crate::audit::publisher::{Entry, EpochId, Source};
use crate::audit::scan::{Damage, Scan, Scanned};
use crate::audit::tally::Tally;

/// Which records.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Not before; microseconds since 1970.
    pub since_us: Option<i64>,
    /// Before.
    pub until_us: Option<i64>,
    pub chain: Option<String>,
    /// Both ends included.
    pub seq: Option<(u64, u64)>,
}

impl Range {
    fn holds(&self, entry: &Entry) -> bool {
        self.since_us.is_none_or(|since| entry.time_us >= since)
            && self.until_us.is_none_or(|until| entry.time_us < until)
            && self.of_chain(&entry.chain)
            && self.seq.is_none_or(|(first, last)| (first..=last).contains(&entry.seq))
    }

    /// Damage has no time: it concerns whoever asked for its chain.
    fn touches(&self, damage: &Damage) -> bool {
        self.of_chain(&damage.chain)
            && self.seq.is_none_or(|(first, last)| damage.first_seq <= last && damage.last_seq >= first)
    }

    fn of_chain(&self, chain: &str) -> bool {
        self.chain.as_deref().is_none_or(|wanted| wanted == chain)
    }
}

pub struct Again {
    directory: PathBuf,
    range: Range,
    scan: Scan,
    /// The epoch that is being read, and the first of its records that was not delivered when reading it began.
    limit: Option<(EpochId, u64)>,
    flying: VecDeque<(EpochId, u64)>,
    acknowledged: Option<(EpochId, u64)>,
    count: u64,
    ended: bool,
    tally: Arc<Tally>,
}

impl Again {
    pub fn new(directory: &Path, range: Range) -> Self {
        Self {
            directory: directory.to_owned(),
            range,
            scan: Scan::new(directory),
            limit: None,
            flying: VecDeque::new(),
            acknowledged: None,
            count: 0,
            ended: false,
            tally: Arc::default(),
        }
    }

    pub fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    fn is_delivered(&mut self, entry: &Entry) -> bool {
        if self.limit.as_ref().is_none_or(|(epoch, _)| *epoch != entry.epoch) {
            let cursor = Cursor::load(&Disk::new(&self.directory), &entry.epoch.directory());
            self.limit = Some((entry.epoch.clone(), cursor.next()));
        }
        self.limit.as_ref().is_some_and(|(_, limit)| entry.seq < *limit)
    }

    fn count(&self) {
        self.tally.reached(self.count, self.ended && self.flying.is_empty());
    }
}

impl Source for Again {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        while !self.ended {
            match self.scan.next()? {
                Some(Scanned::Record(entry)) => {
                    let place = (entry.epoch.clone(), entry.seq);
                    let before = self.acknowledged.as_ref().is_some_and(|done| place <= *done);
                    if !before && self.range.holds(&entry) && self.is_delivered(&entry) {
                        self.flying.push_back(place);
                        return Ok(Some(entry));
                    }
                }
                Some(Scanned::Damage(damage)) if self.range.touches(&damage) => {
                    self.tally.missed((damage.chain.to_string(), damage.first_seq, damage.last_seq));
                }
                Some(Scanned::Damage(_)) => {}
                None => self.ended = true,
            }
        }
        self.count();
        Ok(None)
    }

    /// What is appended meanwhile was not delivered, and is not asked for.
    fn wait(&self, timeout: Duration) -> bool {
        std::thread::sleep(timeout);
        false
    }

    fn delivered(&mut self, epoch: &EpochId, seq: u64) {
        let reached = (epoch.clone(), seq);
        while self.flying.front().is_some_and(|place| *place <= reached) {
            self.acknowledged = self.flying.pop_front();
            self.count += 1;
        }
        self.count();
    }

    /// Whoever shipped it first has kept it whole, or its topic took it; nothing is written here.
    fn stubbed(&mut self, _: &EpochId, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn rewind(&mut self) {
        self.scan = Scan::new(&self.directory);
        self.flying.clear();
        self.ended = false;
    }

    /// There is no cursor to keep: whoever asks again gets all again.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
