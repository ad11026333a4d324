//! Fetching: in order, warm and cold; one record by its offset; and what a reader of cold data costs those who write.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_harness::limits::Limits;
use engine_env::OsHome;
use log_engine::{Durability, Log, LogConfig, Offset, Record, TopicPartition};
use rustix::fs::Advice;

use super::append::{append_batches, submit, us};
use super::table::{Table, Target};
use super::{Plan, open};

const READ_BYTES: u64 = 768 << 20;
const FETCH_BYTES: usize = 1 << 20;

/// Takes the files of a folder out of the page cache. They have to be on the disk.
pub(crate) fn chill(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        if let Ok(file) = std::fs::File::open(entry.path()) {
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}

/// A log of about [`READ_BYTES`] in sealed segments, closed and opened again.
fn filled(plan: &Plan, folder: &Path, size: usize) -> (Log<OsHome>, TopicPartition) {
    let bytes = READ_BYTES.min(plan.large_bytes);
    let config = || LogConfig { durability: Durability::Os, segment_bytes: 64 << 20, ..LogConfig::default() };
    let log = open(folder, config());
    log.create_topic("bench", 1).expect("a new topic");
    let value: Vec<u8> = (0..size).map(|i| i as u8).collect();
    let records = vec![Record::new(b"key", &value); (16 << 10) / size];
    let partition = TopicPartition::new("bench", 0);
    append_batches(&log, std::slice::from_ref(&partition), &records, |n| n * size as u64 >= bytes);
    log.close().expect("a healthy disk");
    (open(folder, config()), partition)
}

/// Bytes a second of reading everything in order; `look` sees each fetch.
fn in_order(
    log: &Log<OsHome>,
    partition: &TopicPartition,
    mut look: impl FnMut(&log_engine::Fetched),
) -> f64 {
    let (mut at, mut bytes) = (Offset(0), 0);
    let end = log.ends(partition).expect("it is there").end;
    let started = Instant::now();
    while at < end {
        let fetched = log.fetch(partition, at, FETCH_BYTES).expect("readable");
        look(&fetched);
        bytes += fetched.len_bytes();
        at = fetched.next_offset();
    }
    bytes as f64 / started.elapsed().as_secs_f64()
}

/// Every byte once, eight at a time.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).fold(0, |s, c| s.wrapping_add(u64::from_le_bytes(c.try_into().expect("eight"))))
}

pub(crate) fn fetch(plan: &Plan, limits: &Limits, table: &mut Table) {
    let memcpy = limits.memcpy_bytes_per_s;
    for (size, named) in [(100, "100 B"), (1024, "1 KiB")] {
        let folder = plan.folder("fetch");
        let (log, partition) = filled(plan, &folder, size);
        // Maps and pages are there afterwards.
        in_order(&log, &partition, |_| ());
        let mut total = 0;
        let batches = in_order(&log, &partition, |fetched| {
            total += fetched.slices().map(sum).fold(0, u64::wrapping_add);
        });
        let records = in_order(&log, &partition, |fetched| {
            for record in fetched.records() {
                total += sum(record.expect("well formed").value.unwrap_or_default());
            }
        });
        black_box(total);
        let target = memcpy.map_or(Target::None, |m| Target::AtLeast(m * 0.5));
        let name = |what: &str| format!("fetch in order, {named}, {what}");
        table.add(name("warm, every byte of every batch read"), "B/s", batches, memcpy, target);
        table.add(name("warm, every record decoded and read"), "B/s", records, memcpy, Target::None);
        table.note(name("warm, records decoded"), "records/s", records / (size as f64 + 10.0));
        chill(&folder.join("bench-0"));
        let plain = read_files(&folder.join("bench-0"));
        chill(&folder.join("bench-0"));
        let cold = in_order(&log, &partition, |fetched| {
            black_box(fetched.slices().map(sum).fold(0, u64::wrapping_add));
        });
        table.add(name("cold; limit: plain reads of 1 MiB"), "B/s", cold, Some(plain), Target::None);

        let end = log.ends(&partition).expect("it is there").end.0;
        let (mut at, mut count) = (0, 0_u64);
        let started = Instant::now();
        while started.elapsed() < plan.cell {
            for _ in 0..64 {
                at = (at + 7_919_777) % end;
                let fetched = log.fetch(&partition, Offset(at), 1).expect("readable");
                let record = fetched.records().next().expect("it is there").expect("well formed");
                assert_eq!(record.offset, Offset(at), "the record that was asked for");
                count += 1;
            }
        }
        let per_s = count as f64 / started.elapsed().as_secs_f64();
        let cached = limits.cached_read.as_ref().map(|c| c.per_s);
        table.add(
            format!("fetch one record by offset, {named}, warm"),
            "records/s",
            per_s,
            cached,
            Target::None,
        );
        drop(log);
        let _ = std::fs::remove_dir_all(&folder);
    }
}

/// Bytes a second of reading the same files without a log.
fn read_files(folder: &Path) -> f64 {
    let (mut bytes, mut buf) = (0, vec![0; FETCH_BYTES]);
    let started = Instant::now();
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        let Ok(mut file) = std::fs::File::open(entry.path()) else { continue };
        while let Ok(read @ 1..) = std::io::Read::read(&mut file, &mut buf) {
            bytes += read;
        }
    }
    bytes as f64 / started.elapsed().as_secs_f64()
}

/// Eight submitters, alone and beside a reader of what isn't in memory.
pub(crate) fn beside_a_cold_reader(plan: &Plan, table: &mut Table) {
    let folder = plan.folder("cold-reader");
    let (log, old) = filled(plan, &folder, 1024);
    drop(log);
    let log = open(&folder, LogConfig { segment_bytes: 64 << 20, ..LogConfig::default() });
    log.create_topic("new", 1).expect("a new topic");
    let new = TopicPartition::new("new", 0);
    let time = plan.cell * 2;
    let mut p99 = [0.0; 2];
    for (beside, p99) in [false, true].into_iter().zip(&mut p99) {
        let stop = AtomicBool::new(false);
        let (latency, per_s) = std::thread::scope(|scope| {
            if beside {
                scope.spawn(|| {
                    let (mut at, end) = (Offset(0), log.ends(&old).expect("it is there").end);
                    while !stop.load(Ordering::Relaxed) {
                        if at >= end || at == Offset(0) {
                            at = Offset(0);
                            chill(&folder.join("bench-0"));
                        }
                        let fetched = log.fetch(&old, at, 256 << 10).expect("readable");
                        black_box(fetched.slices().map(sum).fold(0, u64::wrapping_add));
                        at = fetched.next_offset();
                        // A reader that takes all of a core would show the scheduler, not the log.
                        std::thread::sleep(Duration::from_micros(200));
                    }
                });
            }
            let figures = submit(&log, &new, 8, 1024, time);
            stop.store(true, Ordering::Relaxed);
            figures
        });
        let with = if beside { "beside a cold reader" } else { "alone" };
        let name = |what: &str| format!("append single, synced, 8 submitters, 1 KiB, {with}, {what}");
        table.note(name("rate"), "acks/s", per_s);
        *p99 = us(&latency, 0.99);
        table.note(name("p99"), "us", *p99);
    }
    table.note("cold reader: p99 beside it / alone".to_owned(), "ratio", p99[1] / p99[0]);
    drop(log);
    let _ = std::fs::remove_dir_all(&folder);
}
