//! The real machine: files below a locked folder, over io_uring or blocking system calls.

mod blocking;
mod file;
mod lock;
mod mapped;
mod names;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Disk, DiskError, Done, Home, Op, OpId, Wait, Waker};
use blocking::BlockingDisk;
pub use file::OsFile;
use lock::DirLock;
pub use mapped::SealedBytes;

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
    backend: Backend,
}

impl OsHome {
    /// Creates the folder if need be and locks it, waiting up to five seconds for a process that is just ending.
    ///
    /// # Errors
    /// The folder can't be created, or is in use.
    pub fn open(root: impl AsRef<Path>, backend: Backend) -> Result<Self, DiskError> {
        let root = root.as_ref();
        std::fs::create_dir_all(root).map_err(|e| {
            DiskError::os("create folder", root.display().to_string(), None, e.raw_os_error().unwrap_or(0))
        })?;
        let lock = Arc::new(DirLock::take(root)?);
        Ok(Self { root: Arc::new(root.to_owned()), lock, backend })
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Home for OsHome {
    type Disk = OsDisk;

    fn disk(&self) -> Result<OsDisk, DiskError> {
        let names = names::Names::open(&self.root, Arc::clone(&self.lock))?;
        Ok(OsDisk::Blocking(BlockingDisk::new(names)))
    }
}

/// A disk of the real machine.
#[derive(Debug)]
pub enum OsDisk {
    /// Over blocking system calls.
    Blocking(BlockingDisk),
}

impl OsDisk {
    /// `io_uring` or `blocking`: what this disk turned out to be.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        match self {
            Self::Blocking(_) => "blocking",
        }
    }
}

impl Disk for OsDisk {
    type File = OsFile;

    fn submit(&mut self, id: OpId, op: Op<OsFile>) {
        match self {
            Self::Blocking(d) => d.submit(id, op),
        }
    }

    fn reap(&mut self, wait: Wait, out: &mut Vec<Done<OsFile>>) {
        match self {
            Self::Blocking(d) => d.reap(wait, out),
        }
    }

    fn waker(&self) -> Waker {
        match self {
            Self::Blocking(d) => d.waker(),
        }
    }
}
