//! [`KvSubject`]: the key-value store by single steps.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use engine_env::rng::{Rng, Seed};
use engine_env::sim::{SimDisk, SimFile, SimHome};
use engine_env::{CompletionQueue, Disk, Durability, Home, Machine, Op, Wait};
use kv_engine::{Bitcask, KvConfig, KvDone, PutError, RecoveryReport, Versioned};
use rand::RngExt as _;

use super::scenario::Setup;
use super::subject::{Notes, Subject, told};
use crate::stress::kv_plan::{OwnKeys, RaceKeys, Shape, Step};
use crate::stress::{Clock, Dump, Engine, Key, Token, ValueCrc, clock_of, dump_kv, version_of};

const SHAPE: Shape = Shape { own_keys: 16, race_keys: 2, value_bytes_max: 15_000, masters: 0 };
const IN_FLIGHT_MAX: usize = 6;
const NOW_MS: i64 = 1_700_000_000_000;
/// Clocks of machines jump, forward and back; no answer may depend on them.
const JUMP_MS: i64 = 3_600_000;

/// Who writes: the owner of most keys, or one of those who race for the rest.
type Writer = usize;
const OWNER: Writer = 0;

pub(super) struct KvSubject {
    store: Bitcask<SimFile>,
    report: RecoveryReport,
    synced: bool,
    commits: SimDisk,
    upkeep: SimDisk,
    own: OwnKeys,
    races: [RaceKeys; 2],
    in_flight: HashMap<u64, (Token, Writer)>,
    /// A writer knows the clocks of a key only while it has nothing in flight there.
    busy: HashSet<(Vec<u8>, Writer)>,
    next_token: u64,
    home: SimHome,
    /// Operations with a lower number began before a failure that was seen.
    failed_at: Option<u64>,
    done: Arc<CompletionQueue<KvDone>>,
}

impl Subject for KvSubject {
    const ENGINE: Engine = Engine::Kv;

    fn open(
        home: &SimHome,
        setup: &Setup,
        durability: Durability,
        seed: u64,
        run: u64,
    ) -> Result<Self, String> {
        let config = KvConfig { durability, ..setup.kv.clone() };
        let mut upkeep = home.disk().map_err(|e| told(&e))?;
        let commits = home.disk().map_err(|e| told(&e))?;
        let (store, report) = Bitcask::open(&mut upkeep, config).map_err(|e| told(&e))?;
        let seed = Seed(seed);
        Ok(Self {
            store,
            report,
            synced: durability == Durability::Synced,
            commits,
            upkeep,
            own: OwnKeys::new(seed, run, 0, SHAPE),
            races: [1, 2].map(|thread| RaceKeys::new(seed, run, thread, SHAPE)),
            in_flight: HashMap::new(),
            busy: HashSet::new(),
            next_token: 0,
            home: home.clone(),
            failed_at: None,
            done: Arc::new(CompletionQueue::new()),
        })
    }

    fn step(&mut self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        match rng.random_range(0..100) {
            0..50 if self.in_flight.len() < IN_FLIGHT_MAX => self.begin(rng, notes)?,
            50..80 => self.pump(Wait::No),
            80..84 => {
                self.note(format_args!("commit on the caller's thread"));
                self.store.commit_now();
            }
            // A failure of upkeep is the engine's to deal with; what it must not do shows in the answers.
            _ => {
                self.note(format_args!("maintain"));
                drop(self.store.maintain(&mut self.upkeep));
            }
        }
        self.take_answers(notes)
    }

    fn sync(&mut self) -> bool {
        self.note(format_args!("the interval has passed"));
        while let Some(target) = self.store.sync_target() {
            let result = self.upkeep.run(Op::Sync { file: target.file.clone() }).map(drop);
            self.store.sync_done(&target, result);
        }
        self.store.stopped().is_none()
    }

    fn dump(&self) -> Dump {
        dump_kv::dump(&self.store, &self.report)
    }

    fn holds_records(path: &str) -> bool {
        path != "FORMAT" && path != "mark"
    }

    fn records_in(bytes: &[u8]) -> Vec<Range<u64>> {
        let Ok(segment) = kv_engine::inspect_segment(bytes) else { return Vec::new() };
        segment.records.iter().map(|r| r.position..r.position + r.len).collect()
    }

    fn close(mut self, notes: &mut Notes) -> Result<(), String> {
        while !self.in_flight.is_empty() {
            self.pump(Wait::Forever);
            self.take_answers(notes)?;
        }
        self.store.close(&mut self.upkeep).map_err(|e| told(&e))
    }
}

impl KvSubject {
    fn note(&self, line: std::fmt::Arguments<'_>) {
        self.home.note(format_args!("> {line}"));
    }

