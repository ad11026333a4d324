//! [`Cleaner`]: compaction of a partition. Of each key the latest record stays; a tombstone stays for a while, so that
//! whoever reads along hears of it, and then goes. Offsets never change.
//!
//! A pass looks at the sealed segments that came since the last one and notes each key's latest offset, as many as fit
//! the bound on memory; then it copies all sealed segments before that place, the oldest first, leaving out what a later
//! record replaces, and puts small segments together. Copied segments take the place of the old ones in upkeep, in an
//! order that every crash survives:
//!
//! 1. The copy, `BASE.cleaned`, is written and synced. Until here opening throws it away.
//! 2. It is renamed to `BASE-END.swap`, which says what it replaces. From here on opening finishes the exchange.
//! 3. The old segments' files go, but for the first `.log`; indexes of the copy are written.
//! 4. The copy is renamed over the first `.log`.
//!
//! Segments are exchanged in the order of their offsets, so a tombstone is never gone while what it deletes is still
//! there. Records without a key are never replaced. A segment with a damaged batch ends a pass in front of it.

use std::sync::Arc;

use engine_env::marks::reached;
use engine_env::{Disk, DiskError, DiskErrorKind, File, Op, OpenHow, WriteSync};

use super::latest_offsets::LatestOffsets;
use super::mark::{Mark, MarkFile};
use super::partition_log::PartitionLog;
use super::seal;
use crate::config::planted;
use crate::record::batch::{Batch, BatchError};
use crate::record::compacted::{put_empty, put_with};
use crate::record::record::RecordView;
use crate::segment::name;
use crate::segment::segment::Segment;
use crate::segment::window::Window;
use crate::{LogConfig, Offset};

/// How much one step reads.
const STEP_BYTES: u64 = 256 << 10;
/// A copy is synced at least every so many bytes: one long sync would stand in the way of commits.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// How far a partition is compacted.
#[derive(Debug)]
pub(crate) struct Compaction<F> {
    /// Up to here each key has one record at most.
    clean: Offset,
    mark: Option<MarkFile<F>>,
    /// When the first tombstone may go, as far as is known.
    horizon_ms: Option<i64>,
    /// No pass begins before this time: the last one was given up.
    not_before_ms: i64,
    /// A copy that waits for upkeep to put it in its place.
    pub(super) ready: Option<Exchange<F>>,
    /// The copies that took their places, since opening.
    pub(crate) exchanges: u64,
    /// The passes that damage or the disk ended.
    pub(crate) given_up: u64,
}

impl<F: File> Compaction<F> {
    /// Of a log that starts at `start`, with the mark that is there.
    pub(super) fn new(start: Offset, mark: Option<MarkFile<F>>) -> Self {
        let clean = mark.as_ref().map_or(start, |m| m.mark.offset.max(start));
        Self { clean, mark, horizon_ms: None, not_before_ms: 0, ready: None, exchanges: 0, given_up: 0 }
    }

    /// The log starts anew at `start`, which lies behind all that it had.
    pub(super) fn clean_from(&mut self, start: Offset) {
        self.clean = start;
    }

    /// What lies behind `end` is about to go. What comes there instead would count as compacted, also after a crash, and
    /// a tombstone among it would go before what it deletes.
    pub(super) fn truncate(&mut self, end: Offset) -> Result<(), DiskError> {
        self.clean = self.clean.min(end);
        match &mut self.mark {
            Some(mark) if mark.mark.offset > end => {
                mark.set(Mark { segment: Offset(0), position: 0, offset: end })
            }
            _ => Ok(()),
        }
    }
}

/// A copy, and the segments that it replaces.
#[derive(Debug, Clone)]
pub(crate) struct Exchange<F> {
    pub(super) old: Vec<Arc<Segment<F>>>,
    /// Not sealed: sealing it writes its indexes.
    pub(super) new: Arc<Segment<F>>,
    /// Whether names are synced.
    pub(super) sync: bool,
}

