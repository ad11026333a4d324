//! [`UringDisk`]: many operations in flight from one thread, over io_uring.
//!
//! Invariants:
//! * The ring is built, used and dropped by one thread (`SINGLE_ISSUER`); the disk isn't `Send`.
//! * A slot owns an operation's buffer and its file's handle from submit until the kernel's completion was reaped.
//!   Dropping the disk waits for every slot; where even that fails the slots are leaked, never freed.
//! * No more operations are in the kernel than the completion queue holds; the rest wait here in order of submission.
//!   What is submitted starts at the next [`Disk::reap`], many with one system call.
//! * Operations on names and truncations run at submit, as they do on the blocking disk.
//!
//! No `SQPOLL` and no spinning: on two cores both cost a scheduler tick.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use rustix::io::Errno;

use super::bell::Bell;
use super::blocking::execute;
use super::file::{OsFile, ZEROS};
use super::names::Names;
use crate::{Disk, DiskError, Done, Op, OpId, Outcome, Wait, Waker, WriteSync};

/// Entries of the submission queue; the completion queue has twice as many.
const ENTRIES: u32 = 128;
/// Most bytes in one request: the kernel takes no more than 2 GiB less a page.
const REQUEST_BYTES_MAX: usize = 1 << 30;
/// The request that reads the bell; slots are numbered from 0.
const BELL: u64 = u64::MAX;

/// A disk over io_uring.
pub struct UringDisk {
    ring: IoUring,
    names: Names,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Slots that need a request: new ones, and short transfers that go on.
    queued: VecDeque<usize>,
    in_kernel: usize,
    in_kernel_max: usize,
    done: Vec<Done<OsFile>>,
    bell: Arc<Bell>,
    /// Where the kernel puts the bell's counter while `is_bell_armed`.
    bell_count: Vec<u8>,
    is_bell_armed: bool,
    /// Not `Send`: the kernel refuses other threads than the one that built the ring.
    _one_thread: PhantomData<*const ()>,
}

/// An operation from its submission to its last completion.
struct Slot {
    id: OpId,
    file: OsFile,
    work: Work,
}

enum Work {
    Read { at: u64, buf: Vec<u8>, moved: usize },
    Write { at: u64, buf: Vec<u8>, moved: usize, sync: WriteSync },
    ZeroFill { at: u64, len: u64 },
    Sync,
}

/// What follows a completion.
enum Next {
    Again,
    Finished(Result<Outcome<OsFile>, DiskError>),
}

impl UringDisk {
    pub(super) fn new(names: Names) -> io::Result<Self> {
        let ring = build_ring()?;
        // The ring's own reference to the folder's lock: after a kill the lock lasts until the kernel has ended the
        // last request, which is after the process's descriptors are gone.
        ring.submitter().register_files(&[names.lock_fd()])?;
        Ok(Self {
            in_kernel_max: ring.params().cq_entries() as usize - 1,
            ring,
            names,
            slots: Vec::new(),
            free: Vec::new(),
            queued: VecDeque::new(),
            in_kernel: 0,
            done: Vec::new(),
            bell: Arc::new(Bell::new()?),
            bell_count: vec![0; 8],
            is_bell_armed: false,
            _one_thread: PhantomData,
        })
    }

