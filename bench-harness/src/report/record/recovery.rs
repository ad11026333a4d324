//! [`Recovery`]: how a cluster recovered from an outage that was planned for a run.

use serde::{Deserialize, Serialize};

/// How a cluster recovered from the loss of one node. Times are seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Which node was away, by its number.
    pub member: u16,
    /// From the moment that it was gone until it was started again: how long the harness kept it away.
    pub outage_s: f64,
    /// From the moment that it was gone until a write was acknowledged that was handed over after that, to a key that
    /// belongs to it first of all: whose partition it leads, or masters. `None` if none was.
    pub writes_accepted_s: Option<f64>,
    /// From the moment that it was started again, its opening included and the outage not, until it had all that it missed.
    /// Of a log: all that its leaders had when it came back, and every leader counts all copies as in sync. Of a store: each
    /// of the keys asked about in its last acknowledged version or a later one. `None` if that didn't happen while it was
    /// watched.
    pub replicated_s: Option<f64>,
    /// How long it was watched after it was started again: to the end of the measured phase.
    pub watched_s: f64,
    /// Of a store: keys that the node was asked about, a sample of those that were written while it was away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_asked: Option<u64>,
    /// How many of them it lacked when it was asked for them last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_lacking: Option<u64>,
}
