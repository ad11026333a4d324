//! [`Stores`]: a node's stores as its replica, its part in rebalances and its pusher of hints use them, and where they hand
//! completions. [`NodeStore`] is what the stores have to do, with threads or without.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine_env::{CompletionQueue, Durability, File, Home};

use crate::anti_entropy::SLICES;
use crate::config::KvConfig;
use crate::handoff::Hints;
use crate::membership::{KeptMetadata, MetadataKey, PartitionStorage};
use crate::replica::{NOBODYS, ReplicaStorage, Taken};
use crate::ring::Ring;
use crate::storage::bitcask::{Bitcask, KvDone};
use crate::storage::{DeleteError, EntriesPage, EntriesPosition, GetError, PutError, Storage};
use crate::store::KvStore;
use crate::version::{VectorClock, Versioned};

/// Where completions go.
type Completions = Arc<CompletionQueue<KvDone>>;

/// A store of a node.
pub(super) trait NodeStore {
    fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError>;

    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError>;

    /// Puts as durably as `os` promises.
    fn put(&self, key: &[u8], version: &Versioned) -> Result<(), PutError>;

    /// Puts, and tells `to` once it is durable.
    fn start_put(
        &self,
        key: &[u8],
        version: &Versioned,
        ticket: u64,
        to: &Completions,
    ) -> Result<(), PutError>;

    /// Deletes as durably as `os` promises; whether something was removed.
    fn delete(&self, key: &[u8], clock: &VectorClock) -> Result<bool, DeleteError>;

    /// Deletes, and tells `to` once it is durable.
    fn start_delete(
        &self,
        key: &[u8],
        clock: &VectorClock,
        ticket: u64,
        to: &Completions,
    ) -> Result<(), DeleteError>;

    fn page(
        &self,
        ring: &Ring,
        partitions: &[u32],
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError>;

    fn clocks_of_slice(&self, slice: usize, each: &mut dyn FnMut(&[u8], &[VectorClock]));

    fn keys(&self) -> Vec<Vec<u8>>;
}

impl<H: Home> NodeStore for Arc<KvStore<H>> {
    fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        Storage::get(&**self, key)
    }

    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        self.get_versions(key)
    }

    fn put(&self, key: &[u8], version: &Versioned) -> Result<(), PutError> {
        Storage::put(&**self, key, version)
    }

    fn start_put(
        &self,
        key: &[u8],
        version: &Versioned,
        ticket: u64,
        to: &Completions,
    ) -> Result<(), PutError> {
        self.put_async(key, version, ticket, to)
    }

    fn delete(&self, key: &[u8], clock: &VectorClock) -> Result<bool, DeleteError> {
        Storage::delete(&**self, key, clock)
    }

    fn start_delete(
        &self,
        key: &[u8],
        clock: &VectorClock,
        ticket: u64,
        to: &Completions,
    ) -> Result<(), DeleteError> {
        self.delete_async(key, clock, ticket, to)
    }

    fn page(
        &self,
        ring: &Ring,
        partitions: &[u32],
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError> {
        self.page_of(ring, partitions, from, max_bytes)
    }

    fn clocks_of_slice(&self, slice: usize, each: &mut dyn FnMut(&[u8], &[VectorClock])) {
        KvStore::clocks_of_slice(self, (slice, SLICES), each);
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        self.for_each(|key, _| keys.push(key.to_vec()));
        keys
    }
}

