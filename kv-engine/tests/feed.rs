//! The change feed of a store with its threads, and of one by single steps.

#![expect(clippy::disallowed_methods, reason = "a subscriber is a thread of its own")]

use std::sync::Arc;
use std::time::Duration;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, SimDisk, SimFile, SimHome};
use engine_env::{Backend, Durability, Home, OsHome, Wait};
use kv_engine::{
    Bitcask, Change, ChangeEvent, ChangeFeed, FeedError, FeedPosition, KvConfig, KvStore, MaintenanceStep,
    Storage, VectorClock, Versioned,
};

const LIMIT: Duration = Duration::from_secs(20);

fn version(count: u64, value: &[u8]) -> Versioned {
    Versioned::new(clock(count), value)
}

fn clock(count: u64) -> VectorClock {
    VectorClock::from_entries([(0, count)], 0).expect("valid")
}

/// What a change says, in short: `key=count` or `key!`.
fn short(change: &Change) -> String {
    match &change.event {
        ChangeEvent::Put { key, version } => {
            let (key, entry) = (String::from_utf8_lossy(key), version.clock.entries()[0]);
            format!("{key}={}", entry.version)
        }
        ChangeEvent::Deleted { key, .. } => format!("{}!", String::from_utf8_lossy(key)),
        other => format!("{other:?}"),
    }
}

fn shorts(changes: &[Change]) -> Vec<String> {
    changes.iter().map(short).collect()
}

/// A store of small segments on a simulated machine.
struct Stepped {
    home: SimHome,
    disk: SimDisk,
    store: Bitcask<SimFile>,
}

impl Stepped {
    fn open(home: SimHome, durability: Durability) -> Self {
        let config = KvConfig { durability, segment_bytes: 4096, shards: 2, ..KvConfig::default() };
        let mut disk = home.disk().expect("power");
        let (store, _) = Bitcask::open(&mut disk, config).expect("it opens");
        Self { home, disk, store }
    }

    fn put(&self, key: &str, count: u64) {
        self.store.put_through(key.as_bytes(), &version(count, &[count as u8; 600])).expect("newer");
    }

    fn delete(&self, key: &str, count: u64) {
        assert!(self.store.delete_through(key.as_bytes(), &clock(count)).expect("it is there"));
    }

    /// All maintenance there is; how many merges it finished.
    fn maintain(&mut self) -> u64 {
        let before = self.store.stats().merges;
        while let Ok(MaintenanceStep::Worked { .. }) = self.store.maintain(&mut self.disk) {}
        self.store.stats().merges - before
    }

    fn rest(&self, feed: &mut ChangeFeed<SimFile>) -> Vec<String> {
        let mut changes = Vec::new();
        // In small bites.
        loop {
            let before = changes.len();
            self.store.read_feed(feed, 1, &mut changes).expect("nothing is wrong with the disk");
            if changes.len() == before {
                assert!(changes.windows(2).all(|pair| pair[0].next <= pair[1].next), "in order");
                return shorts(&changes);
            }
        }
    }

    fn all_from(&self, from: FeedPosition) -> Vec<String> {
        self.rest(&mut self.store.feed(from).expect("all deletes are there"))
    }

    fn reopen(mut self, durability: Durability) -> Self {
        self.store.close(&mut self.disk).expect("it closes");
        let home = self.home.clone();
        drop(self);
        Self::open(home, durability)
    }
}

#[test]
fn changes_come_in_order_and_go_on_after_a_restart() {
    let store = Stepped::open(SimHome::new(Seed(1)), Durability::Os);
    let mut feed = store.store.feed(FeedPosition::START).expect("an empty store");
    assert_eq!(store.rest(&mut feed), [""; 0]);
    store.put("a", 1);
    store.put("b", 1);
    store.put("a", 2);
    store.delete("b", 1);
    assert_eq!(store.rest(&mut feed), ["a=1", "b=1", "a=2", "b!"]);
    assert_eq!(store.rest(&mut feed), [""; 0]);
    let position = feed.position();
    store.put("c", 1);
    drop(feed);
    let store = store.reopen(Durability::Os);
    store.put("d", 1);
    assert_eq!(store.all_from(position), ["c=1", "d=1"]);
    assert_eq!(store.all_from(FeedPosition::START), ["a=1", "b=1", "a=2", "b!", "c=1", "d=1"]);
}

