//! The key-value store: an update reads the version in memory, counts it up and puts the value.

use std::path::Path;
use std::time::Duration;

use engine_env::{Backend, Durability, OsHome, clock};
use kv_engine::{KvConfig, KvStore, SealedReads, Storage as _, VectorClock, Versioned};

use super::contender::{Contender, ContenderError, Kind};

pub(super) const KIND: Kind =
    Kind { name: "kv-store", open: |dir, synced| open(dir, synced, KvConfig::default()), is_ceiling: false };

/// What merging costs.
pub(super) const UNMERGED: Kind = Kind {
    name: "kv-unmerged",
    open: |dir, synced| {
        let never = KvConfig { merge_garbage_ratio: 1.0, space_ratio_max: f64::MAX, ..KvConfig::default() };
        open(dir, synced, never)
    },
    is_ceiling: false,
};

/// What reading with a system call costs.
pub(super) const CALLED: Kind = Kind {
    name: "kv-called",
    open: |dir, synced| {
        open(dir, synced, KvConfig { sealed_reads: SealedReads::Called, ..KvConfig::default() })
    },
    is_ceiling: false,
};

/// One node writes; its id in every clock.
const NODE: u16 = 0;

struct Kv(KvStore<OsHome>);

fn open(dir: &Path, synced: bool, config: KvConfig) -> Result<Box<dyn Contender>, ContenderError> {
    let durability = if synced { Durability::Synced } else { Durability::Os };
    let home = OsHome::open(dir, Backend::Auto)?;
    let (store, _) = KvStore::open(home, KvConfig { durability, ..config })?;
    Ok(Box::new(Kv(store)))
}

impl Contender for Kv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ContenderError> {
        Ok(self.0.get(key)?.pop().map(|version| version.value))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), ContenderError> {
        // Two threads may count the same version up: then one of them is refused, and tries again.
        loop {
            let clock = self.0.get_versions(key)?.pop();
            let mut clock = clock.unwrap_or_else(|| VectorClock::empty(0));
            clock.increment(NODE, clock::wall_ms())?;
            match self.0.put(key, &Versioned::new(clock, value)) {
                Err(kv_engine::PutError::ObsoleteVersion { .. }) => {}
                result => return Ok(result?),
            }
        }
    }

    fn close(self: Box<Self>) -> Result<(), ContenderError> {
        Ok(self.0.close()?)
    }

    fn key_bytes(&self) -> Option<f64> {
        let stats = self.0.stats();
        Some(stats.keydir_bytes as f64 / stats.keys.max(1) as f64)
    }

    #[expect(clippy::disallowed_methods, reason = "a store tells nobody that it has nothing left to tidy up")]
    fn settle(&self) {
        let mut before = self.0.stats();
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.0.stats();
            if (now.merged_bytes, now.written_bytes) == (before.merged_bytes, before.written_bytes) {
                return;
            }
            before = now;
        }
    }
}
