//! The exact sign test: how likely that many pairs on one side are if nothing but chance decides.

/// Two-sided p-value of `above` pairs above and `below` pairs below; ties are left out by the caller.
#[must_use]
pub fn sign_test_p(above: u32, below: u32) -> f64 {
    let n = above + below;
    if n == 0 {
        return 1.0;
    }
    let fewer = above.min(below);
    // Terms of the binomial distribution with one half, each from the last: no factorials.
    let mut term = 0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut tail = term;
    for k in 0..fewer {
        term *= f64::from(n - k) / f64::from(k + 1);
        tail += term;
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_pairs_are_the_fewest_that_can_reach_five_per_cent() {
        assert_eq!(sign_test_p(5, 0), 0.0625);
        assert_eq!(sign_test_p(6, 0), 0.03125);
        assert_eq!(sign_test_p(0, 10), 2.0 / 1024.0);
        assert_eq!(sign_test_p(4, 2), 0.6875);
        assert_eq!(sign_test_p(3, 3), 1.0);
        assert_eq!(sign_test_p(0, 0), 1.0);
    }
}