impl<F: File> NodeStore for Bitcask<F> {
    fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        Self::get(self, key)
    }

    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        Ok(self.get_versions(key))
    }

    fn put(&self, key: &[u8], version: &Versioned) -> Result<(), PutError> {
        self.put_through(key, version)
    }

    fn start_put(
        &self,
        key: &[u8],
        version: &Versioned,
        ticket: u64,
        to: &Completions,
    ) -> Result<(), PutError> {
        self.stage_put(key, version, ticket, to).map(drop)
    }

    fn delete(&self, key: &[u8], clock: &VectorClock) -> Result<bool, DeleteError> {
        Ok(self.delete_through(key, clock)?)
    }

    fn start_delete(
        &self,
        key: &[u8],
        clock: &VectorClock,
        ticket: u64,
        to: &Completions,
    ) -> Result<(), DeleteError> {
        Ok(self.stage_delete(key, clock, ticket, to).map(drop)?)
    }

    fn page(
        &self,
        ring: &Ring,
        partitions: &[u32],
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError> {
        let wanted: BTreeSet<u32> = partitions.iter().copied().collect();
        self.page(|key| wanted.contains(&ring.master_partition(key)), from, max_bytes)
    }

    fn clocks_of_slice(&self, slice: usize, each: &mut dyn FnMut(&[u8], &[VectorClock])) {
        Self::clocks_of_slice(self, (slice, SLICES), each);
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        self.for_each(|key, _| keys.push(key.to_vec()));
        keys
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stores<S> {
    pub(super) store: S,
    /// Hints for other nodes.
    pub(super) slops: Option<S>,
    /// What the node keeps of its own.
    pub(super) metadata: Option<S>,
    /// Whether a write has to wait for the disk; otherwise it is done when the call returns.
    waits: bool,
    pub(super) completions: Completions,
}

impl<S: NodeStore> Stores<S> {
    pub(super) fn new(
        store: S,
        slops: Option<S>,
        metadata: Option<S>,
        durability: Durability,
        completions: Completions,
    ) -> Self {
        Self { store, slops, metadata, waits: durability == Durability::Synced, completions }
    }

    fn start_put(&self, into: &S, key: &[u8], version: &Versioned, ticket: u64) -> Result<Taken, PutError> {
        if self.waits {
            into.start_put(key, version, ticket, &self.completions)?;
            return Ok(Taken::Later);
        }
        into.put(key, version)?;
        Ok(Taken::Done { removed: false })
    }

    fn start_delete(
        &self,
        from: &S,
        key: &[u8],
        clock: &VectorClock,
        ticket: u64,
    ) -> Result<Taken, DeleteError> {
        if self.waits {
            from.start_delete(key, clock, ticket, &self.completions)?;
            return Ok(Taken::Later);
        }
        Ok(Taken::Done { removed: from.delete(key, clock)? })
    }
}

impl<S: NodeStore> ReplicaStorage for Stores<S> {
    fn read(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        self.store.get(key)
    }

    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        self.store.clocks(key)
    }

    fn start_put(&self, key: &[u8], version: &Versioned, ticket: u64) -> Result<Taken, PutError> {
        self.start_put(&self.store, key, version, ticket)
    }

    fn start_delete(&self, key: &[u8], clock: &VectorClock, ticket: u64) -> Result<Taken, DeleteError> {
        self.start_delete(&self.store, key, clock, ticket)
    }

    fn clocks_of_slice(&self, slice: usize, each: &mut dyn FnMut(&[u8], &[VectorClock])) -> bool {
        self.store.clocks_of_slice(slice, each);
        true
    }

    fn start_hint(&self, key: &[u8], version: &Versioned, ticket: u64) -> Option<Result<Taken, PutError>> {
        Some(self.start_put(self.slops.as_ref()?, key, version, ticket))
    }
}

impl<S: NodeStore> PartitionStorage for Stores<S> {
    fn page(
        &self,
        ring: &Ring,
        partitions: &[u32],
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError> {
        self.store.page(ring, partitions, from, max_bytes)
    }

    fn keeps_metadata(&self) -> bool {
        self.metadata.is_some()
    }

    fn start_keep(
        &self,
        key: MetadataKey,
        version: &Versioned,
        ticket: u64,
    ) -> Option<Result<Taken, PutError>> {
        Some(self.start_put(self.metadata.as_ref()?, key.bytes(), version, ticket))
    }
}

impl<S: NodeStore> Hints for Stores<S> {
    fn keys(&self) -> Vec<Vec<u8>> {
        self.slops.as_ref().map(S::keys).unwrap_or_default()
    }

    fn read(&self, key: &[u8]) -> Vec<Versioned> {
        self.slops.as_ref().and_then(|slops| slops.get(key).ok()).unwrap_or_default()
    }

    fn forget(&self, key: &[u8], clock: &VectorClock) {
        if let Some(slops) = &self.slops {
            // A delete that fails leaves a hint that is delivered once more.
            let _ = self.start_delete(slops, key, clock, NOBODYS);
        }
    }
}

/// The settings of the store of what a node keeps of its own: a few small values.
pub(super) fn metadata_config(storage: &KvConfig) -> KvConfig {
    let KvConfig { durability, sealed_reads, .. } = *storage;
    KvConfig { durability, sealed_reads, segment_bytes: 1 << 20, shards: 1, ..KvConfig::default() }
}

/// What a node has kept. An entry that can't be read is damage, which its decoder tells.
pub(super) fn kept_metadata(metadata: Option<&impl NodeStore>) -> KeptMetadata {
    let kept = |key: MetadataKey| {
        let versions =
            metadata?.get(key.bytes()).unwrap_or_else(|_| vec![Versioned::new(VectorClock::empty(0), b"")]);
        versions.into_iter().next_back()
    };
    KeptMetadata { ring: kept(MetadataKey::Ring), steals: kept(MetadataKey::Steals) }
}