    fn enqueue(&mut self, slot: Slot) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[index] = Some(slot);
        self.queued.push_back(index);
    }

    fn finish(&mut self, index: usize, result: Result<Outcome<OsFile>, DiskError>) {
        let Slot { id, work, .. } = self.slots[index].take().expect("a finished slot was in use");
        self.free.push(index);
        let buf = match work {
            Work::Read { buf, .. } | Work::Write { buf, .. } => Some(buf),
            Work::ZeroFill { .. } | Work::Sync => None,
        };
        self.done.push(Done { id, result, buf });
    }

    /// Moves queued slots into the submission queue, as many as the completion queue has room for.
    fn fill(&mut self) -> io::Result<()> {
        while self.in_kernel < self.in_kernel_max {
            let Some(index) = self.queued.pop_front() else { break };
            let slot = self.slots[index].as_mut().expect("a queued slot is in use");
            match slot.request() {
                Err(result) => self.finish(index, result),
                Ok(request) => {
                    self.push(&request.user_data(index as u64))?;
                    self.in_kernel += 1;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, request: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: a request names a buffer and a descriptor. Those of a slot's request are owned by the slot, which
            // `finish` takes out only after `harvest` saw that request's completion; those of the bell's request are
            // `bell_count` and `bell`, which live as long as the disk. Vectors that move keep their bytes in place, and
            // `Drop` waits for all completions, or leaks what the kernel may still use.
            if unsafe { self.ring.submission().push(request) }.is_ok() {
                return Ok(());
            }
            self.enter(0, None)?;
        }
    }

    fn arm_bell(&mut self) -> io::Result<()> {
        if !self.is_bell_armed {
            let request = opcode::Read::new(Fd(self.bell.fd()), self.bell_count.as_mut_ptr(), 8);
            self.push(&request.build().user_data(BELL))?;
            self.is_bell_armed = true;
        }
        Ok(())
    }

    /// Hands requests to the kernel and waits for `want` completions, or for as long as `limit` says.
    fn enter(&self, want: usize, limit: Option<Duration>) -> io::Result<()> {
        let submitter = self.ring.submitter();
        let result = match limit {
            Some(limit) if want > 0 => {
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&Timespec::from(limit)))
            }
            _ => submitter.submit_and_wait(want),
        };
        match result {
            Ok(_) => Ok(()),
            Err(e) => match e.raw_os_error().map(Errno::from_raw_os_error) {
                // Interrupted, out of time, or completions must be taken first: the caller looks and comes again.
                Some(Errno::INTR | Errno::TIME | Errno::BUSY) => Ok(()),
                // The kernel lacks memory for a request at this moment.
                Some(Errno::AGAIN) => {
                    std::thread::yield_now();
                    Ok(())
                }
                _ => Err(e),
            },
        }
    }

    /// Takes completions; what they finish is in `done`.
    fn harvest(&mut self) {
        loop {
            let Some(completion) = self.ring.completion().next() else { break };
            let (who, res) = (completion.user_data(), completion.result());
            if who == BELL {
                self.is_bell_armed = false;
                continue;
            }
            let index = usize::try_from(who).expect("slots are numbered by usize");
            self.in_kernel -= 1;
            let slot = self.slots[index].as_mut().expect("a slot is in use until its completion");
            match slot.advance(res) {
                Next::Again => self.queued.push_front(index),
                Next::Finished(result) => self.finish(index, result),
            }
        }
    }

    fn try_reap(&mut self, wait: Wait) -> io::Result<()> {
        let deadline = match wait {
            Wait::AtMost(limit) => Instant::now().checked_add(limit),
            Wait::No | Wait::Forever => None,
        };
        loop {
            self.fill()?;
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let may_wait =
                self.done.is_empty() && wait != Wait::No && left.is_none_or(|left| !left.is_zero());
            if may_wait {
                self.arm_bell()?;
            }
            // From here on a ringer makes the armed read complete.
            let waits = may_wait && self.bell.begin_wait();
            if waits || self.in_kernel > 0 {
                self.enter(usize::from(waits), left)?;
            }
            let was_rung = self.bell.answer();
            self.harvest();
            if !waits || was_rung || !self.done.is_empty() {
                return Ok(());
            }
        }
    }

    /// Finishes everything, the bell's request too.
    fn drain(&mut self) -> io::Result<()> {
        while !self.queued.is_empty() || self.in_kernel > 0 {
            self.fill()?;
            if self.in_kernel > 0 {
                self.enter(1, None)?;
                self.harvest();
            }
        }
        while self.is_bell_armed {
            self.bell.knock();
            self.enter(1, None)?;
            self.harvest();
        }
        Ok(())
    }
}

fn build_ring() -> io::Result<IoUring> {
    let tuned = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .dontfork()
        .build(ENTRIES);
    let ring = match tuned {
        // A kernel before 6.1 doesn't know the flags.
        Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            IoUring::builder().dontfork().build(ENTRIES)?
        }
        other => other?,
    };
    let params = ring.params();
    if params.is_feature_ext_arg() && params.is_feature_nodrop() {
        Ok(ring)
    } else {
        // Waiting with a time limit, and completions that are never dropped, came with Linux 5.11.
        Err(Errno::NOSYS.into())
    }
}

/// Whether this machine permits io_uring, by building a ring.
pub(super) fn probe() -> io::Result<()> {
    build_ring().map(drop)
}

