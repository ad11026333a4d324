//! [`Run`]: what `run.json` holds, schema 1: every measurement, comparison and claim of one invocation.
//!
//! The report is made from this record and the raw files beside it, never from anything that only lived in memory,
//! so `workbench report DIR` can make it again on another machine, years later. Invariants:
//!
//! * What [`Run::write`] wrote, [`Run::read`] reads: a number that JSON can't hold is refused at the writing.
//! * A number that is not known is `None`, never 0.
//! * Durations and latencies say their unit in the field's name.
//! * A measurement with wrong answers, or one that was saturated or limited by the driver, carries no percentiles.
//! * Fields may be added within a schema version; readers ignore those they don't know. The version changes when a
//!   field changes its meaning or leaves.

mod claim;
mod comparison;
mod consistency;
mod file;
mod load;
mod measurement;
mod recovery;
mod replication;
mod resources;
mod world;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::limits::Limits;
pub use claim::{Claim, ClaimPart, ClaimVerdict, ClaimedFigures, MeasuredFigures};
pub use comparison::{Better, Comparison, ComparisonVerdict};
pub use consistency::{Consistency, LostUpdates};
pub use file::RecordError;
pub(crate) use file::write_whole;
pub use load::{Load, LoadKind};
pub use measurement::{CurvePoint, LATE_NS, Measurement, NodeLoad, Percentiles};
pub use recovery::Recovery;
pub use replication::{CopiesDurable, Replication};
pub use resources::{PhaseCost, Resources};
pub use world::World;

/// The version of `run.json` that this build writes and reads.
pub const SCHEMA: u64 = 1;

/// The record's file name inside a result folder.
pub const RUN_FILE: &str = "run.json";

/// The file name of the environment alone, for those who compare machines.
pub const ENVIRONMENT_FILE: &str = "environment.json";

/// One invocation of `workbench compare` or `workbench run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: u64,
    /// Name of the run: UTC time and commit, as the folder is called by default.
    pub id: String,
    /// UTC time of the start, RFC 3339.
    pub started: String,
    /// UTC time of the end, RFC 3339.
    pub finished: String,
    /// The command line, program name first.
    pub command: Vec<String>,
    /// The seed that all others are derived from.
    pub seed: u64,
    /// Whether this was the shortened run, whose verdicts are at best "direction only".
    pub quick: bool,
    /// Whether the run was ended from outside before it was through.
    #[serde(default)]
    pub interrupted: bool,
    /// The machine.
    pub environment: Environment,
    /// What the machine can do at best, measured at the start.
    pub limits: Limits,
    /// The engines that took part, with a line about each.
    #[serde(default)]
    pub engines: Vec<Subject>,
    /// The workloads that were asked, with a line about each and their parameters.
    #[serde(default)]
    pub workloads: Vec<Subject>,
    /// One per run of an engine and per kind of operation in it.
    pub measurements: Vec<Measurement>,
    /// What the measurements say about two engines.
    pub comparisons: Vec<Comparison>,
    /// Every claim that this build knows, measured or not.
    pub claims: Vec<Claim>,
    /// What a longer run does, so that a second invocation can go on where the first one was ended; `None` for one
    /// that isn't continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What a reader might expect to find and won't, one sentence each.
    #[serde(default)]
    pub not_measured: Vec<String>,
    /// Anything else that a reader must know, one sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a longer run is about to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// All that decides which runs are made and what they mean: engines, workloads, loads, seed, source.
    pub key: String,
    /// Whether all of it was done.
    pub complete: bool,
}

/// An engine or a workload, as the report introduces it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name on the command line.
    pub name: String,
    /// One line for somebody who has never heard of it.
    pub about: String,
    /// Its parameters and settings.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
}

/// A parameter of a workload or a setting of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Value as text.
    pub value: String,
    /// What it means.
    #[serde(default)]
    pub meaning: String,
}

impl Run {
    /// What the record knows about the engine called `name`.
    #[must_use]
    pub fn engine_about(&self, name: &str) -> &str {
        self.engines.iter().find(|e| e.name == name).map_or("", |e| e.about.as_str())
    }
}

#[cfg(test)]
mod tests;
