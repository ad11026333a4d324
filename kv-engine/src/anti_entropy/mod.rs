//! Anti-entropy: replicas find what differs between them by comparing hash trees of each partition, and give each other
//! what they lack. Beyond the original, which repairs only what is read. The trees are Merkle's, their use for this
//! Dynamo's (DeCandia et al., SOSP 2007, section 4.7).
//!
//! Invariants:
//! * Only versions are moved, each by a put under its own clock: a replica that has moved on refuses what is obsolete, and
//!   no sibling is lost.
//! * What both hold alike costs a hash of a partition.
//! * A round that all nodes have gone through leaves the replicas of every partition equal, if nobody wrote meanwhile and
//!   every peer answered: each pair of replicas has compared what either had when it began.
//!
//! Without replica tombstones a value that one replica has deleted comes back from another: switch them on together.

mod comparison;
mod exchange;
mod merkle;
mod server;

pub use exchange::{AntiEntropy, AntiEntropyConfig, AntiEntropyStats};
pub use merkle::SLICES;
pub(crate) use merkle::is_in_slice;
