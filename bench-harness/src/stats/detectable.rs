//! What a comparison can find: from the scatter of runs that had nothing to differ by to the smallest ratio shown.

use super::t_quantile;

/// Fewer pairs of runs of one engine with itself say nothing about their scatter.
const PAIRS_MIN: usize = 3;

/// Standard deviation of the logarithm of a run's value, from pairs of runs of one engine under the same operations:
/// whatever they differ by is chance. `None` below three usable pairs.
#[must_use]
pub fn run_sigma(self_pairs: &[(f64, f64)]) -> Option<f64> {
    let usable = |v: f64| v.is_finite() && v > 0.0;
    let squares: Vec<f64> = self_pairs
        .iter()
        .filter(|(a, b)| usable(*a) && usable(*b))
        .map(|(a, b)| (a / b).ln().powi(2))
        .collect();
    // The mean is known to be 0, and a difference of two runs has twice the variance of one.
    (squares.len() >= PAIRS_MIN).then(|| (squares.iter().sum::<f64>() / squares.len() as f64 / 2.0).sqrt())
}

/// The smallest ratio of two engines that four of five comparisons of so many pairs show, where runs scatter by `sigma`.
///
/// By t alone this would be what nine of ten comparisons show; a verdict asks for two intervals and for more than the
/// A/A half-width, which costs the difference. The known answers hold this against simulated comparisons.
///
/// # Panics
/// Below two pairs.
#[must_use]
pub fn smallest_detectable(sigma: f64, pairs: u32) -> f64 {
    let df = pairs.checked_sub(1).filter(|df| *df > 0).expect("an interval needs two pairs");
    let error = sigma * (2.0 / f64::from(pairs)).sqrt();
    ((t_quantile(0.975, df) + t_quantile(0.9, df)) * error).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scatter_of_a_run_is_a_known_one_for_known_pairs() {
        // Log ratios ± 0.2: variance of a difference 0.04, of a run 0.02.
        let pairs = [(0.2_f64.exp(), 1.0), (1.0, 0.2_f64.exp()), (0.2_f64.exp(), 1.0)];
        assert!((run_sigma(&pairs).expect("three pairs") - 0.02_f64.sqrt()).abs() < 1e-12);
        assert_eq!(run_sigma(&pairs[..2]), None);
        assert_eq!(run_sigma(&[(1.0, 0.0), (1.0, 1.0), (1.0, 1.0)]), None, "an unusable pair is none");
    }

    #[test]
    fn more_pairs_and_quieter_runs_find_smaller_ratios() {
        assert!(smallest_detectable(0.1, 12) < smallest_detectable(0.1, 6));
        assert!(smallest_detectable(0.05, 6) < smallest_detectable(0.1, 6));
        assert_eq!(smallest_detectable(0.0, 6), 1.0);
        // (2.570582 + 1.475884) * 0.1 * sqrt(1/3), from the printed tables.
        assert!((smallest_detectable(0.1, 6) - (4.046_466 * 0.1 / 3.0_f64.sqrt()).exp()).abs() < 1e-5);
    }
}
