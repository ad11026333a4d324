//! [`write()`]: stresses an engine in a folder until it is killed, stopped, or has done its number of operations.
//!
//! An edge: it starts threads and reads the clock. `try TOKEN` is printed before an operation starts, `ack TOKEN` after
//! the engine acknowledged it, never earlier.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use engine_env::rng::Seed;
use engine_env::{Backend, DiskError, Durability, Home, OsHome};

use super::line_sink::LineSink;
use super::log_tasks::LogTasks;
use super::pace::Pace;
use super::run_number::{self, RunNumberError};
use super::token::Token;
use super::{Engine, write_kv, write_kv_cluster, write_log, write_log_cluster};

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Where all choices come from. Two runs on one folder differ even with the same seed.
    pub seed: u64,
    /// How many operations; `None`: until killed or stopped, within [`FOLDER_BYTES_MAX`](super::FOLDER_BYTES_MAX).
    pub ops: Option<u64>,
    /// When an operation is acknowledged.
    pub durability: Durability,
    /// What a log does beside appends. Other engines know none of it.
    pub log: LogTasks,
}

/// What a writer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Which run on this folder it was, from 1.
    pub run: u64,
    /// Operations that were attempted.
    pub attempted: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Of a cluster: how often one of its nodes was killed and returned.
    pub outages: u64,
}

/// Why a writer ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The folder can't be used.
    #[error("can't stress {}: {source}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: DiskError,
    },
    /// The run's number can't be made durable.
    #[error("can't count the run in {}: {source}", dir.display())]
    RunNumber {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: RunNumberError,
    },
    /// The engine doesn't open the folder.
    #[error("can't open {} as {engine}: {source}", dir.display())]
    Open {
        /// The folder.
        dir: PathBuf,
        /// The engine.
        engine: Engine,
        /// The engine's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine failed an operation. It may or may not have happened.
    #[error("`{token}` failed: {source}")]
    Operation {
        /// The operation.
        token: Box<Token>,
        /// The engine's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine failed to read.
    #[error("reading key {key} failed: {source}")]
    Read {
        /// The key in hex.
        key: String,
        /// The engine's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine gave a wrong answer while it ran.
    #[error("wrong answer to {operation}: {why}")]
    WrongAnswer {
        /// The operation.
        operation: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The engine doesn't close.
    #[error("can't close {}: {source}", dir.display())]
    Close {
        /// The folder.
        dir: PathBuf,
        /// The engine's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody takes the lines any more.
    #[error("can't print what was attempted or acknowledged: {0}")]
    Output(#[from] io::Error),
}

/// What the threads of a writer share.
pub(super) struct Run<'a> {
    pub(super) run: u64,
    pub(super) seed: Seed,
    pub(super) pace: Pace<'a>,
    out: &'a dyn LineSink,
    attempted: AtomicU64,
    acknowledged: AtomicU64,
    outages: AtomicU64,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("run", &self.run).finish_non_exhaustive()
    }
}

impl<'a> Run<'a> {
    /// Counts the run, durably.
    fn begin(
        home: &OsHome,
        dir: &'a Path,
        options: &WriteOptions,
        out: &'a dyn LineSink,
        stop: &'a AtomicBool,
    ) -> Result<Self, WriteError> {
        let mut disk = home.disk().map_err(|source| WriteError::Folder { dir: dir.to_owned(), source })?;
        let run = run_number::advance(&mut disk)
            .map_err(|source| WriteError::RunNumber { dir: dir.to_owned(), source })?;
        Ok(Self {
            run,
            seed: Seed(options.seed),
            pace: Pace::new(dir, options.ops, stop),
            out,
            attempted: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            outages: AtomicU64::new(0),
        })
    }

    fn written(&self) -> Written {
        Written {
            run: self.run,
            attempted: self.attempted.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            outages: self.outages.load(Ordering::Relaxed),
        }
    }

    /// Says that a node was killed and returned.
    pub(super) fn count_outage(&self) {
        self.outages.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that the operation starts now.
    pub(super) fn attempt(&self, token: &Token) -> io::Result<()> {
        self.attempted.fetch_add(1, Ordering::Relaxed);
        self.out.line(&format!("try {token}"))
    }

    /// Says that the operation was acknowledged.
    pub(super) fn acknowledge(&self, token: &Token) -> io::Result<()> {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.out.line(&format!("ack {token}"))
    }

    /// Runs `thread` with the numbers below `threads`, each on a thread of its own. The first error ends them all.
    pub(super) fn on_threads(
        &self,
        threads: u32,
        thread: impl Fn(u32) -> Result<(), WriteError> + Sync,
    ) -> Result<(), WriteError> {
        let one = |number| {
            // A panic must end the others, too: the scope waits for them.
            let guard = FailOnDrop(&self.pace);
            let result = thread(number);
            if result.is_ok() {
                std::mem::forget(guard);
            }
            result
        };
        std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads).map(|number| scope.spawn(move || one(number))).collect();
            let ended =
                started.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
            ended.fold(Ok(()), Result::and)
        })
    }
}

struct FailOnDrop<'a>(&'a Pace<'a>);

impl Drop for FailOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}

/// Milliseconds since 1970: the timestamp of versions and records.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Writes into `dir`, which is created if need be, or continued: an earlier run may have been killed there. Ends when
/// the operations are done, `stop` is set, or something fails; what is in flight then is still acknowledged.
///
/// # Errors
/// The folder can't be used, the engine failed or gave a wrong answer, or the lines can't be printed.
pub fn write(
    engine: Engine,
    dir: &Path,
    options: &WriteOptions,
    out: &dyn LineSink,
    stop: &AtomicBool,
) -> Result<Written, WriteError> {
    let folder = |source| WriteError::Folder { dir: dir.to_owned(), source };
    let home = OsHome::open(dir, Backend::Auto).map_err(folder)?;
    // The engine is opened first: it makes an empty folder its own, and refuses one that holds something else.
    match engine {
        Engine::Kv => {
            let store = write_kv::open(home.clone(), dir, options.durability)?;
            let run = Run::begin(&home, dir, options, out, stop)?;
            write_kv::write(&run, &store)?;
            store.close().map_err(|source| close(dir, source))?;
            Ok(run.written())
        }
        Engine::Log => {
            let log = write_log::open(home.clone(), dir, options.durability, options.log)?;
            let run = Run::begin(&home, dir, options, out, stop)?;
            write_log::write(&run, &log, options.log)?;
            log.close().map_err(|source| close(dir, source))?;
            Ok(run.written())
        }
        Engine::KvCluster => {
            let cluster = write_kv_cluster::open(dir, options.durability)?;
            let run = Run::begin(&home, dir, options, out, stop)?;
            write_kv_cluster::write(&run, &cluster)?;
            cluster.stop()?;
            Ok(run.written())
        }
        Engine::LogCluster => {
            let cluster = write_log_cluster::open(dir, options.durability)?;
            let run = Run::begin(&home, dir, options, out, stop)?;
            write_log_cluster::write(&run, &cluster)?;
            cluster.stop()?;
            Ok(run.written())
        }
    }
}

fn close(dir: &Path, source: impl std::error::Error + Send + Sync + 'static) -> WriteError {
    WriteError::Close { dir: dir.to_owned(), source: Box::new(source) }
}
