//! The log on a real folder, with its threads: many submitters, a producer and a consumer, refusals.

#![expect(clippy::disallowed_methods, reason = "a test has threads and looks at files")]
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine_env::{Backend, CompletionQueue, OsHome, Wait};
use log_engine::{
    AppendError, Consumer, CreateTopicError, Durability, FetchError, Log, LogConfig, LogDone, Offset,
    OpenError, Producer, ProducerConfig, Record, TopicPartition,
};

fn home(folder: &tempfile::TempDir) -> OsHome {
    OsHome::open(folder.path(), Backend::Auto).expect("a fresh folder")
}

fn small(durability: Durability) -> LogConfig {
    LogConfig {
        durability,
        segment_bytes: 64 << 10,
        zero_fill_step_bytes: 16 << 10,
        recent_bytes: 32 << 10,
        ..LogConfig::default()
    }
}

const ALL: [Durability; 3] = [Durability::Os, Durability::IntervalMs(2), Durability::Synced];

#[test]
fn many_submitters_each_get_their_offset_and_everything_is_there_after_reopening() {
    for durability in ALL {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, _) = Log::open(home(&folder), small(durability)).expect("it opens");
        log.create_topic("t", 2).expect("a new topic");
        let partitions = log.partitions();
        let offsets: Vec<(usize, Offset, String)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4usize)
                .map(|t| {
                    let (log, partitions) = (&log, &partitions);
                    scope.spawn(move || {
                        (0..250usize)
                            .map(|i| {
                                let p = (t + i) % 2;
                                let text = format!("{t}.{i}.{}", "x".repeat(i));
                                let record = Record::new(b"key", text.as_bytes());
                                (p, log.append(&partitions[p], &[record], 1).expect("acknowledged"), text)
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|t| t.join().expect("a submitter")).collect()
        });
        let check = |log: &Log<OsHome>| {
            for (p, offset, text) in &offsets {
                let fetched = log.fetch(&partitions[*p], *offset, 1).expect("readable");
                let record = fetched.records().next().expect("it is there").expect("well formed");
                assert_eq!((record.offset, record.value), (*offset, Some(text.as_bytes())), "{durability}");
            }
        };
        check(&log);
        assert!(log.stats().rolls > 0, "the test is meant to roll");
        assert_eq!(log.stats().records, 1000);
        log.close().expect("it closes");
        let (log, report) = Log::open(home(&folder), small(durability)).expect("it opens again");
        assert!(
            report.partitions.iter().all(|p| p.tail_truncated.is_none() && p.damage.is_empty()),
            "{report}"
        );
        check(&log);
    }
}

#[test]
fn a_producer_batches_and_a_consumer_sees_every_record_in_order() {
    for durability in ALL {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, _) = Log::open(home(&folder), small(durability)).expect("it opens");
        log.create_topic("events", 3).expect("a new topic");
        let log = Arc::new(log);
        let done = Arc::new(CompletionQueue::<LogDone>::new());
        let mut producer = Producer::new(
            Arc::clone(&log),
            ProducerConfig { batch_bytes: 2000, ..ProducerConfig::default() },
            Arc::clone(&done),
        );
        let mut consumer = Consumer::new(Arc::clone(&log));
        for partition in log.partitions() {
            consumer.assign(partition, Offset(0));
        }
        let reader = std::thread::spawn(move || {
            let mut seen = vec![Vec::new(); 3];
            while seen.iter().map(Vec::len).sum::<usize>() < 3000 {
                let consumed =
                    consumer.poll(10_000, Wait::AtMost(Duration::from_secs(20))).expect("readable");
                assert!(!consumed.is_empty(), "nothing came for twenty seconds");
                for record in consumed.records() {
                    let (partition, record) = record.expect("well formed");
                    let i = u64::from_le_bytes(record.value.expect("a value").try_into().expect("8 bytes"));
                    assert_eq!(record.offset.0 as usize, seen[partition.partition as usize].len());
                    seen[partition.partition as usize].push(i);
                }
            }
            seen
        });
        let mut sent = vec![Vec::new(); 3];
        for i in 0..3000u64 {
            let key = (i % 100).to_le_bytes();
            let value = i.to_le_bytes();
            let partition = producer.send_keyed("events", &Record::new(&key, &value), 1, i).expect("taken");
            sent[partition.partition as usize].push(i);
            if i % 700 == 0 {
                producer.flush();
            }
        }
        producer.flush();
        assert_eq!(reader.join().expect("the reader"), sent, "{durability}");
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 3000 {
            done.drain(Wait::AtMost(Duration::from_secs(20)), &mut acknowledged);
        }
        for one in acknowledged {
            let key = (one.token % 100).to_le_bytes();
            let partition = log_engine::partition_for_key(&key, 3) as usize;
            let offset = one.result.expect("acknowledged").0 as usize;
            assert_eq!(sent[partition][offset], one.token, "each record hears of its own offset");
        }
    }
}

