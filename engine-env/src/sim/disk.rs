//! [`SimHome`], [`SimDisk`], [`SimFile`]: the simulated machine behind the traits of [`crate::disk`](crate::Disk).

use std::ops::Range;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::faults::{Crash, CrashCounts, Fault, FaultCounts, FaultRates};
use super::meter::{Meter, Transfer};
use super::names::Inode;
use super::world::{Shared, World};
use crate::rng::Seed;
use crate::{
    Disk, DiskError, DiskErrorKind, Done, File, Home, Op, OpId, ReadHow, ReadNow, SealedBytes, Wait, Waker,
    WriteSync,
};

/// How long [`Disk::reap`] waits for another thread's wake-up when nothing is in flight. A lone thread would wait
/// for ever, so it returns; nothing the simulation decides depends on it.
const IDLE_WAIT: Duration = Duration::from_millis(1);

/// A simulated machine with one folder: the control panel, and the [`Home`] that hands out disks. Clones are the
/// same machine.
#[derive(Debug, Clone)]
pub struct SimHome(Arc<Shared>);

impl SimHome {
    /// A machine with an empty folder, whose choices follow `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self(Arc::new(Shared::new(World::new(seed))))
    }

    /// How many steps were taken since the start or the last reboot. A run without a crash tells how many crash
    /// points there are: [`SimHome::crash_at_step`] of each number below this one.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Lets the power fail in the middle of step `step` (counted from 0 at the start and at every reboot): that
    /// operation and what else is in flight may be there in part.
    pub fn crash_at_step(&self, step: u64) {
        self.0.lock().crash_at = Some(step);
    }

    /// Lets the power fail now. Everything fails with [`DiskErrorKind::PowerLost`] until [`SimHome::reboot`].
    pub fn cut_power(&self) {
        let mut world = self.0.lock();
        if world.powered {
            world.lose_power();
        }
        self.0.bell.notify_all();
    }

    /// Whether the machine runs.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.0.lock().powered
    }

    /// Brings the machine back (after cutting the power, if it was on) with what `crash` left. Disks and handles of
    /// before stay dead. Steps count from 0 again; planned crashes and faults are forgotten, fault rates are not.
    pub fn reboot(&self, crash: Crash) {
        self.0.lock().reboot(crash);
        self.0.bell.notify_all();
    }

    /// A copy of this machine as it is now, without power: [`SimHome::reboot`] it to see what a crash at this
    /// moment leaves. This machine goes on undisturbed.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Shared::new(self.0.lock().fork())))
    }

    /// Plans `fault` for the first operation it fits that begins at step `step` or later. Reads take no step: they
    /// count for the step that comes next.
    pub fn fail_at_step(&self, step: u64, fault: Fault) {
        self.0.lock().scheduled.push((step, fault));
    }

    /// Plans `fault` for the next operation it fits.
    pub fn fail_next(&self, fault: Fault) {
        let mut world = self.0.lock();
        let step = world.steps;
        world.scheduled.push((step, fault));
    }

    /// How many reads were made since the start or the last reboot, failed ones included.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.lock().reads
    }

    /// Lets read `number` (counted from 0 at the start and at every reboot) fail with [`Fault::ReadError`]. Two reads
    /// within one step are told apart, which [`SimHome::fail_at_step`] can't do.
    pub fn fail_read(&self, number: u64) {
        self.0.lock().failing_read = Some(number);
    }

    /// Sets how likely faults are from now on.
    pub fn set_fault_rates(&self, rates: FaultRates) {
        self.0.lock().rates = rates;
    }

    /// Leaves `free` bytes in the file system, or no limit. Space is taken by whole sectors up to a file's highest
    /// write, and given back by a truncation, and by a removal once it is durable and the file is closed.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.0.lock().set_free_bytes(free);
    }

    /// Bytes left in the file system; `None` without a limit.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        self.0.lock().free_bytes()
    }

    /// Forgets every clean page: reads come from the platter, and [`ReadHow::CachedOnly`] finds nothing.
    pub fn evict(&self) {
        for file in self.0.lock().inodes.values_mut() {
            file.contents.evict();
        }
    }

    /// From now on [`SimHome::take_transfers`] tells what operations moved, by a page cache that holds so many pages of
    /// 4 KiB. Bytes under a map are not seen.
    pub fn meter(&self, pages_max: usize) {
        self.0.lock().meter = Some(Meter::new(pages_max));
    }

    /// From now on a [`Disk::reap`] that waits completes one operation, the oldest: for whoever decides when each is done.
    pub fn complete_in_order(&self) {
        self.0.lock().completes_in_order = true;
    }

    /// What was moved since this was last asked, in the order of the operations; nothing without a [`SimHome::meter`].
    #[must_use]
    pub fn take_transfers(&self) -> Vec<Transfer> {
        self.0.lock().meter.as_mut().map(Meter::take).unwrap_or_default()
    }

    /// The kernel writes back everything that waits for a sync, and nobody is told; how many bytes that are.
    pub fn write_back(&self) -> u64 {
        self.0.lock().write_back()
    }

    /// Flips one bit of a file on the platter; bit `8 * n` is the lowest bit of byte `n`. Reads see it, unless newer
    /// bytes wait there for a sync.
    ///
    /// # Errors
    /// No such file, or it has no such byte.
    pub fn flip_bit(&self, path: &str, bit: u64) -> Result<(), DiskError> {
        self.damage(path, bit / 8, 1, |_, byte| byte ^ (1 << (bit % 8)))
    }

    /// Replaces bytes of a file on the platter: rot, a misdirected write, or the content of the file's former life.
    ///
    /// # Errors
    /// No such file, or it is shorter.
    pub fn corrupt(&self, path: &str, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.damage(path, at, bytes.len(), |i, _| bytes[i])
    }

    fn damage(
        &self,
        path: &str,
        at: u64,
        len: usize,
        change: impl Fn(usize, u8) -> u8,
    ) -> Result<(), DiskError> {
        let mut world = self.0.lock();
        let inode = find(&world, "damage", path)?;
        let file = world.inodes.get_mut(&inode).expect("a named file is kept");
        if at.saturating_add(len as u64) > file.contents.len() {
            return Err(DiskError::new("damage", path, Some(at), DiskErrorKind::NotFound));
        }
        file.contents.damage(at, change, len);
        world.trace.line(format_args!("damage {path} {at}+{len}"));
        Ok(())
    }

    /// Makes every later read that touches `range` fail with `EIO`.
    ///
    /// # Errors
    /// No such file.
    pub fn break_reads(&self, path: &str, range: Range<u64>) -> Result<(), DiskError> {
        let mut world = self.0.lock();
        let inode = find(&world, "break", path)?;
        world.inodes.get_mut(&inode).expect("a named file is kept").unreadable.push(range);
        Ok(())
    }

    /// What a power cut that loses everything unsynced would leave of a file, were its name durable.
    ///
    /// # Errors
    /// No such file.
    pub fn durable_bytes(&self, path: &str) -> Result<Vec<u8>, DiskError> {
        let world = self.0.lock();
        Ok(world.inodes[&find(&world, "read", path)?].contents.durable())
    }

    /// What reads of a file give now.
    ///
    /// # Errors
    /// No such file.
    pub fn seen_bytes(&self, path: &str) -> Result<Vec<u8>, DiskError> {
        let world = self.0.lock();
        Ok(world.inodes[&find(&world, "read", path)?].contents.seen().to_vec())
    }

    /// The paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.0.lock().tree.files().into_iter().map(|(path, _)| path).collect()
    }

    /// How many sectors wait for a sync.
    #[must_use]
    pub fn dirty_sectors(&self) -> usize {
        self.0.lock().inodes.values().map(|file| file.contents.dirty_sectors()).sum()
    }

    /// What became of unsynced sectors and names so far.
    #[must_use]
    pub fn counts(&self) -> CrashCounts {
        self.0.lock().counts
    }

    /// How often each fault struck so far, planned or by chance; a write that found the budget used up counts as
    /// [`Fault::NoSpace`].
    #[must_use]
    pub fn faults(&self) -> FaultCounts {
        self.0.lock().faults.clone()
    }

    /// Puts a line of the program's own into the trace.
    pub fn note(&self, line: std::fmt::Arguments<'_>) {
        self.0.lock().trace.line(line);
    }

    /// Keeps the lines of the trace from now on; otherwise there is only its hash.
    pub fn record_trace(&self) {
        self.0.lock().trace.record();
    }

    /// The recorded lines.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.0.lock().trace.lines().to_vec()
    }

    /// The recorded lines from line `first` on, counted from 0.
    #[must_use]
    pub fn trace_from(&self, first: usize) -> Vec<String> {
        self.0.lock().trace.lines().get(first..).unwrap_or_default().to_vec()
    }

    /// A hash of everything that happened: equal for two runs that did the same.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.0.lock().trace.hash()
    }
}

