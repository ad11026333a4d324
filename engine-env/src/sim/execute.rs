//! What each operation does to the simulated machine, once it gets its turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::contents::SECTOR;
use super::disk::SimFile;
use super::faults::Fault;
use super::names::{IS_A_DIRECTORY, Inode};
use super::trace::digest;
use super::world::{FILE_BYTES_MAX, InFlight, Shared, SimInode, Unfinished, World, powerless};
use crate::{DiskError, DiskErrorKind, Done, Op, OpId, OpenHow, Outcome, ReadHow, ReadNow, Wait, WriteSync};

const EIO: DiskErrorKind = DiskErrorKind::Os(5);
const EFBIG: DiskErrorKind = DiskErrorKind::Os(27);

/// What a sync of a directory writes: its block.
const DIRECTORY_BYTES: u64 = 4096;

fn dirty_bytes(inodes: &BTreeMap<Inode, SimInode>, file: &SimFile) -> u64 {
    inodes.get(&file.inode()).map_or(0, |file| (file.contents.dirty_sectors() * SECTOR) as u64)
}

fn changes_something(op: &Op<SimFile>) -> bool {
    !matches!(op, Op::Read { .. } | Op::List { .. })
}

/// The operation in a line of the trace, buffers as a digest.
fn describe(op: &Op<SimFile>) -> String {
    match op {
        Op::Open { path, how } => format!("open {path} {how:?}"),
        Op::List { dir } => format!("list {dir}"),
        Op::CreateDir { dir } => format!("create folder {dir}"),
        Op::Rename { from, to } => format!("rename {from} to {to}"),
        Op::Remove { path } => format!("remove {path}"),
        Op::RenameDir { from, to } => format!("rename folder {from} to {to}"),
        Op::RemoveDir { dir } => format!("remove folder {dir}"),
        Op::SyncDir { dir } => format!("sync folder {dir}"),
        Op::Read { file, at, buf } => format!("read {} {at}+{}", file.path_owned(), buf.len()),
        Op::Write { file, at, buf, sync } => {
            format!("write {} {at}+{} {sync:?} {:016x}", file.path_owned(), buf.len(), digest(buf))
        }
        Op::Sync { file } => format!("sync {}", file.path_owned()),
        Op::ZeroFill { file, at, len } => format!("zero-fill {} {at}+{len}", file.path_owned()),
        Op::Truncate { file, len } => format!("truncate {} to {len}", file.path_owned()),
    }
}

impl World {
    pub(super) fn submit(&mut self, disk: u64, epoch: u64, id: OpId, op: Op<SimFile>) {
        if !self.powered || self.epoch != epoch {
            self.disk_mut(disk).ready.push(powerless(id, op));
            return;
        }
        let step = self.steps;
        self.trace.line(format_args!("{step} disk {disk} submit {} {}", id.0, describe(&op)));
        self.meter_submitted(&op);
        let goes_on = !changes_something(&op) || self.step(false).is_some();
        let covers = self.next_seq();
        self.disk_mut(disk).in_flight.push(InFlight { id, op, step, covers });
        if !goes_on {
            self.lose_power();
        }
    }

    /// What an operation will move is told when it is submitted: its cost is what decides when it completes. Reads are told
    /// when they are made.
    fn meter_submitted(&mut self, op: &Op<SimFile>) {
        let Self { meter: Some(meter), inodes, .. } = self else { return };
        match op {
            Op::Write { file, at, buf, sync } => match sync {
                WriteSync::None => meter.write(file.inode(), *at, buf.len() as u64),
                WriteSync::Data => meter.write_durably(file.inode(), *at, buf.len() as u64),
            },
            Op::ZeroFill { file, at, len } => meter.write(file.inode(), *at, *len),
            Op::Sync { file } => meter.durable(dirty_bytes(inodes, file)),
            Op::SyncDir { .. } => meter.durable(DIRECTORY_BYTES),
            _ => {}
        }
    }

    /// Completes some of what is in flight, at least one if the caller waits.
    pub(super) fn complete_some(&mut self, shared: &Arc<Shared>, disk: u64, wait: Wait) {
        let in_flight = self.disk_mut(disk).in_flight.len() as u64;
        if in_flight == 0 {
            return;
        }
        let count = match wait {
            Wait::AtMost(_) | Wait::Forever if self.completes_in_order => 1,
            Wait::No => self.dice.below(in_flight + 1),
            Wait::AtMost(_) | Wait::Forever => 1 + self.dice.below(in_flight),
        };
        for _ in 0..count {
            if !self.powered {
                return;
            }
            self.complete_one(shared, disk);
        }
    }

