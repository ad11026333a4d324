//! Other people's embedded stores, behind the cargo feature `peers`: never in a default build, only to compare with.
//!
//! All get the same cache and the same durability, as far as they have it; each says in its `about` where it has not.
//! They answer on the caller's thread, so [`pool`] drives them.

mod fjall;
mod lmdb;
mod pool;
mod redb;
#[cfg(feature = "peers-rocksdb")]
mod rocksdb;
mod sled;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use engine_env::Durability;

use crate::engine::{Capabilities, Engine, EngineError, Place, Session, Setting};

/// What a peer's own call may fail with.
pub(crate) type PeerError = Box<dyn Error + Send + Sync>;

/// A key and the value that it gets; none deletes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// A key with its value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// An embedded store whose calls return when they are done.
pub(crate) trait Store: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PeerError>;

    /// Writes all in one commit; durable when it returns if `synced`. Says for each whether a value was there; a
    /// store that doesn't tell says yes.
    fn commit(&self, writes: &[Write], synced: bool) -> Result<Vec<bool>, PeerError>;

    /// Makes what was committed before durable.
    fn sync(&self) -> Result<(), PeerError>;

    /// The first `rows_max` keys from `start` on, in order.
    fn scan(&self, start: &[u8], rows_max: usize) -> Result<Vec<Row>, PeerError>;
}

/// What a store is opened with.
struct Opening<'a> {
    dir: &'a Path,
    cache_bytes: u64,
    durability: Durability,
}

/// A peer as an engine.
#[derive(Debug, Clone, Copy)]
struct Peer {
    name: &'static str,
    about: &'static str,
    open: fn(&Opening<'_>) -> Result<Arc<dyn Store>, PeerError>,
}

/// The same for all: a quarter of what the machine that the targets were written for has.
const CACHE_BYTES: u64 = 256 << 20;

impl Engine for Peer {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> &str {
        self.about
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { reads: true, deletes: true, durable: true }
    }

    fn settings(&self) -> Vec<Setting> {
        vec![
            Setting {
                name: "cache-bytes",
                default: CACHE_BYTES.to_string(),
                meaning: "cache of the store, bytes; a store that leaves caching to the kernel has none",
            },
            Setting {
                name: "threads",
                default: "0".to_owned(),
                meaning: "threads that call the store; 0: the driver's own, and one for commits that wait for the disk",
            },
        ]
    }

    fn open(&self, place: &Place) -> Result<Box<dyn Session>, EngineError> {
        let cache_bytes = place.setting("cache-bytes", CACHE_BYTES, "a number of bytes")?;
        let threads = place.setting("threads", 0_usize, "a number of threads")?;
        std::fs::create_dir_all(&place.dir).map_err(EngineError::engine)?;
        let opening = Opening { dir: &place.dir, cache_bytes, durability: place.durability };
        let store = (self.open)(&opening).map_err(EngineError::engine)?;
        Ok(Box::new(pool::PoolSession::start(store, place.durability, threads)?))
    }
}

/// A peer by name, to be called directly.
pub(crate) fn open_store(
    name: &str,
    dir: &Path,
    durability: Durability,
) -> Result<Arc<dyn Store>, PeerError> {
    let peer = peers().into_iter().find(|peer| peer.name == name).ok_or("no such peer")?;
    (peer.open)(&Opening { dir, cache_bytes: CACHE_BYTES, durability })
}

/// Other people's stores that this build has.
fn peers() -> Vec<Peer> {
    vec![
        fjall::PLAIN,
        fjall::SEPARATED,
        redb::PEER,
        lmdb::PEER,
        #[cfg(feature = "peers-rocksdb")]
        rocksdb::PLAIN,
        #[cfg(feature = "peers-rocksdb")]
        rocksdb::BLOBS,
        sled::PEER,
    ]
}

/// Every peer.
pub(super) fn all() -> Vec<Box<dyn Engine>> {
    peers().into_iter().map(|peer| Box::new(peer) as Box<dyn Engine>).collect()
}