#[test]
fn merges_keep_the_order_and_the_newest_of_each_key() {
    let mut store = Stepped::open(SimHome::new(Seed(1)), Durability::Os);
    let mut early = store.store.feed(FeedPosition::START).expect("an empty store");
    let mut expected_early = Vec::new();
    // Four keys over and over, and one after the other is left alone: merges move old records beside newer ones.
    let mut newest = std::collections::BTreeMap::new();
    for round in 1..60u64 {
        for key in ["a", "b", "c", "d"].iter().take(4 - (round / 20) as usize) {
            store.put(key, round);
            newest.insert(*key, round);
            expected_early.push(format!("{key}={round}"));
        }
        store.maintain();
    }
    assert!(store.store.stats().merges > 3, "{:?}", store.store.stats());
    let late = store.all_from(FeedPosition::START);
    assert!(late.len() < expected_early.len() / 2, "most of it was merged away");
    for (key, round) in &newest {
        let newest_told = late.iter().rfind(|change| change.starts_with(key));
        assert_eq!(newest_told, Some(&format!("{key}={round}")));
    }
    // And in the order of the writes.
    let places: Vec<_> =
        late.iter().map(|one| expected_early.iter().position(|other| other == one)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{late:?}");
    // The feed that began before all that missed its chance to see what is gone, but nothing that counts.
    let told = store.rest(&mut early);
    assert_eq!(told, late);
    // A segment that a feed stands in may be merged away under it.
    let mut slow = store.store.feed(FeedPosition::START).expect("no delete is gone");
    let mut changes = Vec::new();
    store.store.read_feed(&mut slow, 1, &mut changes).expect("the disk is well");
    for round in 60..90 {
        store.put("a", round);
        store.maintain();
    }
    let rest = store.rest(&mut slow);
    assert_eq!(rest.last(), Some(&"a=89".to_owned()));
    assert!(late[1..].iter().all(|one| rest.contains(one) || one.starts_with('a')));
}

/// Deletes `gone`, and writes on until its tombstone could be dropped.
fn outlive_a_delete(store: &mut Stepped) {
    store.put("gone", 1);
    store.delete("gone", 1);
    for round in 1..40 {
        store.put("a", round);
        store.maintain();
    }
}

#[test]
fn an_open_feed_keeps_the_deletes_that_it_has_still_to_tell() {
    let mut store = Stepped::open(SimHome::new(Seed(1)), Durability::Os);
    let mut feed = store.store.feed(FeedPosition::START).expect("an empty store");
    outlive_a_delete(&mut store);
    assert!(store.rest(&mut feed).contains(&"gone!".to_owned()));
    for round in 40..80 {
        store.put("a", round);
        store.maintain();
    }
    assert!(!store.all_from(FeedPosition::START).contains(&"gone!".to_owned()), "now nobody needs it");
    assert_eq!(store.rest(&mut feed).last(), Some(&"a=79".to_owned()), "an open feed is never refused");
}

#[test]
fn a_position_before_deletes_that_are_gone_is_refused_also_after_a_restart() {
    let mut store = Stepped::open(SimHome::new(Seed(1)), Durability::Os);
    store.put("first", 1);
    let mut feed = store.store.feed(FeedPosition::START).expect("an empty store");
    store.rest(&mut feed);
    let position = feed.position();
    drop(feed);
    outlive_a_delete(&mut store);
    let kept_from = match store.store.feed(position) {
        Err(FeedError::DeletesGone { from, kept_from }) if from == position => kept_from,
        other => panic!("{other:?}"),
    };
    // A crash brings no older mark back.
    for cut in [None, Some(Crash::LoseUnsynced), Some(Crash::PowerCut(Seed(3)))] {
        store = match cut {
            None => store.reopen(Durability::Os),
            Some(cut) => {
                let home = store.home.clone();
                drop(store);
                home.reboot(cut);
                Stepped::open(home, Durability::Os)
            }
        };
        assert!(matches!(store.store.feed(position), Err(FeedError::DeletesGone { .. })), "{cut:?}");
        store.store.feed(kept_from).expect("from there on all deletes are there");
        assert!(!store.all_from(FeedPosition::START).is_empty());
    }
}

// A write in `os` was told, and lost with the power. Had its number been given to the next write, a subscriber that goes
// on where it was would have missed that one.
#[test]
fn a_number_that_was_told_is_never_given_again() {
    let store = Stepped::open(SimHome::new(Seed(1)), Durability::Os);
    store.put("a", 1);
    let mut feed = store.store.feed(FeedPosition::START).expect("an empty store");
    assert_eq!(store.rest(&mut feed), ["a=1"]);
    let position = feed.position();
    drop(feed);
    let home = store.home.clone();
    drop(store);
    home.reboot(Crash::LoseUnsynced);
    let store = Stepped::open(home, Durability::Os);
    assert_eq!(store.store.stats().keys, 0, "it was lost");
    store.put("b", 1);
    assert_eq!(store.all_from(position), ["b=1"]);
}

#[test]
fn a_position_of_another_store_is_refused() {
    let store = Stepped::open(SimHome::new(Seed(1)), Durability::Synced);
    let error = store.store.feed(FeedPosition(1000)).expect_err("nothing was written");
    assert!(matches!(error, FeedError::BeyondEnd { .. }), "{error}");
}

#[test]
fn what_is_staged_is_not_told_before_it_is_durable() {
    let store = Stepped::open(SimHome::new(Seed(1)), Durability::Synced);
    let mut feed = store.store.feed(FeedPosition::START).expect("an empty store");
    let answers = Arc::default();
    for count in 1..4 {
        store.store.stage_put(b"a", &version(count, b"v"), count, &answers).expect("newer");
    }
    assert_eq!(store.rest(&mut feed), [""; 0]);
    store.store.commit_now();
    store.store.stage_put(b"b", &version(1, b"v"), 4, &answers).expect("fresh");
    assert_eq!(store.rest(&mut feed), ["a=1", "a=2", "a=3"]);
    store.store.commit_now();
    assert_eq!(store.rest(&mut feed), ["b=1"]);
}

#[test]
fn damage_is_told_and_what_follows_it_too() {
    let store = Stepped::open(SimHome::new(Seed(1)), Durability::Os);
    for key in ["a", "b", "c"] {
        store.put(key, 1);
    }
    let store = store.reopen(Durability::Os);
    // Within b's head, then within c's value.
    let len = store.home.seen_bytes("data-0000000001.kv").expect("it is there").len() as u64;
    let record = (len - 36) / 3;
    store.home.corrupt("data-0000000001.kv", 36 + record + 10, &[0xAA]).expect("within the file");
    let told = store.all_from(FeedPosition::START);
    assert_eq!((told[0].as_str(), told[2].as_str(), told.len()), ("a=1", "c=1", 3));
    assert!(
        told[1].contains("Damaged") && told[1].contains(&format!("position: {}", 36 + record)),
        "{told:?}"
    );
    store.home.corrupt("data-0000000001.kv", len - 10, &[0xAA]).expect("within the file");
    let told = store.all_from(FeedPosition::START);
    assert!(told[2].contains("ValueChecksum"), "{told:?}");
}

fn open(durability: Durability) -> (tempfile::TempDir, KvStore<OsHome>) {
    let folder = tempfile::tempdir().expect("a folder");
    let home = OsHome::open(folder.path(), Backend::Auto).expect("it opens");
    let config = KvConfig { durability, segment_bytes: 64 << 10, ..KvConfig::default() };
    let (store, _) = KvStore::open(home, config).expect("an empty folder");
    (folder, store)
}

/// A subscriber in another thread gets every write, in the order of each key, while writers write and segments roll
/// and merge; and it waits without polling.
fn a_subscriber_follows(durability: Durability) {
    const WRITERS: u64 = 3;
    let writes: u64 = if durability == Durability::Synced { 150 } else { 3000 };
    let (_folder, store) = open(durability);
    let mut feed = store.feed(FeedPosition::START).expect("an empty store");
    let subscriber = std::thread::spawn(move || {
        let mut newest = std::collections::BTreeMap::new();
        let mut changes = Vec::new();
        loop {
            match feed.poll(64 << 10, Wait::AtMost(LIMIT), &mut changes) {
                Ok(()) => assert!(!changes.is_empty(), "nothing came for {LIMIT:?}"),
                Err(FeedError::Closed) => return newest,
                Err(other) => panic!("{other}"),
            }
            for change in changes.drain(..) {
                let ChangeEvent::Put { key, version } = change.event else { panic!("{:?}", change.event) };
                let count = version.clock.entries()[0].version;
                let last = newest.insert(key, count).unwrap_or(0);
                assert!(count > last, "{count} after {last}");
            }
        }
    });
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for count in 1..=writes {
                    let key = [writer as u8, (count % 5) as u8];
                    store.put(&key, &version(count, &[1; 500])).expect("newer");
                }
            });
        }
    });
    store.close().expect("it closes");
    let newest = subscriber.join().expect("it follows to the end");
    assert_eq!(newest.len() as u64, WRITERS * 5);
    assert!(newest.values().all(|count| *count > writes - 5));
}

#[test]
fn a_subscriber_follows_in_os() {
    a_subscriber_follows(Durability::Os);
}

#[test]
fn a_subscriber_follows_in_synced() {
    a_subscriber_follows(Durability::Synced);
}

#[test]
fn a_waker_rings_once_for_what_comes_after_an_empty_poll() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let (_folder, store) = open(Durability::Os);
    let mut feed = store.feed(FeedPosition::START).expect("an empty store");
    let rings = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&rings);
    feed.wake_with(engine_env::Waker::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    let mut changes = Vec::new();
    feed.poll(1 << 20, Wait::No, &mut changes).expect("nothing there");
    for count in 1..4 {
        store.put(b"a", &version(count, b"v")).expect("newer");
    }
    assert_eq!(rings.load(Ordering::SeqCst), 1);
    feed.poll(1 << 20, Wait::No, &mut changes).expect("three");
    assert_eq!(shorts(&changes), ["a=1", "a=2", "a=3"]);
    store.put(b"a", &version(4, b"v")).expect("newer");
    assert_eq!(rings.load(Ordering::SeqCst), 1, "nobody asked: the last poll found something");
}
