//! Failures beside the commits: a machine that refuses what maintenance wants, and what writers mustn't notice of it.

use engine_env::rng::Seed;
use engine_env::sim::{Fault, SimDisk, SimFile, SimHome};
use engine_env::{Disk, DiskError, DiskErrorKind, Done, Home, Op, OpId, Wait, Waker};
use kv_engine::{Bitcask, Durability, KvConfig, MaintenanceStep, PutError, VectorClock, Versioned};

fn config() -> KvConfig {
    KvConfig { durability: Durability::Os, segment_bytes: 4096, shards: 1, ..KvConfig::default() }
}

fn version(count: u64, len: usize) -> Versioned {
    Versioned::new(VectorClock::from_entries([(0, count)], 0).expect("valid"), vec![count as u8; len])
}

fn maintain_all<D: Disk<File = SimFile>>(store: &Bitcask<SimFile>, disk: &mut D) {
    while let Ok(MaintenanceStep::Worked { .. }) = store.maintain(disk) {}
}

// Writers were held back while the next segment was prepared. A write that had passed them failed, the store stopped,
// so nothing was prepared any more, and the waiting writers were never told: they hung for good.
#[test]
fn a_store_that_stopped_holds_nobody_back() {
    let home = SimHome::new(Seed(1));
    let mut disk = home.disk().expect("a healthy machine");
    let (store, _) = Bitcask::open(&mut disk, config()).expect("it opens");
    maintain_all(&store, &mut disk);
    let mut count = 0;
    while !store.is_overgrown() {
        count += 1;
        store.put_through(b"k", &version(count, 1000)).expect("newer");
    }
    home.fail_next(Fault::WriteError);
    let failed = store.put_through(b"k", &version(count + 1, 1000));
    assert!(matches!(failed, Err(PutError::WriteFailed { .. })), "{failed:?}");
    maintain_all(&store, &mut disk);
    assert!(!store.is_overgrown(), "nobody will prepare a segment: waiting for one never ends");
    assert!(store.stats().writes_stopped);
}

/// A disk on which syncing a directory finds no space, as copy-on-write file systems may.
struct FullDirectories {
    disk: SimDisk,
    refused: Vec<Done<SimFile>>,
    full: bool,
}

impl Disk for FullDirectories {
    type File = SimFile;

    fn submit(&mut self, id: OpId, op: Op<SimFile>) {
        match op {
            Op::SyncDir { dir } if self.full => {
                let error = DiskError::new("sync", dir, None, DiskErrorKind::NoSpace);
                self.refused.push(Done { id, result: Err(error), buf: None });
            }
            op => self.disk.submit(id, op),
        }
    }

    fn reap(&mut self, wait: Wait, out: &mut Vec<Done<SimFile>>) {
        if self.refused.is_empty() {
            self.disk.reap(wait, out);
        }
        out.append(&mut self.refused);
    }

    fn waker(&self) -> Waker {
        self.disk.waker()
    }
}

// A merge's output had its name when syncing the directory found no space. The merge was given up for later, the file
// stayed, and a later merge dropped the tombstone of a put that only that file still had: it came back at the next open.
#[test]
fn a_deleted_value_stays_deleted_when_a_merge_ends_at_a_full_directory() {
    let home = SimHome::new(Seed(1));
    let disk = home.disk().expect("a healthy machine");
    let mut disk = FullDirectories { disk, refused: Vec::new(), full: false };
    let (store, _) = Bitcask::open(&mut disk, config()).expect("it opens");
    let mut count = 0;
    let mut overwrite = |times: u64| {
        for _ in 0..times {
            count += 1;
            store.put_through(b"pad", &version(count, 1000)).expect("newer");
        }
    };
    maintain_all(&store, &mut disk);
    store.put_through(b"k", &version(1, 1000)).expect("fresh");
    overwrite(3);
    while matches!(store.serve_writers(&mut disk), Ok(MaintenanceStep::Worked { .. })) {}
    disk.full = true;
    maintain_all(&store, &mut disk);
    disk.full = false;
    assert!(home.files().iter().any(|f| f.starts_with("merged-") && f.ends_with(".kv")), "the test's point");

    assert!(store.delete_through(b"k", &version(1, 0).clock).expect("a healthy disk"));
    for _ in 0..3 {
        overwrite(3);
        maintain_all(&store, &mut disk);
    }
    assert!(store.get(b"k").expect("intact").is_empty());
    drop(store);
    let (store, _) = Bitcask::open(&mut disk, config()).expect("it opens");
    assert_eq!(store.get(b"k").expect("intact"), [], "deleted and acknowledged");
}

// Of two syncs of a file at the same time the kernel may tell only one that pages were lost. The other's end was noted
// in the mark, and the next recovery would have trusted bytes that are on no disk.
#[test]
fn a_sync_that_ends_after_another_failure_moves_no_mark() {
    let home = SimHome::new(Seed(1));
    let mut disk = home.disk().expect("a healthy machine");
    let config = KvConfig { durability: Durability::IntervalMs(5), ..config() };
    let (store, _) = Bitcask::open(&mut disk, config).expect("it opens");
    store.put_through(b"k", &version(1, 100)).expect("fresh");
    let target = store.sync_target().expect("something to sync");
    home.fail_next(Fault::WriteError);
    store.put_through(b"k", &version(2, 100)).expect_err("the machine fails");
    let mark = home.seen_bytes("mark").expect("there");
    store.sync_done(&target, Ok(()));
    assert_eq!(home.seen_bytes("mark").expect("there"), mark);
}
