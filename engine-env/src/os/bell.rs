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
use std::sync::atomic::Ordering;

use rustix::event::EventfdFlags;
use rustix::io::Errno;

use crate::sync::AtomicU8;

const AWAKE: u8 = 0;
const WAITING: u8 = 1;
const RUNG: u8 = 2;

#[derive(Debug)]
pub(crate) struct Bell {
    eventfd: OwnedFd,
    state: State,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { eventfd, state: State::new() })
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
        if self.state.ring() {
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
        self.state.begin_wait()
    }

    /// The owner doesn't wait (any more). Whether the bell was rung since this was last asked.
    pub(crate) fn answer(&self) -> bool {
        self.state.answer()
    }
}

/// The bell without its descriptor.
#[derive(Debug)]
struct State(AtomicU8);

impl State {
    fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Whether the owner is waiting: then it must be knocked at.
    fn ring(&self) -> bool {
        self.0.swap(RUNG, Ordering::AcqRel) == WAITING
    }

    fn begin_wait(&self) -> bool {
        self.0.compare_exchange(AWAKE, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn answer(&self) -> bool {
        self.0.swap(AWAKE, Ordering::AcqRel) == RUNG
    }
}

/// In every order of the threads' steps; see [`crate::sync`].
#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use loom::sync::atomic::AtomicU32;
    use loom::thread;

    use super::*;
    use crate::sync::{Condvar, Mutex, wait_while};

    /// What the kernel does for an eventfd.
    struct Eventfd {
        count: Mutex<u64>,
        written: Condvar,
    }

    impl Eventfd {
        fn new() -> Self {
            Self { count: Mutex::new(0), written: Condvar::new() }
        }

        fn write(&self) {
            *self.count.lock().expect("no thread panics") += 1;
            self.written.notify_one();
        }

        fn read(&self) {
            let count = self.count.lock().expect("no thread panics");
            *wait_while(&self.written, count, |count| *count == 0) = 0;
        }
    }

    struct Rung {
        state: State,
        eventfd: Eventfd,
    }

    impl Rung {
        fn new() -> Arc<Self> {
            Arc::new(Self { state: State::new(), eventfd: Eventfd::new() })
        }

        fn ring(&self) {
            if self.state.ring() {
                self.eventfd.write();
            }
        }

        /// The owner's wait, as in a disk's reap: it may end for nothing.
        fn wait(&self) -> bool {
            if self.state.begin_wait() {
                self.eventfd.read();
            }
            self.state.answer()
        }
    }

    #[test]
    fn no_ring_is_slept_through_and_what_came_before_it_is_seen() {
        loom::model(|| {
            let bell = Rung::new();
            let told = Arc::new(AtomicU32::new(0));
            let (ringing, telling) = (Arc::clone(&bell), Arc::clone(&told));
            let ringer = thread::spawn(move || {
                // Relaxed, here and below: the bell is what makes it visible.
                telling.store(7, Ordering::Relaxed);
                ringing.ring();
            });
            while !bell.wait() {}
            assert_eq!(told.load(Ordering::Relaxed), 7);
            ringer.join().expect("it rings once");
        });
    }

    #[test]
    fn two_who_ring_at_once_are_both_heard() {
        loom::model(|| {
            let bell = Rung::new();
            let told = Arc::new(AtomicU32::new(0));
            let ringers = [(), ()].map(|()| {
                let (bell, told) = (Arc::clone(&bell), Arc::clone(&told));
                thread::spawn(move || {
                    told.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                })
            });
            while told.load(Ordering::Relaxed) < 2 {
                bell.wait();
            }
            ringers.into_iter().for_each(|ringer| ringer.join().expect("it rings once"));
        });
    }
}
