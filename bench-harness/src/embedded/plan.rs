//! [`EmbeddedPlan`]: what is measured, and for how long.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is measured, and for how long.
#[derive(Debug, Clone)]
pub struct EmbeddedPlan {
    /// Where the stores' folders are made, and removed again.
    pub dir: PathBuf,
    /// Keys in each store; 16 bytes each.
    pub keys: u64,
    /// Lengths of values, each measured by itself.
    pub value_bytes: Vec<usize>,
    /// Numbers of threads for gets and updates.
    pub threads: Vec<usize>,
    /// How often everybody has his turn.
    pub rounds: usize,
    /// How long a turn takes.
    pub turn: Duration,
    /// Whose turn it is, in this order; the first is compared with the others.
    pub engines: Vec<String>,
    /// Set by whoever wants it to end early.
    pub stop: Arc<AtomicBool>,
}

impl EmbeddedPlan {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
