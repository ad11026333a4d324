//! Ratios from pairs of runs: the geometric mean over pairs, with an interval from the spread of the log ratios.

use engine_env::rng::Seed;

use super::{bootstrap_ci95, sign_test_p, t_quantile, t_two_sided_p};

/// A ratio a/b over pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct PairedRatio {
    /// How many pairs stand behind it.
    pub pairs: usize,
    /// Geometric mean of a/b.
    pub ratio: f64,
    /// 95 % interval, two-sided, by t on the log ratios. `None` with fewer than two pairs.
    pub ci95: Option<[f64; 2]>,
    /// 95 % interval by bootstrap over pairs.
    pub bootstrap_ci95: Option<[f64; 2]>,
    /// One-sided 95 % lower bound, by t on the log ratios.
    pub lower95: Option<f64>,
    /// One-sided 95 % upper bound, by t on the log ratios.
    pub upper95: Option<f64>,
    /// Chance of a ratio so far from 1 if there were no difference, by the same t. `None` with fewer than two pairs.
    pub p: Option<f64>,
    /// Exact sign test, two-sided.
    pub sign_p: f64,
}

impl PairedRatio {
    /// The same, where each `a` may be up to `a_step` times as large as it was found, and each `b` up to `b_step` times:
    /// every bound moves out by that much. Values found in steps can agree by the steps alone, so without this an
    /// interval could be narrower than a step.
    pub(crate) fn widened(mut self, a_step: f64, b_step: f64) -> Self {
        let wider = |[low, high]: [f64; 2]| [low / b_step, high * a_step];
        self.ci95 = self.ci95.map(wider);
        self.bootstrap_ci95 = self.bootstrap_ci95.map(wider);
        self.lower95 = self.lower95.map(|low| low / b_step);
        self.upper95 = self.upper95.map(|high| high * a_step);
        self
    }
}

/// The ratio over pairs `(a, b)`. Pairs with a value that isn't positive and finite are left out.
///
/// `None` when no pair is left. `seed` is for the bootstrap.
#[must_use]
pub fn paired_ratio(pairs: &[(f64, f64)], seed: Seed) -> Option<PairedRatio> {
    let usable = |v: f64| v.is_finite() && v > 0.0;
    let logs: Vec<f64> =
        pairs.iter().filter(|(a, b)| usable(*a) && usable(*b)).map(|(a, b)| (a / b).ln()).collect();
    let n = logs.len();
    if n == 0 {
        return None;
    }
    let mean = logs.iter().sum::<f64>() / n as f64;
    let above = logs.iter().filter(|l| **l > 0.0).count();
    let below = logs.iter().filter(|l| **l < 0.0).count();
    let mut ratio = PairedRatio {
        pairs: n,
        ratio: mean.exp(),
        ci95: None,
        bootstrap_ci95: bootstrap_ci95(&logs, seed).map(|ci| ci.map(f64::exp)),
        lower95: None,
        upper95: None,
        p: None,
        sign_p: sign_test_p(
            u32::try_from(above).unwrap_or(u32::MAX),
            u32::try_from(below).unwrap_or(u32::MAX),
        ),
    };
    if n >= 2 {
        let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let error = (variance / n as f64).sqrt();
        let df = u32::try_from(n - 1).unwrap_or(u32::MAX);
        let half = t_quantile(0.975, df) * error;
        ratio.ci95 = Some([(mean - half).exp(), (mean + half).exp()]);
        // No spread at all: any difference is certain, and none is none.
        ratio.p = Some(if mean == 0.0 { 1.0 } else { t_two_sided_p(mean / error, df) });
        let one_sided = t_quantile(0.95, df) * error;
        ratio.lower95 = Some((mean - one_sided).exp());
        ratio.upper95 = Some((mean + one_sided).exp());
    }
    Some(ratio)
}

/// Pairs of an engine with itself, out of its runs in the order they were made: first with second, third with
/// fourth, which had the same operations (a block A B B A). Their ratio must be 1 but for luck, so its interval shows what this machine can tell apart.
#[must_use]
pub fn self_pairs(runs: &[f64]) -> Vec<(f64, f64)> {
    runs.chunks_exact(2).map(|two| (two[0], two[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_small_known_sample_is_the_one_worked_by_hand() {
        // Log ratios ln 2 + {-0.1, 0, 0.1}: mean ln 2, s = 0.1, standard error 0.1 / sqrt 3, t(0.975, 2) = 4.302653.
        let pairs: Vec<(f64, f64)> =
            [-0.1_f64, 0.0, 0.1].iter().map(|d| (2.0 * d.exp() * 3.0, 3.0)).collect();
        let got = paired_ratio(&pairs, Seed(1)).expect("three pairs");
        assert_eq!(got.pairs, 3);
        assert!((got.ratio - 2.0).abs() < 1e-12);
        let half = 4.302_653 * 0.1 / 3.0_f64.sqrt();
        let [low, high] = got.ci95.expect("three pairs");
        assert!((low - 2.0 * (-half).exp()).abs() < 1e-6, "{low}");
        assert!((high - 2.0 * half.exp()).abs() < 1e-6, "{high}");
        let lower = got.lower95.expect("three pairs");
        assert!((lower - 2.0 * (-2.919_986_f64 * 0.1 / 3.0_f64.sqrt()).exp()).abs() < 1e-6, "{lower}");
        assert_eq!(got.sign_p, 0.25);
        let t = 2.0_f64.ln() / (0.1 / 3.0_f64.sqrt());
        // With two degrees of freedom the distribution has a closed form.
        let p = 1.0 - t / (2.0 + t * t).sqrt();
        assert!((got.p.expect("three pairs") - p).abs() < 1e-9);
    }

    #[test]
    fn one_pair_has_a_ratio_and_no_interval_and_unusable_values_are_left_out() {
        let got =
            paired_ratio(&[(4.0, 2.0), (f64::NAN, 1.0), (1.0, 0.0)], Seed(1)).expect("one pair is left");
        assert_eq!((got.pairs, got.ratio, got.ci95, got.lower95), (1, 2.0, None, None));
        assert!(paired_ratio(&[(0.0, 1.0)], Seed(1)).is_none());
        assert!(paired_ratio(&[], Seed(1)).is_none());
    }

    #[test]
    fn values_found_in_steps_have_intervals_no_narrower_than_the_steps() {
        let found = paired_ratio(&[(20.0, 10.0), (20.0, 10.0)], Seed(1)).expect("two pairs");
        assert_eq!(found.ci95, Some([2.0, 2.0]));
        let got = found.widened(1.5, 1.25);
        assert_eq!((got.ratio, got.ci95, got.bootstrap_ci95), (2.0, Some([1.6, 3.0]), Some([1.6, 3.0])));
        assert_eq!((got.lower95, got.upper95), (Some(1.6), Some(3.0)));
    }

    #[test]
    fn an_engine_is_paired_with_itself_in_the_order_of_its_runs() {
        assert_eq!(self_pairs(&[1.0, 2.0, 3.0, 4.0, 5.0]), [(1.0, 2.0), (3.0, 4.0)]);
    }
}
