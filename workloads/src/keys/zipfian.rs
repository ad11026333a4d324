//! Zipf's popularity: rank r is drawn in proportion to r to the power of minus the exponent.
//!
//! Rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
//! distributions", ACM TOMACS 1996): any exponent and any number of keys start at once, nothing is summed up in advance,
//! and most draws take one power.

use engine_env::rng::Rng;
use rand::RngExt;

/// Draws ranks from 0, the hottest first.
///
/// Let `h(x)` be x to the power of minus the exponent and `H` its integral from 1. A point drawn evenly below `h` lies
/// within half of some rank k. Of that strip, k may have the right part that is as large as `h(k)`; a point left of it is
/// drawn again. As `h` is convex, each strip is at least so large, and its share that is refused gets smaller with k.
#[derive(Debug, Clone, Copy)]
pub struct Zipfian {
    keys: u32,
    exponent: f64,
    /// 1 minus the exponent.
    rest: f64,
    /// One by that.
    rest_inverse: f64,
    /// Where the part of rank 1 begins.
    area_from: f64,
    /// From there to the end of the last rank's strip.
    area: f64,
    /// A point that lies no further left of its rank is never drawn again, whatever the rank: rank 2 is the strictest.
    left_max: f64,
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
        let rest = 1.0 - exponent;
        let mut new =
            Self { keys, exponent, rest, rest_inverse: 1.0 / rest, area_from: 0.0, area: 0.0, left_max: 0.0 };
        new.area_from = new.area_to(1.5) - 1.0;
        new.area = new.area_to(f64::from(keys) + 0.5) - new.area_from;
        new.left_max = 2.0 - new.point_at(new.area_to(2.5) - new.weight(2.0));
        new
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
        loop {
            let area = self.area_from + rng.random::<f64>() * self.area;
            let point = self.point_at(area);
            // A float that is too large for the integer becomes the largest one.
            let rank = ((point + 0.5) as u32).clamp(1, self.keys);
            let k = f64::from(rank);
            if k - point <= self.left_max || area >= self.area_to(k + 0.5) - self.weight(k) {
                return rank - 1;
            }
        }
    }

    /// `h`.
    fn weight(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// `H`.
    fn area_to(&self, x: f64) -> f64 {
        if self.rest == 0.0 { x.ln() } else { (self.rest * x.ln()).exp_m1() / self.rest }
    }

    /// The inverse of `H`.
    #[inline]
    fn point_at(&self, area: f64) -> f64 {
        let power = self.rest * area;
        if self.rest.abs() > 1e-3 {
            (1.0 + power).max(0.0).powf(self.rest_inverse)
        } else if self.rest == 0.0 {
            area.exp()
        } else {
            // The sum above would lose the digits that the power needs.
            (power.ln_1p() * self.rest_inverse).exp()
        }
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
        for exponent in [0.0, 0.2, 0.6, 0.99, 0.999_5, 1.0, 1.21, 3.0] {
            check(1000, exponent);
        }
        check(100_000, 0.99);
        check(2, 0.99);
        check(1, 0.99);
    }

    #[test]
    fn nearly_every_draw_is_the_first_one() {
        for exponent in [0.0, 0.2, 0.99, 2.0] {
            let (zipfian, mut rng) = (Zipfian::new(100_000, exponent), Seed(3).rng());
            let mut same = rng.clone();
            let draws = 100_000;
            (0..draws).for_each(|_| _ = zipfian.sample(&mut rng));
            let mut numbers = 0;
            while same != rng {
                let _: f64 = same.random();
                numbers += 1;
            }
            assert!(numbers < draws * 11 / 10, "{exponent}: {numbers} numbers for {draws} draws");
        }
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
