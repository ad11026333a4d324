//! [`RateSteps`]: which rate to try next on the way to the highest one that is sustained.
//!
//! Growing by a factor until a rate is not sustained (shrinking if the first one isn't), then bisection between the
//! highest rate that was and the lowest that was not, until they are as close as asked for.

/// The state of a search. Invariant: `low < high` where both are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RateSteps {
    low: Option<f64>,
    high: Option<f64>,
    next: f64,
    growth: f64,
    precision: f64,
}

impl RateSteps {
    /// Nothing below is searched for: an operation a second is the least that a schedule of this program offers.
    const LEAST: f64 = 1.0;
    /// Nor above.
    const MOST: f64 = 1e8;

    /// Starts at `start`, ends when the two rates are within `precision` of each other: 0.05 for 5 %.
    pub(super) fn new(start: f64, precision: f64) -> Self {
        let next = start.clamp(Self::LEAST, Self::MOST);
        Self { low: None, high: None, next, growth: 2.0, precision }
    }

    /// Grows by this factor instead of doubling: for a start that is near the answer.
    pub(super) fn growing_by(self, growth: f64) -> Self {
        Self { growth, ..self }
    }

    /// The highest rate that was sustained.
    pub(super) fn highest(&self) -> Option<f64> {
        self.low
    }

    /// The lowest rate that was refused.
    pub(super) fn refused(&self) -> Option<f64> {
        self.high
    }

    /// The rate to try, or `None` when the search is over.
    pub(super) fn next(&self) -> Option<f64> {
        let close = self.low.zip(self.high).is_some_and(|(low, high)| high <= low * (1.0 + self.precision));
        let outside = self.next < Self::LEAST || self.next > Self::MOST;
        (!close && !outside).then_some(self.next)
    }

    /// The rate that [`next`](Self::next) gave was tried.
    pub(super) fn tried(&mut self, sustained: bool) {
        if sustained {
            self.low = Some(self.next);
        } else {
            self.high = Some(self.next);
        }
        self.next = match (self.low, self.high) {
            (Some(low), Some(high)) => f64::midpoint(low, high),
            (Some(low), None) => low * self.growth,
            (None, Some(high)) => high / self.growth,
            (None, None) => self.next,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(capacity: f64, start: f64) -> (RateSteps, u32) {
        let mut steps = RateSteps::new(start, 0.05);
        let mut tries = 0;
        while let Some(rate) = steps.next() {
            steps.tried(rate <= capacity);
            tries += 1;
            assert!(tries < 100, "no end: {steps:?}");
        }
        (steps, tries)
    }

    #[test]
    fn the_capacity_is_enclosed_within_five_per_cent_wherever_the_search_starts() {
        for capacity in [7.0, 1234.5, 99_999.0, 2_345_678.0] {
            for start in [10.0, 1000.0, 1_000_000.0] {
                let (found, tries) = search(capacity, start);
                let (low, high) = (found.low.expect("found"), found.high.expect("found"));
                assert!(low <= capacity && capacity < high && high <= low * 1.05, "{capacity}: {found:?}");
                let doublings = (capacity / start).log2().abs().ceil() as u32;
                assert!(tries <= doublings + 7, "{capacity} from {start}: {tries}");
            }
        }
    }

    #[test]
    fn an_engine_that_sustains_nothing_or_everything_ends_the_search() {
        assert_eq!(search(0.0, 1000.0).0.low, None);
        assert_eq!(search(f64::INFINITY, 1000.0).0.high, None);
    }
}
