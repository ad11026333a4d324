//! The store with its threads on a real folder: many writers, asynchronous writes, reopening, refusals, damage.
#![expect(clippy::disallowed_methods, reason = "these tests are about threads and files")]

use std::path::Path;
use std::sync::Arc;

use engine_env::{Backend, CompletionQueue, OsHome, Wait};
use kv_engine::{
    BatchWrite, DeleteError, Durability, GetError, KvConfig, KvStore, OpenError, PruneHow, Pruned, PutError,
    RecoveryReport, Ring, Routing, RoutingStrategy, Storage, VectorClock, Versioned, inspect_segment,
};

fn open(folder: &Path, config: KvConfig) -> (KvStore<OsHome>, RecoveryReport) {
    let home = OsHome::open(folder, Backend::Auto).expect("the folder is free");
    KvStore::open(home, config).expect("the store opens")
}

fn config(durability: Durability) -> KvConfig {
    KvConfig { durability, segment_bytes: 64 << 10, ..KvConfig::default() }
}

fn version(node: u16, count: u64, value: &[u8]) -> Versioned {
    Versioned::new(VectorClock::from_entries([(node, count)], 0).expect("valid"), value)
}

const ALL: [Durability; 3] = [Durability::Os, Durability::IntervalMs(5), Durability::Synced];

#[test]
fn a_prune_deletes_what_only_nodes_that_left_have_kept() {
    let clock = |text: &str| text.parse::<VectorClock>().expect("a clock");
    let ring = Arc::new(Ring::even(3, 12).expect("a ring"));
    let routing = Routing::new(ring, RoutingStrategy::Consistent, 3);
    for durability in [Durability::Os, Durability::Synced] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (store, _) = open(folder.path(), config(durability));
        for n in 0..1000u32 {
            let clocks: &[&str] = match n % 4 {
                0 => &["0:4,7:5", "0:1700,1:1700"],
                1 => &["0:4,7:5"],
                2 => &["0:1", "1:1"],
                _ => &["0:2"],
            };
            for text in clocks {
                store.put(&n.to_le_bytes(), &Versioned::new(clock(text), *text)).expect("siblings");
            }
        }
        let expected = Pruned { keys: 1000, foreign: 500, obsolete: 250 };
        let mut parts = Vec::new();
        let counted = store.prune(&routing, PruneHow::Count, |done, of| parts.push((done, of)));
        assert_eq!(counted.expect("it only counts"), expected);
        assert_eq!(parts.last(), Some(&(64, 64)));
        assert_eq!(store.get_versions(&0u32.to_le_bytes()).expect("in memory").len(), 2, "nothing went");
        assert_eq!(store.prune(&routing, PruneHow::Delete, |_, _| {}).expect("a healthy store"), expected);
        for n in 0..1000u32 {
            let left = store.get(&n.to_le_bytes()).expect("it reads");
            let left: Vec<_> = left.iter().map(|version| version.value.as_slice()).collect();
            let expected: &[&[u8]] = match n % 4 {
                0 => &[b"0:1700,1:1700"],
                1 => &[b"0:4,7:5"],
                2 => &[b"0:1", b"1:1"],
                _ => &[b"0:2"],
            };
            assert_eq!(left, expected, "key {n}");
        }
        let again = Pruned { obsolete: 0, foreign: 250, ..expected };
        assert_eq!(store.prune(&routing, PruneHow::Delete, |_, _| {}).expect("a healthy store"), again);
        store.close().expect("it closes");
    }
}

