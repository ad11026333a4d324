//! Rebalancing: a cluster comes from one ring to another while it is used.

mod balance;
mod plan;

pub use balance::{Balance, NodeLoad};
pub use plan::{
    DonorRule, PlanError, PlanOptions, PlanTotals, PlannedStore, RebalanceBatch, RebalancePlan, StealTask,
    StolenPartition,
};
