//! [`KvOpError`]: why a client's operation has no answer.

use std::fmt;

use super::CLIENT_VALUE_BYTES_MAX;
use crate::membership::NodeFailure;
use crate::ring::NodeId;
use crate::storage::KEY_BYTES_MAX;
use crate::version::{ClockError, VectorClock};

/// Why an operation failed. What replicas have done isn't undone: after [`KvOpError::InsufficientOperationalNodes`] a
/// write may be there or not, now or later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvOpError {
    /// Fewer replicas than required have done it, or could be asked at all.
    #[error("{needed} replicas are needed, {succeeded} answered ({}); bring nodes back, or require fewer", Failures(.failures))]
    InsufficientOperationalNodes {
        /// How many are required.
        needed: u16,
        /// How many did it.
        succeeded: u16,
        /// What became of the others.
        failures: Vec<(NodeId, NodeFailure)>,
    },
    /// Enough replicas have done it, but in fewer zones than required.
    #[error("replicas of {needed} zones are needed, those of {succeeded} answered ({}); bring zones back, or require fewer", Failures(.failures))]
    InsufficientZoneResponses {
        /// In how many zones one must.
        needed: u16,
        /// In how many one did.
        succeeded: u16,
        /// What became of the others.
        failures: Vec<(NodeId, NodeFailure)>,
    },
    /// More zones are to answer than can, whatever happens. Nothing was sent.
    #[error(
        "{zones} other zones are to answer, but the client's zone knows {near} and {required} replicas are required; lower the zone count, complete the proximity list, or require more replicas"
    )]
    TooManyZones {
        /// How many other zones are to answer.
        zones: u16,
        /// How many the client's zone has in its proximity list.
        near: u16,
        /// How many replicas are required.
        required: u16,
    },
    /// The resolver left several versions of the key: the caller has to choose, and to write what descends from all.
    #[error("the key has {} versions that the resolver keeps; read them unresolved, and write one that descends from all", .clocks.len())]
    InconsistentData {
        /// Their clocks.
        clocks: Vec<VectorClock>,
    },
    /// The master has a version that descends from the given one or equals it. Nothing was written.
    #[error("version {given} is obsolete: {stored} is stored; read again, then write a descendant")]
    ObsoleteVersion {
        /// The clock of the write.
        given: VectorClock,
        /// The clock that is stored.
        stored: VectorClock,
    },
    /// A node that was asked doesn't hold the key.
    #[error("{node} doesn't hold this key by its ring; give client and nodes the same ring")]
    InvalidMetadata {
        /// The node.
        node: NodeId,
    },
    /// A node says that no replica could do it.
    #[error("{node} says: {why}")]
    Application {
        /// The node.
        node: NodeId,
        /// What it says.
        why: String,
    },
    /// The key is too long.
    #[error("a key of {len} bytes is too long: {KEY_BYTES_MAX} is the most")]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The value is too long.
    #[error("a value of {len} bytes is too long: {CLIENT_VALUE_BYTES_MAX} is the most")]
    ValueTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The clock has more entries than a message can hold.
    #[error("a clock with {entries} entries is too long: 32767 is the most; delete under a fresh clock")]
    ClockTooLong {
        /// How many it has.
        entries: usize,
    },
    /// The clock can't count one more write.
    #[error("the version can't be counted up")]
    Clock {
        /// Which limit.
        #[from]
        source: ClockError,
    },
}

struct Failures<'a>(&'a [(NodeId, NodeFailure)]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no others hold the key");
        }
        for (i, (node, failure)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{node}: {failure}")?;
        }
        Ok(())
    }
}