#[test]
fn many_threads_write_and_everything_is_there_after_reopening() {
    for durability in ALL {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (store, _) = open(folder.path(), config(durability));
        std::thread::scope(|scope| {
            for thread in 0..4u16 {
                let store = &store;
                scope.spawn(move || {
                    for round in 1..=20 {
                        for key in 0..10u8 {
                            let value = [thread as u8, key, round as u8].repeat(100);
                            store
                                .put(&[b'a', thread as u8, key], &version(thread, round, &value))
                                .expect("newer");
                        }
                    }
                    assert!(
                        store
                            .delete(&[b'a', thread as u8, 0], &version(thread, 20, b"").clock)
                            .expect("deleted")
                    );
                });
            }
        });
        assert_eq!(store.stats().keys, 36, "{durability}");
        store.close().expect("it closes");
        let (store, report) = open(folder.path(), config(durability));
        assert_eq!((report.damage.as_slice(), report.tail_truncated), (&[][..], None), "{durability}");
        for thread in 0..4u16 {
            assert_eq!(store.get(&[b'a', thread as u8, 0]).expect("intact"), []);
            for key in 1..10u8 {
                let value = [thread as u8, key, 20].repeat(100);
                let found = store.get(&[b'a', thread as u8, key]).expect("intact");
                assert_eq!(found, [version(thread, 20, &value)], "{durability}");
            }
        }
    }
}

#[test]
fn asynchronous_writes_are_answered_once_each_by_token() {
    for durability in ALL {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (store, _) = open(folder.path(), config(durability));
        let answers = Arc::new(CompletionQueue::new());
        for token in 0..500u64 {
            store
                .put_async(&token.to_le_bytes(), &version(1, 1, &[token as u8; 64]), token, &answers)
                .expect("a fresh key");
        }
        let refused = store.put_async(&7u64.to_le_bytes(), &version(1, 1, b"again"), 1000, &answers);
        // Judged against what is under way, and told once that is durable.
        let is_told_later = refused.is_ok() && durability == Durability::Synced;
        assert!(is_told_later || matches!(refused, Err(PutError::ObsoleteVersion { .. })), "{refused:?}");
        store.delete_async(&7u64.to_le_bytes(), &version(1, 1, b"").clock, 500, &answers).expect("taken");
        store.delete_async(b"nothing", &version(1, 1, b"").clock, 501, &answers).expect("taken");
        let mut done = Vec::new();
        while done.len() < 502 + usize::from(is_told_later) {
            answers.drain(Wait::Forever, &mut done);
        }
        done.sort_by_key(|d| d.token);
        if is_told_later {
            let last = done.pop().expect("many");
            assert_eq!(last.token, 1000);
            assert!(matches!(last.result, Err(PutError::ObsoleteVersion { .. })), "{last:?}");
        }
        assert!(done.iter().all(|d| d.result.is_ok()));
        assert!(done.iter().map(|d| d.token).eq(0..502));
        assert_eq!((done[500].removed, done[501].removed), (true, false));
        assert_eq!(store.stats().keys, 499);
        if durability == Durability::Synced {
            let stats = store.stats();
            assert!(stats.commits < 250, "writes share commits: {stats:?}");
        }
    }
}

#[test]
fn a_store_left_open_by_a_killed_process_recovers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, _) = open(folder.path(), config(Durability::Synced));
    for count in 1..=50 {
        store.put(b"k", &version(0, count, b"v")).expect("newer");
    }
    drop(store);
    let (store, report) = open(folder.path(), config(Durability::Os));
    assert_eq!((report.records, report.damage.len(), report.tail_truncated), (50, 0, None));
    assert_eq!(store.get(b"k").expect("intact"), [version(0, 50, b"v")]);
}

#[test]
fn overwriting_is_reclaimed_by_merges() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = KvConfig { merge_bytes_per_s: 1 << 30, ..config(Durability::Os) };
    let (store, _) = open(folder.path(), config);
    let value = vec![1; 1000];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    for count in 1..=40 {
        for key in 0..50u8 {
            store.put(&[key], &version(0, count, &value)).expect("newer");
        }
    }
    let reclaimed = |stats: &kv_engine::KvStats| stats.disk_bytes <= 5 * 64 * 1024 && stats.merges > 0;
    while !reclaimed(&store.stats()) && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    let stats = store.stats();
    assert!(reclaimed(&stats), "{stats:?}");
    for key in 0..50u8 {
        assert_eq!(store.get(&[key]).expect("intact"), [version(0, 40, &value)]);
    }
}