impl<F: File> Exchange<F> {
    pub(super) fn base(&self) -> Offset {
        self.new.base
    }

    fn swap_path(&self, dir: &str) -> String {
        name::swap(dir, self.new.base, self.new.end)
    }
}

/// Whether there is more to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// So many bytes were read and written.
    Worked(u64),
    /// Upkeep has to go first.
    Waits,
    /// The pass is over.
    Done,
}

/// A pass over one partition.
#[derive(Debug)]
pub(crate) struct Cleaner<F> {
    config: Arc<LogConfig>,
    dir: String,
    /// Sealed segments that are still to be copied.
    left: std::collections::VecDeque<Arc<Segment<F>>>,
    latest: LatestOffsets,
    /// From here on keys are noted; behind `mapped` they are not yet.
    mapped: Offset,
    /// Where it began to note keys, and up to where it did.
    began: Offset,
    map_end: Offset,
    is_mapped: bool,
    copy: Option<Copying<F>>,
    /// The copy that was handed over.
    handed: Option<Arc<Segment<F>>>,
    horizon_ms: Option<i64>,
}

/// A copy under way.
#[derive(Debug)]
struct Copying<F> {
    file: F,
    base: Offset,
    position: u64,
    synced: u64,
    /// Where the next batch begins.
    next: Offset,
    /// Offsets of batches of which nothing stays, and the term of their leader.
    gap: Option<(Offset, i32)>,
    builder: super::partition_log::Active<F>,
    /// Done with, and the one that is being read, at this position.
    old: Vec<Arc<Segment<F>>>,
    from: Arc<Segment<F>>,
    at: u64,
}

/// Why a pass ended early.
#[derive(Debug)]
pub(crate) enum CleanError {
    /// A batch can't be read: what lies before it is compacted, the rest stays as it is.
    Damaged,
    /// The log was truncated or cut at its start meanwhile.
    Overtaken,
    /// The disk failed or is full.
    Disk,
}

impl From<DiskError> for CleanError {
    fn from(_: DiskError) -> Self {
        Self::Disk
    }
}

impl<F: File> PartitionLog<F> {
    /// A pass, if enough has come since the last one, or a tombstone may go. Nothing behind `below` is looked at.
    pub(crate) fn cleaner(&self, below: Offset, now_ms: i64) -> Option<Cleaner<F>> {
        let compaction = &self.compaction;
        if self.failed.is_some()
            || compaction.ready.is_some()
            || self.truncate_to.is_some()
            || now_ms < compaction.not_before_ms
        {
            return None;
        }
        let sealed: Vec<_> = self.sealed().into_iter().take_while(|s| s.end <= below).collect();
        let total: u64 = sealed.iter().map(|s| s.len).sum();
        let dirty: u64 = sealed.iter().filter(|s| s.end > compaction.clean).map(|s| s.len).sum();
        let is_due = compaction.horizon_ms.is_some_and(|horizon| now_ms > horizon);
        let percent = u64::from(self.config.compaction_dirty_percent);
        if !is_due && (dirty == 0 || dirty * 100 < total * percent) {
            return None;
        }
        let end = sealed.last()?.end;
        let from = compaction.clean.min(end);
        Some(Cleaner {
            config: Arc::clone(&self.config),
            dir: self.dir.clone(),
            left: sealed.into(),
            // Nobody who chooses keys knows it beforehand.
            latest: LatestOffsets::new(self.config.compaction_map_bytes, now_ms.unsigned_abs() ^ end.0),
            mapped: from,
            began: from,
            map_end: end,
            is_mapped: from == end,
            copy: None,
            handed: None,
            horizon_ms: None,
        })
    }

    /// Whether the segments of an exchange are still those of the log.
    pub(super) fn place_of(&self, exchange: &Exchange<F>) -> Option<usize> {
        let first = self.segments.iter().position(|s| Arc::ptr_eq(s, &exchange.old[0]))?;
        let there = self.segments.get(first..first + exchange.old.len())?;
        there.iter().zip(&exchange.old).all(|(a, b)| Arc::ptr_eq(a, b)).then_some(first)
    }

