//! [`OsFile`]: an open file and the operations that run on the caller's thread.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

use super::transfer::{Ended, transfer};
use crate::disk::read_in_turn;
use crate::{DiskError, DiskErrorKind, File, ReadHow, ReadNow, SealedBytes, WriteSync};

/// A file of the real file system.
#[derive(Debug, Clone)]
pub struct OsFile(Arc<Open>);

/// What [`Op::ZeroFill`](crate::Op::ZeroFill) writes, piece by piece.
pub(super) static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

#[derive(Debug)]
struct Open {
    fd: OwnedFd,
    path: String,
    poisoned: AtomicBool,
}

impl PartialEq for OsFile {
    /// The same handle, not merely the same path.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl OsFile {
    pub(super) fn new(fd: OwnedFd, path: String) -> Self {
        Self(Arc::new(Open { fd, path, poisoned: AtomicBool::new(false) }))
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0.fd
    }

    pub(super) fn check_poison(&self, operation: &'static str, at: Option<u64>) -> Result<(), DiskError> {
        if self.0.poisoned.load(Ordering::Acquire) {
            return Err(DiskError::new(operation, &self.0.path, at, DiskErrorKind::Poisoned));
        }
        Ok(())
    }

    /// Marks the file poisoned and makes the error to report.
    pub(super) fn poison(&self, operation: &'static str, at: Option<u64>, errno: i32) -> DiskError {
        self.0.poisoned.store(true, Ordering::Release);
        self.error(operation, at, errno)
    }

    pub(super) fn error(&self, operation: &'static str, at: Option<u64>, errno: i32) -> DiskError {
        DiskError::os(operation, &self.0.path, at, errno)
    }

    /// Whether a range has bytes behind the last position a file can have. The largest offset would even mean
    /// "wherever the descriptor stands" to the kernel.
    pub(super) fn is_out_of_range(at: u64, len: u64) -> bool {
        len > 0 && at.checked_add(len).is_none_or(|end| end > i64::MAX.cast_unsigned())
    }

    /// Refuses to write to a poisoned file, or where no file reaches.
    pub(super) fn check_write(&self, at: u64, len: u64) -> Result<(), DiskError> {
        self.check_poison("write", Some(at))?;
        if Self::is_out_of_range(at, len) {
            return Err(self.poison("write", Some(at), Errno::FBIG.raw_os_error()));
        }
        Ok(())
    }

    /// The error for a write that failed at `at`, and poison unless the file is known to be fine.
    pub(super) fn write_error(&self, at: u64, sync: WriteSync, errno: Errno) -> DiskError {
        match errno {
            // Without a sync in the call, a full disk is known at once and exactly: the file stays usable.
            Errno::NOSPC | Errno::DQUOT if sync == WriteSync::None => {
                self.error("write", Some(at), errno.raw_os_error())
            }
            _ => self.poison("write", Some(at), errno.raw_os_error()),
        }
    }

    pub(super) fn zero_fill_now(&self, mut at: u64, mut len: u64) -> Result<(), DiskError> {
        self.check_write(at, len)?;
        while len > 0 {
            let n = len.min(ZEROS.len() as u64);
            self.write_now(
                at,
                &ZEROS[..usize::try_from(n).expect("at most the array's length")],
                WriteSync::None,
            )?;
            at += n;
            len -= n;
        }
        Ok(())
    }

    pub(super) fn truncate_now(&self, len: u64) -> Result<(), DiskError> {
        self.check_poison("truncate", Some(len))?;
        rustix::fs::ftruncate(&self.0.fd, len)
            .map_err(|e| self.poison("truncate", Some(len), e.raw_os_error()))
    }
}

impl File for OsFile {
    fn write_now(&self, at: u64, bytes: &[u8], sync: WriteSync) -> Result<(), DiskError> {
        self.check_write(at, bytes.len() as u64)?;
        let flags = match sync {
            WriteSync::None => ReadWriteFlags::empty(),
            WriteSync::Data => ReadWriteFlags::DSYNC,
        };
        let written = transfer(bytes.len(), |moved| {
            pwritev2(&self.0.fd, &[IoSlice::new(&bytes[moved..])], at + moved as u64, flags)
        });
        written.map_err(|(moved, ended)| {
            let at = at + moved as u64;
            match ended {
                Ended::Nothing => self.poison("write", Some(at), Errno::IO.raw_os_error()),
                Ended::Failed(error) => self.write_error(at, sync, error),
            }
        })
    }

    fn read_now(&self, at: u64, into: &mut [u8], how: ReadHow) -> Result<ReadNow, DiskError> {
        let flags = match how {
            ReadHow::CachedOnly => ReadWriteFlags::NOWAIT,
            ReadHow::MayBlock => ReadWriteFlags::empty(),
        };
        if Self::is_out_of_range(at, into.len() as u64) {
            return Ok(ReadNow::Read(0));
        }
        let len = into.len();
        let read = transfer(len, |moved| {
            preadv2(&self.0.fd, &mut [IoSliceMut::new(&mut into[moved..])], at + moved as u64, flags)
        });
        match read {
            Ok(()) => Ok(ReadNow::Read(len)),
            Err((moved, Ended::Nothing)) => Ok(ReadNow::Read(moved)),
            Err((_, Ended::Failed(Errno::AGAIN | Errno::OPNOTSUPP))) if how == ReadHow::CachedOnly => {
                Ok(ReadNow::NotCached)
            }
            Err((moved, Ended::Failed(error))) => {
                Err(self.error("read", Some(at + moved as u64), error.raw_os_error()))
            }
        }
    }

    fn read_parts_now(
        &self,
        at: u64,
        first: &mut [u8],
        then: &mut [u8],
        how: ReadHow,
    ) -> Result<ReadNow, DiskError> {
        // What is in the page cache comes whole, in one call. The rest is rare: an interrupted or short read, a miss.
        let wanted = first.len() + then.len();
        if how == ReadHow::MayBlock && !Self::is_out_of_range(at, wanted as u64) {
            let mut parts = [IoSliceMut::new(first), IoSliceMut::new(then)];
            match preadv2(&self.0.fd, &mut parts, at, ReadWriteFlags::empty()) {
                Ok(read) if read == wanted => return Ok(ReadNow::Read(read)),
                _ => {}
            }
        }
        read_in_turn(self, at, first, then, how)
    }

    fn sync_now(&self) -> Result<(), DiskError> {
        self.check_poison("sync", None)?;
        loop {
            match rustix::fs::fdatasync(&self.0.fd) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.poison("sync", None, e.raw_os_error())),
            }
        }
    }

    fn map_sealed(&self) -> Result<SealedBytes, DiskError> {
        if self.len()? == 0 {
            return Ok(SealedBytes::owned(Vec::new()));
        }
        // SAFETY: the map stays valid while the file keeps its length and contents. `map_sealed` is for files that
        // the engine has sealed: it neither writes, truncates nor reuses them while a `SealedBytes` lives, and the
        // folder's lock keeps other processes of ours out.
        let map = unsafe { memmap2::Mmap::map(&self.0.fd) }
            .map_err(|e| self.error("map", None, e.raw_os_error().unwrap_or(0)))?;
        Ok(SealedBytes::mapped(map))
    }

    fn len(&self) -> Result<u64, DiskError> {
        let stat = rustix::fs::fstat(&self.0.fd).map_err(|e| self.error("stat", None, e.raw_os_error()))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn path(&self) -> &str {
        &self.0.path
    }
}