#[test]
fn another_format_or_another_folder_is_refused_and_left_alone() {
    let refused = |name: &str, content: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(name), content).expect("written");
        let home = OsHome::open(folder.path(), Backend::Auto).expect("the folder is free");
        let error = KvStore::open(home, KvConfig::default()).expect_err("it is refused");
        assert_eq!(std::fs::read_to_string(folder.path().join(name)).expect("still there"), content);
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|e| e.expect("an entry").file_name().into_string().expect("a plain name"))
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["LOCK", name]
                .iter()
                .map(ToString::to_string)
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        error
    };
    let text = refused("FORMAT", "log-engine 1\n").to_string();
    assert!(
        text.contains("FORMAT") && text.contains("log-engine 1") && text.contains("kv-engine 2"),
        "{text}"
    );
    assert!(matches!(refused("FORMAT", "kv-engine 1\n"), OpenError::Format { .. }));
    assert!(refused("thesis.tex", "x").to_string().contains("thesis.tex"));
}

#[test]
fn rot_in_a_sealed_segment_is_located_and_everything_else_is_served() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // No merges: the damaged segment stays.
    let config = KvConfig { merge_garbage_ratio: 1.0, ..config(Durability::Synced) };
    let (store, _) = open(folder.path(), config.clone());
    for key in 0..200u16 {
        store.put(&key.to_le_bytes(), &version(0, 1, &[key as u8; 1000])).expect("fresh");
    }
    store.close().expect("it closes");
    let path = folder.path().join("data-0000000001.kv");
    let mut bytes = std::fs::read(&path).expect("the first segment");
    let whole = inspect_segment(&bytes).expect("a segment");
    assert_eq!((whole.damage.as_slice(), whole.zero_bytes), (&[][..], 0));
    // A value of the third record, and the head of the fifth.
    let (value_at, head_at) = (whole.records[2].position + 100, whole.records[4].position + 9);
    bytes[value_at as usize] ^= 4;
    bytes[head_at as usize] ^= 4;
    std::fs::write(&path, &bytes).expect("damaged");
    let damaged = inspect_segment(&bytes).expect("a segment");
    let places: Vec<_> = damaged.damage.iter().map(|d| d.position).collect();
    assert_eq!(places, [whole.records[2].position, whole.records[4].position]);

    let corrupt_at = |store: &KvStore<OsHome>, key: u16| {
        let error = store.get(&key.to_le_bytes()).expect_err("its record is damaged");
        let GetError::Corrupt { file, position, .. } = error else { panic!("{error}") };
        assert_eq!(file, "data-0000000001.kv");
        position
    };
    for round in 0..3 {
        let (store, report) = open(folder.path(), config.clone());
        let found: Vec<_> = report.damage.iter().map(|d| (d.file.as_str(), d.position)).collect();
        assert_eq!(corrupt_at(&store, 2), places[0]);
        if round == 0 {
            // Opening read hints, which know whose record it was.
            assert_eq!((found, corrupt_at(&store, 4)), (vec![], places[1]));
            let hint = path.with_extension("hint");
            std::fs::remove_file(&hint).unwrap_or_else(|e| panic!("{}: {e}", hint.display()));
        } else {
            assert_eq!(found, places.iter().map(|p| ("data-0000000001.kv", *p)).collect::<Vec<_>>());
            assert_eq!(store.get(&4u16.to_le_bytes()).expect("nobody knows whose record it was"), []);
        }
        for key in (0..200u16).filter(|k| ![2, 4].contains(k)) {
            assert_eq!(store.get(&key.to_le_bytes()).expect("intact")[0].value, [key as u8; 1000]);
        }
        store.close().expect("it closes");
    }
}

