//! Random programs on the store and on the reference implementation: every answer and every state must be the same,
//! through rolls, merges, clean closes and kills.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_env::{Backend, CompletionQueue, Home, OsFile, OsHome, Wait, drive_until_idle};
use kv_engine::{
    Bitcask, Durability, KvConfig, MaintenanceStep, MemoryStorage, PutError, Storage, VectorClock, Versioned,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Reads the key's clocks and puts a descendant of those picked by the bits; none picked: a blind put.
    Put {
        key: u8,
        node: u16,
        seen: u8,
        len: u16,
    },
    /// Deletes what those picked by the bits descend from.
    Delete {
        key: u8,
        seen: u8,
    },
    Get {
        key: u8,
    },
    Maintain {
        steps: u8,
    },
    CloseAndReopen,
    KillAndReopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u8..6, 0u16..3, any::<u8>(), 0u16..700)
            .prop_map(|(key, node, seen, len)| Step::Put { key, node, seen, len }),
        4 => (0u8..6, any::<u8>()).prop_map(|(key, seen)| Step::Delete { key, seen }),
        3 => (0u8..6).prop_map(|key| Step::Get { key }),
        4 => (1u8..6).prop_map(|steps| Step::Maintain { steps }),
        1 => Just(Step::CloseAndReopen),
        1 => Just(Step::KillAndReopen),
    ]
}

/// Either kind of durability behind the same verbs.
struct Store {
    home: OsHome,
    config: KvConfig,
    core: Bitcask<OsFile>,
    answers: Arc<CompletionQueue<kv_engine::KvDone>>,
}

impl Store {
    fn open(home: OsHome, config: KvConfig) -> Self {
        let mut disk = home.disk().expect("a disk");
        let (core, report) = Bitcask::open(&mut disk, config.clone()).expect("the store opens");
        assert_eq!(report.damage, [], "nothing was damaged");
        Self { home, config, core, answers: Arc::default() }
    }

    fn put(&self, key: &[u8], version: &Versioned) -> Result<(), PutError> {
        if self.config.durability != Durability::Synced {
            return self.core.put_through(key, version);
        }
        self.core.stage_put(key, version, 1, &self.answers)?;
        self.answer().map(drop)
    }

    fn delete(&self, key: &[u8], version: &VectorClock) -> bool {
        if self.config.durability != Durability::Synced {
            return self.core.delete_through(key, version).expect("the disk works");
        }
        self.core.stage_delete(key, version, 1, &self.answers).expect("the disk works");
        self.answer().expect("the disk works")
    }

    fn answer(&self) -> Result<bool, PutError> {
        let mut disk = self.home.disk().expect("a disk");
        drive_until_idle(&mut disk, &self.core, std::time::Duration::from_secs(60));
        let mut done = Vec::new();
        self.answers.drain(Wait::No, &mut done);
        assert_eq!(done.len(), 1, "one write, one answer");
        let done = done.remove(0);
        done.result.map(|()| done.removed)
    }

    fn dump(&self) -> BTreeMap<Vec<u8>, Vec<Versioned>> {
        let mut dump = BTreeMap::new();
        self.core.for_each(|key, versions| {
            dump.insert(key.to_vec(), versions.expect("nothing is damaged"));
        });
        dump
    }
}

fn dump(model: &MemoryStorage) -> BTreeMap<Vec<u8>, Vec<Versioned>> {
    let mut dump = BTreeMap::new();
    model.for_each(|key, versions| {
        dump.insert(key.to_vec(), versions.to_vec());
    });
    dump
}

fn picked(clocks: &[VectorClock], seen: u8, now: i64) -> VectorClock {
    let mut clock = VectorClock::empty(now);
    for (i, one) in clocks.iter().enumerate() {
        if seen >> (i % 8) & 1 == 1 {
            clock = clock.merge(one, now);
        }
    }
    clock
}

fn run(durability: Durability, steps: Vec<Step>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = OsHome::open(folder.path(), Backend::Blocking).expect("the folder is free");
    let config = KvConfig { durability, segment_bytes: 4096, shards: 4, ..KvConfig::default() };
    let mut store = Store::open(home.clone(), config.clone());
    let model = MemoryStorage::new();
    for (now, step) in (0i64..).zip(steps) {
        match step {
            Step::Put { key, node, seen, len } => {
                let key = [b'k', key];
                let mut clock = picked(&model.get_versions(&key).expect("memory"), seen, now);
                clock.increment(node, now).expect("far from the limits");
                let value = vec![now as u8; usize::from(len)];
                let version = Versioned::new(clock, value);
                let (got, expected) = (store.put(&key, &version), model.put(&key, &version));
                match (&got, &expected) {
                    (Ok(()), Ok(()))
                    | (Err(PutError::ObsoleteVersion { .. }), Err(PutError::ObsoleteVersion { .. })) => {}
                    _ => panic!("{got:?} {expected:?}"),
                }
            }
            Step::Delete { key, seen } => {
                let key = [b'k', key];
                let clock = picked(&model.get_versions(&key).expect("memory"), seen, now);
                assert_eq!(store.delete(&key, &clock), model.delete(&key, &clock).expect("memory"));
            }
            Step::Get { key } => {
                let key = [b'k', key];
                assert_eq!(store.core.get(&key).expect("intact"), model.get(&key).expect("memory"));
            }
            Step::Maintain { steps } => {
                let mut disk = home.disk().expect("a disk");
                for _ in 0..steps {
                    if store.core.maintain(&mut disk).expect("the disk works") == MaintenanceStep::Idle {
                        break;
                    }
                }
            }
            Step::CloseAndReopen => {
                store.core.close(&mut home.disk().expect("a disk")).expect("it closes");
                store = Store::open(home.clone(), config.clone());
            }
            Step::KillAndReopen => store = Store::open(home.clone(), config.clone()),
        }
    }
    assert_eq!(store.dump(), dump(&model));
    drop(store);
    let again = Store::open(home, config);
    assert_eq!(again.dump(), dump(&model), "after a last kill");
    let stats = again.core.stats();
    assert_eq!(stats.keys, dump(&model).len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn the_store_answers_like_the_reference_os(steps in prop::collection::vec(step(), 0..160)) {
        run(Durability::Os, steps);
    }

    #[test]
    fn the_store_answers_like_the_reference_synced(steps in prop::collection::vec(step(), 0..160)) {
        run(Durability::Synced, steps);
    }
}
