//! Who is there, and who holds what when that changes.

mod failure_detector;
mod rebalance;

pub(crate) use failure_detector::FailureDetector;
pub use failure_detector::{DetectorConfig, DetectorKind, NodeFailure};
pub use rebalance::{
    Balance, DonorRule, NodeLoad, PlanError, PlanOptions, PlanTotals, PlannedStore, RebalanceBatch,
    RebalancePlan, StealTask, StolenPartition,
};
