//! The locks and atomics of hand-offs between threads that are modelled: the standard library's, or loom's in a build
//! with `--cfg loom`, where `models` (tests next to the code) run that very code in every order of its threads' steps.
//!
//! Only what a model covers takes its locks from here; everything else names `std`.

#[cfg(loom)]
pub use loom::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU8};
#[cfg(not(loom))]
pub use std::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU8};

use std::sync::PoisonError;
use std::time::Duration;

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
