//! Appending: in batches by one producer, one record at a time by several submitters, and from an append until a consumer
//! has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bench_harness::limits::Limits;
use bench_harness::load::{Clock, OsClock};
use engine_env::{CompletionQueue, OsHome, Wait};
use hdrhistogram::Histogram;
use log_engine::{Consumer, Durability, Log, LogDone, Offset, Record, TopicPartition};

use super::table::{Table, Target};
use super::{Plan, create};

pub(crate) const ALL: [Durability; 3] = [Durability::Os, Durability::IntervalMs(100), Durability::Synced];

/// Bytes a batch gathers, as the producer's default.
const BATCH_BYTES: usize = 16 << 10;
/// Batches on their way at most.
const IN_FLIGHT: u64 = 512;

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sensible bounds")
}

pub(crate) fn us(h: &Histogram<u64>, quantile: f64) -> f64 {
    h.value_at_quantile(quantile) as f64 / 1e3
}

fn named(size: usize) -> &'static str {
    match size {
        100 => "100 B",
        1024 => "1 KiB",
        _ => "16 KiB",
    }
}

/// Appends batches for so long, or so many bytes; gives how many records.
pub(crate) fn append_batches(
    log: &Log<OsHome>,
    partitions: &[TopicPartition],
    records: &[Record<'_>],
    until: impl Fn(u64) -> bool,
) -> u64 {
    let done = Arc::new(CompletionQueue::<LogDone>::new());
    let (mut sent, mut finished, mut out) = (0, 0, Vec::new());
    let mut reap = |wait: Wait, finished: &mut u64| {
        done.drain(wait, &mut out);
        *finished += out.len() as u64;
        for one in out.drain(..) {
            one.result.expect("a healthy disk");
        }
    };
    while !until(sent * records.len() as u64) {
        let partition = &partitions[(sent % partitions.len() as u64) as usize];
        log.append_async(partition, records, 1, sent, &done).expect("a healthy disk");
        sent += 1;
        let wait = if sent - finished > IN_FLIGHT { Wait::Forever } else { Wait::No };
        if sent.is_multiple_of(16) || wait == Wait::Forever {
            reap(wait, &mut finished);
        }
    }
    while finished < sent {
        reap(Wait::Forever, &mut finished);
    }
    sent * records.len() as u64
}

pub(crate) fn batched(plan: &Plan, limits: &Limits, table: &mut Table) {
    let append = limits.append.as_ref();
    for durability in ALL {
        for size in [100, 1024, 16 << 10] {
            let value = vec![b'v'; size];
            let records = vec![Record::new(b"key", &value); (BATCH_BYTES / size).max(1)];
            let folder = plan.folder("append");
            let (log, partitions) = create(&folder, durability, 1);
            let started = Instant::now();
            let count = append_batches(&log, &partitions, &records, |_| started.elapsed() >= plan.cell);
            let per_s = count as f64 / started.elapsed().as_secs_f64();
            let target = match (durability, size) {
                (Durability::Os, 100) => Target::AtLeast(6e6),
                (Durability::Synced, 100) => Target::AtLeast(3e6),
                (Durability::Synced, 1024) => Target::AtLeast(1e6),
                _ => Target::None,
            };
            let limit = append.map(|a| a.burst_bytes_per_s / size as f64);
            let name = format!("append batched, {durability}, {}", named(size));
            table.add(name, "records/s", per_s, limit, target);
            drop(log);
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}

pub(crate) fn single(plan: &Plan, limits: &Limits, table: &mut Table) {
    let sync = limits.write_sync_handed_over.as_ref();
    for durability in ALL {
        for submitters in [1, 8, 64] {
            for size in [100, 1024, 16 << 10] {
                let folder = plan.folder("single");
                let (log, partitions) = create(&folder, durability, 1);
                let (latency, per_s) = submit(&log, &partitions[0], submitters, size, plan.cell);
                let name = |what: &str| {
                    format!("append single, {durability}, {submitters} submitters, {}, {what}", named(size))
                };
                let is_target = durability == Durability::Synced && size == 1024;
                let acks = match submitters {
                    8 if is_target => Target::AtLeast(35e3),
                    64 if is_target => Target::AtLeast(150e3),
                    _ => Target::None,
                };
                table.add(name("rate"), "acks/s", per_s, None, acks);
                let lone = is_target && submitters == 1;
                let limit = |us: Option<f64>| us.filter(|_| durability == Durability::Synced);
                let p50 = limit(sync.and_then(|s| s.p50_us));
                let p99 = limit(sync.and_then(|s| s.p99_us));
                let at_most = |limit: Option<f64>, times: f64| match limit {
                    Some(us) if lone => Target::AtMost(us * times),
                    _ => Target::None,
                };
                table.add(name("p50"), "us", us(&latency, 0.5), p50, at_most(p50, 1.3));
                table.add(name("p99"), "us", us(&latency, 0.99), p99, at_most(p99, 2.0));
                drop(log);
                let _ = std::fs::remove_dir_all(&folder);
            }
        }
    }
}

/// Threads that append one record after the other; their latencies, nanoseconds, and the rate of all.
pub(crate) fn submit(
    log: &Log<OsHome>,
    partition: &TopicPartition,
    submitters: usize,
    size: usize,
    time: Duration,
) -> (Histogram<u64>, f64) {
    let value = vec![b'v'; size];
    calls(submitters, time, |_| {
        log.append(partition, &[Record::new(b"key", &value)], 1).expect("a healthy disk");
    })
}

/// Threads that make one call after the other, each told its number; the calls' latencies, nanoseconds, and the rate of
/// all.
pub(crate) fn calls(threads: usize, time: Duration, call: impl Fn(usize) + Sync) -> (Histogram<u64>, f64) {
    let (stop, barrier) = (AtomicBool::new(false), Barrier::new(threads + 1));
    let mut all = histogram();
    let mut took = Duration::ZERO;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let (stop, barrier, call) = (&stop, &barrier, &call);
                scope.spawn(move || {
                    let mut latency = histogram();
                    barrier.wait();
                    while !stop.load(Ordering::Relaxed) {
                        let started = Instant::now();
                        call(thread);
                        latency.saturating_record(started.elapsed().as_nanos() as u64);
                    }
                    latency
                })
            })
            .collect();
        barrier.wait();
        let started = Instant::now();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            all.add(thread.join().expect("a submitter")).expect("the same bounds");
        }
        took = started.elapsed();
    });
    let per_s = all.len() as f64 / took.as_secs_f64();
    (all, per_s)
}

