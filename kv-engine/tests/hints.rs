//! Hint files: they save reading the segments, and whatever becomes of them, nothing else is found than without them (K7).

use std::collections::BTreeMap;

use engine_env::rng::Seed;
use engine_env::sim::{SimFile, SimHome};
use engine_env::{Disk, Home, OneWorker, Op, OpenHow, Workers, WriteSync};
use kv_engine::{Bitcask, Durability, KvConfig, MaintenanceStep, RecoveryReport, VectorClock, Versioned};
use proptest::prelude::*;

type Dump = BTreeMap<Vec<u8>, Vec<Versioned>>;

fn config() -> KvConfig {
    KvConfig { durability: Durability::Os, segment_bytes: 4096, shards: 4, ..KvConfig::default() }
}

fn clock(node: u16, count: u64) -> VectorClock {
    VectorClock::from_entries([(node, count)], i64::from(node)).expect("valid")
}

fn maintain(store: &Bitcask<SimFile>, disk: &mut impl Disk<File = SimFile>) {
    while let MaintenanceStep::Worked { .. } = store.maintain(disk).expect("a healthy machine") {}
}

/// Puts, siblings, overwrites and deletes over some segments; `rounds` of them, from `first` on.
fn write(home: &SimHome, first: u64, rounds: u64) -> (Dump, RecoveryReport) {
    let mut disk = home.disk().expect("power");
    let (store, report) = Bitcask::open(&mut disk, config()).expect("it opens");
    for round in first..first + rounds {
        for key in 0..40u8 {
            let version =
                Versioned::new(clock(u16::from(key % 3), round + 1), vec![key; 20 * usize::from(key)]);
            store.put_through(&[b'k', key], &version).expect("newer");
            if key % 4 == 0 {
                store
                    .put_through(&[b'k', key], &Versioned::new(clock(9, round + 1), b"sibling"))
                    .expect("newer");
                // A segment is full after a few keys, and the next one must be there.
                maintain(&store, &mut disk);
            }
        }
        if round % 2 == 1 {
            store.delete_through(b"k\x03", &clock(0, u64::MAX >> 8)).expect("it works");
        }
        maintain(&store, &mut disk);
    }
    let dump = dump(&store);
    store.close(&mut disk).expect("it closes");
    (dump, report)
}

fn dump(store: &Bitcask<SimFile>) -> Dump {
    let mut dump = Dump::new();
    store.for_each(|key, versions| drop(dump.insert(key.to_vec(), versions.expect("intact"))));
    dump
}

fn open(home: &SimHome, config: KvConfig, workers: &dyn Workers) -> (Dump, RecoveryReport) {
    let mut disk = home.disk().expect("power");
    let (store, report) = Bitcask::open_with(&mut disk, config, workers).expect("damage is no error");
    (dump(&store), report)
}

fn hints(home: &SimHome) -> Vec<String> {
    home.files().into_iter().filter(|name| name.ends_with(".hint")).collect()
}

/// Gives a file these bytes, or none.
fn replace(home: &SimHome, path: &str, bytes: Option<&[u8]>) {
    let mut disk = home.disk().expect("power");
    let Some(bytes) = bytes else {
        disk.run(Op::Remove { path: path.to_owned() }).expect("it is there");
        return;
    };
    let (file, _) = disk.open(path, OpenHow::OpenOrCreate).expect("it opens");
    disk.run(Op::Truncate { file: file.clone(), len: 0 }).expect("it works");
    disk.run(Op::Write { file, at: 0, buf: bytes.to_vec(), sync: WriteSync::Data }).expect("it works");
}

#[test]
fn of_all_segments_but_the_last_only_hints_are_read() {
    let home = SimHome::new(Seed(1));
    let (expected, _) = write(&home, 0, 6);
    let (found, report) = open(&home, config(), &OneWorker);
    assert_eq!(found, expected);
    assert!(report.segments > 2 && report.hinted == report.segments - 1, "{report:?}");
    assert_eq!((report.damage, report.hints_refused), (vec![], vec![]));
}

#[test]
fn a_store_that_was_not_closed_has_hints_too_and_writes_those_that_lack() {
    let home = SimHome::new(Seed(1));
    write(&home, 0, 3);
    let mut disk = home.disk().expect("power");
    let (store, _) = Bitcask::open(&mut disk, config()).expect("it opens");
    for count in 50..70 {
        store.put_through(b"more", &Versioned::new(clock(0, count), vec![1; 900])).expect("newer");
        maintain(&store, &mut disk);
    }
    let expected = dump(&store);
    drop(store);
    hints(&home).iter().skip(1).for_each(|name| replace(&home, name, None));
    let (store, report) = Bitcask::open(&mut disk, config()).expect("it opens");
    assert_eq!((dump(&store), report.hinted), (expected.clone(), 1));
    maintain(&store, &mut disk);
    drop(store);
    let (found, report) = open(&home, config(), &OneWorker);
    assert_eq!(found, expected);
    assert!(report.segments > 2 && report.hinted == report.segments - 1, "{report:?}");
}

