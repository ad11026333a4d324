//! Both engines crashed on purpose: scenarios, judges, the stress writer and its checker.

mod cluster;
pub mod simulated;
pub mod stress;