/// Between two batches of the paced producer.
const EVERY_NS: u64 = 500_000;
const BATCH_RECORDS: u64 = 10;

/// What a paced producer and its consumer see of this machine when there is no log between them: each batch's number goes
/// through the queue that the log uses to tell of completions. Whatever is late here, the log can't help.
fn handed_over(batches: u64) -> Histogram<u64> {
    let queue = CompletionQueue::<u64>::new();
    let clock = OsClock::start();
    let mut latency = histogram();
    std::thread::scope(|scope| {
        let handing = &queue;
        scope.spawn(move || {
            let _slack = OsClock::start();
            for batch in 0..batches {
                clock.sleep_until(batch * EVERY_NS);
                handing.push(batch);
            }
        });
        let (mut out, mut seen) = (Vec::new(), 0);
        while seen < batches {
            queue.drain(Wait::Forever, &mut out);
            let now = clock.now_ns();
            for batch in out.drain(..) {
                since_due(&mut latency, batch, batches, now);
                seen += 1;
            }
        }
    });
    latency
}

/// The first tenth warms up.
fn since_due(latency: &mut Histogram<u64>, batch: u64, batches: u64, now: u64) {
    if batch > batches / 10 {
        latency.saturating_record(now.saturating_sub(batch * EVERY_NS).max(1));
    }
}

/// Ten records every half millisecond, from when they were due until a consumer has them.
fn through_the_log(plan: &Plan, durability: Durability, batches: u64) -> Histogram<u64> {
    let folder = plan.folder("end-to-end");
    let (log, partitions) = create(&folder, durability, 1);
    let log = Arc::new(log);
    let mut latency = histogram();
    let clock = OsClock::start();
    std::thread::scope(|scope| {
        let producing = Arc::clone(&log);
        let partition = partitions[0].clone();
        scope.spawn(move || {
            let _slack = OsClock::start();
            let value = [b'v'; 100];
            let records = [Record::new(b"key", &value); BATCH_RECORDS as usize];
            let done = Arc::new(CompletionQueue::<LogDone>::new());
            let mut out = Vec::new();
            for batch in 0..batches {
                clock.sleep_until(batch * EVERY_NS);
                producing.append_async(&partition, &records, 1, batch, &done).expect("a healthy disk");
                done.drain(Wait::No, &mut out);
                out.clear();
            }
        });
        let mut consumer = Consumer::new(Arc::clone(&log));
        consumer.assign(partitions[0].clone(), Offset(0));
        let mut seen = 0;
        while seen < batches * BATCH_RECORDS {
            let consumed = consumer.poll(1 << 20, Wait::Forever).expect("readable");
            let now = clock.now_ns();
            for record in consumed.records() {
                let (_, record) = record.expect("well formed");
                assert_eq!(record.offset.0, seen, "a consumer sees each record once, in order");
                since_due(&mut latency, seen / BATCH_RECORDS, batches, now);
                seen += 1;
            }
        }
    });
    drop(log);
    let _ = std::fs::remove_dir_all(&folder);
    latency
}

/// Both durabilities, and beside them what the machine does to a pair of threads that have no log between them.
pub(crate) fn end_to_end(plan: &Plan, table: &mut Table) {
    let batches = (plan.cell.as_nanos() as u64 * 4) / EVERY_NS;
    let floor = handed_over(batches);
    for (what, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        table.note(
            format!("end to end at 2 k/s without a log, from thread to thread, {what}"),
            "us",
            us(&floor, quantile),
        );
    }
    for durability in [Durability::Os, Durability::Synced] {
        let latency = through_the_log(plan, durability, batches);
        let (p50, p99) = if durability == Durability::Os { (100.0, 300.0) } else { (300.0, 800.0) };
        for (what, quantile, most) in [("p50", 0.5, p50), ("p99", 0.99, p99)] {
            table.add(
                format!("end to end at 20 k/s in tens, {durability}, {what}"),
                "us",
                us(&latency, quantile),
                None,
                Target::AtMost(most),
            );
        }
    }
}
