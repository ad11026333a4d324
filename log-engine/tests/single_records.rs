//! Records that are read one at a time, in any order: each batch of an older segment is verified and unpacked twice, and then
//! no more as long as there is room for it; and what is read is right with any room.

use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::SimHome;
use engine_env::{CompletionQueue, Home, drive_until_idle};
use log_engine::{
    Appending, BatchBuilder, Compression, Durability, Interval, LogConfig, Offset, Record, SteppedLog,
    TopicPartition,
};

const BATCHES: u64 = 60;
const RECORDS: u64 = 20;

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn value(offset: u64) -> Vec<u8> {
    format!("the value at {offset} ").into_bytes().repeat(1 + offset as usize % 5)
}

/// Batches by turns plain and packed, over several segments.
fn filled(batch_cache_bytes: usize) -> SteppedLog<SimHome> {
    let home = SimHome::new(Seed(3));
    #[allow(clippy::needless_update, reason = "the feature planted-bugs adds a field")]
    let config = LogConfig {
        durability: Durability::Synced,
        segment_bytes: 8192,
        zero_fill_step_bytes: 4096,
        recent_bytes: 0,
        batch_cache_bytes,
        ..LogConfig::default()
    };
    let (log, _) = SteppedLog::open(home.clone(), config).expect("an empty folder");
    log.create_topic("t", 1).expect("new");
    let mut disk = home.disk().expect("powered");
    let done = Arc::new(CompletionQueue::new());
    for batch in 0..BATCHES {
        let mut builder = BatchBuilder::new();
        for offset in batch * RECORDS..(batch + 1) * RECORDS {
            builder.push(&Record::of_value(&value(offset)), 1).expect("small");
        }
        let compression = if batch % 2 == 0 { Compression::None } else { Compression::Lz4 };
        let batch = builder.finish_as(compression, None).expect("not empty");
        while log.append_batch(&tp(), batch.clone(), 0, &done).expect("healthy") == Appending::NeedsUpkeep {
            drive_until_idle(&mut disk, &*log.machine(), std::time::Duration::from_secs(9));
            assert!(log.upkeep(&mut disk, Interval::Running), "nothing makes room");
        }
        drive_until_idle(&mut disk, &*log.machine(), std::time::Duration::from_secs(9));
    }
    while log.upkeep(&mut disk, Interval::Running) {}
    log
}

/// Reads every record alone, `rounds` times, in an order that jumps about.
fn read_each(log: &SteppedLog<SimHome>, rounds: u64) {
    let all = BATCHES * RECORDS;
    for i in 0..rounds * all {
        // 701 is a prime that doesn't divide the number of records: each comes once a round.
        let offset = i * 701 % all;
        let fetched = log.fetch(&tp(), Offset(offset), 1).expect("readable");
        let record = fetched.records().next().expect("it is there").expect("well formed");
        assert_eq!((record.offset.0, record.value), (offset, Some(value(offset).as_slice())));
        assert_eq!(fetched.next_offset().0, (offset / RECORDS + 1) * RECORDS, "one batch came");
    }
}

#[test]
fn a_batch_is_verified_twice_for_all_its_records() {
    let log = filled(16 << 20);
    read_each(&log, 3);
    let stats = log.stats();
    assert!(stats.segments > 3, "{stats:?}");
    let sealed = stats.batch_cache_misses / 2;
    assert!(
        sealed > BATCHES / 2 && sealed < BATCHES,
        "each batch but those of the active segment: {stats:?}"
    );
    assert_eq!(stats.batch_cache_hits, 3 * sealed * RECORDS - 2 * sealed, "{stats:?}");
}

#[test]
fn with_little_room_and_with_none_the_same_is_read() {
    for bytes in [0, 1, 40_000] {
        let log = filled(bytes);
        read_each(&log, 2);
        let stats = log.stats();
        assert_eq!(stats.batch_cache_hits > 0, bytes == 40_000, "{bytes}: {stats:?}");
    }
}

#[test]
fn whoever_reads_on_goes_past_what_is_kept() {
    let log = filled(16 << 20);
    let (mut at, end) = (Offset(0), log.ends(&tp()).expect("it is there").end);
    while at < end {
        let fetched = log.fetch(&tp(), at, 1 << 20).expect("readable");
        for record in fetched.records() {
            let record = record.expect("well formed");
            assert_eq!(record.value, Some(value(record.offset.0).as_slice()));
        }
        at = fetched.next_offset();
    }
    let stats = log.stats();
    assert_eq!((stats.batch_cache_hits, stats.batch_cache_misses), (0, 0), "{stats:?}");
}