impl Slot {
    /// The next request, or the operation's result if it needs none.
    fn request(&mut self) -> Result<squeue::Entry, Result<Outcome<OsFile>, DiskError>> {
        let Self { file, work, .. } = self;
        let fd = Fd(file.fd().as_raw_fd());
        let length = |n: usize| u32::try_from(n.min(REQUEST_BYTES_MAX)).expect("1 GiB fits");
        match work {
            Work::Read { at, buf, moved } => {
                let rest = &mut buf[*moved..];
                if rest.is_empty() || OsFile::is_out_of_range(*at, rest.len() as u64) {
                    return Err(Ok(Outcome::Read(*moved)));
                }
                Ok(opcode::Read::new(fd, rest.as_mut_ptr(), length(rest.len())).offset(*at).build())
            }
            Work::Write { at, buf, moved, sync } => {
                file.check_write(*at, buf.len() as u64 - *moved as u64).map_err(Err)?;
                let rest = &buf[*moved..];
                if rest.is_empty() {
                    return Err(Ok(Outcome::Finished));
                }
                let flags = match sync {
                    WriteSync::None => 0,
                    WriteSync::Data => RWF_DSYNC,
                };
                let request = opcode::Write::new(fd, rest.as_ptr(), length(rest.len()));
                Ok(request.offset(*at).rw_flags(flags).build())
            }
            Work::ZeroFill { at, len } => {
                file.check_write(*at, *len).map_err(Err)?;
                if *len == 0 {
                    return Err(Ok(Outcome::Finished));
                }
                let n = usize::try_from(*len).unwrap_or(usize::MAX).min(ZEROS.len());
                Ok(opcode::Write::new(fd, ZEROS.as_ptr(), length(n)).offset(*at).build())
            }
            Work::Sync => {
                file.check_poison("sync", None).map_err(Err)?;
                Ok(opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build())
            }
        }
    }

    /// Takes a completion's result.
    fn advance(&mut self, res: i32) -> Next {
        let Self { file, work, .. } = self;
        let moved_now = match u32::try_from(res) {
            Ok(n) => Ok(n as usize),
            Err(_) => match Errno::from_raw_os_error(-res) {
                // Nobody here cancels anything: the kernel does, before it has begun, where a signal keeps it from making a
                // worker for the request.
                Errno::INTR | Errno::AGAIN | Errno::CANCELED => return Next::Again,
                error => Err(error),
            },
        };
        match (work, moved_now) {
            (Work::Read { moved, .. }, Ok(0)) => Next::Finished(Ok(Outcome::Read(*moved))),
            (Work::Read { at, buf, moved }, Ok(n)) => {
                *at += n as u64;
                *moved += n;
                if *moved == buf.len() { Next::Finished(Ok(Outcome::Read(*moved))) } else { Next::Again }
            }
            (Work::Read { at, .. }, Err(e)) => {
                Next::Finished(Err(file.error("read", Some(*at), e.raw_os_error())))
            }
            (Work::Write { at, .. } | Work::ZeroFill { at, .. }, Ok(0)) => {
                Next::Finished(Err(file.poison("write", Some(*at), Errno::IO.raw_os_error())))
            }
            (Work::Write { at, buf, moved, .. }, Ok(n)) => {
                *at += n as u64;
                *moved += n;
                if *moved == buf.len() { Next::Finished(Ok(Outcome::Finished)) } else { Next::Again }
            }
            (Work::ZeroFill { at, len }, Ok(n)) => {
                *at += n as u64;
                *len -= n as u64;
                if *len == 0 { Next::Finished(Ok(Outcome::Finished)) } else { Next::Again }
            }
            (Work::Write { at, sync, .. }, Err(e)) => Next::Finished(Err(file.write_error(*at, *sync, e))),
            (Work::ZeroFill { at, .. }, Err(e)) => {
                Next::Finished(Err(file.write_error(*at, WriteSync::None, e)))
            }
            (Work::Sync, Ok(_)) => Next::Finished(Ok(Outcome::Finished)),
            (Work::Sync, Err(e)) => Next::Finished(Err(file.poison("sync", None, e.raw_os_error()))),
        }
    }
}

const RWF_DSYNC: i32 = rustix::io::ReadWriteFlags::DSYNC.bits().cast_signed();

impl Disk for UringDisk {
    type File = OsFile;

    fn submit(&mut self, id: OpId, op: Op<OsFile>) {
        let (file, work) = match op {
            Op::Read { file, at, buf } => (file, Work::Read { at, buf, moved: 0 }),
            Op::Write { file, at, buf, sync } => (file, Work::Write { at, buf, moved: 0, sync }),
            Op::ZeroFill { file, at, len } => (file, Work::ZeroFill { at, len }),
            Op::Sync { file } => (file, Work::Sync),
            inline => {
                let (result, buf) = execute(&self.names, inline);
                self.done.push(Done { id, result, buf });
                return;
            }
        };
        self.enqueue(Slot { id, file, work });
    }

