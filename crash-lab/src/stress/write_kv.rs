//! The writer of the key-value store: puts, overwrites, siblings, deletes, stale puts that must be refused, reads, and
//! keys that all threads race for, while segments roll and merge runs.
//!
//! Even threads wait for each operation; odd ones keep many in flight, each on another key.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use engine_env::{CompletionQueue, Durability, Home, Wait};
use kv_engine::{KvConfig, KvDone, KvStore, PutError, Storage, VectorClock, Versioned};
use rand::RngExt as _;

use super::clock::Clock;
use super::kv_plan::{OwnKeys, RaceKeys, Shape, Step};
use super::token::{Key, Token, ValueCrc};
use super::write::{Run, WriteError, now_ms};

const THREADS: u32 = 4;
const SHAPE: Shape = Shape { own_keys: 192, race_keys: 8, value_bytes_max: 1 << 16, masters: 0 };
const IN_FLIGHT_MAX: usize = 16;
const RACES_IN_FLIGHT_MAX: usize = 4;
/// One step in so many is on a race key.
const RACE_EVERY: u32 = 8;

pub(super) fn config(durability: Durability) -> KvConfig {
    KvConfig { durability, segment_bytes: 1 << 20, ..KvConfig::default() }
}

pub(crate) fn clock_of(version: &VectorClock) -> Clock {
    let entries = version.entries().iter().map(|entry| (entry.node, entry.version));
    Clock::from_entries(entries).expect("a version's entries are sorted, in range and count from 1")
}

pub(crate) fn version_of(clock: &Clock, now_ms: i64) -> VectorClock {
    VectorClock::from_entries(clock.entries().iter().copied(), now_ms)
        .expect("a clock's entries are sorted and in range")
}

pub(super) fn open<H: Home>(home: H, dir: &Path, durability: Durability) -> Result<KvStore<H>, WriteError> {
    let opened = KvStore::open(home, config(durability));
    let (store, _) = opened.map_err(|source| WriteError::Open {
        dir: dir.to_owned(),
        engine: super::Engine::Kv,
        source: Box::new(source),
    })?;
    Ok(store)
}

pub(super) fn write<H: Home>(run: &Run<'_>, store: &KvStore<H>) -> Result<(), WriteError> {
    run.on_threads(THREADS, |number| Thread::new(run, store, number).go())
}

struct Thread<'a, H: Home> {
    run: &'a Run<'a>,
    store: &'a KvStore<H>,
    number: u32,
    next_number: u64,
    in_flight: HashMap<u64, Token>,
    busy: HashSet<Vec<u8>>,
    done: Arc<CompletionQueue<KvDone>>,
}

impl<'a, H: Home> Thread<'a, H> {
    fn new(run: &'a Run<'a>, store: &'a KvStore<H>, number: u32) -> Self {
        Self {
            run,
            store,
            number,
            next_number: 0,
            in_flight: HashMap::new(),
            busy: HashSet::new(),
            done: Arc::new(CompletionQueue::new()),
        }
    }

    fn go(mut self) -> Result<(), WriteError> {
        let run = self.run;
        let mut own = OwnKeys::new(run.seed, run.run, self.number, SHAPE);
        let mut race = RaceKeys::new(run.seed, run.run, self.number, SHAPE);
        let mut rng = run.seed.derive("turns", run.run << 16 | u64::from(self.number)).rng();
        let waits = self.number.is_multiple_of(2);
        while run.pace.take(1, || self.reap(Wait::No))?.is_some() {
            let free = |key: &[u8]| !self.busy.contains(key);
            let present = |key: &[u8]| self.present(key);
            let races = self.busy.iter().filter(|key| RaceKeys::owns(key)).count();
            let step = if rng.random_range(0..RACE_EVERY) == 0 && races < RACES_IN_FLIGHT_MAX {
                race.next(free, present)?
            } else {
                own.next(free, present)?
            };
            self.start(step, waits)?;
            while self.in_flight.len() >= IN_FLIGHT_MAX {
                self.reap(Wait::Forever)?;
            }
        }
        while !self.in_flight.is_empty() {
            self.reap(Wait::Forever)?;
        }
        Ok(())
    }

    /// The clocks that a key has now.
    fn present(&self, key: &[u8]) -> Result<Vec<Clock>, WriteError> {
        let versions = self.store.get_versions(key).map_err(|source| WriteError::Read {
            key: Key(key.to_vec()).to_string(),
            source: Box::new(source),
        })?;
        Ok(versions.iter().map(clock_of).collect())
    }

