//! [`RunDiff`]: two result folders side by side, row by row.
//!
//! Each folder's runs are the replicates: first with first where both folders ran the same seeds, else as two
//! independent rows of runs. Invariants:
//!
//! * A row never mixes unlike things: experiment, workload, engine, durability, replication, world and offered load
//!   are equal on both sides, or there is no row and [`RunDiff::unmatched`] says why.
//! * A ratio is *shown* to differ from 1 only after Holm's correction over all rows: on a machine that stays as it is,
//!   two folders of the same program show one in at most 5 of 100 cases, however many rows there are.
//! * A regression can't hide behind withheld numbers: answering wrongly, and not keeping up with a rate that the other
//!   side kept up with, are rows of their own.

mod rows;
mod setting;
mod surroundings;
mod table;

use serde::Serialize;

use crate::report::record::{Better, ComparisonVerdict, Load, Run};

pub(crate) use rows::METRICS;
pub use surroundings::Unlike;

/// Two folders, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunDiff {
    /// The first folder: what was.
    pub a: Side,
    /// The second folder: what is.
    pub b: Side,
    /// Where machines, builds, settings and the machines' own limits differ.
    pub unlike: Vec<Unlike>,
    /// What both have.
    pub rows: Vec<DiffRow>,
    /// Runs that have no counterpart, a sentence each.
    pub unmatched: Vec<String>,
}

/// A folder, by its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its name.
    pub id: String,
    /// UTC time of its start.
    pub started: String,
    /// Commit in seven digits, `+` for a tree with changes.
    pub commit: Option<String>,
    /// Whether it was a quick run.
    pub quick: bool,
}

/// One metric of one operation in one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiffRow {
    /// Why the runs took place.
    pub experiment: String,
    /// Workload.
    pub workload: String,
    /// Engine.
    pub engine: String,
    /// Durability.
    pub durability: String,
    /// Copies and quorums as text; `None` for one node.
    pub replication: Option<String>,
    /// `native` or `simulated:PROFILE`.
    pub world: String,
    /// How operations arrived, on both sides.
    pub load: Load,
    /// Kind of operation, or `all`.
    pub operation: String,
    /// `response_us.p99`, `achieved_per_s`, `resources.cpu_s_per_op`; `runs_saturated` and `runs_with_wrong_answers`
    /// are counts of runs.
    pub metric: String,
    /// Which direction is good.
    pub better: Better,
    /// First folder's runs.
    pub a: SideValues,
    /// Second folder's runs.
    pub b: SideValues,
    /// Whether runs of one seed were matched; else the folders' runs are taken as independent.
    pub matched_by_seed: bool,
    /// Geometric mean of `b` by `a`.
    pub ratio: Option<f64>,
    /// 95 % interval of `ratio`, by t on logarithms.
    pub ci95: Option<[f64; 2]>,
    /// Chance of such a ratio if there were no difference.
    pub p: Option<f64>,
    /// The same after Holm's correction over all rows; below 0.05 a difference is shown.
    pub p_adjusted: Option<f64>,
    /// The answer; `a` is the first folder.
    pub verdict: ComparisonVerdict,
    /// Why there is no answer, in a few words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What one folder says about a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SideValues {
    /// How many runs were made.
    pub runs: u32,
    /// The values of those that count.
    pub values: Vec<f64>,
    /// Their median.
    pub median: Option<f64>,
}

/// Which rows to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these metrics; all if empty. A metric named beforehand need not pay for the others.
    pub metrics: Vec<String>,
    /// Only this kind of operation.
    pub operation: Option<String>,
}

impl RunDiff {
    /// Compares two records.
    #[must_use]
    pub fn of(a: &Run, b: &Run, selection: &Selection) -> Self {
        let (rows, unmatched) = rows::rows(a, b, selection);
        let side = |run: &Run| Side {
            id: run.id.clone(),
            started: run.started.clone(),
            commit: run.environment.short_commit(),
            quick: run.quick,
        };
        Self { a: side(a), b: side(b), unlike: surroundings::unlike(a, b), rows, unmatched }
    }

    /// Rows where the second folder is shown to be worse by more than `share` (0.05 = 5 %): a latency or cost above
    /// 1.05 times the first's, a throughput below 0.95 times.
    pub fn regressions(&self, share: f64) -> impl Iterator<Item = &DiffRow> {
        self.rows.iter().filter(move |row| row.worsened(share))
    }

    /// Whether any row has an answer, "no difference shown" included.
    #[must_use]
    pub fn tells_anything(&self) -> bool {
        self.rows.iter().any(|row| row.verdict != ComparisonVerdict::NotMeasured)
    }

    /// The whole for a person; tables are at most 110 columns wide.
    #[must_use]
    pub fn text(&self, fail_above: f64) -> String {
        table::text(self, fail_above)
    }
}

impl DiffRow {
    /// Whether it is shown to be worse by more than `share`.
    #[must_use]
    pub fn worsened(&self, share: f64) -> bool {
        self.verdict == ComparisonVerdict::ABetter
            && match (self.ratio, self.better) {
                // Counts of runs: no share of them is tolerable.
                (None, _) => true,
                (Some(ratio), Better::Lower) => ratio > 1.0 + share,
                (Some(ratio), Better::Higher) => ratio < 1.0 - share,
            }
    }
}
