//! Upkeep: the slow things that appends must not wait for. Zero-filling ahead, preparing the next segment, naming
//! and sealing the rolled one, syncing every so often. Each task is found under the lock, run outside it, and its
//! result entered under the lock again; one thread at a time runs the tasks of a partition.

use std::sync::Arc;

use engine_env::marks::reached;
use engine_env::{Disk, DiskError, DiskErrorKind, File, Op, OpenHow, WriteSync};

use super::cleaner::Exchange;
use super::leader_epochs::LeaderEpochs;
use super::mark::{Mark, MarkFile};
use super::partition_log::PartitionLog;
use super::{cleaner, retention, seal};
use crate::Offset;
use crate::config::planted;
use crate::segment::name;
use crate::segment::segment::Segment;

/// Device blocks are no larger; space is prepared in whole ones.
const BLOCK: u64 = 4096;

/// The first space that a partition gets is no more than this.
const FIRST_STEP: u64 = 64 << 10;

/// Something to do.
#[derive(Debug)]
pub(crate) enum Task<F> {
    /// Fill the active segment with zeros.
    Fill { file: F, at: u64, len: u64 },
    /// Give the active segment its name.
    Name { from: String, to: String },
    /// Make the file of the next segment, this much of it prepared.
    Prepare { path: String, len: u64 },
    /// Cut, sync and index the oldest rolled segment.
    Seal { at: usize, segment: Arc<Segment<F>>, snapshot: Option<Vec<u8>> },
    /// Sync the active segment up to this place.
    Sync { file: F, place: Mark },
    /// Cut off what a refused append left behind the end.
    CutLeftover { file: F, len: u64 },
    /// Write down where leaders' terms begin.
    Epochs { text: String },
    /// Write down where the log starts.
    MoveStart { mark: Option<MarkFile<F>>, to: Offset, sync: WriteSync },
    /// Remove the files of segments below the start.
    Remove { bases: Vec<Offset> },
    /// Put a compacted copy into its place.
    Exchange(Exchange<F>),
    /// Throw a compacted copy away: what it was to replace has changed.
    DropCopy { path: String },
}

impl<F> Task<F> {
    /// Whether it only takes space, and may be tried again once there is some.
    pub(crate) fn only_takes_space(&self) -> bool {
        matches!(self, Self::Fill { .. } | Self::Prepare { .. } | Self::Seal { .. } | Self::Exchange(_))
    }
}

/// What a finished task changes.
#[derive(Debug)]
pub(crate) enum TaskDone<F> {
    Filled { file: F, at: u64, len: u64 },
    Named,
    Prepared { file: F, prepared: u64 },
    Sealed { at: usize, segment: Arc<Segment<F>> },
    Synced { place: Mark },
    LeftoverCut,
    EpochsWritten { text: String },
    StartMoved { mark: MarkFile<F> },
    Removed { segments: usize },
    Exchanged { new: Arc<Segment<F>> },
    CopyDropped,
}