    /// A copy has taken its place.
    pub(super) fn exchanged(&mut self, new: Arc<Segment<F>>) {
        let Some(exchange) = self.compaction.ready.take() else { return };
        let first =
            self.place_of(&exchange).expect("one thread at a time changes the list of sealed segments");
        self.segments.splice(first..first + exchange.old.len(), [new]);
        self.compaction.exchanges += 1;
        reached("log segments exchanged for their copy");
    }

    /// A pass was given up; another one may begin at that time.
    pub(crate) fn clean_later(&mut self, not_before_ms: i64) {
        self.compaction.not_before_ms = not_before_ms;
        self.compaction.given_up += 1;
    }

    /// A pass is over: up to `clean` each key has one record at most.
    fn cleaned(&mut self, mark: MarkFile<F>, clean: Offset, horizon_ms: Option<i64>) {
        self.compaction.clean = clean.min(self.end);
        self.compaction.mark = Some(mark);
        self.compaction.horizon_ms = horizon_ms;
    }
}

impl<F: File> Cleaner<F> {
    /// Works for a step. `partition` gives the locked log.
    pub(crate) fn step<D, L>(
        &mut self,
        disk: &mut D,
        now_ms: i64,
        lock: impl Fn() -> L,
    ) -> Result<Stepped, CleanError>
    where
        D: Disk<File = F>,
        L: std::ops::DerefMut<Target = PartitionLog<F>>,
    {
        if !self.is_mapped {
            return self.note_keys();
        }
        if let Some(handed) = &self.handed {
            let log = lock();
            if log.failed.is_some() {
                return Err(CleanError::Overtaken);
            }
            if log.compaction.ready.is_some() {
                return Ok(Stepped::Waits);
            }
            if !log
                .segments
                .iter()
                .any(|s| s.base == handed.base && s.end == handed.end && s.len == handed.len)
            {
                return Err(CleanError::Overtaken);
            }
            drop(log);
            self.handed = None;
        }
        if let Some(copy) = self.copy.take() {
            return self.go_on(disk, now_ms, copy, lock);
        }
        match self.left.pop_front() {
            Some(segment) if segment.base < self.map_end => {
                self.copy = Some(Copying::begin(disk, &self.dir, &self.config, segment)?);
                Ok(Stepped::Worked(0))
            }
            _ => {
                let mark = lock().compaction.mark.clone();
                let mut mark = match mark {
                    Some(mark) => mark,
                    None => MarkFile::open(disk, &self.dir, name::CLEAN)?,
                };
                mark.set(Mark { segment: Offset(0), position: 0, offset: self.map_end })?;
                lock().cleaned(mark, self.map_end, self.horizon_ms);
                Ok(Stepped::Done)
            }
        }
    }

    /// Notes the latest offset of each key, as long as there is room.
    fn note_keys(&mut self) -> Result<Stepped, CleanError> {
        let Some(segment) = self.left.iter().find(|s| s.end > self.mapped).cloned() else {
            self.is_mapped = true;
            return Ok(Stepped::Worked(0));
        };
        let place = segment.place(self.mapped);
        let from = self.mapped.max(segment.base);
        let start = match place.boundary(from) {
            Ok((position, _)) => position,
            Err(_) => return self.damaged_at(segment.base),
        };
        let mut window = Window::new(segment.source.clone(), segment.len, STEP_BYTES as usize);
        let mut at = start;
        while at < segment.len && at - start < STEP_BYTES {
            let batch = match window.batch_at(at)? {
                Ok(batch) if batch.check_crc().is_ok() => batch,
                _ => return self.damaged_at(segment.base),
            };
            let keys = batch.records_count().unsigned_abs() as usize;
            if !self.latest.has_room_for(keys) {
                reached("log compaction's map is full");
                self.map_end = batch.base_offset();
                self.is_mapped = true;
                return Ok(Stepped::Worked(at - start));
            }
            let noted = for_each_record(&batch, |record| {
                if let Some(key) = record.key {
                    self.latest.put(key, record.offset);
                }
            });
            if noted.is_err() {
                return self.damaged_at(segment.base);
            }
            at += batch.len() as u64;
            self.mapped = batch.next_offset();
        }
        self.is_mapped |= self.mapped >= self.map_end;
        Ok(Stepped::Worked(at - start))
    }

