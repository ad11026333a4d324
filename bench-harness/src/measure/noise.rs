//! [`Noise`]: was the machine busy with something else while it was measured?
//!
//! The rule is fixed, so that nobody marks the runs whose figures they don't like. A noisy run counts and is shown
//! with the mark and its reason; it is never dropped silently.

use hdrhistogram::Histogram;

use super::Cost;

/// What the rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Noise {
    /// Share of the processors' time that the hypervisor gave to others, 0 to 1.
    pub steal_share: f64,
    /// Times a second that the kernel took the processor away from one of the process's threads.
    pub involuntary_switches_per_s: f64,
    /// p99 of how late the driver handed due operations over, nanoseconds; 0 where nothing was due.
    pub lateness_p99_ns: u64,
}

impl Noise {
    /// A run that lost more of the processors to other tenants is noisy.
    pub const STEAL_SHARE_MAX: f64 = 0.05;
    /// A run that was interrupted more often is noisy: in a thousandth of a second, somebody else was always due.
    pub const SWITCHES_PER_S_MAX: f64 = 1000.0;
    /// A driver that was later than this at p99 did not get the processor when it asked for it.
    pub const LATENESS_P99_MAX_NS: u64 = 2_000_000;

    /// What a run of `seconds` saw.
    #[must_use]
    pub fn of(cost: &Cost, lateness: &Histogram<u64>, seconds: f64) -> Self {
        let switches = cost.involuntary_switches.unwrap_or(0) as f64;
        Self {
            steal_share: cost.steal_share.unwrap_or(0.0),
            involuntary_switches_per_s: if seconds > 0.0 { switches / seconds } else { 0.0 },
            lateness_p99_ns: if lateness.is_empty() { 0 } else { lateness.value_at_quantile(0.99) },
        }
    }

    /// Why the run is noisy, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let mut reasons = Vec::new();
        if self.steal_share > Self::STEAL_SHARE_MAX {
            reasons.push(format!(
                "other tenants took {:.1} % of the processors (above {:.0} %)",
                self.steal_share * 100.0,
                Self::STEAL_SHARE_MAX * 100.0
            ));
        }
        if self.involuntary_switches_per_s > Self::SWITCHES_PER_S_MAX {
            reasons.push(format!(
                "{:.0} involuntary context switches a second (above {:.0})",
                self.involuntary_switches_per_s,
                Self::SWITCHES_PER_S_MAX
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
            "A run is noisy if the hypervisor took more than {:.0} % of the processors, if the kernel took the \
             processor away from its threads more than {:.0} times a second, or if the driver was later than {:.0} ms \
             at p99",
            Self::STEAL_SHARE_MAX * 100.0,
            Self::SWITCHES_PER_S_MAX,
            Self::LATENESS_P99_MAX_NS as f64 / 1e6
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_rule_marks_a_run_and_says_which_it_was() {
        let quiet =
            Noise { steal_share: 0.05, involuntary_switches_per_s: 1000.0, lateness_p99_ns: 2_000_000 };
        assert_eq!(quiet.reason(), None);
        for (noise, words) in [
            (Noise { steal_share: 0.06, ..quiet }, "6.0 % of the processors"),
            (Noise { involuntary_switches_per_s: 1500.0, ..quiet }, "1500 involuntary"),
            (Noise { lateness_p99_ns: 3_000_000, ..quiet }, "late by 3.0 ms"),
        ] {
            let reason = noise.reason().expect("noisy");
            assert!(reason.contains(words) && !reason.contains(';'), "{reason}");
        }
    }

    #[test]
    fn a_run_is_judged_by_its_own_length() {
        let mut lateness = Histogram::new(3).expect("bounds");
        let cost = Cost { involuntary_switches: Some(5000), ..Cost::default() };
        assert!(Noise::of(&cost, &lateness, 10.0).reason().is_none());
        assert!(Noise::of(&cost, &lateness, 4.0).reason().is_some());
        assert!(Noise::of(&Cost::default(), &lateness, 0.0).reason().is_none());
        lateness.record_n(5_000_000, 100).expect("within bounds");
        assert!(Noise::of(&Cost::default(), &lateness, 10.0).reason().is_some());
    }
}
