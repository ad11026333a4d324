//! Experiments: which runs are made, in which order, and what is concluded from them.

mod campaign;
mod claims;
mod combination;
mod compare;
mod contestant;
mod contrasts;
mod curve;
mod durability;
mod evidence;
mod excursions;
mod rate_search;
mod rate_steps;
mod recovery;
mod ruling;
mod schedule;
mod segments;
mod self_comparison;
mod sustained;

pub use campaign::{Campaign, CampaignError, CampaignSetup};
pub use claims::claims;
pub use compare::{ComparePlan, compare};
pub use curve::{CurvePlan, SweepRates, find_highest_rate, sweep};
pub use excursions::Excursions;
pub use schedule::{Effort, Schedule};
pub use self_comparison::{SelfPlan, SelfVerdict, compare_with_itself};
