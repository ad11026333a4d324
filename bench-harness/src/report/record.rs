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
mod recovery;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::limits::Limits;
pub use claim::{Claim, ClaimPart, ClaimVerdict, ClaimedFigures, MeasuredFigures};
pub use recovery::Recovery;

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

/// One kind of operation in one run of one engine. A run with reads and updates yields a measurement for each, and
/// one called `all`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Why this run took place: `C1`, `A/A`, `rate search`.
    pub experiment: String,
    /// Name of the workload, or the file's.
    pub workload: String,
    /// Name of the engine.
    pub engine: String,
    /// The engine's name with the settings in which it differs on purpose, `kv-cluster w=3 r=1`; empty where it runs as
    /// it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `os`, `synced` or `interval:MS`.
    pub durability: String,
    /// How many copies, and how many must answer; `None` for one node.
    pub replication: Option<Replication>,
    /// How many copies had reached the durability of this row when the write was acknowledged.
    pub copies_durable_at_ack: Option<CopiesDurable>,
    /// Number of the pair of runs this one belongs to, from 1; `None` outside pairs.
    pub pair: Option<u32>,
    /// Position among the runs of the experiment, in the order of time, from 1.
    pub order: u32,
    /// How many runs of the same engine under the same conditions came before.
    pub repeat: u32,
    /// Native, or simulated with which hardware profile.
    pub world: World,
    /// How the operations arrived.
    pub load: Load,
    /// Operations answered a second, over the measured time. Of all kinds for `all`, else of this kind.
    pub achieved_per_s: f64,
    /// Whether the engine could not keep up with the offered rate.
    pub saturated: bool,
    /// Whether the driver, not the engine, made the latency; `notes` say why.
    pub driver_limited: bool,
    /// What the memory engine sustains under the same workload, operations a second: above half of that a run is limited
    /// by the driver. `None` where that wasn't measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_per_s: Option<f64>,
    /// Kind of operation, or `all`.
    pub operation: String,
    /// Operations answered without an error.
    pub count: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Operations answered without an error, but later than [`LATE_NS`] after they were due.
    #[serde(default)]
    pub late: u64,
    /// Operations that the engine can't do.
    pub unsupported: u64,
    /// Answers that no allowed order of the operations explains. Above 0 the run has no latencies.
    pub wrong_answers: u64,
    /// From the moment an operation was due until its answer, microseconds.
    pub response_us: Percentiles,
    /// From the moment an operation was handed over until its answer, microseconds.
    pub service_us: Percentiles,
    /// From the moment an operation was due until it was handed over, microseconds.
    pub wait_us: Percentiles,
    /// File with the full distributions, see [`histograms`](crate::report::histograms).
    pub histogram: Option<String>,
    /// File with a row a second, see [`series`](crate::report::series).
    pub series: Option<String>,
    /// What it cost. Of the whole run, so the same in each of its measurements.
    pub resources: Resources,
    /// What was counted beside right and wrong. Of the whole run, so the same in each of its measurements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Warm-up before the measured time, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_s: Option<f64>,
    /// Whether the warm-up ended in a steady state, by the rule of [`SteadyState`](crate::measure::SteadyState);
    /// `None` without a warm-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<bool>,
    /// Measured time, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_s: Option<f64>,
    /// Seed of this run's operation stream; the same for both sides of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What each phase of the run cost, in their order; only in the measurement of all operations together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseCost>,
    /// How many answers were compared with what is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_answers: Option<u64>,
    /// What became of increments that overlapped; only for workloads that have them. Of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_updates: Option<LostUpdates>,
    /// What each node carried; only in the measurement of all operations together, and only of clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_loads: Vec<NodeLoad>,
    /// How a planned outage was recovered from; only in the measurement of all operations together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Wrong answers in words, the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrong_answer_examples: Vec<String>,
    /// How late the driver woke up for due operations, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_us: Option<Percentiles>,
    /// Events that make tails, by name: `rolls`, `merges`. A p99 over fewer than 100 of them is a coin toss.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tail_events: BTreeMap<String, u64>,
    /// `io_uring` or `blocking`; `None` for an engine without a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<String>,
    /// Settings of the engine that differ from its defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// Why its figures deserve doubt though they count: the machine was busy with something else, by the rule of
    /// [`Noise`](crate::measure::Noise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noisy: Option<String>,
    /// How the run was judged as a point of a search or of a latency-throughput curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<CurvePoint>,
    /// Why the run doesn't count, though it is kept: another program took the processor, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Anything else worth knowing about this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Later than this an answer counts as none where availability is asked for: 200 ms, the published p99 before the move.
