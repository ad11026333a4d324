//! [`Resources`]: what a run cost.

use serde::{Deserialize, Serialize};

/// What a run cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time of the process during the measured time, seconds, driver included.
    pub cpu_s: Option<f64>,
    /// Largest resident set of the process, bytes.
    pub rss_peak_bytes: Option<u64>,
    /// Bytes that the engine handed to the kernel.
    pub written_bytes: Option<u64>,
    /// Size of the engine's files at the end.
    pub disk_bytes: Option<u64>,
    /// Bytes of keys and values that are alive at the end.
    pub live_bytes: Option<u64>,
    /// Bytes of the values that reads returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Syncs that the engine asked for.
    pub syncs: Option<u64>,
    /// `written_bytes` by bytes that the workload wrote.
    pub write_amp: Option<f64>,
    /// `disk_bytes` by `live_bytes`.
    pub space_amp: Option<f64>,
    /// Messages between clients and nodes and among nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// Their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_bytes: Option<u64>,
    /// Flushes that the block device counted during the run: the check on `syncs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_flushes: Option<u64>,
    /// Processor time that the driver alone took, seconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_cpu_s: Option<f64>,
    /// Times that a thread of the process gave the processor up, to wait for something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voluntary_switches: Option<u64>,
    /// Times that the kernel took the processor away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub involuntary_switches: Option<u64>,
    /// Share of the processors' time that the hypervisor gave to others during the run, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal_share: Option<f64>,
    /// Share of the processors' time that other programs used, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_share: Option<f64>,
    /// Seconds for which a quota kept the process from running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_s: Option<f64>,
}

/// What a phase of a run cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseCost {
    /// `preload`, `warm-up`, `measured`, `final reads`.
    pub phase: String,
    /// How long it took.
    pub seconds: f64,
    /// Operations that came to an end in it.
    pub operations: u64,
    /// What it cost.
    pub resources: Resources,
}
