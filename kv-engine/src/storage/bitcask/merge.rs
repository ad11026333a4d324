//! Merging: the live records of segments that are mostly garbage move to a new one, in small steps. They stand there in
//! the order of their sequences, as in every segment: a feed reads segments side by side.
//!
//! Crash-safe by order: the output has its name only when it is complete and durable; the inputs go after that, and
//! until then the same record may be there twice, which recovery sees by its sequence. A tombstone is dropped only
//! if no other segment can hold a put that it killed, and no open feed has still to tell it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_env::marks::reached;
use engine_env::{Disk, DiskError, DiskErrorKind, File, Op, OpenHow, WriteSync};

use super::maintenance::Maintenance;
use super::record::{At, Content, RecordKind, RecordView};
use super::scan::{Parsed, View, WINDOW_BYTES, Window, parse_at, sequence_at};
use super::segment::{self, HEADER_LEN, Header, Origin, Segment};
use super::stats::count;
use super::{Bitcask, folder, hint, planted};
use crate::hash::HashedKey;

/// A step reads about this much, so that the rate limit is kept evenly. Less than a window, so that the last record
/// of a step rarely needs another one.
const STEP_BYTES: u64 = WINDOW_BYTES - (64 << 10);
/// The output is written in pieces of this size.
const WRITE_BYTES: usize = 1 << 20;

/// A merge under way.
#[derive(Debug)]
pub(super) struct MergeRun<F> {
    inputs: Vec<Input<F>>,
    output: Option<Output<F>>,
    /// Everything with a lower sequence was applied before the first record was judged.
    live_as_of: u64,
    /// Names are being changed: a failure from here on may leave a file with puts that the key directory doesn't
    /// know, so no merge after it may drop a tombstone.
    changes_names: bool,
}

/// A segment that is read from front to back, together with the others.
#[derive(Debug)]
struct Input<F> {
    segment: Arc<Segment<F>>,
    /// Where the next record stands, and its sequence.
    at: u64,
    next: u64,
    view: View,
}

impl<F> Input<F> {
    fn new(segment: Arc<Segment<F>>) -> Self {
        let next = segment.first_sequence();
        Self { segment, at: HEADER_LEN as u64, next, view: View::default() }
    }

    fn is_read(&self) -> bool {
        self.at >= self.segment.end()
    }
}

#[derive(Debug)]
struct Output<F> {
    header: Header,
    file: F,
    written: u64,
    buf: Vec<u8>,
}

impl<F: File> Output<F> {
    fn create<D: Disk<File = F>>(disk: &mut D, header: Header) -> Result<Self, DiskError> {
        let (file, _) = disk.open(&segment::unfinished_name(header.origin, header.id), OpenHow::CreateNew)?;
        Ok(Self { header, file, written: 0, buf: header.encode().to_vec() })
    }

    fn end(&self) -> u64 {
        self.written + self.buf.len() as u64
    }

    fn append(&mut self, record: &RecordView<'_>) {
        let content = Content {
            kind: record.kind,
            key: record.key,
            clock: &record.clock,
            value: record.value,
            value_crc: record.value_crc,
        };
        let at = At { segment: self.header.id, position: self.end() };
        content.encode(at, record.sequence, &mut self.buf);
    }

    fn flush<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<u64, DiskError> {
        let buf = std::mem::take(&mut self.buf);
        let len = buf.len() as u64;
        let op = Op::Write { file: self.file.clone(), at: self.written, buf, sync: WriteSync::None };
        let (result, buf) = disk.run_with_buf(op);
        result?;
        self.buf = buf.unwrap_or_default();
        self.buf.clear();
        self.written += len;
        Ok(len)
    }
}

impl<F: File> MergeRun<F> {
    fn is_read(&self) -> bool {
        self.inputs.iter().all(Input::is_read)
    }

    /// The input that the next record comes from, and the sequence at which another one has its turn: the output is
    /// in order, as every segment is.
    fn turn(&self) -> Option<(usize, u64)> {
        let mut unread: Vec<_> = self
            .inputs
            .iter()
            .enumerate()
            .filter(|(_, input)| !input.is_read())
            .map(|(i, one)| (one.next, i))
            .collect();
        unread.sort_unstable();
        let (_, first) = *unread.first()?;
        Some((first, unread.get(1).map_or(u64::MAX, |(next, _)| *next)))
    }

