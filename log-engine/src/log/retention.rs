//! Retention: whole segments go from the log's start, by age, by size, or because somebody asked.
//!
//! The order makes every crash leave one valid log that starts at the old start or at the new one:
//!
//! 1. The new start is written into a mark of its own and synced. Kafka keeps it in `log-start-offset-checkpoint`.
//! 2. Readers are refused below it, and the segments that end there or before leave the log's list.
//! 3. Their files go, the oldest first. Whatever a crash leaves of them lies below the start, and goes when the log is
//!    opened.
//!
//! Only what is sealed goes, so the start never lies beyond what is durable. Readers that hold a slice of a removed
//! segment keep it: its file's bytes stay until the last map of them is dropped.

use std::sync::Arc;

use engine_env::marks::reached;
use engine_env::{Disk, DiskError, DiskErrorKind, File, Op, WriteSync};

use super::mark::{Mark, MarkFile};
use super::partition_log::{Active, PartitionLog};
use super::producer_state::ProducerState;
use crate::segment::name;
use crate::segment::segment::Segment;
use crate::{LogConfig, Offset};

/// Where the limits on age and size let a log start whose sealed segments are `sealed`, oldest first, with
/// `active_bytes` behind them. Nothing that ends behind `below` goes.
pub(crate) fn start_within_limits<F: File>(
    config: &LogConfig,
    sealed: &[Arc<Segment<F>>],
    active_bytes: u64,
    below: Offset,
    now_ms: i64,
) -> Result<Option<Offset>, DiskError> {
    let mut left = active_bytes + sealed.iter().map(|s| s.len).sum::<u64>();
    let mut start = None;
    for segment in sealed {
        left -= segment.len;
        let too_much = config.retention_bytes.is_some_and(|bytes| left >= bytes);
        if segment.end > below || !too_much && !is_too_old(config, segment.newest_ms()?, now_ms) {
            break;
        }
        start = Some(segment.end);
    }
    Ok(start)
}

fn is_too_old(config: &LogConfig, newest_ms: i64, now_ms: i64) -> bool {
    config.retention_ms.is_some_and(|ms| i128::from(newest_ms) + i128::from(ms) < i128::from(now_ms))
}

/// Writes where the log starts.
pub(crate) fn write_start<D: Disk>(
    disk: &mut D,
    dir: &str,
    mark: Option<MarkFile<D::File>>,
    to: Offset,
    sync: WriteSync,
) -> Result<MarkFile<D::File>, DiskError> {
    let mut mark = match mark {
        Some(mark) => mark,
        None => MarkFile::open(disk, dir, name::START)?,
    };
    mark.advance(Mark { segment: Offset(0), position: 0, offset: to }, sync)?;
    Ok(mark)
}

