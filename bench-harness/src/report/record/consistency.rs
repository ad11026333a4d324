//! [`Consistency`]: what a run shows beside right and wrong answers.

use serde::{Deserialize, Serialize};

/// What became of overlapping increments, see [`workloads::LostUpdates`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostUpdates {
    /// Keys that were incremented.
    pub keys: u64,
    /// Increments that were acknowledged.
    pub acknowledged: u64,
    /// Increments that failed, each may have happened or not.
    pub failed: u64,
    /// Increments that the last reads show.
    pub surviving: u64,
    /// Acknowledged increments that are surely lost.
    pub lost: u64,
    /// Keys that nobody has read since their last increment.
    pub unread: u64,
}

/// What a run shows about order and agreement, beside right and wrong answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Consistency {
    /// Reads that were answered.
    pub reads: u64,
    /// Of these, answers older than the newest write acknowledged before the read began. Wrong only where the engine
    /// promises fresh answers.
    pub stale_reads: u64,
    /// Versions that the stalest answer lacked.
    pub stale_versions_max: u32,
    /// How long stale answers had been replaced when their read began, microseconds; mean.
    pub stale_us_mean: Option<f64>,
    /// The same of the worst one.
    pub stale_us_max: Option<f64>,
    /// Reads that met several concurrent versions.
    pub siblings: u64,
    /// Writes that were tried again because their version was obsolete.
    pub retries: u64,
    /// Copies that acknowledged writes didn't get, because their node was down, unreachable or late.
    #[serde(default)]
    pub copies_missed: u64,
    /// Whether a subscriber followed the writes; without one the numbers below say nothing.
    pub subscribed: bool,
    /// Acknowledged writes that the subscriber never saw.
    pub unseen: u64,
    /// Writes that the subscriber saw after a later write of the same key.
    pub order_violations: u64,
    /// Sightings of a write that had been seen before.
    pub seen_again: u64,
}