    /// The pass ends in front of a segment with a damaged batch; readers of it are told where.
    fn damaged_at(&mut self, base: Offset) -> Result<Stepped, CleanError> {
        if base <= self.began {
            // Nothing new can be done.
            return Err(CleanError::Damaged);
        }
        self.left.retain(|s| s.base < base);
        self.map_end = self.map_end.min(base);
        self.is_mapped = true;
        Ok(Stepped::Worked(0))
    }

    fn go_on<D, L>(
        &mut self,
        disk: &mut D,
        now_ms: i64,
        mut copy: Copying<F>,
        lock: impl Fn() -> L,
    ) -> Result<Stepped, CleanError>
    where
        D: Disk<File = F>,
        L: std::ops::DerefMut<Target = PartitionLog<F>>,
    {
        let (mut out, start) = (Vec::new(), copy.at);
        let mut window = Window::new(copy.from.source.clone(), copy.from.len, STEP_BYTES as usize);
        while copy.at < copy.from.len && copy.at - start < STEP_BYTES {
            let batch = match window.batch_at(copy.at)?.and_then(|b| b.check_next(copy.next).map(|()| b)) {
                Ok(batch) => batch,
                Err(_) => return Err(CleanError::Damaged),
            };
            copy.at += batch.len() as u64;
            copy.next = batch.next_offset();
            self.keep(&batch, now_ms, &mut copy, &mut out)?;
        }
        let read = copy.at - start;
        let mut written = out.len() as u64;
        let may_sync = !planted!(self.config, SwapUnsynced);
        copy.write(disk, out, may_sync)?;
        if copy.at < copy.from.len {
            self.copy = Some(copy);
            return Ok(Stepped::Worked(read + written));
        }
        copy.old.push(Arc::clone(&copy.from));
        let next = self.left.front().filter(|next| {
            next.base < self.map_end
                && copy.position + next.len + Copying::<F>::GAP_BYTES <= self.config.segment_bytes
                && next.end.0 - copy.base.0 <= u64::from(u32::MAX >> 1)
        });
        if next.is_some() {
            (copy.from, copy.at) = (self.left.pop_front().expect("it was looked at"), 0);
            self.copy = Some(copy);
            return Ok(Stepped::Worked(read + written));
        }
        let mut out = Vec::new();
        copy.close_gap(&mut out);
        written += out.len() as u64;
        copy.write(disk, out, may_sync)?;
        if may_sync {
            disk.run(Op::Sync { file: copy.file.clone() })?;
        }
        let exchange = copy.finish(&self.dir, may_sync);
        self.handed = Some(Arc::clone(&exchange.new));
        lock().compaction.ready = Some(exchange);
        Ok(Stepped::Worked(read + written))
    }

