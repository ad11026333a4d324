//! [`Gate`]: holds back writers who have outrun maintenance.

use std::sync::PoisonError;

use engine_env::sync::{Condvar, Mutex, wait_while};

/// Where a writer waits as long as the store is overgrown.
#[derive(Debug, Default)]
pub(super) struct Gate {
    held: Mutex<()>,
    opened: Condvar,
}

impl Gate {
    pub(super) fn pass(&self, is_overgrown: impl Fn() -> bool) {
        if is_overgrown() {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            drop(wait_while(&self.opened, held, |()| is_overgrown()));
        }
    }

    /// Called after every step of maintenance.
    pub(super) fn look(&self, is_overgrown: impl Fn() -> bool) {
        if !is_overgrown() {
            // Taken so that nobody is between looking and waiting.
            drop(self.held.lock().unwrap_or_else(PoisonError::into_inner));
            self.opened.notify_all();
        }
    }
}

/// In every order of the threads' steps; see [`engine_env::sync`].
#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    use super::*;

    #[test]
    fn every_writer_passes_once_maintenance_has_caught_up() {
        loom::model(|| {
            let gate = Arc::new((Gate::default(), AtomicBool::new(true)));
            let writers = [(), ()].map(|()| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || gate.0.pass(|| gate.1.load(Ordering::Acquire)))
            });
            gate.1.store(false, Ordering::Release);
            gate.0.look(|| gate.1.load(Ordering::Acquire));
            writers.into_iter().for_each(|writer| writer.join().expect("it passes"));
        });
    }
}