/// The value of each key's last record, from the log's start on. Whatever compaction does meanwhile, offsets and the
/// values of a key only rise.
fn latest_by_key(log: &Log<OsHome>, of: &TopicPartition) -> BTreeMap<u8, u64> {
    let mut at = log.ends(of).expect("it is there").start;
    let mut latest = BTreeMap::new();
    loop {
        let fetched = log.fetch(of, at, 20_000).expect("readable");
        if fetched.is_empty() {
            return latest;
        }
        for record in fetched.records() {
            let record = record.expect("well formed");
            assert!(record.offset >= at, "offset {} came behind {at}", record.offset);
            at = record.offset.plus(1);
            let (key, value) = (record.key.expect("a key")[0], record.value.expect("a value"));
            let value = u64::from_le_bytes(value[..8].try_into().expect("eight bytes"));
            let before = latest.insert(key, value);
            assert!(before < Some(value), "key {key} reads {value} behind {before:?}");
        }
        at = fetched.next_offset();
    }
}

/// The cleaner on its own thread, beside writers, a reader and upkeep on theirs.
#[test]
fn a_compacted_topic_keeps_the_latest_of_each_key_while_it_is_written_and_read() {
    const KEYS: usize = 20;
    const PASSES: u64 = 3;
    for durability in ALL {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = LogConfig {
            segment_bytes: 16 << 10,
            compacted_topics: vec!["t".to_owned()],
            compaction_dirty_percent: 1,
            ..small(durability)
        };
        let (log, _) = Log::open(home(&folder), config.clone()).expect("it opens");
        log.create_topic("t", 1).expect("new");
        let of = log.partitions().remove(0);
        let acknowledged: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let told = || acknowledged.iter().map(|n| n.load(Ordering::Acquire)).collect::<Vec<_>>();
        let has_all = |latest: &BTreeMap<u8, u64>, told: &[u64]| {
            for (key, told) in told.iter().enumerate().filter(|(_, told)| **told > 0) {
                let found = latest.get(&(key as u8));
                assert!(
                    found >= Some(told),
                    "{durability}: key {key} has {found:?}, and {told} was acknowledged"
                );
            }
        };
        let started = Instant::now();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let before = told();
                    has_all(&latest_by_key(&log, &of), &before);
                }
            });
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let (log, of, acknowledged) = (&log, &of, &acknowledged);
                    scope.spawn(move || {
                        for i in 1_u64.. {
                            let key = writer * KEYS / 2 + i as usize % (KEYS / 2);
                            let mut value = i.to_le_bytes().to_vec();
                            value.resize(200, 7);
                            log.append(of, &[Record::new(&[key as u8], &value)], 1).expect("acknowledged");
                            acknowledged[key].store(i, Ordering::Release);
                            let is_done = log.stats().compactions >= PASSES && i > 200;
                            if is_done || started.elapsed() > Duration::from_secs(60) {
                                break;
                            }
                        }
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
            is_over.store(true, Ordering::Release);
            reader.join().expect("the reader");
        });
        let stats = log.stats();
        assert!(stats.compactions >= PASSES && stats.compactions_given_up == 0, "{durability}: {stats:?}");
        has_all(&latest_by_key(&log, &of), &told());
        log.close().expect("it closes");
        let (log, report) = Log::open(home(&folder), config).expect("it opens again");
        assert!(report.partitions[0].damage.is_empty(), "{report}");
        has_all(&latest_by_key(&log, &of), &told());
    }
}

/// The files of a folder that this process has open.
#[cfg(target_os = "linux")]
fn open_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let folder = folder.canonicalize().expect("it is there");
    let all = std::fs::read_dir("/proc/self/fd").expect("readable").flatten();
    all.filter_map(|fd| std::fs::read_link(fd.path()).ok()).filter(|path| path.starts_with(&folder)).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_of_many_segments_has_few_files_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = LogConfig { segment_bytes: 4096, ..small(Durability::Os) };
    let (log, _) = Log::open(home(&folder), config.clone()).expect("it opens");
    log.create_topic("t", 1).expect("new");
    let of = log.partitions().remove(0);
    for i in 0..300_u64 {
        let value = i.to_le_bytes().repeat(100);
        log.append(&of, &[Record::of_value(&value)], 1).expect("acknowledged");
    }
    log.close().expect("it closes");
    let (log, report) = Log::open(home(&folder), config).expect("it opens again");
    assert!(report.partitions[0].segments > 50, "{report:?}");
    let before = open_files(folder.path());
    assert!(before.len() < 20, "{} files are open: {before:?}", before.len());
    let mut at = Offset(0);
    while at < Offset(300) {
        let fetched = log.fetch(&of, at, 1000).expect("readable");
        for record in fetched.records() {
            let record = record.expect("well formed");
            assert_eq!(record.value, Some(record.offset.0.to_le_bytes().repeat(100).as_slice()));
        }
        at = fetched.next_offset();
    }
    let after = open_files(folder.path());
    assert_eq!(after.len(), before.len(), "reading opened some: {after:?}");
}

