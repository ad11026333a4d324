//! What happens beside the writes: preparing the next segment, finishing the ones left behind, merging, closing.
//!
//! A plain method over a disk that waits for its operations. A store at work calls it from a thread of its own, a
//! crash test between two puts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_env::{Disk, DiskError, DiskErrorKind, File, Op, OpenHow, WriteSync};

use super::mark::DurableEnd;
use super::merge::MergeRun;
use super::segment::{self, HEADER_LEN, Header, Origin, Segment};
use super::stats::count;
use super::{Bitcask, folder};
use crate::config::KvConfig;
use crate::storage::CloseError;

/// Zeros are written ahead in pieces of this size, so that commits in between needn't wait for all of them.
const ZERO_FILL_STEP_BYTES: u64 = 4 << 20;

/// What a call of [`Bitcask::maintain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaintenanceStep {
    /// Nothing: call again when the maintenance bell rings.
    Idle,
    /// A piece of work that moved this many bytes for a merge; there may be more. Wait as the rate limit demands.
    Worked {
        /// Bytes that the merge read and wrote.
        merge_bytes: u64,
    },
    /// There is no space for the next segment. Reads go on; call again later.
    NoSpace,
}

/// What the maintenance lock protects.
#[derive(Debug)]
pub(super) struct Maintenance<F> {
    pub(super) merge: Option<MergeRun<F>>,
}

impl<F> Default for Maintenance<F> {
    fn default() -> Self {
        Self { merge: None }
    }
}

impl<F: File> Bitcask<F> {
    /// Does the next piece of maintenance: prepares a segment, finishes a sealed one, or takes a merge a step on.
    ///
    /// # Errors
    /// The disk failed. A failed sync of written records ends all writing; a failed merge ends merging; a segment
    /// that can't be prepared is tried again by the next call, and the active one grows meanwhile.
    pub fn maintain<D: Disk<File = F>>(&self, disk: &mut D) -> Result<MaintenanceStep, DiskError> {
        let mut maintenance = self.maintenance.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let for_writers = self.serve_writers(disk);
        self.write_hints(disk);
        if let Ok(MaintenanceStep::Worked { .. }) = for_writers {
            return for_writers;
        }
        // A merge may be what makes space, so it goes on when preparing failed.
        if let Some(merge_bytes) = self.merge_step(&mut maintenance, disk)? {
            return Ok(MaintenanceStep::Worked { merge_bytes });
        }
        for_writers
    }

    /// The part of [`Bitcask::maintain`] that writers wait for, and that no rate limit may delay: the next segment,
    /// and the end of those left behind.
    ///
    /// # Errors
    /// As for [`Bitcask::maintain`].
    pub fn serve_writers<D: Disk<File = F>>(&self, disk: &mut D) -> Result<MaintenanceStep, DiskError> {
        // The next segment first: until it is there, the active one grows past its size.
        match self.prepare(disk) {
            Ok(true) => Ok(MaintenanceStep::Worked { merge_bytes: 0 }),
            Ok(false) if self.finish_sealed(disk)? => Ok(MaintenanceStep::Worked { merge_bytes: 0 }),
            Ok(false) => Ok(MaintenanceStep::Idle),
            Err(error) if error.kind == DiskErrorKind::NoSpace => Ok(MaintenanceStep::NoSpace),
            Err(error) => Err(error),
        }
    }

