//! [`World`]: the simulated machine's state: files, names, what is in flight, the power, and the counters.
//!
//! Invariants:
//! * Everything that happens is decided by the seed and by the order of calls: no clock, no address, no hash order.
//! * A step is an operation submitted or run at once that changes something, or a completion that follows another
//!   completion (one that follows a submit leaves the same choices to a power cut as that submit did).
//! * Once the power is lost nothing changes until the reboot. Handles and disks of before stay dead for good.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::contents::{Contents, SECTOR, Severity};
use super::dice::Dice;
use super::disk::SimFile;
use super::faults::{Crash, CrashCounts, Fault, FaultCounts, FaultRates};
use super::meter::Meter;
use super::names::{Inode, Tree};
use super::trace::Trace;
use crate::rng::Seed;
use crate::{DiskError, DiskErrorKind, Done, Op, OpId};

/// A simulated file is a vector: a position beyond this is a mistake, not a file.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 32;

/// What handles, disks and homes share.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    /// Rung on wake-ups and when the power is lost.
    pub(super) bell: Condvar,
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), bell: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        // A test that panicked while holding the lock has failed already; its other threads may still look.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct SimInode {
    pub(super) contents: Contents,
    /// Cloned by every open handle, so that a file without a name lives as long as one.
    pub(super) pin: Arc<()>,
    /// Bytes counted against the budget: whole sectors up to the highest write.
    pub(super) allocated: u64,
    pub(super) unreadable: Vec<Range<u64>>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: OpId,
    pub(super) op: Op<SimFile>,
    /// Which step submitted it: faults are planned by step.
    pub(super) step: u64,
    /// What happened before this is covered, if this is a sync.
    pub(super) covers: u64,
}

/// An operation that was under way when the power went.
#[derive(Debug, Clone)]
pub(super) enum Unfinished {
    Write { inode: Inode, at: u64, bytes: Vec<u8> },
    Truncate { inode: Inode, len: u64 },
    Create { path: String },
    CreateDir { dir: String },
    Rename { from: String, to: String },
    Remove { path: String },
    RenameDir { from: String, to: String },
    RemoveDir { dir: String },
}

impl Unfinished {
    /// What of `op` a crash may leave done; `None` if that is nothing in any case.
    pub(super) fn of(op: &Op<SimFile>) -> Option<Self> {
        Some(match op {
            Op::Write { file, at, buf, .. } => {
                return Self::write(file, *at, buf.len() as u64, || buf.clone());
            }
            Op::ZeroFill { file, at, len } => {
                return Self::write(file, *at, *len, || vec![0; usize::try_from(*len).unwrap_or(0)]);
            }
            Op::Truncate { len, .. } if *len > FILE_BYTES_MAX => return None,
            Op::Truncate { file, len } => Self::Truncate { inode: file.inode(), len: *len },
            Op::Open { path, how } if *how != crate::OpenHow::Existing => Self::Create { path: path.clone() },
            Op::CreateDir { dir } => Self::CreateDir { dir: dir.clone() },
            Op::Rename { from, to } => Self::Rename { from: from.clone(), to: to.clone() },
            Op::Remove { path } => Self::Remove { path: path.clone() },
            Op::RenameDir { from, to } => Self::RenameDir { from: from.clone(), to: to.clone() },
            Op::RemoveDir { dir } => Self::RemoveDir { dir: dir.clone() },
            // A sync under way promises nothing, and what it covers may survive anyway.
            Op::Open { .. } | Op::Sync { .. } | Op::SyncDir { .. } | Op::Read { .. } | Op::List { .. } => {
                return None;
            }
        })
    }

