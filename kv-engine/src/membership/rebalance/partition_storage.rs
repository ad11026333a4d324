//! [`PartitionStorage`]: what a node's store does while partitions move, and [`KeptMetadata`], what it gives when the node
//! starts.

use super::metadata::MetadataKey;
use crate::replica::{ReplicaStorage, Taken};
use crate::ring::Ring;
use crate::storage::{EntriesPage, EntriesPosition, GetError, PutError};
use crate::version::Versioned;

/// A store whose partitions can be moved.
pub trait PartitionStorage: ReplicaStorage {
    /// The next entries whose master partition is among these, until they have `max_bytes`, but at least one; or none,
    /// where many keys had to be looked at.
    ///
    /// # Errors
    /// A version can't be read.
    fn page(
        &self,
        ring: &Ring,
        partitions: &[u32],
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError>;

    /// Whether there is somewhere to keep what is the node's own; otherwise it can't take part in a rebalance.
    fn keeps_metadata(&self) -> bool;

    /// Keeps something of the node's own, as durably as the store promises. `None` if there is nowhere to keep it.
    fn start_keep(
        &self,
        key: MetadataKey,
        version: &Versioned,
        ticket: u64,
    ) -> Option<Result<Taken, PutError>>;
}

/// What a node has kept, as its metadata store gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptMetadata {
    /// Under [`MetadataKey::Ring`].
    pub ring: Option<Versioned>,
    /// Under [`MetadataKey::Steals`].
    pub steals: Option<Versioned>,
}