pub const LATE_NS: u64 = 200_000_000;

impl Measurement {
    /// Who it is in a comparison: the engine, or its variant.
    #[must_use]
    pub fn side(&self) -> &str {
        if self.variant.is_empty() { &self.engine } else { &self.variant }
    }

    /// Whether its latencies may be quoted at all.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.wrong_answers == 0 && !self.saturated && !self.driver_limited && self.rejected.is_none()
    }

    /// Removes what must not be quoted: percentiles of a run that [does not count](Measurement::counts).
    pub fn withhold(&mut self) {
        if self.wrong_answers > 0 || self.saturated || self.driver_limited {
            self.response_us = Percentiles::default();
            self.service_us = Percentiles::default();
            self.wait_us = Percentiles::default();
        }
    }
}

/// What a node carried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Which node.
    pub node: String,
    /// Messages that it sent: as a rule one for each request that it was asked.
    pub messages: u64,
}

/// The judgement on an offered rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Whether the engine sustained the rate: it kept up, and p99 was within the bound.
    pub sustained: bool,
    /// Why, in words: `sustained`, `saturated`, `p99 above the bound`.
    pub why: String,
    /// The bound on p99 of the response time, microseconds.
    pub p99_bound_us: f64,
}

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

/// Where a measurement was taken. Native and simulated figures never share a row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum World {
    /// On this machine.
    #[default]
    Native,
    /// In the simulator, with the hardware profile of that name.
    Simulated(String),
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Simulated(profile) => write!(f, "simulated:{profile}"),
        }
    }
}

impl From<World> for String {
    fn from(world: World) -> Self {
        world.to_string()
    }
}

impl From<String> for World {
    fn from(text: String) -> Self {
        match text.strip_prefix("simulated:") {
            Some(profile) => Self::Simulated(profile.to_owned()),
            None if text == "native" => Self::Native,
            // Never taken for native: a world this build doesn't know is at least not this machine.
            None => Self::Simulated(text),
        }
    }
}

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

/// A distribution in seven numbers; each `None` where too few samples stand behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are at or below.
    pub p50: Option<f64>,
    /// 90 % are at or below.
    pub p90: Option<f64>,
    /// 95 % are at or below.
    pub p95: Option<f64>,
    /// 99 % are at or below.
    pub p99: Option<f64>,
    /// 99.9 % are at or below.
    pub p999: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// The mean.
    pub mean: Option<f64>,
}

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

/// What pairs of runs say about two engines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What is compared: `response_us.p99`, `service_us.p50`, `achieved_per_s`, `resources.cpu_s_per_op`.
    pub metric: String,
    /// Whether less or more of it is better.
    #[serde(default)]
    pub better: Better,
    /// Which experiment's measurements it rests on.
    #[serde(default)]
    pub experiment: String,
    /// Kind of operation, or `all`.
    #[serde(default)]
    pub operation: String,
    /// Workload.
    pub workload: String,
    /// Durability of both sides.
    pub durability: String,
    /// Load of both sides. Offered rates differ only where the label says so.
    pub load: Load,
    /// First engine.
    pub a: String,
    /// Second engine.
    pub b: String,
    /// How many pairs of runs counted.
    pub pairs: u32,
    /// Geometric mean over the pairs of `a`'s value by `b`'s.
    pub ratio: Option<f64>,
    /// Interval of `ratio` by Student's t on the logarithms, over pairs.
    pub ci95: Option<[f64; 2]>,
    /// The same from runs of one engine against itself: must hold 1, and says what this machine can tell apart.
    pub aa_ci95: Option<[f64; 2]>,
    /// The same of the first engine alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aa_a_ci95: Option<[f64; 2]>,
    /// The same of the second engine alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aa_b_ci95: Option<[f64; 2]>,
    /// The answer.
    pub verdict: ComparisonVerdict,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Each pair's ratio, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pair_ratios: Vec<f64>,
    /// Interval of `ratio` by bootstrap over pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_ci95: Option<[f64; 2]>,
    /// Standard deviation of the logarithm of the metric from run to run, by the engines' runs against themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_sigma: Option<f64>,
    /// Chance of so one-sided signs if there were no difference (exact sign test, two-sided).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_test_p: Option<f64>,
}

