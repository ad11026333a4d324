//! [`ReadOnlyDamage`]: what isn't as it was built.

use engine_env::DiskError;

/// Something in a version that isn't as it was built. The version shouldn't be served: build it anew.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadOnlyDamage {
    /// A file is missing.
    #[error("{file} is missing")]
    Missing {
        /// Its path below the store's folder.
        file: String,
    },
    /// A file that nobody built.
    #[error("{file} doesn't belong there: the manifest doesn't name it")]
    Unexpected {
        /// Its path below the store's folder.
        file: String,
    },
    /// A text file of the version can't be understood.
    #[error("{file} is damaged: {why}")]
    Text {
        /// Its path below the store's folder.
        file: String,
        /// What doesn't fit.
        why: String,
    },
    /// A file is longer or shorter than it was built.
    #[error("{file} has {found} bytes, it was built with {expected}")]
    Length {
        /// Its path below the store's folder.
        file: String,
        /// Bytes it was built with.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// A file's bytes aren't those that were built.
    #[error("{file}: its CRC-32 is {computed:08x}, it was built with {stored:08x}")]
    Checksum {
        /// Its path below the store's folder.
        file: String,
        /// What the manifest says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// Bytes that fit their checksum make no index or no record: a builder's mistake.
    #[error("{file}, byte {position}: {why}")]
    Structure {
        /// Its path below the store's folder.
        file: String,
        /// Where.
        position: u64,
        /// What doesn't fit.
        why: String,
    },
    /// A file can't be read.
    #[error(transparent)]
    Unreadable(#[from] DiskError),
}
