//! [`OwnKeys`] and [`RaceKeys`]: what a thread of the key-value writer does next. Pure, from a seed.
//!
//! Invariants that the judge relies on:
//! * A clock is attempted with one value only: each run counts its versions from `run << 32`.
//! * A put after a delete descends from the deleted clock. Within a run the plan remembers everything it did to a key;
//!   its first put of a key in a run raises all nodes that its thread ever uses to this run's range, so that it covers
//!   whatever earlier, killed runs attempted.
//! * Race keys are written by all threads and never deleted.

use std::collections::HashMap;

use engine_env::rng::{Rng, Seed};
use rand::{Rng as _, RngExt as _};

use super::clock::Clock;

/// How many keys, and how large their values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Keys of each thread, a multiple of 8.
    pub(crate) own_keys: u32,
    /// Keys that all threads write.
    pub(crate) race_keys: u32,
    /// The longest value in bytes; most are far shorter.
    pub(crate) value_bytes_max: usize,
    /// How many nodes may be a put's master, which counts its clock up by one more: nodes 0 to this. None for one store.
    pub(crate) masters: u16,
}

impl Shape {
    /// The clocks that a put of `clock` may write.
    pub(crate) fn written<'a>(&self, clock: &'a Clock) -> impl Iterator<Item = Clock> + use<'a> {
        let itself = (self.masters == 0).then(|| clock.clone());
        itself.into_iter().chain((0..self.masters).map(|master| clock.clone().incremented(master)))
    }
}

/// The first node of race clocks; below it each thread has ten of its own.
const RACE_NODE: u16 = 1_000;

/// What to do with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Put a version that the store must take. A cluster's master counts the clock up.
    Put { key: Vec<u8>, value: Vec<u8>, clock: Clock },
    /// Put a version that is there already, with another value: the store must refuse it.
    PutObsolete { key: Vec<u8>, value: Vec<u8>, clock: Clock },
    /// Delete what a version that was read covers.
    Delete { key: Vec<u8>, clock: Clock },
    /// Read the key: it must have a version that covers this clock.
    Get { key: Vec<u8>, at_least: Clock },
}

#[cfg(test)]
impl Step {
    fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. }
            | Self::PutObsolete { key, .. }
            | Self::Delete { key, .. }
            | Self::Get { key, .. } => key,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct KeyState {
    /// Covers every clock of this key that this run attempted; empty before the first put of the run.
    seen: Clock,
    /// Where the second of two siblings branches off.
    fork: Option<Clock>,
}

/// The keys that one thread owns.
#[derive(Debug)]
pub(crate) struct OwnKeys {
    rng: Rng,
    run: u64,
    thread: u32,
    shape: Shape,
    keys: Vec<KeyState>,
}