    fn begin(&mut self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        let Self { own, races, store, busy, .. } = self;
        let present = |key: &[u8]| -> Result<Vec<Clock>, std::convert::Infallible> {
            Ok(store.get_versions(key).iter().map(clock_of).collect())
        };
        let writer = if rng.random_range(0..5) == 0 { rng.random_range(1..=races.len()) } else { OWNER };
        let free = |key: &[u8]| !busy.contains(&(key.to_vec(), writer));
        let Ok(step) = match writer {
            OWNER => own.next(free, present),
            // Every race key may be taken by this writer: then it waits for its turn.
            _ if busy.iter().filter(|(_, by)| *by == writer).count() == SHAPE.race_keys as usize => {
                return Ok(());
            }
            _ => races[writer - 1].next(free, present),
        };
        match step {
            Step::Get { key, at_least } => self.read(&key, &at_least, notes),
            Step::Put { key, value, clock } => {
                let token = put_token(&key, &value, &clock);
                let now_ms = NOW_MS + rng.random_range(-JUMP_MS..JUMP_MS);
                let version = Versioned::new(version_of(&clock, now_ms), value);
                let number = self.fly(&key, token, writer, notes);
                let put = if self.synced {
                    self.store.stage_put(&key, &version, number, &self.done).map(|_| None)
                } else {
                    self.store.put_through(&key, &version).map(|()| Some(()))
                };
                self.began(number, put.map(|done| done.is_some()), notes)
            }
            Step::PutObsolete { key, value, clock } => {
                let token = put_token(&key, &value, &clock);
                let version = Versioned::new(version_of(&clock, NOW_MS), value);
                self.note(format_args!("put that must be refused {token}"));
                notes.attempted.push(token.clone());
                let put = if self.synced {
                    self.store.stage_put(&key, &version, u64::MAX, &self.done).map(drop)
                } else {
                    self.store.put_through(&key, &version)
                };
                match put {
                    Ok(()) => Err(format!("`{token}` was taken, though the key had this version already")),
                    Err(_) => Ok(()),
                }
            }
            Step::Delete { key, clock } => {
                let token = Token::Del { key: Key(key.clone()), clock: clock.clone() };
                let version = version_of(&clock, NOW_MS);
                let number = self.fly(&key, token, writer, notes);
                let deleted = if self.synced {
                    self.store.stage_delete(&key, &version, number, &self.done).map(|_| false)
                } else {
                    self.store.delete_through(&key, &version).map(|_| true)
                };
                self.began(number, deleted, notes)
            }
        }
    }

    fn read(&self, key: &[u8], at_least: &Clock, notes: &mut Notes) -> Result<(), String> {
        self.note(format_args!("get {}", Key(key.to_vec())));
        let versions = self.store.get(key).map_err(|e| told(&e))?;
        notes.seen.extend(versions.iter().map(|v| put_token(key, &v.value, &clock_of(&v.clock))));
        if versions.iter().any(|version| clock_of(&version.clock).covers(at_least)) {
            return Ok(());
        }
        Err(format!("get {} has nothing that covers {at_least}, which was there before", Key(key.to_vec())))
    }

    fn fly(&mut self, key: &[u8], token: Token, writer: Writer, notes: &mut Notes) -> u64 {
        self.note(format_args!("{token}"));
        notes.attempted.push(token.clone());
        let number = self.next_token;
        self.next_token += 1;
        self.busy.insert((key.to_vec(), writer));
        self.in_flight.insert(number, (token, writer));
        number
    }

    fn land(&mut self, number: u64) -> Result<Token, String> {
        let flown = self.in_flight.remove(&number);
        let (token, writer) = flown.ok_or_else(|| format!("operation {number} ended twice"))?;
        if let Token::Put { key, .. } | Token::Del { key, .. } = &token {
            self.busy.remove(&(key.0.clone(), writer));
        }
        Ok(token)
    }

    /// What beginning an operation gave: done at once, in flight, or refused.
    fn began(&mut self, number: u64, begun: Result<bool, PutError>, notes: &mut Notes) -> Result<(), String> {
        match begun {
            Ok(false) => Ok(()),
            Ok(true) => self.answered(number, Ok(()), notes),
            Err(error) => self.answered(number, Err(error), notes),
        }
    }

    fn answered(
        &mut self,
        number: u64,
        result: Result<(), PutError>,
        notes: &mut Notes,
    ) -> Result<(), String> {
        let token = self.land(number)?;
        match result {
            Ok(()) => {
                if self.failed_at.is_some_and(|failed_at| number >= failed_at) {
                    return Err(format!("`{token}` was acknowledged after a failed write"));
                }
                self.note(format_args!("ack {token}"));
                notes.acked.push(token);
            }
            Err(error) => {
                self.note(format_args!("failed {token}: {error}"));
                notes.failures += 1;
                if matches!(error, PutError::WriteFailed { .. } | PutError::WritesStopped { .. }) {
                    self.failed_at.get_or_insert(self.next_token);
                }
            }
        }
        Ok(())
    }

    /// The committer's turn.
    fn pump(&mut self, wait: Wait) {
        self.note(format_args!("commit"));
        let Self { store, commits, .. } = self;
        store.start(&mut |id, op| commits.submit(id, op));
        let mut done = Vec::new();
        commits.reap(wait, &mut done);
        done.into_iter().for_each(|one| store.on_done(one));
    }

    fn take_answers(&mut self, notes: &mut Notes) -> Result<(), String> {
        let mut done = Vec::new();
        self.done.drain(Wait::No, &mut done);
        done.into_iter().try_for_each(|one| self.answered(one.token, one.result, notes))
    }
}

fn put_token(key: &[u8], value: &[u8], clock: &Clock) -> Token {
    Token::Put { key: Key(key.to_vec()), value: ValueCrc::of(value), clock: clock.clone() }
}