impl<F: File> PartitionLog<F> {
    /// The most urgent task.
    pub(crate) fn next_task(&self) -> Option<Task<F>> {
        if self.failed.is_some() {
            return None;
        }
        let synced = self.config.synced();
        let active = &self.active;
        // As much again as it took so far: a partition that hardly gets anything doesn't take megabytes ahead.
        let step = self.counters.appended_bytes.max(FIRST_STEP).min(self.config.zero_fill_step_bytes);
        let space_end = self.config.segment_bytes.next_multiple_of(BLOCK);
        // Space is asked for by an append, and from then on kept a step ahead.
        let ahead = if active.position > 0 { active.position + step } else { 0 };
        let target = ahead.max(self.wanted.prepared).min(space_end);
        // While the disk is full, space is asked for once after each append that needs it.
        let may_take_space = self.no_space.is_none() || self.retry_space;
        if self.leftover {
            return Some(Task::CutLeftover { file: active.file.clone(), len: active.position });
        }
        if synced && may_take_space && active.prepared < target {
            let until = target.max(active.prepared + step).next_multiple_of(BLOCK).min(space_end);
            return Some(Task::Fill {
                file: active.file.clone(),
                at: active.prepared,
                len: until - active.prepared,
            });
        }
        if self.epochs.unsaved {
            return Some(Task::Epochs { text: self.epochs.encode() });
        }
        if active.unnamed {
            return Some(Task::Name { from: format!("{}/{}", self.dir, name::NEXT), to: self.active_path() });
        }
        // Behind the naming: of a segment that has no name yet, recovery finds only what follows an older one.
        if let Some(to) = self.start_to {
            let sync = if planted!(self.config, StartUnsynced) { WriteSync::None } else { WriteSync::Data };
            return Some(Task::MoveStart { mark: self.start_mark.clone(), to, sync });
        }
        if !self.removed.is_empty() {
            return Some(Task::Remove { bases: self.removed.iter().map(|s| s.base).collect() });
        }
        if let Some(exchange) = self.compaction.ready.as_ref().filter(|_| may_take_space) {
            return Some(match self.place_of(exchange) {
                Some(_) => Task::Exchange(exchange.clone()),
                None => Task::DropCopy { path: name::cleaned(&self.dir, exchange.base()) },
            });
        }
        if self.next.is_none()
            && may_take_space
            && (self.wanted.next || active.position > self.config.segment_bytes / 2)
        {
            let len = if synced { step.min(space_end).next_multiple_of(BLOCK) } else { 0 };
            return Some(Task::Prepare { path: format!("{}/{}", self.dir, name::NEXT), len });
        }
        let at = self.segments.partition_point(|s| s.sealed);
        if let Some(segment) = self.segments.get(at)
            && may_take_space
            && (!synced || self.durable >= segment.end || planted!(self.config, SealEarly))
        {
            let snapshot = self.snapshots.get(&segment.end).cloned();
            return Some(Task::Seal { at, segment: Arc::clone(segment), snapshot });
        }
        if self.sync_due && !synced && self.durable < self.end {
            let place = Mark { segment: active.base, position: active.position, offset: self.end };
            return Some(Task::Sync { file: active.file.clone(), place });
        }
        None
    }

    /// Enters what a task did.
    pub(crate) fn finish_task(&mut self, result: Result<TaskDone<F>, DiskError>, only_takes_space: bool) {
        match &result {
            Err(error) if only_takes_space && error.kind == DiskErrorKind::NoSpace => {
                reached("log upkeep put off by a full disk");
                (self.no_space, self.retry_space) = (Some(error.clone()), false);
                return;
            }
            Ok(_) if only_takes_space => (self.no_space, self.retry_space) = (None, false),
            _ => {}
        }
        match result {
            Ok(TaskDone::LeftoverCut) => self.leftover = false,
            Ok(TaskDone::Filled { file, at, len }) => {
                self.counters.syncs += 1;
                self.counters.written_bytes += len;
                // A roll may have come in between.
                if self.active.file == file {
                    self.active.prepared = at + len;
                }
                self.wanted.prepared = 0;
            }
            Ok(TaskDone::Named) => self.active.unnamed = false,
            Ok(TaskDone::Prepared { file, prepared }) => {
                self.counters.written_bytes += prepared;
                self.counters.syncs += u64::from(prepared > 0);
                self.next = Some((file, prepared));
                self.wanted.next = false;
            }
            Ok(TaskDone::Sealed { at, segment }) => {
                self.counters.syncs += 2;
                let place = Mark { segment: segment.base, position: segment.len, offset: segment.end };
                self.snapshots.remove(&segment.end);
                self.segments[at] = segment;
                self.durable_at(place);
            }
            Ok(TaskDone::Synced { place }) => {
                self.sync_due = false;
                self.counters.syncs += 1;
                self.durable_at(place);
            }
            Ok(TaskDone::EpochsWritten { text }) => {
                self.counters.syncs += 2;
                // Another term may have begun in between.
                self.epochs.unsaved = self.epochs.encode() != text;
            }
            Ok(TaskDone::StartMoved { mark }) => {
                self.counters.syncs += 1;
                self.start_moved(mark);
            }
            Ok(TaskDone::Exchanged { new }) => {
                self.counters.syncs += 7;
                self.exchanged(new);
            }
            Ok(TaskDone::CopyDropped) => self.compaction.ready = None,
            Ok(TaskDone::Removed { segments }) => drop(self.removed.drain(..segments)),
            Err(error) => {
                self.fail(error);
            }
        }
    }

