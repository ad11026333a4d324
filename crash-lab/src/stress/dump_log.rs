//! What a log's folder holds, through the log's own recovery and fetches.

use engine_env::{Durability, Home};
use log_engine::{FetchError, Offset, RecordView, RecoveryReport, SteppedLog, TopicPartition};

use super::batch_plan::ID_HEADER;
use super::dump_line::{Dump, DumpLine};
use super::log_tasks::LogTasks;
use super::token::{Partition, RecordId, ValueCrc};
use super::write_log::config;

const FETCH_BYTES: usize = 1 << 20;

/// Recovers the folder and reads everything. With `synced`: what is told is on the disk afterwards.
pub(super) fn read<H: Home>(home: H) -> Result<Dump, Box<dyn std::error::Error + Send + Sync>> {
    let (log, report) = SteppedLog::open(home, config(Durability::Synced, LogTasks::default()))?;
    Ok(dump(&log, &report, Readers::SeeDurable))
}

/// Up to where readers see a log that runs. Just recovered, both ends are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Up to the durable end, with `synced`.
    SeeDurable,
    /// Up to the end, with `os`.
    SeeAll,
}

/// All records of all partitions, their ends, and all damage.
pub(crate) fn dump<H: Home>(log: &SteppedLog<H>, report: &RecoveryReport, readers: Readers) -> Dump {
    let mut lines = Vec::new();
    for partition in &report.partitions {
        let of = told(&partition.partition);
        lines.extend(partition.damage.iter().map(|d| bad(&of, d.offset.0, d.until.0, &d.to_string())));
    }
    for partition in log.partitions() {
        let ends = log.ends(&partition).expect("a partition that was listed is there");
        let of = told(&partition);
        let end = match readers {
            Readers::SeeDurable => ends.durable,
            Readers::SeeAll => ends.end,
        };
        lines.push(DumpLine::End { of: of.clone(), start: ends.start.0, end: end.0 });
        let mut next = ends.start;
        while next < end {
            next = stretch(log, &partition, &of, next, end, &mut lines);
        }
    }
    // Recovery and reading may both have met the same damage.
    lines.sort();
    lines.dedup_by(|a, b| a == b && matches!(a, DumpLine::Bad { .. }));
    Dump::new(lines)
}

pub(crate) fn told(partition: &TopicPartition) -> Partition {
    Partition { topic: partition.topic.clone(), partition: partition.partition }
}

pub(super) fn bad(of: &Partition, from: u64, to: u64, why: &str) -> DumpLine {
    DumpLine::bad_offsets(of, &(from..to), why)
}

/// Reads on from `from`, and gives the offset after what was read or is damaged.
pub(crate) fn stretch<H: Home>(
    log: &SteppedLog<H>,
    partition: &TopicPartition,
    of: &Partition,
    from: Offset,
    end: Offset,
    lines: &mut Vec<DumpLine>,
) -> Offset {
    let fetched = match log.fetch(partition, from, FETCH_BYTES) {
        Ok(fetched) => fetched,
        Err(FetchError::Corrupt { damage }) => {
            lines.push(bad(of, damage.offset.0, damage.until.0, &damage.to_string()));
            return damage.until.max(from.plus(1));
        }
        // Nothing says how far it goes: the rest of the partition is given up, visibly.
        Err(error) => {
            lines.push(bad(of, from.0, end.0, &error.to_string()));
            return end;
        }
    };
    if fetched.is_empty() {
        lines.push(bad(of, from.0, end.0, "nothing can be fetched here, though the log goes on"));
        return end;
    }
    let mut next = from.0;
    for record in fetched.records() {
        match record {
            Ok(record) => {
                lines.push(line(of, &record));
                next = record.offset.0 + 1;
            }
            Err(error) => {
                lines.push(bad(of, next, fetched.next_offset().0, &error.to_string()));
                break;
            }
        }
    }
    fetched.next_offset().max(from.plus(1))
}

pub(super) fn line(of: &Partition, record: &RecordView<'_>) -> DumpLine {
    let offset = record.offset.0;
    let bad = |why: &str| bad(of, offset, offset + 1, why);
    let read = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<RecordId>().ok();
    let named = record.headers.into_iter().find(|header| header.name == ID_HEADER);
    let id = match named {
        None => record.key.and_then(read).filter(|id| id.key.is_none()),
        // Of a compacted topic: its key is what the topic goes by.
        Some(header) => header
            .value
            .and_then(read)
            .filter(|id| id.key.is_some_and(|key| record.key == Some(key.to_string().as_bytes()))),
    };
    match (id, record.value) {
        (None, _) => bad("neither the record's key nor its header is an ID of the stress writer"),
        (Some(id), Some(value)) => DumpLine::Rec { of: of.clone(), offset, id, value: ValueCrc::of(value) },
        (Some(id), None) if id.key.is_some() => {
            DumpLine::Rec { of: of.clone(), offset, id, value: ValueCrc::TOMBSTONE }
        }
        (Some(id), None) => bad(&format!("record {id} has no value")),
    }
}
