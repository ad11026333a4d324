//! Stale data. Kafka's checksum leaves out base offset and length, so a torn sector can give an old batch of the
//! same length a new offset, checksum and all. Here that is shown to happen in a recycled file, and not to happen
//! in space that was filled with zeros.

use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, SimHome};
use engine_env::{CompletionQueue, Disk, Home, OpId, Wait};
use log_engine::{
    Appending, Batch, Durability, EncodedBatch, Interval, Offset, Record, SteppedLog, TopicPartition,
};

use super::program::config;

const SEGMENT: &str = "t-0/00000000000000000000.log";
/// The second batch starts 498 bytes into a sector: base offset, length and two bytes of the epoch lie in front of
/// the sector's end; magic, checksum and records behind it.
const BATCH_LEN: usize = 512 + 498;

fn batch_of(value: u8) -> EncodedBatch {
    let mut len = BATCH_LEN - 80;
    loop {
        let bytes = vec![value; len];
        let batch = EncodedBatch::of(&[Record::of_value(&bytes)], 1, Vec::new()).expect("one record");
        if batch.bytes().len() == BATCH_LEN {
            return batch;
        }
        len += 1;
    }
}

fn value_of(batch: &EncodedBatch) -> Vec<u8> {
    let batch = Batch::parse(batch.bytes()).expect("a batch");
    let batch = batch.unpack().expect("plain");
    let record = batch.records().next().expect("one").expect("well formed");
    record.value.expect("a value").to_vec()
}

/// A log with one acknowledged batch and a second one on its way to the disk. `recycled`: the space behind the first
/// one holds a batch of the file's former life instead of zeros.
fn about_to_commit(recycled: bool) -> SimHome {
    let home = SimHome::new(Seed(11));
    let (log, _) = SteppedLog::open(home.clone(), config(Durability::Synced)).expect("an empty folder");
    log.create_topic("t", 1).expect("new");
    let partition = TopicPartition::new("t", 0);
    let done = Arc::new(CompletionQueue::new());
    let mut disk = home.disk().expect("powered");
    let value = |v| value_of(&batch_of(v));
    let append =
        |v: u8| log.append(&partition, &[Record::of_value(&value(v))], 1, 0, &done).expect("healthy");
    while append(b'0') == Appending::NeedsUpkeep {
        assert!(log.upkeep(&mut disk, Interval::Running));
    }
    let machine = log.machine();
    machine.start(&mut |id: OpId, op| disk.submit(id, op));
    let mut finished = Vec::new();
    disk.reap(Wait::Forever, &mut finished);
    finished.into_iter().for_each(|one| machine.on_done(one));
    assert_eq!(log.ends(&partition).expect("it is there").durable, Offset(1));
    if recycled {
        let mut old = batch_of(b'x');
        old.set_base_offset(Offset(77));
        home.corrupt(SEGMENT, BATCH_LEN as u64, old.bytes()).expect("the space is prepared");
    }
    assert_eq!(append(b'1'), Appending::Accepted(Offset(1)));
    machine.start(&mut |id: OpId, op| disk.submit(id, op));
    // In flight; the copy is taken before it is done.
    home.fork()
}

/// What recovery gives at offset 1 after the power cut of `seed`.
fn recovered(home: &SimHome, seed: u64) -> Option<u8> {
    let home = home.fork();
    home.reboot(Crash::PowerCut(Seed(seed)));
    let (log, _) = SteppedLog::open(home, config(Durability::Synced)).expect("it opens");
    let partition = TopicPartition::new("t", 0);
    if log.ends(&partition).expect("it is there").end == Offset(1) {
        return None;
    }
    let fetched = log.fetch(&partition, Offset(1), 1).expect("readable");
    let record = fetched.records().next().expect("one").expect("well formed");
    Some(record.value.expect("a value")[0])
}

#[test]
fn a_torn_sector_brings_back_a_batch_of_a_former_life_unless_space_is_zero_filled() {
    let mut seen = [Vec::new(), Vec::new()];
    for (recycled, seen) in [false, true].into_iter().zip(&mut seen) {
        let home = about_to_commit(recycled);
        *seen = (0..400).filter_map(|seed| recovered(&home, seed)).collect::<Vec<u8>>();
    }
    let [zero_filled, recycled] = seen;
    assert!(recycled.contains(&b'x'), "the test is meant to show that a recycled file is dangerous");
    assert!(zero_filled.contains(&b'1'), "some power cuts keep the whole batch");
    assert!(zero_filled.iter().all(|&v| v == b'1'), "only what was written is ever there");
}
