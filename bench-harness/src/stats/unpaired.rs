//! Ratios from runs that don't belong together in pairs: Welch's t on the logarithms of both sides' runs.

use super::{t_quantile, t_two_sided_p};

/// A ratio b/a of two independent rows of runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnpairedRatio {
    /// Geometric mean of `b` by geometric mean of `a`.
    pub ratio: f64,
    /// 95 % interval, two-sided. `None` with fewer than two runs on a side.
    pub ci95: Option<[f64; 2]>,
    /// Chance of a ratio so far from 1 if there were no difference. `None` with fewer than two runs on a side.
    pub p: Option<f64>,
}

/// The ratio of `b`'s runs by `a`'s, each run a replicate. Values that aren't positive and finite are left out.
///
/// `None` when a side has no value left. The sides' spreads may differ: Welch's degrees of freedom allow for it.
#[must_use]
pub fn unpaired_ratio(a: &[f64], b: &[f64]) -> Option<UnpairedRatio> {
    let (a, b) = (Logs::of(a)?, Logs::of(b)?);
    let difference = b.mean - a.mean;
    let mut ratio = UnpairedRatio { ratio: difference.exp(), ci95: None, p: None };
    let (Some(of_a), Some(of_b)) = (a.variance_of_mean, b.variance_of_mean) else { return Some(ratio) };
    let error = (of_a + of_b).sqrt();
    if error == 0.0 {
        ratio.ci95 = Some([ratio.ratio; 2]);
        ratio.p = Some(if difference == 0.0 { 1.0 } else { 0.0 });
        return Some(ratio);
    }
    let df = (of_a + of_b).powi(2) / (of_a.powi(2) / (a.n - 1.0) + of_b.powi(2) / (b.n - 1.0));
    // Never below the smaller side's, but for rounding.
    let df = df.max(1.0);
    let half = t_quantile(0.975, df) * error;
    ratio.ci95 = Some([(difference - half).exp(), (difference + half).exp()]);
    ratio.p = Some(t_two_sided_p(difference / error, df));
    Some(ratio)
}

/// What the test needs of one side.
struct Logs {
    n: f64,
    mean: f64,
    variance_of_mean: Option<f64>,
}

impl Logs {
    fn of(values: &[f64]) -> Option<Self> {
        let logs: Vec<f64> = values.iter().filter(|v| v.is_finite() && **v > 0.0).map(|v| v.ln()).collect();
        if logs.is_empty() {
            return None;
        }
        let n = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / n;
        let squares = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>();
        Some(Self { n, mean, variance_of_mean: (logs.len() > 1).then(|| squares / (n - 1.0) / n) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_known_sample_gives_welchs_interval_worked_by_hand() {
        // Logs of a: 0 ± 0.1 (n = 3, s² = 0.01); logs of b: ln 2 ± 0.2 (n = 3, s² = 0.04).
        let around = |middle: f64, by: f64| [-by, 0.0, by].map(|d: f64| middle * d.exp());
        let got = unpaired_ratio(&around(1.0, 0.1), &around(2.0, 0.2)).expect("values");
        assert!((got.ratio - 2.0).abs() < 1e-12);
        let error = (0.05_f64 / 3.0).sqrt();
        // (0.01 + 0.04)² / ((0.01² + 0.04²) / 2) = 0.0025 / 0.00085.
        let df = 0.0025 / 0.00085;
        let half = t_quantile(0.975, df) * error;
        let [low, high] = got.ci95.expect("three runs a side");
        assert!((low / (2.0 * (-half).exp()) - 1.0).abs() < 1e-9, "{low}");
        assert!((high / (2.0 * half.exp()) - 1.0).abs() < 1e-9, "{high}");
        assert!((got.p.expect("p") - t_two_sided_p(2.0_f64.ln() / error, df)).abs() < 1e-12);
    }

    #[test]
    fn equal_runs_one_run_and_no_run() {
        let same = unpaired_ratio(&[5.0; 4], &[5.0; 3]).expect("values");
        assert_eq!((same.ratio, same.ci95, same.p), (1.0, Some([1.0, 1.0]), Some(1.0)));
        let certain = unpaired_ratio(&[5.0; 4], &[10.0; 3]).expect("values");
        assert_eq!(certain.p, Some(0.0));
        let one = unpaired_ratio(&[5.0], &[10.0, 11.0]).expect("values");
        assert_eq!((one.ci95, one.p), (None, None));
        assert_eq!(unpaired_ratio(&[0.0, f64::NAN], &[1.0]), None);
    }
}
