//! Both engines crashed on purpose: scenarios, judges, the stress writer and its checker.

pub mod simulated;
pub mod stress;
