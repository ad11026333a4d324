//! One writer per folder: an advisory lock on the folder's `LOCK` file.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::{DiskError, DiskErrorKind};

/// The file that is locked, in the folder itself.
pub(super) const LOCK_NAME: &str = "LOCK";

/// A killed process leaves its lock only when its last in-flight write has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// The held lock. Every disk of the folder keeps it alive, so that it outlives the last write.
#[derive(Debug)]
pub(super) struct DirLock {
    file: File,
}

impl DirLock {
    /// For a ring that keeps a reference of its own.
    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    pub(super) fn take(root: &Path) -> Result<Self, DiskError> {
        let path = root.join(LOCK_NAME);
        let shown = root.display().to_string();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| DiskError::os("lock", &shown, None, e.raw_os_error().unwrap_or(0)))?;
        let started = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { file }),
                Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < PATIENCE => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the kernel tells nobody when a dying process lets go of a lock, and a blocking \
                                  flock has no time limit"
                    )]
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(DiskError::new("lock", shown, None, DiskErrorKind::InUse));
                }
                Err(e) => return Err(DiskError::os("lock", shown, None, e.raw_os_error())),
            }
        }
    }
}
