//! Every key alike.

use engine_env::rng::Rng;
use rand::RngExt;

/// Draws each of `keys` key indexes with the same probability.
#[derive(Debug, Clone, Copy)]
pub struct Uniform {
    keys: u32,
}

impl Uniform {
    /// Over `keys` keys.
    ///
    /// # Panics
    /// If `keys` is 0.
    #[must_use]
    pub fn new(keys: u32) -> Self {
        assert!(keys > 0, "a choice needs at least one key");
        Self { keys }
    }

    /// Draws a key index.
    #[inline]
    pub fn sample(&self, rng: &mut Rng) -> u32 {
        // The high half of a 64-bit product: the bias is below 2^-32, and no division is needed.
        ((u64::from(rng.random::<u32>()) * u64::from(self.keys)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_env::rng::Seed;

    #[test]
    fn every_key_gets_its_share() {
        let (uniform, mut rng) = (Uniform::new(100), Seed(1).rng());
        let mut counts = [0_u32; 100];
        for _ in 0..100_000 {
            counts[uniform.sample(&mut rng) as usize] += 1;
        }
        // Chi-square with 99 degrees of freedom: 148.2 is exceeded once in a thousand seeds.
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 148.2, "chi-square {chi}");
    }
}