/// Removes the files of segments, the oldest first.
pub(crate) fn remove_segments<D: Disk>(
    disk: &mut D,
    dir: &str,
    bases: impl IntoIterator<Item = Offset>,
) -> Result<(), DiskError> {
    for path in bases.into_iter().flat_map(|base| name::all(dir, base)) {
        match disk.run(Op::Remove { path }) {
            Ok(_) => {}
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    disk.run(Op::SyncDir { dir: dir.to_owned() })?;
    Ok(())
}

impl<F: File> PartitionLog<F> {
    /// The sealed segments that the limits may take.
    pub(crate) fn sealed(&self) -> Vec<Arc<Segment<F>>> {
        self.segments.iter().take_while(|s| s.sealed).cloned().collect()
    }

    /// Asks upkeep to let the log start at `to`. It never goes back, nor beyond what is durable.
    pub(crate) fn want_start(&mut self, to: Offset) {
        let to = to.min(self.durable);
        if to > self.start.max(self.start_to.unwrap_or_default()) {
            self.start_to = Some(to);
        }
    }

    /// Leaves an active segment whose records are all too old, so that it can go when it is sealed.
    pub(crate) fn leave_old_active(&mut self, now_ms: i64) {
        let active = &self.active;
        if active.position == 0
            || active.unnamed
            || self.leftover
            || !is_too_old(&self.config, active.newest_ms, now_ms)
        {
            return;
        }
        match self.next.take() {
            Some(next) => self.roll(next),
            None => self.wanted.next = true,
        }
    }

    /// The start is durable: readers are refused below it, and what ends there leaves the list.
    pub(crate) fn start_moved(&mut self, mark: MarkFile<F>) {
        let start = mark.mark.offset;
        self.start = self.start.max(start);
        self.start_mark = Some(mark);
        if self.start_to.is_some_and(|to| to <= self.start) {
            self.start_to = None;
        }
        let gone = self.segments.iter().take_while(|s| s.sealed && s.end <= self.start).count();
        self.removed.extend(self.segments.drain(..gone));
        if gone > 0 {
            reached("log segments removed by retention");
        }
    }

    /// Lets go of everything and starts anew at `start`, behind the log's end: a follower whose leader has nothing older.
    ///
    /// A crash leaves the old log or the new one: once the start is durable, opening finishes what was begun.
    pub(crate) fn restart<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        start: Offset,
    ) -> Result<(), DiskError> {
        let mark = write_start(disk, &self.dir, self.start_mark.clone(), start, WriteSync::Data)?;
        let old = self.segments.iter().map(|s| s.base).chain([self.active.base]).collect::<Vec<_>>();
        let file = restart_at(disk, &self.dir, &mut self.mark, old, start)?;
        self.segments.clear();
        self.active = Active::new(start, file, &self.config);
        (self.end, self.durable, self.start) = (start, start, start);
        self.durable_place = self.mark.mark;
        self.start_mark = Some(mark);
        self.start_to = None;
        self.recent.clear();
        self.epochs.forget();
        // Its mark lies below the start, and counts no more.
        self.compaction.clean_from(start);
        // What is left of them lies below the start, and is removed when the log is opened.
        self.producers = ProducerState::new(self.config.producers_max);
        self.snapshots.clear();
        Ok(())
    }
}

/// Replaces all segments by an empty one that starts at `start`, which is durable as the log's start.
pub(crate) fn restart_at<D: Disk>(
    disk: &mut D,
    dir: &str,
    durable_end: &mut MarkFile<D::File>,
    old: Vec<Offset>,
    start: Offset,
) -> Result<D::File, DiskError> {
    reached("log restarted behind its end");
    // Before anything goes: what goes would be damage below the old mark.
    durable_end.set(Mark { segment: start, position: 0, offset: start })?;
    let (file, len) = disk.open(&name::log(dir, start), engine_env::OpenHow::OpenOrCreate)?;
    if len > 0 {
        disk.run(Op::Truncate { file: file.clone(), len: 0 })?;
        disk.run(Op::Sync { file: file.clone() })?;
    }
    remove_segments(disk, dir, old.into_iter().filter(|&base| base != start))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use engine_env::Home;
    use engine_env::rng::Seed;
    use engine_env::sim::{Crash, SimHome};

    use super::*;
    use crate::log::testing::{
        RECORDS, append, config, copy, filled, first_bytes, keep_up, open, open_with, tp,
    };
    use crate::{Durability, FetchError, Interval, SteppedLog};

    const BOTH: [Durability; 2] = [Durability::Os, Durability::Synced];

    fn records(range: std::ops::Range<u64>) -> Vec<(u8, u8)> {
        range.map(|r| (r as u8, 1)).collect()
    }

    fn start_of(log: &SteppedLog<SimHome>) -> u64 {
        log.ends(&tp()).expect("it is there").start.0
    }

    fn files(home: &SimHome, suffix: &str) -> usize {
        home.files().iter().filter(|f| f.ends_with(suffix)).count()
    }

    /// A way to move the start.
    #[derive(Debug, Clone, Copy)]
    enum By {
        AgeMs(u64),
        Bytes(u64),
        Asking(u64),
        Restart(u64),
    }

    impl By {
        fn config(self, durability: Durability) -> LogConfig {
            let config = config(durability);
            match self {
                Self::AgeMs(ms) => LogConfig { retention_ms: Some(ms), ..config },
                Self::Bytes(bytes) => LogConfig { retention_bytes: Some(bytes), ..config },
                Self::Asking(_) | Self::Restart(_) => config,
            }
        }

        fn run(self, home: &SimHome, log: &SteppedLog<SimHome>) {
            match self {
                Self::AgeMs(_) | Self::Bytes(_) => log.enforce_retention(10 * RECORDS as i64),
                Self::Asking(offset) => log.delete_before(&tp(), Offset(offset)).expect("it is there"),
                Self::Restart(offset) => {
                    log.core.get(&tp()).expect("it is there").lock().restart_at = Some(Offset(offset));
                }
            }
            keep_up(home, log);
        }
    }

    #[test]
    fn each_limit_takes_whole_segments_and_no_more_than_it_has_to() {
        // Five records a segment, of about 1,570 bytes each, ten milliseconds apart; the last two are in the active one.
        let cases = [
            (By::AgeMs(1000), 0, 3),
            (By::AgeMs(79), 5, 2),
            // 120 - 90 is not older than 30.
            (By::AgeMs(30), 5, 2),
            (By::AgeMs(29), 10, 1),
            (By::Bytes(20_000), 0, 3),
            (By::Bytes(10_000), 5, 2),
            (By::Bytes(3_000), 10, 1),
            // What is not sealed stays, however little is asked for.
            (By::Bytes(0), 10, 1),
            (By::Asking(0), 0, 3),
            // The segment stays, and below it nothing is shown.
            (By::Asking(3), 3, 3),
            (By::Asking(5), 5, 2),
            (By::Asking(9), 9, 2),
            (By::Asking(11), 11, 1),
            (By::Asking(999), RECORDS, 1),
        ];
        for durability in BOTH {
            let filled = filled(durability);
            for (by, start, segments) in cases {
                let what = format!("{durability}, {by:?}");
                let home = copy(&filled);
                let log = open_with(&home, by.config(durability));
                let held = log.fetch(&tp(), Offset(0), 4000).expect("readable");
                by.run(&home, &log);
                assert_eq!(first_bytes(&log), records(start..RECORDS), "{what}");
                assert_eq!(files(&home, ".log"), segments, "{what}");
                assert_eq!(files(&home, ".index"), segments - 1, "{what}");
                assert_eq!(held.records().count(), 2, "{what}: whoever holds a slice keeps it");
                if start > 0 {
                    let error = log.fetch(&tp(), Offset(start - 1), 1).expect_err("it is gone");
                    let FetchError::OutOfRange { start: told, .. } = error else { panic!("{error}") };
                    assert_eq!(told.0, start);
                }
                append(&home, &log, RECORDS, 1);
                drop(log);
                home.reboot(Crash::LoseUnsynced);
                let log = open(&home, durability);
                let end = if durability == Durability::Synced { RECORDS + 1 } else { RECORDS };
                assert_eq!(first_bytes(&log), records(start..end), "{what}, reopened");
            }
        }
    }

    #[test]
    fn an_active_segment_that_got_old_is_left_and_goes() {
        for durability in BOTH {
            let home = filled(durability);
            home.reboot(Crash::KeepUnsynced);
            let log = open_with(&home, LogConfig { retention_ms: Some(100), ..config(durability) });
            for _ in 0..4 {
                log.enforce_retention(1_000_000);
                keep_up(&home, &log);
            }
            assert_eq!((start_of(&log), first_bytes(&log)), (RECORDS, Vec::new()));
            append(&home, &log, RECORDS, 1);
            assert_eq!(first_bytes(&log), records(RECORDS..RECORDS + 1));
        }
    }

    #[test]
    fn nothing_behind_the_high_watermark_goes() {
        let home = filled(Durability::Synced);
        home.reboot(Crash::KeepUnsynced);
        let log = open_with(&home, By::Bytes(0).config(Durability::Synced));
        let partition = log.core.get(&tp()).expect("it is there");
        for (high_watermark, start) in [(4, 0), (7, 5), (10, 10)] {
            partition.removable_below.store(high_watermark, std::sync::atomic::Ordering::Release);
            By::Bytes(0).run(&home, &log);
            assert_eq!(start_of(&log), start, "high watermark {high_watermark}");
        }
    }

    #[test]
    fn a_log_restarts_behind_its_end() {
        for durability in BOTH {
            let home = filled(durability);
            home.reboot(Crash::KeepUnsynced);
            let log = open(&home, durability);
            By::Restart(50).run(&home, &log);
            assert_eq!((start_of(&log), first_bytes(&log)), (50, Vec::new()));
            append(&home, &log, 50, 1);
            drop(log);
            home.reboot(Crash::KeepUnsynced);
            let log = open(&home, durability);
            assert_eq!((start_of(&log), first_bytes(&log)), (50, records(50..51)));
        }
    }

    #[test]
    fn a_crash_at_any_step_leaves_one_valid_log_that_starts_at_one_of_the_two_starts() {
        let mut crashes = 0;
        let ways = [By::AgeMs(29), By::Bytes(10_000), By::Asking(3), By::Asking(7), By::Restart(50)];
        for durability in BOTH {
            let filled = filled(durability);
            for by in ways {
                let whole = copy(&filled);
                let log = open_with(&whole, by.config(durability));
                let before = whole.steps();
                by.run(&whole, &log);
                let (steps, new_start) = (whole.steps() - before, start_of(&log));
                for step in 0..=steps {
                    for seed in 0..8 {
                        let home = copy(&filled);
                        let log = open_with(&home, by.config(durability));
                        home.crash_at_step(home.steps() + step);
                        by.run(&home, &log);
                        let seen = if home.is_powered() { start_of(&log) } else { 0 };
                        drop(log);
                        let crash = match seed {
                            0 => Crash::LoseUnsynced,
                            1 => Crash::KeepUnsynced,
                            seed => Crash::PowerCut(Seed(seed * 1000 + step)),
                        };
                        home.reboot(crash);
                        let what = format!("{durability}, {by:?}, {crash:?} at step {step} of {steps}");
                        let log = open(&home, durability);
                        let start = start_of(&log);
                        assert!(start == 0 || start == new_start, "{what}: it starts at {start}");
                        assert!(start >= seen, "{what}: a reader was told that the log starts at {seen}");
                        let end = if start > RECORDS { start } else { RECORDS };
                        assert_eq!(first_bytes(&log), records(start..end), "{what}");
                        let before = home.files();
                        append(&home, &log, end, 1);
                        drop(log);
                        home.reboot(Crash::KeepUnsynced);
                        let log = open(&home, durability);
                        assert_eq!(first_bytes(&log), records(start..end + 1), "{what}, reopened");
                        assert!(files(&home, ".log") <= before.len(), "{what}");
                        crashes += 1;
                    }
                }
            }
        }
        assert!(crashes > 300, "only {crashes}");
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn a_start_that_is_not_synced_before_segments_go_is_found() {
        let filled = filled(Durability::Synced);
        let found = (0..200).any(|seed| {
            let home = copy(&filled);
            let config = LogConfig {
                planted_bug: Some(crate::PlantedBug::StartUnsynced),
                ..config(Durability::Synced)
            };
            let log = open_with(&home, config);
            By::Asking(7).run(&home, &log);
            let seen = start_of(&log);
            drop(log);
            home.reboot(Crash::PowerCut(Seed(seed)));
            let (log, report) = SteppedLog::open(home, self::config(Durability::Synced)).expect("it opens");
            start_of(&log) < seen || !report.partitions[0].damage.is_empty()
        });
        assert!(found);
    }

    #[test]
    fn upkeep_has_nothing_to_do_once_everything_went() {
        let home = filled(Durability::Synced);
        home.reboot(Crash::KeepUnsynced);
        let log = open(&home, Durability::Synced);
        By::Asking(7).run(&home, &log);
        assert!(!log.upkeep(&mut home.disk().expect("powered"), Interval::Running));
    }
}
