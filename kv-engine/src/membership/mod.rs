//! Who is there, and who holds what when that changes.

mod failure_detector;
mod rebalance;

pub(crate) use failure_detector::FailureDetector;
pub use failure_detector::{DetectorConfig, DetectorKind, NodeFailure};
#[cfg(feature = "fuzzing")]
pub use rebalance::accepts_metadata;
pub use rebalance::{
    Balance, ControllerConfig, ControllerPhase, DonorRule, KeptMetadata, MetadataDamaged, MetadataKey,
    NodeLoad, PartitionStorage, PlanError, PlanOptions, PlanTotals, PlannedStore, RebalanceBatch,
    RebalanceController, RebalanceOutcome, RebalancePlan, RebalanceProgress, Rebalancer, RebalancerConfig,
    RebalancerStats, StealTask, StolenPartition,
};