    /// Makes the segment that the next roll will need.
    fn prepare<D: Disk<File = F>>(&self, disk: &mut D) -> Result<bool, DiskError> {
        let (live_as_of, failed_id) = {
            let mut writer = self.writer();
            if writer.closed || writer.stopped.is_some() {
                // Nothing is prepared any more, so whoever waits for it must go on, to be refused.
                self.overgrown.store(false, Ordering::Release);
                return Ok(false);
            }
            if writer.prepared.is_some() {
                return Ok(false);
            }
            (writer.next_sequence, writer.unprepared_id.take())
        };
        let id = match failed_id {
            Some(id) => {
                remove_leftovers(disk, Origin::Written, id);
                id
            }
            None => self.next_segment.fetch_add(1, Ordering::AcqRel),
        };
        match create_segment(disk, &self.config, id, live_as_of) {
            Ok(segment) => {
                count(&self.counters.written_bytes, segment.allocated());
                count(&self.counters.syncs, 2);
                self.keydir.add_segment(&segment);
                let mut writer = self.writer();
                writer.no_space = None;
                writer.unprepared = false;
                writer.prepared = Some(segment);
                self.overgrown.store(false, Ordering::Release);
                Ok(true)
            }
            Err(error) => {
                let mut writer = self.writer();
                writer.unprepared = true;
                writer.unprepared_id = Some(id);
                if error.kind == DiskErrorKind::NoSpace {
                    writer.no_space = Some(error.clone());
                }
                self.overgrown.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Syncs (and cuts to its last record) the oldest segment that a roll left behind; whether there was one ready.
    fn finish_sealed<D: Disk<File = F>>(&self, disk: &mut D) -> Result<bool, DiskError> {
        let (segment, end) = {
            let writer = self.writer();
            let Some(segment) = writer.sealed.front().cloned() else { return Ok(false) };
            let end = DurableEnd { segment: segment.id, position: segment.end() };
            if writer.stopped.is_some() || (self.config.zero_fills() && writer.durable < end) {
                return Ok(false);
            }
            (segment, end)
        };
        let finished = cut_and_sync(disk, &segment);
        let mut writer = self.writer();
        if let Err(cause) = finished {
            writer.stop(cause.clone());
            self.overgrown.store(false, Ordering::Release);
            return Err(cause);
        }
        count(&self.counters.syncs, 1);
        if writer.sealed.front().is_some_and(|s| s.id == segment.id) {
            writer.sealed.pop_front();
        }
        writer.durable = writer.durable.max(end);
        drop(writer);
        segment.seal();
        self.want_hint(&segment);
        self.mark().note(end);
        Ok(true)
    }

    /// Makes everything written so far durable.
    pub(super) fn sync_written<D: Disk<File = F>>(&self, disk: &mut D) -> Result<(), DiskError> {
        while self.finish_sealed(disk)? {}
        while let Some(target) = self.sync_target() {
            let result = disk.run(Op::Sync { file: target.file.clone() }).map(drop);
            self.sync_done(&target, result.clone());
            result?;
        }
        Ok(())
    }

    /// Closes the store: commits what is staged, cuts the active segment to its last record, notes the end. Nobody
    /// else may be committing. Later writes are refused; reads go on while the value lives.
    ///
    /// # Errors
    /// A write had failed before, or the disk fails now. What was acknowledged is safe either way.
    pub fn close<D: Disk<File = F>>(&self, disk: &mut D) -> Result<(), CloseError> {
        self.writer().closed = true;
        let mut maintenance = self.maintenance.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while self.commit_now() {}
        if let Some(cause) = self.writer().stopped.clone() {
            return Err(CloseError::WritesStopped { cause });
        }
        if let Some(merge) = maintenance.merge.take() {
            merge.abandon(disk);
        }
        while self.finish_sealed(disk)? {}
        let (active, prepared) = {
            let mut writer = self.writer();
            (Arc::clone(&writer.active), writer.prepared.take())
        };
        cut_and_sync(disk, &active)?;
        if let Some(prepared) = prepared {
            self.keydir.remove_segment(prepared.id);
            disk.run(Op::Remove { path: prepared.name.clone() })?;
            folder::sync_dir(disk)?;
        }
        let end = DurableEnd { segment: active.id, position: active.end() };
        self.write_hints(disk);
        self.writer().durable = end;
        self.mark().note_synced(disk, end)?;
        Ok(())
    }
}

/// Creates a segment that is ready for records: header, zeros ahead in `synced`, all of it durable.
pub(super) fn create_segment<D: Disk>(
    disk: &mut D,
    config: &KvConfig,
    id: u32,
    live_as_of: u64,
) -> Result<Arc<Segment<D::File>>, DiskError> {
    let header = Header { id, synced: config.zero_fills(), origin: Origin::Written, live_as_of };
    let end = HEADER_LEN as u64;
    let allocated = if header.synced { config.segment_bytes } else { end };
    let created = create_file(disk, header, allocated).and_then(|file| {
        #[cfg(feature = "planted-bugs")]
        if config.planted_bug == Some(crate::PlantedBug::DirSyncSkipped) {
            return Ok(file);
        }
        folder::sync_dir(disk)?;
        Ok(file)
    });
    match created {
        Ok(file) => Ok(Arc::new(Segment::new(header, file, end, allocated))),
        Err(error) => {
            remove_leftovers(disk, header.origin, id);
            Err(error)
        }
    }
}

/// Removes what a failed creation left, as far as it can be: it holds no record, and as long as no later segment is
/// written the next open removes it.
fn remove_leftovers<D: Disk>(disk: &mut D, origin: Origin, id: u32) {
    let _ = disk.run(Op::Remove { path: segment::unfinished_name(origin, id) });
    let _ = disk.run(Op::Remove { path: segment::name(origin, id) });
}

fn create_file<D: Disk>(disk: &mut D, header: Header, zero_to: u64) -> Result<D::File, DiskError> {
    let unfinished = segment::unfinished_name(header.origin, header.id);
    let (file, _) = disk.open(&unfinished, OpenHow::CreateNew)?;
    let buf = header.encode().to_vec();
    disk.run(Op::Write { file: file.clone(), at: 0, buf, sync: WriteSync::None })?;
    zero_fill(disk, &file, HEADER_LEN as u64, zero_to)?;
    disk.run(Op::Sync { file: file.clone() })?;
    disk.run(Op::Rename { from: unfinished, to: segment::name(header.origin, header.id) })?;
    Ok(file)
}

/// Writes zeros up to `to`.
pub(super) fn zero_fill<D: Disk>(
    disk: &mut D,
    file: &D::File,
    mut at: u64,
    to: u64,
) -> Result<(), DiskError> {
    while at < to {
        let len = (to - at).min(ZERO_FILL_STEP_BYTES);
        disk.run(Op::ZeroFill { file: file.clone(), at, len })?;
        at += len;
    }
    Ok(())
}

fn cut_and_sync<D: Disk>(disk: &mut D, segment: &Segment<D::File>) -> Result<(), DiskError> {
    let end = segment.end();
    // Also if nothing is known to lie behind it: a write that found the disk full may have left a part of itself.
    disk.run(Op::Truncate { file: segment.file.clone(), len: end })?;
    segment.set_allocated(end);
    disk.run(Op::Sync { file: segment.file.clone() }).map(drop)
}
