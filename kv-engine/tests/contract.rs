//! Voldemort's contract of a storage engine, case by case, for the reference implementation and the store alike.

use engine_env::{Backend, OsHome};
use kv_engine::{
    Durability, KvConfig, KvStore, MemoryStorage, PutError, Storage, VectorClock, Versioned, resolve_by_clock,
};

fn clock(text: &str) -> VectorClock {
    text.parse().expect("a clock")
}

fn version(clock_text: &str, value: &str) -> Versioned {
    Versioned::new(clock(clock_text), value.as_bytes())
}

/// Runs the case on an empty store of each sort.
fn on_each(case: impl Fn(&dyn Storage)) {
    case(&MemoryStorage::new());
    for durability in [Durability::Os, Durability::IntervalMs(50), Durability::Synced] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = OsHome::open(folder.path(), Backend::Auto).expect("the folder is free");
        let config = KvConfig { durability, segment_bytes: 64 << 10, ..KvConfig::default() };
        let (store, _) = KvStore::open(home, config).expect("it opens");
        case(&store);
        store.close().expect("it closes");
    }
}

/// Puts `stored` in this order, then the put in question; what is there afterwards, or what made it obsolete.
fn check_put(stored: &[&str], put: &str, expected: Result<&[&str], &str>) {
    on_each(|store| {
        for one in stored {
            store.put(b"k", &version(one, one)).expect("the case begins with siblings");
        }
        let answer = store.put(b"k", &version(put, put));
        let there: Vec<String> =
            store.get(b"k").expect("intact").iter().map(|v| v.clock.to_string()).collect();
        match (expected, answer) {
            (Ok(versions), Ok(())) => assert_eq!(there, versions, "{stored:?} {put}"),
            (Err(newer), Err(PutError::ObsoleteVersion { given, stored: found })) => {
                assert_eq!((given.to_string().as_str(), found.to_string().as_str()), (put, newer));
                assert_eq!(there, stored, "nothing changed");
            }
            (expected, answer) => panic!("{stored:?} {put}: {expected:?} {answer:?}"),
        }
        // A value belongs to its clock.
        for one in store.get(b"k").expect("intact") {
            assert_eq!(one.value, one.clock.to_string().as_bytes());
        }
    });
}

#[test]
fn a_put_replaces_what_it_descends_from_and_stands_beside_what_is_concurrent() {
    check_put(&[], "1:1", Ok(&["1:1"]));
    check_put(&["1:1"], "1:2", Ok(&["1:2"]));
    check_put(&["1:1"], "2:1", Ok(&["1:1", "2:1"]));
    check_put(&["1:1", "2:1"], "1:1,2:1", Ok(&["1:1,2:1"]));
    check_put(&["1:1", "2:1"], "1:2", Ok(&["2:1", "1:2"]));
    check_put(&["1:1", "2:1", "3:1"], "1:1,3:1", Ok(&["2:1", "1:1,3:1"]));
}

#[test]
fn a_put_before_or_equal_to_a_stored_version_is_obsolete() {
    check_put(&["1:1"], "1:1", Err("1:1"));
    check_put(&["1:2"], "1:1", Err("1:2"));
    check_put(&["1:1,2:1"], "2:1", Err("1:1,2:1"));
    check_put(&["1:1", "2:2"], "2:1", Err("2:2"));
    check_put(&["1:1"], "-", Err("1:1"));
    check_put(&["-"], "-", Err("-"));
}

fn check_delete(stored: &[&str], delete: &str, removed: bool, left: &[&str]) {
    on_each(|store| {
        for one in stored {
            store.put(b"k", &version(one, "v")).expect("the case begins with siblings");
        }
        assert_eq!(store.delete(b"k", &clock(delete)).expect("it works"), removed, "{stored:?} {delete}");
        let there: Vec<String> =
            store.get_versions(b"k").expect("intact").iter().map(ToString::to_string).collect();
        assert_eq!(there, left, "{stored:?} {delete}");
        // A deleted version leaves nothing behind that a put could be obsolete against.
        if left.is_empty() {
            store.put(b"k", &version("1:1", "again")).expect("nothing is there");
        }
    });
}

#[test]
fn a_delete_removes_what_is_before_or_equal_to_its_version() {
    check_delete(&[], "1:1", false, &[]);
    check_delete(&["1:1"], "1:1", true, &[]);
    check_delete(&["1:1"], "1:2", true, &[]);
    check_delete(&["1:2"], "1:1", false, &["1:2"]);
    check_delete(&["1:1"], "2:1", false, &["1:1"]);
    check_delete(&["1:1", "2:1"], "1:1", true, &["2:1"]);
    check_delete(&["1:1", "2:1"], "1:1,2:1", true, &[]);
}

#[test]
fn several_versions_are_put_at_once_and_the_obsolete_ones_come_back() {
    on_each(|store| {
        store.put(b"k", &version("1:2", "stored")).expect("fresh");
        let given = [
            version("1:1", "older"),
            version("1:3", "newer"),
            version("1:3", "the same again"),
            version("2:1", "beside"),
            version("1:2", "the stored one"),
        ];
        let obsolete = store.put_versions(b"k", &given).expect("a healthy store");
        assert_eq!(obsolete, [given[0].clone(), given[2].clone(), given[4].clone()]);
        assert_eq!(store.get(b"k").expect("intact"), [given[1].clone(), given[3].clone()]);
        assert_eq!(store.put_versions(b"k", &given).expect("a healthy store"), given, "nothing twice");
        assert_eq!(store.put_versions(b"none", &[]).expect("a healthy store"), []);
        assert_eq!(store.get(b"none").expect("intact"), []);
        let all = store.get(b"k").expect("intact");
        assert_eq!(resolve_by_clock(all).len(), 2);
    });
}

#[test]
fn keys_and_values_may_be_as_long_as_the_settings_say() {
    for durability in [Durability::Os, Durability::Synced] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = OsHome::open(folder.path(), Backend::Auto).expect("the folder is free");
        let config = KvConfig { durability, key_bytes_max: 8, value_bytes_max: 100, ..KvConfig::default() };
        let (store, _) = KvStore::open(home, config).expect("it opens");
        let (short, long) = (version("1:1", &"v".repeat(100)), version("1:2", &"v".repeat(101)));
        store.put(&[0; 8], &short).expect("just short enough");
        let refused = store.put(&[0; 9], &short).expect_err("too long a key");
        assert_eq!(refused.to_string(), "a key of 9 bytes is too long: 8 is the most that this store takes");
        let refused = store.put(&[0; 8], &long).expect_err("too long a value");
        assert_eq!(
            refused.to_string(),
            "a value of 101 bytes is too long: 100 is the most that this store takes"
        );
        let both = [version("2:1", "short"), long];
        assert!(matches!(
            store.put_versions(&[0; 8], &both),
            Err(PutError::ValueTooLong { len: 101, max: 100 })
        ));
        assert_eq!(store.get(&[0; 8]).expect("intact"), [short], "nothing of what was refused");
    }
}