fn find(world: &World, operation: &'static str, path: &str) -> Result<Inode, DiskError> {
    match world.tree.find(path) {
        Ok(Some(inode)) => Ok(inode),
        Ok(None) => Err(DiskError::new(operation, path, None, DiskErrorKind::NotFound)),
        Err(kind) => Err(DiskError::new(operation, path, None, kind)),
    }
}

impl Home for SimHome {
    type Disk = SimDisk;

    fn disk(&self) -> Result<SimDisk, DiskError> {
        let mut world = self.0.lock();
        if !world.powered {
            return Err(DiskError::new("open folder", "", None, DiskErrorKind::PowerLost));
        }
        Ok(SimDisk { disk: world.add_disk(), epoch: world.epoch, shared: Arc::clone(&self.0) })
    }
}

/// A disk of a [`SimHome`]. What is in flight completes in an order that the seed chooses, when it is reaped.
#[derive(Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
    disk: u64,
    epoch: u64,
}

impl Disk for SimDisk {
    type File = SimFile;

    fn submit(&mut self, id: OpId, op: Op<SimFile>) {
        self.shared.lock().submit(self.disk, self.epoch, id, op);
    }

    fn reap(&mut self, wait: Wait, out: &mut Vec<Done<SimFile>>) {
        let mut world = self.shared.lock();
        world.complete_some(&self.shared, self.disk, wait);
        let limit = match wait {
            Wait::No => None,
            Wait::AtMost(limit) => Some(limit.min(IDLE_WAIT)),
            Wait::Forever => Some(IDLE_WAIT),
        };
        if let Some(limit) = limit {
            let idle = |world: &mut World| {
                let state = world.disk_mut(self.disk);
                state.ready.is_empty() && !state.woken
            };
            world = self
                .shared
                .bell
                .wait_timeout_while(world, limit, idle)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let state = world.disk_mut(self.disk);
        state.woken = false;
        out.append(&mut state.ready);
    }

    fn waker(&self) -> Waker {
        let (shared, disk) = (Arc::clone(&self.shared), self.disk);
        Waker::new(move || {
            if let Some(state) = shared.lock().disks.get_mut(&disk) {
                state.woken = true;
            }
            shared.bell.notify_all();
        })
    }
}

impl Drop for SimDisk {
    /// Finishes what is in flight, as the real ones do.
    fn drop(&mut self) {
        let mut world = self.shared.lock();
        while world.powered && !world.disk_mut(self.disk).in_flight.is_empty() {
            world.complete_one(&self.shared, self.disk);
        }
        world.disks.remove(&self.disk);
    }
}

/// A file of a [`SimHome`].
#[derive(Clone)]
pub struct SimFile(Arc<Open>);

struct Open {
    shared: Arc<Shared>,
    inode: Inode,
    _pin: Arc<()>,
    epoch: u64,
    path: String,
    poisoned: AtomicBool,
}

impl PartialEq for SimFile {
    /// The same handle, not merely the same path.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({:?}, inode {})", self.0.path, self.0.inode.0)
    }
}

