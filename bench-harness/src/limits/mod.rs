//! [`Limits`]: what this machine can do at best, so that an engine's figures read as ratios to it.

use serde::{Deserialize, Serialize};

/// The machine's own figures, measured without any engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The folder whose file system was measured.
    pub folder: String,
    /// How long measuring took, seconds.
    pub took_s: f64,
    /// 4 KiB durable overwrite of blocks that were written before, on the caller's thread.
    pub write_sync: Option<LatencyLimit>,
    /// The same handed to another thread and back: what an engine with a committer thread can reach.
    pub write_sync_handed_over: Option<LatencyLimit>,
    /// 4 KiB durable append to a growing file, on the caller's thread.
    pub write_sync_growing: Option<LatencyLimit>,
    /// The same handed to another thread and back.
    pub write_sync_growing_handed_over: Option<LatencyLimit>,
    /// Sequential buffered writes of 256 KiB.
    pub append: Option<AppendLimit>,
    /// Random reads of 1 KiB from the page cache.
    pub cached_read: Option<LatencyLimit>,
    /// Copying memory, bytes a second.
    pub memcpy_bytes_per_s: Option<f64>,
    /// From one thread's signal until the other runs.
    pub wake_up: Option<LatencyLimit>,
    /// How late a sleep to an absolute time ends: nothing shorter can be timed.
    pub timer: Option<LatencyLimit>,
    /// io_uring and blocking calls under the same design, interleaved.
    pub backends: Vec<BackendLimit>,
    /// What could not be measured, and why; one sentence each.
    pub failed: Vec<String>,
}

/// A latency that was measured one operation at a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyLimit {
    /// Median, microseconds.
    pub p50_us: Option<f64>,
    /// 99th percentile, microseconds; `None` below 10,000 samples' worth of tail (100 samples above it).
    pub p99_us: Option<f64>,
    /// How many were measured.
    pub samples: u64,
    /// Operations a second while measuring.
    pub per_s: f64,
}

/// Sequential appending.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AppendLimit {
    /// Bytes a second with the final sync counted.
    pub bytes_per_s: f64,
    /// Bytes a second until the last write call returned.
    pub burst_bytes_per_s: f64,
    /// How much was written.
    pub bytes: u64,
    /// One write call of 256 KiB.
    pub write_call: LatencyLimit,
}

/// Durable 4 KiB writes through one backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendLimit {
    /// `io_uring` or `blocking`.
    pub backend: String,
    /// Writes in flight at a time.
    pub depth: u32,
    /// From submit to completion.
    pub latency: LatencyLimit,
}
