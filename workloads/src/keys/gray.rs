//! Zipf's popularity as YCSB draws it: the approximate inverse of Gray et al. (SIGMOD 1994), which needs the sum
//! ζ(n) of all weights once, and goes on from it when the number of items grows.

/// Draws ranks below a number of items that may grow; rank 0 is the hottest.
#[derive(Debug, Clone, Copy)]
pub struct Gray {
    items: u64,
    theta: f64,
    zeta: f64,
    eta: f64,
}

/// Terms that are added up one by one; beyond, an integral with its first correction is exact to twelve digits.
const SUMMED_MAX: u64 = 1 << 20;

impl Gray {
    /// YCSB's exponent.
    pub const THETA: f64 = 0.99;

    /// Over `items` items (at least 1), exponent `theta` below 1.
    ///
    /// # Panics
    /// If `items` is 0 or `theta` is not from 0 to below 1.
    #[must_use]
    pub fn new(items: u64, theta: f64) -> Self {
        assert!(items > 0, "a choice needs at least one item");
        assert!((0.0..1.0).contains(&theta), "this sampler takes exponents below 1");
        Self::with_zeta(items, theta, zeta(0, items, theta))
    }

    /// The same with a sum that is known already.
    pub(crate) fn with_zeta(items: u64, theta: f64, zeta: f64) -> Self {
        let first_two = 1.0 + 0.5_f64.powf(theta);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - theta)) / (1.0 - first_two / zeta);
        Self { items, theta, zeta, eta }
    }

    /// Makes room for more items; fewer are ignored.
    pub fn grow_to(&mut self, items: u64) {
        if items > self.items {
            *self = Self::with_zeta(items, self.theta, self.zeta + zeta(self.items, items, self.theta));
        }
    }

    /// The number of items.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// The rank at `share`, a number from 0 to below 1.
    #[inline]
    #[must_use]
    pub fn rank(&self, share: f64) -> u64 {
        let weight = share * self.zeta;
        if weight < 1.0 {
            return 0;
        }
        if weight < 1.0 + 0.5_f64.powf(self.theta) {
            return 1.min(self.items - 1);
        }
        let base = (self.eta * share - self.eta + 1.0).max(0.0);
        ((self.items as f64 * base.powf(1.0 / (1.0 - self.theta))) as u64).min(self.items - 1)
    }
}

/// The weights of the ranks `from..to`, added up.
fn zeta(from: u64, to: u64, theta: f64) -> f64 {
    let weight = |rank: f64| rank.powf(-theta);
    let summed = to.min(SUMMED_MAX.max(from.min(to)));
    let near: f64 = (from + 1..=summed).map(|rank| weight(rank as f64)).sum();
    if summed == to {
        return near;
    }
    let (a, b) = (summed as f64, to as f64);
    let integral = (b.powf(1.0 - theta) - a.powf(1.0 - theta)) / (1.0 - theta);
    near + integral + (weight(b) - weight(a)) / 2.0
        - theta * (b.powf(-theta - 1.0) - a.powf(-theta - 1.0)) / 12.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of YCSB's generator for 1,000 items.
    #[test]
    fn the_ranks_are_those_of_ycsb() {
        let gray = Gray::new(1000, 0.99);
        assert!((gray.zeta - 7.728_953_217_284_729).abs() < 1e-9, "{}", gray.zeta);
        for (share, rank) in [(0.05, 0), (0.1335, 1), (0.2, 2), (0.3, 4), (0.5, 22), (0.9, 471), (0.999, 992)]
        {
            assert_eq!(gray.rank(share), rank, "at {share}");
        }
    }

    /// YCSB has the sum for ten thousand million items as a constant.
    #[test]
    fn the_sum_of_very_many_weights_is_exact() {
        let sum = zeta(0, 10_000_000_000, 0.99);
        assert!((sum - 26.469_028_201_783_02).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn growing_is_the_same_as_starting_larger() {
        let mut grown = Gray::new(10, 0.99);
        for items in [10, 11, 500, 3_000_000] {
            grown.grow_to(items);
            let fresh = Gray::new(items, 0.99);
            assert_eq!(grown.items(), items);
            assert!((grown.zeta - fresh.zeta).abs() < 1e-6, "{items}: {} {}", grown.zeta, fresh.zeta);
        }
        grown.grow_to(5);
        assert_eq!(grown.items(), 3_000_000);
    }

    #[test]
    fn every_rank_is_below_the_number_of_items() {
        for items in [1, 2, 3, 1000] {
            let gray = Gray::new(items, 0.99);
            for share in [0.0, 0.3, 0.7, 0.999_999_999] {
                assert!(gray.rank(share) < items, "{items} at {share}");
            }
        }
    }
}
