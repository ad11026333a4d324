//! Clusters of the log.

mod broker;
mod client;
mod offsets;
pub(crate) mod scenarios;
pub(super) mod timed;