    /// A write, unless it is one that fails anyhow.
    pub(super) fn write(file: &SimFile, at: u64, len: u64, bytes: impl FnOnce() -> Vec<u8>) -> Option<Self> {
        let fits = at.checked_add(len).is_some_and(|end| end <= FILE_BYTES_MAX);
        (fits && file.check_poison("write", None).is_ok()).then(|| Self::Write {
            inode: file.inode(),
            at,
            bytes: bytes(),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct DiskState {
    pub(super) in_flight: Vec<InFlight>,
    pub(super) ready: Vec<Done<SimFile>>,
    pub(super) woken: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) epoch: u64,
    pub(super) powered: bool,
    pub(super) tree: Tree,
    pub(super) inodes: BTreeMap<Inode, SimInode>,
    next_inode: u64,
    seq: u64,
    pub(super) steps: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) reads: u64,
    pub(super) failing_read: Option<u64>,
    last_was_completion: bool,
    pub(super) disks: BTreeMap<u64, DiskState>,
    next_disk: u64,
    interrupted: Vec<Unfinished>,
    capacity: Option<u64>,
    pub(super) rates: FaultRates,
    pub(super) scheduled: Vec<(u64, Fault)>,
    pub(super) dice: Dice,
    pub(super) trace: Trace,
    pub(super) counts: CrashCounts,
    pub(super) faults: FaultCounts,
    pub(super) meter: Option<Meter>,
    /// What is in flight completes one by one, the oldest first.
    pub(super) completes_in_order: bool,
}

impl World {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            epoch: 0,
            powered: true,
            tree: Tree::new(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            seq: 1,
            steps: 0,
            crash_at: None,
            reads: 0,
            failing_read: None,
            last_was_completion: false,
            disks: BTreeMap::new(),
            next_disk: 0,
            interrupted: Vec::new(),
            capacity: None,
            rates: FaultRates::default(),
            scheduled: Vec::new(),
            dice: Dice::new(seed.derive("sim disk", 0)),
            trace: Trace::default(),
            counts: CrashCounts::default(),
            faults: FaultCounts::new(),
            meter: None,
            completes_in_order: false,
        }
    }

    /// A copy without power: what is in flight here was interrupted there.
    pub(super) fn fork(&self) -> Self {
        let inodes = self.inodes.iter().map(|(inode, file)| {
            let contents = file.contents.clone();
            let (allocated, unreadable) = (file.allocated, file.unreadable.clone());
            (*inode, SimInode { contents, pin: Arc::default(), allocated, unreadable })
        });
        let in_flight = self.disks.values().flat_map(|d| &d.in_flight);
        let under_way = in_flight.filter_map(|flight| Unfinished::of(&flight.op));
        Self {
            epoch: self.epoch,
            powered: false,
            tree: self.tree.clone(),
            inodes: inodes.collect(),
            next_inode: self.next_inode,
            seq: self.seq,
            steps: self.steps,
            crash_at: None,
            reads: 0,
            failing_read: None,
            last_was_completion: false,
            disks: BTreeMap::new(),
            next_disk: self.next_disk,
            interrupted: self.interrupted.iter().cloned().chain(under_way).collect(),
            capacity: self.capacity,
            rates: self.rates,
            scheduled: Vec::new(),
            dice: self.dice.clone(),
            trace: self.trace.clone(),
            counts: self.counts,
            faults: self.faults.clone(),
            meter: None,
            completes_in_order: false,
        }
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(super) fn add_disk(&mut self) -> u64 {
        self.next_disk += 1;
        self.disks.insert(self.next_disk, DiskState::default());
        self.next_disk
    }

    pub(super) fn add_inode(&mut self) -> Inode {
        let inode = Inode(self.next_inode);
        self.next_inode += 1;
        let file = SimInode {
            contents: Contents::default(),
            pin: Arc::default(),
            allocated: 0,
            unreadable: Vec::new(),
        };
        self.inodes.insert(inode, file);
        inode
    }

    pub(super) fn disk_mut(&mut self, disk: u64) -> &mut DiskState {
        self.disks.get_mut(&disk).expect("a disk's state lives until the disk is dropped")
    }

    /// Counts a step. `None`: it is the one that never ends.
    pub(super) fn step(&mut self, is_completion: bool) -> Option<u64> {
        let step = self.steps;
        self.steps += 1;
        self.last_was_completion = is_completion;
        (self.crash_at != Some(step)).then_some(step)
    }

    /// Counts the completion of an operation that changes something. `None` as in [`World::step`].
    pub(super) fn completion_step(&mut self) -> Option<()> {
        if self.last_was_completion {
            self.step(true)?;
        }
        self.last_was_completion = true;
        Some(())
    }

    /// Whether a fault hits an operation of the given step.
    pub(super) fn strikes(&mut self, fault: Fault, step: u64) -> bool {
        if let Some(planned) = self.scheduled.iter().position(|(from, f)| *f == fault && *from <= step) {
            self.scheduled.remove(planned);
        } else if !self.dice.chance(self.rates.of(fault)) {
            return false;
        }
        self.trace.line(format_args!("{step} fault {fault:?}"));
        self.count(fault);
        true
    }

    pub(super) fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn interrupt(&mut self, unfinished: Option<Unfinished>) {
        self.interrupted.extend(unfinished);
    }

    pub(super) fn lose_power(&mut self) {
        self.powered = false;
        self.trace.line(format_args!("{} power lost", self.steps));
        for disk in self.disks.values_mut() {
            for flight in disk.in_flight.drain(..) {
                self.interrupted.extend(Unfinished::of(&flight.op));
                disk.ready.push(powerless(flight.id, flight.op));
            }
            disk.woken = true;
        }
    }

    pub(super) fn reboot(&mut self, crash: Crash) {
        if self.powered {
            self.lose_power();
        }
        self.counts.crashes += 1;
        let mut dice = Dice::new(match crash {
            Crash::Subset(seed) | Crash::PowerCut(seed) | Crash::ProcessKill(seed) => {
                seed.derive("reboot", self.epoch)
            }
            Crash::LoseUnsynced | Crash::KeepUnsynced | Crash::LengthsOnly => Seed(0),
        });
        self.finish_interrupted(matches!(crash, Crash::ProcessKill(_)), &mut dice);
        // How much survives is itself a draw: cuts that lose nearly all or nearly nothing must be common.
        let keep = match dice.below(4) {
            0 => 0.05,
            1 => 0.95,
            _ => dice.fraction(),
        };
        match crash {
            Crash::ProcessKill(_) => {}
            Crash::LoseUnsynced => self.cut_power(Severity::Lose, &mut dice),
            Crash::KeepUnsynced => self.cut_power(Severity::Keep, &mut dice),
            Crash::LengthsOnly => self.cut_power(Severity::LengthsOnly, &mut dice),
            Crash::Subset(_) => self.cut_power(Severity::Dice { keep, tear: 0.0 }, &mut dice),
            Crash::PowerCut(_) => self.cut_power(Severity::Dice { keep, tear: 0.3 }, &mut dice),
        }
        for file in self.inodes.values_mut() {
            file.pin = Arc::default();
        }
        self.collect();
        self.epoch += 1;
        self.powered = true;
        self.steps = 0;
        self.crash_at = None;
        self.reads = 0;
        self.failing_read = None;
        self.last_was_completion = false;
        self.scheduled.clear();
        self.trace.line(format_args!("reboot after {crash:?}"));
    }

    /// Operations that were under way get as far as they got: in any order, and for a killed process in part.
    fn finish_interrupted(&mut self, is_kill: bool, dice: &mut Dice) {
        let mut rest = std::mem::take(&mut self.interrupted);
        while !rest.is_empty() {
            let one = rest.swap_remove(dice.below(rest.len() as u64) as usize);
            if is_kill && dice.chance(0.3) {
                continue;
            }
            let seq = self.next_seq();
            // What fails here would have failed there, and nobody is left to tell.
            match one {
                Unfinished::Write { inode, at, mut bytes } => {
                    if is_kill && dice.chance(0.5) {
                        bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize);
                    }
                    let end = self.room(inode, at, bytes.len() as u64);
                    if let Some(file) = self.inodes.get_mut(&inode) {
                        bytes.truncate(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX));
                        file.contents.write(seq, at, &bytes);
                    }
                }
                Unfinished::Truncate { inode, len } => {
                    if let Some(file) = self.inodes.get_mut(&inode) {
                        file.contents.set_len(seq, len);
                    }
                }
                Unfinished::Create { path } => {
                    if let Ok(None) = self.tree.find(&path) {
                        let inode = self.add_inode();
                        let _ = self.tree.link(seq, &path, inode);
                    }
                }
                Unfinished::CreateDir { dir } => drop(self.tree.create_dir(seq, &dir)),
                Unfinished::Rename { from, to } => drop(self.tree.rename(seq, &from, &to)),
                Unfinished::Remove { path } => drop(self.tree.remove(seq, &path)),
                Unfinished::RenameDir { from, to } => drop(self.tree.rename_dir(seq, &from, &to)),
                Unfinished::RemoveDir { dir } => drop(self.tree.remove_dir(seq, &dir)),
            }
        }
    }

