//! LMDB, through heed: a memory-mapped copy-on-write B-tree, one writer at a time.

use std::ops::Bound;
use std::sync::Arc;

use engine_env::Durability;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use super::{Opening, Peer, PeerError, Row, Store, Write};

/// The store.
pub(super) const PEER: Peer = Peer {
    name: "lmdb",
    about: "LMDB, a copy-on-write B-tree in a memory map. Its cache is the kernel's. os: commits are handed to the \
            kernel unsynced. synced: writes that wait at the same time share a commit, which is synced.",
    open: |opening| open(opening),
};

/// The most the file may grow to; only address space is taken.
const MAP_BYTES: usize = 64 << 30;

struct Lmdb {
    env: Env,
    members: Database<Bytes, Bytes>,
}

fn open(opening: &Opening<'_>) -> Result<Arc<dyn Store>, PeerError> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(256);
    let unsynced = opening.durability != Durability::Synced;
    #[expect(
        unsafe_code,
        reason = "LMDB maps its file, which nobody else may change; only a peer, off by default"
    )]
    // SAFETY: the folder was made for this run, and only this program opens the file in it, once. NO_SYNC gives up
    // durability, which `os` doesn't promise, and no memory safety.
    let env = unsafe {
        if unsynced {
            options.flags(EnvFlags::NO_SYNC);
        }
        options.open(opening.dir)?
    };
    let mut transaction = env.write_txn()?;
    let members = env.create_database(&mut transaction, None)?;
    transaction.commit()?;
    Ok(Arc::new(Lmdb { env, members }))
}

impl Store for Lmdb {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PeerError> {
        let transaction = self.env.read_txn()?;
        Ok(self.members.get(&transaction, key)?.map(<[u8]>::to_vec))
    }

    fn commit(&self, writes: &[Write], _synced: bool) -> Result<Vec<bool>, PeerError> {
        let mut transaction = self.env.write_txn()?;
        let mut were_there = Vec::with_capacity(writes.len());
        for write in writes {
            were_there.push(match &write.value {
                Some(value) => {
                    self.members.put(&mut transaction, &write.key, value)?;
                    true
                }
                None => self.members.delete(&mut transaction, &write.key)?,
            });
        }
        transaction.commit()?;
        Ok(were_there)
    }

    fn sync(&self) -> Result<(), PeerError> {
        Ok(self.env.force_sync()?)
    }

    fn scan(&self, start: &[u8], rows_max: usize) -> Result<Vec<Row>, PeerError> {
        let transaction = self.env.read_txn()?;
        let bounds = (Bound::Included(start), Bound::Unbounded);
        self.members
            .range(&transaction, &bounds)?
            .take(rows_max)
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.to_vec(), value.to_vec()))
            })
            .collect()
    }
}