    /// Gives up: the inputs stay, what was written goes.
    pub(super) fn abandon<D: Disk<File = F>>(self, disk: &mut D) {
        if let Some(output) = self.output {
            // If it can't be removed now, the next open does it.
            let _ = disk
                .run(Op::Remove { path: segment::unfinished_name(output.header.origin, output.header.id) });
        }
    }
}

/// What became of a step over the inputs.
enum Copied {
    Some { bytes: u64 },
    Damaged,
}

impl<F: File> Bitcask<F> {
    /// Takes the merge a step on, or begins one if it is worth it. Gives the bytes moved; none if there is nothing
    /// to do.
    pub(super) fn merge_step<D: Disk<File = F>>(
        &self,
        maintenance: &mut Maintenance<F>,
        disk: &mut D,
    ) -> Result<Option<u64>, DiskError> {
        if self.merges_stopped.load(Ordering::Acquire) || self.writer().stopped.is_some() {
            return Ok(None);
        }
        let Some(mut run) = maintenance.merge.take().or_else(|| self.choose_inputs()) else {
            return Ok(None);
        };
        let moved = self.copy_some(&mut run, disk).and_then(|copied| match copied {
            Copied::Some { bytes } if !run.is_read() => Ok(Some(bytes)),
            Copied::Some { bytes } => {
                self.finish_merge(&mut run, disk)?;
                Ok(Some(bytes))
            }
            Copied::Damaged => {
                reached("kv merge given up over damage");
                Ok(None)
            }
        });
        match moved {
            Ok(Some(bytes)) => {
                if !run.is_read() {
                    maintenance.merge = Some(run);
                }
                count(&self.counters.merged_bytes, bytes);
                Ok(Some(bytes))
            }
            Ok(None) => {
                run.abandon(disk);
                Ok(Some(0))
            }
            Err(error) => {
                // No space for the output: later, perhaps. Anything else: not before the next open.
                reached("kv merge ended by an error");
                let stopped = run.changes_names || error.kind != DiskErrorKind::NoSpace;
                self.merges_stopped.store(stopped, Ordering::Release);
                run.abandon(disk);
                if stopped { Err(error) } else { Ok(None) }
            }
        }
    }

    /// Whether the segments take more than the settings allow beside what can be read, and something can be gained by merging.
    #[must_use]
    pub fn is_bloated(&self) -> bool {
        let (mut taken, mut live) = (0, 0);
        for segment in self.keydir.segments() {
            taken += segment.end();
            live += segment.live();
        }
        // The segment at work and the next one can't be merged.
        taken as f64 > self.config.space_ratio_max * live as f64 + self.config.segment_bytes as f64
    }

    /// The segments whose merge frees most for least, if any is worth it.
    fn choose_inputs(&self) -> Option<MergeRun<F>> {
        let (busy, applied) = {
            let writer = self.writer();
            let mut busy: Vec<u32> = writer.sealed.iter().map(|s| s.id).collect();
            busy.push(writer.active.id);
            busy.extend(writer.prepared.as_ref().map(|s| s.id));
            (busy, writer.applied)
        };
        let expired_before_ms = self.expired_before_ms();
        let all = self.keydir.segments();
        let free: Vec<_> = all.iter().filter(|s| !busy.contains(&s.id) && !s.is_damaged()).collect();
        let records = |s: &Segment<F>| s.end().saturating_sub(HEADER_LEN as u64);
        let mut worth: Vec<_> = free
            .iter()
            .filter_map(|s| {
                let mut garbage = s.dead_puts();
                let others_live_as_of = self.others_live_as_of(&all, s.id, applied);
                let oldest_needed = others_live_as_of.min(self.feeds.oldest());
                if oldest_needed > s.newest_tombstone() {
                    garbage += s.tombstones();
                }
                if s.is_expired(expired_before_ms) && others_live_as_of > s.last_sequence() {
                    garbage += s.live();
                }
                // A segment without records is all garbage: a power cut in `os` may leave one.
                if records(s) == 0 {
                    return Some((1.0, *s));
                }
                let ratio = garbage as f64 / records(s) as f64;
                (garbage > 0 && ratio >= self.config.merge_garbage_ratio).then_some((ratio, *s))
            })
            .collect();
        worth.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut inputs = Vec::new();
        let mut moved = 0;
        for (_, segment) in worth {
            moved += segment.live() + segment.tombstones();
            if !inputs.is_empty() && moved > self.config.segment_bytes {
                break;
            }
            inputs.push(Arc::clone(segment));
        }
        if inputs.is_empty() {
            // Tombstones stay while an old segment holds a few dead puts, too few for its own merge. If they have
            // become a burden, the oldest such segment is merged nevertheless.
            let tombstones: u64 = free.iter().map(|s| s.tombstones()).sum();
            let total: u64 = free.iter().map(|s| records(s)).sum();
            let burden = tombstones as f64 >= self.config.merge_garbage_ratio * total.max(1) as f64;
            let oldest =
                free.iter().filter(|s| s.dead_puts() > 0).min_by_key(|s| s.live_as_of(applied)).copied();
            inputs.extend(oldest.filter(|_| burden).cloned());
        }
        (!inputs.is_empty()).then(|| MergeRun {
            inputs: inputs.into_iter().map(Input::new).collect(),
            output: None,
            live_as_of: applied,
            changes_names: false,
        })
    }