    fn cut_power(&mut self, severity: Severity, dice: &mut Dice) {
        let names = self.tree.cut_power(severity, dice);
        self.counts.names_lost += names.lost;
        self.counts.names_kept += names.kept;
        for (inode, file) in &mut self.inodes {
            let fates = file.contents.cut_power(severity, dice);
            file.allocated = file.contents.len().next_multiple_of(SECTOR as u64);
            self.counts.sectors_lost += fates.lost;
            self.counts.sectors_kept += fates.kept;
            self.counts.sectors_torn += fates.torn;
            self.counts.lengths_lost += fates.lengths_lost;
            self.trace.line(format_args!(
                "inode {}: lost {} kept {} torn {} lengths lost {}",
                inode.0, fates.lost, fates.kept, fates.torn, fates.lengths_lost
            ));
        }
        self.trace.line(format_args!("names: lost {} kept {}", names.lost, names.kept));
    }

    pub(super) fn write_back(&mut self) -> u64 {
        let covers = self.next_seq();
        let dirty: usize = self.inodes.values().map(|file| file.contents.dirty_sectors()).sum();
        self.inodes.values_mut().for_each(|file| file.contents.sync(covers));
        self.trace.line(format_args!("written back {dirty}"));
        (dirty * SECTOR) as u64
    }

