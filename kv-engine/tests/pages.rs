//! A store told page by page: everything once, whatever the size of a page, also when the store is opened anew between two.

use std::collections::BTreeMap;

use engine_env::{Backend, OsHome};
use kv_engine::{EntriesPosition, KvConfig, KvStore, MemoryStorage, Ring, Storage, VectorClock, Versioned};

fn fill(store: &impl Storage, keys: u32) {
    for key in 0..keys {
        let clock = VectorClock::from_entries([(1, 1)], 0).expect("in range");
        let value = key.to_string().repeat(key as usize % 7);
        store.put(&key.to_le_bytes(), &Versioned::new(clock, value)).expect("fresh");
    }
}

fn expected(ring: &Ring, partitions: &[u32], keys: u32) -> usize {
    (0..keys).filter(|key| partitions.contains(&ring.master_partition(&key.to_le_bytes()))).count()
}

#[test]
fn every_entry_of_the_partitions_is_told_once_over_restarts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ring = Ring::even(3, 12).expect("a ring");
    let partitions = [1, 5, 11];
    for max_bytes in [1, 700, 1 << 20] {
        let path = folder.path().join(max_bytes.to_string());
        let open = |shards| {
            let home = OsHome::open(&path, Backend::Auto).expect("a free folder");
            KvStore::open(home, KvConfig { shards, ..KvConfig::default() }).expect("it opens").0
        };
        let mut store = open(64);
        fill(&store, 3000);
        let (mut position, mut told, mut pages) = (Some(EntriesPosition::default()), BTreeMap::new(), 0);
        while let Some(from) = position {
            let page = store.page_of(&ring, &partitions, &from, max_bytes).expect("it is healthy");
            for (key, versions) in page.entries {
                assert!(partitions.contains(&ring.master_partition(&key)));
                assert!(told.insert(key, versions).is_none(), "nothing is told twice");
            }
            position = page.next;
            pages += 1;
            if pages % 300 == 0 {
                store.close().expect("it closes");
                store = open(64);
            }
        }
        assert_eq!(told.len(), expected(&ring, &partitions, 3000));
        let stored =
            |(key, versions): (&Vec<u8>, &Vec<Versioned>)| store.get(key).expect("healthy") == *versions;
        assert!(told.iter().all(stored));
    }
}

#[test]
fn a_store_that_is_divided_otherwise_by_now_begins_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ring = Ring::even(1, 1).expect("a ring");
    let open = |shards| {
        let home = OsHome::open(folder.path(), Backend::Auto).expect("a free folder");
        KvStore::open(home, KvConfig { shards, ..KvConfig::default() }).expect("it opens").0
    };
    let store = open(64);
    fill(&store, 100);
    let first = store.page_of(&ring, &[0], &EntriesPosition::default(), 200).expect("it is healthy");
    let next = first.next.expect("there is more");
    store.close().expect("it closes");
    let store = open(4);
    let all = store.page_of(&ring, &[0], &next, 1 << 20).expect("it is healthy");
    assert_eq!((all.entries.len(), all.next), (100, None), "nothing may be missed");
    // A place beyond the end is no harm.
    let beyond = EntriesPosition { shards: 4, shard: 9, after: None };
    assert_eq!(store.page_of(&ring, &[0], &beyond, 1).expect("it is healthy").entries, []);
}

#[test]
fn pages_of_the_reference_implementation_hold_the_same() {
    let store = MemoryStorage::new();
    fill(&store, 500);
    let ring = Ring::even(3, 12).expect("a ring");
    let wanted = |key: &[u8]| ring.master_partition(key) < 4;
    let (mut position, mut told) = (Some(EntriesPosition::default()), Vec::new());
    while let Some(from) = position {
        let page = store.page(wanted, &from, 50);
        told.extend(page.entries.into_iter().map(|(key, _)| key));
        position = page.next;
    }
    assert_eq!(told.len(), expected(&ring, &[0, 1, 2, 3], 500));
    assert!(told.is_sorted() && told.windows(2).all(|pair| pair[0] != pair[1]));
}
