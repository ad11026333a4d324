//! What it takes for a rate to count as sustained.

use std::time::Duration;

use crate::report::curves::TOO_FEW;
use crate::report::record::CurvePoint;
use crate::run::RunOutcome;

/// Operations below which a p99 has fewer than 100 samples above it.
pub(super) const OPERATIONS_MIN: f64 = 10_000.0;

/// Judges a run at an offered rate: nearly all achieved, no growing lag, every answer right, p99 within `p99_max`.
///
/// That the driver was the limit is no reason against a rate: a driver that was late makes the response times longer,
/// not shorter, so a bound that holds in spite of it holds.
pub(super) fn judge(outcome: &RunOutcome, p99_max: Duration) -> CurvePoint {
    let all = outcome.tally.all();
    let response = outcome.latency.all().response;
    let p99_ns = u128::from(response.value_at_quantile(0.99));
    let (sustained, why) = if all.wrong > 0 {
        (false, "wrong answers".to_owned())
    } else if all.errors > 0 {
        (false, "operations failed".to_owned())
    } else if outcome.phase.lag_grows {
        (false, "saturated: the lag grows".to_owned())
    } else if outcome.saturated {
        (false, "saturated: less than 99 % of the offered rate achieved".to_owned())
    } else if p99_ns > p99_max.as_nanos() {
        // Also with few samples: the hundredth part of them was slower than the bound.
        (false, "p99 above the bound".to_owned())
    } else if (response.len() as f64) < OPERATIONS_MIN {
        (false, TOO_FEW.to_owned())
    } else if let Some(why) = outcome.driver_limited {
        (true, format!("sustained; percentiles withheld: {why}"))
    } else {
        (true, "sustained".to_owned())
    };
    CurvePoint { sustained, why, p99_bound_us: p99_max.as_secs_f64() * 1e6 }
}
