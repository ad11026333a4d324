//! The space bound: however often everything is overwritten or deleted, the files stay a small multiple of what is alive.
#![expect(clippy::disallowed_methods, reason = "these tests are about threads and time")]

use std::time::{Duration, Instant};

use engine_env::{Backend, OsHome};
use kv_engine::{Durability, KvConfig, KvStats, KvStore, Storage as _, VectorClock, Versioned};

/// Far more than it takes; only a store that never gets there waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

fn wait_until(store: &KvStore<OsHome>, is_so: impl Fn(&KvStats) -> bool) {
    let started = Instant::now();
    while !is_so(&store.stats()) {
        assert!(started.elapsed() < PATIENCE, "{:?}", store.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn after_everything_was_overwritten_ten_times_the_files_are_at_most_twice_what_lives() {
    for durability in [Durability::Os, Durability::Synced] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = OsHome::open(folder.path(), Backend::Auto).expect("the folder is free");
        // A rate that would never do: it doesn't count while the files are too large.
        let config = KvConfig {
            durability,
            segment_bytes: 128 << 10,
            merge_bytes_per_s: 64 << 10,
            ..KvConfig::default()
        };
        let (store, _) = KvStore::open(home, config).expect("it opens");
        for round in 1..=11u64 {
            let clock = VectorClock::from_entries([(0, round)], 0).expect("valid");
            let version = Versioned::new(clock, vec![round as u8; 1000]);
            for key in 0..2000u16 {
                store.put(&key.to_le_bytes(), &version).expect("newer");
            }
        }
        wait_until(&store, |stats| {
            let taken = stats.disk_bytes as f64 / stats.live_bytes as f64;
            taken <= 2.0 || stats.merges_stopped
        });
        let stats = store.stats();
        assert!(!stats.merges_stopped && stats.keys == 2000, "{durability}: {stats:?}");
        // What is deleted goes, too, but for the segment at work and the next one.
        for key in 0..1900u16 {
            let clock = VectorClock::from_entries([(0, 99)], 0).expect("valid");
            assert!(store.delete(&key.to_le_bytes(), &clock).expect("it works"));
        }
        wait_until(&store, |stats| stats.disk_bytes < 2 * stats.live_bytes + ((3 * 128) << 10) + (1 << 20));
    }
}
