//! [`LatestOffsets`]: for each key, the offset of its latest record: Kafka's `SkimpyOffsetMap`.
//!
//! Keys are kept as 128 bits of a seeded hash, so the map's size is bounded whatever the keys' sizes are. Two keys with the
//! same 128 bits would be taken for one; of a billion keys, some two are so with a probability of less than 2^-68.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::Offset;

/// Bytes that an entry takes, the map's free places included.
const ENTRY_BYTES: usize = 64;

/// Takes the low half of a hash as it is.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers of 128 bits are hashed here")
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// The latest offsets of keys, as many as there is room for.
#[derive(Debug)]
pub(crate) struct LatestOffsets {
    by_hash: HashMap<u128, Offset, BuildHasherDefault<Hashed>>,
    seed: u64,
    entries_max: usize,
}

impl LatestOffsets {
    pub(crate) fn new(bytes_max: usize, seed: u64) -> Self {
        Self { by_hash: HashMap::default(), seed, entries_max: (bytes_max / ENTRY_BYTES).max(1) }
    }

    fn hash(&self, key: &[u8]) -> u128 {
        xxh3_128_with_seed(key, self.seed)
    }

    /// Whether so many more keys fit.
    pub(crate) fn has_room_for(&self, keys: usize) -> bool {
        self.by_hash.is_empty() || self.by_hash.len() + keys <= self.entries_max
    }

    /// A key's record came; later ones come later.
    pub(crate) fn put(&mut self, key: &[u8], offset: Offset) {
        let hash = self.hash(key);
        self.by_hash.insert(hash, offset);
    }

    /// Whether a later record of the key is known.
    pub(crate) fn has_later(&self, key: &[u8], offset: Offset) -> bool {
        self.by_hash.get(&self.hash(key)).is_some_and(|&latest| latest > offset)
    }
}
