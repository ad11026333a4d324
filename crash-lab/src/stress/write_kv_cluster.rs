//! The writer of the key-value cluster: as the one of a single store, through quorums, while nodes die and return.
//!
//! A put may end on any master, which counts its clock up: each possible clock is attempted, and the one that was written
//! is acknowledged. What fails or runs out of time is never acknowledged; it may be there or not.
//!
//! A delete leaves nothing behind, so a node that misses it brings the versions back. That is the design, so:
//! * a delete counts as acknowledged when all replicas did it;
//! * the threads that delete keep no hints, and their puts wait for all replicas that answer: nothing of an earlier put
//!   is under way when a delete starts. The others acknowledge at W, keep hints, and don't delete.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use engine_env::{Durability, Net as _, Peer, Port, Wait};
use kv_engine::{
    ClientConfig, DetectorConfig, HandoffStrategy, KvAnswer, KvClient, KvNode, KvOpError, KvOutcome,
    NodeConfig, NodeId, Replication, Resolve, Ring,
};
use rand::RngExt as _;

use super::Engine;
use super::clock::Clock;
use super::cluster::{COPIES_MIN, Cluster, Member, NODES, Place};
use super::kv_plan::{OwnKeys, RaceKeys, Shape, Step};
use super::token::{Key, Token, ValueCrc};
use super::write::{Run, WriteError, now_ms};
use super::write_kv::{self, clock_of, version_of};

const THREADS: u32 = 4;
const SHAPE: Shape = Shape { own_keys: 96, race_keys: 8, value_bytes_max: 1 << 14, masters: NODES };
const IN_FLIGHT_MAX: usize = 16;
const RACES_IN_FLIGHT_MAX: usize = 4;
/// One step in so many is on a race key.
const RACE_EVERY: u32 = 8;
const PARTITIONS: u32 = 12;
/// The peer of the first thread's client.
const CLIENTS: u32 = 1000;

pub(super) fn ring() -> Arc<Ring> {
    Arc::new(Ring::even(NODES, PARTITIONS).expect("more partitions than nodes"))
}

/// A client's settings: reads ask two replicas and show all siblings.
pub(super) fn client_config(preferred_writes: u16) -> ClientConfig {
    let quorums = Replication::new(NODES, 2, COPIES_MIN).and_then(|r| r.preferring(2, preferred_writes));
    let mut config = ClientConfig::new(quorums.expect("2 of 3, and at most 3"));
    config.resolve = Resolve::ByClock;
    config.detector = DetectorConfig { probe_every_ms: 20, ..DetectorConfig::default() };
    config
}

impl Member for KvNode {
    const ENGINE: Engine = Engine::KvCluster;

    fn start(place: &Place, number: u16) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let storage = write_kv::config(place.durability);
        let config = NodeConfig { push_every_ms: 100, ..NodeConfig::new(storage, NODES) };
        let (home, hints) = (place.home(number)?, place.hints(number)?);
        Ok(Self::start_with_hints(home, hints, &place.net, NodeId(number), ring(), config)?)
    }

    fn kill(self) {
        Self::kill(self);
    }

    fn stop(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self::stop(self)?)
    }
}

pub(super) fn open(dir: &Path, durability: Durability) -> Result<Cluster<KvNode>, WriteError> {
    Cluster::start(Place::new(dir, durability))
}

pub(super) fn write(run: &Run<'_>, cluster: &Cluster<KvNode>) -> Result<(), WriteError> {
    cluster.while_nodes_die(run, || {
        run.on_threads(THREADS, |number| {
            let port = cluster.place().net.join(Peer(CLIENTS + number)).expect("nobody else has this name");
            Thread::new(run, port, number).go()
        })
    })
}

/// An operation under way.
enum Asked {
    Put {
        key: Vec<u8>,
        value: ValueCrc,
        /// The clocks of which one is written.
        clocks: Vec<Clock>,
        /// Whether it is older than what is there: it may be refused.
        stale: bool,
    },
    Delete {
        key: Vec<u8>,
        clock: Clock,
    },
    Get {
        key: Vec<u8>,
        at_least: Option<Clock>,
    },
}

impl Asked {
    fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Get { key, .. } => key,
        }
    }
}

/// Names the read of a key's clocks before a step; one at a time.
const PRESENT: u64 = u64::MAX;

