//! [`Noise`]: was the machine busy with something else while it was measured?
//!
//! The rule looks at causes outside of the run, never at its figures, so that nobody marks the runs whose figures they
//! don't like. A noisy run counts and is shown with the mark and its reason; it is never dropped silently.
//!
//! Where its bounds come from:
//!
//! * Whoever takes a share s of the processors slows a run that needs all of them by s. 5 % is half of the smallest
//!   difference that a comparison is made to find (10 % in throughput and p50), so what is below can't make one alone.
//! * An involuntary switch is no sign by itself: a thread that wakes up takes the processor from one that runs, and
//!   in an engine with a committer both are its own. A synced run of 5,000 commits a second has about as many. But a
//!   thread wakes up only after it had given the processor up, so there are at most as many of those as voluntary
//!   switches; the scheduler adds one at the end of a time slice, at most one a millisecond and processor. What exceeds both is
//!   somebody else's.
//! * A timer's own lateness is a tenth of a millisecond. A driver that is late by 2 ms at p99 was not let run.

use hdrhistogram::Histogram;

use super::Cost;

/// What the rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Noise {
    /// Share of the processors' time that the hypervisor gave to others, 0 to 1.
    pub steal_share: f64,
    /// Share of the processors' time that other programs used, 0 to 1.
    pub others_share: f64,
    /// Share of the run for which a quota kept the process from running, 0 to 1.
    pub throttled_share: f64,
    /// Times a second and processor that the kernel took the processor away from one of the process's threads, beyond
    /// those that its own threads' waking up explains.
    pub unexplained_switches_per_s: f64,
    /// p99 of how late the driver handed due operations over, nanoseconds; 0 where nothing was due.
    pub lateness_p99_ns: u64,
}

impl Noise {
    /// A run that lost more of the processors' time to one kind of outsider is noisy.
    pub const SHARE_MAX: f64 = 0.05;
    /// A run that was interrupted more often without a reason of its own is noisy.
    pub const UNEXPLAINED_SWITCHES_PER_S_MAX: f64 = 1000.0;
    /// A driver that was later than this at p99 did not get the processor when it asked for it.
    pub const LATENESS_P99_MAX_NS: u64 = 2_000_000;

    /// What a run saw that took `cost` on a machine of `processors`.
    #[must_use]
    pub fn of(cost: &Cost, lateness: &Histogram<u64>, processors: usize) -> Self {
        let per_s = |count: f64| if cost.seconds > 0.0 { count / cost.seconds } else { 0.0 };
        let unexplained = cost
            .involuntary_switches
            .zip(cost.voluntary_switches)
            .map_or(0, |(taken, given)| taken.saturating_sub(given));
        Self {
            steal_share: cost.steal_share.unwrap_or(0.0),
            others_share: cost.others_share.unwrap_or(0.0),
            throttled_share: per_s(cost.throttled_s.unwrap_or(0.0)),
            unexplained_switches_per_s: per_s(unexplained as f64) / processors.max(1) as f64,
            lateness_p99_ns: if lateness.is_empty() { 0 } else { lateness.value_at_quantile(0.99) },
        }
    }

    /// Why the run is noisy, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let mut reasons = Vec::new();
        let mut share = |share: f64, what: &str, of: &str| {
            if share > Self::SHARE_MAX {
                reasons.push(format!(
                    "{what} {:.1} % of {of} (above {:.0} %)",
                    share * 100.0,
                    Self::SHARE_MAX * 100.0
                ));
            }
        };
        share(self.steal_share, "the hypervisor gave others", "the processors' time");
        share(self.others_share, "other programs used", "the processors' time");
        share(self.throttled_share, "a quota kept the process from running for", "the time");
        if self.unexplained_switches_per_s > Self::UNEXPLAINED_SWITCHES_PER_S_MAX {
            reasons.push(format!(
                "{:.0} involuntary context switches a second and processor beyond its own threads' (above {:.0})",
                self.unexplained_switches_per_s,
                Self::UNEXPLAINED_SWITCHES_PER_S_MAX
            ));
        }
        if self.lateness_p99_ns > Self::LATENESS_P99_MAX_NS {
            reasons.push(format!(
                "the driver was late by {:.1} ms at p99 (above {:.0} ms)",
                self.lateness_p99_ns as f64 / 1e6,
                Self::LATENESS_P99_MAX_NS as f64 / 1e6
            ));
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// The rule in a sentence.
    #[must_use]
    pub fn rule() -> String {
        format!(
            "A run is noisy if the hypervisor or other programs took more than {:.0} % of the processors' time, if a \
             quota kept it from running for as long, if the kernel took the processor away more than {:.0} times a \
             second and processor beyond what its own threads' waking up explains, or if the driver was later than \
             {:.0} ms at p99",
            Self::SHARE_MAX * 100.0,
            Self::UNEXPLAINED_SWITCHES_PER_S_MAX,
            Self::LATENESS_P99_MAX_NS as f64 / 1e6
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_rule_marks_a_run_and_says_which_it_was() {
        let quiet = Noise {
            steal_share: 0.05,
            others_share: 0.05,
            throttled_share: 0.05,
            unexplained_switches_per_s: 1000.0,
            lateness_p99_ns: 2_000_000,
        };
        assert_eq!(quiet.reason(), None);
        for (noise, words) in [
            (Noise { steal_share: 0.06, ..quiet }, "gave others 6.0 % of the processors"),
            (Noise { others_share: 0.07, ..quiet }, "other programs used 7.0 %"),
            (Noise { throttled_share: 0.08, ..quiet }, "for 8.0 % of the time"),
            (Noise { unexplained_switches_per_s: 1500.0, ..quiet }, "1500 involuntary"),
            (Noise { lateness_p99_ns: 3_000_000, ..quiet }, "late by 3.0 ms"),
        ] {
            let reason = noise.reason().expect("noisy");
            assert!(reason.contains(words) && !reason.contains(';'), "{reason}");
        }
    }

    #[test]
    fn switches_that_the_engines_own_threads_make_are_no_noise() {
        let lateness = Histogram::new(3).expect("bounds");
        // 5,000 commits a second, each of which wakes a committer and then the driver: marked by a bound on switches alone.
        let synced = Cost {
            seconds: 2.0,
            voluntary_switches: Some(20_000),
            involuntary_switches: Some(11_000),
            ..Cost::default()
        };
        assert_eq!(Noise::of(&synced, &lateness, 2).reason(), None);
        // A driver that never sleeps and is interrupted all the time: nobody of its own woke up.
        let interrupted = Cost { voluntary_switches: Some(100), ..synced };
        assert!(Noise::of(&interrupted, &lateness, 2).reason().is_some());
    }

    #[test]
    fn a_run_is_judged_by_its_own_length() {
        let mut lateness = Histogram::new(3).expect("bounds");
        let cost = Cost { throttled_s: Some(0.3), ..Cost::default() };
        assert!(Noise::of(&Cost { seconds: 10.0, ..cost }, &lateness, 2).reason().is_none());
        assert!(Noise::of(&Cost { seconds: 4.0, ..cost }, &lateness, 2).reason().is_some());
        assert!(Noise::of(&cost, &lateness, 2).reason().is_none(), "no time, no rate");
        lateness.record_n(5_000_000, 100).expect("within bounds");
        assert!(Noise::of(&Cost::default(), &lateness, 2).reason().is_some());
    }
}