impl SimFile {
    pub(super) fn new(shared: Arc<Shared>, inode: Inode, pin: Arc<()>, epoch: u64, path: &str) -> Self {
        let poisoned = AtomicBool::new(false);
        Self(Arc::new(Open { shared, inode, _pin: pin, epoch, path: path.to_owned(), poisoned }))
    }

    pub(super) fn inode(&self) -> Inode {
        self.0.inode
    }

    pub(super) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    pub(super) fn path_owned(&self) -> String {
        self.0.path.clone()
    }

    pub(super) fn error(&self, operation: &'static str, at: Option<u64>, kind: DiskErrorKind) -> DiskError {
        DiskError::new(operation, self.0.path.as_str(), at, kind)
    }

    /// Marks the handle poisoned and makes the error to report.
    pub(super) fn poison(&self, operation: &'static str, at: Option<u64>, kind: DiskErrorKind) -> DiskError {
        self.0.poisoned.store(true, Ordering::Release);
        self.error(operation, at, kind)
    }

    pub(super) fn check_poison(&self, operation: &'static str, at: Option<u64>) -> Result<(), DiskError> {
        if self.0.poisoned.load(Ordering::Acquire) {
            return Err(self.error(operation, at, DiskErrorKind::Poisoned));
        }
        Ok(())
    }
}

impl File for SimFile {
    fn write_now(&self, at: u64, bytes: &[u8], sync: WriteSync) -> Result<(), DiskError> {
        self.0.shared.lock().write_now(self, at, bytes, sync)
    }

    fn read_now(&self, at: u64, into: &mut [u8], how: ReadHow) -> Result<ReadNow, DiskError> {
        self.0.shared.lock().read(self, at, into, how)
    }

    fn sync_now(&self) -> Result<(), DiskError> {
        self.0.shared.lock().sync_now(self)
    }

    fn map_sealed(&self) -> Result<SealedBytes, DiskError> {
        Ok(SealedBytes::owned(self.0.shared.lock().contents_of(self)?.to_vec()))
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.0.shared.lock().len_of(self)
    }

    fn path(&self) -> &str {
        &self.0.path
    }
}