    pub(super) fn complete_one(&mut self, shared: &Arc<Shared>, disk: u64) {
        let in_flight = self.disk_mut(disk).in_flight.len() as u64;
        let pick = if self.completes_in_order { 0 } else { self.dice.below(in_flight) as usize };
        if changes_something(&self.disk_mut(disk).in_flight[pick].op) && self.completion_step().is_none() {
            self.lose_power();
            return;
        }
        let flight = match self.completes_in_order {
            true => self.disk_mut(disk).in_flight.remove(pick),
            false => self.disk_mut(disk).in_flight.swap_remove(pick),
        };
        let done = self.execute(shared, flight);
        self.trace.line(format_args!("disk {disk} done {} {}", done.id.0, told(&done.result)));
        self.disk_mut(disk).ready.push(done);
    }

    fn execute(&mut self, shared: &Arc<Shared>, flight: InFlight) -> Done<SimFile> {
        let InFlight { id, op, step, covers } = flight;
        let mut back = None;
        let result = match op {
            Op::Open { path, how } => self.open(shared, step, &path, how),
            Op::List { dir } => match self.tree.list(&dir) {
                Ok(entries) => Ok(Outcome::Listed(entries)),
                Err(kind) => Err(DiskError::new("list", dir, None, kind)),
            },
            Op::CreateDir { dir } => {
                self.change_name("create folder", &dir, step, |w, seq| w.tree.create_dir(seq, &dir))
            }
            Op::Rename { from, to } => {
                self.change_name("rename", &from, step, |w, seq| w.tree.rename(seq, &from, &to))
            }
            Op::Remove { path } => {
                self.change_name("remove", &path, step, |w, seq| w.tree.remove(seq, &path))
            }
            Op::RenameDir { from, to } => {
                self.change_name("rename folder", &from, step, |w, seq| w.tree.rename_dir(seq, &from, &to))
            }
            Op::RemoveDir { dir } => {
                self.change_name("remove folder", &dir, step, |w, seq| w.tree.remove_dir(seq, &dir))
            }
            Op::SyncDir { dir } => {
                let result = if self.strikes(Fault::SyncDirError, step) {
                    Err(EIO)
                } else {
                    self.tree.sync_dir(&dir, covers)
                };
                finished("sync folder", &dir, result)
            }
            Op::Read { file, at, mut buf } => {
                let read = self.read(&file, at, &mut buf, ReadHow::MayBlock).map(|read| match read {
                    ReadNow::Read(n) => Outcome::Read(n),
                    ReadNow::NotCached => unreachable!("a read that may block never says so"),
                });
                back = Some(buf);
                read
            }
            Op::Write { file, at, buf, sync } => {
                let written = self.write(&file, step, at, &buf, sync);
                back = Some(buf);
                written.map(|()| Outcome::Finished)
            }
            Op::Sync { file } => self.sync(&file, step, covers).map(|()| Outcome::Finished),
            Op::ZeroFill { file, at, len } => {
                self.zero_fill(&file, step, at, len).map(|()| Outcome::Finished)
            }
            Op::Truncate { file, len } => self.truncate(&file, len).map(|()| Outcome::Finished),
        };
        Done { id, result, buf: back }
    }

    fn open(
        &mut self,
        shared: &Arc<Shared>,
        step: u64,
        path: &str,
        how: OpenHow,
    ) -> Result<Outcome<SimFile>, DiskError> {
        let fail = |kind| DiskError::new("open", path, None, kind);
        let found = match self.tree.find(path) {
            // A folder takes the name as well as a file would.
            Err(IS_A_DIRECTORY) if how == OpenHow::CreateNew => {
                return Err(fail(DiskErrorKind::AlreadyExists));
            }
            found => found.map_err(fail)?,
        };
        let inode = match (found, how) {
            (Some(_), OpenHow::CreateNew) => return Err(fail(DiskErrorKind::AlreadyExists)),
            (Some(inode), OpenHow::Existing | OpenHow::OpenOrCreate) => inode,
            (None, OpenHow::Existing) => return Err(fail(DiskErrorKind::NotFound)),
            (None, OpenHow::CreateNew | OpenHow::OpenOrCreate) => {
                if self.strikes(Fault::NameError, step) {
                    return Err(fail(EIO));
                }
                let inode = self.add_inode();
                let seq = self.next_seq();
                self.tree.link(seq, path, inode).map_err(fail)?;
                inode
            }
        };
        let node = self.inode_mut(inode);
        let (pin, len) = (Arc::clone(&node.pin), node.contents.len());
        let file = SimFile::new(Arc::clone(shared), inode, pin, self.epoch, path);
        Ok(Outcome::Opened { file, len })
    }

