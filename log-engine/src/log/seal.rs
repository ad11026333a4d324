//! Sealing: a rolled segment is cut to its last batch, synced, and its index written. From then on nobody touches
//! its files.
//!
//! The index is created only after the data is durable. So a segment that has an index and a successor is known to
//! be durable, also where the mark is lost.

use std::sync::Arc;

use engine_env::{Disk, DiskError, File, Op, OpenHow, Outcome, WriteSync};

use crate::Offset;
use crate::segment::name;
use crate::segment::offset_index::{IndexEntry, OffsetIndex};
use crate::segment::segment::Segment;

/// Cuts and syncs the file of a segment.
pub(crate) fn cut<D: Disk>(disk: &mut D, file: &D::File, len: u64) -> Result<(), DiskError> {
    disk.run(Op::Truncate { file: file.clone(), len })?;
    disk.run(Op::Sync { file: file.clone() })?;
    Ok(())
}

/// Writes an index file, durably, and opens it for reading.
pub(crate) fn write_index<D: Disk>(
    disk: &mut D,
    dir: &str,
    base: Offset,
    entries: &[IndexEntry],
) -> Result<OffsetIndex, DiskError> {
    let bytes = OffsetIndex::encode(entries);
    let len = bytes.len() as u64;
    let (file, old_len) = disk.open(&name::index(dir, base), OpenHow::OpenOrCreate)?;
    if old_len > len {
        disk.run(Op::Truncate { file: file.clone(), len })?;
    }
    if len > 0 {
        disk.run(Op::Write { file: file.clone(), at: 0, buf: bytes, sync: WriteSync::None })?;
    }
    disk.run(Op::Sync { file: file.clone() })?;
    disk.run(Op::SyncDir { dir: dir.to_owned() })?;
    Ok(OffsetIndex::Sealed(file.map_sealed()?))
}

/// Seals a rolled segment whose bytes have all been written.
pub(crate) fn seal<D: Disk>(
    disk: &mut D,
    dir: &str,
    segment: &Segment<D::File>,
) -> Result<Arc<Segment<D::File>>, DiskError> {
    cut(disk, &segment.file, segment.len)?;
    let OffsetIndex::Memory(entries) = &segment.index else {
        unreachable!("a segment that is not sealed has its index in memory")
    };
    let index = write_index(disk, dir, segment.base, entries)?;
    let (range, path) = ((segment.base, segment.end), segment.path.clone());
    let sealed = Segment::new(range, path, segment.file.clone(), segment.len, index, true);
    sealed.knows_newest_ms(segment.newest_ms()?);
    Ok(Arc::new(sealed))
}

/// The index file of a segment, if there is one that can be true.
pub(crate) fn read_index<D: Disk>(
    disk: &mut D,
    dir: &str,
    base: Offset,
    segment_len: u64,
    offsets: u64,
) -> Result<Option<OffsetIndex>, DiskError> {
    let path = name::index(dir, base);
    let opened = match disk.run(Op::Open { path, how: OpenHow::Existing }) {
        Ok(Outcome::Opened { file, .. }) => file,
        Ok(other) => unreachable!("open completed with {other:?}"),
        Err(error) if error.kind == engine_env::DiskErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = opened.map_sealed()?;
    let plausible = OffsetIndex::is_plausible(&bytes, segment_len, offsets);
    Ok(plausible.then_some(OffsetIndex::Sealed(bytes)))
}