struct Thread<'a, P: Port> {
    run: &'a Run<'a>,
    client: KvClient<P>,
    number: u32,
    deletes: bool,
    next_token: u64,
    in_flight: HashMap<u64, Asked>,
    busy: HashSet<Vec<u8>>,
    /// By own key: the last acknowledged put that no delete was attempted after.
    acknowledged: HashMap<Vec<u8>, Clock>,
    /// Ended while a key's clocks were read.
    arrived: Vec<KvOutcome>,
}

impl<'a, P: Port> Thread<'a, P> {
    fn new(run: &'a Run<'a>, port: P, number: u32) -> Self {
        let deletes = number % 2 == 1;
        let mut config = client_config(if deletes { NODES } else { COPIES_MIN });
        config.hinted_handoff = (!deletes).then_some(HandoffStrategy::Consistent);
        Self {
            run,
            client: KvClient::new(port, ring(), config),
            number,
            deletes,
            next_token: 0,
            in_flight: HashMap::new(),
            busy: HashSet::new(),
            acknowledged: HashMap::new(),
            arrived: Vec::new(),
        }
    }

    fn go(mut self) -> Result<(), WriteError> {
        let run = self.run;
        let mut own = OwnKeys::new(run.seed, run.run, self.number, SHAPE);
        let mut race = RaceKeys::new(run.seed, run.run, self.number, SHAPE);
        let mut rng = run.seed.derive("turns", run.run << 16 | u64::from(self.number)).rng();
        while run.pace.take(1, || self.reap(Wait::No))?.is_some() {
            let races = self.busy.iter().filter(|key| RaceKeys::owns(key)).count();
            let Self { client, busy, arrived, .. } = &mut self;
            let free = |key: &[u8]| !busy.contains(key);
            let present = |key: &[u8]| present(client, key, arrived);
            let step = if rng.random_range(0..RACE_EVERY) == 0 && races < RACES_IN_FLIGHT_MAX {
                race.next(free, present)
            } else {
                own.next(free, present)
            };
            match step {
                Ok(step) => self.start(step)?,
                // Two nodes count as down for a moment: one just returned, another just died.
                Err((_, KvOpError::InsufficientOperationalNodes { .. })) => {}
                Err((key, error)) => {
                    return Err(WriteError::Read { key: Key(key).to_string(), source: Box::new(error) });
                }
            }
            self.reap(Wait::No)?;
            while self.in_flight.len() >= IN_FLIGHT_MAX {
                self.reap(Wait::Forever)?;
            }
        }
        while !self.in_flight.is_empty() {
            self.reap(Wait::Forever)?;
        }
        Ok(())
    }

    fn start(&mut self, step: Step) -> Result<(), WriteError> {
        match step {
            Step::Put { key, value, clock } => self.put(key, &value, &clock, false),
            Step::PutObsolete { key, value, clock } => {
                // Counted up by any master it is still older than what is there.
                let older = clock
                    .entries()
                    .iter()
                    .map(|&(node, version)| (node, if node < NODES { version - 1 } else { version }));
                let older = Clock::from_entries(older).expect("a run's counts begin above 1");
                self.put(key, &value, &older, true)
            }
            Step::Delete { key, clock } if self.deletes => {
                self.run.attempt(&Token::Del { key: Key(key.clone()), clock: clock.clone() })?;
                self.acknowledged.remove(&key);
                let token = self.fly(Asked::Delete { key: key.clone(), clock: clock.clone() });
                self.client.delete_version(token, &key, version_of(&clock, now_ms()));
                Ok(())
            }
            // What the plan saw may stand on one replica only, of a put that failed: that need not be found again.
            Step::Delete { key, .. } | Step::Get { key, .. } => {
                let at_least = self.acknowledged.get(&key).cloned();
                let token = self.fly(Asked::Get { key: key.clone(), at_least });
                self.client.get(token, &key);
                Ok(())
            }
        }
    }

    fn put(&mut self, key: Vec<u8>, value: &[u8], clock: &Clock, stale: bool) -> Result<(), WriteError> {
        let crc = ValueCrc::of(value);
        let clocks: Vec<Clock> = SHAPE.written(clock).collect();
        for clock in &clocks {
            self.run.attempt(&put_token(&key, crc, clock))?;
        }
        let token = self.fly(Asked::Put { key: key.clone(), value: crc, clocks, stale });
        self.client.put(token, &key, version_of(clock, now_ms()), value);
        Ok(())
    }

