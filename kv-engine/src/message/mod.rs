//! What clients and nodes say to each other: [`Request`] and [`Response`] as bytes. `docs/formats/kv-messages.md` has
//! the layout.
//!
//! Invariants: a decoder takes any bytes and gives a message or an error; it allocates no more than the bytes it was
//! given could hold; what it accepts ends exactly where the bytes end. Requests borrow key and value from the bytes
//! that arrived, so that a replica copies neither.

mod codec;
mod rebalance;
mod ring;
mod tree;

use std::sync::Arc;

use crate::ring::{NodeId, Ring};
use crate::version::{VectorClock, Versioned};

pub use codec::MessageError;
pub(crate) use codec::{Rest, asks_about_trees, asks_for_changes, asks_to_rebalance, is_response};
pub use rebalance::{NodeProgress, RebalanceRequest, RebalanceResponse, Steal, Switch};
pub(crate) use rebalance::{push_position, push_steals, read_position, read_steals};
pub(crate) use ring::{push_ring, read_ring};
pub use tree::{TreeLeaf, TreePlace};

/// What a client asks of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// All versions of a key.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// All versions of several keys.
    GetAll {
        /// The keys.
        keys: Vec<&'a [u8]>,
    },
    /// The clocks of all versions of a key.
    GetVersions {
        /// The key.
        key: &'a [u8],
    },
    /// Keep a version.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its clock.
        clock: VectorClock,
        /// Its value.
        value: &'a [u8],
    },
    /// Remove the versions before or equal to a clock.
    Delete {
        /// The key.
        key: &'a [u8],
        /// The clock.
        clock: VectorClock,
    },
    /// Keep a write for a replica that missed it. Answered like [`Request::Put`].
    Hint {
        /// Its key in the slop store: what is to be done, for whom, and the key.
        key: &'a [u8],
        /// The write's clock.
        clock: VectorClock,
        /// The write's value, empty for a delete.
        value: &'a [u8],
    },
    /// The changes of the node's store from a position on. Kept until there is one; a later one of the same asker takes
    /// its place.
    Changes {
        /// The position, 0 for everything: see [`FeedPosition`](crate::FeedPosition).
        from: u64,
        /// Most bytes of records in the answer, but at least a change.
        max_bytes: u32,
    },
    /// Is anybody there?
    Ping,
    /// The ring that the replica goes by.
    GetRing,
    /// What is asked while partitions move.
    Rebalance(RebalanceRequest<'a>),
    /// Hashes at places of the trees of partitions that asker and replica both hold. Roots, level 0, are asked for first:
    /// they are answered when the trees have been made.
    GetHashes {
        /// The level, from 0, the roots, to 2, the leaves.
        level: u8,
        /// Which places of the level.
        at: Vec<TreePlace>,
    },
    /// The keys of leaves of those trees, with the clocks of their versions. All of one slice.
    GetLeaves {
        /// Which leaves.
        at: Vec<TreePlace>,
    },
}

/// What a replica answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// To [`Request::Get`]: the versions, none if the key has none.
    Values(Vec<Versioned>),
    /// To [`Request::GetAll`]: the versions of the keys that have some.
    AllValues(Vec<(Vec<u8>, Vec<Versioned>)>),
    /// To [`Request::GetVersions`].
    Versions(Vec<VectorClock>),
    /// To [`Request::Put`] and [`Request::Hint`]: kept, as durably as the replica's store promises.
    Stored,
    /// To [`Request::Delete`]: whether something was removed.
    Deleted(bool),
    /// To [`Request::Changes`]: at least one.
    Changes {
        /// Where to go on.
        next: u64,
        /// In the order of the store.
        changes: Vec<NodeChange>,
    },
    /// To [`Request::Ping`].
    Pong,
    /// To [`Request::GetRing`].
    Ring {
        /// Rises with each change of the ring.
        version: u64,
        /// The ring.
        ring: Arc<Ring>,
    },
    /// To [`Request::Rebalance`].
    Rebalance(RebalanceResponse),
    /// To [`Request::GetHashes`]: in the order asked for.
    Hashes(Vec<u64>),
    /// To [`Request::GetLeaves`]: as many of them, from the first on, as fit into a message, but at least one.
    Leaves(Vec<TreeLeaf>),
    /// To any of them: it wasn't done.
    Refused(ReplicaError),
}

/// A change of a node's store, as a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeChange {
    /// A version was put.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The version.
        version: Versioned,
    },
    /// Versions were deleted.
    Deleted {
        /// The key.
        key: Vec<u8>,
        /// Those before or equal to this one are gone.
        version: VectorClock,
    },
    /// Changes can't be read any more: the node's file is damaged.
    Damaged {
        /// Where, and what is wrong.
        why: String,
    },
}

/// Why a replica refuses. The numbers on the wire are the original's error codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// Code 4: a stored version descends from the given one or equals it.
    #[error("version {stored} is stored, which makes the given one obsolete")]
    ObsoleteVersion {
        /// The stored clock.
        stored: VectorClock,
    },
    /// Code 9: the key isn't this replica's.
    #[error("the replica doesn't hold this key by its ring")]
    InvalidMetadata,
    /// Code 10: its store failed.
    #[error("the replica's store failed: {why}")]
    Persistence {
        /// What the store says.
        why: String,
    },
    /// Code 12: the request can't be done by any replica.
    #[error("the request can't be done: {why}")]
    Application {
        /// Why not.
        why: String,
    },
    /// Code 15: the key's partition moves to this replica, and its donor doesn't answer.
    #[error("the key moves here from {donor}, which doesn't answer")]
    ProxyUnreachable {
        /// The donor.
        donor: NodeId,
    },
}

/// A number that the asker gives its request and finds in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);
