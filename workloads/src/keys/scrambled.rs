//! Zipf's popularity with the hot keys spread over the key space.
//!
//! The spreading is a permutation, so each key keeps exactly the share of its rank. (Hashing ranks onto keys, as
//! YCSB does, lets ranks collide and leaves a third of the keys out.)

use super::Zipfian;
use engine_env::rng::{Rng, Seed, mix};

/// A bijection on `0..keys`, chosen by a seed; computed, not stored.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    keys: u32,
    mask: u64,
    shift: u32,
    rounds: [(u64, u64); 3],
}

impl Permutation {
    /// A permutation of `0..keys`.
    #[must_use]
    pub fn new(keys: u32, seed: Seed) -> Self {
        let bits = (u32::BITS - keys.saturating_sub(1).leading_zeros()).max(1);
        let round = |at: u64| (mix(seed.0 ^ at) | 1, mix(seed.0.wrapping_add(at).rotate_left(32)));
        Self {
            keys,
            mask: (1 << bits) - 1,
            shift: bits.div_ceil(2),
            rounds: [round(0x51), round(0xa2), round(0xf3)],
        }
    }

    /// Where `at` goes.
    ///
    /// # Panics
    /// If `at` is not below the number of keys (in debug builds).
    #[inline]
    #[must_use]
    pub fn apply(&self, at: u32) -> u32 {
        debug_assert!(at < self.keys, "outside of the permutation");
        let mut x = u64::from(at);
        // Each round permutes the next power of two; walking on until the result is below `keys` permutes
        // `0..keys`, in fewer than two steps on average.
        loop {
            for (factor, offset) in self.rounds {
                x = x.wrapping_mul(factor).wrapping_add(offset) & self.mask;
                x ^= x >> self.shift;
            }
            if x < u64::from(self.keys) {
                return x as u32;
            }
        }
    }
}

/// Draws key indexes by Zipf's popularity, hot keys anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Scrambled {
    zipfian: Zipfian,
    permutation: Permutation,
}

impl Scrambled {
    /// Over `keys` keys; `seed` chooses which keys are hot.
    ///
    /// # Panics
    /// As [`Zipfian::new`].
    #[must_use]
    pub fn new(keys: u32, exponent: f64, seed: Seed) -> Self {
        Self { zipfian: Zipfian::new(keys, exponent), permutation: Permutation::new(keys, seed) }
    }

    /// The exponent.
    #[must_use]
    pub fn exponent(&self) -> f64 {
        self.zipfian.exponent()
    }

    /// Draws a key index.
    #[inline]
    pub fn sample(&self, rng: &mut Rng) -> u32 {
        self.permutation.apply(self.zipfian.sample(rng))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_hits_every_key_once() {
        for keys in [1, 2, 3, 5, 64, 65, 1000, 65_536, 100_003] {
            for seed in [0, 1, 99] {
                let permutation = Permutation::new(keys, Seed(seed));
                let mut hit = vec![false; keys as usize];
                for at in 0..keys {
                    let to = permutation.apply(at) as usize;
                    assert!(!hit[to], "{keys} keys, seed {seed}: {to} twice");
                    hit[to] = true;
                }
            }
        }
    }

    #[test]
    fn the_hot_ranks_are_spread_and_moved_by_the_seed() {
        let (a, b) = (Permutation::new(1_000_000, Seed(1)), Permutation::new(1_000_000, Seed(2)));
        let hot: Vec<u32> = (0..1000).map(|rank| a.apply(rank)).collect();
        for tenth in 0..10 {
            let in_tenth = hot.iter().filter(|key| **key / 100_000 == tenth).count();
            assert!((60..140).contains(&in_tenth), "{in_tenth} of 1000 hot keys in tenth {tenth}");
        }
        let same = (0..1000).filter(|rank| a.apply(*rank) == b.apply(*rank)).count();
        assert!(same < 5, "{same} ranks stay where they are");
    }

    #[test]
    fn the_hottest_key_has_the_share_of_rank_one() {
        const KEYS: u32 = 10_000;
        let scrambled = Scrambled::new(KEYS, 0.99, Seed(5));
        let zeta: f64 = (1..=KEYS).map(|r| f64::from(r).powf(-0.99)).sum();
        let (mut rng, mut counts) = (Seed(6).rng(), vec![0_u32; KEYS as usize]);
        for _ in 0..500_000 {
            counts[scrambled.sample(&mut rng) as usize] += 1;
        }
        let hottest = *counts.iter().max().expect("not empty");
        assert_eq!(hottest, counts[scrambled.permutation.apply(0) as usize]);
        let share = f64::from(hottest) / 500_000.0;
        assert!((share * zeta - 1.0).abs() < 0.02, "{share} against {}", 1.0 / zeta);
    }
}