    fn change_name(
        &mut self,
        operation: &'static str,
        path: &str,
        step: u64,
        change: impl FnOnce(&mut Self, u64) -> Result<(), DiskErrorKind>,
    ) -> Result<Outcome<SimFile>, DiskError> {
        let seq = self.next_seq();
        let result = if self.strikes(Fault::NameError, step) { Err(EIO) } else { change(self, seq) };
        finished(operation, path, result)
    }

    fn inode_mut(&mut self, inode: Inode) -> &mut SimInode {
        self.inodes.get_mut(&inode).expect("an open or named file is kept")
    }

    fn alive(&self, file: &SimFile, operation: &'static str, at: Option<u64>) -> Result<(), DiskError> {
        if self.powered && file.epoch() == self.epoch {
            Ok(())
        } else {
            Err(file.error(operation, at, DiskErrorKind::PowerLost))
        }
    }

    pub(super) fn read(
        &mut self,
        file: &SimFile,
        at: u64,
        into: &mut [u8],
        how: ReadHow,
    ) -> Result<ReadNow, DiskError> {
        self.alive(file, "read", Some(at))?;
        if how == ReadHow::CachedOnly && !self.inode_mut(file.inode()).contents.is_cached(at, into.len()) {
            return Ok(ReadNow::NotCached);
        }
        let end = at.saturating_add(into.len() as u64);
        let node = self.inode_mut(file.inode());
        let broken = node.unreadable.iter().find(|r| r.start < end && at < r.end).map(|r| r.start.max(at));
        if let Some(position) = broken {
            return Err(file.error("read", Some(position), EIO));
        }
        let number = self.reads;
        self.reads += 1;
        let planned = self.failing_read == Some(number);
        if planned {
            self.count(Fault::ReadError);
            self.trace.line(format_args!("{} fault in read {number} {}", self.steps, file.path_owned()));
        }
        if planned || self.strikes(Fault::ReadError, self.steps) {
            return Err(file.error("read", Some(at), EIO));
        }
        let read = self.inode_mut(file.inode()).contents.read(at, into);
        if let Some(meter) = &mut self.meter {
            meter.read(file.inode(), at, read as u64);
        }
        Ok(ReadNow::Read(read))
    }

