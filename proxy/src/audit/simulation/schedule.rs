//! From a seed to everything that happens: sizes, limits, and a list of steps. Each seed has its own mix, so that rare
//! things meet. Does nothing itself; that is `world`.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::policy::verdict::Durability;

#[derive(Debug, Clone)]
pub struct Setup {
    pub durability: Durability,
    pub segment: u64,
    pub max_size: u64,
    pub retain: Duration,
    /// Records under way, by the publisher's bound and by the sink's.
    pub window: usize,
    pub room: usize,
    /// One thing in so many on the wire goes wrong.
    pub faulty: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Takes its answer away at once.
    Quick,
    /// Its answer does not leave before `Settle`.
    Slow,
    /// Gives up if it is told nothing at once.
    Impatient,
}

#[derive(Debug, Clone)]
pub enum Step {
    Append {
        level: Durability,
        sizes: Vec<usize>,
        caller: Caller,
    },
    /// Milliseconds.
    Pass(u64),
    /// Wall time is this far off, milliseconds.
    Jump(i64),
    /// The answers of slow callers leave.
    Settle,
    Publish(usize),
    /// Changes of the disk from now on that fail: after how many, and how many.
    FailWrites(u64, u64),
    FailReads(u64, u64),
    Broker {
        down: bool,
    },
    /// Questions refused for overload, and without a token.
    Refuse {
        overload: u64,
        attempts: u64,
    },
    /// The process ends in the middle of its `after`th operation from now.
    Crash {
        after: u64,
        power: bool,
    },
    /// The process ends in order; the publisher has this long, milliseconds.
    Close {
        drain: u64,
    },
    /// Bytes of a closed segment change.
    Spoil(u64),
}

pub fn setup(seed: u64) -> (Setup, Vec<Step>) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let segment = rng.random_range(16..40) << 10;
    let setup = Setup {
        durability: if rng.random_ratio(1, 5) { Durability::Written } else { Durability::Synced },
        segment,
        max_size: segment * if rng.random_ratio(1, 3) { rng.random_range(8..12) } else { 64 },
        retain: Duration::from_millis(rng.random_range(0..4000)),
        window: rng.random_range(1..40),
        room: rng.random_range(1..40),
        faulty: if rng.random_ratio(1, 3) { 0 } else { rng.random_range(4..80) },
    };
    let mix = mix(&mut rng, &setup);
    let steps = (0..rng.random_range(8..140)).map(|_| step(&mut rng, &mix, &setup)).collect();
    (setup, steps)
}

/// Weights of the steps, in the order of `step`.
fn mix(rng: &mut SmallRng, setup: &Setup) -> [u32; 12] {
    let sometimes = |rng: &mut SmallRng, weight: u32| if rng.random_ratio(2, 5) { weight } else { 0 };
    [
        12,
        5,
        sometimes(rng, 1),
        2,
        6,
        sometimes(rng, 4),
        sometimes(rng, 1),
        if setup.faulty > 0 { sometimes(rng, 2) } else { 0 },
        sometimes(rng, 1),
        sometimes(rng, 4),
        1,
        sometimes(rng, 2),
    ]
}

fn step(rng: &mut SmallRng, mix: &[u32; 12], setup: &Setup) -> Step {
    let mut lot = rng.random_range(0..mix.iter().sum());
    let at = mix.iter().position(|weight| {
        let hit = lot < *weight;
        lot = lot.wrapping_sub(*weight);
        hit
    });
    match at {
        Some(0) => append(rng, setup),
        Some(1) => {
            Step::Pass(if rng.random_ratio(1, 12) { rng.random_range(5000..20_000) } else { rng.random_range(0..1500) })
        }
        Some(2) => Step::Jump(rng.random_range(-100_000_000..100_000_000)),
        Some(3) => Step::Settle,
        Some(4) => Step::Publish(rng.random_range(1..12)),
        Some(5) => {
            Step::FailWrites(rng.random_range(0..12), if rng.random_ratio(1, 6) { 40 } else { rng.random_range(1..5) })
        }
        Some(6) => Step::FailReads(rng.random_range(0..20), rng.random_range(1..5)),
        Some(7) => Step::Broker { down: rng.random() },
        Some(8) => Step::Refuse { overload: rng.random_range(0..4), attempts: rng.random_range(0..4) },
        Some(9) => Step::Crash { after: rng.random_range(0..16), power: rng.random() },
        Some(10) => Step::Close { drain: rng.random_range(0..3000) },
        _ => Step::Spoil(rng.random()),
    }
}

fn append(rng: &mut SmallRng, setup: &Setup) -> Step {
    let level = match rng.random_range(0..6) {
        0 => Durability::Acknowledged,
        1 | 2 => Durability::Written,
        _ => Durability::Synced,
    };
    // The spool's level is the strictest that is used.
    let level = if setup.durability == Durability::Written { Durability::Written } else { level };
    let caller = match rng.random_range(0..8) {
        0 => Caller::Impatient,
        1..4 => Caller::Slow,
        _ => Caller::Quick,
    };
    let count = if rng.random_ratio(1, 10) { rng.random_range(8..20) } else { rng.random_range(1..5) };
    let size = |rng: &mut SmallRng| match rng.random_range(0..10) {
        0 => rng.random_range(2000..5000),
        1..4 => rng.random_range(400..1500),
        _ => rng.random_range(1..300),
    };
    Step::Append { level, sizes: (0..count).map(|_| size(rng)).collect(), caller }
}
