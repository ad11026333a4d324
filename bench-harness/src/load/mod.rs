//! Load: one thread that submits operations, takes their answers, checks and times them.
//!
//! [`Driver`] holds what both loops share; [`closed_loop`] keeps a number of operations in flight, [`open_loop`]
//! follows a schedule of due times. Neither knows what clock it runs by, so the tests run hours in milliseconds.

mod clock;
mod closed;
mod driver;
mod key_order;
mod lag;
mod open;
mod pace;
mod pending;
mod sightings;
mod tally;

pub(crate) use clock::monotonic_ns;
pub use clock::{Clock, OsClock};
pub use closed::closed_loop;
pub use driver::{Drained, Driver};
pub use open::open_loop;
pub use pace::Pace;
pub use sightings::SightingTally;
pub use tally::{ClassTally, Tally};

use std::time::Duration;

/// When a phase ends, whichever comes first. The stream of operations may end before either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// After this long.
    pub time: Option<Duration>,
    /// After this many operations.
    pub operations: Option<u64>,
}

impl Bound {
    /// Ends after a time.
    #[must_use]
    pub fn time(limit: Duration) -> Self {
        Self { time: Some(limit), operations: None }
    }

    /// Ends after so many operations.
    #[must_use]
    pub fn operations(count: u64) -> Self {
        Self { time: None, operations: Some(count) }
    }

    /// Ends with the stream.
    #[must_use]
    pub fn stream() -> Self {
        Self { time: None, operations: None }
    }

    fn time_ns(&self) -> u64 {
        self.time.map_or(u64::MAX, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX))
    }

    fn count(&self) -> u64 {
        self.operations.unwrap_or(u64::MAX)
    }
}

/// How a phase went, by the driver's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// When it began.
    pub start_ns: u64,
    /// From the start to the end of offering.
    pub planned_ns: u64,
    /// From the start to the end of offering, or to the last answer if that came later.
    pub elapsed_ns: u64,
    /// Operations offered.
    pub offered: u64,
    /// Operations that came to an end, well or not.
    pub ended: u64,
    /// Whether lag grew over the last third: the engine falls behind for good. Open loop only.
    pub lag_grows: bool,
    /// Operations that were never answered.
    pub unanswered: u64,
    /// Ended by the stop flag.
    pub stopped: bool,
}

impl Phase {
    /// Operations that came to an end, a second.
    #[must_use]
    pub fn achieved_per_s(&self) -> f64 {
        if self.elapsed_ns == 0 { 0.0 } else { self.ended as f64 * 1e9 / self.elapsed_ns as f64 }
    }

    /// Whether an open loop's engine didn't keep up: less than 99 % of the offered load achieved, or lag that grows.
    ///
    /// Operations that are in flight when a run ends are no backlog: up to 100 ms of them are forgiven, which is
    /// more than 1 % in runs below ten seconds.
    #[must_use]
    pub fn saturated(&self) -> bool {
        let late_ns = self.elapsed_ns - self.planned_ns;
        self.lag_grows || self.unanswered > 0 || late_ns > (self.elapsed_ns / 100).max(100_000_000)
    }
}

/// No wait is longer than this, so that a stop is noticed.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// Answers that take longer than this after the end of a phase are given up.
const DRAIN_MAX: Duration = Duration::from_secs(30);