    fn zero_fill(&mut self, file: &SimFile, step: u64, at: u64, len: u64) -> Result<(), DiskError> {
        self.alive(file, "write", Some(at))?;
        file.check_poison("write", Some(at))?;
        if len > 0 && at.checked_add(len).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(file.poison("write", Some(at), EFBIG));
        }
        let zeros = vec![0; usize::try_from(len).expect("at most the largest file")];
        self.write(file, step, at, &zeros, WriteSync::None)
    }

    fn write(
        &mut self,
        file: &SimFile,
        step: u64,
        at: u64,
        bytes: &[u8],
        sync: WriteSync,
    ) -> Result<(), DiskError> {
        self.alive(file, "write", Some(at))?;
        file.check_poison("write", Some(at))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let len = bytes.len() as u64;
        if at.checked_add(len).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(file.poison("write", Some(at), EFBIG));
        }
        let seq = self.next_seq();
        if self.strikes(Fault::WriteError, step) {
            let part = self.dice.below(len + 1);
            self.inode_mut(file.inode()).contents.write(seq, at, &bytes[..part as usize]);
            return Err(file.poison("write", Some(at + part), EIO));
        }
        let mut end = self.room(file.inode(), at, len);
        if end < at + len {
            self.count(Fault::NoSpace);
        } else if self.strikes(Fault::NoSpace, step) {
            end = end.min(at + self.dice.below(len));
        }
        if end < at + len {
            let part = end.saturating_sub(at);
            self.inode_mut(file.inode()).contents.write(seq, at, &bytes[..part as usize]);
            // As on the real disk: without a sync in the call the file stays usable.
            let error = match sync {
                WriteSync::None => file.error("write", Some(at + part), DiskErrorKind::NoSpace),
                WriteSync::Data => file.poison("write", Some(at + part), DiskErrorKind::NoSpace),
            };
            return Err(error);
        }
        self.inode_mut(file.inode()).contents.write(seq, at, bytes);
        if sync == WriteSync::Data {
            if self.strikes(Fault::SyncError, step) {
                let Self { inodes, dice, .. } = self;
                let node = inodes.get_mut(&file.inode()).expect("an open file is kept");
                node.contents.fail_sync(seq + 1, Some((at, bytes.len())), dice);
                return Err(file.poison("write", Some(at), EIO));
            }
            self.inode_mut(file.inode()).contents.sync_range(seq, at, bytes.len());
        }
        Ok(())
    }

    fn sync(&mut self, file: &SimFile, step: u64, covers: u64) -> Result<(), DiskError> {
        self.alive(file, "sync", None)?;
        file.check_poison("sync", None)?;
        if self.strikes(Fault::SyncError, step) {
            let Self { inodes, dice, .. } = self;
            let node = inodes.get_mut(&file.inode()).expect("an open file is kept");
            node.contents.fail_sync(covers, None, dice);
            return Err(file.poison("sync", None, EIO));
        }
        self.inode_mut(file.inode()).contents.sync(covers);
        Ok(())
    }

    fn truncate(&mut self, file: &SimFile, len: u64) -> Result<(), DiskError> {
        self.alive(file, "truncate", Some(len))?;
        file.check_poison("truncate", Some(len))?;
        if len > FILE_BYTES_MAX {
            return Err(file.poison("truncate", Some(len), EFBIG));
        }
        let seq = self.next_seq();
        let node = self.inode_mut(file.inode());
        node.contents.set_len(seq, len);
        node.allocated = node.allocated.min(len.next_multiple_of(SECTOR as u64));
        Ok(())
    }

    /// A write on the caller's thread: one step, done or interrupted.
    pub(super) fn write_now(
        &mut self,
        file: &SimFile,
        at: u64,
        bytes: &[u8],
        sync: WriteSync,
    ) -> Result<(), DiskError> {
        self.alive(file, "write", Some(at))?;
        let (path, steps) = (file.path_owned(), self.steps);
        let (len, content) = (bytes.len(), digest(bytes));
        self.trace.line(format_args!("{steps} write now {path} {at}+{len} {sync:?} {content:016x}"));
        match (&mut self.meter, sync) {
            (None, _) => {}
            (Some(meter), WriteSync::None) => meter.write(file.inode(), at, len as u64),
            (Some(meter), WriteSync::Data) => meter.write_durably(file.inode(), at, len as u64),
        }
        let Some(step) = self.step(false) else {
            self.interrupt(Unfinished::write(file, at, len as u64, || bytes.to_vec()));
            self.lose_power();
            return Err(file.error("write", Some(at), DiskErrorKind::PowerLost));
        };
        self.write(file, step, at, bytes, sync)
    }

    /// A sync on the caller's thread: one step. It covers everything written so far.
    pub(super) fn sync_now(&mut self, file: &SimFile) -> Result<(), DiskError> {
        self.alive(file, "sync", None)?;
        let steps = self.steps;
        self.trace.line(format_args!("{steps} sync now {}", file.path_owned()));
        if let Some(meter) = &mut self.meter {
            meter.durable(dirty_bytes(&self.inodes, file));
        }
        let Some(step) = self.step(false) else {
            self.lose_power();
            return Err(file.error("sync", None, DiskErrorKind::PowerLost));
        };
        let covers = self.next_seq();
        self.sync(file, step, covers)
    }

    pub(super) fn contents_of(&mut self, file: &SimFile) -> Result<&[u8], DiskError> {
        self.alive(file, "map", None)?;
        Ok(self.inode_mut(file.inode()).contents.seen())
    }

    pub(super) fn len_of(&mut self, file: &SimFile) -> Result<u64, DiskError> {
        self.alive(file, "stat", None)?;
        Ok(self.inode_mut(file.inode()).contents.len())
    }
}

fn finished(
    operation: &'static str,
    path: &str,
    result: Result<(), DiskErrorKind>,
) -> Result<Outcome<SimFile>, DiskError> {
    match result {
        Ok(()) => Ok(Outcome::Finished),
        Err(kind) => Err(DiskError::new(operation, path, None, kind)),
    }
}

/// The result in a line of the trace.
fn told(result: &Result<Outcome<SimFile>, DiskError>) -> String {
    match result {
        Ok(Outcome::Opened { len, .. }) => format!("opened, {len} bytes"),
        Ok(Outcome::Listed(entries)) => format!("listed {}", entries.len()),
        Ok(Outcome::Read(n)) => format!("read {n}"),
        Ok(Outcome::Finished) => "finished".to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}
