//! Snapshots: whatever is written, deleted and merged while they are read, they tell what was there when they began.

use std::collections::BTreeMap;

use engine_env::Home;
use engine_env::rng::Seed;
use engine_env::sim::SimHome;
use kv_engine::{
    Bitcask, ChangeEvent, Durability, KvConfig, KvStore, Ring, SealedReads, Snapshot, Storage as _,
    VectorClock, Versioned,
};
use proptest::prelude::*;

type Dump = BTreeMap<Vec<u8>, Vec<Versioned>>;

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: u8,
        node: u16,
        len: u16,
    },
    Delete {
        key: u8,
    },
    Maintain,
    /// Begins the first or second snapshot.
    Begin {
        second: bool,
    },
    /// Reads on in it.
    Read {
        second: bool,
        entries: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..20, 0u16..2, 0u16..900).prop_map(|(key, node, len)| Step::Put { key, node, len }),
        3 => (0u8..20).prop_map(|key| Step::Delete { key }),
        4 => Just(Step::Maintain),
        1 => any::<bool>().prop_map(|second| Step::Begin { second }),
        4 => (any::<bool>(), 1u8..8).prop_map(|(second, entries)| Step::Read { second, entries }),
    ]
}

fn take<F: engine_env::File>(snapshot: &mut Snapshot<'_, F>, into: &mut Dump, entries: usize) {
    for (key, versions) in snapshot.by_ref().take(entries) {
        assert!(into.insert(key, versions.expect("intact")).is_none(), "each key once");
    }
}

fn check(steps: &[Step], reads: SealedReads) {
    let home = SimHome::new(Seed(1));
    let mut disk = home.disk().expect("power");
    let config = KvConfig {
        durability: Durability::Os,
        segment_bytes: 4096,
        shards: 4,
        sealed_reads: reads,
        ..KvConfig::default()
    };
    let (store, _) = Bitcask::open(&mut disk, config).expect("it opens");
    let mut now = Dump::new();
    let mut snapshots: [Option<(Snapshot<'_, _>, Dump, Dump)>; 2] = [None, None];
    for (count, step) in (1..).zip(steps) {
        match *step {
            Step::Put { key, node, len } => {
                let key = vec![b'k', key];
                let clock = VectorClock::from_entries([(node, count)], 0).expect("valid");
                let version = Versioned::new(clock, vec![count as u8; usize::from(len)]);
                store.put_through(&key, &version).expect("newer");
                let versions = now.entry(key).or_default();
                versions.retain(|old| old.clock.entries()[0].node != node);
                versions.push(version);
            }
            Step::Delete { key } => {
                let all = VectorClock::from_entries([(0, 1 << 40), (1, 1 << 40)], 0).expect("valid");
                store.delete_through(&[b'k', key], &all).expect("it works");
                now.remove([b'k', key].as_slice());
            }
            Step::Maintain => drop(store.maintain(&mut disk).expect("a healthy machine")),
            Step::Begin { second } => {
                let slot = &mut snapshots[usize::from(second)];
                if slot.is_none() {
                    *slot = Some((store.snapshot(|_| true), now.clone(), Dump::new()));
                }
            }
            Step::Read { second, entries } => {
                if let Some((snapshot, _, found)) = &mut snapshots[usize::from(second)] {
                    take(snapshot, found, usize::from(entries));
                }
            }
        }
    }
    for (mut snapshot, expected, mut found) in snapshots.into_iter().flatten() {
        take(&mut snapshot, &mut found, usize::MAX);
        assert_eq!(found, expected);
    }
    let mut found = Dump::new();
    take(&mut store.snapshot(|_| true), &mut found, usize::MAX);
    assert_eq!(found, now);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_snapshot_tells_what_was_there_when_it_began(
        steps in prop::collection::vec(step(), 0..150),
        mapped in any::<bool>(),
    ) {
        check(&steps, if mapped { SealedReads::Mapped } else { SealedReads::Called });
    }
}

#[test]
fn with_the_feed_from_its_position_a_snapshot_makes_a_copy_that_follows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = engine_env::OsHome::open(folder.path(), engine_env::Backend::Auto).expect("free");
    let config = KvConfig { durability: Durability::Os, segment_bytes: 16 << 10, ..KvConfig::default() };
    let (store, _) = KvStore::open(home, config).expect("it opens");
    let version = |count: u64| {
        let clock = VectorClock::from_entries([(0, count)], 0).expect("valid");
        Versioned::new(clock, count.to_le_bytes().repeat(20))
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for count in 1..20_000u64 {
                store.put(&[(count % 100) as u8], &version(count)).expect("newer");
            }
        });
        let mut copy = Dump::new();
        while copy.len() < 50 {
            copy = store.snapshot().map(|(key, versions)| (key, versions.expect("intact"))).collect();
        }
        let mut snapshot = store.snapshot();
        let from = snapshot.position();
        copy.clear();
        take(&mut snapshot, &mut copy, usize::MAX);
        writer.join().expect("it ends");
        let mut feed = store.feed(from).expect("it can follow");
        let mut changes = Vec::new();
        loop {
            let before = changes.len();
            feed.poll(1 << 20, engine_env::Wait::No, &mut changes).expect("open");
            if changes.len() == before {
                break;
            }
        }
        for change in changes {
            let ChangeEvent::Put { key, version } = change.event else { panic!("{change:?}") };
            copy.insert(key, vec![version]);
        }
        let now: Dump = store.snapshot().map(|(key, versions)| (key, versions.expect("intact"))).collect();
        assert_eq!(copy, now);
    });
}

#[test]
fn the_snapshots_of_all_partitions_are_the_whole_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = engine_env::OsHome::open(folder.path(), engine_env::Backend::Auto).expect("free");
    let (store, _) = KvStore::open(home, KvConfig::default()).expect("it opens");
    let clock = VectorClock::from_entries([(0, 1)], 0).expect("valid");
    for key in 0..500u16 {
        store.put(&key.to_le_bytes(), &Versioned::new(clock.clone(), b"v")).expect("fresh");
    }
    let ring = Ring::even(3, 12).expect("a ring");
    let mut found = std::collections::BTreeSet::new();
    for partition in 0..12 {
        for (key, _) in store.snapshot_of(&ring, &[partition]) {
            assert_eq!(ring.master_partition(&key), partition);
            assert!(found.insert(key), "in one partition only");
        }
    }
    assert_eq!(found.len(), 500);
    assert_eq!(store.snapshot_of(&ring, &[3, 7]).count() + store.snapshot_of(&ring, &[0]).count(), {
        found.iter().filter(|key| [0, 3, 7].contains(&ring.master_partition(key))).count()
    });
}
