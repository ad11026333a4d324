//! A log over several segments in the simulated machine, for the tests of what changes them.

use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, SimHome};
use engine_env::{CompletionQueue, Disk, Home, OpId, Wait};

use crate::{
    Appending, Durability, EncodedBatch, Interval, LogConfig, Offset, Record, SteppedLog, TopicPartition,
};

/// Records of [`filled`].
pub(crate) const RECORDS: u64 = 12;

pub(crate) fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

pub(crate) fn config(durability: Durability) -> LogConfig {
    LogConfig {
        durability,
        segment_bytes: 8192,
        index_interval_bytes: 1000,
        zero_fill_step_bytes: 4096,
        recent_bytes: 3000,
        ..LogConfig::default()
    }
}

pub(crate) fn open(home: &SimHome, durability: Durability) -> SteppedLog<SimHome> {
    open_with(home, config(durability))
}

pub(crate) fn open_with(home: &SimHome, config: LogConfig) -> SteppedLog<SimHome> {
    let (log, report) = SteppedLog::open(home.clone(), config).expect("it opens");
    let damage: Vec<_> = report.partitions.iter().flat_map(|p| &p.damage).collect();
    assert!(damage.is_empty(), "a cut was taken for damage: {damage:?}");
    log
}

pub(crate) fn value(record: u64, life: u8) -> Vec<u8> {
    let mut value = vec![life; 1500];
    value[0] = record as u8;
    value
}

/// Appends one record, durably. Its time is ten times its number.
pub(crate) fn append(home: &SimHome, log: &SteppedLog<SimHome>, record: u64, life: u8) {
    let value = value(record, life);
    let records = [Record::of_value(&value)];
    let batch = EncodedBatch::of(&records, 10 * record as i64, Vec::new()).expect("one record");
    append_batch(home, log, &batch);
}

/// Appends a batch, durably.
pub(crate) fn append_batch(home: &SimHome, log: &SteppedLog<SimHome>, batch: &EncodedBatch) -> Offset {
    let done = Arc::new(CompletionQueue::new());
    let mut disk = home.disk().expect("powered");
    let offset = loop {
        match log.append_batch(&tp(), batch.clone(), 0, &done).expect("healthy") {
            Appending::Accepted(offset) => break offset,
            Appending::NeedsUpkeep => {
                assert!(log.upkeep(&mut disk, Interval::Running), "nothing makes room");
            }
        }
    };
    let (machine, mut started) = (log.machine(), 0);
    machine.start(&mut |id: OpId, op| {
        started += 1;
        disk.submit(id, op);
    });
    let mut finished = Vec::new();
    while finished.len() < started {
        disk.reap(Wait::Forever, &mut finished);
    }
    finished.into_iter().for_each(|one| machine.on_done(one));
    offset
}

/// All upkeep that there is to do, unless the power fails.
pub(crate) fn keep_up(home: &SimHome, log: &SteppedLog<SimHome>) {
    if let Ok(mut disk) = home.disk() {
        for _ in 0..20 {
            log.upkeep(&mut disk, Interval::Running);
        }
    }
}

/// Number and life of each record, from the log's start.
pub(crate) fn first_bytes(log: &SteppedLog<SimHome>) -> Vec<(u8, u8)> {
    let ends = log.ends(&tp()).expect("it is there");
    let (mut all, mut at) = (Vec::new(), ends.start);
    while at < ends.end {
        let fetched = log.fetch(&tp(), at, 3000).expect("readable");
        for record in fetched.records() {
            let value = record.expect("whole").value.expect("a value").to_vec();
            all.push((value[0], value[1]));
        }
        at = fetched.next_offset();
    }
    all
}

/// A log over several segments, sealed, rolled and active.
pub(crate) fn filled(durability: Durability) -> SimHome {
    let home = SimHome::new(Seed(5));
    let log = open(&home, durability);
    log.create_topic("t", 1).expect("new");
    (0..RECORDS).for_each(|record| append(&home, &log, record, 1));
    assert!(log.stats().segments >= 3, "{:?}", log.stats());
    drop(log);
    home
}

pub(crate) fn copy(home: &SimHome) -> SimHome {
    let copy = home.fork();
    copy.reboot(Crash::KeepUnsynced);
    copy
}
