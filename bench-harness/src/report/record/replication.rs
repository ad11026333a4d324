//! [`Replication`]: how many copies a cluster keeps, and how many of them had a write when it was acknowledged.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many copies a replicated engine keeps and waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Replication {
    /// A key-value store with quorums.
    Quorum {
        /// Copies.
        n: u32,
        /// Answers that a read waits for.
        r: u32,
        /// Acknowledgements that a write waits for.
        w: u32,
    },
    /// A log with in-sync replicas.
    InSync {
        /// Copies.
        n: u32,
        /// `all`, `1` or `0`.
        acks: String,
        /// Fewest in-sync replicas that a write needs.
        min_isr: u32,
    },
}

impl Replication {
    /// Copies of each record, which is how many nodes there are at least.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        match self {
            Self::Quorum { n, .. } | Self::InSync { n, .. } => *n,
        }
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quorum { n, r, w } => write!(f, "N={n} R={r} W={w}"),
            Self::InSync { n, acks, min_isr } => write!(f, "N={n} acks={acks} min ISR {min_isr}"),
        }
    }
}

/// Copies at the row's durability at the moment of the acknowledgement: on stable storage for `synced`, handed to
/// their nodes' kernels for `os`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopiesDurable {
    /// Fewest over all operations.
    pub min: u32,
    /// Median.
    pub p50: f64,
}
