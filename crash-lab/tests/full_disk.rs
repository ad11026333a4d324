//! A real file system that gets full: a small ext4 (and XFS, where there is a mkfs.xfs) in a file, mounted by loop device.
//! Writes are refused and nothing is lost; once there is space, writes succeed again without a restart.
//!
//! Needs root and loop devices. Elsewhere it says so and shows nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use engine_env::{Backend, Durability, OsHome};
use kv_engine::{KvConfig, KvStore, PutError, Storage as _, VectorClock, Versioned};
use log_engine::{AppendError, Log, LogConfig, Offset, Record, TopicPartition};

/// XFS takes no smaller file system than 300 MiB.
const IMAGES: [(&str, u64); 2] = [("ext4", 40 << 20), ("xfs", 320 << 20)];
const VALUE_BYTES: usize = 4_000;
/// Service has to return within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mounted file system that goes with this value.
struct Mounted {
    at: PathBuf,
    image: PathBuf,
}

impl Mounted {
    /// `None` with a line that says why, where that isn't possible.
    fn new(kind: &str, bytes: u64, name: &str) -> Option<Self> {
        let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (image, at) = (place.join(format!("{name}.img")), place.join(name));
        fs::File::create(&image).and_then(|f| f.set_len(bytes)).expect("an image below the build's folder");
        fs::create_dir_all(&at).expect("a folder to mount at");
        let run = |program: &str, args: &[&Path]| {
            let done = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        let force = if kind == "xfs" { "-f" } else { "-F" };
        let made = run(&format!("mkfs.{kind}"), &[Path::new(force), &image]);
        if !made || !run("mount", &[Path::new("-o"), Path::new("loop"), &image, &at]) {
            let why = if made { "mounting by loop device" } else { "mkfs" };
            skipped(kind, why);
            let _ = fs::remove_file(&image);
            return None;
        }
        Some(Self { at, image })
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn skipped(kind: &str, why: &str) {
    eprintln!("skipped: a full {kind} needs root and {why}, which this machine refuses");
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).status();
        let _ = fs::remove_file(&self.image);
    }
}

/// Something of a megabyte or four that can be taken away to make room.
fn ballast(fs_root: &Path) -> PathBuf {
    let path = fs_root.join("ballast");
    fs::write(&path, vec![1; 6 << 20]).expect("there is room at first");
    path
}

/// Tries until it works; the number of tries.
fn until_it_works(mut works: impl FnMut() -> bool, context: &str) {
    let started = Instant::now();
    while !works() {
        assert!(started.elapsed() < PATIENCE, "{context}: refused for {PATIENCE:?} though there is room");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn value(n: u64) -> Vec<u8> {
    (0..VALUE_BYTES).map(|i| (n as usize * 31 + i * 7) as u8).collect()
}

fn fill_store(mounted: &Mounted, durability: Durability, context: &str) {
    let dir = mounted.at.join(format!("kv-{}", durability.to_string().replace(':', "-")));
    let config = KvConfig { durability, segment_bytes: 1 << 20, ..KvConfig::default() };
    let open = || {
        let home = OsHome::open(&dir, Backend::Auto).expect("a folder");
        KvStore::open(home, config.clone()).expect("it opens")
    };
    let put = |store: &KvStore<OsHome>, n: u64| {
        let version = Versioned::new(VectorClock::from_entries([(1, 1)], 0).expect("valid"), value(n));
        store.put(&n.to_be_bytes(), &version)
    };
    let holds = |store: &KvStore<OsHome>, keys: u64| {
        for n in 0..keys {
            let found = store.get(&n.to_be_bytes()).expect("reads go on");
            assert_eq!(found.len(), 1, "{context}: key {n} of {keys} is lost");
            assert!(found[0].value == value(n), "{context}: key {n} has another value");
        }
    };
    let room = ballast(&mounted.at);
    let (store, _) = open();
    let mut acked = 0;
    let refused = loop {
        match put(&store, acked) {
            Ok(()) => acked += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, PutError::DiskFull { .. }), "{context}: {refused:?}");
    assert!(acked > 1_000, "{context}: only {acked} puts");
    holds(&store, acked);
    fs::remove_file(room).expect("the ballast goes");
    until_it_works(|| put(&store, acked).is_ok(), context);
    acked += 1;
    for _ in 0..200 {
        until_it_works(|| put(&store, acked).is_ok(), context);
        acked += 1;
    }
    holds(&store, acked);
    drop(store);
    let (store, report) = open();
    assert!(report.damage.is_empty(), "{context}: {report:?}");
    holds(&store, acked);
    store.close().expect("a healthy store closes");
}

fn fill_log(mounted: &Mounted, durability: Durability, context: &str) {
    let dir = mounted.at.join(format!("log-{}", durability.to_string().replace(':', "-")));
    let config = LogConfig {
        durability,
        segment_bytes: 1 << 20,
        zero_fill_step_bytes: 256 << 10,
        ..LogConfig::default()
    };
    let open = || {
        let home = OsHome::open(&dir, Backend::Auto).expect("a folder");
        Log::open(home, config.clone()).expect("it opens")
    };
    let to = TopicPartition::new("t", 0);
    let append = |log: &Log<OsHome>, n: u64| log.append(&to, &[Record::of_value(&value(n))], 1);
    let holds = |log: &Log<OsHome>, records: u64| {
        let mut next = 0;
        while next < records {
            let fetched = log.fetch(&to, Offset(next), 1 << 20).expect("reads go on");
            assert!(!fetched.is_empty(), "{context}: nothing at offset {next} of {records}");
            for record in fetched.records() {
                let record = record.expect("well formed");
                assert_eq!(record.offset, Offset(next), "{context}");
                assert!(record.value == Some(&value(next)), "{context}: offset {next} has another value");
                next += 1;
            }
        }
    };
    let room = ballast(&mounted.at);
    let (log, _) = open();
    log.create_topic("t", 1).expect("new");
    let mut acked = 0;
    let refused = loop {
        match append(&log, acked) {
            Ok(offset) => {
                assert_eq!(offset, Offset(acked), "{context}");
                acked += 1;
            }
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, AppendError::DiskFull { .. }), "{context}: {refused:?}");
    assert!(acked > 1_000, "{context}: only {acked} records");
    holds(&log, acked);
    fs::remove_file(room).expect("the ballast goes");
    for _ in 0..200 {
        until_it_works(|| append(&log, acked).is_ok(), context);
        acked += 1;
    }
    holds(&log, acked);
    drop(log);
    let (log, report) = open();
    assert!(report.partitions.iter().all(|p| p.damage.is_empty()), "{context}: {report}");
    holds(&log, acked);
    log.close().expect("a healthy log closes");
}

fn on_full_disks(engine: &str, fill: impl Fn(&Mounted, Durability, &str)) {
    for (kind, bytes) in IMAGES {
        for durability in [Durability::Os, Durability::Synced] {
            let name = format!("full-{engine}-{kind}-{durability}");
            let Some(mounted) = Mounted::new(kind, bytes, &name) else { continue };
            fill(&mounted, durability, &name);
        }
    }
}

#[test]
fn a_store_on_a_full_disk_refuses_loses_nothing_and_returns() {
    on_full_disks("kv", fill_store);
}

#[test]
fn a_log_on_a_full_disk_refuses_loses_nothing_and_returns() {
    on_full_disks("log", fill_log);
}
