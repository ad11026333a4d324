//! The floor: what the memory engine sustains under a workload. A run that comes near it measures the driver, and so
//! does one whose latency is the driver's own lateness; both are told by [`DriverLimited`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::Workload;

use crate::engines::Memory;
use crate::load::Bound;
use crate::run::{Arriving, RunError, RunPlan, run_once};

/// Operations in flight when the floor of an open loop is measured: enough that the driver never waits.
pub const FLOOR_CLIENTS: u32 = 256;
/// It is known after so long.
const LENGTH_MAX: Duration = Duration::from_secs(1);
/// Fewer answers say nothing about a rate.
const ANSWERS_MIN: u64 = 1_000;

/// Why the driver, not the engine, made a run's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DriverLimited {
    /// p99 of the driver's own lateness is more than a tenth of the p99 that it measured.
    Late {
        /// p99 of the lateness, nanoseconds.
        lateness_ns: u64,
        /// p99 of the response time, nanoseconds.
        response_ns: u64,
    },
    /// More than half of what the memory engine sustains: the driver takes most of the time.
    NearMemory {
        /// Operations a second that the memory engine sustains.
        memory_per_s: f64,
    },
}

impl fmt::Display for DriverLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late { lateness_ns, response_ns } => write!(
                f,
                "limited by the driver: it was {:.0} µs late itself (p99), more than a tenth of the {:.0} µs measured",
                *lateness_ns as f64 / 1e3,
                *response_ns as f64 / 1e3
            ),
            Self::NearMemory { memory_per_s } => write!(
                f,
                "limited by the driver: more than half of the {memory_per_s:.0} operations/s that the memory engine sustains"
            ),
        }
    }
}

/// What the memory engine sustains with `clients` operations in flight, measured for `length` but a second at most;
/// `None` where it was stopped, lacks an operation of the workload, or answered too few for a rate. `dir` is made and
/// removed.
///
/// # Errors
/// The run couldn't be made.
pub fn memory_per_s(
    workload: &dyn Workload,
    clients: u32,
    length: Duration,
    seed: Seed,
    dir: PathBuf,
    stop: &Arc<AtomicBool>,
) -> Result<Option<f64>, RunError> {
    let plan = RunPlan {
        engine: &Memory,
        workload,
        durability: Durability::Os,
        settings: &BTreeMap::new(),
        arriving: Arriving::Closed { clients },
        warmup: Duration::ZERO,
        bound: Bound::time(length.min(LENGTH_MAX)),
        seed: seed.derive("floor", 0),
        dir,
        histograms: None,
        memory_per_s: None,
    };
    let outcome = match run_once(plan, stop) {
        Ok(outcome) => outcome,
        Err(RunError::Stopped) => return Ok(None),
        Err(error) => return Err(error),
    };
    let all = outcome.tally.all();
    let sound = !outcome.phase.stopped && all.unsupported == 0 && all.answered >= ANSWERS_MIN;
    Ok(sound.then(|| outcome.phase.achieved_per_s()))
}