    fn durable_at(&mut self, place: Mark) {
        if place.offset > self.durable {
            self.durable = place.offset;
            self.durable_place = place;
            let _ = self.mark.advance(place, WriteSync::None);
        }
    }
}

/// Runs a task on a disk with nothing in flight.
pub(crate) fn run<D: Disk>(
    disk: &mut D,
    dir: &str,
    names_synced: bool,
    task: Task<D::File>,
) -> Result<TaskDone<D::File>, DiskError> {
    let sync_names = |disk: &mut D| {
        if names_synced { disk.run(Op::SyncDir { dir: dir.to_owned() }).map(drop) } else { Ok(()) }
    };
    match task {
        Task::Fill { file, at, len } => {
            disk.run(Op::ZeroFill { file: file.clone(), at, len })?;
            disk.run(Op::Sync { file: file.clone() })?;
            Ok(TaskDone::Filled { file, at, len })
        }
        Task::Name { from, to } => {
            disk.run(Op::Rename { from, to })?;
            // Before the next file takes the old name: else a crash could leave either file under it.
            sync_names(disk)?;
            Ok(TaskDone::Named)
        }
        Task::Prepare { path, len } => {
            let (file, _) = disk.open(&path, OpenHow::CreateNew)?;
            if len > 0 {
                let filled = disk.run(Op::ZeroFill { file: file.clone(), at: 0, len });
                if let Err(error) = filled.and_then(|_| disk.run(Op::Sync { file: file.clone() })) {
                    // Its space may be what somebody else needs, and the next try makes it anew.
                    disk.run(Op::Remove { path })?;
                    return Err(error);
                }
            }
            sync_names(disk)?;
            Ok(TaskDone::Prepared { file, prepared: len })
        }
        Task::Seal { at, segment, snapshot } => {
            Ok(TaskDone::Sealed { at, segment: seal::seal(disk, dir, &segment, snapshot)? })
        }
        Task::CutLeftover { file, len } => {
            disk.run(Op::Truncate { file, len })?;
            Ok(TaskDone::LeftoverCut)
        }
        Task::Sync { file, place } => {
            disk.run(Op::Sync { file })?;
            Ok(TaskDone::Synced { place })
        }
        Task::Epochs { text } => {
            LeaderEpochs::write(disk, dir, text.clone())?;
            Ok(TaskDone::EpochsWritten { text })
        }
        Task::MoveStart { mark, to, sync } => {
            let mark = retention::write_start(disk, dir, mark, to, sync)?;
            Ok(TaskDone::StartMoved { mark })
        }
        Task::Exchange(exchange) => Ok(TaskDone::Exchanged { new: cleaner::exchange(disk, dir, &exchange)? }),
        Task::DropCopy { path } => {
            disk.run(Op::Remove { path })?;
            Ok(TaskDone::CopyDropped)
        }
        Task::Remove { bases } => {
            let segments = bases.len();
            retention::remove_segments(disk, dir, bases)?;
            Ok(TaskDone::Removed { segments })
        }
    }
}

/// Whether names are made durable: always, unless that bug is planted.
pub(crate) fn names_synced(config: &crate::LogConfig) -> bool {
    let _ = config;
    !planted!(config, NamesNotSynced)
}
