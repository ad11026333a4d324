//! The log: its batches, and the files of a partition's folder.

use engine_env::rng::Seed;
use engine_env::sim::SimHome;
use log_engine::inspect::{self, Item};
use log_engine::{Batch, EncodedBatch, LogConfig, SteppedLog, TopicPartition};

use crate::folder::{put, split};

pub(crate) fn batch(bytes: &[u8]) -> bool {
    let Ok(batch) = Batch::parse(bytes) else { return false };
    assert!(batch.len() <= bytes.len(), "a batch lies within its bytes");
    // Whether or not the checksum is right: somebody may have computed one over nonsense.
    let unpacked = batch.unpack();
    let whole = unpacked.is_ok_and(|b| b.records().fold(true, |whole, record| whole & record.is_ok()));
    whole && EncodedBatch::received(bytes.to_vec()).is_ok()
}

/// A segment, its index and a mark, as `workbench inspect` reads them.
pub(crate) fn files(input: &[u8]) -> bool {
    let [index, mark, segment] = split(input);
    let mut told = 0;
    let mut whole = true;
    for item in inspect::segment(segment) {
        told += match item {
            Item::Batch { batch, .. } => batch.len() as u64,
            Item::Damage { bytes, .. } => {
                whole = false;
                bytes
            }
            Item::Prepared { bytes, .. } => bytes,
            _ => 0,
        };
    }
    assert_eq!(told, segment.len() as u64, "every byte is told");
    let entries = inspect::index(index).count();
    whole && entries > 0 && inspect::mark(mark).is_some()
}

/// A partition of mark, start, leaders' epochs, two indexes and two segments: opened twice, which gives the same.
pub(crate) fn partition(input: &[u8]) -> bool {
    let [mark, start, epochs, index, times, second, first] = split(input);
    let config = LogConfig {
        segment_bytes: 8192,
        zero_fill_step_bytes: 4096,
        index_interval_bytes: 1000,
        ..LogConfig::default()
    };
    let home = SimHome::new(Seed(1));
    let (log, _) = SteppedLog::open(home.clone(), config.clone()).expect("an empty folder");
    log.create_topic("t", 1).expect("a new topic");
    drop(log);
    put(
        &home,
        &[
            ("t-0/durable-end.mark", mark),
            ("t-0/log-start-offset.mark", start),
            ("t-0/leader-epoch-checkpoint", epochs),
            ("t-0/00000000000000000000.index", index),
            ("t-0/00000000000000000000.timeindex", times),
            ("t-0/00000000000000000000.log", first),
            ("t-0/00000000000000000003.log", second),
        ],
    );
    let partition = TopicPartition::new("t", 0);
    let open = || {
        let (log, report) =
            SteppedLog::open(home.clone(), config.clone()).expect("damage is no reason not to open");
        let ends = log.ends(&partition).expect("the partition is there");
        let (mut at, mut records) = (ends.start, 0);
        while at < ends.end {
            at = match log.fetch(&partition, at, 1000) {
                Ok(fetched) if fetched.next_offset() > at => {
                    records += fetched.records().filter(Result::is_ok).count();
                    fetched.next_offset()
                }
                _ => at.plus(1),
            };
            // A damaged place may be announced as long as offsets go.
            if at.0 - ends.start.0 > 10_000 {
                break;
            }
        }
        (ends, records, report)
    };
    let (ends, records, report) = open();
    let again = open();
    assert_eq!((ends, records), (again.0, again.1), "opening changes nothing the second time");
    let found = &report.partitions[0];
    found.damage.is_empty() && found.tail_truncated.is_none() && records > 0
}
