//! Read-only stores against a map: what was built is what is read, on every node, in the documented bytes; and whatever
//! happens to the bytes afterwards is noticed.

mod golden;

use std::collections::BTreeMap;

use engine_env::rng::Seed;
use engine_env::sim::{SimDisk, SimFile, SimHome};
use engine_env::{Backend, Disk, Home, Op, OpenHow, OsHome, WriteSync};
use kv_engine::{
    BuildConfig, BuildError, Built, DeleteError, GetError, NodeId, Placement, PutError, ReadOnlyBuild,
    ReadOnlyCheck, ReadOnlyConfig, ReadOnlyDamage, ReadOnlyOpenError, ReadOnlyStore, Ring, Storage as _,
    SwapError, VectorClock, Versioned, read_only_versions, roll_back_read_only, swap_read_only,
    verify_read_only,
};
use proptest::prelude::*;

use golden::golden;

const DOCUMENT: &str = "kv-read-only.md";
const NODE: NodeId = NodeId(0);

fn alone(partitions: u32) -> Placement {
    Placement::consistent(&Ring::even(1, partitions).expect("a ring"), 1)
}

fn inline() -> BuildConfig {
    BuildConfig { threads: 0, ..BuildConfig::default() }
}

fn build(home: &SimHome, partitions: u32, pairs: &[(&[u8], &[u8])]) -> Built {
    let mut build = ReadOnlyBuild::start(vec![(NODE, home.clone())], alone(partitions), inline())
        .expect("an orderly folder");
    for (key, value) in pairs {
        build.put(key, value).expect("short");
    }
    build.finish(&|_, _| {}).expect("nothing fails here")
}

fn swapped(home: &SimHome, pairs: &[(&[u8], &[u8])]) -> SimDisk {
    build(home, 1, pairs);
    let mut disk = home.disk().expect("power");
    swap_read_only(&mut disk, None, &ReadOnlyConfig::default()).expect("it is whole");
    disk
}

fn open(disk: &mut SimDisk) -> ReadOnlyStore<SimFile> {
    ReadOnlyStore::open(disk, ReadOnlyCheck::Everything).expect("it is whole")
}

