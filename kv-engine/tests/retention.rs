//! Retention by age: what has expired isn't returned, a merge drops it, and nothing older comes back instead.

use engine_env::rng::Seed;
use engine_env::sim::{Crash, SimDisk, SimFile, SimHome};
use engine_env::{Disk, Home};
use kv_engine::{Bitcask, Durability, KvConfig, MaintenanceStep, PutError, VectorClock, Versioned};
use proptest::prelude::*;

fn config() -> KvConfig {
    KvConfig { durability: Durability::Os, segment_bytes: 4096, shards: 2, ..KvConfig::default() }
}

fn version(node: u16, count: u64, at_ms: i64, len: usize) -> Versioned {
    Versioned::new(VectorClock::from_entries([(node, count)], at_ms).expect("valid"), vec![count as u8; len])
}

fn open(home: &SimHome, config: KvConfig) -> (Bitcask<SimFile>, SimDisk) {
    let mut disk = home.disk().expect("power");
    let (store, report) = Bitcask::open(&mut disk, config).expect("it opens");
    assert_eq!(report.damage, []);
    (store, disk)
}

fn maintain(store: &Bitcask<SimFile>, disk: &mut impl Disk<File = SimFile>) {
    while let MaintenanceStep::Worked { .. } = store.maintain(disk).expect("a healthy machine") {}
}

#[test]
fn an_expired_version_is_not_returned_and_its_clock_still_counts() {
    let (store, _) = open(&SimHome::new(Seed(1)), config());
    store.put_through(b"k", &version(0, 2, 100, 9)).expect("fresh");
    store.put_through(b"k", &version(1, 1, 200, 9)).expect("a sibling");
    store.expire_before(150);
    assert_eq!(store.get(b"k").expect("intact"), [version(1, 1, 200, 9)]);
    assert_eq!(store.get_versions(b"k").len(), 2);
    assert!(matches!(store.put_through(b"k", &version(0, 1, 300, 9)), Err(PutError::ObsoleteVersion { .. })));
    store.expire_before(201);
    assert_eq!(store.get(b"k").expect("intact"), []);
    assert_eq!(store.snapshot(|_| true).count(), 0);
    store.put_through(b"k", &version(0, 3, 300, 9)).expect("a descendant");
    assert_eq!(store.get(b"k").expect("intact"), [version(0, 3, 300, 9)]);
}

#[test]
fn a_merge_drops_what_has_expired_and_gives_its_space_back() {
    let (store, mut disk) = open(&SimHome::new(Seed(1)), config());
    for key in 0..40u8 {
        store.put_through(&[key], &version(0, 1, i64::from(key), 700)).expect("fresh");
        maintain(&store, &mut disk);
    }
    let before = store.stats();
    store.expire_before(30);
    maintain(&store, &mut disk);
    let after = store.stats();
    assert!(after.disk_bytes < before.disk_bytes / 2, "{before:?} {after:?}");
    assert!(after.keys < 15, "{after:?}");
    for key in 0..40u8 {
        assert_eq!(store.get(&[key]).expect("intact").len(), usize::from(key >= 30), "{key}");
    }
    maintain(&store, &mut disk);
    assert_eq!(store.stats().merged_bytes, after.merged_bytes, "and then there is peace");
}

/// What is readable is what a model says, and stays so after a kill; whatever merges do in between.
fn check(bug: impl Fn(&mut KvConfig), steps: &[(u8, u8, u16)]) -> Result<(), String> {
    let home = SimHome::new(Seed(1));
    let mut config = config();
    bug(&mut config);
    let (mut store, mut disk) = open(&home, config.clone());
    let mut model = std::collections::BTreeMap::new();
    let mut expired_before = i64::MIN;
    for (count, &(what, key, len)) in (1..).zip(steps) {
        // Timestamps don't follow the order of writes: clocks of machines differ.
        let at_ms = i64::from(len % 64);
        match what {
            0..6 => {
                let version = version(0, count, at_ms, usize::from(len));
                store.put_through(&[key], &version).expect("newer");
                model.insert(key, version);
            }
            6 => drop(
                store.delete_through(&[key], &version(0, 1 << 40, 0, 0).clock).map(|_| model.remove(&key)),
            ),
            7 => {
                expired_before = expired_before.max(at_ms - 20);
                store.expire_before(expired_before);
            }
            8 => maintain(&store, &mut disk),
            _ => {
                drop(store);
                home.reboot(Crash::ProcessKill(Seed(count)));
                (store, disk) = open(&home, config.clone());
                store.expire_before(expired_before);
            }
        }
        for key in 0..8u8 {
            let expected = model.get(&key).filter(|version| version.clock.timestamp_ms() >= expired_before);
            let found = store.get(&[key]).expect("intact");
            if found.iter().collect::<Vec<_>>() != expected.into_iter().collect::<Vec<_>>() {
                return Err(format!("key {key}: found {found:?}, expected {expected:?}"));
            }
        }
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<(u8, u8, u16)>> {
    prop::collection::vec((0u8..10, 0u8..8, 0u16..900), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn nothing_older_comes_back_when_a_version_expires(steps in steps()) {
        check(|_| {}, &steps).map_err(TestCaseError::fail)?;
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_merge_that_drops_every_expired_version_is_caught() {
    use proptest::test_runner::TestRunner;
    let bug = |config: &mut KvConfig| config.planted_bug = Some(kv_engine::PlantedBug::ExpiryUnguarded);
    let caught =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })
            .run(&steps(), |steps| check(bug, &steps).map_err(TestCaseError::fail));
    assert!(caught.is_err());
}
