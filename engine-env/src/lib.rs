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
//! [`Backend::Auto`] takes io_uring where the machine permits it; [`OsHome::backend_chosen`] tells what it took, and
//! why. All three pass one conformance suite, and random programs of operations have one outcome on all of them.
//!
//! ```
//! use engine_env::{Backend, Disk, Home, Op, OpenHow, OsHome, WriteSync};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let home = OsHome::open(folder.path(), Backend::Auto)?;
//! let mut disk = home.disk()?;
//! let (file, _) = disk.open("greeting", OpenHow::CreateNew)?;
//! let write = Op::Write { file: file.clone(), at: 0, buf: b"hello".to_vec(), sync: WriteSync::Data };
//! disk.run(write)?; // The bytes are on stable storage,
//! disk.run(Op::SyncDir { dir: String::new() })?; // and so is the name.
//! assert_eq!(disk.read(&file, 1, 100)?, b"ello");
//! # Ok(())
//! # }
//! ```
//!
//! Around them: [`Durability`] says what an acknowledged write survives, [`CommitQueue`] orders the writes to the end of
//! files and tells which are durable, [`Committer`] is the thread that owns a disk and drives a [`Machine`],
//! [`CompletionQueue`] hands results back with one wake for many.

pub mod clock;
mod commit_queue;
mod committer;
mod completions;
mod disk;
mod durability;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod marks;
mod net;
mod os;
pub mod rng;
pub mod sim;
pub mod sync;
mod workers;

pub use commit_queue::{Chunk, CommitQueue};
pub use committer::{Committer, Machine, drive_until_idle};
pub use completions::CompletionQueue;
pub use disk::{
    Disk, Done, Entry, EntryKind, File, FileOf, Home, Op, OpId, OpenHow, Outcome, ReadHow, ReadNow, Wait,
    Waker, WriteSync,
};
pub use durability::{Durability, UnknownDurability};
pub use error::{DiskError, DiskErrorKind};
pub use net::{
    Arrival, Delay, LocalNet, LocalPort, MESSAGE_BYTES_MAX, Net, NetError, NetProfile, Peer, Port, PortStats,
    TcpNet, TcpPort, UNREAD_BYTES_MAX, UnknownNetProfile,
};
pub use os::{Backend, CACHE_LINE_BYTES, OsDisk, OsFile, OsHome, SealedBytes, prefetch};
pub use workers::{AllCores, OneWorker, Workers};
