//! Experiments: which runs are made, in which order, and what is concluded from them.

mod campaign;
mod claims;
mod compare;
mod contrasts;
mod rate_search;

pub use campaign::{Campaign, CampaignError, CampaignSetup};
pub use claims::claims;
pub use compare::{ComparePlan, Effort, compare};
