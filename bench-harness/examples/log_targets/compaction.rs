//! What compaction costs those who append.

use log_engine::{Durability, LogConfig, Record, TopicPartition};

use super::append::{append_batches, submit, us};
use super::table::Table;
use super::{Plan, open};

/// Read twice at the default rate, this takes 1.5 s, about half as long as the appends are measured.
const OLD_BYTES: u64 = 48 << 20;

/// Eight submitters, alone and while another topic of the log is compacted at the default rate.
pub(crate) fn beside_compaction(plan: &Plan, table: &mut Table) {
    let bytes = OLD_BYTES.min(plan.large_bytes);
    let mut p99 = [0.0; 2];
    for (beside, p99) in [false, true].into_iter().zip(&mut p99) {
        let folder = plan.folder("compaction");
        let fill = LogConfig { durability: Durability::Os, segment_bytes: 8 << 20, ..LogConfig::default() };
        let log = open(&folder, fill);
        log.create_topic("old", 1).expect("a new topic");
        let value = [b'v'; 1024];
        let keys: Vec<[u8; 8]> = (0..4096_u64).map(u64::to_be_bytes).collect();
        for some in keys.chunks(16).cycle().take((bytes / (16 << 10)) as usize) {
            let records: Vec<_> = some.iter().map(|key| Record::new(key, &value)).collect();
            let old = [TopicPartition::new("old", 0)];
            append_batches(&log, &old, &records, |sent| sent > 0);
        }
        log.close().expect("a healthy disk");

        let compacted_topics = if beside { vec!["old".to_owned()] } else { Vec::new() };
        let log = open(&folder, LogConfig { compacted_topics, ..LogConfig::default() });
        log.create_topic("new", 1).expect("a new topic");
        let (latency, per_s) = submit(&log, &TopicPartition::new("new", 0), 8, 1024, plan.cell * 4);
        let with = if beside { "beside compaction" } else { "without compaction" };
        let name = |what: &str| format!("append single, synced, 8 submitters, 1 KiB, {with}, {what}");
        table.note(name("rate"), "acks/s", per_s);
        *p99 = us(&latency, 0.99);
        table.note(name("p99"), "us", *p99);
        if beside {
            table.note(
                "compaction: segments exchanged meanwhile".to_owned(),
                "segments",
                log.stats().compactions as f64,
            );
        }
        drop(log);
        let _ = std::fs::remove_dir_all(&folder);
    }
    table.note("compaction: p99 of appends beside it / without".to_owned(), "ratio", p99[1] / p99[0]);
}
