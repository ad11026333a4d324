//! Damage: bytes that were durable once and are not what was written any more. It is refused with its place, and
//! everything else stays readable.

use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, Fault, SimHome};
use engine_env::{CompletionQueue, Home, Wait, drive_until_idle};
use log_engine::{
    AppendError, Appending, BatchBuilder, Compression, Durability, FetchError, Interval, LogConfig, LogDone,
    Offset, Record, RecoveryReport, Sequence, SteppedLog, TopicPartition,
};

fn config() -> LogConfig {
    #[allow(clippy::needless_update, reason = "the feature planted-bugs adds a field")]
    LogConfig {
        durability: Durability::Synced,
        segment_bytes: 8192,
        index_interval_bytes: 500,
        zero_fill_step_bytes: 4096,
        recent_bytes: 0,
        ..LogConfig::default()
    }
}

fn value(offset: u64) -> Vec<u8> {
    format!("offset {offset} ").bytes().cycle().take(200).collect()
}

/// Up and down, so that the latest record isn't the last one.
fn time_of(offset: u64) -> i64 {
    1_000 + 10 * offset as i64 + [0, 35, -20, 5][offset as usize % 4]
}

fn open(home: &SimHome) -> (SteppedLog<SimHome>, RecoveryReport) {
    SteppedLog::open(home.clone(), config()).expect("it opens")
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn append(home: &SimHome, log: &SteppedLog<SimHome>, offset: u64) -> Vec<LogDone> {
    let done = Arc::new(CompletionQueue::new());
    let mut disk = home.disk().expect("powered");
    let commit = |disk: &mut _| drive_until_idle(disk, &*log.machine(), std::time::Duration::from_secs(9));
    let value = value(offset);
    let record = [Record::of_value(&value)];
    while log.append(&partition(), &record, time_of(offset), 0, &done).expect("healthy")
        == Appending::NeedsUpkeep
    {
        assert!(log.upkeep(&mut disk, Interval::Running));
    }
    commit(&mut disk);
    while log.upkeep(&mut disk, Interval::Running) {}
    let mut all = Vec::new();
    done.drain(Wait::No, &mut all);
    all
}

/// A closed log of 100 records, one a batch, in several segments; some of the last are in the active one.
fn hundred() -> SimHome {
    let home = SimHome::new(Seed(5));
    let (log, _) = open(&home);
    log.create_topic("t", 1).expect("new");
    for offset in 0..100 {
        append(&home, &log, offset);
    }
    assert!(log.stats().segments >= 3);
    log.close().expect("no faults");
    home
}

/// Which offsets can be read, asking for each by itself and then for all in a row, skipping as the errors say.
fn readable(log: &SteppedLog<SimHome>) -> Vec<u64> {
    let end = log.ends(&partition()).expect("it is there").end.0;
    let single: Vec<u64> = (0..end)
        .filter(|&offset| match log.fetch(&partition(), Offset(offset), 1) {
            Ok(fetched) => {
                let record = fetched.records().next().expect("not empty").expect("well formed");
                assert_eq!((record.offset.0, record.value), (offset, Some(value(offset).as_slice())));
                true
            }
            Err(FetchError::Corrupt { damage }) => {
                assert!(damage.offset.0 <= offset && offset < damage.until.0, "{damage} for {offset}");
                false
            }
            Err(other) => panic!("offset {offset}: {other}"),
        })
        .collect();
    let mut in_a_row = Vec::new();
    let mut at = Offset(0);
    while at.0 < end {
        match log.fetch(&partition(), at, 1500) {
            Ok(fetched) => {
                in_a_row.extend(fetched.records().map(|r| r.expect("well formed").offset.0));
                at = fetched.next_offset();
            }
            Err(FetchError::Corrupt { damage }) => at = damage.until,
            Err(other) => panic!("offset {at}: {other}"),
        }
    }
    assert_eq!(single, in_a_row);
    single
}

/// Every time leads to the first record that isn't earlier.
fn times_are_found(log: &SteppedLog<SimHome>) {
    let end = log.ends(&partition()).expect("it is there").end.0;
    for time in (990..2_100).step_by(3) {
        let expected = (0..end).find(|&o| time_of(o) >= time).map(|o| (o, time_of(o)));
        let found = log.offset_for_time(&partition(), time).expect("nothing is damaged");
        assert_eq!(found.map(|f| (f.offset.0, f.timestamp_ms)), expected, "{time}");
    }
}

fn all_but(gone: impl Fn(u64) -> bool) -> Vec<u64> {
    (0..100).filter(|&o| !gone(o)).collect()
}

fn segments(home: &SimHome) -> Vec<String> {
    home.files().into_iter().filter(|f| f.ends_with(".log")).collect()
}

#[test]
fn a_flipped_bit_anywhere_refuses_its_batch_and_nothing_else() {
    let home = hundred();
    for path in segments(&home) {
        let base: u64 = path[4..24].parse().expect("twenty digits");
        let bytes = home.seen_bytes(&path).expect("it is there");
        let len = bytes.len() as u64 / ((bytes.len() / 270) as u64).max(1);
        // The third batch of the segment: each of its fields, then a byte of its record.
        let items: Vec<_> = log_engine::inspect::segment(&bytes)
            .map(|item| match item {
                log_engine::inspect::Item::Batch { position, .. } => position,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(len > 0 && items.len() > 4);
        for field in [0, 7, 8, 11, 12, 16, 17, 21, 25, 40, 60, 61, 100] {
            let home = hundred();
            home.flip_bit(&path, 8 * (items[2] + field)).expect("it is there");
            let (log, report) = open(&home);
            let gone = readable(&log);
            if field == 12 {
                // The leader epoch is outside the checksum, and nothing is decided by it yet.
                assert_eq!(gone, all_but(|_| false));
                continue;
            }
            assert_eq!(gone, all_but(|o| o == base + 2), "{path}, byte {field}: {report}");
            let error = log.fetch(&partition(), Offset(base + 2), 1).expect_err("damaged");
            let FetchError::Corrupt { damage } = error else { panic!("{error}") };
            assert_eq!((damage.segment.as_str(), damage.position), (path.as_str(), items[2]));
            assert_eq!((damage.offset.0, damage.until.0), (base + 2, base + 3));
            assert_eq!(report.partitions[0].end, Offset(100), "nothing is cut");
            assert!(report.partitions[0].tail_truncated.is_none(), "damage is not an interrupted append");
            append(&home, &log, 100);
            let fetched = log.fetch(&partition(), Offset(100), 1).expect("appends go on");
            assert_eq!(fetched.records().count(), 1);
        }
    }
}

#[test]
fn damage_before_the_mark_at_the_very_end_is_not_taken_for_an_interrupted_append() {
    let home = hundred();
    let path = segments(&home).pop().expect("there are segments");
    let last_byte = home.seen_bytes(&path).expect("it is there").len() as u64 - 1;
    home.flip_bit(&path, 8 * last_byte).expect("it is there");
    let (log, report) = open(&home);
    assert_eq!(report.partitions[0].damage.len(), 1, "{report}");
    assert_eq!(report.partitions[0].end, Offset(100));
    assert_eq!(readable(&log), all_but(|o| o == 99));
    append(&home, &log, 100);
    drop(log);
    let (log, report) = open(&home);
    assert_eq!(report.partitions[0].end, Offset(101), "{report}");
    assert_eq!(log.fetch(&partition(), Offset(100), 1).expect("readable").records().count(), 1);
}

#[test]
fn without_a_mark_sealed_segments_are_still_known_to_be_durable() {
    let home = hundred();
    let files = segments(&home);
    home.corrupt("t-0/durable-end.mark", 0, &[0; 4096]).expect("it is there");
    home.flip_bit(&files[0], 8 * 100).expect("it is there");
    let (log, report) = open(&home);
    assert_eq!(report.partitions[0].end, Offset(100), "{report}");
    assert_eq!(readable(&log), all_but(|o| o == 0));
}

#[test]
fn an_index_that_is_missing_or_damaged_changes_no_answer() {
    let indexes = |home: &SimHome| -> Vec<String> {
        home.files().into_iter().filter(|f| f.ends_with(".index") || f.ends_with(".timeindex")).collect()
    };
    let whole = hundred();
    assert!(indexes(&whole).len() >= 4);
    for (i, path) in indexes(&whole).into_iter().enumerate() {
        let len = whole.seen_bytes(&path).expect("it is there").len() as u64;
        for bit in 0..len * 8 {
            if bit % 7 != i as u64 % 7 {
                continue;
            }
            let home = whole.fork();
            home.reboot(Crash::KeepUnsynced);
            home.flip_bit(&path, bit).expect("it is there");
            let (log, _) = open(&home);
            assert_eq!(readable(&log), all_but(|_| false), "{path}, bit {bit}");
            times_are_found(&log);
        }
        let home = whole.fork();
        home.reboot(Crash::KeepUnsynced);
        let mut disk = home.disk().expect("powered");
        engine_env::Disk::run(&mut disk, engine_env::Op::Remove { path: path.clone() }).expect("it is there");
        drop(disk);
        let (log, report) = open(&home);
        assert_eq!(report.partitions[0].indexes_rebuilt, 1);
        assert_eq!(readable(&log), all_but(|_| false));
        times_are_found(&log);
        assert_eq!(home.seen_bytes(&path).ok(), whole.seen_bytes(&path).ok(), "made anew, the same");
    }
}

/// A time index of another life: entries that rise, and are not of this segment's batches.
#[test]
fn a_stale_time_index_changes_no_answer() {
    let whole = hundred();
    let path = whole.files().into_iter().find(|f| f.ends_with(".timeindex")).expect("segments are sealed");
    let entries: Vec<_> =
        log_engine::inspect::time_index(&whole.seen_bytes(&path).expect("it is there")).collect();
    assert!(entries.len() >= 3, "{entries:?}");
    for shift in [-2_000, -7, 1, 500] {
        let home = whole.fork();
        home.reboot(Crash::KeepUnsynced);
        let stale: Vec<u8> = entries
            .iter()
            .flat_map(|e| {
                let mut bytes = (e.timestamp_ms + shift).to_be_bytes().to_vec();
                bytes.extend(e.relative_offset.to_be_bytes());
                bytes
            })
            .collect();
        home.corrupt(&path, 0, &stale).expect("it is there");
        times_are_found(&open(&home).0);
    }
}

/// Two producers over several segments; whatever becomes of the snapshots, the last five batches of each are known after
/// a restart, and so is what comes next.
#[test]
fn a_producer_snapshot_that_is_missing_or_damaged_forgets_nobody() {
    let home = SimHome::new(Seed(5));
    let (log, _) = open(&home);
    log.create_topic("t", 1).expect("new");
    let done = Arc::new(CompletionQueue::new());
    let batch = |producer_id: i64, first: i32| {
        let mut builder = BatchBuilder::new();
        builder.push(&Record::of_value(&[first as u8; 300]), 1).expect("small");
        let sequence = Sequence { producer_id, epoch: 3, first };
        builder.finish_as(Compression::None, Some(sequence)).expect("not empty")
    };
    let send = |home: &SimHome, log: &SteppedLog<SimHome>, producer, first| {
        let mut disk = home.disk().expect("powered");
        loop {
            match log.append_batch(&partition(), batch(producer, first), 0, &done) {
                Ok(Appending::Accepted(offset)) => break Ok(offset),
                Ok(Appending::NeedsUpkeep) => {
                    drive_until_idle(&mut disk, &*log.machine(), std::time::Duration::from_secs(9));
                    assert!(log.upkeep(&mut disk, Interval::Running));
                }
                Err(error) => break Err(error),
            }
        }
    };
    // The second one falls silent early.
    let mut offsets = [Vec::new(), Vec::new()];
    for i in 0..100 {
        offsets[0].push(send(&home, &log, 0, i).expect("in order"));
        if i < 12 {
            offsets[1].push(send(&home, &log, 1, i).expect("in order"));
        }
    }
    let mut disk = home.disk().expect("powered");
    drive_until_idle(&mut disk, &*log.machine(), std::time::Duration::from_secs(9));
    while log.upkeep(&mut disk, Interval::Running) {}
    drop(disk);
    log.close().expect("no faults");
    let snapshots: Vec<_> = home.files().into_iter().filter(|f| f.ends_with(".snapshot")).collect();
    assert!(snapshots.len() >= 4, "{snapshots:?}");
    let all_are_known = |home: &SimHome, what: &str| {
        let (log, _) = open(home);
        for (producer, offsets) in offsets.iter().enumerate() {
            let next = offsets.len() as i32;
            for first in next - 5..next {
                let found = send(home, &log, producer as i64, first).expect("legal");
                assert_eq!(found, offsets[first as usize], "{what}, producer {producer}, {first}");
            }
            for wrong in [next - 6, next + 1] {
                let error = send(home, &log, producer as i64, wrong).expect_err("out of order");
                assert!(matches!(error, AppendError::Sequence { .. }), "{error}");
            }
        }
        let end = log.ends(&partition()).expect("it is there").end;
        assert_eq!(send(home, &log, 1, 12).expect("the next one"), end, "{what}");
    };
    let fork = |home: &SimHome| {
        let fork = home.fork();
        fork.reboot(Crash::KeepUnsynced);
        fork
    };
    all_are_known(&fork(&home), "all snapshots");
    let mut disk = home.disk().expect("powered");
    for path in snapshots.iter().rev() {
        for at in [0, 3, 7, 30] {
            let home = fork(&home);
            home.flip_bit(path, 8 * at + 1).expect("it is there");
            all_are_known(&home, &format!("{path}, byte {at}"));
        }
        engine_env::Disk::run(&mut disk, engine_env::Op::Remove { path: path.clone() }).expect("it is there");
        all_are_known(&fork(&home), &format!("without {path} and those behind it"));
    }
}

#[test]
fn a_time_whose_record_is_damaged_is_refused_with_the_place_and_an_earlier_one_is_found() {
    let home = hundred();
    let path = segments(&home).swap_remove(1);
    let base: u64 = path[4..24].parse().expect("twenty digits");
    // Later than all before it.
    let peak = (base + 1..).find(|o| o % 4 == 1).expect("one of four");
    let bytes = home.seen_bytes(&path).expect("it is there");
    let position = log_engine::inspect::segment(&bytes)
        .find_map(|item| match item {
            log_engine::inspect::Item::Batch { position, batch, .. } => {
                (batch.base_offset() == Offset(peak)).then_some(position)
            }
            other => panic!("{other:?}"),
        })
        .expect("it is in that segment");
    home.flip_bit(&path, 8 * (position + 100)).expect("it is there");
    let (log, _) = open(&home);
    let before = log.offset_for_time(&partition(), time_of(5)).expect("in front of it");
    assert_eq!(before.map(|f| f.offset), Some(Offset(5)));
    let error = log.offset_for_time(&partition(), time_of(peak)).expect_err("its record can't be read");
    let FetchError::Corrupt { damage } = error else { panic!("{error}") };
    assert_eq!((damage.position, damage.offset, damage.until), (position, Offset(peak), Offset(peak + 1)));
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on() {
    let home = SimHome::new(Seed(5));
    let (log, _) = open(&home);
    log.create_topic("t", 1).expect("new");
    assert!(append(&home, &log, 0)[0].result.is_ok());
    home.fail_next(Fault::SyncError);
    let failed = append(&home, &log, 1);
    let error = failed[0].result.as_ref().expect_err("its sync failed");
    assert!(error.to_string().contains("00000000000000000000.log"), "{error}");
    let done = Arc::new(CompletionQueue::new());
    let refused = log.append(&partition(), &[Record::of_value(b"x")], 1, 0, &done).expect_err("no more");
    assert!(refused.to_string().contains("reopen"), "{refused}");
    assert_eq!(log.ends(&partition()).expect("there").durable, Offset(1));
    let fetched = log.fetch(&partition(), Offset(0), 1).expect("reads go on");
    assert_eq!(fetched.records().count(), 1);

    // The process ends; the page cache still shows the record whose sync failed. If recovery believes it, it has
    // to bring it to the disk: then a power cut doesn't take it back.
    drop(log);
    home.reboot(Crash::ProcessKill(Seed(1)));
    let (log, _) = open(&home);
    let end = log.ends(&partition()).expect("there").end;
    drop(log);
    home.reboot(Crash::LoseUnsynced);
    let (log, _) = open(&home);
    assert_eq!(log.ends(&partition()).expect("there").end, end);
    assert_eq!(readable(&log).len() as u64, end.0);
}

#[test]
fn a_full_disk_refuses_appends_and_keeps_what_there_is() {
    let home = SimHome::new(Seed(5));
    let (log, _) = open(&home);
    log.create_topic("t", 1).expect("new");
    for offset in 0..10 {
        append(&home, &log, offset);
    }
    home.set_free_bytes(Some(0));
    let done = Arc::new(CompletionQueue::new());
    let mut disk = home.disk().expect("powered");
    let refused = (10..100).find_map(|offset| {
        match log.append(&partition(), &[Record::of_value(&value(offset))], 1, 0, &done) {
            Ok(Appending::Accepted(_)) => None,
            Ok(Appending::NeedsUpkeep) => {
                log.upkeep(&mut disk, Interval::Running);
                None
            }
            Err(error) => Some(error),
        }
    });
    let refused = refused.expect("the space ends");
    assert!(refused.to_string().contains("full"), "{refused}");
    drive_until_idle(&mut disk, &*log.machine(), std::time::Duration::from_secs(9));
    assert!(log.fetch(&partition(), Offset(3), 1).is_ok());
    drop((log, disk));
    home.set_free_bytes(None);
    let (log, report) = open(&home);
    assert!(report.partitions[0].damage.is_empty() && report.partitions[0].end >= Offset(10), "{report}");
    append(&home, &log, report.partitions[0].end.0);
}

/// One partition had failed: closing stopped there, and those behind it were neither cut nor made durable.
#[test]
fn a_failed_partition_keeps_no_other_from_being_closed() {
    let home = SimHome::new(Seed(6));
    let os = LogConfig { durability: Durability::Os, ..config() };
    let (log, _) = SteppedLog::open(home.clone(), os.clone()).expect("it opens");
    log.create_topic("t", 2).expect("new");
    let (failed, healthy) = (&TopicPartition::new("t", 0), &TopicPartition::new("t", 1));
    let done = Arc::new(CompletionQueue::new());
    home.fail_next(Fault::WriteError);
    log.append(failed, &[Record::of_value(b"lost")], 1, 0, &done).expect_err("the write fails");
    log.append(healthy, &[Record::of_value(b"kept")], 1, 1, &done).expect("it has nothing to do with it");
    log.close().expect_err("one partition had failed");
    home.reboot(Crash::LoseUnsynced);
    let (log, _) = SteppedLog::open(home, os).expect("it opens");
    assert_eq!(log.ends(healthy).expect("it is there").end, Offset(1));
}
