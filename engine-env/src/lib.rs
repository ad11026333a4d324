//! The world outside a storage engine, real or simulated: disk, clock, randomness.
//!
//! An engine is generic over [`Disk`] and never names a system call, so the same code runs over io_uring, over
//! blocking system calls and inside a simulated machine whose power fails on purpose. This is the only crate of
//! the workspace that may hold `unsafe` code.
//!
//! Three backends stand behind the trait:
//!
//! | backend | type | for |
//! | --- | --- | --- |
//! | io_uring | [`OsDisk`] from [`OsHome`] with [`Backend::Uring`] | many operations in flight from one thread |
//! | blocking system calls | [`OsDisk`] with [`Backend::Blocking`] | machines that refuse io_uring, and as the baseline |
//! | simulated | [`sim::SimDisk`] from [`sim::SimHome`] | crash tests: sector loss and tearing, failed syncs, lost names, from one seed |
//!
//! Around them: [`CommitQueue`] orders the writes to the end of files and tells which are durable, [`Committer`]
//! is the thread that owns a disk and drives a [`Machine`], [`CompletionQueue`] hands results back with one wake
//! for many.

pub mod clock;
mod commit_queue;
mod committer;
mod completions;
mod disk;
mod error;
mod os;
pub mod rng;
pub mod sim;

pub use commit_queue::{Chunk, CommitQueue};
pub use committer::{Committer, Machine, drive_until_idle};
pub use completions::CompletionQueue;
pub use disk::{
    Disk, Done, Entry, EntryKind, File, FileOf, Home, Op, OpId, OpenHow, Outcome, ReadHow, ReadNow, Wait,
    Waker, WriteSync,
};
pub use error::{DiskError, DiskErrorKind};
pub use os::{Backend, OsDisk, OsFile, OsHome, SealedBytes};
