//! [`Schedule`]: how many runs of which length a comparison makes; and [`allot`], which fits them into the time there
//! is.

use std::time::Duration;

use crate::report::curves::HIGHEST_METRIC;

/// How much time a comparison may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Seconds: does it run at all? Its numbers mean nothing.
    Smoke,
    /// A few minutes; verdicts are at best about the direction.
    Quick,
    /// About as long as this: as many pairs as a full one, and runs as long as fits. From an hour on it may decide.
    Within(Duration),
    /// Hours; runs long enough to decide.
    Full,
}

/// A comparison within less time than this has runs too short to decide anything but the direction.
const DECIDES: Duration = Duration::from_secs(3600);

/// How many runs of which kind, and how long they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Pairs of runs at equal load, at the first durability: the pre-registered ones.
    pub pairs: u32,
    /// The same at each other durability.
    pub pairs_beside: u32,
    /// Shares of the smaller maximum at which these are made; the first decides.
    pub loads: Vec<f64>,
    /// Pairs of the rows beside: other quorums, ablations.
    pub row_pairs: u32,
    /// Whether also the rows are made that a short comparison leaves out.
    pub all_rows: bool,
    /// Pairs of searches for the highest rate; the first one of them finds the load of everything else.
    pub searches: u32,
    /// The same at each other durability.
    pub searches_beside: u32,
    /// Rates that a search tries at most.
    pub steps: u32,
    /// Whether each engine is also run once at several rates, to draw its curve.
    pub curve: bool,
    /// Measured time of a run that looks for a rate, or draws a curve.
    pub probe: Duration,
    /// Least and largest measured time of a run of a pair.
    pub run: (Duration, Duration),
    /// For everything together, as far as it can be: then runs are as long as fits, and what doesn't fit is left out
    /// and named. `None`: every run is as long as it may be.
    pub total: Option<Duration>,
    /// Whether the machine's limits are measured for seconds only, to see that it works.
    pub limits_in_short: bool,
    /// Whether verdicts may decide; else they are at best about the direction.
    pub decides: bool,
}

impl Effort {
    /// Pairs of runs that a quick and a full comparison make for a metric.
    pub(crate) fn pairs_of(metric: &str) -> [u32; 2] {
        [Self::Quick, Self::Full].map(|effort| {
            let schedule = effort.schedule();
            if metric == HIGHEST_METRIC { schedule.searches } else { schedule.pairs }
        })
    }

    /// What is done with so much time.
    #[must_use]
    pub fn schedule(self) -> Schedule {
        match self {
            Self::Smoke => Schedule {
                pairs: 1,
                pairs_beside: 1,
                loads: vec![0.5],
                row_pairs: 1,
                all_rows: true,
                searches: 1,
                searches_beside: 1,
                steps: 0,
                curve: false,
                probe: Duration::from_millis(150),
                run: (Duration::from_millis(150), Duration::from_millis(150)),
                total: None,
                limits_in_short: true,
                decides: false,
            },
            Self::Quick => Schedule {
                pairs: 6,
                pairs_beside: 3,
                loads: vec![0.5],
                row_pairs: 2,
                all_rows: false,
                searches: 3,
                searches_beside: 2,
                steps: 5,
                curve: true,
                probe: Duration::from_millis(1_000),
                run: (Duration::from_millis(1_500), Duration::from_secs(8)),
                total: Some(Duration::from_secs(255)),
                limits_in_short: false,
                decides: false,
            },
            Self::Within(total) => Schedule {
                loads: vec![0.5],
                row_pairs: 4,
                searches: 5,
                searches_beside: 4,
                probe: (total / 900).clamp(Duration::from_secs(1), Duration::from_secs(15)),
                run: (
                    (total / 400).clamp(Duration::from_millis(1_500), Duration::from_secs(15)),
                    Duration::from_secs(60),
                ),
                // The rest is for the crashes of simulated machines and the report.
                total: Some(total.mul_f64(0.97)),
                decides: total >= DECIDES,
                ..Self::Full.schedule()
            },
            Self::Full => Schedule {
                pairs: 12,
                pairs_beside: 12,
                loads: vec![0.5, 0.25, 0.75, 0.9],
                row_pairs: 10,
                all_rows: true,
                searches: 10,
                searches_beside: 10,
                steps: 10,
                curve: true,
                probe: Duration::from_secs(15),
                run: (Duration::from_secs(60), Duration::from_secs(60)),
                total: None,
                limits_in_short: false,
                decides: true,
            },
        }
    }
}

/// Runs that belong together in the plan of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// What it is, for the sentence that says it was left out.
    pub(super) name: String,
    pub(super) runs: u32,
    /// Measured time below which its runs would be time lost.
    pub(super) least: Duration,
    /// Measured time beyond which they gain little.
    pub(super) most: Duration,
    /// What a run takes beside its warm-up and its measured time.
    pub(super) overhead: Duration,
}

