//! Micro benches of the log on a real folder: what one append costs and what one fetch costs, with `os`. The disk's
//! own speed, latency under load and the comparison with the store are the workbench's business.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine_env::{Backend, OsHome};
use log_engine::{Durability, Log, LogConfig, Offset, Record, TopicPartition};

fn open(folder: &tempfile::TempDir) -> (Log<OsHome>, TopicPartition) {
    #[allow(clippy::needless_update, reason = "the feature planted-bugs adds a field")]
    let config = LogConfig { durability: Durability::Os, segment_bytes: 64 << 20, ..LogConfig::default() };
    let home = OsHome::open(folder.path(), Backend::Auto).expect("a fresh folder");
    let (log, _) = Log::open(home, config).expect("it opens");
    log.create_topic("bench", 1).expect("new");
    let partition = log.partitions().remove(0);
    (log, partition)
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("log append, os");
    for (name, size, batch) in
        [("100 B x 160", 100, 160), ("1 KiB x 16", 1024, 16), ("1 KiB x 1", 1024, 1usize)]
    {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, partition) = open(&folder);
        let value = vec![b'v'; size];
        let records = vec![Record::new(b"key", &value); batch];
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(name, |b| {
            b.iter(|| log.append(&partition, black_box(&records), 1).expect("appended"));
        });
    }
    group.finish();
}

fn fetch(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (log, partition) = open(&folder);
    let value = vec![b'v'; 100];
    let records = vec![Record::new(b"key", &value); 160];
    // A few segments: all but the last are read through maps.
    let batches: u64 = 12_000;
    for _ in 0..batches {
        log.append(&partition, &records, 1).expect("appended");
    }
    let bytes = log.stats().disk_bytes;
    let mut group = c.benchmark_group("log fetch, warm");
    let mut at = Offset(0);
    let per_fetch = log.fetch(&partition, at, 1 << 20).expect("readable").len_bytes();
    group.throughput(Throughput::Bytes(per_fetch as u64));
    group.bench_function("1 MiB of batches, checksums verified", |b| {
        b.iter(|| {
            let fetched = log.fetch(&partition, at, 1 << 20).expect("readable");
            at = if fetched.is_empty() { Offset(0) } else { fetched.next_offset() };
            fetched.len_bytes()
        });
    });
    group.bench_function("1 MiB, every byte of every value read", |b| {
        b.iter(|| {
            let fetched = log.fetch(&partition, at, 1 << 20).expect("readable");
            at = if fetched.is_empty() { Offset(0) } else { fetched.next_offset() };
            let sum = |v: &[u8]| v.iter().fold(0u64, |s, &b| s.wrapping_add(u64::from(b)));
            fetched.records().map(|r| sum(r.expect("well formed").value.unwrap_or_default())).sum::<u64>()
        });
    });
    let mut i = 0u64;
    group.throughput(Throughput::Elements(1));
    group.bench_function("one record by its offset", |b| {
        b.iter(|| {
            i = i.wrapping_add(7_919 * 160 + 13) % (batches * 160);
            let fetched = log.fetch(&partition, Offset(i), 1).expect("readable");
            fetched.records().next().expect("it is there").expect("well formed").offset
        });
    });
    group.finish();
    assert!(bytes > 3 * (64 << 20), "the bench is meant to read sealed segments");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = append, fetch
}
criterion_main!(benches);
