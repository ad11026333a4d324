//! [`Limits`]: what this machine can do at best, so that an engine's figures read as ratios to it.
//!
//! Measured without any engine, through the same disk layer, in less than 20 s, at the start of every run: absolute
//! figures of one machine move by a factor of two from hour to hour, ratios to what it could do at that hour don't.

mod disk;
mod driver;
mod processor;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The machine's own figures, measured without any engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The folder whose file system was measured.
    pub folder: String,
    /// How long measuring took, seconds.
    pub took_s: f64,
    /// 4 KiB durable overwrite of blocks that were written before, on the caller's thread.
    pub write_sync: Option<LatencyLimit>,
    /// The same handed to another thread and back: what an engine with a committer thread can reach.
    pub write_sync_handed_over: Option<LatencyLimit>,
    /// 4 KiB durable append to a growing file, on the caller's thread.
    pub write_sync_growing: Option<LatencyLimit>,
    /// The same handed to another thread and back.
    pub write_sync_growing_handed_over: Option<LatencyLimit>,
    /// Sequential buffered writes of 256 KiB to a growing file.
    pub append: Option<AppendLimit>,
    /// Random reads of 1 KiB from the page cache.
    pub cached_read: Option<LatencyLimit>,
    /// Random reads of 4 KiB that go around the page cache (`O_DIRECT`).
    pub direct_read: Option<LatencyLimit>,
    /// Copying memory, bytes a second.
    pub memcpy_bytes_per_s: Option<f64>,
    /// From one thread's signal until the other runs.
    pub wake_up: Option<LatencyLimit>,
    /// How late a sleep to an absolute time ends: nothing shorter can be timed.
    pub timer: Option<LatencyLimit>,
    /// io_uring and blocking calls under the same design, interleaved.
    pub backends: Vec<BackendLimit>,
    /// The harness's own cost.
    pub driver: Option<DriverLimit>,
    /// What could not be measured, and why; one sentence each.
    pub failed: Vec<String>,
}

/// A latency that was measured one operation at a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyLimit {
    /// Median, microseconds; `None` below 200 samples.
    pub p50_us: Option<f64>,
    /// 99th percentile, microseconds; `None` below 10,000 samples.
    pub p99_us: Option<f64>,
    /// How many were measured.
    pub samples: u64,
    /// Operations a second while measuring.
    pub per_s: f64,
}

/// Sequential appending.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AppendLimit {
    /// Bytes a second with the final sync counted.
    pub bytes_per_s: f64,
    /// Bytes a second until the last write call returned.
    pub burst_bytes_per_s: f64,
    /// How much was written.
    pub bytes: u64,
    /// One write call of 256 KiB.
    pub write_call: LatencyLimit,
}

/// Durable 4 KiB writes through one backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendLimit {
    /// `io_uring` or `blocking`.
    pub backend: String,
    /// Writes wanted at a time.
    pub depth: u32,
    /// From wanting a write until its completion is there.
    pub latency: LatencyLimit,
}

/// What the load driver costs by itself, on its own thread, nanoseconds per operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DriverLimit {
    /// Taking the next due operation, handing it to an engine that answers at once, and recording its latency.
    pub schedule_record_ns: f64,
    /// The same with values of 1.1 KB made and every answer verified; the memory engine's own cost is taken off.
    pub verified_ns: f64,
    /// The part of that which goes into making the operations.
    pub making_ns: f64,
    /// What was taken off: the memory engine under the same operations, without a driver.
    pub memory_ns: f64,
    /// The rate at which the driver gives out: operations a second, verified, against the memory engine.
    pub per_s: f64,
}

/// How long to measure.
#[derive(Debug, Clone)]
pub struct LimitsPlan {
    /// Time for one latency that waits for the device; the others take a part of it.
    pub step: Duration,
    /// Samples after which a latency is known well enough.
    pub samples_max: u64,
    /// Most bytes that the sequential append writes.
    pub append_bytes_max: u64,
    /// Ends the measuring at once when it is set.
    pub stop: Arc<AtomicBool>,
}

