//! Student's t distribution: the quantile that turns a spread over runs into an interval, and the chance behind it.

/// The `p`-quantile of Student's t with `df` degrees of freedom, by bisection of the distribution function. Welch's
/// degrees of freedom are no whole number, so `df` may be a fraction.
///
/// # Panics
/// If `p` isn't inside (0, 1) or `df` is below 1.
#[must_use]
pub fn t_quantile(p: f64, df: impl Into<f64>) -> f64 {
    let df = df.into();
    assert!(p > 0.0 && p < 1.0, "a quantile is inside (0, 1), not {p}");
    assert!(df >= 1.0, "an interval needs at least two samples");
    let (mut low, mut high) = (-1.0, 1.0);
    while t_cdf(low, df) > p {
        low *= 2.0;
    }
    while t_cdf(high, df) < p {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if t_cdf(middle, df) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The chance of a t at least this far from 0, on either side.
#[must_use]
pub fn t_two_sided_p(t: f64, df: impl Into<f64>) -> f64 {
    let v = df.into();
    // Not 1 - cdf: that would lose the small chances, which are the ones that matter.
    if t.is_infinite() { 0.0 } else { incomplete_beta(0.5 * v, 0.5, v / (v + t * t)) }
}

fn t_cdf(t: f64, df: f64) -> f64 {
    let tail = 0.5 * t_two_sided_p(t, df);
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// The regularized incomplete beta function I_x(a, b), by its continued fraction (Lentz's evaluation).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast only on this side; the other side is its mirror image.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    const TINY: f64 = 1e-300;
    let keep_off_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / keep_off_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / keep_off_zero(1.0 + even * d);
        c = keep_off_zero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / keep_off_zero(1.0 + odd * d);
        c = keep_off_zero(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// ln Γ(x) for x > 0: Stirling's series, after moving x up to where it is exact to double precision.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series = (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_printed_tables() {
        // Tables of Student's distribution, two-sided 95 % and 99 %, one-sided 95 %.
        for (p, df, expected) in [
            (0.975, 1_u32, 12.706_205),
            (0.975, 2, 4.302_653),
            (0.975, 5, 2.570_582),
            (0.975, 9, 2.262_157),
            (0.975, 30, 2.042_272),
            (0.995, 5, 4.032_143),
            (0.95, 5, 2.015_048),
            (0.95, 11, 1.795_885),
        ] {
            let got = t_quantile(p, df);
            assert!((got - expected).abs() < 2e-6, "t({p}, {df}) = {got}, the table says {expected}");
            assert!((t_quantile(1.0 - p, df) + expected).abs() < 2e-6, "the distribution is symmetric");
        }
        assert!(t_quantile(0.5, 7.0).abs() < 1e-6, "the median is 0");
    }

    #[test]
    fn the_chance_of_a_table_value_is_the_tables_and_fractions_lie_between() {
        assert!((t_two_sided_p(2.570_582, 5) - 0.05).abs() < 1e-6);
        assert!((t_two_sided_p(-4.032_143, 5) - 0.01).abs() < 1e-6);
        assert_eq!(t_two_sided_p(0.0, 5), 1.0);
        assert_eq!(t_two_sided_p(f64::INFINITY, 5), 0.0);
        let between = t_quantile(0.975, 5.5);
        assert!(between < t_quantile(0.975, 5.0) && between > t_quantile(0.975, 6.0), "{between}");
    }
}
