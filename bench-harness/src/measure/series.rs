//! [`SeriesRow`]: one second of a run.

use serde::{Deserialize, Serialize};

/// One second of one kind of operation, counted by when the operations were answered. A line of the series file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesRow {
    /// Start, in seconds from the start of the measured time.
    pub second: f64,
    /// Kind of operation, or `all`.
    pub operation: String,
    /// Operations answered.
    pub count: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Median response in microseconds.
    pub p50_us: Option<f64>,
    /// 99th percentile of the response within this second: a shape to look at, not a result.
    pub p99_us: Option<f64>,
    /// Longest response.
    pub max_us: Option<f64>,
    /// How far the run was behind its schedule at worst: the longest wait of any operation before it was handed
    /// over, in microseconds.
    pub lag_us: f64,
}
