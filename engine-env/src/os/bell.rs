//! [`Bell`]: wakes the thread that waits in a ring or an epoll, with a system call only if it does wait.
//!
//! Invariants:
//! * A ring that comes before the wait isn't lost: the next wait ends at once.
//! * Only the owner moves the state away from `RUNG`, and only while it isn't waiting; what a ringer wrote before it
//!   rang is visible to the owner afterwards.
//! * The eventfd's counter is written only by a ringer that found the owner waiting. It may still be set when the owner
//!   is long awake; the owner takes that for nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::EventfdFlags;
use rustix::io::Errno;

const AWAKE: u8 = 0;
const WAITING: u8 = 1;
const RUNG: u8 = 2;

#[derive(Debug)]
pub(crate) struct Bell {
    eventfd: OwnedFd,
    state: AtomicU8,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { eventfd, state: AtomicU8::new(AWAKE) })
    }

    /// The descriptor whose read completes when the bell is rung during a wait.
    pub(crate) fn fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// The same, to be watched: it becomes readable, once more with each ring during a wait.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// From any thread.
    pub(crate) fn ring(&self) {
        if self.state.swap(RUNG, Ordering::AcqRel) == WAITING {
            self.knock();
        }
    }

    /// Lets a read of the descriptor complete.
    pub(crate) fn knock(&self) {
        // It can fail only by interruption: the counter would have to reach 2^64 for anything else.
        while rustix::io::write(&self.eventfd, &1u64.to_ne_bytes()) == Err(Errno::INTR) {}
    }

    /// The owner is about to wait. `false`: the bell was rung, it must not.
    pub(crate) fn begin_wait(&self) -> bool {
        self.state.compare_exchange(AWAKE, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The owner doesn't wait (any more). Whether the bell was rung since this was last asked.
    pub(crate) fn answer(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == RUNG
    }
}
