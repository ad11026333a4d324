//! Values on the command line: durations, settings, rates; and numbers for people.

use std::time::Duration;

/// `30s`, `500ms`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = match &text[split..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("write a number and a unit, such as 30s, 500ms, 2m".to_owned()),
    };
    let seconds =
        text[..split].parse::<f64>().map_err(|_| "write a number and a unit, such as 30s".to_owned())?;
    let seconds = seconds * unit;
    if seconds > 0.0 && seconds <= 7.0 * 86_400.0 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("from 1ms to a week".to_owned())
    }
}

/// `key=value`.
pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}

/// A positive rate, operations a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.replace('_', "").parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("a number of operations a second, above 0".to_owned()),
    }
}

/// Microseconds for people: three digits and a unit.
pub(super) fn micros(us: Option<f64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 1_000.0 => format!("{us:.1} µs"),
        Some(us) if us < 1_000_000.0 => format!("{:.2} ms", us / 1e3),
        Some(us) => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_a_sense() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "30", "s", "-1s", "0s", "1e9s", "1.2.3s", "999999h", "30 s", "∞"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_and_rates_are_refused_when_they_say_nothing() {
        assert_eq!(setting("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(setting("a").is_err() && setting("=b").is_err());
        assert_eq!(rate("20_000"), Ok(20_000.0));
        for text in ["0", "-1", "nan", "inf", "fast"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
