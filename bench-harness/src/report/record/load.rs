//! [`Load`]: how operations arrive.

use serde::{Deserialize, Serialize};

/// How operations arrive.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Open or closed.
    pub kind: LoadKind,
    /// Operations due a second, for an open loop; `None` for a closed one.
    pub offered_per_s: Option<f64>,
    /// Operations in flight, for a closed loop.
    pub clients: Option<u32>,
    /// What the load stands for: `50 % of the slower engine's maximum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Whether operations wait for answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadKind {
    /// Operations become due by a schedule, whatever the engine does.
    Open,
    /// Each client sends its next operation when it has its answer.
    #[default]
    Closed,
}
