//! [`Bell`]: wakes a thread that waits for work, or for its end.

use std::sync::PoisonError;
use std::time::Duration;

use engine_env::sync::{Condvar, Mutex, wait_timeout_while, wait_while};

/// A wake-up that isn't lost when it comes before the wait.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    ringing: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    now: bool,
    for_good: bool,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.change(|rung| rung.now = true);
    }

    /// From now on nobody is to wait.
    pub(super) fn stop(&self) {
        self.change(|rung| rung.for_good = true);
    }

    fn change(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.ringing.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).for_good
    }

    /// Waits for a ring, at most for `limit` if there is one.
    pub(super) fn wait(&self, limit: Option<Duration>) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = |rung: &mut Rung| !rung.now && !rung.for_good;
        let mut rung = match limit {
            None => wait_while(&self.ringing, rung, is_silent),
            Some(limit) => wait_timeout_while(&self.ringing, rung, limit, is_silent),
        };
        rung.now = false;
    }
}

/// In every order of the threads' steps; see [`engine_env::sync`].
#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use loom::thread;

    use super::*;

    #[test]
    fn neither_a_ring_nor_the_end_is_slept_through() {
        loom::model(|| {
            let bell = Arc::new(Bell::default());
            let waiting = Arc::clone(&bell);
            let waiter = thread::spawn(move || {
                let mut waits = 0;
                while !waiting.is_stopped() {
                    waiting.wait(None);
                    waits += 1;
                }
                assert!(waits <= 2, "one for the ring, one for the end");
            });
            bell.ring();
            bell.stop();
            waiter.join().expect("it ends");
        });
    }
}