impl Default for LimitsPlan {
    /// All of it in less than 20 s.
    fn default() -> Self {
        Self {
            step: Duration::from_millis(1_500),
            samples_max: 12_000,
            append_bytes_max: 1 << 30,
            stop: Arc::default(),
        }
    }
}

impl LimitsPlan {
    /// Fractions of a second, for smoke runs: medians only.
    #[must_use]
    pub fn smoke() -> Self {
        Self {
            step: Duration::from_millis(60),
            samples_max: 400,
            append_bytes_max: 16 << 20,
            stop: Arc::default(),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Why nothing could be measured at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// The folder can't be written.
    #[error("can't measure the disk in {folder}: {source}; choose a writable folder with --dir")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The disk layer's reason.
        source: engine_env::DiskError,
    },
}

/// Latency below this many times the timer's own lateness is the timer's, not the engine's.
pub const TIMER_TIMES: f64 = 5.0;

impl Limits {
    /// How late this machine's timer is, microseconds: its p99 where known, else its median.
    #[must_use]
    pub fn timer_floor_us(&self) -> Option<f64> {
        // The compiler (1.95.0, optimised) took one of both by an index that it read from `timer` before it knew that there was
        // one, and crashed on what stood there now and then: one in ten runs of tests/diff.rs. It can't see through this.
        let timer = std::hint::black_box(self.timer.as_ref()?);
        timer.p99_us.or(timer.p50_us)
    }

    /// Measures the machine, with files in a folder of its own below `folder`, which is removed at the end.
    /// `progress` is told what is being measured.
    ///
    /// # Errors
    /// The folder can't be written. What fails later, or was not reached when the plan's flag was set, is left out and
    /// named in [`Limits::failed`].
    pub fn measure(
        folder: &Path,
        plan: &LimitsPlan,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, LimitsError> {
        let started = Instant::now();
        let mut limits =
            Self { folder: crate::result_folder::shown(folder).display().to_string(), ..Self::default() };
        disk::measure(&mut limits, folder, plan, progress)
            .map_err(|source| LimitsError::Folder { folder: folder.to_owned(), source })?;
        processor::measure(&mut limits, plan, progress);
        limits.measure_driver(plan, progress);
        if plan.stopped() {
            limits.failed.push("stopped: whatever is missing above".to_owned());
        }
        limits.took_s = started.elapsed().as_secs_f64();
        Ok(limits)
    }

    /// Measures what the harness itself costs: needs no disk.
    pub fn measure_driver(&mut self, plan: &LimitsPlan, progress: &mut dyn FnMut(&str)) {
        if plan.stopped() {
            return;
        }
        progress("the driver's own cost");
        match driver::measure(plan) {
            Ok(limit) => self.driver = limit,
            Err(e) => self.failed.push(format!("the driver's own cost: {e}")),
        }
    }

    /// Whether anything was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// The figures as a table's rows, those that there are.
    #[must_use]
    pub fn rows(&self) -> Vec<LimitRow> {
        let mut rows = Vec::new();
        let mut latency = |name: String, limit: &Option<LatencyLimit>| {
            if let Some(l) = limit {
                rows.push(LimitRow {
                    name,
                    p50_us: l.p50_us,
                    p99_us: l.p99_us,
                    rate: Rate::Operations(l.per_s),
                });
            }
        };
        latency("durable 4 KiB overwrite, on the caller's thread".into(), &self.write_sync);
        latency(
            "durable 4 KiB overwrite, handed to a second thread and back".into(),
            &self.write_sync_handed_over,
        );
        latency(
            "durable 4 KiB append to a growing file, on the caller's thread".into(),
            &self.write_sync_growing,
        );
        latency(
            "durable 4 KiB append to a growing file, handed to a second thread and back".into(),
            &self.write_sync_growing_handed_over,
        );
        for b in &self.backends {
            let name = format!("durable 4 KiB overwrite through {}, {} wanted at a time", b.backend, b.depth);
            latency(name, &Some(b.latency.clone()));
        }
        latency("1 KiB random read from the page cache".into(), &self.cached_read);
        latency("4 KiB random read around the page cache".into(), &self.direct_read);
        latency("waking another thread".into(), &self.wake_up);
        latency("lateness of a timed sleep".into(), &self.timer);
        if let Some(a) = &self.append {
            rows.push(LimitRow {
                name: "sequential append in 256 KiB writes, final sync counted".into(),
                p50_us: a.write_call.p50_us,
                p99_us: a.write_call.p99_us,
                rate: Rate::Bytes(a.bytes_per_s),
            });
            rows.push(LimitRow {
                name: "the same until the last write call returned".into(),
                p50_us: None,
                p99_us: None,
                rate: Rate::Bytes(a.burst_bytes_per_s),
            });
        }
        if let Some(bytes_per_s) = self.memcpy_bytes_per_s {
            rows.push(LimitRow {
                name: "copying memory".into(),
                p50_us: None,
                p99_us: None,
                rate: Rate::Bytes(bytes_per_s),
            });
        }
        if let Some(d) = &self.driver {
            let mut own = |name: String, ns: f64| {
                let rate = Rate::Operations(1e9 / ns.max(f64::MIN_POSITIVE));
                rows.push(LimitRow { name, p50_us: Some(ns / 1e3), p99_us: None, rate });
            };
            own(
                format!("the driver's schedule and record, {:.0} ns an operation", d.schedule_record_ns),
                d.schedule_record_ns,
            );
            own(
                format!(
                    "the same with 1.1 KB values and verification, {:.0} ns ({:.0} of them to make operations)",
                    d.verified_ns, d.making_ns
                ),
                d.verified_ns,
            );
            own(
                format!(
                    "where the driver gives out: with the memory engine, whose own {:.0} ns are not in the line above",
                    d.memory_ns
                ),
                1e9 / d.per_s,
            );
        }
        rows
    }
}

/// A row of the table of limits.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitRow {
    /// What was done, in words.
    pub name: String,
    /// Median, microseconds.
    pub p50_us: Option<f64>,
    /// 99th percentile, microseconds.
    pub p99_us: Option<f64>,
    /// How much a second.
    pub rate: Rate,
}

/// Something a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Operations a second.
    Operations(f64),
    /// Bytes a second.
    Bytes(f64),
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Operations(n) if n >= 1e6 => write!(f, "{:.2} M/s", n / 1e6),
            Self::Operations(n) if n >= 1e4 => write!(f, "{:.1} k/s", n / 1e3),
            Self::Operations(n) => write!(f, "{n:.0}/s"),
            Self::Bytes(n) if n >= 1e9 => write!(f, "{:.2} GB/s", n / 1e9),
            Self::Bytes(n) => write!(f, "{:.0} MB/s", n / 1e6),
        }
    }
}