#[test]
fn in_a_topic_with_append_time_records_have_the_time_of_their_append() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = LogConfig { append_time_topics: vec!["stamped".to_owned()], ..small(Durability::Os) };
    let (log, _) = Log::open(home(&folder), config).expect("it opens");
    for topic in ["stamped", "plain"] {
        log.create_topic(topic, 1).expect("new");
        let of = TopicPartition::new(topic, 0);
        for now_ms in [100, 200] {
            let made = |timestamp_ms| Record { timestamp_ms, ..Record::of_value(b"x") };
            log.append(&of, &[made(7), made(900)], now_ms).expect("acknowledged");
        }
        let fetched = log.fetch(&of, Offset(0), 1 << 20).expect("readable");
        let times: Vec<_> = fetched.records().map(|r| r.expect("well formed").timestamp_ms).collect();
        let found = log.offset_for_time(&of, 150).expect("readable").map(|found| found.offset.0);
        match topic {
            "stamped" => assert_eq!((times.as_slice(), found), (&[100, 100, 200, 200][..], Some(2))),
            _ => assert_eq!((times.as_slice(), found), (&[7, 900, 7, 900][..], Some(1))),
        }
    }
}

#[test]
fn wrong_folders_are_named_and_left_alone() {
    let kv = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(kv.path().join("FORMAT"), "kv-engine 1\n").expect("written");
    let error = Log::open(home(&kv), LogConfig::default()).expect_err("another engine's folder");
    let OpenError::Format { file, found, expected } = &error else { panic!("{error}") };
    assert_eq!((file.as_str(), found.as_str(), expected.as_str()), ("FORMAT", "kv-engine 1", "log-engine 1"));
    assert_eq!(std::fs::read(kv.path().join("FORMAT")).expect("still there"), b"kv-engine 1\n");

    let other = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(other.path().join("letter.txt"), "dear").expect("written");
    let error = Log::open(home(&other), LogConfig::default()).expect_err("not a log");
    assert!(error.to_string().contains("letter.txt"), "{error}");
    assert!(!other.path().join("FORMAT").exists(), "nothing may be written there");
}

#[test]
fn wrong_requests_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (log, _) = Log::open(home(&folder), small(Durability::Os)).expect("it opens");
    let nowhere = TopicPartition::new("nowhere", 0);
    assert!(matches!(
        log.append(&nowhere, &[Record::of_value(b"x")], 1),
        Err(AppendError::UnknownPartition { .. })
    ));
    log.create_topic("t", 1).expect("new");
    log.create_topic("t", 1).expect("there already, the same");
    assert!(matches!(log.create_topic("a/b", 1), Err(CreateTopicError::Name { .. })));
    let t = log.partitions()[0].clone();
    log.append(&t, &[Record::of_value(b"x")], 1).expect("appended");
    assert!(matches!(
        log.create_topic("t", 2),
        Err(CreateTopicError::OtherPartitions { found: 1, wanted: 2, .. })
    ));
    assert!(matches!(log.append(&t, &[], 1), Err(AppendError::Encode { .. })));
    let large = vec![0; 70 << 10];
    let error = log.append(&t, &[Record::of_value(&large)], 1).expect_err("larger than a segment");
    assert!(error.to_string().contains("65536"), "{error}");
    assert!(matches!(log.fetch(&t, Offset(2), 1), Err(FetchError::OutOfRange { end: Offset(1), .. })));
    assert!(log.fetch(&t, Offset(1), 1).expect("the end is no error").is_empty());
}

#[test]
fn a_consumer_that_is_woken_comes_back_with_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (log, _) = Log::open(home(&folder), small(Durability::Os)).expect("it opens");
    log.create_topic("t", 1).expect("new");
    let mut consumer = Consumer::new(Arc::new(log));
    consumer.assign(TopicPartition::new("t", 0), Offset(0));
    let waker = consumer.waker();
    // Before the wait as well as during it.
    waker.wake();
    assert!(consumer.poll(1, Wait::Forever).expect("readable").is_empty());
    let waking = std::thread::spawn(move || waker.wake());
    assert!(consumer.poll(1, Wait::Forever).expect("readable").is_empty());
    waking.join().expect("it wakes");
}
