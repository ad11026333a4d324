//! redb: a copy-on-write B-tree in one file, one writer at a time.

use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{Opening, Peer, PeerError, Row, Store, Write};

/// The store.
pub(super) const PEER: Peer = Peer {
    name: "redb",
    about: "redb, a copy-on-write B-tree in one file. synced: writes that wait at the same time share a commit. os and \
            interval are weaker here than elsewhere: a commit that isn't synced is gone after a process kill, back to \
            the last synced one.",
    open: |opening| open(opening),
};

const MEMBERS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("members");

struct Redb(Database);

fn open(opening: &Opening<'_>) -> Result<Arc<dyn Store>, PeerError> {
    let cache = usize::try_from(opening.cache_bytes)?;
    let database = Database::builder().set_cache_size(cache).create(opening.dir.join("members.redb"))?;
    let transaction = database.begin_write()?;
    transaction.open_table(MEMBERS)?;
    transaction.commit()?;
    Ok(Arc::new(Redb(database)))
}

impl Store for Redb {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PeerError> {
        let table = self.0.begin_read()?.open_table(MEMBERS)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn commit(&self, writes: &[Write], synced: bool) -> Result<Vec<bool>, PeerError> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(if synced { Durability::Immediate } else { Durability::None })?;
        let mut were_there = Vec::with_capacity(writes.len());
        {
            let mut table = transaction.open_table(MEMBERS)?;
            for write in writes {
                let before = match &write.value {
                    Some(value) => table.insert(write.key.as_slice(), value.as_slice())?,
                    None => table.remove(write.key.as_slice())?,
                };
                were_there.push(before.is_some());
            }
        }
        transaction.commit()?;
        Ok(were_there)
    }

    fn sync(&self) -> Result<(), PeerError> {
        // A commit that is durable makes all earlier ones so.
        self.commit(&[], true).map(drop)
    }

    fn scan(&self, start: &[u8], rows_max: usize) -> Result<Vec<Row>, PeerError> {
        let table = self.0.begin_read()?.open_table(MEMBERS)?;
        table
            .range(start..)?
            .take(rows_max)
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.value().to_vec(), value.value().to_vec()))
            })
            .collect()
    }
}
