//! Many partitions behind one committer: what they take of descriptors, memory and disk, and what they cost in rate.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use log_engine::{Durability, Record};

use super::append::append_batches;
use super::table::Table;
use super::{Plan, create};

/// Resident memory of this process, bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default() * 1024.0
}

fn descriptors() -> f64 {
    std::fs::read_dir("/proc/self/fd").map_or(0.0, |d| d.count() as f64)
}

/// Bytes that a folder's files take on the disk.
pub(crate) fn disk_bytes(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes += disk_bytes(&entry.path()),
            Ok(meta) => bytes += meta.blocks() * 512,
            Err(_) => {}
        }
    }
    bytes
}

pub(crate) fn partitions(plan: &Plan, table: &mut Table) {
    let value = [b'v'; 1024];
    let records = [Record::new(b"key", &value); 16];
    for durability in [Durability::Os, Durability::Synced] {
        for count in [1, 100, 2_000] {
            let folder = plan.folder("partitions");
            let (memory, files) = (resident(), descriptors());
            let (log, partitions) = create(&folder, durability, count);
            // Each of them takes a batch before anything is timed: most of what they cost, they cost once.
            let warm = u64::from(count) * records.len() as u64;
            append_batches(&log, &partitions, &records, |n| n >= warm);
            let started = Instant::now();
            let appended = append_batches(&log, &partitions, &records, |_| started.elapsed() >= plan.cell);
            let per_s = appended as f64 / started.elapsed().as_secs_f64();
            let name = |what: &str| format!("{count} partitions, {durability}, 1 KiB batched, {what}");
            table.note(name("rate"), "records/s", per_s);
            table.note(name("descriptors"), "files", descriptors() - files);
            table.note(name("memory"), "B", (resident() - memory).max(0.0));
            let written = (appended + warm) as f64 * 1024.0;
            table.note(name("disk / appended"), "ratio", disk_bytes(&folder) as f64 / written);
            drop(log);
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}