/// Which direction of a metric is the good one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Less is better: latencies, costs.
    #[default]
    Lower,
    /// More is better: throughput.
    Higher,
}

/// The answer of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComparisonVerdict {
    /// The interval lies on the first engine's side of 1, and outside what the machine can't tell apart.
    #[serde(rename = "a better")]
    ABetter,
    /// The same for the second engine.
    #[serde(rename = "b better")]
    BBetter,
    /// The interval holds 1, or is within the A/A interval.
    #[serde(rename = "no difference shown")]
    NoDifference,
    /// Too few pairs, withheld values, or both sides below what the clock can tell: see `why`.
    #[default]
    #[serde(rename = "not measured")]
    NotMeasured,
}

/// Why a run's record can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// No such file.
    #[error("{file} does not exist; name a result folder, one that holds {RUN_FILE}")]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// The file can't be read.
    #[error("can't read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file can't be written.
    #[error("can't write {file}: {source}; free some space or choose another folder with --out")]
    Write {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file isn't a record.
    #[error("{file}:{line}: not a readable record ({what}); restore the file, or measure again")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// The file has a version that this build doesn't know.
    #[error(
        "{file}: schema {found}, this build reads schema {expected}; use the version of workbench that wrote it"
    )]
    Schema {
        /// The file.
        file: PathBuf,
        /// The version in the file, as it stands there.
        found: String,
        /// The version this build reads.
        expected: u64,
    },
    /// A value can't be written as JSON and read again; it names the field.
    #[error("{file}: a value is not a number that JSON can hold ({what}); nothing was written")]
    NotFinite {
        /// The file.
        file: PathBuf,
        /// What the reader would say.
        what: String,
    },
}

impl Run {
    /// Reads the record of a result folder, or a record by its own path.
    ///
    /// # Errors
    /// The file is missing, unreadable, damaged or of another schema version.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let path = path.as_ref();
        let file = if path.is_dir() { path.join(RUN_FILE) } else { path.to_owned() };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(RecordError::Missing { file }),
            Err(source) => return Err(RecordError::Read { file, source }),
        };
        Self::parse(&text, &file)
    }

    /// Reads a record from text; `file` is for messages.
    ///
    /// # Errors
    /// The text is damaged or of another schema version.
    pub fn parse(text: &str, file: &Path) -> Result<Self, RecordError> {
        // The version comes first: another version's record would fail on some field and name the wrong reason.
        #[derive(Deserialize)]
        struct Version {
            schema: Option<serde_json::Value>,
        }
        let damaged = |e: serde_json::Error| RecordError::Damaged {
            file: file.to_owned(),
            line: e.line(),
            what: e.to_string(),
        };
        let version: Version = serde_json::from_str(text).map_err(damaged)?;
        match version.schema {
            Some(v) if v.as_u64() == Some(SCHEMA) => {}
            found => {
                return Err(RecordError::Schema {
                    file: file.to_owned(),
                    found: found.map_or_else(|| "missing".to_owned(), |v| v.to_string()),
                    expected: SCHEMA,
                });
            }
        }
        serde_json::from_str(text).map_err(damaged)
    }

    /// Writes `run.json` and `environment.json` into `dir`, each at once: a reader sees the old file or the new.
    ///
    /// # Errors
    /// The folder can't be written, or a number isn't finite.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<(), RecordError> {
        let dir = dir.as_ref();
        let file = dir.join(RUN_FILE);
        let not_finite =
            |e: serde_json::Error| RecordError::NotFinite { file: file.clone(), what: e.to_string() };
        let text = serde_json::to_string_pretty(self).map_err(not_finite)?;
        serde_json::from_str::<Self>(&text).map_err(not_finite)?;
        let environment = serde_json::to_string_pretty(&self.environment).map_err(not_finite)?;
        write_whole(&file, text.as_bytes())?;
        write_whole(&dir.join(ENVIRONMENT_FILE), environment.as_bytes())
    }

    /// What the record knows about the engine called `name`.
    #[must_use]
    pub fn engine_about(&self, name: &str) -> &str {
        self.engines.iter().find(|e| e.name == name).map_or("", |e| e.about.as_str())
    }
}

/// Replaces `file` by `bytes` through a neighbour, so that nobody ever reads half a file.
pub(crate) fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let failed = |source| RecordError::Write { file: file.to_owned(), source };
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    std::fs::write(&part, bytes).map_err(failed)?;
    std::fs::rename(&part, file).map_err(failed)
}

#[cfg(test)]
mod tests;
