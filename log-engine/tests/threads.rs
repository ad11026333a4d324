//! The log on a real folder, with its threads: many submitters, a producer and a consumer, refusals.

#![expect(clippy::disallowed_methods, reason = "a test has threads and looks at files")]
use std::sync::Arc;
use std::time::Duration;

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
