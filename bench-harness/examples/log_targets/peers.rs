//! The log beside others that programs in Rust embed: raft-engine, okaywal and commitlog, in the same rounds.
//!
//! All are called the same way: threads that make blocking calls, each of one batch of records, which is what the peers'
//! interfaces have. So the log's pipelining by one producer is not in these figures; the other rows have it. Durability is
//! part of each row's name: okaywal syncs with every commit and has no weaker mode, commitlog has no durable one. Values are
//! not compressed by anybody.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use commitlog::message::MessageBuf;
use commitlog::{CommitLog, LogOptions};
use engine_env::OsHome;
use log_engine::{Durability, Log, Record, TopicPartition};
use okaywal::{Configuration, LogVoid, WriteAheadLog};
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::append::{calls, us};
use super::table::Table;
use super::{Plan, create};

const BATCH_BYTES: usize = 16 << 10;
const SEGMENT_BYTES: usize = 128 << 20;

/// A log, opened for one durability.
trait Contender: Sync {
    /// Appends values as one batch. Returns when it is as durable as it was opened for.
    fn append(&self, thread: usize, values: &[&[u8]]);
}

struct Ours {
    log: Log<OsHome>,
    partition: TopicPartition,
}

impl Contender for Ours {
    fn append(&self, _: usize, values: &[&[u8]]) {
        let records: Vec<_> = values.iter().map(|value| Record::of_value(value)).collect();
        self.log.append(&self.partition, &records, 1).expect("a healthy disk");
    }
}

/// The entries of raft-engine are protobuf messages that know their index: here it stands in front of the value.
#[derive(Clone)]
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        u64::from_le_bytes(entry.value[..8].try_into().expect("eight bytes of index"))
    }
}

struct Raft {
    engine: Engine,
    syncs: bool,
    /// Each thread writes a group of its own: within one, indexes have to follow each other.
    next: Vec<AtomicU64>,
}

impl Contender for Raft {
    fn append(&self, thread: usize, values: &[&[u8]]) {
        let first = self.next[thread].fetch_add(values.len() as u64, Ordering::Relaxed);
        let entries: Vec<_> = (first..)
            .zip(values)
            .map(|(index, value)| {
                let mut entry = BytesValue::new();
                entry.value.extend_from_slice(&index.to_le_bytes());
                entry.value.extend_from_slice(value);
                entry
            })
            .collect();
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Indexed>(thread as u64 + 1, &entries).expect("entries in order");
        self.engine.write(&mut batch, self.syncs).expect("a healthy disk");
    }
}

impl Contender for WriteAheadLog {
    fn append(&self, _: usize, values: &[&[u8]]) {
        let mut entry = self.begin_entry().expect("a healthy disk");
        for value in values {
            entry.write_chunk(value).expect("a healthy disk");
        }
        entry.commit().expect("a healthy disk");
    }
}

impl Contender for Mutex<CommitLog> {
    fn append(&self, _: usize, values: &[&[u8]]) {
        let mut batch = MessageBuf::default();
        values.iter().for_each(|value| batch.push(value).expect("a small value"));
        self.lock().expect("nobody panicked").append(&mut batch).expect("a healthy disk");
    }
}

const OURS: &str = "this log";
const NAMES: [&str; 4] = [OURS, "raft-engine", "okaywal", "commitlog"];

/// `None`: it has no such mode.
fn open(name: &str, folder: &Path, durability: Durability, threads: usize) -> Option<Box<dyn Contender>> {
    let is_synced = durability == Durability::Synced;
    Some(match name {
        OURS => {
            let (log, mut partitions) = create(folder, durability, 1);
            Box::new(Ours { log, partition: partitions.remove(0) })
        }
        "raft-engine" => {
            let config = Config {
                dir: folder.display().to_string(),
                batch_compression_threshold: ReadableSize(0),
                ..Config::default()
            };
            let engine = Engine::open(config).expect("it opens");
            let next = (0..threads).map(|_| AtomicU64::new(1)).collect();
            Box::new(Raft { engine, syncs: is_synced, next })
        }
        "okaywal" if is_synced => {
            // Large files, so that it isn't its checkpoints that are measured.
            let bytes = u32::try_from(SEGMENT_BYTES).expect("below 4 GiB");
            let config = Configuration::default_for(folder)
                .preallocate_bytes(bytes)
                .checkpoint_after_bytes(u64::from(bytes) / 4 * 3);
            Box::new(config.open(LogVoid).expect("it opens"))
        }
        "commitlog" if !is_synced => {
            let mut options = LogOptions::new(folder);
            options.segment_max_bytes(SEGMENT_BYTES).index_max_items(4 << 20);
            Box::new(Mutex::new(CommitLog::new(options).expect("it opens")))
        }
        _ => return None,
    })
}

/// One producer and eight, single records and batches.
pub(crate) fn beside_peers(plan: &Plan, table: &mut Table) {
    for (durability, threads, size, batched) in [
        (Durability::Os, 1, 100, true),
        (Durability::Os, 1, 1024, true),
        (Durability::Os, 1, 1024, false),
        (Durability::Synced, 1, 1024, false),
        (Durability::Synced, 8, 1024, false),
        (Durability::Synced, 8, 100, true),
        (Durability::Synced, 8, 1024, true),
    ] {
        let records = if batched { BATCH_BYTES / size } else { 1 };
        let value = vec![b'v'; size];
        let values = vec![value.as_slice(); records];
        let form = if batched { "batches of 16 KiB" } else { "single records" };
        for name in NAMES {
            let folder = plan.folder("peers");
            std::fs::create_dir_all(&folder).expect("a folder that can be written");
            let Some(contender) = open(name, &folder, durability, threads) else { continue };
            // Each thread's first call may make a file: okaywal fills its with zeros.
            calls(threads, Duration::from_millis(20), |thread| contender.append(thread, &values));
            let (latency, calls_per_s) =
                calls(threads, plan.cell, |thread| contender.append(thread, &values));
            drop(contender);
            let row = |what: &str| {
                format!("peers: {durability}, {threads} threads, {size} B, {form}, {name}, {what}")
            };
            table.note(row("rate"), "records/s", calls_per_s * records as f64);
            table.note(row("p50 of a call"), "us", us(&latency, 0.5));
            table.note(row("p99 of a call"), "us", us(&latency, 0.99));
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}
