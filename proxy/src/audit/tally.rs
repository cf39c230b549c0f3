//! How far a command's shipping is: written by a source on the publisher's thread, read by whoever waits for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Ranges that are remembered; further ones are not told.
const MOST: usize = 1024;

/// Records of a chain, both ends included.
pub type Range = (String, u64, u64);

#[derive(Debug, Default)]
pub struct Tally {
    /// To be shipped; 0 as long as that is not known.
    pub total: u64,
    acknowledged: AtomicU64,
    finished: AtomicBool,
    missing: Mutex<Vec<Range>>,
}

impl Tally {
    pub fn of(total: u64) -> Self {
        Self { total, ..Self::default() }
    }

    /// `waiting` of the total are not acknowledged yet, and those that are missing of the rest never will be.
    pub fn left(&self, waiting: u64, missing: Vec<Range>) {
        let gone: u64 = missing.iter().map(|(_, first, last)| last.saturating_sub(*first).saturating_add(1)).sum();
        self.acknowledged.store(self.total.saturating_sub(waiting).saturating_sub(gone), Ordering::Relaxed);
        *self.missing.lock() = missing;
        self.finished.store(waiting == 0, Ordering::Release);
    }

    /// So many are acknowledged; `finished` if nothing more is coming.
    pub fn reached(&self, acknowledged: u64, finished: bool) {
        self.acknowledged.store(acknowledged, Ordering::Relaxed);
        self.finished.store(finished, Ordering::Release);
    }

    /// Records that are not there.
    pub fn missed(&self, range: Range) {
        let mut missing = self.missing.lock();
        if missing.len() < MOST && !missing.contains(&range) {
            missing.push(range);
        }
    }

    /// Everything is acknowledged. Look before, and the rest is as of then.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub fn missing(&self) -> Vec<Range> {
        let mut missing = self.missing.lock().clone();
        missing.sort();
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that are damaged were counted as published.
    #[test]
    fn what_is_missing_was_not_acknowledged() {
        let tally = Tally::of(32);
        tally.left(10, vec![("c/1".into(), 5, 5), ("c/1".into(), 9, 11)]);
        assert_eq!((tally.acknowledged(), tally.is_finished()), (18, false));
        tally.left(0, vec![("c/1".into(), 5, 5)]);
        assert_eq!((tally.acknowledged(), tally.is_finished()), (31, true));
    }
}
