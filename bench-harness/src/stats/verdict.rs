//! The words that end a comparison.

use super::PairedRatio;
use crate::report::record::{Better, ComparisonVerdict};

/// Fewer pairs of an engine with itself say nothing about what the machine can tell apart.
const SELF_PAIRS_MIN: usize = 3;

/// Judges a ratio: both of its intervals must leave 1 out, and it must be larger than the half-width of the interval
/// that engines' runs show against themselves (`self_ratio`), which is the least this machine can tell apart.
#[must_use]
pub fn judge(
    ratio: Option<&PairedRatio>,
    self_ratio: Option<&PairedRatio>,
    better: Better,
) -> ComparisonVerdict {
    let Some((ratio, t)) = ratio.and_then(|r| r.ci95.map(|ci| (r, ci))) else {
        return ComparisonVerdict::NotMeasured;
    };
    let (higher, lower) = match better {
        Better::Higher => (ComparisonVerdict::ABetter, ComparisonVerdict::BBetter),
        Better::Lower => (ComparisonVerdict::BBetter, ComparisonVerdict::ABetter),
    };
    let boot = ratio.bootstrap_ci95.unwrap_or(t);
    let least = self_ratio
        .filter(|r| r.pairs >= SELF_PAIRS_MIN)
        .and_then(|r| r.ci95)
        .map_or(0.0, |[low, high]| 0.5 * (high / low).ln());
    if ratio.ratio.ln().abs() <= least {
        ComparisonVerdict::NoDifference
    } else if t[0] > 1.0 && boot[0] > 1.0 {
        higher
    } else if t[1] < 1.0 && boot[1] < 1.0 {
        lower
    } else {
        ComparisonVerdict::NoDifference
    }
}

#[cfg(test)]
mod tests {
    use super::super::paired_ratio;
    use super::*;
    use engine_env::rng::Seed;

    const HIGHER: Better = Better::Higher;

    fn ratio(pairs: &[(f64, f64)]) -> Option<PairedRatio> {
        paired_ratio(pairs, Seed(1))
    }

    #[test]
    fn a_steady_difference_is_shown_and_a_wavering_one_is_not() {
        let steady = ratio(&[(2.0, 1.0), (2.1, 1.0), (1.9, 1.0), (2.0, 1.0)]);
        let wavering = ratio(&[(2.0, 1.0), (1.0, 2.0), (2.2, 1.0), (1.0, 2.1)]);
        assert_eq!(judge(steady.as_ref(), None, HIGHER), ComparisonVerdict::ABetter);
        assert_eq!(judge(steady.as_ref(), None, Better::Lower), ComparisonVerdict::BBetter);
        assert_eq!(judge(wavering.as_ref(), None, HIGHER), ComparisonVerdict::NoDifference);
        let turned = ratio(&[(1.0, 2.0), (1.0, 2.1), (1.0, 1.9), (1.0, 2.0)]);
        assert_eq!(judge(turned.as_ref(), None, HIGHER), ComparisonVerdict::BBetter);
        assert_eq!(judge(None, None, HIGHER), ComparisonVerdict::NotMeasured);
        assert_eq!(judge(ratio(&[(2.0, 1.0)]).as_ref(), None, HIGHER), ComparisonVerdict::NotMeasured);
    }

    #[test]
    fn a_difference_smaller_than_an_engine_shows_against_itself_is_not_shown() {
        let small = ratio(&[(1.10, 1.0), (1.11, 1.0), (1.09, 1.0), (1.10, 1.0)]);
        let itself = ratio(&[(1.3, 1.0), (1.0, 1.3), (1.25, 1.0), (1.0, 1.2)]);
        assert_eq!(judge(small.as_ref(), None, HIGHER), ComparisonVerdict::ABetter);
        assert_eq!(judge(small.as_ref(), itself.as_ref(), HIGHER), ComparisonVerdict::NoDifference);
    }
}
