//! Counts steps, for the test that these grow no faster than what is read. Does nothing outside of tests.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One turn of a loop whose length depends on what was read.
pub fn step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

#[cfg(test)]
pub fn taken() -> u64 {
    STEPS.with(std::cell::Cell::take)
}
