//! What the audit trail draws by lot: ids, salts, the jitter of pauses. From the operating system; in tests, for a thread
//! that asks, from a seed, so that a run can be repeated byte for byte.

use std::time::SystemTime;

use uuid::Uuid;

pub fn number() -> u64 {
    #[cfg(test)]
    if let Some(drawn) = seeded::draw() {
        return drawn;
    }
    rand::random()
}

/// At least 0, less than 1.
pub fn fraction() -> f64 {
    (number() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The id of a record that is written at `time`.
#[cfg_attr(not(test), expect(unused_variables, reason = "the operating system's clock stands in the id"))]
pub fn id(time: SystemTime) -> Uuid {
    #[cfg(test)]
    if let Some(drawn) = seeded::draw() {
        return seeded::id(time, drawn);
    }
    Uuid::now_v7()
}

#[cfg(test)]
pub mod seeded {
    //! The lot of one thread.

    use std::cell::RefCell;
    use std::time::SystemTime;

    use rand::rngs::SmallRng;
    use rand::{RngCore, SeedableRng};
    use uuid::Uuid;

    thread_local! {
        static LOT: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
    }

    /// From here on this thread draws from `seed`.
    pub fn begin(seed: u64) {
        LOT.set(Some(SmallRng::seed_from_u64(seed)));
    }

    pub fn end() {
        LOT.set(None);
    }

    pub fn draw() -> Option<u64> {
        LOT.with_borrow_mut(|lot| lot.as_mut().map(RngCore::next_u64))
    }

    pub fn id(time: SystemTime, drawn: u64) -> Uuid {
        let millis = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&drawn.to_le_bytes());
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(0), &random).into_uuid()
    }
}
