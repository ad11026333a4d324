//! Pages of a store: [`Bitcask::page`].

use engine_env::File;

use super::Bitcask;
use crate::storage::GetError;
use crate::storage::page::{EntriesPage, EntriesPosition, entry_bytes};

/// A page ends after so many keys were looked at, wanted or not: it is made between a node's other work.
const LOOKED_AT_MAX: usize = 20_000;

impl<F: File> Bitcask<F> {
    /// The next entries with a wanted key, until they have `max_bytes` (keys, clocks and values), but at least one; or
    /// none, where many keys had to be looked at. The order is that of the shards, by key within each.
    ///
    /// # Errors
    /// A version can't be read.
    pub fn page(
        &self,
        wanted: impl Fn(&[u8]) -> bool,
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError> {
        let shards = u32::try_from(self.keydir.shard_indexes().end).expect("a store has few shards");
        let start = EntriesPosition::default();
        let from = if from.shards == shards { from } else { &start };
        let mut entries = Vec::new();
        let (mut bytes, mut looked_at) = (0, 0);
        let mut after = from.after.as_deref();
        for shard in from.shard..shards {
            if looked_at >= LOOKED_AT_MAX || bytes >= max_bytes {
                return Ok(EntriesPage {
                    entries,
                    next: Some(EntriesPosition { shards, shard, after: None }),
                });
            }
            let mut keys = {
                let shard = self.keydir.read_shard(shard as usize);
                looked_at += shard.len();
                let is_left = |key: &&[u8]| after.is_none_or(|after| *key > after) && wanted(key);
                shard.keys().filter(is_left).map(<[u8]>::to_vec).collect::<Vec<_>>()
            };
            after = None;
            keys.sort_unstable();
            let mut keys = keys.into_iter().peekable();
            while let Some(key) = keys.next() {
                let versions = self.get(&key)?;
                if versions.is_empty() {
                    continue;
                }
                bytes += entry_bytes(&key, &versions);
                if bytes >= max_bytes && keys.peek().is_some() {
                    let next = Some(EntriesPosition { shards, shard, after: Some(key.clone()) });
                    entries.push((key, versions));
                    return Ok(EntriesPage { entries, next });
                }
                entries.push((key, versions));
            }
        }
        Ok(EntriesPage { entries, next: None })
    }
}
