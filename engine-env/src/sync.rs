//! The locks and atomics of hand-offs between threads that are modelled: the standard library's, or loom's in a build
//! with `--cfg loom`, where `models` (tests next to the code) run that very code in every order of its threads' steps.
//!
//! Only what a model covers takes its locks from here; everything else names `std`.

#[cfg(loom)]
pub use loom::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU8};
#[cfg(not(loom))]
pub use std::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU8};

use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::TryLockError;
use std::time::Duration;

/// Locks what is held for a few microseconds, whatever poisoned it: asks for a little longer before it sleeps. A thread that
/// sleeps has to be woken, which costs its waker as much as the lock was held, and as long as somebody sleeps the standard
/// library lets nobody else ask twice.
#[cfg(not(loom))]
pub fn lock_short<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    const ASKS: u32 = 50;
    const PAUSES: u32 = 8;
    for _ in 0..ASKS {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => (0..PAUSES).for_each(|_| std::hint::spin_loop()),
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks it. Asking more than once first makes no difference to what can happen.
#[cfg(loom)]
pub fn lock_short<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condition` is false, whatever poisoned the lock.
#[cfg(not(loom))]
pub fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner)
}

/// As [`wait_while`], but not longer than `limit`.
#[cfg(not(loom))]
pub fn wait_timeout_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout_while(guard, limit, condition).unwrap_or_else(PoisonError::into_inner).0
}

/// Waits until `condition` is false.
#[cfg(loom)]
pub fn wait_while<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    mut condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    while condition(&mut guard) {
        guard = condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    guard
}

/// Models know no time: the limit never passes.
#[cfg(loom)]
pub fn wait_timeout_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    _limit: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    wait_while(condvar, guard, condition)
}
