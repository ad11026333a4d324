//! Experiments: which runs are made, in which order, and what is concluded from them.

mod campaign;
mod claims;
mod compare;
mod contrasts;
mod curve;
mod rate_search;
mod rate_steps;
mod self_comparison;

pub use campaign::{Campaign, CampaignError, CampaignSetup};
pub use claims::claims;
pub use compare::{ComparePlan, Effort, compare};
pub use curve::{CurvePlan, SweepRates, find_highest_rate, sweep};
pub use self_comparison::{SelfPlan, SelfVerdict, compare_with_itself};
