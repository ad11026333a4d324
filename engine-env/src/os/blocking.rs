//! [`BlockingDisk`]: every operation runs at submit, on the submitting thread; reap hands out the results.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::file::OsFile;
use super::names::Names;
use crate::{Disk, DiskError, Done, File, Op, OpId, Outcome, ReadHow, ReadNow, Wait, Waker};

/// A disk over blocking system calls.
#[derive(Debug)]
pub struct BlockingDisk {
    names: Names,
    done: Vec<Done<OsFile>>,
    bell: Arc<Bell>,
}

/// A wake-up that isn't lost when it comes before the wait.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    ringing: Condvar,
}

impl BlockingDisk {
    pub(super) fn new(names: Names) -> Self {
        Self { names, done: Vec::new(), bell: Arc::default() }
    }
}

/// Runs one operation with blocking system calls.
pub(super) fn execute(
    names: &Names,
    op: Op<OsFile>,
) -> (Result<Outcome<OsFile>, DiskError>, Option<Vec<u8>>) {
    let finished = |r: Result<(), DiskError>| r.map(|()| Outcome::Finished);
    match op {
        Op::Open { path, how } => (names.open_file(&path, how), None),
        Op::List { dir } => (names.list(&dir), None),
        Op::CreateDir { dir } => (names.create_dir(&dir), None),
        Op::Rename { from, to } => (names.rename(&from, &to), None),
        Op::Remove { path } => (names.remove(&path), None),
        Op::RenameDir { from, to } => (names.rename_dir(&from, &to), None),
        Op::RemoveDir { dir } => (names.remove_dir(&dir), None),
        Op::SyncDir { dir } => (names.sync_dir(&dir), None),
        Op::Read { file, at, mut buf } => {
            let result = file.read_now(at, &mut buf, ReadHow::MayBlock).map(|read| match read {
                ReadNow::Read(n) => Outcome::Read(n),
                ReadNow::NotCached => unreachable!("a read that may block never says so"),
            });
            (result, Some(buf))
        }
        Op::Write { file, at, buf, sync } => (finished(file.write_now(at, &buf, sync)), Some(buf)),
        Op::Sync { file } => (finished(file.sync_now()), None),
        Op::ZeroFill { file, at, len } => (finished(file.zero_fill_now(at, len)), None),
        Op::Truncate { file, len } => (finished(file.truncate_now(len)), None),
    }
}

impl Disk for BlockingDisk {
    type File = OsFile;

    fn submit(&mut self, id: OpId, op: Op<OsFile>) {
        let (result, buf) = execute(&self.names, op);
        self.done.push(Done { id, result, buf });
    }

    fn reap(&mut self, wait: Wait, out: &mut Vec<Done<OsFile>>) {
        let mut rung = self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if self.done.is_empty() {
            rung = match wait {
                Wait::No => rung,
                Wait::Forever => {
                    self.bell.ringing.wait_while(rung, |r| !*r).unwrap_or_else(PoisonError::into_inner)
                }
                Wait::AtMost(limit) => {
                    self.bell
                        .ringing
                        .wait_timeout_while(rung, limit, |r| !*r)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        *rung = false;
        out.append(&mut self.done);
    }

    fn waker(&self) -> Waker {
        let bell = Arc::clone(&self.bell);
        Waker::new(move || {
            *bell.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            bell.ringing.notify_one();
        })
    }
}