    fn fly(&mut self, asked: Asked) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.busy.insert(asked.key().to_owned());
        self.in_flight.insert(token, asked);
        token
    }

    /// Takes what has ended.
    fn reap(&mut self, wait: Wait) -> Result<(), WriteError> {
        let wait = if self.arrived.is_empty() { wait } else { Wait::No };
        self.client.poll(wait, &mut self.arrived);
        for outcome in std::mem::take(&mut self.arrived) {
            let asked = self.in_flight.remove(&outcome.token).expect("each operation ends once");
            self.busy.remove(asked.key());
            self.ended(asked, outcome)?;
        }
        Ok(())
    }

    fn ended(&mut self, asked: Asked, outcome: KvOutcome) -> Result<(), WriteError> {
        match (asked, outcome.result) {
            (_, Err(KvOpError::InsufficientOperationalNodes { .. })) => Ok(()),
            (Asked::Put { stale: true, .. }, Err(KvOpError::ObsoleteVersion { .. })) => Ok(()),
            (Asked::Put { key, value, clocks, stale }, Ok(KvAnswer::Written(clock))) => {
                let clock = clock_of(&clock);
                let token = put_token(&key, value, &clock);
                if !clocks.contains(&clock) {
                    return Err(wrong(
                        &token,
                        "this clock isn't the put's, counted up by one of its masters",
                    ));
                }
                if outcome.copies < COPIES_MIN {
                    return Err(wrong(&token, "fewer replicas than required have it"));
                }
                if !stale && !RaceKeys::owns(&key) {
                    self.acknowledged.insert(key, clock);
                }
                Ok(self.run.acknowledge(&token)?)
            }
            (Asked::Delete { key, clock }, Ok(KvAnswer::Deleted(_))) => {
                if outcome.copies == NODES {
                    self.run.acknowledge(&Token::Del { key: Key(key), clock })?;
                }
                Ok(())
            }
            (Asked::Get { key, at_least }, Ok(KvAnswer::Values(versions))) => {
                let Some(at_least) = at_least else { return Ok(()) };
                if versions.iter().any(|version| clock_of(&version.clock).covers(&at_least)) {
                    return Ok(());
                }
                let found: Vec<String> = versions.iter().map(|version| version.clock.to_string()).collect();
                Err(WriteError::WrongAnswer {
                    operation: format!("get {}", Key(key)),
                    why: format!(
                        "version {at_least} was acknowledged before the read, which found [{}]",
                        found.join(" ")
                    ),
                })
            }
            (Asked::Put { key, value, clocks, .. }, Err(error)) => {
                Err(failed(put_token(&key, value, &clocks[0]), error))
            }
            (Asked::Delete { key, clock }, Err(error)) => {
                Err(failed(Token::Del { key: Key(key), clock }, error))
            }
            (Asked::Get { key, .. }, Err(error)) => {
                Err(WriteError::Read { key: Key(key).to_string(), source: Box::new(error) })
            }
            (asked, Ok(answer)) => Err(WriteError::WrongAnswer {
                operation: format!("an operation on key {}", Key(asked.key().to_vec())),
                why: format!("it was answered with {answer:?}"),
            }),
        }
    }
}

/// The clocks that a key has now, by two replicas. What else ends meanwhile goes to `arrived`.
fn present<P: Port>(
    client: &mut KvClient<P>,
    key: &[u8],
    arrived: &mut Vec<KvOutcome>,
) -> Result<Vec<Clock>, (Vec<u8>, KvOpError)> {
    client.get_versions(PRESENT, key);
    loop {
        client.poll(Wait::Forever, arrived);
        let Some(at) = arrived.iter().position(|outcome| outcome.token == PRESENT) else { continue };
        return match arrived.remove(at).result {
            Ok(KvAnswer::Versions(clocks)) => Ok(clocks.iter().map(clock_of).collect()),
            Ok(other) => panic!("getVersions was answered with {other:?}"),
            Err(error) => Err((key.to_vec(), error)),
        };
    }
}

fn put_token(key: &[u8], value: ValueCrc, clock: &Clock) -> Token {
    Token::Put { key: Key(key.to_vec()), value, clock: clock.clone() }
}

fn wrong(token: &Token, why: &str) -> WriteError {
    WriteError::WrongAnswer { operation: format!("`{token}`"), why: why.to_owned() }
}

fn failed(token: Token, source: KvOpError) -> WriteError {
    WriteError::Operation { token: Box::new(token), source: Box::new(source) }
}
