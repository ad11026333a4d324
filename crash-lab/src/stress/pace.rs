//! [`Pace`]: when a writer's threads may go on: at most so many operations a second, up to a number of operations, while
//! the folder has room, until somebody says stop.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Operations a second of all threads together.
pub const OPS_PER_SECOND_MAX: u64 = 5_000;
/// At this size of the folder the writer idles. Below the contract's 256 MiB by what may come before it is noticed.
pub const FOLDER_BYTES_MAX: u64 = 240 << 20;
/// How long a thread waits at most before it looks at the stop flag again.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// Shared by the threads of a writer.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    started: Instant,
    taken: AtomicU64,
    ops: Option<u64>,
    dir: &'a Path,
    measured: Mutex<Option<Instant>>,
    full: AtomicBool,
    stop: &'a AtomicBool,
    failed: AtomicBool,
}

impl<'a> Pace<'a> {
    pub(super) fn new(dir: &'a Path, ops: Option<u64>, stop: &'a AtomicBool) -> Self {
        Self {
            started: Instant::now(),
            taken: AtomicU64::new(0),
            ops,
            dir,
            measured: Mutex::new(None),
            full: AtomicBool::new(false),
            stop,
            failed: AtomicBool::new(false),
        }
    }

    /// Ends all threads, because one failed.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed)
    }

    /// Waits until `wanted` more operations are due; how many of them may start, or `None` when it is over. Calls
    /// `meanwhile` now and then: acknowledgements that come in are printed while nothing new may start.
    pub(super) fn take<E>(
        &self,
        wanted: u64,
        mut meanwhile: impl FnMut() -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        let first = self.taken.fetch_add(wanted, Ordering::Relaxed);
        let granted = self.ops.map_or(wanted, |ops| ops.saturating_sub(first).min(wanted));
        if granted == 0 {
            return Ok(None);
        }
        let due = self.started + Duration::from_micros(first * 1_000_000 / OPS_PER_SECOND_MAX);
        loop {
            meanwhile()?;
            if self.is_over() {
                return Ok(None);
            }
            let now = Instant::now();
            if now < due {
                std::thread::park_timeout((due - now).min(LOOK_EVERY));
            } else if self.ops.is_none() && self.folder_is_full(now) {
                std::thread::park_timeout(LOOK_EVERY);
            } else {
                return Ok(Some(granted));
            }
        }
    }

    fn folder_is_full(&self, now: Instant) -> bool {
        if let Ok(mut measured) = self.measured.try_lock()
            && measured.is_none_or(|at| now.duration_since(at) >= MEASURE_EVERY)
        {
            *measured = Some(now);
            self.full.store(folder_bytes(self.dir) >= FOLDER_BYTES_MAX, Ordering::Relaxed);
        }
        self.full.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    fn measured_at(&self) -> Option<Instant> {
        *self.measured.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The lengths of all files below `dir`. A file that vanishes meanwhile counts as nothing.
fn folder_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pace: &Pace<'_>, wanted: u64) -> Option<u64> {
        pace.take(wanted, || Ok::<(), ()>(())).expect("nothing fails meanwhile")
    }

    #[test]
    fn the_number_of_operations_is_kept_and_a_last_group_is_cut() {
        let dir = tempfile::tempdir().expect("a folder");
        let stop = AtomicBool::new(false);
        let pace = Pace::new(dir.path(), Some(10), &stop);
        assert_eq!(
            [take(&pace, 4), take(&pace, 4), take(&pace, 4), take(&pace, 4)],
            [Some(4), Some(4), Some(2), None]
        );
    }

    #[test]
    fn no_more_than_the_rate_and_nothing_after_stop() {
        let dir = tempfile::tempdir().expect("a folder");
        let stop = AtomicBool::new(false);
        let pace = Pace::new(dir.path(), None, &stop);
        let started = Instant::now();
        for _ in 0..101 {
            take(&pace, 1).expect("not over");
        }
        assert!(started.elapsed() >= Duration::from_millis(20), "101 operations take 100 gaps of 200 us");
        stop.store(true, Ordering::Relaxed);
        assert_eq!(take(&pace, 1), None);
    }

    #[test]
    fn a_full_folder_makes_it_idle_until_there_is_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let big = dir.path().join("big");
        std::fs::File::create(&big).and_then(|f| f.set_len(FOLDER_BYTES_MAX)).expect("a sparse file");
        let stop = AtomicBool::new(false);
        let pace = Pace::new(dir.path(), None, &stop);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| take(&pace, 1));
            while pace.measured_at().is_none() {
                std::thread::yield_now();
            }
            std::thread::park_timeout(Duration::from_millis(30));
            assert!(!waiting.is_finished(), "it went on in a full folder");
            std::fs::remove_file(&big).expect("room again");
            assert_eq!(waiting.join().expect("no panic"), Some(1));
        });
    }
}