    /// A tombstone with a lower sequence in segment `except` has killed no put that another segment still holds.
    fn others_live_as_of(&self, all: &[Arc<Segment<F>>], except: u32, applied: u64) -> u64 {
        all.iter().filter(|s| s.id != except).map(|s| s.live_as_of(applied)).min().unwrap_or(applied)
    }

    fn is_alive(&self, record: &RecordView<'_>, input: &Segment<F>, droppable_below: u64) -> bool {
        match record.kind {
            RecordKind::Tombstone => {
                let is_needed = record.sequence >= droppable_below || !self.feeds.let_go(record.sequence);
                let kept = is_needed && !planted!(self, TombstonesDropped);
                reached(if kept { "kv merge kept a tombstone" } else { "kv merge dropped a tombstone" });
                kept
            }
            RecordKind::Put => {
                let key = HashedKey::new(record.key);
                let is_expired = record.clock.timestamp_ms() < self.expired_before_ms();
                if is_expired && (record.sequence < droppable_below || planted!(self, ExpiryUnguarded)) {
                    // What it killed is gone, as with a tombstone. It stays on the disk until the input goes: then the next
                    // opening takes it up again, expired as it is.
                    reached("kv merge dropped an expired version");
                    self.keydir.write(key).expire(key, record.sequence);
                }
                let shard = self.keydir.read(key);
                let Some(spots) = shard.spots(key) else { return false };
                let newest = if planted!(self, SiblingLost) { spots.count() - 1 } else { 0 };
                let mut kept = spots.skip(newest);
                kept.any(|spot| spot.segment == input.id && spot.position == record.position)
            }
        }
    }

    /// Copies the live records of the next stretch of input, in the order of their sequences.
    fn copy_some<D: Disk<File = F>>(&self, run: &mut MergeRun<F>, disk: &mut D) -> Result<Copied, DiskError> {
        let (mut passed, mut moved) = (0, 0);
        while passed < STEP_BYTES
            && let Some((turn, until)) = run.turn()
        {
            let MergeRun { inputs, output, .. } = run;
            let input = &mut inputs[turn];
            let segment = Arc::clone(&input.segment);
            let droppable_below = self.others_live_as_of(&self.keydir.segments(), segment.id, run.live_as_of);
            // The output is filled from the window before it is written: both need the disk.
            let view = std::mem::take(&mut input.view);
            let mut window = Window::with_view(disk, segment.file.clone(), segment.end(), view);
            let mut needs_output = false;
            while !input.is_read() && passed < STEP_BYTES {
                let Some(next) = sequence_at(&mut window, input.at)? else {
                    segment.mark_damaged();
                    return Ok(Copied::Damaged);
                };
                input.next = next;
                if next > until || output.as_ref().is_some_and(|output| output.buf.len() >= WRITE_BYTES) {
                    break;
                }
                let at = At { segment: segment.id, position: input.at };
                let Parsed::Record(record) = parse_at(&mut window, at)? else {
                    segment.mark_damaged();
                    return Ok(Copied::Damaged);
                };
                if self.is_alive(&record, &segment, droppable_below) {
                    if record.damage.is_some() {
                        segment.mark_damaged();
                        return Ok(Copied::Damaged);
                    }
                    let Some(output) = output else {
                        needs_output = true;
                        break;
                    };
                    output.append(&record);
                }
                input.at += record.len;
                passed += record.len;
            }
            moved += window.bytes_read();
            input.view = if input.is_read() { View::default() } else { window.into_view() };
            match &mut run.output {
                None if needs_output => {
                    let id = self.next_segment.fetch_add(1, Ordering::AcqRel);
                    let header = Header {
                        id,
                        synced: self.config.zero_fills(),
                        origin: Origin::Merged,
                        live_as_of: run.live_as_of,
                    };
                    run.output = Some(Output::create(disk, header)?);
                }
                Some(output) if output.buf.len() >= WRITE_BYTES => {
                    let written = output.flush(disk)?;
                    count(&self.counters.written_bytes, written);
                    moved += written;
                }
                _ => {}
            }
        }
        Ok(Copied::Some { bytes: moved })
    }

