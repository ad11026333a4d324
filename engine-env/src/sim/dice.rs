//! [`Dice`]: every choice of the simulated machine.

use rand_xoshiro::rand_core::Rng as _;

use crate::rng::{Rng, Seed};

#[derive(Debug, Clone)]
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn new(seed: Seed) -> Self {
        Self(seed.rng())
    }

    /// A number below `n`; 0 for `n` = 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(n);
        u64::try_from(wide >> 64).expect("the upper half of 128 bits")
    }

    /// In `[0, 1)`.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn chance(&mut self, p: f64) -> bool {
        // No draw for what is certain: a run without faults has the same choices whether or not faults exist.
        p > 0.0 && (p >= 1.0 || self.fraction() < p)
    }
}
