//! Randomness as a seed: every generator in the workspace comes from here, so that one number replays a run.

use rand_xoshiro::rand_core::SeedableRng;

/// The generator (xoshiro256++): fast, small, not for secrets.
pub type Rng = rand_xoshiro::Xoshiro256PlusPlus;

/// A seed, from which seeds for parts are derived by name, so that two parts never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed for a part: hash of this seed, `part` and `index` (FNV-1a, then a finalizer).
    #[must_use]
    pub fn derive(self, part: &str, index: u64) -> Self {
        let mut h = 0xcbf2_9ce4_8422_2325_u64;
        let bytes = self.0.to_le_bytes().into_iter().chain(part.bytes()).chain(index.to_le_bytes());
        for b in bytes {
            h = (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(mix(h))
    }

    /// A generator from this seed.
    #[must_use]
    pub fn rng(self) -> Rng {
        Rng::seed_from_u64(self.0)
    }
}

/// A 64-bit finalizer (the one of MurmurHash3): every input bit moves every output bit.
#[must_use]
pub fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_indexes_get_different_seeds_and_the_same_ones_again() {
        let run = Seed(1);
        assert_eq!(run.derive("load", 0), run.derive("load", 0));
        assert_ne!(run.derive("load", 0), run.derive("load", 1));
        assert_ne!(run.derive("load", 0), run.derive("warm", 0));
        assert_ne!(run.derive("load", 0), Seed(2).derive("load", 0));
    }
}