impl fmt::Display for Limits {
    /// The table as text, for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
        let us = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.1}"));
        writeln!(f, "{:width$}  {:>10}  {:>10}  {:>12}", "", "p50 us", "p99 us", "rate")?;
        for r in &rows {
            writeln!(
                f,
                "{:width$}  {:>10}  {:>10}  {:>12}",
                r.name,
                us(r.p50_us),
                us(r.p99_us),
                r.rate.to_string()
            )?;
        }
        for sentence in &self.failed {
            writeln!(f, "not measured: {sentence}")?;
        }
        write!(f, "measured in {:.1} s", self.took_s)?;
        if self.folder.is_empty() { Ok(()) } else { write!(f, " in {}", self.folder) }
    }
}

/// Latencies while they are measured, nanoseconds.
struct Samples {
    histogram: Histogram<u64>,
    busy: Duration,
}

impl Samples {
    fn new() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("1 ns to 1 h with 3 digits");
        Self { histogram, busy: Duration::ZERO }
    }

    fn record(&mut self, took: Duration) {
        // Above an hour nothing can be said; the histogram would refuse, and an hour is bad enough.
        self.histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Times `one` again and again until time or samples run out.
    fn repeat<E>(
        limit: Duration,
        samples_max: u64,
        stop: &AtomicBool,
        mut one: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut samples = Self::new();
        let started = Instant::now();
        let mut before = started;
        while samples.count() < samples_max
            && before.duration_since(started) < limit
            && !stop.load(Ordering::Relaxed)
        {
            one(samples.count())?;
            let after = Instant::now();
            samples.record(after.duration_since(before));
            before = after;
        }
        samples.busy = started.elapsed();
        Ok(samples)
    }

    fn limit(&self) -> LatencyLimit {
        // A percentile is quoted where at least a hundred samples lie above it.
        let quantile = |q: f64| {
            (self.count() as f64 * (1.0 - q) >= 99.999)
                .then(|| self.histogram.value_at_quantile(q) as f64 / 1e3)
        };
        let busy_s = self.busy.as_secs_f64();
        LatencyLimit {
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            samples: self.count(),
            per_s: if busy_s > 0.0 { self.count() as f64 / busy_s } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smoke_measurement_fills_every_limit_and_cleans_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut told = Vec::new();
        let limits =
            Limits::measure(dir.path(), &LimitsPlan::smoke(), &mut |what| told.push(what.to_owned()))
                .expect("measured");
        assert!(told.len() >= 8, "{told:?}");
        for (name, limit) in [
            ("write_sync", &limits.write_sync),
            ("write_sync_handed_over", &limits.write_sync_handed_over),
            ("write_sync_growing", &limits.write_sync_growing),
            ("cached_read", &limits.cached_read),
            ("direct_read", &limits.direct_read),
            ("wake_up", &limits.wake_up),
            ("timer", &limits.timer),
        ] {
            let limit = limit.as_ref().unwrap_or_else(|| panic!("{name} is missing: {:?}", limits.failed));
            assert!(limit.samples > 0 && limit.per_s > 0.0, "{name}: {limit:?}");
        }
        let append = limits.append.as_ref().expect("append");
        assert!(
            append.bytes > 0 && append.bytes_per_s > 0.0 && append.burst_bytes_per_s >= append.bytes_per_s
        );
        assert!(limits.memcpy_bytes_per_s.is_some_and(|b| b > 1e8));
        assert!(
            limits.backends.iter().any(|b| b.backend == "blocking" && b.depth == 16),
            "{:?}",
            limits.backends
        );
        assert!(limits.to_string().contains("copying memory"));
        let driver = limits.driver.as_ref().expect("the driver's own cost");
        // Their parts are taken in turns that last milliseconds here: on a busy machine a part may look dearer than the whole.
        assert!(driver.schedule_record_ns > 1.0 && driver.verified_ns > 1.0, "{driver:?}");
        assert!(driver.making_ns > 1.0, "{driver:?}");
        assert!(driver.memory_ns > 1.0 && driver.per_s > 100.0, "{driver:?}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "files were left behind");
    }

    #[test]
    fn a_stop_ends_it_at_once_and_what_is_missing_is_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let plan = LimitsPlan::default();
        let mut steps = 0;
        let started = Instant::now();
        let limits = Limits::measure(dir.path(), &plan, &mut |_| {
            steps += 1;
            if steps == 2 {
                plan.stop.store(true, Ordering::Relaxed);
            }
        })
        .expect("measured so far");
        assert!(started.elapsed() < plan.step * 3, "{:?}", started.elapsed());
        assert!(limits.write_sync.is_some() && limits.append.is_none() && limits.driver.is_none());
        assert!(limits.failed.iter().any(|f| f.contains("stopped")), "{:?}", limits.failed);
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "files were left behind");
    }

    #[test]
    fn a_folder_that_can_not_be_written_is_named_with_the_way_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a file");
        std::fs::write(&file, "x").expect("written");
        let error = Limits::measure(&file, &LimitsPlan::smoke(), &mut |_| ()).expect_err("not a folder");
        let said = error.to_string();
        assert!(said.contains("a file") && said.contains("--dir"), "{said}");
    }

    #[test]
    fn percentiles_are_quoted_only_with_a_hundred_samples_above_them() {
        let mut samples = Samples::new();
        for _ in 0..199 {
            samples.record(Duration::from_micros(10));
        }
        assert_eq!(samples.limit().p50_us, None);
        samples.record(Duration::from_micros(10));
        assert!(samples.limit().p50_us.is_some_and(|v| (v - 10.0).abs() < 0.01));
        for _ in 200..9_999 {
            samples.record(Duration::from_micros(10));
        }
        assert_eq!(samples.limit().p99_us, None);
        samples.record(Duration::from_micros(10));
        assert!(samples.limit().p99_us.is_some());
    }
}