    /// What stays of a batch.
    fn keep(
        &mut self,
        batch: &Batch<'_>,
        now_ms: i64,
        copy: &mut Copying<F>,
        out: &mut Vec<u8>,
    ) -> Result<(), CleanError> {
        let has_records = batch.records_count() > 0;
        // Control batches end transactions; they have no keys that anything could replace.
        if has_records && (batch.is_control() || batch.base_offset() >= self.map_end) {
            copy.put(batch, out, |out| out.extend_from_slice(batch.bytes()));
            return Ok(());
        }
        let may_go = batch.delete_horizon_ms().is_some_and(|horizon| now_ms > horizon)
            || planted!(self.config, TombstoneDroppedEarly);
        let (mut tombstones, mut all) = (0, 0);
        let mut wanted = Vec::new();
        for_each_record(batch, |record| {
            all += 1;
            let stays = record.key.is_none_or(|key| {
                let is_replaced = if planted!(self.config, LatestLost) {
                    // As if offsets were compared the wrong way.
                    self.latest.has_later(key, Offset(record.offset.0.saturating_sub(1)))
                } else {
                    self.latest.has_later(key, record.offset)
                };
                let is_over = record.value.is_none() && may_go;
                !(is_replaced || is_over)
            });
            if stays {
                tombstones += u32::from(record.key.is_some() && record.value.is_none());
            }
            wanted.push(stays);
        })
        .map_err(|_| CleanError::Damaged)?;
        let kept = wanted.iter().filter(|&&w| w).count();
        if kept == 0 {
            copy.leave_out(batch, out);
            return Ok(());
        }
        let horizon_ms = (tombstones > 0).then(|| {
            let later = now_ms.saturating_add_unsigned(self.config.tombstone_retention_ms);
            batch.delete_horizon_ms().unwrap_or(later)
        });
        if let Some(horizon) = horizon_ms {
            self.horizon_ms = Some(self.horizon_ms.map_or(horizon, |first| first.min(horizon)));
        }
        if kept == all && (horizon_ms.is_none() || batch.delete_horizon_ms().is_some()) {
            copy.put(batch, out, |out| out.extend_from_slice(batch.bytes()));
            return Ok(());
        }
        let mut wanted = wanted.into_iter();
        with_records(batch, |records| {
            let kept: Vec<_> = records.into_iter().filter(|_| wanted.next().unwrap_or(true)).collect();
            copy.put(batch, out, |out| put_with(out, batch, &kept, horizon_ms));
        })
        .map_err(|_| CleanError::Damaged)
    }
}

impl<F: File> Copying<F> {
    /// What the batches of a last gap may take.
    const GAP_BYTES: u64 = 256;

    fn begin<D: Disk<File = F>>(
        disk: &mut D,
        dir: &str,
        config: &LogConfig,
        from: Arc<Segment<F>>,
    ) -> Result<Self, DiskError> {
        let (file, len) = disk.open(&name::cleaned(dir, from.base), OpenHow::OpenOrCreate)?;
        if len > 0 {
            // Of a pass that was given up.
            disk.run(Op::Truncate { file: file.clone(), len: 0 })?;
        }
        let builder = super::partition_log::Active::new(from.base, file.clone(), config);
        let (base, old) = (from.base, Vec::new());
        Ok(Self { file, base, position: 0, synced: 0, next: base, gap: None, builder, old, from, at: 0 })
    }

    /// Nothing of the batch stays but its offsets.
    fn leave_out(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let epoch = batch.leader_epoch();
        if self.gap.is_some_and(|(_, of)| of != epoch) {
            self.close_gap_before(batch.base_offset(), out);
        }
        self.gap.get_or_insert((batch.base_offset(), epoch));
    }

    /// Adds a batch that `write` appends to `out`.
    fn put(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        self.close_gap_before(batch.base_offset(), out);
        let start = out.len();
        write(out);
        self.index(&out[start..], start);
    }

    fn close_gap_before(&mut self, until: Offset, out: &mut Vec<u8>) {
        if let Some((from, epoch)) = self.gap.take() {
            let start = out.len();
            put_empty(out, from, until, epoch);
            self.index(&out[start..], start);
        }
    }

    fn close_gap(&mut self, out: &mut Vec<u8>) {
        self.close_gap_before(self.next, out);
    }

    /// Takes note of batches that were put `start` bytes behind what is written.
    fn index(&mut self, bytes: &[u8], start: usize) {
        let mut at = 0;
        while at < bytes.len() {
            let batch = Batch::parse(&bytes[at..]).expect("it was encoded just now");
            self.builder.note(&batch, self.position + (start + at) as u64);
            at += batch.len();
        }
    }

