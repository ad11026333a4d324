//! sled: a lock-free tree over a log.

use std::sync::Arc;

use engine_env::Durability;
use sled::Db;

use super::{Opening, Peer, PeerError, Row, Store, Write};

/// The store.
pub(super) const PEER: Peer = Peer {
    name: "sled",
    about: "sled 0.34, a lock-free tree over a log. None of its durabilities equals those of the others: os keeps writes \
            in the program's own memory until its next flush, so a process kill loses them; and its flush is not known \
            to be durable (synced calls it after each group of writes, and is labelled so).",
    open: |opening| open(opening),
};

/// As sled itself has it.
const FLUSH_MS: u64 = 500;

struct Sled(Db);

fn open(opening: &Opening<'_>) -> Result<Arc<dyn Store>, PeerError> {
    let flush_ms = match opening.durability {
        Durability::IntervalMs(ms) => ms,
        Durability::Os | Durability::Synced => FLUSH_MS,
    };
    let config = sled::Config::new()
        .path(opening.dir.join("sled"))
        .cache_capacity(opening.cache_bytes)
        .flush_every_ms(Some(flush_ms));
    Ok(Arc::new(Sled(config.open()?)))
}

impl Store for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PeerError> {
        Ok(self.0.get(key)?.map(|value| value.to_vec()))
    }

    fn commit(&self, writes: &[Write], synced: bool) -> Result<Vec<bool>, PeerError> {
        let mut were_there = Vec::with_capacity(writes.len());
        for write in writes {
            let before = match &write.value {
                Some(value) => self.0.insert(&write.key, value.as_slice())?,
                None => self.0.remove(&write.key)?,
            };
            were_there.push(before.is_some());
        }
        if synced {
            self.sync()?;
        }
        Ok(were_there)
    }

    fn sync(&self) -> Result<(), PeerError> {
        self.0.flush()?;
        Ok(())
    }

    fn scan(&self, start: &[u8], rows_max: usize) -> Result<Vec<Row>, PeerError> {
        self.0
            .range(start..)
            .take(rows_max)
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.to_vec(), value.to_vec()))
            })
            .collect()
    }
}