    /// Makes the output durable, points the key directory to it, and removes the inputs.
    fn finish_merge<D: Disk<File = F>>(&self, run: &mut MergeRun<F>, disk: &mut D) -> Result<(), DiskError> {
        if planted!(self, MergeUnsynced) {
            for input in &run.inputs {
                disk.run(Op::Remove { path: input.segment.name.clone() })?;
            }
            folder::sync_dir(disk)?;
        }
        if let Some(mut output) = run.output.take() {
            let written = output.flush(disk);
            run.changes_names = written.is_ok();
            let named = written.and_then(|written| {
                count(&self.counters.written_bytes, written);
                self.name_output(&output, disk)
            });
            match named {
                Ok(()) => self.move_in(&output, disk)?,
                Err(error) => {
                    run.output = Some(output);
                    return Err(error);
                }
            }
        }
        // What killed the records that weren't copied must be as durable as their removal.
        self.sync_written(disk)?;
        // The mark on the disk may be older than one of the inputs; without them it would point to nothing.
        let end = self.writer().end_to_note();
        let deletes_from = self.feeds.deletes_from();
        let mut mark = self.mark();
        mark.set_deletes_from(deletes_from);
        mark.note_synced(disk, end)?;
        drop(mark);
        count(&self.counters.syncs, 1);
        run.changes_names = true;
        let mut removed = false;
        for Input { segment: input, .. } in &run.inputs {
            if input.live() != 0 && !planted!(self, SiblingLost) {
                // Never expected; but a record that somebody can read mustn't go.
                input.mark_damaged();
                continue;
            }
            self.keydir.remove_segment(input.id);
            if !planted!(self, MergeUnsynced) {
                disk.run(Op::Remove { path: input.name.clone() })?;
            }
            if input.hint_len() > 0 {
                // If it stays, the next opening finds that it is of nothing.
                let _ = disk.run(Op::Remove { path: hint::name_of(&input.name) });
            }
            removed = true;
        }
        if removed {
            folder::sync_dir(disk)?;
            count(&self.counters.syncs, 1);
        }
        reached("kv merge done");
        count(&self.counters.merges, 1);
        Ok(())
    }

    fn name_output<D: Disk<File = F>>(&self, output: &Output<F>, disk: &mut D) -> Result<(), DiskError> {
        if !planted!(self, MergeUnsynced) {
            disk.run(Op::Sync { file: output.file.clone() })?;
        }
        let (from, to) = (
            segment::unfinished_name(output.header.origin, output.header.id),
            segment::name(Origin::Merged, output.header.id),
        );
        disk.run(Op::Rename { from, to })?;
        count(&self.counters.syncs, 2);
        if planted!(self, DirSyncSkipped) { Ok(()) } else { folder::sync_dir(disk) }
    }

    /// Reads the output back and lets the key directory point to what is still alive. Reading it also verifies it,
    /// before the inputs go.
    fn move_in<D: Disk<File = F>>(&self, output: &Output<F>, disk: &mut D) -> Result<(), DiskError> {
        let end = output.end();
        let segment = Arc::new(Segment::new(output.header, output.file.clone(), end, end));
        self.keydir.add_segment(&segment);
        let mut window = Window::new(disk, output.file.clone(), end);
        let mut position = HEADER_LEN as u64;
        while position < end {
            let record = match parse_at(&mut window, At { segment: segment.id, position })? {
                Parsed::Record(record) if record.damage.is_none() => record,
                _ => {
                    segment.mark_damaged();
                    return Err(DiskError::new(
                        "read back",
                        segment.name.as_str(),
                        Some(position),
                        DiskErrorKind::Os(5),
                    ));
                }
            };
            segment.note_sequence(record.sequence);
            if record.kind == RecordKind::Put {
                segment.note_timestamp(record.clock.timestamp_ms());
            }
            match record.kind {
                RecordKind::Tombstone => segment.count_tombstone(record.len, record.sequence),
                RecordKind::Put => {
                    let key = HashedKey::new(record.key);
                    let mut shard = self.keydir.write(key);
                    shard.relocate(key, record.sequence, &segment, position, record.len);
                }
            }
            position += record.len;
        }
        segment.seal();
        self.want_hint(&segment);
        Ok(())
    }
}
