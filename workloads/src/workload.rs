//! The trait that every workload is: it turns a seed into a stream of operations.
//!
//! A workload is plain data. It never waits, never asks what time it is, and never learns how an engine
//! answered: the same seed gives the same stream, whatever is measured.

use crate::arrivals::Arrivals;
use crate::error::WorkloadError;
use crate::op::Op;
use engine_env::rng::Seed;
use std::sync::Arc;

/// Operations, one after the other; owned by one driver thread.
pub type Ops<'a> = Box<dyn Iterator<Item = Op> + Send + 'a>;

/// A setting of a workload, as `describe` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The key in a spec file and of `--set`.
    pub name: String,
    /// Its value in this workload.
    pub value: String,
    /// What it does, with the unit.
    pub meaning: String,
}

impl Parameter {
    /// A parameter of these texts.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl ToString, meaning: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.to_string(), meaning: meaning.into() }
    }
}

/// What is asked of an engine.
///
/// The harness writes [`preload`](Self::preload) first, then submits [`stream`](Self::stream) at the times that
/// [`arrivals`](Self::arrivals) gives, then asks [`finale`](Self::finale). Key indexes are dense: preloaded keys
/// have the indexes `0..records()`, keys that appear later the next ones.
pub trait Workload: Send + Sync {
    /// The name, as in `--workload NAME`.
    fn name(&self) -> &str;

    /// One line on what it imitates.
    fn about(&self) -> &str;

    /// What it imitates and what to look for, in a few plain sentences; nothing by default.
    fn story(&self) -> &str {
        ""
    }

    /// Keys that exist before the run.
    fn records(&self) -> u64;

    /// One write per key that exists before the run, in the order of their indexes.
    fn preload(&self, seed: Seed) -> Ops<'_>;

    /// The run's operations: endless, or finite for a recorded stream.
    fn stream(&self, seed: Seed) -> Ops<'_>;

    /// Whether its operations were recorded. A recording is played once, from its begin on, warm-up included; other
    /// streams start anew in each phase of a run, with a seed of their own.
    fn is_recording(&self) -> bool {
        false
    }

    /// When the operations are due; Poisson unless the workload knows better.
    fn arrivals(&self) -> Arrivals {
        Arrivals::Poisson
    }

    /// Reads after a run that took `streamed` operations from the stream: every key of a recorded change stream,
    /// nothing by default.
    fn finale(&self, streamed: u64) -> Ops<'_> {
        let _ = streamed;
        Box::new(std::iter::empty())
    }

    /// What can be set, for `describe`.
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// The same workload with `--set key=value` applied, in order.
    ///
    /// # Errors
    /// Unknown key or bad value, with the way out. A workload without settings refuses every key.
    fn configured(&self, settings: &[(String, String)]) -> Result<Arc<dyn Workload>, WorkloadError> {
        let key = settings.first().map(|(key, _)| key.clone()).unwrap_or_default();
        Err(WorkloadError::NoSettings { workload: self.name().to_owned(), key })
    }
}
