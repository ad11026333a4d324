//! Other people's stores: each call by itself, on the caller's thread.

use std::path::Path;
use std::sync::Arc;

use engine_env::Durability;

use super::contender::{Contender, ContenderError, Kind};
use crate::engines::peers::{Store, Write, open_store};

pub(super) const KINDS: &[Kind] = &[
    Kind { name: "fjall-blobs", open: |dir, synced| open("fjall-blobs", dir, synced), is_ceiling: false },
    Kind { name: "lmdb", open: |dir, synced| open("lmdb", dir, synced), is_ceiling: false },
    Kind { name: "redb", open: |dir, synced| open("redb", dir, synced), is_ceiling: false },
    Kind { name: "fjall", open: |dir, synced| open("fjall", dir, synced), is_ceiling: false },
    #[cfg(feature = "peers-rocksdb")]
    Kind { name: "rocksdb", open: |dir, synced| open("rocksdb", dir, synced), is_ceiling: false },
    #[cfg(feature = "peers-rocksdb")]
    Kind { name: "rocksdb-blobs", open: |dir, synced| open("rocksdb-blobs", dir, synced), is_ceiling: false },
];

struct Peer {
    store: Arc<dyn Store>,
    synced: bool,
}

fn open(name: &str, dir: &Path, synced: bool) -> Result<Box<dyn Contender>, ContenderError> {
    std::fs::create_dir_all(dir)?;
    let durability = if synced { Durability::Synced } else { Durability::Os };
    Ok(Box::new(Peer { store: open_store(name, dir, durability)?, synced }))
}

impl Contender for Peer {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ContenderError> {
        self.store.get(key)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), ContenderError> {
        let write = Write { key: key.to_vec(), value: Some(value.to_vec()) };
        self.store.commit(std::slice::from_ref(&write), self.synced).map(drop)
    }

    fn settle(&self) {
        // redb writes nothing before a commit that is durable. Closing syncs again, and tells what goes wrong.
        let _ = self.store.sync();
    }

    fn close(self: Box<Self>) -> Result<(), ContenderError> {
        self.store.sync()
    }
}
