//! [`CompletionQueue`]: results on their way back to the thread that asked, one wake for many.

use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, wait_timeout_while, wait_while};
use crate::{Wait, Waker};

/// A multi-producer queue that one thread drains. Waking costs as much as a tenth of a durable write, so producers
/// push a whole group and wake once.
#[derive(Debug)]
pub struct CompletionQueue<T> {
    ready: Mutex<Vec<T>>,
    arrived: Condvar,
    /// Rung instead of `arrived`.
    waker: Option<Waker>,
}

impl<T> Default for CompletionQueue<T> {
    fn default() -> Self {
        Self { ready: Mutex::new(Vec::new()), arrived: Condvar::new(), waker: None }
    }
}

impl<T> CompletionQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty queue whose drainer waits elsewhere, for example in [`Port::receive`](crate::Port::receive): `waker` is
    /// rung when results come into the empty queue. It is drained with [`Wait::No`]; other waits would sleep through.
    #[must_use]
    pub fn with_waker(waker: Waker) -> Self {
        Self { waker: Some(waker), ..Self::default() }
    }

    /// Adds a group and wakes the drainer once.
    pub fn push_all(&self, group: impl IntoIterator<Item = T>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = ready.is_empty();
        ready.extend(group);
        let wake = was_empty && !ready.is_empty();
        drop(ready);
        if wake {
            match &self.waker {
                Some(waker) => waker.wake(),
                None => self.arrived.notify_one(),
            }
        }
    }

    /// Adds one and wakes the drainer.
    pub fn push(&self, one: T) {
        self.push_all([one]);
    }

    /// Moves everything that has arrived to the end of `out`, waiting for a first one as `wait` says.
    ///
    /// # Panics
    /// If it should wait although the queue has a waker.
    pub fn drain(&self, wait: Wait, out: &mut Vec<T>) {
        assert!(wait == Wait::No || self.waker.is_none(), "a queue with a waker is drained without waiting");
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = match wait {
            Wait::No => ready,
            Wait::Forever => wait_while(&self.arrived, ready, |r| r.is_empty()),
            Wait::AtMost(limit) => {
                // Shorter than a microsecond can't be slept; asking the kernel would only cost time.
                if limit < Duration::from_micros(1) {
                    ready
                } else {
                    wait_timeout_while(&self.arrived, ready, limit, |r| r.is_empty())
                }
            }
        };
        out.append(&mut ready);
    }
}

/// In every order of the threads' steps; see [`crate::sync`].
#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use loom::thread;

    use super::*;

    #[test]
    fn a_drainer_that_waits_is_woken_for_whatever_comes() {
        loom::model(|| {
            let queue = Arc::new(CompletionQueue::new());
            let producers = [1, 2].map(|one| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(one))
            });
            let mut got = Vec::new();
            while got.len() < 2 {
                queue.drain(Wait::Forever, &mut got);
            }
            producers.into_iter().for_each(|producer| producer.join().expect("it pushes once"));
            got.sort_unstable();
            assert_eq!(got, [1, 2]);
        });
    }

    #[test]
    fn one_who_waits_elsewhere_finds_everything_it_was_woken_for() {
        loom::model(|| {
            let bell = Arc::new((Mutex::new(false), Condvar::new()));
            let ringing = Arc::clone(&bell);
            let waker = Waker::new(move || {
                *ringing.0.lock().expect("no thread panics") = true;
                ringing.1.notify_one();
            });
            let queue = Arc::new(CompletionQueue::with_waker(waker));
            let producers = [1, 2].map(|one| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(one))
            });
            let mut got = Vec::new();
            while got.len() < 2 {
                let rung = bell.0.lock().expect("no thread panics");
                *wait_while(&bell.1, rung, |rung| !*rung) = false;
                queue.drain(Wait::No, &mut got);
            }
            producers.into_iter().for_each(|producer| producer.join().expect("it pushes once"));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn nothing_is_lost_between_many_producers_and_one_drainer() {
        let queue = Arc::new(CompletionQueue::new());
        let producers: Vec<_> = (0..4u32)
            .map(|p| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || {
                    for i in 0..5_000 {
                        queue.push_all([p * 5_000 + i]);
                    }
                })
            })
            .collect();
        let mut got = Vec::new();
        while got.len() < 20_000 {
            queue.drain(Wait::Forever, &mut got);
        }
        for p in producers {
            p.join().expect("producer");
        }
        got.sort_unstable();
        assert_eq!(got, (0..20_000).collect::<Vec<u32>>());
    }
}
