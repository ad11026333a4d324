//! Sealing: a rolled segment is cut to its last batch, synced, and its indexes written. From then on nobody touches
//! its files.
//!
//! The offset index is created last, after the data is durable. So a segment that has one and a successor is known to
//! be durable, also where the mark is lost.

use std::sync::Arc;

use engine_env::{Disk, DiskError, DiskErrorKind, File, Op, OpenHow, Outcome, SealedBytes, WriteSync};

use super::producer_recovery;
use crate::Offset;
use crate::segment::index::{Entry, Index, encode};
use crate::segment::name;
use crate::segment::offset_index::{self, OffsetIndex};
use crate::segment::segment::Segment;
use crate::segment::time_index::{self, TimeIndex};

/// Cuts and syncs the file of a segment.
pub(crate) fn cut<D: Disk>(disk: &mut D, file: &D::File, len: u64) -> Result<(), DiskError> {
    disk.run(Op::Truncate { file: file.clone(), len })?;
    disk.run(Op::Sync { file: file.clone() })?;
    Ok(())
}

/// Writes an index file, durably, and opens it for reading.
fn write_index<D: Disk, E: Entry>(
    disk: &mut D,
    dir: &str,
    path: &str,
    entries: &[E],
) -> Result<Index<E>, DiskError> {
    let bytes = encode(entries);
    let len = bytes.len() as u64;
    let (file, old_len) = disk.open(path, OpenHow::OpenOrCreate)?;
    if old_len > len {
        disk.run(Op::Truncate { file: file.clone(), len })?;
    }
    if len > 0 {
        disk.run(Op::Write { file: file.clone(), at: 0, buf: bytes, sync: WriteSync::None })?;
    }
    disk.run(Op::Sync { file: file.clone() })?;
    disk.run(Op::SyncDir { dir: dir.to_owned() })?;
    Ok(Index::Sealed(file.map_sealed()?))
}

/// Seals a rolled segment whose bytes have all been written. `snapshot` is what is known of the producers at its end.
pub(crate) fn seal<D: Disk>(
    disk: &mut D,
    dir: &str,
    segment: &Segment<D::File>,
    snapshot: Option<Vec<u8>>,
) -> Result<Arc<Segment<D::File>>, DiskError> {
    let file = segment.open_file();
    cut(disk, file, segment.len)?;
    if let Some(snapshot) = snapshot {
        // Not before: of batches that are not durable nothing is told.
        producer_recovery::write(disk, dir, segment.end, snapshot)?;
    }
    let (Index::Memory(offsets), Index::Memory(times)) = (&segment.index, &segment.times) else {
        unreachable!("a segment that is not sealed has its indexes in memory")
    };
    let times = write_index(disk, dir, &name::time_index(dir, segment.base), times)?;
    let index = write_index(disk, dir, &name::index(dir, segment.base), offsets)?;
    let (range, path) = ((segment.base, segment.end), segment.path.clone());
    let sealed = Segment::sealed(range, path, file.clone(), segment.len, (index, times));
    sealed.knows_newest_ms(segment.newest_ms()?);
    Ok(Arc::new(sealed))
}

/// The index files of a segment, if there are both and they can be true.
pub(crate) fn read_indexes<D: Disk>(
    disk: &mut D,
    dir: &str,
    base: Offset,
    segment_len: u64,
    offsets: u64,
) -> Result<Option<(OffsetIndex, TimeIndex)>, DiskError> {
    let Some(index) = read_index(disk, name::index(dir, base))? else { return Ok(None) };
    let Some(times) = read_index(disk, name::time_index(dir, base))? else { return Ok(None) };
    let plausible =
        offset_index::is_plausible(&index, segment_len, offsets) && time_index::is_plausible(&times, offsets);
    Ok(plausible.then_some((Index::Sealed(index), Index::Sealed(times))))
}

fn read_index<D: Disk>(disk: &mut D, path: String) -> Result<Option<SealedBytes>, DiskError> {
    match disk.run(Op::Open { path, how: OpenHow::Existing }) {
        Ok(Outcome::Opened { file, .. }) => file.map_sealed().map(Some),
        Ok(other) => unreachable!("open completed with {other:?}"),
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
