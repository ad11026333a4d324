//! How long a store and a log take to open again, by how much they hold: after a clean close, and after the process was
//! gone without one.
//!
//! The files are in the page cache, as after a process's death; what a cold disk adds is its own reading speed. The same
//! bytes read from front to back in the same process stand beside every figure. Durability is `os`, so that filling is fast
//! and nothing is written twice.

use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_env::{Backend, Durability, OsHome};
use kv_engine::{KvConfig, KvStore, Storage as _, VectorClock, Versioned};
use log_engine::{Log, LogConfig, Record, TopicPartition};
use serde::Serialize;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovered {
    /// The key-value store, every key once.
    Kv,
    /// The log, one partition.
    Log,
}

/// How it had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Closed.
    Closed,
    /// Gone without a close, as by `kill -9`.
    Killed,
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct RecoveryPlan {
    /// The engine.
    pub engine: Recovered,
    /// Bytes of values that it holds.
    pub bytes: u64,
    /// Bytes of one value.
    pub value_bytes: usize,
    /// Openings of each kind.
    pub times: u32,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// The engine.
    pub engine: Recovered,
    /// How it had ended.
    pub ending: Ending,
    /// Records that it holds.
    pub records: u64,
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Each opening, seconds, in order.
    pub seconds: Vec<f64>,
    /// Bytes (store) or batches (log) that the last opening looked at.
    pub looked_at: u64,
    /// Its files read from front to back once, seconds.
    pub read_seconds: f64,
}

impl Recovery {
    /// The opening in the middle, seconds.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Why it couldn't be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// An engine failed.
    #[error("can't {doing} in {dir}: {cause}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// Where.
        dir: String,
        /// What failed.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was written isn't there after an opening.
    #[error("{wrote} records were written, and {found} are there after opening {dir}")]
    Lost {
        /// Records written.
        wrote: u64,
        /// Records found.
        found: u64,
        /// Where.
        dir: String,
    },
    /// Ctrl-C.
    #[error("stopped")]
    Stopped,
}

