//! How it is asked and measured: adapters, load, statistics, reports, the workbench command.

pub mod environment;
pub mod limits;
pub mod report;
