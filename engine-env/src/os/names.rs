//! Operations on names: open, list, rename, remove, and the directory sync that makes them durable. Rare, and the
//! same for every backend: always blocking system calls.

use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::file::OsFile;
use super::lock::{DirLock, LOCK_NAME};
use crate::{DiskError, Entry, EntryKind, OpenHow, Outcome};

/// A root directory and the lock that keeps it ours.
#[derive(Debug)]
pub(super) struct Names {
    root: OwnedFd,
    lock: Arc<DirLock>,
}

/// `""` names the root itself.
fn or_dot(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

fn fail(operation: &'static str, path: &str) -> impl FnOnce(Errno) -> DiskError {
    let path = path.to_owned();
    move |e| DiskError::os(operation, path, None, e.raw_os_error())
}

impl Names {
    pub(super) fn open(root: &Path, lock: Arc<DirLock>) -> Result<Self, DiskError> {
        let fd = rustix::fs::openat(CWD, root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(fail("open folder", &root.display().to_string()))?;
        Ok(Self { root: fd, lock })
    }

    pub(super) fn lock_fd(&self) -> RawFd {
        self.lock.fd()
    }

    pub(super) fn open_file(&self, path: &str, how: OpenHow) -> Result<Outcome<OsFile>, DiskError> {
        let flags = match how {
            OpenHow::Existing => OFlags::empty(),
            OpenHow::CreateNew => OFlags::CREATE | OFlags::EXCL,
            OpenHow::OpenOrCreate => OFlags::CREATE,
        };
        let fd = rustix::fs::openat(
            &self.root,
            path,
            flags | OFlags::RDWR | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )
        .map_err(fail("open", path))?;
        let stat = rustix::fs::fstat(&fd).map_err(fail("stat", path))?;
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Outcome::Opened { file: OsFile::new(fd, path.to_owned()), len })
    }

    pub(super) fn list(&self, dir: &str) -> Result<Outcome<OsFile>, DiskError> {
        let fd = self.open_dir("list", dir)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd).map_err(fail("list", dir))? {
            let entry = entry.map_err(fail("list", dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // The lock is the home's own, not part of what an engine stores.
            if name == "." || name == ".." || (dir.is_empty() && name == LOCK_NAME) {
                continue;
            }
            let mut file_type = entry.file_type();
            if file_type == FileType::Unknown {
                let stat = rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(fail("list", dir))?;
                file_type = FileType::from_raw_mode(stat.st_mode);
            }
            let kind = match file_type {
                FileType::RegularFile => EntryKind::File,
                FileType::Directory => EntryKind::Dir,
                _ => EntryKind::Other,
            };
            entries.push(Entry { name, kind });
        }
        entries.sort();
        Ok(Outcome::Listed(entries))
    }

    pub(super) fn create_dir(&self, dir: &str) -> Result<Outcome<OsFile>, DiskError> {
        match rustix::fs::mkdirat(&self.root, or_dot(dir), Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(Outcome::Finished),
            // Fine if it is a folder; opening it as one tells.
            Err(Errno::EXIST) => match self.open_dir("create folder", dir) {
                Ok(_) => Ok(Outcome::Finished),
                Err(_) => Err(fail("create folder", dir)(Errno::EXIST)),
            },
            Err(e) => Err(fail("create folder", dir)(e)),
        }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<Outcome<OsFile>, DiskError> {
        rustix::fs::renameat(&self.root, from, &self.root, to).map_err(fail("rename", from))?;
        Ok(Outcome::Finished)
    }

    pub(super) fn remove(&self, path: &str) -> Result<Outcome<OsFile>, DiskError> {
        rustix::fs::unlinkat(&self.root, path, AtFlags::empty()).map_err(fail("remove", path))?;
        Ok(Outcome::Finished)
    }

    pub(super) fn rename_dir(&self, from: &str, to: &str) -> Result<Outcome<OsFile>, DiskError> {
        drop(self.open_dir("rename folder", from)?);
        rustix::fs::renameat_with(&self.root, from, &self.root, to, RenameFlags::NOREPLACE)
            .map_err(fail("rename folder", from))?;
        Ok(Outcome::Finished)
    }

    pub(super) fn remove_dir(&self, dir: &str) -> Result<Outcome<OsFile>, DiskError> {
        rustix::fs::unlinkat(&self.root, dir, AtFlags::REMOVEDIR).map_err(fail("remove folder", dir))?;
        Ok(Outcome::Finished)
    }

    pub(super) fn sync_dir(&self, dir: &str) -> Result<Outcome<OsFile>, DiskError> {
        let fd = self.open_dir("sync folder", dir)?;
        rustix::fs::fsync(&fd).map_err(fail("sync folder", dir))?;
        Ok(Outcome::Finished)
    }

    fn open_dir(&self, operation: &'static str, dir: &str) -> Result<OwnedFd, DiskError> {
        rustix::fs::openat(&self.root, or_dot(dir), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(fail(operation, dir))
    }
}
