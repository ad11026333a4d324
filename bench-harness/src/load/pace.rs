//! [`Pace`]: the due times of an open loop, fixed by workload, rate and seed before the first operation starts.

use engine_env::rng::Seed;
use workloads::{Arrivals, DueTimes};

/// Due times in nanoseconds since the start of a phase.
#[derive(Debug, Clone)]
pub struct Pace {
    due: DueTimes,
    rate_per_s: f64,
}

impl Pace {
    /// Arrivals as the workload shapes them, at a mean of `rate_per_s`. A recording at its own speed keeps its own
    /// rate.
    ///
    /// # Panics
    /// If the rate isn't positive and finite.
    #[must_use]
    pub fn new(arrivals: &Arrivals, rate_per_s: f64, seed: Seed) -> Self {
        let due = arrivals.due_times(seed, rate_per_s);
        Self { due, rate_per_s: arrivals.own_rate_per_s().unwrap_or(rate_per_s) }
    }

    /// The mean rate.
    #[must_use]
    pub fn rate_per_s(&self) -> f64 {
        self.rate_per_s
    }

    /// When the next operation is due; `None` at the end of a recording.
    pub(super) fn next_due_ns(&mut self) -> Option<u64> {
        self.due.next()
    }

    /// How long `operations` take on average.
    pub(super) fn nanoseconds_of(&self, operations: u64) -> u64 {
        // A float that is too large for the integer becomes the largest one.
        (operations as f64 / self.rate_per_s * 1e9) as u64
    }
}
