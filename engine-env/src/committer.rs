//! [`Committer`]: the thread that owns a disk and drives a [`Machine`] over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Disk, DiskError, Done, Home, Op, OpId, Wait, Waker};

/// Storage that submits and is handed completions: it never waits, and never names a thread.
///
/// The same machine is driven by a [`Committer`] thread, by the thread of a lone submitter, and step by step in a
/// crash test.
pub trait Machine<F>: Send + Sync + 'static {
    /// Submits whatever can start now. Called after every wake-up and every round of completions.
    fn start(&self, submit: &mut dyn FnMut(OpId, Op<F>));

    /// Takes the completion of an operation that [`Machine::start`] submitted.
    fn on_done(&self, done: Done<F>);

    /// How long the machine can wait before [`Machine::start`] has something to do again without a wake-up.
    fn next_deadline(&self) -> Option<Duration>;
}

/// A running committer thread. Dropping it finishes what is in flight and what was ready to start, then joins.
#[derive(Debug)]
pub struct Committer {
    waker: Waker,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts a thread called `name` that builds its own disk from `home` and drives `machine`.
    ///
    /// # Errors
    /// The disk can't be built.
    ///
    /// # Panics
    /// If the operating system refuses a thread.
    pub fn spawn<H: Home>(
        name: &str,
        home: H,
        machine: Arc<dyn Machine<<H::Disk as Disk>::File>>,
    ) -> Result<Self, DiskError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, built) = mpsc::channel();
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || match home.disk() {
                Err(error) => drop(ready.send(Err(error))),
                Ok(disk) => {
                    let _ = ready.send(Ok(disk.waker()));
                    drive(disk, &*machine, &stopping);
                }
            })
            .expect("the operating system refused a thread");
        let waker = built.recv().expect("the thread reports before it ends")?;
        Ok(Self { waker, stop, thread: Some(thread) })
    }

    /// Tells the thread that the machine has work. Callable from any thread.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// The waker alone, for those who only ring the bell.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the committer was reported by the panic hook; a second one here would only hide it.
            let _ = thread.join();
        }
    }
}

fn drive<D: Disk>(mut disk: D, machine: &dyn Machine<D::File>, stop: &AtomicBool) {
    let mut in_flight = 0usize;
    let mut done = Vec::new();
    loop {
        // Before the look for work: what was staged before the order to stop is then found by it.
        let stopping = stop.load(Ordering::Acquire);
        machine.start(&mut |id, op| {
            in_flight += 1;
            disk.submit(id, op);
        });
        if stopping && in_flight == 0 {
            return;
        }
        let wait = match machine.next_deadline() {
            _ if stopping => Wait::AtMost(Duration::from_millis(10)),
            Some(limit) => Wait::AtMost(limit),
            None => Wait::Forever,
        };
        disk.reap(wait, &mut done);
        in_flight -= done.len();
        for one in done.drain(..) {
            machine.on_done(one);
        }
    }
}

/// Drives `machine` on the calling thread until it has nothing in flight and submits nothing more.
///
/// For clean closing and for tests that step without a thread.
pub fn drive_until_idle<D: Disk>(disk: &mut D, machine: &dyn Machine<D::File>, limit: Duration) {
    let started = Instant::now();
    let mut in_flight = 0usize;
    let mut done = Vec::new();
    loop {
        machine.start(&mut |id, op| {
            in_flight += 1;
            disk.submit(id, op);
        });
        if in_flight == 0 || started.elapsed() > limit {
            return;
        }
        disk.reap(Wait::Forever, &mut done);
        in_flight -= done.len();
        for one in done.drain(..) {
            machine.on_done(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::sim::SimHome;
    use crate::{OpenHow, Outcome};

    /// Opens a file once `is_wanted`, and stands still at the end of its first look for work.
    #[derive(Debug)]
    struct Late {
        is_wanted: AtomicBool,
        is_done: AtomicBool,
        has_looked: AtomicBool,
        may_go_on: AtomicBool,
    }

    impl<F> Machine<F> for Late {
        fn start(&self, submit: &mut dyn FnMut(OpId, Op<F>)) {
            if self.is_wanted.swap(false, Ordering::AcqRel) {
                submit(OpId(1), Op::Open { path: "a".to_owned(), how: OpenHow::CreateNew });
            }
            self.has_looked.store(true, Ordering::Release);
            while !self.may_go_on.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }

        fn on_done(&self, done: Done<F>) {
            assert!(matches!(done.result, Ok(Outcome::Opened { .. })));
            self.is_done.store(true, Ordering::Release);
        }

        fn next_deadline(&self) -> Option<Duration> {
            None
        }
    }

    /// Staged after the thread had looked for work, and the committer dropped before it saw the order to stop: it
    /// stopped without another look, and a log closed right after an append found its commit undone.
    #[test]
    fn what_was_staged_before_the_drop_is_done_after_it() {
        let machine = Arc::new(Late {
            is_wanted: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
            has_looked: AtomicBool::new(false),
            may_go_on: AtomicBool::new(false),
        });
        let home = SimHome::new(Seed(1));
        let committer = Committer::spawn("late", home, Arc::clone(&machine) as _).expect("it starts");
        while !machine.has_looked.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        machine.is_wanted.store(true, Ordering::Release);
        committer.wake();
        let stop = Arc::clone(&committer.stop);
        let dropping = std::thread::spawn(move || drop(committer));
        while !stop.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        machine.may_go_on.store(true, Ordering::Release);
        dropping.join().expect("it is dropped");
        assert!(machine.is_done.load(Ordering::Acquire));
    }
}
