//! [`dump`] and [`check`]: a folder recovered, told line by line, and judged.

use std::path::{Path, PathBuf};

use engine_env::{Backend, DiskError, OsHome};

use super::check::{ForeignToken, judge, judge_repeated};
use super::dump_line::{Dump, DumpLine};
use super::token_file::TokenFile;
use super::violation::Violation;
use super::{Engine, dump_kv, dump_kv_cluster, dump_log, dump_log_cluster};

/// Why a folder can't be dumped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// There is no such folder. It isn't created: an empty dump of a mistyped name would look like lost data.
    #[error("can't dump {}: {source}; give the folder that stress write was given", dir.display())]
    NoFolder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder can't be used.
    #[error("can't dump {}: {source}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: DiskError,
    },
    /// The engine doesn't recover the folder.
    #[error("can't recover {} as {engine}: {source}", dir.display())]
    Open {
        /// The folder.
        dir: PathBuf,
        /// The engine.
        engine: Engine,
        /// The engine's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Recovers the folder and tells what it holds. Damage becomes lines, not errors.
///
/// # Errors
/// The folder isn't there, is in use, or isn't this engine's.
pub fn dump(engine: Engine, dir: &Path) -> Result<Dump, DumpError> {
    // Asked first, because opening a home creates its folder.
    std::fs::read_dir(dir).map_err(|source| DumpError::NoFolder { dir: dir.to_owned(), source })?;
    let home = || {
        OsHome::open(dir, Backend::Auto).map_err(|source| DumpError::Folder { dir: dir.to_owned(), source })
    };
    let read = match engine {
        Engine::Kv => dump_kv::read(home()?),
        Engine::Log => dump_log::read(home()?),
        Engine::KvCluster => dump_kv_cluster::read(dir),
        Engine::LogCluster => dump_log_cluster::read(dir),
    };
    read.map_err(|source| DumpError::Open { dir: dir.to_owned(), engine, source })
}

/// What the judge says of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the folder breaks; empty if it keeps everything.
    pub violations: Vec<Violation>,
    /// Damage that the engine reports. Not a violation by itself: what was acknowledged may still be there.
    pub damage: Vec<DumpLine>,
    /// How many lines the dump has.
    pub lines: usize,
}

/// Why a folder can't be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The folder can't be dumped.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The tokens are another engine's.
    #[error(transparent)]
    Tokens(#[from] ForeignToken),
}

/// Recovers the folder twice and judges it by what was acknowledged and, if known, attempted.
///
/// # Errors
/// The folder can't be dumped, or the tokens are another engine's.
pub fn check(
    engine: Engine,
    dir: &Path,
    acked: &TokenFile,
    attempted: Option<&TokenFile>,
) -> Result<Verdict, CheckError> {
    let first = dump(engine, dir)?;
    let second = dump(engine, dir)?;
    let mut violations = judge(engine, &first, acked, attempted)?;
    violations.extend(judge_repeated(&first, &second));
    Ok(Verdict { violations, damage: first.damage().cloned().collect(), lines: first.lines().len() })
}
