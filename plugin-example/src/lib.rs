//! How to plug in: a workload and an engine of one's own, outside of the workbench's crates.
//!
//! [`workload::register`] and [`engine::register`] are all that the workbench calls; after that
//! `--workload birthday-greetings` and `--engines notebook` find them.

pub mod engine;
pub mod workload;
