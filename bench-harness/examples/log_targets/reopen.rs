//! A large log: how fast it is written with the final sync counted, and how long it takes to open again.

use std::path::Path;
use std::time::Instant;

use bench_harness::limits::Limits;
use log_engine::{Durability, LogConfig, Record, TopicPartition};

use super::append::append_batches;
use super::table::{Table, Target};
use super::{Plan, create, open};

pub(crate) fn reopen(plan: &Plan, limits: &Limits, table: &mut Table) {
    let folder = plan.folder("large");
    let (log, partitions) = create(&folder, Durability::Os, 1);
    let value = [b'v'; 1024];
    let records = [Record::new(b"key", &value); 16];
    let started = Instant::now();
    let count = append_batches(&log, &partitions, &records, |n| n * 1024 >= plan.large_bytes);
    let burst = count as f64 * 1024.0 / started.elapsed().as_secs_f64();
    log.close().expect("a healthy disk");
    let bytes_per_s = count as f64 * 1024.0 / started.elapsed().as_secs_f64();
    let append = limits.append.as_ref();
    let name = |what: &str| format!("append batched, os, 1 KiB, {} GiB, {what}", plan.large_bytes >> 30);
    let limit = append.map(|a| a.bytes_per_s);
    let target = limit.map_or(Target::None, |l| Target::AtLeast(l * 0.6));
    table.add(name("final sync counted"), "B/s", bytes_per_s, limit, target);
    let burst_limit = append.map(|a| a.burst_bytes_per_s);
    table.add(name("until the last call returned"), "B/s", burst, burst_limit, Target::None);
    table.add(
        name("final sync counted, records"),
        "records/s",
        bytes_per_s / 1024.0,
        None,
        Target::AtLeast(2.1e6),
    );

    let config = || LogConfig { durability: Durability::Os, ..LogConfig::default() };
    let gib = |what: &str| format!("reopen of {} GiB, {what}", plan.large_bytes >> 30);
    table.note(gib("closed well"), "s", timed(&folder, config()));
    remove_indexes(&folder.join("bench-0"));
    table.note(gib("every index missing"), "s", timed(&folder, config()));
    // Killed: what was never synced is read, written once more and synced.
    let log = open(&folder, config());
    let more = 64 << 20;
    append_batches(&log, &[TopicPartition::new("bench", 0)], &records, |n| n * 1024 >= more);
    drop(log);
    table.note(gib("not closed, 64 MiB never synced"), "s", timed(&folder, config()));
    let _ = std::fs::remove_dir_all(&folder);
}

fn timed(folder: &Path, config: LogConfig) -> f64 {
    let started = Instant::now();
    let log = open(folder, config);
    let took = started.elapsed().as_secs_f64();
    drop(log);
    took
}

fn remove_indexes(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        if entry.path().extension().is_some_and(|e| e == "index" || e == "timeindex") {
            std::fs::remove_file(entry.path()).expect("it is there");
        }
    }
}
