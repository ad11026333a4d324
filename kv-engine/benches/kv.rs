//! Micro benches of the store on one thread, in `os` durability, everything in the page cache: what the engine
//! costs beside the kernel, not what a disk does. The comparison of engines is bench-harness's.
#![allow(missing_docs, reason = "Criterion's macros make undocumented items")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine_env::{Backend, OsHome};
use kv_engine::{KvConfig, KvStore, Storage, VectorClock, Versioned};

const KEYS: u64 = 10_000;

fn key(index: u64) -> [u8; 16] {
    let mut key = *b"member:00000000\0";
    key[7..15].copy_from_slice(&index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key
}

fn store(folder: &tempfile::TempDir) -> KvStore<OsHome> {
    let home = OsHome::open(folder.path(), Backend::Auto).expect("a free folder");
    KvStore::open(home, KvConfig::default()).expect("the store opens").0
}

fn put(c: &mut Criterion) {
    let mut group = c.benchmark_group("put os");
    for (name, len) in [("100 B", 100), ("1 KiB", 1024)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = store(&folder);
        let mut clock = VectorClock::empty(0);
        let mut index = 0;
        let mut version = Versioned::new(clock.clone(), vec![7; len]);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                if index % KEYS == 0 {
                    clock.increment(0, 0).expect("far from the limit");
                    version.clock = clock.clone();
                }
                store.put(&key(index % KEYS), &version).expect("newer than what is there");
                index += 1;
            });
        });
    }
    group.finish();
}

fn get(c: &mut Criterion) {
    let mut group = c.benchmark_group("get cached");
    for (name, len) in [("100 B", 100), ("1 KiB", 1024)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = store(&folder);
        let clock = VectorClock::from_entries([(0, 1)], 0).expect("valid");
        let version = Versioned::new(clock, vec![7; len]);
        for index in 0..KEYS {
            store.put(&key(index), &version).expect("a fresh key");
        }
        let mut index = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                let found = store.get(&key(index % KEYS)).expect("intact");
                assert_eq!(found[0].value.len(), len, "an answer that is wrong has no time");
                index += 1;
                black_box(found)
            });
        });
    }
    group.finish();
}

fn compare(c: &mut Criterion) {
    let three = VectorClock::from_entries([(0, 4), (1, 7), (2, 1)], 0).expect("valid");
    let newer = VectorClock::from_entries([(0, 4), (1, 8), (2, 1)], 0).expect("valid");
    c.bench_function("clock comparison, 3 entries", |b| {
        b.iter(|| black_box(&three).compare(black_box(&newer)))
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = put, get, compare
}
criterion_main!(benches);
