//! Rebalancing: a cluster comes from one ring to another while it is used.
//!
//! A [`RebalancePlan`] says who takes which partitions from whom. A [`RebalanceController`] has the nodes carry it out; at
//! each node a [`Rebalancer`] does its part. Both are state machines.

mod balance;
mod controller;
mod fetching;
mod keeping;
mod metadata;
mod moving;
mod orders;
mod partition_storage;
mod plan;
mod proxied;
mod rebalancer;
mod sweep;

pub use balance::{Balance, NodeLoad};
pub use controller::{
    ControllerConfig, ControllerPhase, RebalanceController, RebalanceOutcome, RebalanceProgress,
};
pub use metadata::MetadataKey;
#[cfg(feature = "fuzzing")]
pub use metadata::accepts_metadata;
pub use partition_storage::{KeptMetadata, PartitionStorage};
pub use plan::{
    DonorRule, PlanError, PlanOptions, PlanTotals, PlannedStore, RebalanceBatch, RebalancePlan, StealTask,
    StolenPartition,
};
pub use rebalancer::{MetadataDamaged, Rebalancer, RebalancerConfig, RebalancerStats};
