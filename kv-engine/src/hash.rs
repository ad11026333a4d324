//! Hashing of keys: xxh3, for the shard and within it. Fixed, so that a run repeats.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Hashes a key in one go; the standard library's hasher would be the larger part of a lookup.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyHasher;

impl BuildHasher for KeyHasher {
    type Hasher = OneShot;

    fn build_hasher(&self) -> OneShot {
        OneShot(0)
    }
}

/// Seeds each hash with the one before it.
#[derive(Debug)]
pub(crate) struct OneShot(u64);

impl Hasher for OneShot {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The length prefix of a slice: it needs no hash of its own, the key's covers it.
    fn write_usize(&mut self, n: usize) {
        self.0 ^= n as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A key with its hash, taken once for all that one operation looks up. The low bits name the shard, the high half is
/// the key's tag within it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HashedKey<'a> {
    pub(crate) key: &'a [u8],
    hash: u64,
}

impl<'a> HashedKey<'a> {
    pub(crate) fn new(key: &'a [u8]) -> Self {
        Self { key, hash: xxh3_64(key) }
    }

    /// The shard, of `shards`, a power of two.
    pub(crate) fn shard(self, shards: usize) -> usize {
        self.hash as usize & (shards - 1)
    }

    /// What two different keys of one shard rarely share.
    pub(crate) fn tag(self) -> u32 {
        (self.hash >> 32) as u32
    }
}

/// The shard of a key, of `shards`, a power of two. Its seed differs from the maps', so that the keys of one shard
/// spread over the whole map.
pub(crate) fn shard_of(key: &[u8], shards: usize) -> usize {
    const SEED: u64 = 0x7368_6172_6473;
    (xxh3_64_with_seed(key, SEED) as usize) & (shards - 1)
}
