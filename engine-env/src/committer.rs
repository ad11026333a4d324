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

/// A running committer thread. Dropping it finishes what is in flight, then joins.
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
        machine.start(&mut |id, op| {
            in_flight += 1;
            disk.submit(id, op);
        });
        let stopping = stop.load(Ordering::Acquire);
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
