//! Percentiles of a histogram in nanoseconds, told only where enough samples stand behind them.

use hdrhistogram::Histogram;

use crate::report::record::Percentiles;

/// Fewer samples than this beyond a percentile say nothing about it.
const SAMPLES_BEYOND_MIN: f64 = 100.0;

/// The quantile `q` in microseconds, or `None` with fewer than 100 samples beyond it.
#[must_use]
pub fn percentile_us(histogram: &Histogram<u64>, q: f64) -> Option<f64> {
    // The tolerance is for quantiles that aren't exact in binary: 100,000 samples are enough for 0.999.
    let beyond = histogram.len() as f64 * (1.0 - q);
    (beyond >= SAMPLES_BEYOND_MIN * (1.0 - 1e-9)).then(|| histogram.value_at_quantile(q) as f64 / 1000.0)
}

/// All that a report tells about one histogram of nanoseconds.
#[must_use]
pub fn summarize(histogram: &Histogram<u64>) -> Percentiles {
    let any = !histogram.is_empty();
    Percentiles {
        p50: percentile_us(histogram, 0.5),
        p90: percentile_us(histogram, 0.9),
        p95: percentile_us(histogram, 0.95),
        p99: percentile_us(histogram, 0.99),
        p999: percentile_us(histogram, 0.999),
        max: any.then(|| histogram.max() as f64 / 1000.0),
        mean: any.then(|| histogram.mean() / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_a_hundred_samples_beyond_it() {
        let mut histogram =
            Histogram::<u64>::new_with_bounds(100, 3_600_000_000_000, 3).expect("valid bounds");
        for i in 1..=100_000_u64 {
            histogram.record(i * 1000).expect("within bounds");
        }
        let all = summarize(&histogram);
        for (got, expected) in
            [(all.p50, 50_000.0), (all.p90, 90_000.0), (all.p99, 99_000.0), (all.p999, 99_900.0)]
        {
            let got = got.expect("enough samples");
            assert!((got / expected - 1.0).abs() < 0.002, "{got} against {expected}");
        }
        assert_eq!(percentile_us(&histogram, 0.9999), None, "10 samples beyond p99.99");
        let mut few = Histogram::<u64>::new_with_bounds(100, 3_600_000_000_000, 3).expect("valid bounds");
        few.record_n(5000, 199).expect("within bounds");
        assert_eq!(percentile_us(&few, 0.5), None);
        few.record(5000).expect("within bounds");
        assert!(percentile_us(&few, 0.5).is_some());
        assert_eq!(summarize(&Histogram::<u64>::new(3).expect("valid")), Percentiles::default());
    }
}
