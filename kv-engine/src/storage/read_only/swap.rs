//! Swap and rollback: which version is served changes at one instant, durably, or not at all.

use std::cmp::Reverse;

use engine_env::{Disk, DiskError, Op};

use super::damage::ReadOnlyDamage;
use super::folder::{self, Folder, ReadOnlyFolderError, State};
use super::latest::Latest;
use super::verify::verify_version;

/// A mistake put in on purpose, so that the crash tests can show that they would find it.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnlyBug {
    /// The file that says which version is served takes its name before its bytes are on the disk.
    SwapUnsynced,
    /// A version takes its name before its files are on the disk.
    BuildUnsynced,
    /// Older versions are removed before the new one is served.
    RemovedBeforeSwap,
}

/// How versions are kept.
#[derive(Debug, Clone)]
pub struct ReadOnlyConfig {
    /// How many versions older than the served one a swap keeps for a rollback. Default: 1, as `readonly.backups`.
    pub backups: usize,
    /// A mistake put in on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<ReadOnlyBug>,
}

impl Default for ReadOnlyConfig {
    fn default() -> Self {
        Self::keeping(1)
    }
}

impl ReadOnlyConfig {
    /// A swap keeps so many versions older than the served one.
    #[must_use]
    pub fn keeping(backups: usize) -> Self {
        Self {
            backups,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}

/// `planted!(bug, Name)`: whether that mistake was asked for; false, and gone, in an ordinary build.
macro_rules! planted {
    ($config:expr, $bug:ident) => {{
        #[cfg(feature = "planted-bugs")]
        {
            $config.planted_bug == Some(crate::ReadOnlyBug::$bug)
        }
        #[cfg(not(feature = "planted-bugs"))]
        {
            let _ = &$config;
            false
        }
    }};
}
pub(crate) use planted;

/// Why another version isn't served. What was served still is.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// There is nothing to change to.
    #[error("no whole version {than} than the served one ({served}) is here; there {are}", than = if *.newer { "newer" } else { "older" }, are = versions_there(whole))]
    NoOther {
        /// Whether a newer one was wanted, for a swap, or an older one, for a rollback.
        newer: bool,
        /// What is served.
        served: String,
        /// The whole versions.
        whole: Vec<u64>,
    },
    /// The version asked for isn't here, or not whole, or on the wrong side of the served one.
    #[error("version {version} can't be taken: {why}; there {are}", are = versions_there(whole))]
    NotThatOne {
        /// The version asked for.
        version: u64,
        /// Why not.
        why: &'static str,
        /// The whole versions.
        whole: Vec<u64>,
    },
    /// The version is damaged.
    #[error("version {version} is damaged in {places} places, first: {first}; build it anew")]
    Damaged {
        /// The version.
        version: u64,
        /// In how many places.
        places: usize,
        /// One of them.
        #[source]
        first: ReadOnlyDamage,
    },
    /// The folder isn't in order.
    #[error(transparent)]
    Folder(#[from] ReadOnlyFolderError),
    /// The disk failed. Opening the store tells which version is served.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn versions_there(whole: &[u64]) -> String {
    match whole {
        [] => "is none".to_owned(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// A swap or rollback that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapped {
    /// What was served before; `None` if nothing was.
    pub from: Option<u64>,
    /// What is served now.
    pub to: u64,
    /// Versions that were removed.
    pub removed: Vec<u64>,
    /// Newer versions that a rollback set aside, as `version-N.bak`.
    pub set_aside: Vec<u64>,
}

/// Serves a newer version: the newest, or the one asked for. It is verified, every byte of it; then it is served,
/// durably; then older ones than the configured backups are removed, and those that an earlier rollback set aside.
///
/// # Errors
/// There is no such version, or it is damaged. What was served still is.
pub fn swap_read_only<D: Disk>(
    disk: &mut D,
    version: Option<u64>,
    config: &ReadOnlyConfig,
) -> Result<Swapped, SwapError> {
    let (mut folder, served) = prepare(disk)?;
    let to = choose(&folder, served, version, true)?;
    check(disk, to)?;
    let mut older: Vec<u64> = folder.whole().filter(|v| *v < to).collect();
    // The one that was served is the best backup, whatever was built and passed over since.
    older.sort_by_key(|v| (Some(*v) != served, Reverse(*v)));
    let removed: Vec<u64> = folder.set_aside().chain(older.into_iter().skip(config.backups)).collect();
    if planted!(config, RemovedBeforeSwap) {
        folder.remove(disk, &removed)?;
    }
    Latest { version: to, set_aside: Vec::new() }.install(disk, !planted!(config, SwapUnsynced))?;
    folder.remove(disk, &removed)?;
    Ok(Swapped { from: served, to, removed, set_aside: Vec::new() })
}

/// Serves an older version again: the newest of them, or the one asked for. All newer ones are set aside: they stay as
/// `version-N.bak` until the next swap.
///
/// # Errors
/// There is no such version, or it is damaged. What was served still is.
pub fn roll_back_read_only<D: Disk>(
    disk: &mut D,
    version: Option<u64>,
    config: &ReadOnlyConfig,
) -> Result<Swapped, SwapError> {
    let (folder, served) = prepare(disk)?;
    let to = choose(&folder, served, version, false)?;
    check(disk, to)?;
    let newer: Vec<u64> = folder.whole().filter(|v| *v > to).collect();
    let latest = Latest { version: to, set_aside: newer.clone() };
    latest.install(disk, !planted!(config, SwapUnsynced))?;
    for version in &newer {
        let (from, to) = (folder::name(*version, State::Whole), folder::name(*version, State::SetAside));
        disk.run(Op::RenameDir { from, to })?;
    }
    disk.run(Op::SyncDir { dir: String::new() })?;
    Ok(Swapped { from: served, to, removed: Vec::new(), set_aside: newer })
}

fn prepare<D: Disk>(disk: &mut D) -> Result<(Folder, Option<u64>), SwapError> {
    let mut folder = Folder::look(disk)?;
    folder.tidy(disk)?;
    let served = folder.latest.as_ref().map(|latest| latest.version);
    Ok((folder, served))
}

fn choose(folder: &Folder, served: Option<u64>, asked: Option<u64>, newer: bool) -> Result<u64, SwapError> {
    let whole = || folder.whole().collect::<Vec<_>>();
    let fits =
        |version: u64| served.is_none_or(|served| if newer { version > served } else { version < served });
    let Some(version) = asked else {
        let served = served.map_or_else(|| "none".to_owned(), |v| v.to_string());
        let found = folder.whole().rev().find(|v| fits(*v) && (newer || served != "none"));
        return found.ok_or_else(|| SwapError::NoOther { newer, served, whole: whole() });
    };
    let why = if !folder.whole().any(|v| v == version) {
        "it isn't here whole"
    } else if served == Some(version) {
        "it is served already"
    } else if newer && !fits(version) {
        "it is older than the served one, so roll back to it"
    } else if !newer && (served.is_none() || !fits(version)) {
        "it is no older one than is served, so swap it in"
    } else {
        return Ok(version);
    };
    Err(SwapError::NotThatOne { version, why, whole: whole() })
}

fn check<D: Disk>(disk: &mut D, version: u64) -> Result<(), SwapError> {
    let found = verify_version(disk, version);
    let places = found.damage.len();
    match found.damage.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(SwapError::Damaged { version, places, first }),
    }
}