#[test]
fn the_documented_bytes_are_written() {
    let home = SimHome::new(Seed(1));
    swapped(&home, &[(b"abc", b"value"), (b"", b"")]);
    let files = [".manifest", ".metadata", "0_0_0.data", "0_0_0.index"].map(|f| format!("version-1/{f}"));
    assert_eq!(home.files(), [vec!["latest".to_owned()], files.to_vec()].concat());
    let bytes = |file: &str| home.seen_bytes(file).expect("it is there");
    let hex = |file: &str| bytes(file).iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    assert_eq!(bytes("version-1/.metadata"), br#"{"format":"ro2"}"#);
    assert_eq!(bytes("version-1/0_0_0.index"), golden(DOCUMENT, "index"), "{}", hex("version-1/0_0_0.index"));
    assert_eq!(bytes("version-1/0_0_0.data"), golden(DOCUMENT, "data"), "{}", hex("version-1/0_0_0.data"));
    let text = |file: &str| String::from_utf8(bytes(file)).expect("text");
    let manifest = text("version-1/.manifest");
    assert_eq!(text("latest"), "version-1\ncrc32 c4a10038\n");
    assert!(manifest.starts_with("read-only 1\npartitions 1\nkeys 2\nfile 0_0_0.data 28 "), "{manifest}");
}

#[test]
fn puts_and_deletes_are_refused() {
    let home = SimHome::new(Seed(1));
    let store = open(&mut swapped(&home, &[(b"k", b"v")]));
    let version = Versioned::new(VectorClock::empty(0), b"v");
    assert!(matches!(store.put(b"k", &version), Err(PutError::ReadOnly)));
    assert!(matches!(store.delete(b"k", &version.clock), Err(DeleteError::ReadOnly)));
    assert_eq!(store.get(b"k").expect("it reads"), [version]);
    assert_eq!(store.get(b"other").expect("it reads"), []);
    assert_eq!(store.get_versions(b"k").expect("it reads").len(), 1);
}

#[test]
fn what_does_not_fit_the_format_is_refused_before_anything_is_served() {
    let home = SimHome::new(Seed(1));
    let homes = || vec![(NODE, home.clone())];
    let refused = |config: BuildConfig| {
        ReadOnlyBuild::start(homes(), alone(1), config).expect_err("out of range").to_string()
    };
    assert!(refused(BuildConfig { memory_bytes: 1, ..inline() }).contains("1 MiB"));
    assert!(refused(BuildConfig { chunk_bytes: 1 << 31, ..inline() }).contains("2 GiB"));
    let mut build = ReadOnlyBuild::start(homes(), alone(1), inline()).expect("an orderly folder");
    build.put(b"k", b"v").expect("short");
    let long = vec![0; 65_536];
    assert!(matches!(build.put(&long, b""), Err(BuildError::KeyTooLong { record: 2, len: 65_536 })));
    assert!(matches!(open_error(&home), ReadOnlyOpenError::Empty));
}

fn open_error(home: &SimHome) -> ReadOnlyOpenError {
    ReadOnlyStore::open(&mut home.disk().expect("power"), ReadOnlyCheck::Everything).expect_err("not served")
}

#[test]
fn swaps_go_forward_rollbacks_go_back_and_backups_are_kept() {
    let home = SimHome::new(Seed(1));
    let mut disk = home.disk().expect("power");
    let config = ReadOnlyConfig::default();
    let refused = swap_read_only(&mut disk, None, &config).expect_err("nothing was built");
    assert!(matches!(refused, SwapError::NoOther { newer: true, .. }), "{refused}");
    for n in 1..=3u8 {
        build(&home, 4, &[(b"k", &[n])]);
    }
    let refused = roll_back_read_only(&mut disk, Some(1), &config).expect_err("nothing is served");
    assert!(refused.to_string().contains("swap it in"), "{refused}");
    // The newest; and the one before it is the backup.
    let made = swap_read_only(&mut disk, Some(3), &config).expect("3 is whole");
    assert_eq!((made.from, made.to, made.removed), (None, 3, vec![1]));
    let store = open(&mut disk);
    assert_eq!(store.value(b"k").expect("it reads"), Some(vec![3]));
    assert!(
        swap_read_only(&mut disk, Some(2), &config).expect_err("older").to_string().contains("roll back")
    );
    assert!(swap_read_only(&mut disk, Some(3), &config).expect_err("served").to_string().contains("already"));
    let made = roll_back_read_only(&mut disk, None, &config).expect("2 is there");
    assert_eq!((made.from, made.to, made.set_aside), (Some(3), 2, vec![3]));
    assert_eq!(store.value(b"k").expect("it reads"), Some(vec![3]), "until it is told");
    store.reload(&mut disk).expect("2 is whole");
    assert_eq!((store.version(), store.value(b"k").expect("it reads")), (2, Some(vec![2])));
    let versions = read_only_versions(&mut disk).expect("in order");
    assert_eq!((versions.served, versions.whole, versions.set_aside), (Some(2), vec![2], vec![3]));
    assert!(matches!(swap_read_only(&mut disk, None, &config), Err(SwapError::NoOther { newer: true, .. })));
    assert!(matches!(
        roll_back_read_only(&mut disk, None, &config),
        Err(SwapError::NoOther { newer: false, .. })
    ));
    // A number is never used again, and what was set aside goes with the next swap.
    assert_eq!(build(&home, 4, &[(b"k", &[4])]).version, 4);
    let made = swap_read_only(&mut disk, Some(4), &config).expect("4 is whole");
    assert_eq!((made.from, made.removed), (Some(2), vec![3]));
    // Passed over versions don't push out the one that was served.
    for n in 5..=7u8 {
        build(&home, 4, &[(b"k", &[n])]);
    }
    let made = swap_read_only(&mut disk, None, &config).expect("7 is whole");
    assert_eq!((made.to, made.removed), (7, vec![6, 5, 2]));
    assert_eq!(roll_back_read_only(&mut disk, None, &config).expect("4 is there").to, 4);
}

/// What a bucket's files look like when they rot, and that each is noticed by a swap, by opening and by verifying.
#[test]
fn every_flipped_bit_is_found() {
    let home = SimHome::new(Seed(1));
    let pairs: [(&[u8], &[u8]); 2] = [(b"abc", b"value"), (b"", b"")];
    drop(swapped(&home, &pairs));
    let files: Vec<String> = home.files().into_iter().filter(|f| f != "latest").collect();
    for file in files {
        let bits = 8 * home.seen_bytes(&file).expect("it is there").len() as u64;
        for bit in 0..bits {
            let copy = home.fork();
            copy.reboot(engine_env::sim::Crash::LoseUnsynced);
            copy.flip_bit(&file, bit).expect("it has this bit");
            let mut disk = copy.disk().expect("power");
            let damage = verify_read_only(&mut disk, 1).damage;
            assert!(!damage.is_empty(), "{file}, bit {bit}");
            let refused = ReadOnlyStore::open(&mut disk, ReadOnlyCheck::Everything);
            assert!(
                matches!(refused, Err(ReadOnlyOpenError::Damaged { version: 1, .. })),
                "{file}, bit {bit}"
            );
        }
    }
}

#[test]
fn a_damaged_version_is_not_swapped_in_and_a_missing_or_foreign_file_is_named() {
    let home = SimHome::new(Seed(1));
    let mut disk = swapped(&home, &[(b"k", b"old")]);
    build(&home, 1, &[(b"k", b"new")]);
    home.flip_bit("version-2/0_0_0.data", 100).expect("it has this bit");
    let refused = swap_read_only(&mut disk, None, &ReadOnlyConfig::default()).expect_err("2 is damaged");
    assert!(matches!(refused, SwapError::Damaged { version: 2, places: 1, .. }), "{refused}");
    assert_eq!(open(&mut disk).value(b"k").expect("it reads"), Some(b"old".to_vec()));
    disk.run(Op::Remove { path: "version-1/0_0_0.index".into() }).expect("it is removed");
    disk.open("version-1/notes.txt", OpenHow::CreateNew).expect("it is created");
    let damage = verify_read_only(&mut disk, 1).damage;
    let [ReadOnlyDamage::Unexpected { file }, ReadOnlyDamage::Missing { file: missing }] = damage.as_slice()
    else {
        panic!("{damage:?}")
    };
    assert_eq!((file.as_str(), missing.as_str()), ("version-1/notes.txt", "version-1/0_0_0.index"));
}

#[test]
fn data_that_rots_under_an_open_store_is_an_error_where_key_or_length_is_hit() {
    let home = SimHome::new(Seed(1));
    let mut disk = swapped(&home, &[(b"key", b"value")]);
    let store = open(&mut disk);
    let len = home.seen_bytes("version-1/0_0_0.data").expect("it is there").len() as u64;
    for bit in 0..8 * (len - 5) {
        home.flip_bit("version-1/0_0_0.data", bit).expect("it has this bit");
        let got = store.value(b"key");
        // Of the count and of the value's length some values are as good as the right one.
        let harmless = bit / 8 < 2 || (6..10).contains(&(bit / 8));
        assert!(matches!(got, Err(GetError::Corrupt { .. })) || harmless, "bit {bit}: {got:?}");
        home.flip_bit("version-1/0_0_0.data", bit).expect("it has this bit");
    }
    assert_eq!(store.value(b"key").expect("it reads"), Some(b"value".to_vec()));
}

#[test]
fn an_interrupted_build_is_cleared_away_by_the_next_one() {
    let home = SimHome::new(Seed(1));
    let mut unfinished =
        ReadOnlyBuild::start(vec![(NODE, home.clone())], alone(2), inline()).expect("an orderly folder");
    unfinished.put(b"k", b"v").expect("short");
    drop(unfinished);
    assert_eq!(build(&home, 2, &[(b"k", b"v")]).version, 2, "a number is never used twice");
    assert!(home.files().iter().all(|file| file.starts_with("version-2/")), "{:?}", home.files());
}

/// One thing given to a build.
#[derive(Debug, Clone)]
struct Given {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

fn given() -> impl Strategy<Value = Vec<Given>> {
    let key = prop_oneof![(0u8..20).prop_map(|k| vec![k]), prop::collection::vec(any::<u8>(), 0..30)];
    let value = prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..200), 1 => (4000usize..9000).prop_map(|n| vec![7; n])];
    let one = (key, prop::option::weighted(0.8, value)).prop_map(|(key, value)| Given { key, value });
    prop::collection::vec(one, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A cluster of stores and a map get the same; then they say the same.
    #[test]
    fn what_was_built_is_what_is_read(
        given in given(), nodes in 1u16..4, partitions in 1u32..6, copies in 1u16..4,
        chunk_bytes in prop_oneof![Just(64u64), Just(1000), Just(1 << 30)], others: Vec<Vec<u8>>,
    ) {
        let ring = Ring::even(nodes, partitions).expect("a ring");
        let homes: Vec<_> = ring.nodes().iter().map(|n| (*n, SimHome::new(Seed(u64::from(n.0))))).collect();
        let placement = Placement::consistent(&ring, copies);
        let config = BuildConfig { chunk_bytes, ..inline() };
        let mut build = ReadOnlyBuild::start(homes.clone(), placement, config).expect("orderly folders");
        let mut model = BTreeMap::new();
        for Given { key, value } in &given {
            match value {
                Some(value) => {
                    build.put(key, value).expect("short");
                    model.insert(key.clone(), value.clone());
                }
                None => {
                    build.delete(key).expect("short");
                    model.remove(key);
                }
            }
        }
        let built = build.finish(&|_, _| {}).expect("nothing fails here");
        prop_assert_eq!(built.records, given.len() as u64);
        for (node, home) in &homes {
            let mut disk = home.disk().expect("power");
            swap_read_only(&mut disk, None, &ReadOnlyConfig::default()).expect("it is whole");
            let store = open(&mut disk);
            let verified = verify_read_only(&mut disk, built.version);
            prop_assert!(verified.damage.is_empty(), "{:?}", verified.damage);
            for key in given.iter().map(|g| &g.key).chain(&others) {
                let here = ring.preference_list(key, copies).contains(node);
                let expected = model.get(key).filter(|_| here);
                prop_assert_eq!(store.value(key).expect("it reads"), expected.cloned());
                // A partition without a key has its (empty) files all the same.
                prop_assert_eq!(store.holds(key), here);
            }
            let keys = model.keys().filter(|key| ring.preference_list(key, copies).contains(node)).count();
            prop_assert_eq!(store.keys(), keys as u64);
        }
    }

    /// Any bytes in place of a version's files: an error, never a panic; with the checksums made to fit, too.
    #[test]
    fn any_bytes_in_a_version_are_survived(
        data: Vec<u8>, index in prop::collection::vec(any::<u8>(), 0..60), key: Vec<u8>, aims in any::<bool>()
    ) {
        let home = SimHome::new(Seed(1));
        let mut disk = swapped(&home, &[(b"k", b"v")]);
        let mut index = index;
        if aims && index.len() >= 12 {
            // The first entry is the key's, and points somewhere near.
            index[..8].copy_from_slice(&md5_head(&key));
            index[8..11].fill(0);
        }
        let files = [("0_0_0.data", &data), ("0_0_0.index", &index)];
        let mut manifest = "read-only 1\npartitions 1\nkeys 1\n".to_owned();
        for (name, bytes) in files {
            replace(&mut disk, &format!("version-1/{name}"), bytes);
            manifest.push_str(&format!("file {name} {} {:08x}\n", bytes.len(), crc32fast::hash(bytes)));
        }
        manifest.push_str(&format!("crc32 {:08x}\n", crc32fast::hash(manifest.as_bytes())));
        replace(&mut disk, "version-1/.manifest", manifest.as_bytes());
        let store = open(&mut disk);
        let _ = store.value(&key);
        let _ = verify_read_only(&mut disk, 1);
    }

    #[test]
    fn any_bytes_in_the_small_files_are_survived(
        file in prop::sample::select(vec!["latest", "version-1/.manifest", "version-1/.metadata"]), bytes: Vec<u8>,
    ) {
        let home = SimHome::new(Seed(1));
        let mut disk = swapped(&home, &[(b"k", b"v")]);
        replace(&mut disk, file, &bytes);
        prop_assert!(ReadOnlyStore::open(&mut disk, ReadOnlyCheck::Everything).is_err());
    }
}

fn md5_head(key: &[u8]) -> [u8; 8] {
    use md5::Digest as _;
    let digest: [u8; 16] = md5::Md5::digest(key).into();
    *digest.first_chunk().expect("16 bytes")
}

fn replace(disk: &mut SimDisk, path: &str, bytes: &[u8]) {
    disk.run(Op::Remove { path: path.into() }).expect("it was there");
    let (file, _) = disk.open(path, OpenHow::CreateNew).expect("it is created");
    disk.run(Op::Write { file, at: 0, buf: bytes.to_vec(), sync: WriteSync::Data }).expect("it is written");
}

/// Runs that don't fit the memory, threads, and a real disk.
#[test]
fn many_records_are_sorted_outside_memory_and_merged_by_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let ring = Ring::even(3, 12).expect("a ring");
    let homes: Vec<_> = ring
        .nodes()
        .iter()
        .map(|n| {
            (*n, OsHome::open(folder.path().join(n.0.to_string()), Backend::Blocking).expect("a folder"))
        })
        .collect();
    let mut config = inline();
    (config.memory_bytes, config.chunk_bytes, config.threads) = (1 << 20, 64 << 10, 2);
    let mut build =
        ReadOnlyBuild::start(homes.clone(), Placement::consistent(&ring, 2), config).expect("orderly");
    let pair = |n: u32, round: u32| (format!("member:{n}"), format!("{round}:{n}").repeat(10));
    for round in 0..3 {
        for n in (round..20_000).step_by(round as usize + 1) {
            let (key, value) = pair(n, round);
            build.put(key.as_bytes(), value.as_bytes()).expect("short");
        }
    }
    let merged = std::sync::atomic::AtomicU32::new(0);
    let built = build
        .finish(&|done, of| {
            assert!(done <= of);
            merged.fetch_max(done, std::sync::atomic::Ordering::Relaxed);
        })
        .expect("nothing fails here");
    assert_eq!(merged.into_inner(), 12);
    assert!(built.runs > 2, "{built:?}");
    assert_eq!(built.nodes.iter().map(|n| n.keys).sum::<u64>(), 40_000, "two copies of each");
    let stores: Vec<_> = homes
        .iter()
        .map(|(_, home)| {
            let mut disk = home.disk().expect("a disk");
            swap_read_only(&mut disk, None, &ReadOnlyConfig::default()).expect("it is whole");
            ReadOnlyStore::open(&mut disk, ReadOnlyCheck::Indexes).expect("it is whole")
        })
        .collect();
    for n in 0..20_000 {
        let round = if n >= 2 && (n - 2) % 3 == 0 {
            2
        } else if n >= 1 && (n - 1) % 2 == 0 {
            1
        } else {
            0
        };
        let (key, value) = pair(n, round);
        for node in ring.preference_list(key.as_bytes(), 2) {
            let got = stores[usize::from(node.0)].value(key.as_bytes()).expect("it reads");
            assert_eq!(got.as_deref(), Some(value.as_bytes()), "{key} on {node}");
        }
    }
}
