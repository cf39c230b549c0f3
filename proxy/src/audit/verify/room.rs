//! The memory that all chains share, so that many chains with many gaps cost no more than one: what does not fit is
//! judged at once, and never in favour of the trail. Owned by `verify`, used by `thread`.

use super::recent::Recent;

/// Gaps, declarations of gaps and runs of late records, of all chains together (some 32 MiB).
pub const MOST_RUNS: usize = 1 << 18;
/// Bytes for what is kept behind gaps that may still be filled, of all chains together.
pub const MOST_LATE: usize = 64 << 20;

#[derive(Debug)]
pub struct Room {
    pub recent: Recent,
    runs: usize,
    late: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { recent: Recent::default(), runs: MOST_RUNS, late: MOST_LATE }
    }
}

impl Room {
    /// For one more gap, declaration or run. False: there is none left.
    #[must_use]
    pub fn run(&mut self) -> bool {
        let left = self.runs.checked_sub(1);
        self.runs = left.unwrap_or(0);
        left.is_some()
    }

    /// For so many bytes behind a gap. False: there is none left.
    #[must_use]
    pub fn late(&mut self, bytes: usize) -> bool {
        let left = self.late.checked_sub(bytes);
        self.late = left.unwrap_or(self.late);
        left.is_some()
    }

    pub fn give_back(&mut self, bytes: usize) {
        self.late += bytes;
    }

    #[cfg(test)]
    pub fn held(&self) -> (usize, usize, usize) {
        (self.recent.kept(), MOST_RUNS - self.runs, MOST_LATE - self.late)
    }
}
