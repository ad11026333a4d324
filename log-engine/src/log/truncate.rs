//! Truncating: a follower's log lets go of what its leader doesn't have.
//!
//! It runs in upkeep's place, under the partition's lock, with no commit in flight. The order makes every crash leave
//! one valid log that ends at the old end, at the new one, or at the end of a segment between them:
//!
//! 0. Producer snapshots behind the cut go.
//! 1. The durable-end mark is lowered and synced: what is cut would be damage below the old one.
//! 2. Segments behind go, the last one first, each name synced before the next goes: else a gap could remain.
//! 3. The file is cut and synced. Where readers may hold a map of it, a shortened copy takes its name instead.
//!
//! Space behind the cut is filled with zeros and synced by upkeep before it is written again, as ever.

use std::sync::Arc;

use engine_env::{Disk, DiskError, File, Op, OpenHow, WriteSync};

use super::mark::Mark;
use super::partition_log::{Active, PartitionLog};
use super::producer_recovery::{self, Replayed};
use super::seal;
use crate::Offset;
use crate::config::planted;
use crate::segment::index::Index;
use crate::segment::index_builder::{IndexBuilder, Indexed};
use crate::segment::name;
use crate::segment::offset_index::IndexEntry;
use crate::segment::segment::{Place, ReadError, Segment};
use crate::segment::time_index::TimeEntry;
use crate::segment::window::{Source, Window};

/// How much is copied at once.
const PIECE: usize = 1 << 20;

impl<F: File> PartitionLog<F> {
    /// Whether a truncation was asked for and nothing stands in its way. What is staged or in flight goes first, and so
    /// does the naming of the active segment.
    pub(crate) fn can_truncate(&self) -> bool {
        (self.truncate_to.is_some() || self.restart_at.is_some())
            && self.failed.is_none()
            && self.queue.is_idle()
            && !self.active.unnamed
    }

    /// Truncates as asked: the log ends at most where it was asked to, on a batch's boundary. Or starts anew.
    pub(crate) fn truncate<D: Disk<File = F>>(&mut self, disk: &mut D) {
        let truncated = match (self.restart_at.take(), self.truncate_to.take()) {
            (Some(start), _) if start > self.end => self.restart(disk, start),
            (_, Some(to)) => self.try_truncate(disk, to),
            (_, None) => Ok(()),
        };
        if let Err(error) = truncated {
            self.fail(error);
        }
    }

    fn try_truncate<D: Disk<File = F>>(&mut self, disk: &mut D, to: Offset) -> Result<(), DiskError> {
        if to >= self.end {
            return Ok(());
        }
        let to = to.max(self.start);
        let after = self.segments.partition_point(|s| s.base <= to);
        let cut_segment = if to < self.active.base {
            let at = after.checked_sub(1).expect("the first segment starts the log");
            Some((at, Arc::clone(&self.segments[at])))
        } else {
            None
        };
        let (base, place) = match &cut_segment {
            Some((_, segment)) => (segment.base, segment.place(to)),
            None => (self.active.base, self.active_place(to)),
        };
        let (position, end) = match place.boundary(to) {
            Ok(found) => found,
            Err(ReadError::Disk(error)) => return Err(error),
            Err(ReadError::Batch { .. }) => unreachable!("a boundary needs no records"),
            // All of the damaged stretch goes.
            Err(ReadError::Damaged(damage)) => (damage.position, damage.offset),
        };
        if !planted!(self.config, SnapshotKept) {
            // First: what is appended behind the cut may carry the end past them again.
            producer_recovery::remove_behind(disk, &self.dir, end)?;
        }
        self.snapshots.retain(|&at, _| at <= end);
        let cut = Mark { segment: base, position, offset: end };
        self.compaction.truncate(end)?;
        if self.durable > end {
            self.mark.set(cut)?;
            (self.durable, self.durable_place) = (end, cut);
        }
        if let Some((at, segment)) = cut_segment {
            self.remove_behind(disk, at)?;
            let kept = (segment.index.entries_before(position), segment.times.first_while(|_| true));
            let file = self.shorten(disk, &segment, position)?;
            let index = self.index_up_to(&file, base, position, kept)?;
            // At least as late as what is left of it.
            let newest_ms = segment.newest_ms()?;
            self.active = Active {
                position,
                prepared: position,
                index,
                newest_ms,
                ..Active::new(base, file, &self.config)
            };
        } else {
            seal::cut(disk, &self.active.file, position)?;
            let IndexBuilder { offsets, times, .. } = &mut self.active.index;
            let mut kept = (std::mem::take(offsets), std::mem::take(times));
            kept.0.retain(|e| u64::from(e.position) < position);
            self.active.index = self.index_up_to(&self.active.file, base, position, kept)?;
            (self.active.position, self.active.prepared) = (position, position);
        }
        self.end = end;
        self.recent.clear();
        self.epochs.truncate(end);
        let active = &self.active;
        let mut segments: Vec<_> = self.segments.iter().map(Replayed::of).collect();
        let (file, base, len) = (active.file.clone(), active.base, active.position);
        segments.push(Replayed { source: Source::File(file), base, end, len });
        self.producers = producer_recovery::load(disk, &self.dir, &segments, self.config.producers_max)?;
        Ok(())
    }

