//! RocksDB: a log-structured merge tree, plain and with values in blob files. Linked with the system's library.

use std::sync::Arc;

use rocksdb::{BlockBasedOptions, Cache, DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};

use super::{Opening, Peer, PeerError, Row, Store, Write};

/// Keys and values in one tree.
pub(super) const PLAIN: Peer = Peer {
    name: "rocksdb",
    about: "RocksDB, a log-structured merge tree, with its own defaults. os: every commit is handed to the kernel. synced: \
            its write-ahead log is synced; writes of several threads share a sync by its own means.",
    open: |opening| open(opening, false),
};

/// Values in blob files.
pub(super) const BLOBS: Peer = Peer {
    name: "rocksdb-blobs",
    about: "RocksDB with blob files: the tree holds keys, values of 64 bytes and more lie in files of their own. Durability \
            as rocksdb.",
    open: |opening| open(opening, true),
};

/// Values from here on go to blob files.
const BLOB_BYTES_MIN: u64 = 64;
/// Bloom filter, as everybody sets it: about 1 % of the reads of absent keys go to a table.
const BLOOM_BITS_PER_KEY: f64 = 10.0;

struct Rocks(DB);

fn open(opening: &Opening<'_>, blobs: bool) -> Result<Arc<dyn Store>, PeerError> {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(usize::try_from(opening.cache_bytes)?)?);
    tables.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&tables);
    options.increase_parallelism(i32::try_from(std::thread::available_parallelism()?.get())?);
    if blobs {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(BLOB_BYTES_MIN);
        options.set_enable_blob_gc(true);
    }
    Ok(Arc::new(Rocks(DB::open(&options, opening.dir.join("rocksdb"))?)))
}

impl Store for Rocks {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PeerError> {
        Ok(self.0.get(key)?)
    }

    fn commit(&self, writes: &[Write], synced: bool) -> Result<Vec<bool>, PeerError> {
        let mut batch = WriteBatch::default();
        for write in writes {
            match &write.value {
                Some(value) => batch.put(&write.key, value),
                None => batch.delete(&write.key),
            }
        }
        let mut how = WriteOptions::default();
        how.set_sync(synced);
        self.0.write_opt(batch, &how)?;
        Ok(vec![true; writes.len()])
    }

    fn sync(&self) -> Result<(), PeerError> {
        Ok(self.0.flush_wal(true)?)
    }

    fn scan(&self, start: &[u8], rows_max: usize) -> Result<Vec<Row>, PeerError> {
        self.0
            .iterator(IteratorMode::From(start, Direction::Forward))
            .take(rows_max)
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.into_vec(), value.into_vec()))
            })
            .collect()
    }
}
