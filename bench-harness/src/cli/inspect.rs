//! `workbench inspect`: what is inside a file or folder of ours, with damage located. Changes nothing.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use kv_engine::inspect_segment;
use log_engine::inspect::{self, Item};

use super::Failure;
use crate::report::record::{RUN_FILE, Run};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench inspect data/00000000000000000000.log       batches of a log segment
  workbench inspect data/00000000000000000000.index     its offset index; .timeindex: its time index
  workbench inspect data/00000000000000000042.snapshot  what was known of idempotent producers at offset 42
  workbench inspect data/leader-epoch-checkpoint        where each leader's term begins
  workbench inspect data/durable-end.mark               how far it was durable; the log's other marks likewise
  workbench inspect results/20260102T030405Z-abc1234    a result folder

What a file is, is told from its content, for a log's smaller files from their names. Damage is named with its position; exit code 1
if there is any.")]
pub(super) struct InspectArgs {
    /// A segment of the store or the log, an index, a producer snapshot, a checkpoint, a mark, a result folder or its run.json
    path: PathBuf,
    /// Every record, not only the sums
    #[arg(long)]
    records: bool,
}

/// Larger files than any engine here writes aren't read into memory.
const FILE_BYTES_MAX: u64 = 4 << 30;

pub(super) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let path = &args.path;
    let mut out = std::io::stdout().lock();
    if path.is_dir() || path.file_name().is_some_and(|n| n == RUN_FILE) {
        return folder(path, &mut out);
    }
    let about = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(Failure::Input(format!(
            "{}: {} bytes are more than any file of ours has; name a single segment",
            path.display(),
            about.len()
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".index") {
        return index(path, &bytes, args.records, &mut out);
    }
    if name.ends_with(".timeindex") {
        return time_index(path, &bytes, args.records, &mut out);
    }
    if name.ends_with(".snapshot") {
        return snapshot(path, &name, &bytes, args.records, &mut out);
    }
    if name == "leader-epoch-checkpoint" {
        return epochs(path, &bytes, &mut out);
    }
    if name.ends_with(".mark") {
        return mark(path, &bytes, &mut out);
    }
    match inspect_segment(&bytes) {
        Ok(inspection) => store_segment(path, &inspection, args.records, &mut out),
        Err(why) if bytes.starts_with(b"kv-data") => {
            Err(Failure::Input(format!("{}: {why}", path.display())))
        }
        Err(_) if name.ends_with(".log") || is_batch(&bytes) => {
            log_segment(path, &bytes, args.records, &mut out)
        }
        Err(_) => Err(Failure::Input(format!(
            "{}: neither a segment of the store or the log, nor an index, nor a result folder; name one of these",
            path.display()
        ))),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Input(format!("{}: can't be read ({error}); check the path and its permissions", path.display()))
}

fn is_batch(bytes: &[u8]) -> bool {
    matches!(inspect::segment(bytes).next(), Some(Item::Batch { .. }))
}

fn damaged(path: &Path, stretches: u64) -> Result<(), Failure> {
    match stretches {
        0 => Ok(()),
        n => Err(Failure::Check(format!("{}: {n} damaged places, listed above", path.display()))),
    }
}

fn store_segment(
    path: &Path,
    inspection: &kv_engine::Inspection,
    records: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let s = &inspection.segment;
    let _ = writeln!(
        out,
        "{}: segment {} of the key-value store, id {}, {}, {}",
        path.display(),
        s.name,
        s.id,
        if s.merged { "written by a merge" } else { "written by puts and deletes" },
        if s.synced { "each commit synced before the next" } else { "not synced commit by commit" },
    );
    if records {
        for r in &inspection.records {
            let damage = r.damage.as_ref().map(|d| format!(" DAMAGED: {d}")).unwrap_or_default();
            let _ = writeln!(
                out,
                "  at {:>10}  {:>7} bytes  #{:<8} {:?} key {} clock {} value {} bytes{damage}",
                r.position,
                r.len,
                r.sequence,
                r.kind,
                r.key.escape_ascii(),
                r.clock,
                r.value_len
            );
        }
    }
    let _ = writeln!(
        out,
        "{} records to byte {}, {} zeros behind",
        inspection.records.len(),
        inspection.end,
        inspection.zero_bytes
    );
    for damage in &inspection.damage {
        let _ = writeln!(
            out,
            "damage at byte {}, {} bytes: {}; if this is the last file of a store that wasn't closed, its end may be an \
             unfinished write",
            damage.position, damage.bytes, damage.why
        );
    }
    damaged(path, inspection.damage.len() as u64)
}

fn log_segment(path: &Path, bytes: &[u8], records: bool, out: &mut impl Write) -> Result<(), Failure> {
    let _ = writeln!(out, "{}: segment of a log, Kafka's record batches", path.display());
    let (mut batches, mut count, mut stretches, mut first, mut last) = (0_u64, 0_u64, 0_u64, None, None);
    for item in inspect::segment(bytes) {
        match item {
            Item::Batch { position, batch, expected } => {
                batches += 1;
                count += u64::try_from(batch.records_count()).unwrap_or(0);
                first.get_or_insert(batch.base_offset());
                last = Some(batch.last_offset());
                if let Some(expected) = expected {
                    let _ = writeln!(
                        out,
                        "gap at byte {position}: offset {} where {expected} should come",
                        batch.base_offset()
                    );
                }
                if records {
                    let packing = batch.compression().map_or_else(|e| e.to_string(), |c| c.to_string());
                    let _ = writeln!(
                        out,
                        "  at {position:>10}  {:>7} bytes  offsets {} to {}, {} records, codec {packing}, leader epoch {}, \
                         crc {:08x}",
                        batch.len(),
                        batch.base_offset(),
                        batch.last_offset(),
                        batch.records_count(),
                        batch.leader_epoch(),
                        batch.crc()
                    );
                }
            }
            Item::Damage { position, bytes, why } => {
                stretches += 1;
                let _ = writeln!(out, "damage at byte {position}, {bytes} bytes: {why}");
            }
            Item::Prepared { position, bytes } => {
                let _ = writeln!(out, "{bytes} zeros prepared from byte {position} on");
            }
            _ => {}
        }
    }
    match (first, last) {
        (Some(first), Some(last)) => {
            let _ = writeln!(out, "{count} records in {batches} batches, offsets {first} to {last}");
        }
        _ => {
            let _ = writeln!(out, "no batch");
        }
    }
    damaged(path, stretches)
}

fn index(path: &Path, bytes: &[u8], records: bool, out: &mut impl Write) -> Result<(), Failure> {
    let (mut entries, mut wrong, mut before) = (0_u64, 0_u64, None::<(u32, u32)>);
    for entry in inspect::index(bytes) {
        entries += 1;
        let now = (entry.relative_offset, entry.position);
        if let Some(before) = before.filter(|b| b.0 >= now.0 || b.1 >= now.1) {
            wrong += 1;
            let _ = writeln!(
                out,
                "entry {entries} at byte {}: offset +{} at position {} doesn't rise from +{} at {}",
                (entries - 1) * 8,
                now.0,
                now.1,
                before.0,
                before.1
            );
        }
        if records {
            let _ = writeln!(out, "  offset +{} at position {}", now.0, now.1);
        }
        before = Some(now);
    }
    let _ = writeln!(out, "{}: offset index of a log segment, {entries} entries", path.display());
    damaged(path, wrong)
}

fn time_index(path: &Path, bytes: &[u8], records: bool, out: &mut impl Write) -> Result<(), Failure> {
    let (mut entries, mut wrong, mut before) = (0_u64, 0_u64, None::<(i64, u32)>);
    for entry in inspect::time_index(bytes) {
        entries += 1;
        let now = (entry.timestamp_ms, entry.relative_offset);
        if let Some(before) = before.filter(|b| b.0 >= now.0 || b.1 >= now.1) {
            wrong += 1;
            let _ = writeln!(
                out,
                "entry {entries} at byte {}: {} ms up to offset +{} doesn't rise from {} ms up to +{}",
                (entries - 1) * 12,
                now.0,
                now.1,
                before.0,
                before.1
            );
        }
        if records {
            let _ = writeln!(out, "  nothing later than {} ms up to offset +{}", now.0, now.1);
        }
        before = Some(now);
    }
    let _ = writeln!(out, "{}: time index of a log segment, {entries} entries", path.display());
    damaged(path, wrong)
}

fn snapshot(
    path: &Path,
    name: &str,
    bytes: &[u8],
    records: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let producers = inspect::producer_snapshot(bytes).map_err(|why| {
        Failure::Check(format!(
            "{}: no producer snapshot: {why}; a log makes it anew when it is opened",
            path.display()
        ))
    })?;
    let at = inspect::snapshot_offset(name).map_or_else(String::new, |at| format!(" at offset {at}"));
    let _ = writeln!(out, "{}: what a log knew of {} producers{at}", path.display(), producers.len());
    for producer in &producers {
        let older = if records { 0 } else { producer.batches.len().saturating_sub(1) };
        let shown = &producer.batches[older..];
        for batch in shown {
            let _ = writeln!(
                out,
                "  producer {}, epoch {}: sequences {} to {} at offsets {} to {}, {} ms",
                producer.producer_id,
                producer.epoch,
                batch.sequences.0,
                batch.sequences.1,
                batch.offsets.0,
                batch.offsets.1,
                batch.timestamp_ms
            );
        }
    }
    Ok(())
}

fn epochs(path: &Path, bytes: &[u8], out: &mut impl Write) -> Result<(), Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::Check(format!("{}: no leader-epoch checkpoint: {why}", path.display()))
    };
    let text = std::str::from_utf8(bytes).map_err(|why| wrong(&why))?;
    let terms = inspect::leader_epochs(text).map_err(|why| wrong(&why))?;
    let _ = writeln!(out, "{}: the terms of {} leaders", path.display(), terms.len());
    for (epoch, start) in terms {
        let _ = writeln!(out, "  epoch {epoch} begins at offset {start}");
    }
    Ok(())
}

fn mark(path: &Path, bytes: &[u8], out: &mut impl Write) -> Result<(), Failure> {
    let Some(mark) = inspect::mark(bytes) else {
        return Err(Failure::Check(format!(
            "{}: no mark can be read, so nothing is vouched for",
            path.display()
        )));
    };
    let _ = writeln!(
        out,
        "{}: offset {}, at byte {} of the segment that begins at offset {}",
        path.display(),
        mark.offset,
        mark.position,
        mark.segment
    );
    Ok(())
}

fn folder(path: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let run = Run::read(path).map_err(Failure::input)?;
    let runs = run.measurements.iter().filter(|m| m.operation == "all").count();
    let wrong: u64 = run.measurements.iter().filter(|m| m.operation == "all").map(|m| m.wrong_answers).sum();
    let _ = writeln!(out, "{}: result folder of run {}", path.display(), run.id);
    let _ = writeln!(out, "started {}, finished {}: {}", run.started, run.finished, run.command.join(" "));
    if run.interrupted {
        let _ = writeln!(out, "ended from outside before it was through");
    }
    let _ = writeln!(
        out,
        "{runs} runs of {}; {} comparisons; {wrong} wrong answers",
        run.engines.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", "),
        run.comparisons.len()
    );
    Ok(())
}
