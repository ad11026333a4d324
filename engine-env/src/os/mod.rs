//! The real machine: files below a locked folder, over io_uring or blocking system calls.

pub(crate) mod bell;
mod blocking;
mod file;
mod lock;
mod mapped;
mod names;
mod prefetch;
mod transfer;
mod uring;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Disk, DiskError, Done, Home, Op, OpId, Wait, Waker};
use blocking::BlockingDisk;
pub use file::OsFile;
use lock::DirLock;
pub use mapped::SealedBytes;
pub use prefetch::{CACHE_LINE_BYTES, prefetch};
use uring::UringDisk;

/// How operations reach the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// io_uring where the machine permits it, else [`Backend::Blocking`].
    Auto,
    /// One ring per disk; opening fails where the machine doesn't permit io_uring.
    Uring,
    /// One system call after the other, on the submitting thread.
    Blocking,
}

/// A locked folder of the real file system. Clones share the lock; the folder is free when the last clone and the
/// last disk are gone.
#[derive(Debug, Clone)]
pub struct OsHome {
    root: Arc<PathBuf>,
    lock: Arc<DirLock>,
    chosen: Chosen,
}

#[derive(Debug, Clone)]
enum Chosen {
    /// Whether a single disk may fall back to blocking calls, should the machine run out of something.
    Uring { may_fall_back: bool },
    /// And why, if it wasn't asked for.
    Blocking { why: Option<Arc<str>> },
}

impl OsHome {
    /// Creates the folder if need be and locks it, waiting up to five seconds for a process that is just ending. Raises
    /// the process's limit on open files to what the system permits it: a log keeps files open for each partition.
    ///
    /// # Errors
    /// The folder can't be created, or is in use; or io_uring was asked for and isn't permitted.
    pub fn open(root: impl AsRef<Path>, backend: Backend) -> Result<Self, DiskError> {
        let root = root.as_ref();
        permit_many_files();
        std::fs::create_dir_all(root).map_err(|e| {
            DiskError::os("create folder", root.display().to_string(), None, e.raw_os_error().unwrap_or(0))
        })?;
        let chosen = match backend {
            Backend::Blocking => Chosen::Blocking { why: None },
            Backend::Uring => {
                uring::probe().map_err(|e| ring_error(root, &e))?;
                Chosen::Uring { may_fall_back: false }
            }
            Backend::Auto => match uring::probe() {
                Ok(()) => Chosen::Uring { may_fall_back: true },
                Err(e) => {
                    let why = format!("the kernel refuses io_uring here: {e}");
                    Chosen::Blocking { why: Some(why.into()) }
                }
            },
        };
        let lock = Arc::new(DirLock::take(root)?);
        Ok(Self { root: Arc::new(root.to_owned()), lock, chosen })
    }

    /// `io_uring` or `blocking`, and why it isn't io_uring although [`Backend::Auto`] would have taken it.
    #[must_use]
    pub fn backend_chosen(&self) -> (&'static str, Option<String>) {
        match &self.chosen {
            Chosen::Uring { .. } => (URING, None),
            Chosen::Blocking { why } => (BLOCKING, why.as_deref().map(str::to_owned)),
        }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Soft limits on descriptors are low for the sake of programs that use `select`; none of ours does.
fn permit_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Refused, the limit is as it was, and an open that fails says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

const URING: &str = "io_uring";
const BLOCKING: &str = "blocking";

fn ring_error(root: &Path, e: &std::io::Error) -> DiskError {
    DiskError::os("set up io_uring for", root.display().to_string(), None, e.raw_os_error().unwrap_or(0))
}

impl Home for OsHome {
    type Disk = OsDisk;

    fn disk(&self) -> Result<OsDisk, DiskError> {
        let names = || names::Names::open(&self.root, Arc::clone(&self.lock));
        match self.chosen {
            Chosen::Blocking { .. } => Ok(OsDisk::Blocking(BlockingDisk::new(names()?))),
            Chosen::Uring { may_fall_back } => match UringDisk::new(names()?) {
                Ok(disk) => Ok(OsDisk::Uring(Box::new(disk))),
                Err(_) if may_fall_back => Ok(OsDisk::Blocking(BlockingDisk::new(names()?))),
                Err(e) => Err(ring_error(&self.root, &e)),
            },
        }
    }
}

/// A disk of the real machine.
#[derive(Debug)]
pub enum OsDisk {
    /// Over blocking system calls.
    Blocking(BlockingDisk),
    /// Over io_uring. It stays on the thread that asked for it.
    Uring(Box<UringDisk>),
}

impl OsDisk {
    /// `io_uring` or `blocking`: what this disk turned out to be.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        match self {
            Self::Blocking(_) => BLOCKING,
            Self::Uring(_) => URING,
        }
    }
}

impl Disk for OsDisk {
    type File = OsFile;

    fn submit(&mut self, id: OpId, op: Op<OsFile>) {
        match self {
            Self::Blocking(d) => d.submit(id, op),
            Self::Uring(d) => d.submit(id, op),
        }
    }

    fn reap(&mut self, wait: Wait, out: &mut Vec<Done<OsFile>>) {
        match self {
            Self::Blocking(d) => d.reap(wait, out),
            Self::Uring(d) => d.reap(wait, out),
        }
    }

    fn waker(&self) -> Waker {
        match self {
            Self::Blocking(d) => d.waker(),
            Self::Uring(d) => d.waker(),
        }
    }
}
