//! [`Feeds`]: who follows the changes, how far each is, and which deletes can still be told.
//!
//! Invariants:
//! * A tombstone that an open feed hasn't passed is not dropped.
//! * What was dropped is known before it is gone: a feed that would begin before it is refused, also after a restart
//!   (the mark carries the sequence).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_env::Waker;

#[derive(Debug)]
pub(super) struct Feeds {
    /// Every record with a sequence below this can be read and is as durable as the store promises.
    visible: AtomicU64,
    /// Whether there is a feed at all: a commit without one costs a look.
    is_followed: AtomicBool,
    /// Nothing will come any more: the store is gone.
    is_over: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: Vec<Arc<Follower>>,
    /// All tombstones from this sequence on are there.
    deletes_from: u64,
}

/// An open feed, as writers and merges see it.
#[derive(Debug)]
pub(super) struct Follower {
    /// The first sequence that it hasn't seen.
    position: AtomicU64,
    /// It found nothing new and wants to be told.
    waits: AtomicBool,
    waker: Mutex<Waker>,
}

impl Feeds {
    pub(super) fn new(visible: u64, deletes_from: u64) -> Self {
        let state = Mutex::new(State { open: Vec::new(), deletes_from });
        Self {
            visible: AtomicU64::new(visible),
            is_followed: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            state,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn visible(&self) -> u64 {
        self.visible.load(Ordering::SeqCst)
    }

    pub(super) fn deletes_from(&self) -> u64 {
        self.state().deletes_from
    }

    /// The first sequence that an open feed hasn't seen; more than any if there is no feed.
    pub(super) fn oldest(&self) -> u64 {
        self.state().open.iter().map(|f| f.position.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }

    /// Registers a feed; or, if deletes from `position` on are gone, from where on they are there.
    pub(super) fn follow(&self, position: u64, needs_deletes: bool) -> Result<Arc<Follower>, u64> {
        let mut state = self.state();
        if needs_deletes && position < state.deletes_from {
            return Err(state.deletes_from);
        }
        let follower = Arc::new(Follower {
            position: AtomicU64::new(position),
            waits: AtomicBool::new(false),
            waker: Mutex::new(Waker::new(|| {})),
        });
        state.open.push(Arc::clone(&follower));
        self.is_followed.store(true, Ordering::SeqCst);
        Ok(follower)
    }

    pub(super) fn leave(&self, follower: &Arc<Follower>) {
        let mut state = self.state();
        state.open.retain(|other| !Arc::ptr_eq(other, follower));
        self.is_followed.store(!state.open.is_empty(), Ordering::SeqCst);
    }

    /// Whether nobody needs the tombstone with this sequence any more. If so, it counts as gone from now on.
    pub(super) fn let_go(&self, sequence: u64) -> bool {
        let mut state = self.state();
        let is_needed = state.open.iter().any(|f| f.position.load(Ordering::Acquire) <= sequence);
        if !is_needed {
            state.deletes_from = state.deletes_from.max(sequence + 1);
        }
        !is_needed
    }

    /// Everything below `sequence` can be read from now on.
    pub(super) fn show(&self, sequence: u64) {
        self.visible.store(sequence, Ordering::SeqCst);
    }

    /// Tells the feeds that nothing will come any more.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.ring();
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Wakes the feeds that wait. After [`Feeds::show`], without the writer's lock.
    pub(super) fn ring(&self) {
        if !self.is_followed.load(Ordering::SeqCst) {
            return;
        }
        let waiting: Vec<_> = {
            let state = self.state();
            state.open.iter().filter(|f| f.waits.swap(false, Ordering::SeqCst)).cloned().collect()
        };
        for follower in waiting {
            let waker = follower.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
            waker.wake();
        }
    }
}

impl Follower {
    pub(super) fn set_waker(&self, waker: Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }

    pub(super) fn move_to(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    /// Asks to be woken by the next commit. Whoever asked looks once more before it waits: a commit may have come in
    /// between.
    pub(super) fn ask(&self) {
        self.waits.store(true, Ordering::SeqCst);
    }
}