#[test]
fn too_long_keys_are_refused_and_deletes_of_them_find_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, _) = open(folder.path(), config(Durability::Synced));
    let key = vec![0; kv_engine::KEY_BYTES_MAX + 1];
    assert!(matches!(store.put(&key, &version(0, 1, b"")), Err(PutError::KeyTooLong { .. })));
    assert!(!store.delete(&key, &version(0, 1, b"").clock).expect("nothing there"));
    store.put(&key[1..], &version(0, 1, b"v")).expect("the longest key");
    assert_eq!(store.get(&key[1..]).expect("intact"), [version(0, 1, b"v")]);
}

// The merge of two clocks can have an entry for each of the 32,768 node ids, one more than a clock's bytes may count.
// A put of it was acknowledged, and its record could never be read again; in `os` nor could those behind it.
#[test]
fn a_clock_that_no_record_can_hold_is_refused() {
    let half =
        |nodes: std::ops::Range<u16>| VectorClock::from_entries(nodes.map(|n| (n, 1)), 0).expect("valid");
    let all = half(0..16_384).merge(&half(16_384..32_768), 0);
    let most = half(0..16_384).merge(&half(16_384..32_767), 0);
    for durability in ALL {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (store, _) = open(folder.path(), config(durability));
        let put = store.put(b"k", &Versioned::new(all.clone(), b"v"));
        assert!(matches!(put, Err(PutError::ClockTooLong { entries: 32_768 })), "{put:?}");
        let delete = store.delete(b"k", &all);
        assert!(matches!(delete, Err(DeleteError::ClockTooLong { entries: 32_768 })), "{delete:?}");
        store.put(b"k", &Versioned::new(most.clone(), b"v")).expect("one entry fewer");
        assert_eq!(store.get(b"k").expect("intact")[0].value, b"v");
    }
}

#[test]
fn a_batch_is_one_commit_and_says_what_became_of_each_write() {
    for durability in ALL {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (store, _) = open(folder.path(), config(durability));
        let (first, second) = (version(0, 1, b"first"), version(0, 2, b"second"));
        let batch = [
            BatchWrite::Put { key: b"a", version: &first },
            BatchWrite::Put { key: b"a", version: &second },
            BatchWrite::Put { key: b"a", version: &first },
            BatchWrite::Delete { key: b"b", version: &first.clock },
            BatchWrite::Put { key: b"c", version: &first },
            BatchWrite::Delete { key: b"c", version: &second.clock },
            BatchWrite::Put { key: &[7; 70_000], version: &first },
        ];
        let answers = store.write_batch(&batch).expect("a healthy store");
        // Not syncs: maintenance counts its own among them.
        if durability == Durability::Synced {
            assert_eq!(store.stats().commits, 1);
        }
        assert!(
            matches!(
                answers.as_slice(),
                [
                    Ok(true),
                    Ok(true),
                    Err(PutError::ObsoleteVersion { .. }),
                    Ok(false),
                    Ok(true),
                    Ok(true),
                    Err(PutError::KeyTooLong { len: 70_000, .. })
                ]
            ),
            "{durability}: {answers:?}"
        );
        let queue = Arc::new(CompletionQueue::new());
        let again = store.write_batch_async(&batch[..2], 5, &queue).expect("a healthy store");
        assert!(again.iter().all(Result::is_err), "{durability}: {again:?}");
        let third = version(0, 3, b"third");
        let put = [BatchWrite::Put { key: b"a", version: &third }];
        store.write_batch_async(&put, 6, &queue).expect("a healthy store");
        let mut done = Vec::new();
        while done.len() < 2 {
            queue.drain(Wait::Forever, &mut done);
        }
        assert!(done.iter().all(|d| d.result.is_ok()), "{durability}: {done:?}");
        assert_eq!(store.get(b"a").expect("intact"), std::slice::from_ref(&third), "{durability}");
        store.close().expect("it closes");
        let (store, _) = open(folder.path(), config(durability));
        assert_eq!(store.get(b"a").expect("intact"), [third], "{durability}");
        assert_eq!(store.get(b"c").expect("intact"), [], "{durability}");
    }
}
