//! [`Measurement`]: one kind of operation in one run of one engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Consistency, CopiesDurable, Load, LostUpdates, PhaseCost, Recovery, Replication, Resources, World,
};

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