/// A value of random bytes, mostly small.
fn value(rng: &mut Rng, max: usize) -> Vec<u8> {
    let shrink = match rng.random_range(0..100) {
        0..60 => 300,
        60..92 => 30,
        92..99 => 7,
        _ => 1,
    };
    let len = rng.random_range(0..=max / shrink);
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

impl OwnKeys {
    pub(crate) fn new(seed: Seed, run: u64, thread: u32, shape: Shape) -> Self {
        let rng = seed.derive("own keys", run << 16 | u64::from(thread)).rng();
        Self { rng, run, thread, shape, keys: vec![KeyState::default(); shape.own_keys as usize] }
    }

    fn key(&self, index: u32) -> Vec<u8> {
        let mut key = format!("t{}-{index:03}", self.thread).into_bytes();
        // Some keys are long, so that records of one value size differ in length.
        key.resize(key.len() + if index.is_multiple_of(16) { 300 } else { index as usize % 16 }, b'.');
        key
    }

    fn node(&self, which: u16) -> u16 {
        let thread = u16::try_from(self.thread).expect("a writer has few threads");
        self.shape.masters + thread * 10 + 1 + which
    }

    /// The next step, for a key that `free` says nothing is in flight for; `present` gives a key's clocks.
    pub(crate) fn next<E>(
        &mut self,
        free: impl Fn(&[u8]) -> bool,
        present: impl FnOnce(&[u8]) -> Result<Vec<Clock>, E>,
    ) -> Result<Step, E> {
        let (index, key) = loop {
            // Half of the steps go to an eighth of the keys: many versions of few keys, and cold ones for merge to keep.
            let keys = self.shape.own_keys;
            let among = if self.rng.random_bool(0.5) { keys / 8 } else { keys };
            let index = self.rng.random_range(0..among);
            let key = self.key(index);
            if free(&key) {
                break (index as usize, key);
            }
        };
        let present = present(&key)?;
        Ok(self.step(index, key, &present))
    }

    fn step(&mut self, index: usize, key: Vec<u8>, present: &[Clock]) -> Step {
        if self.keys[index].seen.entries().is_empty() {
            return self.first_put(index, key, present);
        }
        let seen = self.keys[index].seen.clone();
        match (self.rng.random_range(0..100), present) {
            (0..12, [.., last]) => {
                self.keys[index].fork = None;
                Step::Delete { key, clock: last.clone() }
            }
            (12..16, [first, ..]) => Step::PutObsolete {
                key,
                value: value(&mut self.rng, self.shape.value_bytes_max),
                clock: first.clone(),
            },
            (16..24, [first, ..]) => Step::Get { key, at_least: first.clone() },
            (24..40, _) => {
                let clock = seen.clone().incremented(self.node(1));
                self.keys[index].fork = Some(seen);
                self.put(index, key, clock)
            }
            _ => {
                let clock = match self.keys[index].fork.take() {
                    Some(fork) => fork.incremented(self.node(2)),
                    None => seen.incremented(self.node(0)),
                };
                self.put(index, key, clock)
            }
        }
    }

    fn first_put(&mut self, index: usize, key: Vec<u8>, present: &[Clock]) -> Step {
        let mut clock = Clock::default();
        present.iter().for_each(|version| clock.merge(version));
        for node in (0..self.shape.masters).chain((0..3).map(|which| self.node(which))) {
            clock.raise(node, self.run << 32);
        }
        self.put(index, key, clock)
    }

    fn put(&mut self, index: usize, key: Vec<u8>, clock: Clock) -> Step {
        // Which of them was written isn't known before the answer, and perhaps never.
        self.shape.written(&clock).for_each(|written| self.keys[index].seen.merge(&written));
        Step::Put { key, value: value(&mut self.rng, self.shape.value_bytes_max), clock }
    }
}

/// The keys that all threads write, as one thread sees them.
#[derive(Debug)]
pub(crate) struct RaceKeys {
    rng: Rng,
    run: u64,
    node: u16,
    shape: Shape,
    /// By key: this thread's count in its last attempt, which may never have become visible.
    attempted: HashMap<Vec<u8>, u64>,
}

impl RaceKeys {
    pub(crate) fn new(seed: Seed, run: u64, thread: u32, shape: Shape) -> Self {
        let rng = seed.derive("race keys", run << 16 | u64::from(thread)).rng();
        let node = RACE_NODE + u16::try_from(thread).expect("a writer has few threads");
        Self { rng, run, node, shape, attempted: HashMap::new() }
    }

    /// Whether `key` is a race key.
    pub(crate) fn owns(key: &[u8]) -> bool {
        key.starts_with(b"race-")
    }

    /// The next step, for a key that `free` says nothing of this thread is in flight for.
    pub(crate) fn next<E>(
        &mut self,
        free: impl Fn(&[u8]) -> bool,
        present: impl FnOnce(&[u8]) -> Result<Vec<Clock>, E>,
    ) -> Result<Step, E> {
        let key = loop {
            let key = format!("race-{}", self.rng.random_range(0..self.shape.race_keys)).into_bytes();
            if free(&key) {
                break key;
            }
        };
        let mut clock = Clock::default();
        present(&key)?.iter().for_each(|version| clock.merge(version));
        let attempted = self.attempted.entry(key.clone()).or_insert(self.run << 32);
        clock.raise(self.node, *attempted);
        let clock = clock.incremented(self.node);
        *attempted = clock.version_of(self.node);
        Ok(Step::Put { key, value: value(&mut self.rng, self.shape.value_bytes_max), clock })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;
    use crate::stress::clock::Order;

    const SHAPE: Shape = Shape { own_keys: 192, race_keys: 8, value_bytes_max: 1_000, masters: 0 };
    const CLUSTER: Shape = Shape { masters: 3, ..SHAPE };

    /// A store that keeps what it should, for the plan alone.
    #[derive(Default, Clone)]
    struct Ideal(BTreeMap<Vec<u8>, Vec<Clock>>);

    impl Ideal {
        fn clocks(&self, key: &[u8]) -> Result<Vec<Clock>, Infallible> {
            Ok(self.0.get(key).cloned().unwrap_or_default())
        }

        /// `turn` chooses the master.
        fn apply(&mut self, step: &Step, shape: Shape, turn: usize) {
            let versions = self.0.entry(step.key().to_vec()).or_default();
            match step {
                Step::Put { clock, .. } => {
                    assert!(
                        versions.iter().all(|old| !old.covers(clock)),
                        "{clock} is not new among {versions:?}"
                    );
                    let written: Vec<Clock> = shape.written(clock).collect();
                    let clock = written[turn % written.len()].clone();
                    versions.retain(|old| !clock.covers(old));
                    versions.push(clock);
                }
                Step::PutObsolete { clock, .. } => assert!(versions.iter().any(|old| old.covers(clock))),
                Step::Delete { clock, .. } => versions.retain(|old| !clock.covers(old)),
                Step::Get { at_least, .. } => assert!(versions.iter().any(|v| v.covers(at_least))),
            }
        }
    }

    #[test]
    fn a_put_after_a_delete_descends_from_it_also_in_the_next_run() {
        [SHAPE, CLUSTER].into_iter().for_each(puts_descend_from_deletes);
    }

    fn puts_descend_from_deletes(shape: Shape) {
        let mut store = Ideal::default();
        let mut deleted: BTreeMap<Vec<u8>, Vec<Clock>> = BTreeMap::new();
        let (mut deletes, mut siblings) = (0, 0);
        for run in 1..=3 {
            let mut plan = OwnKeys::new(Seed(7), run, 2, shape);
            for i in 0..20_000 {
                let Ok(step) = plan.next(|_| true, |key| store.clocks(key));
                if let Step::Put { key, clock, .. } = &step {
                    let covered =
                        deleted.get(key).into_iter().flatten().all(|del| clock.order(del) == Order::After);
                    assert!(covered, "{clock} does not descend from a deleted clock");
                }
                if let Step::Delete { key, clock } = &step {
                    deleted.entry(key.clone()).or_default().push(clock.clone());
                    deletes += 1;
                }
                // The last steps of a run take no effect, as if it had been killed.
                if i < 19_900 {
                    store.apply(&step, shape, i);
                    siblings += usize::from(store.0[step.key()].len() > 1);
                }
            }
        }
        assert!(
            deletes > 3_000 && siblings > 3_000,
            "{deletes} deletes and {siblings} siblings are no varied mix"
        );
    }

    #[test]
    fn a_clock_is_never_attempted_with_two_values_unless_the_second_must_be_refused() {
        [SHAPE, CLUSTER].into_iter().for_each(clocks_are_attempted_once);
    }

    fn clocks_are_attempted_once(shape: Shape) {
        let mut values: BTreeMap<(Vec<u8>, Clock), Vec<u8>> = BTreeMap::new();
        for run in 1..=2 {
            // Nothing takes effect in this store: the worst case for using a clock again.
            let mut own = OwnKeys::new(Seed(7), run, 0, shape);
            let mut race = RaceKeys::new(Seed(7), run, 0, shape);
            let mut kept = Ideal::default();
            for turn in 0..2_000 {
                let Ok(race) = race.next(|_| true, |key| kept.clocks(key));
                // Some are never seen again.
                if turn % 3 > 0 {
                    kept.apply(&race, shape, turn);
                }
                let Ok(own) = own.next(|_| true, |_| Ideal::default().clocks(b""));
                for step in [own, race] {
                    let Step::Put { key, value, clock } = step else { continue };
                    for clock in shape.written(&clock) {
                        assert_eq!(values.insert((key.clone(), clock), value.clone()), None);
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_steps_and_another_run_gives_others() {
        let steps = |seed, run| {
            let mut plan = OwnKeys::new(Seed(seed), run, 1, SHAPE);
            let nothing = Ideal::default();
            (0..50).map(|_| plan.next(|_| true, |key| nothing.clocks(key))).collect::<Vec<_>>()
        };
        assert_eq!(steps(1, 1), steps(1, 1));
        assert_ne!(steps(1, 1), steps(1, 2));
        assert_ne!(steps(1, 1), steps(2, 1));
    }
}