/// Fills a folder, then opens it again and again: once for each of the plan's times after a close, and once after none.
/// Both in turn, so that whatever drifts hits both alike. The folder must be empty; what is in it stays.
///
/// # Errors
/// The folder can't be used, an engine failed, something is lost, or `stop` was set.
pub fn measure(
    dir: &Path,
    plan: &RecoveryPlan,
    stop: &AtomicBool,
    told: &mut dyn FnMut(&str),
) -> Result<[Recovery; 2], RecoveryError> {
    match plan.engine {
        Recovered::Kv => measure_one::<KvStore<OsHome>>(dir, plan, stop, told),
        Recovered::Log => measure_one::<Log<OsHome>>(dir, plan, stop, told),
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An engine, as far as opening it goes.
trait Opened: Sized {
    /// Opens, and says how much was looked at.
    fn open(home: OsHome) -> Result<(Self, u64), Cause>;
    fn write(&self, number: u64, value: &[u8]) -> Result<(), Cause>;
    fn records(&self) -> u64;
    fn close(self) -> Result<(), Cause>;
}

impl Opened for KvStore<OsHome> {
    fn open(home: OsHome) -> Result<(Self, u64), Cause> {
        let config = KvConfig { durability: Durability::Os, ..KvConfig::default() };
        let (store, report) = Self::open(home, config)?;
        Ok((store, report.bytes_scanned))
    }

    fn write(&self, number: u64, value: &[u8]) -> Result<(), Cause> {
        let clock = VectorClock::from_entries([(0, 1)], 0)?;
        Ok(self.put(&number.to_be_bytes(), &Versioned::new(clock, value))?)
    }

    fn records(&self) -> u64 {
        self.stats().keys
    }

    fn close(self) -> Result<(), Cause> {
        Ok(Self::close(self)?)
    }
}

const TOPIC: &str = "recovered";

impl Opened for Log<OsHome> {
    fn open(home: OsHome) -> Result<(Self, u64), Cause> {
        let (log, report) =
            Self::open(home, LogConfig { durability: Durability::Os, ..LogConfig::default() })?;
        log.create_topic(TOPIC, 1)?;
        Ok((log, report.partitions.iter().map(|p| p.batches_scanned).sum()))
    }

    fn write(&self, _: u64, value: &[u8]) -> Result<(), Cause> {
        self.append(&TopicPartition::new(TOPIC, 0), &[Record::of_value(value)], 1)?;
        Ok(())
    }

    fn records(&self) -> u64 {
        self.stats().records
    }

    fn close(self) -> Result<(), Cause> {
        Ok(Self::close(self)?)
    }
}

fn measure_one<E: Opened>(
    dir: &Path,
    plan: &RecoveryPlan,
    stop: &AtomicBool,
    told: &mut dyn FnMut(&str),
) -> Result<[Recovery; 2], RecoveryError> {
    let failed =
        |doing| move |cause: Cause| RecoveryError::Engine { doing, dir: dir.display().to_string(), cause };
    let open = || -> Result<(E, u64, f64), RecoveryError> {
        let home = OsHome::open(dir, Backend::Auto).map_err(|e| failed("use the folder")(e.into()))?;
        let started = Instant::now();
        let (engine, looked_at) = E::open(home).map_err(failed("open"))?;
        Ok((engine, looked_at, started.elapsed().as_secs_f64()))
    };
    let (mut engine, ..) = open()?;
    let mut wrote = (plan.bytes / plan.value_bytes as u64).max(1);
    let value = vec![b'v'; plan.value_bytes];
    told(&format!("{:?}: {wrote} records", plan.engine));
    for number in 0..wrote {
        if number % 1024 == 0 && stop.load(Ordering::Relaxed) {
            return Err(RecoveryError::Stopped);
        }
        engine.write(number, &value).map_err(failed("write"))?;
    }
    let mut found = [Ending::Closed, Ending::Killed].map(|ending| Recovery {
        engine: plan.engine,
        ending,
        records: wrote,
        disk_bytes: 0,
        seconds: Vec::new(),
        looked_at: 0,
        read_seconds: 0.0,
    });
    for turn in 0..plan.times {
        for recovery in &mut found {
            told(&format!(
                "{:?}, {:?}: opening {} of {}",
                plan.engine,
                recovery.ending,
                turn + 1,
                plan.times
            ));
            // Whoever is gone without a close was writing.
            engine.write(wrote, &value).map_err(failed("write"))?;
            wrote += 1;
            match recovery.ending {
                Ending::Closed => engine.close().map_err(failed("close"))?,
                Ending::Killed => drop(engine),
            }
            let (disk_bytes, read) = read_all(dir).map_err(|e| failed("read")(e.into()))?;
            (recovery.disk_bytes, recovery.read_seconds) = (disk_bytes, read.as_secs_f64());
            let seconds;
            (engine, recovery.looked_at, seconds) = open()?;
            recovery.seconds.push(seconds);
            recovery.records = engine.records();
            if recovery.records != wrote {
                let found = recovery.records;
                return Err(RecoveryError::Lost { wrote, found, dir: dir.display().to_string() });
            }
            if stop.load(Ordering::Relaxed) {
                return Err(RecoveryError::Stopped);
            }
        }
    }
    Ok(found)
}

/// Reads every file below a folder from front to back.
fn read_all(dir: &Path) -> std::io::Result<(u64, Duration)> {
    let mut buf = vec![0; 1 << 20];
    let (mut bytes, mut took) = (0, Duration::ZERO);
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let mut file = std::fs::File::open(entry.path())?;
            let started = Instant::now();
            loop {
                match file.read(&mut buf)? {
                    0 => break,
                    n => bytes += n as u64,
                }
            }
            took += started.elapsed();
        }
    }
    Ok((bytes, took))
}
