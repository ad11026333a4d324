//! [`PeriodicSync`]: `interval` durability's machine: it syncs what was written, every so often.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine_env::{Done, File, Machine, Op, OpId};

use crate::storage::bitcask::{Bitcask, SyncTarget};

/// Syncs what was written, every so often.
pub(super) struct PeriodicSync<F> {
    core: Arc<Bitcask<F>>,
    every: Duration,
    state: Mutex<SyncState<F>>,
}

struct SyncState<F> {
    due: Instant,
    in_flight: Option<SyncTarget<F>>,
}

impl<F: File> PeriodicSync<F> {
    pub(super) fn new(core: Arc<Bitcask<F>>, every: Duration) -> Self {
        let state = SyncState { due: Instant::now() + every, in_flight: None };
        Self { core, every, state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, SyncState<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: File> Machine<F> for PeriodicSync<F> {
    fn start(&self, submit: &mut dyn FnMut(OpId, Op<F>)) {
        let mut state = self.state();
        if state.in_flight.is_some() || Instant::now() < state.due {
            return;
        }
        match self.core.sync_target() {
            Some(target) => {
                submit(OpId(0), Op::Sync { file: target.file.clone() });
                state.in_flight = Some(target);
            }
            None => state.due = Instant::now() + self.every,
        }
    }

    fn on_done(&self, done: Done<F>) {
        let target = self.state().in_flight.take().expect("one sync is in flight");
        self.core.sync_done(&target, done.result.map(drop));
        // Segments that a roll left behind come first, at once one after the other.
        if target.is_last {
            self.state().due = Instant::now() + self.every;
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let state = self.state();
        // The completion wakes the thread; a deadline that has passed would keep it spinning until then.
        let idle = state.in_flight.is_none();
        idle.then(|| state.due.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use engine_env::rng::Seed;
    use engine_env::sim::SimHome;
    use engine_env::{Durability, Home as _, Outcome};

    use super::*;
    use crate::config::KvConfig;
    use crate::version::{VectorClock, Versioned};

    // While a periodic sync was in flight, the time at which it had been due lay behind: the thread asked for its
    // completion again and again, at full speed, until the device had answered.
    #[test]
    fn a_sync_in_flight_is_waited_for_without_a_deadline() {
        let mut disk = SimHome::new(Seed(1)).disk().expect("a healthy machine");
        let config = KvConfig { durability: Durability::IntervalMs(1), ..KvConfig::default() };
        let (core, _) = Bitcask::open(&mut disk, config).expect("it opens");
        let version = Versioned::new(VectorClock::empty(0), b"v");
        core.put_through(b"k", &version).expect("fresh");
        let machine = PeriodicSync::new(Arc::new(core), Duration::ZERO);
        let mut submitted = 0;
        machine.start(&mut |_, _| submitted += 1);
        assert_eq!((submitted, machine.next_deadline()), (1, None));
        machine.on_done(Done { id: OpId(0), result: Ok(Outcome::Finished), buf: None });
        assert!(machine.next_deadline().is_some());
    }
}
