//! [`BuildError`]: why a version wasn't built.

use engine_env::DiskError;

use super::folder::ReadOnlyFolderError;
use crate::storage::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Why a version wasn't built. What is served isn't touched; what the build left is removed by the next one.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A key is too long.
    #[error("record {record}: a key of {len} bytes is too long: {KEY_BYTES_MAX} is the most")]
    KeyTooLong {
        /// Which record, counted from 1.
        record: u64,
        /// Its length in bytes.
        len: usize,
    },
    /// A value is too long.
    #[error("record {record}: a value of {len} bytes is too long: {VALUE_BYTES_MAX} is the most")]
    ValueTooLong {
        /// Which record, counted from 1.
        record: u64,
        /// Its length in bytes.
        len: usize,
    },
    /// There is no node to build for, a node's partitions have no home, or a setting is out of range.
    #[error("nothing can be built: {why}")]
    Setting {
        /// What doesn't fit.
        why: String,
    },
    /// A chunk's data grew over 2 GiB, which is what the format's offsets reach.
    #[error(
        "partition {partition}: a chunk is larger than 2 GiB; build with smaller chunks or more partitions"
    )]
    BucketTooLarge {
        /// The partition.
        partition: u32,
    },
    /// More than 65,535 different keys share an index hash: not by chance.
    #[error("more than 65535 keys have the index hash {hash:016x}; the format holds no more")]
    TooManyCollisions {
        /// The hash.
        hash: u64,
    },
    /// What was spilled can't be read back.
    #[error("{file}: what was spilled a moment ago can't be read back; check the disk")]
    RunDamaged {
        /// The run's path below the first node's folder.
        file: String,
    },
    /// A thread couldn't be started, or ended in a panic.
    #[error("a thread of the build failed: {why}")]
    Thread {
        /// What it said.
        why: String,
    },
    /// A node's folder isn't in order.
    #[error(transparent)]
    Folder(#[from] ReadOnlyFolderError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
