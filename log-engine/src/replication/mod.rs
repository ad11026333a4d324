//! Replication: state machines without a thread, a clock, a socket or a file. Storage is told what to do by whoever
//! drives them, and tells them what it did.

pub(crate) mod follower;
pub(crate) mod high_watermark;
pub(crate) mod isr;
pub(crate) mod leader;
