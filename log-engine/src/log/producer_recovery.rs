//! Bringing back what a partition knew of its producers: the latest snapshot that is whole, and the batches behind it.
//!
//! A snapshot that is missing, harmed or of a later end only costs reading: an earlier one is taken, or none and the whole
//! log is read. Whatever lies behind the log's end is removed before anything is appended there: a later append could
//! carry the end past a snapshot of other batches.

use std::sync::Arc;

use engine_env::marks::reached;
use engine_env::{Disk, DiskError, DiskErrorKind, EntryKind, File, Op, OpenHow, WriteSync};

use super::producer_snapshot;
use super::producer_state::{ProducerState, Stamp};
use crate::Offset;
use crate::segment::name;
use crate::segment::segment::{Segment, declared_end};
use crate::segment::window::{Source, Window};

/// How much is read at once.
const PIECE: usize = 1 << 20;
/// A larger file is no snapshot that this program wrote: a million producers.
const SNAPSHOT_LEN_MAX: u64 = 128 << 20;

/// A stretch of the log: the active segment, or one before it.
#[derive(Debug)]
pub(crate) struct Replayed<F> {
    pub(crate) source: Source<F>,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) len: u64,
}

impl<F: File> Replayed<F> {
    pub(crate) fn of(segment: &Arc<Segment<F>>) -> Self {
        Self { source: segment.source.clone(), base: segment.base, end: segment.end, len: segment.len }
    }
}

/// Offsets of the snapshots in a folder, the latest first.
fn snapshots<D: Disk>(disk: &mut D, dir: &str) -> Result<Vec<Offset>, DiskError> {
    let entries = disk.list(dir)?.into_iter().filter(|e| e.kind == EntryKind::File);
    let mut offsets: Vec<_> = entries.filter_map(|e| name::base_of(&e.name, ".snapshot")).collect();
    offsets.sort_unstable();
    offsets.reverse();
    Ok(offsets)
}

/// Removes the snapshots that no log ending at `end` has, durably.
pub(crate) fn remove_behind<D: Disk>(disk: &mut D, dir: &str, end: Offset) -> Result<(), DiskError> {
    remove(disk, dir, |offset| offset > end)
}

/// Removes the snapshots for which `is_stray`, durably.
pub(crate) fn remove<D: Disk>(
    disk: &mut D,
    dir: &str,
    is_stray: impl Fn(Offset) -> bool,
) -> Result<(), DiskError> {
    let mut removed = false;
    for offset in snapshots(disk, dir)?.into_iter().filter(|&offset| is_stray(offset)) {
        disk.run(Op::Remove { path: name::snapshot(dir, offset) })?;
        removed = true;
    }
    if removed {
        disk.run(Op::SyncDir { dir: dir.to_owned() })?;
    }
    Ok(())
}

/// Writes a snapshot, synced; its name still has to be.
pub(crate) fn write<D: Disk>(disk: &mut D, dir: &str, at: Offset, bytes: Vec<u8>) -> Result<(), DiskError> {
    let (file, old_len) = disk.open(&name::snapshot(dir, at), OpenHow::OpenOrCreate)?;
    if old_len > bytes.len() as u64 {
        disk.run(Op::Truncate { file: file.clone(), len: bytes.len() as u64 })?;
    }
    disk.run(Op::Write { file: file.clone(), at: 0, buf: bytes, sync: WriteSync::None })?;
    disk.run(Op::Sync { file })?;
    Ok(())
}

/// Writes a snapshot durably, if the disk has room: without it the next recovery only has more to read.
pub(crate) fn save<D: Disk>(
    disk: &mut D,
    dir: &str,
    at: Offset,
    state: &ProducerState,
) -> Result<(), DiskError> {
    match write(disk, dir, at, producer_snapshot::encode(state)) {
        Ok(()) => {}
        Err(error) if error.kind == DiskErrorKind::NoSpace => {
            reached("log producer snapshot left out on a full disk");
            match disk.run(Op::Remove { path: name::snapshot(dir, at) }) {
                Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Err(error) => return Err(error),
    }
    disk.run(Op::SyncDir { dir: dir.to_owned() }).map(drop)
}

/// The snapshot at an offset, if it is whole.
fn read<D: Disk>(
    disk: &mut D,
    dir: &str,
    at: Offset,
    producers_max: usize,
) -> Result<Option<ProducerState>, DiskError> {
    let (file, len) = match disk.open(&name::snapshot(dir, at), OpenHow::Existing) {
        Ok(opened) => opened,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if len > SNAPSHOT_LEN_MAX {
        return Ok(None);
    }
    let bytes = disk.read(&file, 0, usize::try_from(len).expect("below the limit"))?;
    Ok(producer_snapshot::decode(&bytes, at, producers_max))
}

/// The producers of a log with these segments, the active one last. A snapshot at the active segment's start is written
/// if there is none, so that the next recovery reads that segment alone.
pub(crate) fn load<D: Disk>(
    disk: &mut D,
    dir: &str,
    segments: &[Replayed<D::File>],
    producers_max: usize,
) -> Result<ProducerState, DiskError> {
    let active = segments.last().expect("a log has an active segment");
    let mut state = ProducerState::new(producers_max);
    let mut from = segments[0].base;
    for at in snapshots(disk, dir)? {
        if at > active.end || at < from {
            continue;
        }
        if let Some(known) = read(disk, dir, at, producers_max)? {
            (state, from) = (known, at);
            break;
        }
        reached("log producer snapshot not believed");
    }
    for segment in segments.iter().filter(|s| s.end > from || s.base >= from) {
        if segment.base == active.base && from < active.base {
            save(disk, dir, active.base, &state)?;
        }
        replay(segment, from, &mut state)?;
    }
    Ok(state)
}

/// Takes note of the whole batches of a segment, from `from` on.
fn replay<F: File>(segment: &Replayed<F>, from: Offset, state: &mut ProducerState) -> Result<(), DiskError> {
    let mut window = Window::new(segment.source.clone(), segment.len, PIECE);
    let (mut at, mut expected) = (0, segment.base);
    while at < segment.len && expected < segment.end {
        match window.batch_at(at)?.and_then(|b| b.check_next(expected).map(|()| b)) {
            Ok(batch) => {
                if expected >= from
                    && let Some(stamp) = Stamp::of(&batch)
                {
                    state.appended(&stamp, expected);
                }
                at += batch.len() as u64;
                expected = batch.next_offset();
            }
            Err(_) => {
                let hint = declared_end(&mut window, at)?;
                let resumed = window.resume_after(at, expected.plus(1), segment.end, hint)?;
                let Some(resumed) = resumed else { break };
                (at, expected) = resumed;
            }
        }
    }
    Ok(())
}