    fn write<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        out: Vec<u8>,
        may_sync: bool,
    ) -> Result<(), DiskError> {
        if out.is_empty() {
            return Ok(());
        }
        let len = out.len() as u64;
        disk.run(Op::Write { file: self.file.clone(), at: self.position, buf: out, sync: WriteSync::None })?;
        self.position += len;
        if may_sync && self.position - self.synced >= SYNC_EVERY_BYTES {
            disk.run(Op::Sync { file: self.file.clone() })?;
            self.synced = self.position;
        }
        Ok(())
    }

    fn finish(self, dir: &str, sync: bool) -> Exchange<F> {
        let end = self.old.last().expect("it copied at least one").end;
        let path = name::log(dir, self.base);
        let new = self.builder.into_rolled(end, path, self.position);
        Exchange { old: self.old, new: Arc::new(new), sync }
    }
}

/// Puts a copy into the place of what it replaces.
pub(super) fn exchange<D: Disk>(
    disk: &mut D,
    dir: &str,
    exchange: &Exchange<D::File>,
) -> Result<Arc<Segment<D::File>>, DiskError> {
    let sync_names = |disk: &mut D| {
        if exchange.sync { disk.run(Op::SyncDir { dir: dir.to_owned() }).map(drop) } else { Ok(()) }
    };
    let (base, swap) = (exchange.new.base, exchange.swap_path(dir));
    match disk.run(Op::Rename { from: name::cleaned(dir, base), to: swap.clone() }) {
        Ok(_) => sync_names(disk)?,
        // It was begun before, and ended at a full disk.
        Err(error) if error.kind == DiskErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    remove_replaced(disk, dir, base, exchange.old.iter().map(|s| s.base))?;
    sync_names(disk)?;
    let new = seal::seal(disk, dir, &exchange.new, None)?;
    disk.run(Op::Rename { from: swap, to: name::log(dir, base) })?;
    sync_names(disk)?;
    Ok(new)
}

/// Removes the files of old segments, but for the `.log` whose name the copy takes.
fn remove_replaced<D: Disk>(
    disk: &mut D,
    dir: &str,
    base: Offset,
    old: impl IntoIterator<Item = Offset>,
) -> Result<(), DiskError> {
    for path in old.into_iter().flat_map(|base| name::all(dir, base)) {
        if path == name::log(dir, base) {
            continue;
        }
        match disk.run(Op::Remove { path }) {
            Ok(_) => {}
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Finishes the exchanges that a crash has cut off.
pub(super) fn finish_exchanges<D: Disk>(disk: &mut D, dir: &str) -> Result<(), DiskError> {
    let entries = disk.list(dir)?;
    for entry in &entries {
        let Some((base, end)) = name::swapped(&entry.name) else { continue };
        reached("log exchange finished at opening");
        let old = entries.iter().filter_map(|e| {
            let suffix = e.name.find('.').map(|at| &e.name[at..])?;
            name::base_of(&e.name, suffix).filter(|b| (base..end).contains(b))
        });
        remove_replaced(disk, dir, base, old)?;
        disk.run(Op::SyncDir { dir: dir.to_owned() })?;
        disk.run(Op::Rename { from: name::swap(dir, base, end), to: name::log(dir, base) })?;
        disk.run(Op::SyncDir { dir: dir.to_owned() })?;
    }
    Ok(())
}

fn for_each_record(batch: &Batch<'_>, mut look: impl FnMut(&RecordView<'_>)) -> Result<(), BatchError> {
    with_records(batch, |records| records.iter().for_each(&mut look))
}

/// Hands all records of a batch to `look`, or says why they can't be read.
fn with_records<T>(batch: &Batch<'_>, look: impl FnOnce(Vec<RecordView<'_>>) -> T) -> Result<T, BatchError> {
    let unpacked = batch.unpack()?;
    let records = unpacked.records().collect::<Result<Vec<_>, _>>()?;
    Ok(look(records))
}
