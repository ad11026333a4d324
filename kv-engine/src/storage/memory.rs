//! [`MemoryStorage`]: the reference implementation, and the floor of every comparison.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::page::{EntriesPage, EntriesPosition, entry_bytes};
use super::{DeleteError, GetError, PutError, Storage};
use crate::hash::{KeyHasher, shard_of};
use crate::version::{Siblings, VectorClock, Versioned};

type Shard = RwLock<HashMap<Box<[u8]>, Siblings<Versioned>, KeyHasher>>;

/// Versions in memory, gone with the process.
#[derive(Debug)]
pub struct MemoryStorage {
    shards: Box<[Shard]>,
}

const SHARDS: usize = 64;

impl Default for MemoryStorage {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

impl MemoryStorage {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys have a version.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.shards.iter().map(|s| s.read().unwrap_or_else(PoisonError::into_inner).len() as u64).sum()
    }

    /// Calls `each` with every key and its versions, in no particular order. A shard is locked meanwhile: `each`
    /// must not write.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[Versioned])) {
        for shard in &self.shards {
            for (key, versions) in shard.read().unwrap_or_else(PoisonError::into_inner).iter() {
                each(key, versions.as_slice());
            }
        }
    }

    /// The next entries with a wanted key, in the order of their keys, until they have `max_bytes` (keys, clocks and
    /// values), but at least one.
    pub fn page(
        &self,
        wanted: impl Fn(&[u8]) -> bool,
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> EntriesPage {
        let mut all = Vec::new();
        self.for_each(|key, versions| {
            if from.after.as_deref().is_none_or(|after| key > after) && wanted(key) {
                all.push((key.to_vec(), versions.to_vec()));
            }
        });
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut bytes = 0;
        let fits = |(key, versions): &&(Vec<u8>, Vec<Versioned>)| {
            let is_room = bytes < max_bytes;
            bytes += entry_bytes(key, versions);
            is_room
        };
        let count = all.iter().take_while(fits).count().max(1);
        let is_more = all.len() > count;
        all.truncate(count);
        let next = all.last().filter(|_| is_more).map(|(key, _)| EntriesPosition {
            shards: 1,
            shard: 0,
            after: Some(key.clone()),
        });
        EntriesPage { entries: all, next }
    }

    fn shard(&self, key: &[u8]) -> &Shard {
        &self.shards[shard_of(key, SHARDS)]
    }
}

impl Storage for MemoryStorage {
    fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        Ok(shard.get(key).map_or_else(Vec::new, |versions| versions.as_slice().to_vec()))
    }

    fn get_versions(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        Ok(shard
            .get(key)
            .map_or_else(Vec::new, |versions| versions.as_slice().iter().map(|v| v.clock.clone()).collect()))
    }

    fn put(&self, key: &[u8], value: &Versioned) -> Result<(), PutError> {
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(versions) = shard.get_mut(key) {
            if let Some(stored) = versions.newer_than(&value.clock) {
                return Err(PutError::ObsoleteVersion {
                    given: value.clock.clone(),
                    stored: stored.clock.clone(),
                });
            }
            versions.put(value.clone(), drop).expect("nothing stored makes it obsolete");
        } else {
            shard.insert(key.into(), std::iter::once(value.clone()).collect());
        }
        Ok(())
    }

    fn put_versions(&self, key: &[u8], versions: &[Versioned]) -> Result<Vec<Versioned>, PutError> {
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        let stored = shard.entry(key.into()).or_default();
        let obsolete =
            versions.iter().filter_map(|version| stored.put(version.clone(), drop).err()).collect();
        if stored.is_empty() {
            shard.remove(key);
        }
        Ok(obsolete)
    }

    fn delete(&self, key: &[u8], version: &VectorClock) -> Result<bool, DeleteError> {
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        let Some(versions) = shard.get_mut(key) else { return Ok(false) };
        let removed = versions.delete(version, drop);
        if versions.is_empty() {
            shard.remove(key);
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(clock: &str, value: &str) -> Versioned {
        Versioned::new(clock.parse().expect("a clock"), value.as_bytes())
    }

    #[test]
    fn put_get_and_delete_keep_the_contract() {
        let store = MemoryStorage::new();
        store.put(b"k", &version("1:1", "a")).expect("the first");
        store.put(b"k", &version("2:1", "b")).expect("a sibling");
        assert!(matches!(store.put(b"k", &version("1:1", "c")), Err(PutError::ObsoleteVersion { .. })));
        assert_eq!(store.get(b"k").expect("in memory"), [version("1:1", "a"), version("2:1", "b")]);
        assert!(store.delete(b"k", &"1:1".parse().expect("a clock")).expect("in memory"));
        assert_eq!(store.get_versions(b"k").expect("in memory").len(), 1);
        assert!(store.delete(b"k", &"2:7".parse().expect("a clock")).expect("in memory"));
        assert!(!store.delete(b"k", &"2:7".parse().expect("a clock")).expect("in memory"));
        assert_eq!(store.keys(), 0);
        store.put(b"k", &version("1:1", "again")).expect("a deleted version leaves nothing behind");
    }
}
