//! Storage: what a node keeps. [`Storage`] is the contract (one key, atomic), with Voldemort's semantics; here are
//! the errors of its operations.
//!
//! Nothing below this module names a thread, a clock or a system call.

pub(crate) mod bitcask;
pub(crate) mod memory;
pub(crate) mod page;
pub(crate) mod read_only;

use engine_env::DiskError;

use crate::config::ConfigError;
use crate::version::{VectorClock, Versioned};

pub use page::{EntriesPage, EntriesPosition};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;
/// Longest value, in bytes: 1 GiB.
pub const VALUE_BYTES_MAX: usize = 1 << 30;

/// A store of versioned values.
pub trait Storage: Send + Sync {
    /// All versions of a key, in order of arrival; empty if there is none.
    ///
    /// # Errors
    /// A version can't be read, or what was read isn't what was written.
    fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError>;

    /// The clocks of all versions of a key, without reading a disk.
    ///
    /// # Errors
    /// None so far.
    fn get_versions(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError>;

    /// Puts a version: it replaces those it descends from and stands beside concurrent ones. Returns when the write
    /// is as durable as the store promises.
    ///
    /// # Errors
    /// A stored version descends from this one or equals it; or the write failed.
    fn put(&self, key: &[u8], value: &Versioned) -> Result<(), PutError>;

    /// Puts several versions of a key, one after the other, as one write: those that a stored one (or one before them
    /// in the list) makes obsolete aren't put, and come back. After a crash before it returned, some of the others may
    /// be there, the first ones.
    ///
    /// # Errors
    /// One is too long, then nothing was written; or the write failed.
    fn put_versions(&self, key: &[u8], versions: &[Versioned]) -> Result<Vec<Versioned>, PutError>;

    /// Removes the versions before or equal to `version`; whether there were any. Returns when the removal is as
    /// durable as the store promises.
    ///
    /// # Errors
    /// The write failed.
    fn delete(&self, key: &[u8], version: &VectorClock) -> Result<bool, DeleteError>;
}

/// Why a get has no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// The record isn't what was written.
    #[error(
        "the record at byte {position} of {file} is damaged ({why}); restore this key from a replica or a backup"
    )]
    Corrupt {
        /// The segment's path below the store's folder.
        file: String,
        /// Byte position of the record.
        position: u64,
        /// What doesn't fit.
        why: String,
    },
    /// The device failed to read.
    #[error("the value can't be read")]
    Disk {
        /// The failed operation.
        #[from]
        source: DiskError,
    },
}

/// Why a put was refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// A stored version descends from the given one or equals it.
    #[error("version {given} is obsolete: {stored} is stored; read again, then write a descendant")]
    ObsoleteVersion {
        /// The clock of the put.
        given: VectorClock,
        /// The stored clock.
        stored: VectorClock,
    },
    /// The key is too long.
    #[error("a key of {len} bytes is too long: {max} is the most that this store takes")]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
        /// The most that the store's settings allow.
        max: usize,
    },
    /// The value is too long.
    #[error("a value of {len} bytes is too long: {max} is the most that this store takes")]
    ValueTooLong {
        /// Its length in bytes.
        len: usize,
        /// The most that the store's settings allow.
        max: usize,
    },
    /// The clock has more entries than its bytes can count.
    #[error("a clock with {entries} entries is too long: 32767 is the most; write under a fresh clock")]
    ClockTooLong {
        /// How many it has.
        entries: usize,
    },
    /// The file system is full. Nothing was written, reads go on, and writes succeed again once there is space.
    #[error("the file system is full; free some space and try again")]
    DiskFull {
        /// The operation that found out.
        #[source]
        cause: DiskError,
    },
    /// This write failed: it may be there after a restart, whole, or not.
    #[error("the write failed; the store takes no more writes until it is reopened")]
    WriteFailed {
        /// The failed operation.
        #[source]
        cause: DiskError,
    },
    /// An earlier write failed. Nothing was written; reads go on.
    #[error("the store stopped writing after an earlier failure ({cause}); reopen it to recover")]
    WritesStopped {
        /// The earlier failure.
        #[source]
        cause: DiskError,
    },
    /// The store is built in batches and takes no single writes.
    #[error("a read-only store takes no writes: build a new version of it and swap that in")]
    ReadOnly,
    /// The store is closed, or closing.
    #[error("the store is closed")]
    Closed,
}

/// Why a delete failed. The same as for a put, but for the obsolete version, and what is too long to be there.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The clock has more entries than its bytes can count. Nothing was removed.
    #[error(
        "a clock with {entries} entries is too long: 32767 is the most; delete with the clocks that were read"
    )]
    ClockTooLong {
        /// How many it has.
        entries: usize,
    },
    /// The file system is full. Nothing was written; reads go on.
    #[error("the file system is full; free some space and try again")]
    DiskFull {
        /// The operation that found out.
        #[source]
        cause: DiskError,
    },
    /// This delete failed: after a restart the versions may be gone, or there.
    #[error("the delete failed; the store takes no more writes until it is reopened")]
    WriteFailed {
        /// The failed operation.
        #[source]
        cause: DiskError,
    },
    /// An earlier write failed. Nothing was removed; reads go on.
    #[error("the store stopped writing after an earlier failure ({cause}); reopen it to recover")]
    WritesStopped {
        /// The earlier failure.
        #[source]
        cause: DiskError,
    },
    /// The store is built in batches and takes no single writes.
    #[error("a read-only store takes no writes: build a new version of it and swap that in")]
    ReadOnly,
    /// The store is closed, or closing.
    #[error("the store is closed")]
    Closed,
}

impl From<PutError> for DeleteError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::ClockTooLong { entries } => Self::ClockTooLong { entries },
            PutError::DiskFull { cause } => Self::DiskFull { cause },
            PutError::WriteFailed { cause } => Self::WriteFailed { cause },
            PutError::WritesStopped { cause } => Self::WritesStopped { cause },
            PutError::ReadOnly => Self::ReadOnly,
            PutError::Closed => Self::Closed,
            PutError::ObsoleteVersion { .. }
            | PutError::KeyTooLong { .. }
            | PutError::ValueTooLong { .. } => {
                unreachable!("a delete that can't match anything is answered before it is written")
            }
        }
    }
}

/// Why a store can't be opened. Nothing was overwritten.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder belongs to another engine or another version of this one.
    #[error(
        "{file} says {found:?}, this build reads {expected:?}; use another folder, or the build that wrote it"
    )]
    Format {
        /// The file that says so.
        file: String,
        /// What it says.
        found: String,
        /// What this build reads and writes.
        expected: String,
    },
    /// The folder holds something else.
    #[error(
        "the folder has no FORMAT file but holds {file:?}: it is no store of ours; use an empty or new folder"
    )]
    NotAStore {
        /// A file that doesn't belong into a store.
        file: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a store couldn't be closed cleanly. What was acknowledged is safe; the next open recovers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// A write had failed before.
    #[error("the store stopped writing after an earlier failure ({cause}); the next open recovers")]
    WritesStopped {
        /// The earlier failure.
        #[source]
        cause: DiskError,
    },
    /// The disk failed while closing.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
