//! [`SteadyState`]: has the engine left its beginnings behind?
//!
//! A warm-up is made of steps of equal length. It is over when a straight line through the last four steps is flat: the
//! median service time and the throughput each change by at most a tenth of their mean over those steps, as fio's
//! `steadystate` judges a device. A warm-up has an end: after three times the asked length it is over in any case, and
//! the run says that no steady state was reached.

/// Steps that a line is laid through; the asked length of a warm-up is as many.
pub(crate) const WINDOW: usize = 4;
/// A warm-up takes at most this many times its asked length.
pub(crate) const TIMES_MAX: usize = 3;
/// Change over the window, as a share of the mean, up to which a line is flat.
const CHANGE_MAX: f64 = 0.10;

/// How a warm-up went, step by step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SteadyState {
    service_p50: Vec<f64>,
    throughput: Vec<f64>,
}

impl SteadyState {
    /// A step ended: its median service time and what it answered of what it was offered (or a second, in a closed
    /// loop), in any unit. A step without an answer has neither.
    pub fn step(&mut self, service_p50: Option<f64>, throughput: f64) {
        self.service_p50.push(service_p50.unwrap_or(f64::NAN));
        self.throughput.push(throughput);
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.service_p50.len()
    }

    /// Whether the last steps are flat. `false` before there are four.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.change().is_some_and(|change| change <= CHANGE_MAX)
    }

    /// The larger change over the last four steps, as a share of the mean: 0.1 for a tenth. `None` before there are
    /// four, or where one of them answered nothing.
    #[must_use]
    pub fn change(&self) -> Option<f64> {
        Some(change_over_window(&self.service_p50)?.max(change_over_window(&self.throughput)?))
    }

    /// The rule in a sentence.
    #[must_use]
    pub fn rule() -> String {
        format!(
            "A warm-up is over when a line through its last {WINDOW} steps is flat: median service time and throughput \
             change by at most {:.0} % over them; after {TIMES_MAX} times its asked length it is over in any case, and \
             the run says that no steady state was reached",
            CHANGE_MAX * 100.0
        )
    }
}

/// Change of the least-squares line over the last values, from the first to the last of them, by their mean.
fn change_over_window(values: &[f64]) -> Option<f64> {
    let window = &values[values.len().checked_sub(WINDOW)?..];
    let middle = (WINDOW - 1) as f64 / 2.0;
    let mean = window.iter().sum::<f64>() / WINDOW as f64;
    let (mut along, mut square) = (0.0, 0.0);
    for (i, value) in window.iter().enumerate() {
        let x = i as f64 - middle;
        along += x * (value - mean);
        square += x * x;
    }
    let change = (along / square * (WINDOW - 1) as f64 / mean).abs();
    change.is_finite().then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(steps: &[(f64, f64)]) -> SteadyState {
        let mut state = SteadyState::default();
        steps.iter().for_each(|(p50, rate)| state.step(Some(*p50), *rate));
        state
    }

    #[test]
    fn four_flat_steps_are_needed_and_the_oldest_are_forgotten() {
        let warming = [(90.0, 1.0), (60.0, 1.0), (40.0, 1.0)];
        assert_eq!(of(&warming).change(), None);
        assert!(!of(&warming).reached());
        let mut steps = warming.to_vec();
        steps.push((30.0, 1.0));
        assert!(!of(&steps).reached(), "it still gets quicker");
        steps.extend([(30.0, 1.0), (29.0, 1.0), (31.0, 1.0)]);
        assert!(of(&steps).reached());
        assert_eq!(of(&steps).steps(), 7);
    }

    #[test]
    fn a_line_from_95_to_105_is_a_change_of_a_tenth_in_either_metric_and_direction() {
        let at = |change: f64, i: usize| 100.0 * (1.0 + change * (i as f64 / 3.0 - 0.5));
        for (change, flat) in [(0.099, true), (0.101, false), (-0.099, true), (-0.101, false)] {
            let by_latency: Vec<(f64, f64)> = (0..4).map(|i| (at(change, i), 5.0)).collect();
            let by_rate: Vec<(f64, f64)> = (0..4).map(|i| (5.0, at(change, i))).collect();
            assert_eq!(of(&by_latency).reached(), flat, "{change}");
            assert_eq!(of(&by_rate).reached(), flat, "{change}");
        }
    }

    #[test]
    fn scatter_without_a_direction_is_steady_and_a_step_without_answers_is_not() {
        assert!(of(&[(100.0, 1.0), (120.0, 1.0), (118.0, 1.0), (101.0, 1.0)]).reached());
        let mut silent = of(&[(100.0, 1.0); 3]);
        silent.step(None, 0.0);
        assert_eq!(silent.change(), None);
    }
}