/// What may become of a hint.
#[derive(Debug, Clone)]
enum Fate {
    Missing,
    Cut(prop::sample::Index),
    Flipped(prop::sample::Index),
    Longer(Vec<u8>),
    Another(prop::sample::Index),
    Bytes(Vec<u8>),
}

fn fate() -> impl Strategy<Value = Fate> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        Just(Fate::Missing),
        any::<prop::sample::Index>().prop_map(Fate::Cut),
        any::<prop::sample::Index>().prop_map(Fate::Flipped),
        bytes().prop_map(Fate::Longer),
        any::<prop::sample::Index>().prop_map(Fate::Another),
        bytes().prop_map(Fate::Bytes),
    ]
}

/// Lets the hints meet their fates; whether anything became of them.
fn meet(home: &SimHome, fates: &[Fate]) -> bool {
    let names = hints(home);
    let all: Vec<Vec<u8>> = names.iter().map(|name| home.seen_bytes(name).expect("it is there")).collect();
    let mut changed = false;
    for (i, fate) in fates.iter().enumerate().take(names.len()) {
        let mut bytes = all[i].clone();
        let bytes = match fate {
            Fate::Missing => None,
            Fate::Cut(at) => Some(bytes[..at.index(bytes.len())].to_vec()),
            Fate::Flipped(bit) => {
                let bit = bit.index(8 * bytes.len());
                bytes[bit / 8] ^= 1 << (bit % 8);
                Some(bytes)
            }
            Fate::Longer(more) => Some([bytes.as_slice(), more].concat()),
            Fate::Another(other) => Some(all[other.index(all.len())].clone()),
            Fate::Bytes(other) => Some(other.clone()),
        };
        changed |= bytes.as_ref() != Some(&all[i]);
        replace(home, &names[i], bytes.as_deref());
    }
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_becomes_of_hints_the_same_is_found(fates in prop::collection::vec(fate(), 1..6)) {
        let home = SimHome::new(Seed(1));
        let (expected, _) = write(&home, 0, 6);
        meet(&home, &fates);
        let (found, report) = open(&home, config(), &OneWorker);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(report.damage, vec![]);
    }
}

/// The hints of another store with the same segments, but for what was written, come up: from a backup, say, that was put
/// together wrongly.
#[test]
fn stale_hints_are_not_believed() {
    let (home, other) = (SimHome::new(Seed(1)), SimHome::new(Seed(2)));
    write(&other, 2, 6);
    let (expected, _) = write(&home, 0, 6);
    assert_eq!(hints(&home), hints(&other));
    for name in &hints(&home) {
        replace(&home, name, other.seen_bytes(name).ok().as_deref());
    }
    let (found, report) = open(&home, config(), &OneWorker);
    assert_eq!(found, expected);
    assert!(!report.hints_refused.is_empty(), "{report:?}");
    // Whatever belongs to no segment, or was refused, is gone or written anew.
    let (_, report) = write(&home, 6, 1);
    assert_eq!(report.damage, []);
    let (_, report) = open(&home, config(), &OneWorker);
    assert_eq!((report.hinted, report.hints_refused), (report.segments - 1, vec![]));
}

/// Jobs on threads, and the last ones first.
struct Scattered;

impl Workers for Scattered {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for odd in [true, false] {
                scope.spawn(move || (0..jobs).rev().filter(|i| (i % 2 == 1) == odd).for_each(job));
            }
        });
    }
}

#[test]
fn many_workers_find_what_one_finds() {
    for keeps_hints in [true, false] {
        let home = SimHome::new(Seed(1));
        let (expected, _) = write(&home, 0, 8);
        if !keeps_hints {
            hints(&home).iter().for_each(|name| replace(&home, name, None));
        }
        let copy = home.fork();
        copy.reboot(engine_env::sim::Crash::KeepUnsynced);
        let one = open(&home, config(), &OneWorker);
        let many = open(&copy, config(), &Scattered);
        assert_eq!(one, many);
        assert_eq!(one.0, expected);
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_hint_that_is_believed_is_caught() {
    use proptest::test_runner::{TestCaseError, TestRunner};
    let config = KvConfig { planted_bug: Some(kv_engine::PlantedBug::HintBelieved), ..config() };
    let caught = TestRunner::default().run(&prop::collection::vec(fate(), 1..6), |fates| {
        let home = SimHome::new(Seed(1));
        let (expected, _) = write(&home, 0, 6);
        meet(&home, &fates);
        let opened = std::panic::catch_unwind(|| open(&home, config.clone(), &OneWorker));
        let same = opened.is_ok_and(|(found, _)| found == expected);
        if same { Ok(()) } else { Err(TestCaseError::fail("something else was found")) }
    });
    assert!(caught.is_err());
}
