//! Fisher's exact test: whether something happens more often on one side, from few runs.

/// Two-sided chance of a split at least as uneven as `hits_a` of `runs_a` against `hits_b` of `runs_b`, if both sides
/// were alike.
///
/// # Panics
/// If a side has more hits than runs.
#[must_use]
pub fn fisher_p(hits_a: u32, runs_a: u32, hits_b: u32, runs_b: u32) -> f64 {
    assert!(hits_a <= runs_a && hits_b <= runs_b, "a run hits at most once");
    let hits = hits_a + hits_b;
    // Of all ways to choose which runs hit, the share with `k` of them on side a.
    let chance = |k: u32| {
        let hits_b = hits - k;
        (ln_choose(runs_a, k) + ln_choose(runs_b, hits_b) - ln_choose(runs_a + runs_b, hits)).exp()
    };
    let seen = chance(hits_a);
    let fewest = hits.saturating_sub(runs_b);
    let p: f64 = (fewest..=hits.min(runs_a)).map(chance).filter(|c| *c <= seen * (1.0 + 1e-9)).sum();
    p.min(1.0)
}

fn ln_choose(n: u32, k: u32) -> f64 {
    (1..=k).map(|i| (f64::from(n - k + i) / f64::from(i)).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lady_tasting_tea_and_the_smallest_splits_that_say_something() {
        assert!((fisher_p(3, 4, 1, 4) - 34.0 / 70.0).abs() < 1e-12, "Fisher's own example, two-sided");
        assert!((fisher_p(0, 4, 4, 4) - 2.0 / 70.0).abs() < 1e-12);
        assert!((fisher_p(0, 3, 3, 3) - 0.1).abs() < 1e-12, "three runs a side never decide");
        assert_eq!(fisher_p(0, 6, 0, 6), 1.0);
        assert_eq!(fisher_p(6, 6, 6, 6), 1.0);
    }
}
