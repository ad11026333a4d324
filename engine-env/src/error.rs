//! What a disk operation can fail with: the operation, the file, the position, and a kind to decide on.

use std::fmt;
use std::io;

/// A failed disk operation. `Display` is a sentence that names the operation, the file and the way out.
#[derive(Debug, Clone)]
pub struct DiskError {
    /// The operation, as a verb: `write`, `sync`, `open`.
    pub operation: &'static str,
    /// The path below the disk's root (or the root itself).
    pub path: String,
    /// The byte position in the file, where there is one.
    pub at: Option<u64>,
    /// What went wrong, for code that decides.
    pub kind: DiskErrorKind,
}

/// The kinds of failure that an engine treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskErrorKind {
    /// No file or directory has that name.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The file system is full. Bytes before the failing one may have been written.
    NoSpace,
    /// Another process holds the folder.
    InUse,
    /// An earlier write or sync of this file failed. What the disk holds is unknown, so the handle refuses to write.
    Poisoned,
    /// The simulated machine lost power; only a reboot of the simulated disk brings it back.
    PowerLost,
    /// The operating system's error number.
    Os(i32),
}

impl DiskError {
    /// An error of `kind` from `operation` on `path`.
    #[must_use]
    pub fn new(
        operation: &'static str,
        path: impl Into<String>,
        at: Option<u64>,
        kind: DiskErrorKind,
    ) -> Self {
        Self { operation, path: path.into(), at, kind }
    }

    /// The error for a failed system call.
    pub(crate) fn os(operation: &'static str, path: impl Into<String>, at: Option<u64>, errno: i32) -> Self {
        use rustix::io::Errno;
        let kind = match Errno::from_raw_os_error(errno) {
            Errno::NOENT => DiskErrorKind::NotFound,
            Errno::EXIST => DiskErrorKind::AlreadyExists,
            Errno::NOSPC | Errno::DQUOT => DiskErrorKind::NoSpace,
            _ => DiskErrorKind::Os(errno),
        };
        Self::new(operation, path, at, kind)
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't {} {}", self.operation, self.path)?;
        if let Some(at) = self.at {
            write!(f, " at byte {at}")?;
        }
        match self.kind {
            DiskErrorKind::NotFound => f.write_str(": no such file or directory"),
            DiskErrorKind::AlreadyExists => f.write_str(": the name is taken"),
            DiskErrorKind::NoSpace => f.write_str(": the file system is full; free some space, then reopen"),
            DiskErrorKind::InUse => {
                f.write_str(": another process is using this folder; stop it, or choose another folder")
            }
            DiskErrorKind::Poisoned => f.write_str(
                ": an earlier write or sync of this file failed, so its contents on disk are unknown; reopen to recover",
            ),
            DiskErrorKind::PowerLost => f.write_str(": the simulated machine has lost power"),
            DiskErrorKind::Os(errno) => write!(f, ": {}", io::Error::from_raw_os_error(errno)),
        }
    }
}

impl std::error::Error for DiskError {}