    /// Drops files that no name and no handle refers to.
    pub(super) fn collect(&mut self) {
        let referenced = self.tree.referenced();
        let before = self.inodes.len();
        self.inodes.retain(|inode, file| referenced.contains(inode) || Arc::strong_count(&file.pin) > 1);
        if let Some(meter) = self.meter.as_mut().filter(|_| self.inodes.len() < before) {
            meter.forget_others(&self.inodes.keys().copied().collect());
        }
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|file| file.allocated).sum()
    }

    pub(super) fn set_free_bytes(&mut self, free: Option<u64>) {
        self.collect();
        self.capacity = free.map(|free| self.used() + free);
    }

    pub(super) fn free_bytes(&mut self) -> Option<u64> {
        self.collect();
        self.capacity.map(|capacity| capacity.saturating_sub(self.used()))
    }

    /// Allocates space for a write and gives the position up to which there is some.
    pub(super) fn room(&mut self, inode: Inode, at: u64, len: u64) -> u64 {
        let Some(allocated) = self.inodes.get(&inode).map(|file| file.allocated) else { return at };
        let end = at + len;
        let needed = end.next_multiple_of(SECTOR as u64);
        if needed <= allocated {
            return end;
        }
        let granted = match self.free_bytes() {
            Some(free) => needed.min(allocated + free / SECTOR as u64 * SECTOR as u64),
            None => needed,
        };
        if granted <= at {
            return at;
        }
        let file = self.inodes.get_mut(&inode).expect("it was there above, and it is open or named");
        file.allocated = granted.max(allocated);
        end.min(granted)
    }
}

/// The completion of an operation that found no power.
pub(super) fn powerless(id: OpId, op: Op<SimFile>) -> Done<SimFile> {
    let (operation, path, at, buf) = match op {
        Op::Open { path, .. } => ("open", path, None, None),
        Op::List { dir } => ("list", dir, None, None),
        Op::CreateDir { dir } => ("create folder", dir, None, None),
        Op::Rename { from, .. } => ("rename", from, None, None),
        Op::Remove { path } => ("remove", path, None, None),
        Op::RenameDir { from, .. } => ("rename folder", from, None, None),
        Op::RemoveDir { dir } => ("remove folder", dir, None, None),
        Op::SyncDir { dir } => ("sync folder", dir, None, None),
        Op::Read { file, at, buf } => ("read", file.path_owned(), Some(at), Some(buf)),
        Op::Write { file, at, buf, .. } => ("write", file.path_owned(), Some(at), Some(buf)),
        Op::Sync { file } => ("sync", file.path_owned(), None, None),
        Op::ZeroFill { file, at, .. } => ("write", file.path_owned(), Some(at), None),
        Op::Truncate { file, len } => ("truncate", file.path_owned(), Some(len), None),
    };
    Done { id, result: Err(DiskError::new(operation, path, at, DiskErrorKind::PowerLost)), buf }
}
