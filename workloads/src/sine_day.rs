//! [`SineDay`]: a day with a busy and a quiet half, as a rate of arrivals.
//!
//! The rate is `mean * (1 + amplitude * sin(2 pi t / period))`. Its integral over a whole period is that of the mean
//! rate, so the shape moves operations to the peak without adding any. Arrivals are independent of each other (an
//! inhomogeneous Poisson process), found by the inverse of the integrated rate: nothing is drawn and thrown away.

use std::f64::consts::PI;

/// A rate that swings around its mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SineDay {
    /// How far the rate swings, as a share of the mean: 0 to [`AMPLITUDE_MAX`](Self::AMPLITUDE_MAX).
    pub amplitude: f64,
    /// Length of the day in seconds; `None`: the length of the phase it is used for, see
    /// [`Arrivals::scaled_to`](crate::Arrivals::scaled_to), or a real day where nobody scales it.
    pub period_s: Option<f64>,
}

impl SineDay {
    /// 30 % above the mean at the peak, 30 % below it at night.
    pub const DEFAULT: Self = Self { amplitude: 0.3, period_s: None };

    /// A rate that reached zero would leave the next arrival undefined.
    pub const AMPLITUDE_MAX: f64 = 0.95;

    const REAL_DAY_S: f64 = 86_400.0;

    /// When `mean_gaps` times the mean gap's worth of rate has passed since `now_ns`.
    ///
    /// `mean_gap_ns` is the gap that the mean rate leaves between two operations.
    pub(crate) fn later_ns(&self, now_ns: f64, mean_gap_ns: f64, mean_gaps: f64) -> f64 {
        let amplitude = self.amplitude.clamp(0.0, Self::AMPLITUDE_MAX);
        let period_ns = self.period_s.unwrap_or(Self::REAL_DAY_S).max(1e-3) * 1e9;
        let wanted_ns = mean_gap_ns * mean_gaps;
        let turn = 2.0 * PI / period_ns;
        // The phase first: sines of the small angle stay exact however many days have passed.
        let phase = (now_ns % period_ns) * turn;
        // Integrated relative rate over the next `wait` nanoseconds: wait + A/turn * (cos(phase) - cos(phase + turn*wait)).
        let passed = |wait: f64| {
            let half = turn * wait / 2.0;
            wait + amplitude / turn * 2.0 * (phase + half).sin() * half.sin()
        };
        let (mut low, mut high) = (wanted_ns / (1.0 + amplitude), wanted_ns / (1.0 - amplitude));
        let mut wait = (wanted_ns / (1.0 + amplitude * phase.sin())).clamp(low, high);
        // Newton within a bracket that always holds the answer: the rate lies between its two extremes.
        for _ in 0..60 {
            let error = passed(wait) - wanted_ns;
            if error.abs() < 1e-3 || high - low < 1e-3 {
                break;
            }
            if error > 0.0 {
                high = wait
            } else {
                low = wait
            }
            let newton = wait - error / (1.0 + amplitude * (phase + turn * wait).sin());
            wait = if newton > low && newton < high { newton } else { f64::midpoint(low, high) };
        }
        now_ns + wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arrivals, Seed};

    const NS_PER_S: f64 = 1e9;
    const DAY_S: f64 = 10.0;
    const RATE: f64 = 20_000.0;

    /// Due times of `days` whole days, as shares of a day.
    fn day_shares(amplitude: f64, days: u64, seed: u64) -> Vec<f64> {
        Arrivals::Sine(SineDay { amplitude, period_s: Some(DAY_S) })
            .due_times(Seed(seed), RATE)
            .map(|due_ns| due_ns as f64 / NS_PER_S / DAY_S)
            .take_while(|days_passed| *days_passed < days as f64)
            .map(f64::fract)
            .collect()
    }

    #[test]
    fn the_mean_rate_is_kept_over_whole_days() {
        for amplitude in [0.0, 0.3, 0.95] {
            let count = day_shares(amplitude, 5, 1).len() as f64;
            // Five standard deviations of a Poisson count.
            let expected = RATE * DAY_S * 5.0;
            assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{amplitude}: {count} of {expected}");
        }
    }

    #[test]
    fn the_busy_half_and_the_peak_quarter_have_their_share() {
        let shares = day_shares(0.3, 5, 2);
        let within = |from: f64, to: f64| {
            shares.iter().filter(|s| (from..to).contains(*s)).count() as f64 / shares.len() as f64
        };
        // Integrals of 1 + 0.3 sin(2 pi t): 1/2 + 0.3/pi, and 1/4 + 0.3 sqrt(2) / (2 pi).
        let (half, peak) = (within(0.0, 0.5), within(0.125, 0.375));
        assert!((half - (0.5 + 0.3 / PI)).abs() < 0.003, "busy half: {half}");
        assert!((peak - (0.25 + 0.3 * 2f64.sqrt() / (2.0 * PI))).abs() < 0.003, "peak quarter: {peak}");
    }

    #[test]
    fn each_hour_has_its_count() {
        let shares = day_shares(0.3, 5, 3);
        let mut hours = [0.0; 24];
        shares.iter().for_each(|s| hours[(s * 24.0) as usize % 24] += 1.0);
        let integral = |t: f64| t - 0.3 / (2.0 * PI) * (2.0 * PI * t).cos();
        let chi_square: f64 = hours
            .iter()
            .enumerate()
            .map(|(hour, count)| {
                let hour = hour as f64;
                let expected = shares.len() as f64 * (integral((hour + 1.0) / 24.0) - integral(hour / 24.0));
                (count - expected).powi(2) / expected
            })
            .sum();
        // 23 degrees of freedom: above 49.7 in one of a thousand draws.
        assert!(chi_square < 49.7, "chi-square {chi_square}");
    }

    #[test]
    fn gaps_longer_than_a_day_are_found_as_well() {
        let day = SineDay { amplitude: 0.95, period_s: Some(1.0) };
        // A mean gap of three and a half days: the wait is the root of the integrated rate, wherever it starts.
        for start in [0.0, 0.25e9, 0.7e9, 1e15] {
            let wait_s = (day.later_ns(start, 3.5e9, 1.0) - start) / NS_PER_S;
            let at = (start / NS_PER_S).fract();
            let passed =
                wait_s + 0.95 / (2.0 * PI) * ((2.0 * PI * at).cos() - (2.0 * PI * (at + wait_s)).cos());
            assert!((passed - 3.5).abs() < 1e-6, "from {start}: {passed}");
        }
    }

    #[test]
    fn a_day_without_a_length_is_scaled_to_the_phase() {
        let scaled = Arrivals::Sine(SineDay::DEFAULT).scaled_to(12.5);
        assert_eq!(scaled, Arrivals::Sine(SineDay { amplitude: 0.3, period_s: Some(12.5) }));
        let fixed = Arrivals::Sine(SineDay { amplitude: 0.3, period_s: Some(60.0) });
        assert_eq!(fixed.scaled_to(12.5), fixed);
        assert_eq!(Arrivals::Poisson.scaled_to(12.5), Arrivals::Poisson);
    }
}