    /// The written part of the active segment, for a look from `from` on.
    fn active_place(&self, from: Offset) -> Place<F> {
        let relative = from.0 - self.active.base.0;
        Place {
            source: Source::File(self.active.file.clone()),
            path: self.active_path(),
            base: self.active.base,
            end: self.end,
            limit: self.active.position,
            hint: self.active.index.lookup(relative),
        }
    }

    /// The indexes of a segment that is cut at `position`: what is kept of them, and the batches behind the last entry.
    fn index_up_to(
        &self,
        file: &F,
        base: Offset,
        position: u64,
        (offsets, times): (Vec<IndexEntry>, Vec<TimeEntry>),
    ) -> Result<IndexBuilder, DiskError> {
        let mut at = offsets.last().map_or(0, |e| u64::from(e.position));
        let mut index = IndexBuilder::of(offsets, times, self.config.index_interval_bytes);
        let mut window = Window::new(Source::File(file.clone()), position, PIECE);
        while at < position {
            // Behind a damaged place there are no entries; what is left is found from the last one on.
            let Ok(batch) = window.batch_at(at)? else { break };
            let Some(last) = batch.last_offset().0.checked_sub(base.0) else { break };
            index.add(Indexed {
                last_relative_offset: last,
                position: at,
                len: batch.len() as u64,
                max_timestamp_ms: batch.max_timestamp_ms(),
            });
            at += batch.len() as u64;
        }
        Ok(index)
    }

    /// Removes the active segment, then the ones before it down to the one at `keep`, whose index goes too.
    fn remove_behind<D: Disk<File = F>>(&mut self, disk: &mut D, keep: usize) -> Result<(), DiskError> {
        let mut remove = |path: String| -> Result<(), DiskError> {
            disk.run(Op::Remove { path })?;
            disk.run(Op::SyncDir { dir: self.dir.clone() })?;
            Ok(())
        };
        remove(name::log(&self.dir, self.active.base))?;
        while self.segments.len() > keep + 1 {
            let segment = self.segments.pop().expect("there are more than one");
            if segment.sealed {
                remove(name::index(&self.dir, segment.base))?;
                remove(name::time_index(&self.dir, segment.base))?;
            }
            remove(name::log(&self.dir, segment.base))?;
        }
        let segment = self.segments.pop().expect("the kept one is left");
        if segment.sealed {
            remove(name::index(&self.dir, segment.base))?;
            remove(name::time_index(&self.dir, segment.base))?;
        }
        Ok(())
    }