    fn start(&mut self, step: Step, waits: bool) -> Result<(), WriteError> {
        match step {
            Step::Get { key, at_least } => self.check_read(&key, &at_least),
            Step::PutObsolete { key, value, clock } => {
                let token = put_token(&key, &value, &clock);
                self.run.attempt(&token)?;
                match self.store.put(&key, &Versioned::new(version_of(&clock, now_ms()), value)) {
                    Err(PutError::ObsoleteVersion { .. }) => Ok(()),
                    Err(source) => Err(failed(token, source)),
                    Ok(()) => Err(WriteError::WrongAnswer {
                        operation: format!("`{token}`"),
                        why: "the key had this version already, but the put was taken".to_owned(),
                    }),
                }
            }
            Step::Put { key, value, clock } => {
                let token = put_token(&key, &value, &clock);
                let versioned = Versioned::new(version_of(&clock, now_ms()), value);
                self.run.attempt(&token)?;
                if waits {
                    return match self.store.put(&key, &versioned) {
                        Ok(()) => Ok(self.run.acknowledge(&token)?),
                        Err(source) => Err(failed(token, source)),
                    };
                }
                let number = self.fly(key.clone(), token);
                self.store
                    .put_async(&key, &versioned, number, &self.done)
                    .map_err(|source| failed(self.land(number), source))
            }
            Step::Delete { key, clock } => {
                let token = Token::Del { key: Key(key.clone()), clock: clock.clone() };
                let version = version_of(&clock, now_ms());
                self.run.attempt(&token)?;
                if waits {
                    return match self.store.delete(&key, &version) {
                        Ok(true) => Ok(self.run.acknowledge(&token)?),
                        Ok(false) => Err(nothing_deleted(&token)),
                        Err(source) => Err(failed(token, source)),
                    };
                }
                let number = self.fly(key.clone(), token);
                self.store
                    .delete_async(&key, &version, number, &self.done)
                    .map_err(|source| failed(self.land(number), source))
            }
        }
    }

    fn fly(&mut self, key: Vec<u8>, token: Token) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.busy.insert(key);
        self.in_flight.insert(number, token);
        number
    }

    fn land(&mut self, number: u64) -> Token {
        let token = self.in_flight.remove(&number).expect("each operation completes once");
        if let Token::Put { key, .. } | Token::Del { key, .. } = &token {
            self.busy.remove(&key.0);
        }
        token
    }

    /// Acknowledges what has completed.
    fn reap(&mut self, wait: Wait) -> Result<(), WriteError> {
        if self.in_flight.is_empty() {
            return Ok(());
        }
        let mut done = Vec::new();
        self.done.drain(wait, &mut done);
        for one in done {
            let token = self.land(one.token);
            match one.result {
                Ok(()) => self.run.acknowledge(&token)?,
                Err(source) => return Err(failed(token, source)),
            }
        }
        Ok(())
    }

    /// Reads back what this thread knows to be there; nobody else writes the key.
    fn check_read(&self, key: &[u8], at_least: &Clock) -> Result<(), WriteError> {
        let shown = Key(key.to_vec()).to_string();
        let read = self.store.get(key);
        let versions =
            read.map_err(|source| WriteError::Read { key: shown.clone(), source: Box::new(source) })?;
        if versions.iter().any(|version| clock_of(&version.clock).covers(at_least)) {
            return Ok(());
        }
        let found: Vec<String> = versions.iter().map(|version| version.clock.to_string()).collect();
        Err(WriteError::WrongAnswer {
            operation: format!("get {shown}"),
            why: format!("version {at_least} was there before the read, which found [{}]", found.join(" ")),
        })
    }
}

fn put_token(key: &[u8], value: &[u8], clock: &Clock) -> Token {
    Token::Put { key: Key(key.to_vec()), value: ValueCrc::of(value), clock: clock.clone() }
}

fn failed(token: Token, source: impl std::error::Error + Send + Sync + 'static) -> WriteError {
    WriteError::Operation { token: Box::new(token), source: Box::new(source) }
}

fn nothing_deleted(token: &Token) -> WriteError {
    WriteError::WrongAnswer {
        operation: format!("`{token}`"),
        why: "the version was there, but nothing was deleted".to_owned(),
    }
}
