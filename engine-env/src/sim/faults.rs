//! Faults of the simulated machine: which there are, how often they come, and what a power cut leaves.

use crate::rng::Seed;

/// One thing that goes wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A write (or a fill with zeros) fails with `EIO`; a part of it may be in the page cache. Poisons the handle.
    WriteError,
    /// A sync, or the sync of a write that asked for one, fails with `EIO`. Some covered sectors reached the platter,
    /// the others never will: their pages are clean, and reads show the new bytes until [`SimHome::evict`] or a
    /// power cut. Poisons the handle.
    ///
    /// [`SimHome::evict`]: super::SimHome::evict
    SyncError,
    /// A write finds the file system full, whatever the budget says; a part of it may be in the page cache.
    NoSpace,
    /// A read fails with `EIO`.
    ReadError,
    /// Creating, renaming or removing a name fails with `EIO`, and nothing has changed.
    NameError,
    /// The sync of a directory fails with `EIO`; its names are no more durable than before.
    SyncDirError,
}

/// How often each fault struck.
pub type FaultCounts = std::collections::BTreeMap<Fault, u64>;

/// How likely each kind of operation is to fail, from 0 (the default) to 1. Fields as in [`Fault`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FaultRates {
    /// Chance of a [`Fault::WriteError`] for each write.
    pub write_error: f64,
    /// Chance of a [`Fault::SyncError`] for each sync or synced write.
    pub sync_error: f64,
    /// Chance of a [`Fault::NoSpace`] for each write.
    pub no_space: f64,
    /// Chance of a [`Fault::ReadError`] for each read.
    pub read_error: f64,
    /// Chance of a [`Fault::NameError`] for each change of a name.
    pub name_error: f64,
    /// Chance of a [`Fault::SyncDirError`] for each sync of a directory.
    pub sync_dir_error: f64,
}

impl FaultRates {
    pub(super) fn of(&self, fault: Fault) -> f64 {
        match fault {
            Fault::WriteError => self.write_error,
            Fault::SyncError => self.sync_error,
            Fault::NoSpace => self.no_space,
            Fault::ReadError => self.read_error,
            Fault::NameError => self.name_error,
            Fault::SyncDirError => self.sync_dir_error,
        }
    }
}

/// How the simulated machine went down, which decides what is there after the reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crash {
    /// A power cut that loses everything that no sync covered.
    LoseUnsynced,
    /// A power cut right after the cache happened to be written out: everything is kept, what was in flight too.
    KeepUnsynced,
    /// A power cut that keeps every length and name, and none of the unsynced bytes: they read as zeros, or as what
    /// was there before.
    LengthsOnly,
    /// A power cut after which each unsynced sector is the old one or a newer one, none torn.
    Subset(Seed),
    /// A power cut after which each unsynced sector is lost, kept or torn, in any combination; lengths and names
    /// are kept or lost likewise.
    PowerCut(Seed),
    /// `kill -9`: the page cache survives, unsynced as it is. Of what was in flight, a part may have been done.
    ProcessKill(Seed),
}

/// What became of unsynced sectors and names, over all power cuts so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CrashCounts {
    /// Power cuts and process kills.
    pub crashes: u64,
    /// Unsynced sectors that the platter has in their old state.
    pub sectors_lost: u64,
    /// Unsynced sectors that the platter has in a new state.
    pub sectors_kept: u64,
    /// Unsynced sectors that the platter has as a mix of old and new.
    pub sectors_torn: u64,
    /// Unsynced changes of a file's length that are undone.
    pub lengths_lost: u64,
    /// Unsynced changes of names that are undone.
    pub names_lost: u64,
    /// Unsynced changes of names that are durable.
    pub names_kept: u64,
}
