//! fjall: a log-structured merge tree, plain and with values in files of their own.

use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::{Opening, Peer, PeerError, Row, Store, Write};

/// Keys and values in one tree.
pub(super) const PLAIN: Peer = Peer {
    name: "fjall",
    about: "fjall, a log-structured merge tree. os: every commit is handed to the kernel. synced: commits that wait at \
            the same time share one sync of the journal.",
    open: |opening| open(opening, None),
};

/// Values in blob files.
pub(super) const SEPARATED: Peer = Peer {
    name: "fjall-blobs",
    about: "fjall with key-value separation: the tree holds keys, large values lie in blob files. Durability as fjall.",
    open: |opening| open(opening, Some(KvSeparationOptions::default())),
};

struct Fjall {
    database: Database,
    members: Keyspace,
}

fn open(opening: &Opening<'_>, separation: Option<KvSeparationOptions>) -> Result<Arc<dyn Store>, PeerError> {
    let database = Database::builder(opening.dir).cache_size(opening.cache_bytes).open()?;
    let members = database
        .keyspace("members", || KeyspaceCreateOptions::default().with_kv_separation(separation.clone()))?;
    Ok(Arc::new(Fjall { database, members }))
}

impl Store for Fjall {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PeerError> {
        Ok(self.members.get(key)?.map(|value| value.to_vec()))
    }

    fn commit(&self, writes: &[Write], synced: bool) -> Result<Vec<bool>, PeerError> {
        for write in writes {
            match &write.value {
                Some(value) => self.members.insert(write.key.as_slice(), value.as_slice())?,
                None => self.members.remove(write.key.as_slice())?,
            }
        }
        if synced {
            self.sync()?;
        }
        Ok(vec![true; writes.len()])
    }

    fn sync(&self) -> Result<(), PeerError> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn scan(&self, start: &[u8], rows_max: usize) -> Result<Vec<Row>, PeerError> {
        self.members
            .range(start..)
            .take(rows_max)
            .map(|entry| {
                let (key, value) = entry.into_inner()?;
                Ok((key.to_vec(), value.to_vec()))
            })
            .collect()
    }
}