/// A run's warm-up, as a share of its measured time; three times as long where the engine isn't steady by then.
pub(super) const WARM_UP: f64 = 0.2;
/// What it takes on the average.
const WARM_UP_TAKEN: f64 = 0.35;

impl Part {
    fn cost(&self, length: Duration) -> Duration {
        (self.overhead + length.mul_f64(1.0 + WARM_UP_TAKEN)) * self.runs
    }

    fn stretched(&self, by: f64) -> Duration {
        self.least.mul_f64(by).min(self.most.max(self.least))
    }
}

/// The measured time of each part's runs, `None` for a part that doesn't fit into `left`. Parts come in the order of
/// their importance; the first one is never left out. What is left stretches all runs alike.
pub(super) fn allot(parts: &[Part], left: Duration) -> Vec<Option<Duration>> {
    let mut taken = Duration::ZERO;
    let kept: Vec<bool> = parts
        .iter()
        .enumerate()
        .map(|(i, part)| {
            let cost = part.cost(part.least);
            let fits = i == 0 || taken + cost <= left;
            if fits {
                taken += cost;
            }
            fits
        })
        .collect();
    let total = |by: f64| -> Duration {
        parts.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(p, _)| p.cost(p.stretched(by))).sum()
    };
    let (mut low, mut high) = (1.0, 100.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if total(middle) <= left { low = middle } else { high = middle }
    }
    parts.iter().zip(kept).map(|(part, kept)| kept.then(|| part.stretched(low))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, runs: u32, least_s: f64) -> Part {
        Part {
            name: name.to_owned(),
            runs,
            least: Duration::from_secs_f64(least_s),
            most: Duration::from_secs(6),
            overhead: Duration::from_millis(500),
        }
    }

    #[test]
    fn an_hour_holds_as_many_pairs_as_a_full_comparison_and_half_of_it_does_not_decide() {
        let hour = Effort::Within(Duration::from_secs(3600)).schedule();
        let full = Effort::Full.schedule();
        assert_eq!((hour.pairs, hour.pairs_beside, hour.decides), (full.pairs, full.pairs_beside, true));
        assert!(hour.run.0 >= Duration::from_secs(9) && hour.total < Some(Duration::from_secs(3600)));
        assert!(!Effort::Within(Duration::from_secs(1800)).schedule().decides);
    }

    #[test]
    fn what_fits_is_stretched_over_the_time_and_the_least_important_goes_first() {
        let parts = [part("main", 12, 1.5), part("beside", 8, 1.5), part("curve", 10, 1.0)];
        let left = Duration::from_secs(120);
        let lengths: Vec<Duration> = allot(&parts, left).into_iter().map(|l| l.expect("all fit")).collect();
        let total: Duration = parts.iter().zip(&lengths).map(|(p, l)| p.cost(*l)).sum();
        assert!(total <= left && total > left.mul_f64(0.98), "{total:?}");
        assert!(lengths[0] == lengths[1] && lengths[2] < lengths[0], "{lengths:?}");

        let lengths = allot(&parts, Duration::from_secs(55));
        assert!(lengths[0].is_some() && lengths[1].is_some() && lengths[2].is_none(), "{lengths:?}");
        let lengths = allot(&parts, Duration::from_secs(1));
        assert_eq!(lengths, [Some(Duration::from_secs_f64(1.5)), None, None], "the main part is always made");
        let ample = allot(&parts, Duration::from_secs(100_000));
        assert!(ample.iter().all(|l| *l == Some(Duration::from_secs(6))), "{ample:?}");
    }

    #[test]
    fn the_quick_schedule_fits_its_time_with_what_a_replicated_engine_costs() {
        // Two durabilities, four rows beside, 1.2 s to fill three nodes, 4 s until a p99 of updates means something.
        let quick = Effort::Quick.schedule();
        let overhead = Duration::from_millis(1_200);
        let of = |name: &str, runs, least: f64| Part { overhead, ..part(name, runs, least) };
        let searched = 15.0 + 4.0 + 2.0 * 2.0 * 5.0 * (1.2 + 1.35);
        let left = quick.total.expect("it has one") - Duration::from_secs_f64(searched);
        let parts = [
            of("main", 2 * quick.pairs, 4.0),
            of("synced", 2 * quick.pairs_beside, 4.0),
            of("highest rates", 2 * (quick.searches - 1) * 3, 1.0),
        ];
        let lengths = allot(&parts, left);
        assert!(lengths.iter().all(Option::is_some), "{lengths:?}");
        let total: Duration = parts.iter().zip(&lengths).filter_map(|(p, l)| Some(p.cost((*l)?))).sum();
        assert!(total <= left, "{total:?} of {left:?}");
    }
}
