//! [`Comparison`]: what pairs of runs say about two engines.

use serde::{Deserialize, Serialize};

use super::Load;

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
