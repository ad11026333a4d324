//! Numbers as a reader sees them: three significant digits, a unit, thousands apart.

/// Text for a value that isn't there.
pub(crate) const NONE: &str = "–";

/// Three significant digits; from a thousand on, whole numbers with thousands apart.
pub(crate) fn number(v: f64) -> String {
    let size = v.abs();
    if !v.is_finite() {
        NONE.to_owned()
    } else if size >= 999.5 {
        // Three significant digits here too: more would be noise.
        let step = 10f64.powf(size.log10().floor() - 2.0).max(1.0);
        thousands((v / step).round() * step)
    } else if size >= 99.95 || size == 0.0 {
        format!("{v:.0}")
    } else if size >= 9.995 {
        format!("{v:.1}")
    } else if size >= 0.01 {
        format!("{v:.2}")
    } else {
        format!("{v:.1e}")
    }
}

/// A whole number with thousands apart, all digits kept.
pub(crate) fn thousands(v: f64) -> String {
    let digits = format!("{:.0}", v.abs());
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if v < 0.0 {
        text.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number as it was given, for figures that others published: rounding 99.99 % to 100 % would change the claim.
pub(crate) fn exact(v: f64) -> String {
    if v.fract() == 0.0 && v.abs() < 1e15 { thousands(v) } else { v.to_string() }
}

/// A count, all digits kept.
pub(crate) fn count(v: u64) -> String {
    thousands(v as f64)
}

/// A duration given in microseconds, in the unit that reads best.
pub(crate) fn micros(us: f64) -> String {
    match us.abs() {
        s if s >= 999_500.0 => format!("{} s", number(us / 1e6)),
        s if s >= 999.5 => format!("{} ms", number(us / 1e3)),
        s if s >= 0.9995 || s == 0.0 => format!("{} µs", number(us)),
        _ => format!("{} ns", number(us * 1e3)),
    }
}

/// Something a second.
pub(crate) fn per_second(v: f64) -> String {
    if v >= 999_500.0 { format!("{} M/s", number(v / 1e6)) } else { format!("{}/s", number(v)) }
}

/// Bytes, in decimal units as disks are sold.
pub(crate) fn bytes(v: f64) -> String {
    match v {
        v if v >= 999.5e6 => format!("{} GB", number(v / 1e9)),
        v if v >= 999.5e3 => format!("{} MB", number(v / 1e6)),
        v if v >= 1e3 => format!("{} kB", number(v / 1e3)),
        v => format!("{v:.0} B"),
    }
}

/// A ratio.
pub(crate) fn ratio(v: f64) -> String {
    format!("{}×", number(v))
}

/// An interval of ratios. Past a thousandth or a thousand it says nothing any more, so neither do its digits.
pub(crate) fn interval([low, high]: [f64; 2]) -> String {
    let end = |v: f64| match v {
        v if v < 1e-3 => "<0.001".to_owned(),
        v if v > 1e3 => ">1,000".to_owned(),
        v => number(v),
    };
    format!("{} to {}", end(low), end(high))
}

/// `None` as a dash.
pub(crate) fn or_dash<T>(v: Option<T>, text: impl Fn(T) -> String) -> String {
    v.map_or_else(|| NONE.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_the_unit_that_reads_best() {
        for (us, text) in [
            (0.0, "0 µs"),
            (0.0421, "42.1 ns"),
            (1.0, "1.00 µs"),
            (12.345, "12.3 µs"),
            (999.4, "999 µs"),
            (999.6, "1.00 ms"),
            (123_456.0, "123 ms"),
            (12_345_678.0, "12.3 s"),
        ] {
            assert_eq!(micros(us), text);
        }
        assert_eq!(per_second(12_345.0), "12,300/s");
        assert_eq!(per_second(2_024_032.0), "2.02 M/s");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(number(1_999.6), "2,000");
        assert_eq!(number(0.000_12), "1.2e-4");
        assert_eq!(number(f64::NAN), NONE);
        assert_eq!((exact(99.999), exact(340_000.0)), ("99.999".to_owned(), "340,000".to_owned()));
        assert_eq!(interval([0.5, 12.0]), "0.50 to 12.0");
        assert_eq!(interval([2.9e-13, 9.2e13]), "<0.001 to >1,000");
        assert_eq!(bytes(2_500_000_000.0), "2.50 GB");
    }
}
