//! Recovery: what a partition's folder holds after a crash, and the way back to a log that can be trusted.
//!
//! * At or past the durable-end mark the first bad batch ends the log, whatever lies behind it. The file is cut
//!   there and synced before anything is appended; `synced` then fills it with zeros anew.
//! * Below the mark a bad batch is damage: it is reported and refused, and never cut away.
//! * What lies past the mark is written once more and synced before it is trusted: after a sync that failed, the page
//!   cache may show bytes that are on no disk.
//! * Segments that were durable to their ends are not read, but for those without a believable index: several at a time, if
//!   whoever opens the log has the threads.
//!
//! Every step may be cut off by another crash: the next recovery starts from what is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use engine_env::marks::reached;
use engine_env::{CommitQueue, Disk, DiskError, DiskErrorKind, EntryKind, Op, OpenHow, Workers, WriteSync};

use super::cleaner::{Compaction, finish_exchanges};
use super::leader_epochs::LeaderEpochs;
use super::mark::{MARK_FILE_LEN, Mark, MarkFile};
use super::partition_log::{Active, Counters, PartitionLog, Wanted};
use super::producer_recovery::{self, Replayed};
use super::producer_state::ProducerState;
use super::recent::{Recent, RecentRoom};
use super::retention::{remove_segments, restart_at};
use super::scan::{Durable, PIECE, Scan, scan};
use super::seal;
use crate::config::planted;
use crate::record::batch::BatchError;
use crate::segment::index::Index;
use crate::segment::name;
use crate::segment::offset_index::OffsetIndex;
use crate::segment::segment::{Damage, Segment};
use crate::segment::time_index::TimeIndex;
use crate::segment::window::{Source, Window};
use crate::{LogConfig, Offset, TopicPartition};

/// So many sealed segments are opened at a time, and read if they have to be.
const FILES_MAX: usize = 64;

/// What lay behind the end of a recovered log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailTruncated {
    /// The segment's file, below the log's folder.
    pub segment: String,
    /// Where it was cut, in bytes.
    pub position: u64,
    /// Bytes that went, up to the last that wasn't zero; of later segments, all.
    pub bytes: u64,
    /// Why the log ends there.
    pub why: BatchError,
}

/// What recovery found in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReport {
    /// The partition.
    pub partition: TopicPartition,
    /// Segments, the active one included.
    pub segments: usize,
    /// The first offset.
    pub start: Offset,
    /// The offset behind the last record.
    pub end: Offset,
    /// Batches whose checksums were verified. Sealed segments are not read.
    pub batches_scanned: u64,
    /// Indexes that were missing or damaged, and were made from their segments.
    pub indexes_rebuilt: u64,
    /// The end of an interrupted append. Normal after a crash.
    pub tail_truncated: Option<TailTruncated>,
    /// Places that were durable once and can't be read now. Never normal.
    pub damage: Vec<Damage>,
}

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Each partition, in the order of topic and number.
    pub partitions: Vec<PartitionReport>,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batches: u64 = self.partitions.iter().map(|p| p.batches_scanned).sum();
        write!(f, "{} partitions, {batches} batches verified", self.partitions.len())?;
        for p in &self.partitions {
            if let Some(tail) = &p.tail_truncated {
                write!(
                    f,
                    "\n{}: cut at byte {} of {}, {} bytes of an interrupted append ({})",
                    p.partition, tail.position, tail.segment, tail.bytes, tail.why
                )?;
            }
            for damage in &p.damage {
                write!(f, "\n{}: {damage}", p.partition)?;
            }
        }
        Ok(())
    }
}

/// A segment that was durable to its end, with its index files if they can be true.
struct Whole<F> {
    base: Offset,
    next: Offset,
    path: String,
    file: F,
    len: u64,
    indexes: Option<(OffsetIndex, TimeIndex)>,
}

struct Recovery<'a, D: Disk> {
    disk: &'a mut D,
    dir: &'a str,
    config: &'a Arc<LogConfig>,
    workers: &'a dyn Workers,
    report: PartitionReport,
    segments: Vec<Arc<Segment<D::File>>>,
    /// Segments that have an index file.
    indexed: BTreeSet<Offset>,
}

