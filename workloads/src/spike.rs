//! [`Spike`]: a steady rate with one burst, as when news breaks.
//!
//! The rate is `quiet` but for one stretch of the phase, where it is `factor * quiet`; `quiet` is chosen so that the
//! mean over the phase is the rate asked for. Arrivals are independent of each other (an inhomogeneous Poisson
//! process), found by the inverse of the integrated rate. After its phase the shape begins anew.

/// A burst within a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// How many times the quiet rate the burst is, 1 or more.
    pub factor: f64,
    /// When the burst begins, as a share of the phase, 0 to below 1.
    pub start: f64,
    /// How long it lasts, as a share of the phase; it ends with the phase at the latest.
    pub length: f64,
    /// Length of the phase in seconds; `None`: that of the phase it is used for, see
    /// [`Arrivals::scaled_to`](crate::Arrivals::scaled_to), or an hour where nobody scales it.
    pub period_s: Option<f64>,
}

impl Spike {
    /// Ten times the quiet rate for a fifth of the phase, from two fifths on.
    pub const DEFAULT: Self = Self { factor: 10.0, start: 0.4, length: 0.2, period_s: None };

    const HOUR_S: f64 = 3600.0;

    /// Rate of the quiet part, as a share of the mean.
    pub(crate) fn quiet(&self) -> f64 {
        let (start, end) = self.burst();
        1.0 / (1.0 + (self.factor - 1.0) * (end - start))
    }

    /// Where the burst begins and ends, as shares of the phase.
    fn burst(&self) -> (f64, f64) {
        let start = self.start.clamp(0.0, 1.0);
        (start, (start + self.length.max(0.0)).min(1.0))
    }

    /// When `mean_gaps` times the mean gap's worth of rate has passed since `now_ns`.
    pub(crate) fn later_ns(&self, now_ns: f64, mean_gap_ns: f64, mean_gaps: f64) -> f64 {
        let period_ns = self.period_s.unwrap_or(Self::HOUR_S).max(1e-3) * 1e9;
        let (start, end) = self.burst();
        let quiet = self.quiet();
        let mut left_ns = mean_gap_ns * mean_gaps;
        // Whole phases first, which hold exactly their own length of the mean rate.
        let whole = (left_ns / period_ns).floor();
        left_ns -= whole * period_ns;
        let mut at_ns = now_ns + whole * period_ns;
        let stretches = [(start, quiet), (end, quiet * self.factor), (1.0, quiet)];
        // At most once through the rest of this phase and as far into the next one.
        for _ in 0..=stretches.len() * 2 {
            let phase = at_ns / period_ns;
            let within = phase - phase.floor();
            let (until, rate) = *stretches.iter().find(|(until, _)| within < *until).unwrap_or(&stretches[2]);
            let here_ns = (until - within) * period_ns;
            if left_ns <= here_ns * rate {
                break;
            }
            left_ns -= here_ns * rate;
            // Onto the border itself: a sum could fall short of it by a rounding and never leave the stretch.
            at_ns = ((phase.floor() + until) * period_ns).max(at_ns.next_up());
        }
        let phase = at_ns / period_ns;
        let within = phase - phase.floor();
        let rate = stretches.iter().find(|(until, _)| within < *until).map_or(quiet, |(_, rate)| *rate);
        at_ns + left_ns / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arrivals, Seed};

    const RATE: f64 = 20_000.0;
    const PHASE_S: f64 = 10.0;

    /// Due times of `phases` whole phases, as shares of a phase.
    fn shares(spike: Spike, phases: u64) -> Vec<f64> {
        Arrivals::Spike(Spike { period_s: Some(PHASE_S), ..spike })
            .due_times(Seed(5), RATE)
            .map(|due_ns| due_ns as f64 / 1e9 / PHASE_S)
            .take_while(|passed| *passed < phases as f64)
            .map(f64::fract)
            .collect()
    }

    #[test]
    fn the_mean_is_kept_and_the_burst_has_its_factor() {
        let at_the_end = Spike { factor: 4.0, start: 0.9, length: 0.5, period_s: None };
        let flat = Spike { factor: 1.0, start: 0.0, length: 0.3, period_s: None };
        for spike in [Spike::DEFAULT, at_the_end, flat] {
            let shares = shares(spike, 3);
            let expected = RATE * PHASE_S * 3.0;
            let off = (shares.len() as f64 - expected).abs();
            assert!(off < 5.0 * expected.sqrt(), "{spike:?}: {} of {expected}", shares.len());
            let (start, end) = spike.burst();
            let inside = shares.iter().filter(|at| (start..end).contains(*at)).count() as f64;
            let share = inside / shares.len() as f64;
            let wanted = spike.factor * spike.quiet() * (end - start);
            assert!((share - wanted).abs() < 0.005, "{spike:?}: {share} of all in the burst, not {wanted}");
        }
    }

    #[test]
    fn due_times_never_decrease_at_any_rate() {
        for rate in [0.01, 1.0, 1e6] {
            let due =
                Arrivals::Spike(Spike { period_s: Some(1.0), ..Spike::DEFAULT }).due_times(Seed(1), rate);
            assert!(due.take(2000).is_sorted(), "{rate}");
        }
    }
}
