//! Zipf's popularity: rank r is drawn in proportion to r to the power of minus the exponent.
//!
//! The sampler is rejection by an inverse that has a closed form, so that any exponent and any number of keys
//! start at once; nothing is summed up in advance.

use engine_env::rng::Rng;
use rand_distr::{Distribution, Zipf};

/// Draws ranks from 0, the hottest first.
#[derive(Debug, Clone, Copy)]
pub struct Zipfian {
    keys: u32,
    exponent: f64,
    zipf: Zipf<f64>,
}

impl Zipfian {
    /// Over `keys` ranks with this exponent; 0 is uniform, 0.99 is what YCSB uses.
    ///
    /// # Panics
    /// If `keys` is 0, or `exponent` is negative or not finite.
    #[must_use]
    pub fn new(keys: u32, exponent: f64) -> Self {
        assert!(keys > 0, "a choice needs at least one key");
        assert!(exponent >= 0.0 && exponent.is_finite(), "an exponent is 0 or more");
        let zipf = Zipf::new(f64::from(keys), exponent).expect("keys and exponent were checked");
        Self { keys, exponent, zipf }
    }

    /// The exponent.
    #[must_use]
    pub fn exponent(&self) -> f64 {
        self.exponent
    }

    /// The number of ranks.
    #[must_use]
    pub fn keys(&self) -> u32 {
        self.keys
    }

    /// Draws a rank.
    #[inline]
    pub fn sample(&self, rng: &mut Rng) -> u32 {
        // The sampler computes in floating point; the bound holds whatever its last digit does.
        (self.zipf.sample(rng) as u32).clamp(1, self.keys) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_env::rng::Seed;

    /// Compares the drawn shares of the first ranks with the definition, each within four standard deviations.
    fn check(keys: u32, exponent: f64) {
        const DRAWS: u32 = 400_000;
        let zeta: f64 = (1..=keys).map(|r| f64::from(r).powf(-exponent)).sum();
        let (zipfian, mut rng) = (Zipfian::new(keys, exponent), Seed(7).rng());
        let mut counts = vec![0_u32; keys as usize];
        for _ in 0..DRAWS {
            counts[zipfian.sample(&mut rng) as usize] += 1;
        }
        for rank in [0_u32, 1, 2, 9, 99].into_iter().filter(|r| *r < keys) {
            let share = f64::from(rank + 1).powf(-exponent) / zeta;
            let expected = share * f64::from(DRAWS);
            let off = f64::from(counts[rank as usize]) - expected;
            assert!(off.abs() < 4.0 * expected.sqrt() + 1.0, "{keys} {exponent} rank {rank}: off by {off}");
        }
        let half = (keys / 2) as usize;
        let expected: f64 = (1..=keys / 2).map(|r| f64::from(r).powf(-exponent)).sum::<f64>() / zeta;
        let drawn = f64::from(counts[..half].iter().sum::<u32>()) / f64::from(DRAWS);
        assert!(
            (drawn - expected).abs() < 0.004,
            "{keys} {exponent}: first half {drawn}, expected {expected}"
        );
    }

    #[test]
    fn the_shares_are_those_of_zipf_at_any_exponent() {
        for exponent in [0.0, 0.2, 0.6, 0.99, 1.0, 1.21] {
            check(1000, exponent);
        }
        check(100_000, 0.99);
        check(2, 0.99);
        check(1, 0.99);
    }

    /// measuring.md, section e: near-uniform updates, the top 1 % of keys take 3 % of them.
    #[test]
    fn exponent_0_2_gives_the_top_percent_about_three_percent() {
        let (zipfian, mut rng) = (Zipfian::new(24_546, 0.2), Seed(1).rng());
        let hot = (0..200_000).filter(|_| zipfian.sample(&mut rng) < 245).count();
        let share = hot as f64 / 200_000.0;
        assert!((0.02..0.04).contains(&share), "{share}");
    }
}