    /// # Panics
    /// If the kernel refuses the ring itself, which only a bug here or another thread's use could cause.
    fn reap(&mut self, wait: Wait, out: &mut Vec<Done<OsFile>>) {
        if let Err(e) = self.try_reap(wait) {
            panic!("the kernel refuses a ring that it built: {e}");
        }
        out.append(&mut self.done);
    }

    fn waker(&self) -> Waker {
        let bell = Arc::clone(&self.bell);
        Waker::new(move || bell.ring())
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        if self.drain().is_err() {
            std::mem::forget(std::mem::take(&mut self.slots));
            std::mem::forget(std::mem::take(&mut self.bell_count));
            return;
        }
        // The kernel takes a closed ring down some 50 ms later; the folder's lock needn't wait for that now that
        // nothing is in flight. Should it fail, the next opener waits that long.
        let _ = self.ring.submitter().unregister_files();
    }
}

impl std::fmt::Debug for UringDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringDisk")
            .field("in_kernel", &self.in_kernel)
            .field("queued", &self.queued.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::{Mode, OFlags};

    /// What a kernel may answer: a part, a signal, no room in its queues, no worker because of a signal.
    fn answer() -> impl Strategy<Value = Result<usize, Errno>> {
        prop_oneof![
            6 => (1usize..3_000).prop_map(Ok),
            1 => Just(Err(Errno::INTR)),
            1 => Just(Err(Errno::AGAIN)),
            1 => Just(Err(Errno::CANCELED)),
        ]
    }

    /// Plays the kernel for a slot, until the operation is done.
    fn play(slot: &mut Slot, answers: Vec<Result<usize, Errno>>) -> Result<Outcome<OsFile>, DiskError> {
        let mut answers = answers.into_iter();
        loop {
            if let Err(result) = slot.request() {
                return result;
            }
            let part = match answers.next().unwrap_or(Ok(usize::MAX)) {
                Ok(part) => part,
                Err(errno) => {
                    assert!(matches!(slot.advance(-errno.raw_os_error()), Next::Again));
                    continue;
                }
            };
            let fd = slot.file.fd();
            let moved = match &mut slot.work {
                Work::Read { at, buf, moved } => {
                    let part = part.min(buf.len() - *moved);
                    rustix::io::pread(fd, &mut buf[*moved..*moved + part], *at)
                }
                Work::Write { at, buf, moved, .. } => {
                    rustix::io::pwrite(fd, &buf[*moved..*moved + part.min(buf.len() - *moved)], *at)
                }
                Work::ZeroFill { at, len } => {
                    let part = part.min(ZEROS.len()).min(usize::try_from(*len).expect("small"));
                    rustix::io::pwrite(fd, &ZEROS[..part], *at)
                }
                Work::Sync => Ok(0),
            };
            let moved = i32::try_from(moved.expect("the file system works")).expect("small");
            if let Next::Finished(result) = slot.advance(moved) {
                return result;
            }
        }
    }

    proptest! {
        #[test]
        fn a_request_done_in_parts_goes_on_where_it_stood(
            len in 0usize..9_000, at in 0u64..5_000,
            first in prop::collection::vec(answer(), 0..12),
            second in prop::collection::vec(answer(), 0..12),
            third in prop::collection::vec(answer(), 0..12),
        ) {
            let path = tempfile::NamedTempFile::new().expect("a temporary file").into_temp_path();
            let fd = rustix::fs::open(&*path, OFlags::RDWR, Mode::empty()).expect("it is there");
            let file = OsFile::new(fd, "a".to_owned());
            let slot = |work| Slot { id: OpId(1), file: file.clone(), work };
            let buf: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();

            let mut write = slot(Work::Write { at, buf: buf.clone(), moved: 0, sync: WriteSync::None });
            prop_assert!(matches!(play(&mut write, first), Ok(Outcome::Finished)));
            // More is asked for than there is: the end of the file ends it.
            let mut read = slot(Work::Read { at, buf: vec![0; len + 10], moved: 0 });
            prop_assert!(matches!(play(&mut read, second), Ok(Outcome::Read(n)) if n == len));
            let Work::Read { buf: found, .. } = read.work else { unreachable!("it was a read") };
            prop_assert_eq!(&found[..len], &buf[..]);
            let mut fill = slot(Work::ZeroFill { at: 0, len: at });
            prop_assert!(matches!(play(&mut fill, third), Ok(Outcome::Finished)));
            prop_assert!(file.check_poison("write", None).is_ok());
        }
    }
}