    /// Cuts a rolled segment. Readers of a sealed one may hold a map, which must not lose its pages: they keep the old
    /// file, and a copy takes its name.
    fn shorten<D: Disk<File = F>>(
        &self,
        disk: &mut D,
        segment: &Segment<F>,
        position: u64,
    ) -> Result<F, DiskError> {
        if matches!(segment.index, Index::Memory(_)) {
            let file = segment.open_file();
            seal::cut(disk, file, position)?;
            return Ok(file.clone());
        }
        let from = format!("{}/{}", self.dir, name::CUT);
        let (copy, len) = disk.open(&from, OpenHow::OpenOrCreate)?;
        if len > 0 {
            disk.run(Op::Truncate { file: copy.clone(), len: 0 })?;
        }
        let mut window = Window::new(segment.source.clone(), position, PIECE);
        let mut at = 0;
        while at < position {
            let bytes = window.bytes_at(at, PIECE)?;
            let buf = bytes[..bytes.len().min(PIECE)].to_vec();
            if buf.is_empty() {
                break;
            }
            let read = buf.len() as u64;
            disk.run(Op::Write { file: copy.clone(), at, buf, sync: WriteSync::None })?;
            at += read;
        }
        disk.run(Op::Sync { file: copy.clone() })?;
        disk.run(Op::Rename { from, to: segment.path.clone() })?;
        disk.run(Op::SyncDir { dir: self.dir.clone() })?;
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use engine_env::rng::Seed;
    use engine_env::sim::{Crash, SimHome};

    use super::*;
    use crate::log::testing::{
        RECORDS, append, append_batch, config, copy, filled, first_bytes, keep_up, open, open_with, tp,
    };
    use crate::{Durability, LogConfig, Record, Sequence, SteppedLog};

    fn truncate(home: &SimHome, log: &SteppedLog<SimHome>, to: u64) {
        log.core.get(&tp()).expect("it is there").lock().truncate_to = Some(Offset(to));
        keep_up(home, log);
    }

    #[test]
    fn what_is_cut_is_gone_and_what_is_appended_instead_stays() {
        for durability in [Durability::Os, Durability::Synced] {
            let home = filled(durability);
            for to in 0..=RECORDS {
                let home = copy(&home);
                let log = open(&home, durability);
                // Somebody who reads from a sealed segment keeps what he has.
                let held = log.fetch(&tp(), Offset(0), 1).expect("readable");
                truncate(&home, &log, to);
                assert_eq!(log.ends(&tp()).expect("it is there").end, Offset(to));
                (to..RECORDS + 2).for_each(|record| append(&home, &log, record, 2));
                let expected: Vec<_> =
                    (0..RECORDS + 2).map(|r| (r as u8, if r < to { 1 } else { 2 })).collect();
                assert_eq!(first_bytes(&log), expected, "{durability}, cut to {to}");
                assert_eq!(held.records().count(), 1);
                drop(log);
                home.reboot(Crash::KeepUnsynced);
                assert_eq!(
                    first_bytes(&open(&home, durability)),
                    expected,
                    "{durability}, cut to {to}, reopened"
                );
            }
        }
    }

    /// Where a producer's next batch goes after its later ones were cut and others came instead; at once, and after a
    /// restart.
    fn next_of_a_cut_producer(config: LogConfig) -> [Offset; 2] {
        let batch = |producer_id, first, len| {
            let mut builder = crate::BatchBuilder::new();
            builder.push(&Record::of_value(&vec![1; len]), 1).expect("small");
            let sequence = Sequence { producer_id, epoch: 0, first };
            builder.finish_as(crate::Compression::None, Some(sequence)).expect("not empty")
        };
        let home = SimHome::new(Seed(5));
        let log = open_with(&home, config.clone());
        log.create_topic("t", 1).expect("new");
        for first in 0..12 {
            append_batch(&home, &log, &batch(1, first, 1500));
        }
        keep_up(&home, &log);
        let snapshots = home.files().into_iter().filter(|f| f.ends_with(".snapshot")).count();
        assert!(snapshots >= 2, "{:?}", home.files());
        truncate(&home, &log, 4);
        // Past the end that the first snapshot is of, and into no new segment.
        for first in 0..3 {
            append_batch(&home, &log, &batch(2, first, 300));
        }
        drop(log);
        let at_once = copy(&home);
        let log = open_with(&home, config.clone());
        let after = append_batch(&home, &log, &batch(1, 4, 300));
        // The same without a restart in between.
        let log = open_with(&at_once, config);
        truncate(&at_once, &log, 6);
        [append_batch(&at_once, &log, &batch(1, 4, 300)), after]
    }

    #[test]
    fn of_a_batch_that_was_cut_its_producer_is_asked_for_again() {
        for durability in [Durability::Os, Durability::Synced] {
            assert_eq!(next_of_a_cut_producer(config(durability)), [Offset(6), Offset(7)], "{durability}");
        }
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn teeth_a_snapshot_that_outlives_a_cut_is_found() {
        let config =
            LogConfig { planted_bug: Some(crate::PlantedBug::SnapshotKept), ..config(Durability::Synced) };
        // A panic is a find too.
        let found = std::panic::catch_unwind(|| next_of_a_cut_producer(config));
        assert_ne!(found.ok(), Some([Offset(6), Offset(7)]));
    }

    #[test]
    fn a_crash_at_any_step_leaves_one_valid_log_between_the_two_ends() {
        let mut crashes = 0;
        for durability in [Durability::Os, Durability::Synced] {
            let filled = filled(durability);
            for to in [0, 1, 4, 5, 8, RECORDS - 1] {
                let whole = copy(&filled);
                let log = open(&whole, durability);
                let before = whole.steps();
                truncate(&whole, &log, to);
                let steps = whole.steps() - before;
                for step in 0..=steps {
                    for seed in 0..4 {
                        let home = copy(&filled);
                        let log = open(&home, durability);
                        home.crash_at_step(home.steps() + step);
                        truncate(&home, &log, to);
                        let is_done = home.is_powered();
                        drop(log);
                        let crash = match seed {
                            0 => Crash::LoseUnsynced,
                            1 => Crash::KeepUnsynced,
                            seed => Crash::PowerCut(Seed(seed * 1000 + step)),
                        };
                        home.reboot(crash);
                        let log = open(&home, durability);
                        let found = first_bytes(&log);
                        let expected: Vec<_> = (0..found.len()).map(|r| (r as u8, 1)).collect();
                        let what = format!("{durability}, cut to {to}, {crash:?} at step {step} of {steps}");
                        assert_eq!(found, expected, "{what}");
                        let len = found.len() as u64;
                        if is_done {
                            assert_eq!(len, to, "{what}: it was done");
                        }
                        assert!((to..=RECORDS).contains(&len), "{what}: {len} records are left");
                        append(&home, &log, len, 3);
                        drop(log);
                        home.reboot(Crash::KeepUnsynced);
                        assert_eq!(first_bytes(&open(&home, durability)).len() as u64, len + 1, "{what}");
                        crashes += 1;
                    }
                }
            }
        }
        assert!(crashes > 300, "only {crashes}");
    }
}
