//! The batch-built store, after the original's read-only stores: a version is built offline in one go, swapped in at one
//! instant, and never changes. A get is a search in a mapped index and a read by position.
//!
//! Invariants:
//! * A folder named `version-N` is whole and on the disk; the name is given last.
//! * Which version is served stands in one file, whose replacement is the swap: after a crash it is the old version or the
//!   new one, and what it says is there.
//! * Nothing that could be served is removed before its successor is served durably.
//! * Files of a version are written once; every one has a length and a checksum in the manifest, which has one itself.
//!
//! Bytes as the original's format `ro2`, with a manifest of our own beside them: docs/formats/kv-read-only.md. The build's
//! threads are an edge: [`ReadOnlyBuild`](crate::ReadOnlyBuild).

pub(crate) mod batch;
mod bucket;
mod build_error;
mod chunk;
mod damage;
mod digest;
mod file_writer;
pub(crate) mod folder;
mod index;
mod latest;
pub(crate) mod manifest;
pub(crate) mod merge;
mod record;
mod store;
mod swap;
mod text_file;
mod verify;
mod version;
pub(crate) mod version_writer;

pub use build_error::BuildError;
pub use damage::ReadOnlyDamage;
pub use folder::ReadOnlyFolderError;
pub use store::{ReadOnlyOpenError, ReadOnlyStore};
#[cfg(feature = "planted-bugs")]
pub use swap::ReadOnlyBug;
pub(crate) use swap::planted;
pub use swap::{ReadOnlyConfig, SwapError, Swapped, roll_back_read_only, swap_read_only};
pub use verify::{ReadOnlyVerified, ReadOnlyVersions, read_only_versions, verify_read_only};
pub use version::ReadOnlyCheck;
