//! Which key an operation takes: popularity over a fixed number of keys.

mod gray;
mod scrambled;
mod uniform;
mod zipfian;

use engine_env::rng::Rng;
pub use gray::Gray;
pub use scrambled::{Permutation, Scrambled};
use std::fmt;
pub use uniform::Uniform;
pub use zipfian::Zipfian;

/// A popularity: draws key indexes below the number of keys it was made for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum KeyChoice {
    /// Every key alike.
    Uniform(Uniform),
    /// Key 0 is the hottest, key 1 the next.
    Zipfian(Zipfian),
    /// Zipf's popularity, the ranks spread over the keys by a permutation.
    Scrambled(Scrambled),
}

impl KeyChoice {
    /// Draws a key index.
    #[inline]
    pub fn sample(&self, rng: &mut Rng) -> u32 {
        match self {
            Self::Uniform(uniform) => uniform.sample(rng),
            Self::Zipfian(zipfian) => zipfian.sample(rng),
            Self::Scrambled(scrambled) => scrambled.sample(rng),
        }
    }
}

impl fmt::Display for KeyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform(_) => f.write_str("uniform"),
            Self::Zipfian(zipfian) => write!(f, "zipfian {}", zipfian.exponent()),
            Self::Scrambled(scrambled) => write!(f, "scrambled zipfian {}", scrambled.exponent()),
        }
    }
}
