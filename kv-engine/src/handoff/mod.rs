//! Hinted handoff: what a replica missed while it couldn't be reached is kept by another node and delivered later.
//!
//! Invariants:
//! * Only writes that succeeded leave hints; a hint never counts as a copy.
//! * A hint is acknowledged once it is as durable as the node's stores promise, and deleted only after the replica
//!   that it is for has acknowledged the write: delivering twice changes nothing, losing one would.

mod pusher;
mod slop;

pub(crate) use pusher::{Hints, Pusher};
pub(crate) use slop::{Slop, SlopOperation};