/// Makes the folder of a new partition: the mark, and the first segment. Its name still has to be synced.
pub(crate) fn create<D: Disk>(disk: &mut D, dir: &str) -> Result<(), DiskError> {
    disk.run(Op::CreateDir { dir: dir.to_owned() })?;
    let (file, _) = disk.open(&format!("{dir}/{}", name::MARK), OpenHow::OpenOrCreate)?;
    disk.run(Op::ZeroFill { file: file.clone(), at: 0, len: MARK_FILE_LEN as u64 })?;
    disk.run(Op::Sync { file })?;
    disk.open(&name::log(dir, Offset(0)), OpenHow::OpenOrCreate)?;
    disk.run(Op::SyncDir { dir: dir.to_owned() })?;
    Ok(())
}

/// Brings back a partition; `workers` read what has to be read.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    partition: TopicPartition,
    config: &Arc<LogConfig>,
    room: &Arc<RecentRoom>,
    workers: &dyn Workers,
) -> Result<(PartitionLog<D::File>, PartitionReport), DiskError> {
    let dir = partition.to_string();
    let report = PartitionReport {
        partition,
        segments: 0,
        start: Offset(0),
        end: Offset(0),
        batches_scanned: 0,
        indexes_rebuilt: 0,
        tail_truncated: None,
        damage: Vec::new(),
    };
    let (segments, indexed) = (Vec::new(), BTreeSet::new());
    Recovery { disk, dir: &dir, config, workers, report, segments, indexed }
        .run(Recent::new(Arc::clone(room)))
}

