//! How it is asked and measured: adapters, load, statistics, reports, the workbench command.
//!
//! An [`Engine`](engine::Engine) opens a [`Session`](engine::Session); a [`Driver`](load::Driver) submits the
//! operations of a workload to it, checks every answer and takes the times.

pub mod cli;
pub mod diff;
pub mod embedded;
pub mod engine;
pub mod engines;
pub mod environment;
pub mod experiments;
pub mod floor;
pub mod limits;
pub mod load;
pub mod measure;
pub mod progress;
pub mod rebalance;
pub mod recovery;
pub mod report;
pub mod result_folder;
pub mod run;
pub mod stats;
pub mod utc;
