//! Both engines crashed on purpose: scenarios, judges, the stress writer and its checker; and clusters in virtual time.

mod cluster;
pub mod simulated;
pub mod stress;

pub use cluster::timed;