impl<D: Disk> Recovery<'_, D> {
    fn run(mut self, recent: Recent) -> Result<(PartitionLog<D::File>, PartitionReport), DiskError> {
        let mut mark = MarkFile::open(self.disk, self.dir, name::MARK)?;
        finish_exchanges(self.disk, self.dir)?;
        let mut bases = self.bases()?;
        let mut start_mark = self.mark_if_there(name::START)?;
        if let Some(mark) = &mut start_mark
            && bases.first().is_none_or(|&first| mark.mark.offset > first)
        {
            // Readers will be told of it, and what lies below it goes.
            mark.confirm()?;
        }
        let clean_mark = self.mark_if_there(name::CLEAN)?;
        let start = start_mark.as_ref().map_or(Offset(0), |m| m.mark.offset);
        let had_segments = !bases.is_empty();
        self.remove_below(&mut bases, start, mark.mark.segment)?;
        if bases.is_empty() && had_segments && mark.mark.position > 0 {
            // All that is left lies in the segment that the mark names, which has no name of its own yet.
            self.adopt_marked(mark.mark)?;
            bases.push(mark.mark.segment);
        } else if bases.is_empty() {
            // The crash came while the partition was being made, or the mark is all that is left of it.
            let base = mark.mark.offset.max(start);
            self.disk.open(&name::log(self.dir, base), OpenHow::CreateNew)?;
            bases.push(base);
        }
        let start = start.max(bases[0]);
        self.report.start = start;
        let (mut active, mut durable_place) = self.walk(bases, mark.mark)?;
        if durable_place.offset < start {
            // The log was about to start anew behind its end.
            let old = self.segments.drain(..).map(|s| s.base).chain([active.base]).collect();
            active = Active::new(start, restart_at(self.disk, self.dir, &mut mark, old, start)?, self.config);
            durable_place = mark.mark;
        }
        self.remove_leftovers(active.base)?;
        let mut epochs = self.epochs(&active, durable_place.offset)?;
        let producers = self.producers(&active, durable_place.offset)?;
        if start > Offset(0) && durable_place.offset == start {
            epochs.forget();
        }
        if durable_place != mark.mark {
            mark.advance(durable_place, WriteSync::Data)?;
        }
        self.report.segments = self.segments.len() + 1;
        self.report.end = durable_place.offset;
        let log = PartitionLog {
            config: Arc::clone(self.config),
            name: self.report.partition.clone(),
            dir: self.dir.to_owned(),
            segments: self.segments,
            active,
            next: None,
            wanted: Wanted::default(),
            sync_due: false,
            end: durable_place.offset,
            durable: durable_place.offset,
            durable_place,
            queue: CommitQueue::new(),
            recent,
            mark,
            failed: None,
            no_space: None,
            retry_space: false,
            leftover: false,
            counters: Counters::default(),
            spare: Vec::new(),
            replicated: false,
            epochs,
            producers,
            snapshots: BTreeMap::new(),
            repeated: Vec::new(),
            truncate_to: None,
            restart_at: None,
            start,
            start_mark,
            start_to: None,
            removed: Vec::new(),
            compaction: Compaction::new(start, clean_mark),
        };
        Ok((log, self.report))
    }

    /// What was known of the producers.
    fn producers(&mut self, active: &Active<D::File>, end: Offset) -> Result<ProducerState, DiskError> {
        let bases: BTreeSet<_> = self.segments.iter().map(|s| s.base).chain([active.base]).collect();
        if !planted!(self.config, SnapshotKept) {
            let is_stray = |at| at > end || (at < active.base && !bases.contains(&at));
            producer_recovery::remove(self.disk, self.dir, is_stray)?;
        }
        if planted!(self.config, ProducersForgotten) {
            return Ok(ProducerState::new(self.config.producers_max));
        }
        let (file, base, len) = (active.file.clone(), active.base, active.position);
        let mut segments: Vec<_> = self.segments.iter().map(Replayed::of).collect();
        segments.push(Replayed { source: Source::File(file), base, end, len });
        producer_recovery::load(self.disk, self.dir, &segments, self.config.producers_max)
    }

    /// Where each leader's term begins. If the file can't be read, the batches tell.
    fn epochs(&mut self, active: &Active<D::File>, end: Offset) -> Result<LeaderEpochs, DiskError> {
        let mut epochs = match LeaderEpochs::read(self.disk, self.dir)? {
            Some(epochs) => epochs,
            None => self.epochs_of_batches(active)?,
        };
        // Of a term whose batches are lost only its number is left.
        epochs.truncate(end.plus(1));
        Ok(epochs)
    }

    fn epochs_of_batches(&mut self, active: &Active<D::File>) -> Result<LeaderEpochs, DiskError> {
        let mut epochs = LeaderEpochs::default();
        let sealed = self.segments.iter().map(|s| (s.source.clone(), s.len));
        for (source, len) in sealed.chain([(Source::File(active.file.clone()), active.position)]) {
            let mut window = Window::new(source, len, PIECE);
            let mut at = 0;
            while at < len {
                // Behind a damaged place nothing is sure.
                let Ok(batch) = window.batch_at(at)? else { break };
                if batch.leader_epoch() > epochs.highest() {
                    epochs.begin(batch.leader_epoch(), batch.base_offset());
                }
                at += batch.len() as u64;
            }
        }
        Ok(epochs)
    }

    /// A mark that only some logs have.
    fn mark_if_there(&mut self, name: &str) -> Result<Option<MarkFile<D::File>>, DiskError> {
        let is_there = self.disk.list(self.dir)?.iter().any(|e| e.name == name);
        if is_there { MarkFile::open(self.disk, self.dir, name).map(Some) } else { Ok(None) }
    }

    /// Removes segments that lie wholly below the log's start: a crash came between the moving of the start and their
    /// removal. The segment that the mark names may not be there.
    fn remove_below(
        &mut self,
        bases: &mut Vec<Offset>,
        start: Offset,
        marked: Offset,
    ) -> Result<(), DiskError> {
        let Some(first) = bases.iter().copied().chain([marked]).filter(|&base| base <= start).max() else {
            return Ok(());
        };
        let gone = bases.partition_point(|&base| base < first);
        if gone > 0 {
            reached("log segment below the start removed");
            self.remember_producers(&bases[..gone], first)?;
            remove_segments(self.disk, self.dir, bases.drain(..gone))?;
        }
        Ok(())
    }

    /// What is known of producers when segments go, in a snapshot of the offset behind them: what wasn't sealed has none.
    fn remember_producers(&mut self, gone: &[Offset], first: Offset) -> Result<(), DiskError> {
        let mut segments = Vec::new();
        for (i, &base) in gone.iter().enumerate() {
            let (file, len) = self.disk.open(&name::log(self.dir, base), OpenHow::Existing)?;
            let end = gone.get(i + 1).copied().unwrap_or(first);
            segments.push(Replayed { source: Source::File(file), base, end, len });
        }
        let Some(source) = segments.last().map(|last| last.source.clone()) else { return Ok(()) };
        segments.push(Replayed { source, base: first, end: first, len: 0 });
        producer_recovery::load(self.disk, self.dir, &segments, self.config.producers_max).map(drop)
    }

    /// First offsets of the segments that are there.
    fn bases(&mut self) -> Result<Vec<Offset>, DiskError> {
        let entries = self.disk.list(self.dir)?;
        let files = || entries.iter().filter(|e| e.kind == EntryKind::File);
        self.indexed = files().filter_map(|e| name::base_of(&e.name, ".index")).collect();
        let mut bases: Vec<_> = files().filter_map(|e| name::base_of(&e.name, ".log")).collect();
        bases.sort_unstable();
        Ok(bases)
    }

    /// Goes through the segments in order, to the one that ends the log.
    fn walk(&mut self, bases: Vec<Offset>, mark: Mark) -> Result<(Active<D::File>, Mark), DiskError> {
        let mut bases = VecDeque::from(bases);
        self.keep_whole(&mut bases, mark)?;
        loop {
            let base = bases.pop_front().expect("the loop ends at the last segment");
            let path = name::log(self.dir, base);
            let (file, len) = self.disk.open(&path, OpenHow::Existing)?;
            if bases.is_empty() && mark.segment > base {
                // The mark names a later segment: prepared, written, and not renamed yet; or lost.
                self.adopt_marked(mark)?;
                bases.push_back(mark.segment);
            }
            let next = bases.front().copied();
            if self.is_whole(base, next, mark) {
                // Behind one that had to be read, or named.
                bases.push_front(base);
                self.keep_whole(&mut bases, mark)?;
                continue;
            }
            let durable = if mark.segment == base {
                Durable::UpTo { position: mark.position, offset: mark.offset }
            } else {
                Durable::Nothing
            };
            let scan = self.told(scan(self.config, &file, &path, base, len, durable)?);
            let rewrite_from = if let Durable::UpTo { position, .. } = durable { position } else { 0 };
            self.write_once_more(&file, rewrite_from, scan.position)?;
            let follows = next == Some(scan.end) && scan.position > 0;
            if follows || (next.is_none() && scan.position > 0 && self.adopt_next(scan.end)?) {
                if next.is_none() {
                    bases.push_back(scan.end);
                }
                let (offsets, times) = scan.index.finish();
                let indexes = (Index::Memory(offsets), Index::Memory(times));
                let rolled = Segment::rolled((base, scan.end), path, file, scan.position, indexes);
                rolled.knows_newest_ms(scan.newest_ms);
                let sealed = seal::seal(self.disk, self.dir, &rolled, None)?;
                self.segments.push(sealed);
                continue;
            }
            let dropped = self.remove_segments(&bases)?;
            let stale = self.end_log(&file, &path, len, &scan, dropped)?;
            let place = Mark { segment: base, position: scan.position, offset: scan.end };
            let active = Active {
                position: scan.position,
                prepared: stale,
                index: scan.index,
                newest_ms: scan.newest_ms,
                ..Active::new(base, file, self.config)
            };
            return Ok((active, place));
        }
    }

    /// Whether a segment in front of `next` was durable to its end.
    fn is_whole(&self, base: Offset, next: Option<Offset>, mark: Mark) -> bool {
        next.is_some() && (mark.segment > base || self.indexed.contains(&base))
    }

    /// Takes the segments from the first on that were durable to their ends, not too many files at a time.
    fn keep_whole(&mut self, bases: &mut VecDeque<Offset>, mark: Mark) -> Result<(), DiskError> {
        while bases.front().is_some_and(|&base| self.is_whole(base, bases.get(1).copied(), mark)) {
            self.keep_some_whole(bases, mark)?;
        }
        Ok(())
    }

    fn keep_some_whole(&mut self, bases: &mut VecDeque<Offset>, mark: Mark) -> Result<(), DiskError> {
        let mut whole = Vec::new();
        while let Some(&base) = bases.front()
            && whole.len() < FILES_MAX
            && self.is_whole(base, bases.get(1).copied(), mark)
        {
            bases.pop_front();
            let next = bases[0];
            let path = name::log(self.dir, base);
            let (file, len) = self.disk.open(&path, OpenHow::Existing)?;
            let indexes = seal::read_indexes(self.disk, self.dir, base, len, next.0 - base.0)?;
            whole.push(Whole { base, next, path, file, len, indexes });
        }
        let mut scans = self.scan_unindexed(&whole)?.into_iter();
        for Whole { base, next, path, file, len, indexes } in whole {
            if let Some(indexes) = indexes {
                let kept = Segment::sealed((base, next), path, file, len, indexes);
                self.segments.push(Arc::new(kept));
                continue;
            }
            let scan = self.told(scans.next().expect("each of them was read"));
            reached("log index rebuilt");
            self.report.indexes_rebuilt += 1;
            let (offsets, times) = scan.index.finish();
            let indexes = (Index::Memory(offsets), Index::Memory(times));
            let rolled = Segment::rolled((base, next), path, file, scan.position, indexes);
            rolled.knows_newest_ms(scan.newest_ms);
            let sealed = seal::seal(self.disk, self.dir, &rolled, None)?;
            self.segments.push(sealed);
        }
        Ok(())
    }

    /// Reads those of the segments that have no index, in their order.
    fn scan_unindexed(&self, whole: &[Whole<D::File>]) -> Result<Vec<Scan>, DiskError> {
        let unindexed: Vec<_> = whole.iter().filter(|w| w.indexes.is_none()).collect();
        let scans: Vec<_> = unindexed.iter().map(|_| Mutex::new(None)).collect();
        let config = self.config;
        self.workers.run(unindexed.len(), &|job| {
            let Whole { base, next, path, file, len, .. } = unindexed[job];
            let found = scan(config, file, path, *base, *len, Durable::Whole { next: *next });
            *scans[job].lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        });
        let found = scans.into_iter().map(|scan| scan.into_inner().unwrap_or_else(PoisonError::into_inner));
        found.map(|scan| scan.expect("every job was run")).collect()
    }

    /// Puts into the report what a scan met.
    fn told(&mut self, mut scan: Scan) -> Scan {
        self.report.batches_scanned += scan.batches;
        self.report.damage.append(&mut scan.damage);
        scan
    }

    /// Writes the same bytes again and syncs them: then they are on the disk, whatever the page cache showed.
    fn write_once_more(&mut self, file: &D::File, mut from: u64, to: u64) -> Result<(), DiskError> {
        if from >= to || planted!(self.config, TailTrusted) {
            return Ok(());
        }
        while from < to {
            let len = usize::try_from((to - from).min(PIECE as u64)).expect("at most a piece");
            let buf = self.disk.read(file, from, len)?;
            if buf.is_empty() {
                break;
            }
            let read = buf.len() as u64;
            self.disk.run(Op::Write { file: file.clone(), at: from, buf, sync: WriteSync::None })?;
            from += read;
        }
        self.disk.run(Op::Sync { file: file.clone() })?;
        Ok(())
    }

    /// Cuts the last segment where the log ends. Gives how much of the file is prepared for appends.
    fn end_log(
        &mut self,
        file: &D::File,
        path: &str,
        len: u64,
        scan: &Scan,
        dropped_bytes: u64,
    ) -> Result<u64, DiskError> {
        let tail_bytes = self.bytes_behind(file, scan.position, len)? + dropped_bytes;
        if tail_bytes > 0 {
            reached("log torn tail cut");
            self.report.tail_truncated = Some(TailTruncated {
                segment: path.to_owned(),
                position: scan.position,
                bytes: tail_bytes,
                why: scan.stopped_by.clone().unwrap_or(BatchError::Zero),
            });
        }
        if planted!(self.config, StaleTail) {
            return Ok(len);
        }
        if len > scan.position {
            seal::cut(self.disk, file, scan.position)?;
        }
        Ok(scan.position)
    }

    /// How many bytes lie behind `from`, up to the last one that isn't zero.
    fn bytes_behind(&mut self, file: &D::File, from: u64, len: u64) -> Result<u64, DiskError> {
        let (mut at, mut last) = (from, from);
        while at < len {
            let want = usize::try_from((len - at).min(PIECE as u64)).expect("at most a piece");
            let piece = self.disk.read(file, at, want)?;
            if piece.is_empty() {
                break;
            }
            if let Some(i) = piece.iter().rposition(|&b| b != 0) {
                last = at + i as u64 + 1;
            }
            at += piece.len() as u64;
        }
        Ok(last - from)
    }

    /// Names the prepared file as the segment that the mark speaks of. If the file is gone, an empty one takes its
    /// place, and the offsets below the mark are damage.
    fn adopt_marked(&mut self, mark: Mark) -> Result<(), DiskError> {
        reached("log marked segment adopted");
        let prepared = format!("{}/{}", self.dir, name::NEXT);
        let to = name::log(self.dir, mark.segment);
        match self.disk.run(Op::Rename { from: prepared, to: to.clone() }) {
            Ok(_) => {}
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                self.disk.open(&to, OpenHow::OpenOrCreate)?;
            }
            Err(error) => return Err(error),
        }
        self.disk.run(Op::SyncDir { dir: self.dir.to_owned() })?;
        Ok(())
    }

    /// Names the prepared file as the segment that starts at `end`, if a whole batch of that offset starts it.
    fn adopt_next(&mut self, end: Offset) -> Result<bool, DiskError> {
        if planted!(self.config, PreparedIgnored) {
            return Ok(false);
        }
        let prepared = format!("{}/{}", self.dir, name::NEXT);
        let (file, len) = match self.disk.open(&prepared, OpenHow::Existing) {
            Ok(opened) => opened,
            Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut window = Window::new(Source::File(file), len, PIECE);
        if window.batch_at(0)?.and_then(|b| b.check_next(end)).is_err() {
            return Ok(false);
        }
        reached("log prepared segment adopted");
        self.disk.run(Op::Rename { from: prepared, to: name::log(self.dir, end) })?;
        self.disk.run(Op::SyncDir { dir: self.dir.to_owned() })?;
        Ok(true)
    }

    /// Removes the segments behind the log's end, the last one first. Gives the bytes they held.
    fn remove_segments(&mut self, bases: &VecDeque<Offset>) -> Result<u64, DiskError> {
        let mut bytes = 0;
        for base in bases.iter().rev() {
            let path = name::log(self.dir, *base);
            let (file, len) = self.disk.open(&path, OpenHow::Existing)?;
            reached("log segment behind the end removed");
            bytes += self.bytes_behind(&file, 0, len)?;
            self.disk.run(Op::Remove { path })?;
        }
        Ok(bytes)
    }

    /// Removes indexes without a sealed segment, and a prepared file that nobody adopted.
    fn remove_leftovers(&mut self, active: Offset) -> Result<(), DiskError> {
        for entry in self.disk.list(self.dir)? {
            let stray_index = name::base_of(&entry.name, ".index")
                .or_else(|| name::base_of(&entry.name, ".timeindex"))
                .is_some_and(|base| base == active || !self.segments.iter().any(|s| s.base == base));
            let copy = entry.name.ends_with(name::CLEANED_SUFFIX);
            if stray_index
                || copy
                || [name::NEXT, name::CUT, name::EPOCHS_UNFINISHED].contains(&entry.name.as_str())
            {
                reached("log leftover removed");
                self.disk.run(Op::Remove { path: format!("{}/{}", self.dir, entry.name) })?;
            }
        }
        self.disk.run(Op::SyncDir { dir: self.dir.to_owned() })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine_env::sim::SimHome;
    use engine_env::{AllCores, Home, OneWorker};

    use super::*;
    use crate::log::testing::{config, copy, filled, first_bytes};
    use crate::{Durability, SteppedLog};

    #[test]
    fn many_workers_rebuild_what_one_rebuilds() {
        let home = copy(&filled(Durability::Synced));
        let mut disk = home.disk().expect("powered");
        for path in home.files().into_iter().filter(|f| f.ends_with("index")) {
            disk.run(Op::Remove { path }).expect("it was listed");
        }
        drop(disk);
        let other = copy(&home);
        let open = |home: &SimHome, workers: &dyn Workers, disks_max| {
            let config = config(Durability::Synced);
            SteppedLog::open_with(home.clone(), config, workers, disks_max).expect("it opens")
        };
        let (one, report) = open(&home, &OneWorker, 1);
        let (many, same) = open(&other, &AllCores, 4);
        assert!(report.partitions[0].indexes_rebuilt >= 1, "{report:?}");
        assert_eq!(report, same);
        assert_eq!(first_bytes(&one), first_bytes(&many));
        let bytes = |home: &SimHome| {
            let files = home.files().into_iter();
            files.map(|f| (f.clone(), home.seen_bytes(&f).expect("listed"))).collect::<Vec<_>>()
        };
        assert_eq!(bytes(&home), bytes(&other));
    }
}
