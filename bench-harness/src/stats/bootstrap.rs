//! The percentile bootstrap over pairs: an interval that doesn't assume log ratios to be normal.

use engine_env::rng::Seed;
use rand::RngExt as _;

const RESAMPLES: usize = 10_000;

/// 95 % interval of the mean of `values`, by resampling them 10,000 times. `None` below two values.
#[must_use]
pub fn bootstrap_ci95(values: &[f64], seed: Seed) -> Option<[f64; 2]> {
    if values.len() < 2 {
        return None;
    }
    let mut rng = seed.rng();
    let n = values.len();
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| (0..n).map(|_| values[rng.random_range(0..n)]).sum::<f64>() / n as f64)
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    Some([means[RESAMPLES / 40], means[RESAMPLES - 1 - RESAMPLES / 40]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_equal_values_is_that_value_and_a_spread_gives_a_known_width() {
        assert_eq!(bootstrap_ci95(&[0.5; 6], Seed(1)), Some([0.5, 0.5]));
        assert_eq!(bootstrap_ci95(&[1.0], Seed(1)), None);
        // The mean of 100 values with variance 1/12 has a standard error of 0.0289 (times the biased-variance factor).
        let values: Vec<f64> = (0..100).map(|i| (f64::from(i) + 0.5) / 100.0).collect();
        let [low, high] = bootstrap_ci95(&values, Seed(7)).expect("100 values");
        assert!((low - (0.5 - 1.96 * 0.0289)).abs() < 0.004, "{low}");
        assert!((high - (0.5 + 1.96 * 0.0289)).abs() < 0.004, "{high}");
    }
}
