//! How to plug in: a workload of one's own, outside of the workbench's crates.
//!
//! [`workload::register`] is all that the workbench calls; after that `--workload birthday-greetings` finds it.

pub mod workload;
