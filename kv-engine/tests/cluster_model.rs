//! Three replicas and their clients without a thread, a clock or a socket: messages are lost, delayed and reordered,
//! nodes come and go, and every answer is judged by a register per key.
//!
//! What holds with R + W > N and one writer per key: a read never gives something older than the last write that was
//! acknowledged before it began. With R + W <= N it doesn't, and one case shows that the judge notices. With replica
//! tombstones the same holds for deletes, whether replicas compare what they hold meanwhile or not. Anti-entropy alone makes
//! replicas equal in one round, and loses nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use engine_env::rng::{Rng, Seed};
use engine_env::{Arrival, Peer};
use kv_engine::{
    AntiEntropy, AntiEntropyConfig, AntiEntropyStats, ClientConfig, Coordinator, DetectorConfig, KvAnswer,
    KvOutcome, MemoryStorage, NodeId, Now, Occurred, Replica, Replication, Request, Response, Ring, Storage,
    VectorClock, Versioned,
};
use rand::RngExt;

const NODES: u16 = 3;
const KEYS: u64 = 4;
const MS: u64 = 1_000_000;

/// What the network does to messages.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// One in so many messages is lost; 0: none.
    lose_one_in: u32,
    delay_ms_max: u64,
    /// One in so many steps a node goes away or comes back; 0: never.
    flap_one_in: u32,
}

/// What is known of one key: written values are numbers that rise.
#[derive(Debug, Default)]
struct Register {
    tried: u64,
    acknowledged: u64,
    /// Of the numbers, those that were deletes.
    deletes: BTreeSet<u64>,
    /// Of the numbers, those of writes that failed: they may be there or not, now or later.
    failed: BTreeSet<u64>,
    /// Whether its writer is at work.
    busy: bool,
}

#[derive(Debug, Clone, Copy)]
enum Doing {
    Write {
        key: u64,
        value: u64,
    },
    Delete {
        key: u64,
        number: u64,
    },
    /// With what was acknowledged when it began.
    Read {
        key: u64,
        at_least: u64,
    },
}

struct World {
    rng: Rng,
    now_ms: u64,
    weather: Weather,
    client: Coordinator,
    /// Whether keys are deleted too.
    deletes: bool,
    nodes: Vec<(Replica, MemoryStorage, bool)>,
    /// Of each node; empty: they have none.
    anti_entropy: Vec<AntiEntropy>,
    /// What is under way, by arrival time and a number that orders equals.
    wire: BTreeMap<(u64, u64), (Peer, Arrival)>,
    sent: u64,
    sent_bytes: usize,
    registers: [Register; KEYS as usize],
    doing: HashMap<u64, Doing>,
    /// What was answered, as the trace.
    trace: Vec<String>,
    failed: u64,
    wrong: Vec<String>,
}

const CLIENT: Peer = Peer(1000);

impl World {
    fn new(seed: u64, (r, w): (u16, u16), weather: Weather) -> Self {
        Self::with(seed, ClientConfig::new(Replication::new(NODES, r, w).expect("valid")), weather)
    }

    #[cfg(feature = "planted-bugs")]
    fn planted(seed: u64, (r, w): (u16, u16), weather: Weather, bug: kv_engine::ClusterBug) -> Self {
        let mut config = ClientConfig::new(Replication::new(NODES, r, w).expect("valid"));
        config.planted_bug = Some(bug);
        Self::with(seed, config, weather)
    }

    fn with(seed: u64, mut config: ClientConfig, weather: Weather) -> Self {
        let ring = Arc::new(Ring::even(NODES, 6).expect("a ring"));
        config.timeout_ms = 60;
        config.node_timeout_ms = 20;
        config.detector = DetectorConfig { probe_every_ms: 50, ..DetectorConfig::default() };
        let node = |id| (Replica::new(NodeId(id), Arc::clone(&ring), NODES), MemoryStorage::new(), true);
        Self {
            rng: Seed(seed).rng(),
            now_ms: 1,
            weather,
            nodes: (0..NODES).map(node).collect(),
            deletes: config.replica_tombstones,
            anti_entropy: Vec::new(),
            client: Coordinator::new(ring, config),
            wire: BTreeMap::new(),
            sent: 0,
            sent_bytes: 0,
            registers: std::array::from_fn(|_| Register::default()),
            doing: HashMap::new(),
            trace: Vec::new(),
            failed: 0,
            wrong: Vec::new(),
        }
    }

    fn one_in(&mut self, many: u32) -> bool {
        many > 0 && self.rng.random_range(0..many) == 0
    }

    fn send(&mut self, from: Peer, to: Peer, bytes: Vec<u8>) {
        self.sent_bytes += bytes.len();
        let is_up = |peer: Peer| peer == CLIENT || self.nodes[peer.0 as usize].2;
        let arrival = match (is_up(from), is_up(to)) {
            (true, true) if self.one_in(self.weather.lose_one_in) => return,
            (true, true) => (to, Arrival::Message { from, bytes }),
            (true, false) => (from, Arrival::Unreachable { peer: to }),
            // What a node had sent before it went away is cut off.
            (false, _) => (to, Arrival::Unreachable { peer: from }),
        };
        let at = self.now_ms + self.rng.random_range(1..=self.weather.delay_ms_max);
        self.sent += 1;
        self.wire.insert((at, self.sent), arrival);
    }

    fn now(&self) -> Now {
        Now { ns: self.now_ms * MS, wall_ms: i64::try_from(self.now_ms).expect("short runs") }
    }

    fn flap(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        let others_up = self.nodes.iter().enumerate().filter(|(i, n)| *i != node && n.2).count();
        // One at a time: two of three are enough.
        if !self.nodes[node].2 || others_up == 2 {
            self.nodes[node].2 = !self.nodes[node].2;
        }
    }

    fn start(&mut self, token: u64) {
        let key = self.rng.random_range(0..KEYS);
        let register = &mut self.registers[key as usize];
        let now = Now { ns: self.now_ms * MS, wall_ms: self.now_ms as i64 };
        if !register.busy && self.rng.random_range(0..2) == 0 {
            register.busy = true;
            register.tried += 1;
            if self.deletes && self.rng.random_range(0..3) == 0 {
                register.deletes.insert(register.tried);
                self.doing.insert(token, Doing::Delete { key, number: register.tried });
                self.client.delete(now, token, &key.to_le_bytes());
                return;
            }
            self.doing.insert(token, Doing::Write { key, value: register.tried });
            self.client.write(now, token, &key.to_le_bytes(), &register.tried.to_le_bytes());
        } else {
            self.doing.insert(token, Doing::Read { key, at_least: register.acknowledged });
            self.client.get(now, token, &key.to_le_bytes());
        }
    }

    fn judge(&mut self, outcome: KvOutcome) {
        self.trace.push(format!("{} {outcome:?}", self.now_ms));
        match (self.doing.remove(&outcome.token).expect("one outcome each"), outcome.result) {
            (Doing::Write { key, value }, result) => {
                let register = &mut self.registers[key as usize];
                register.busy = false;
                match result {
                    Ok(KvAnswer::Written(_)) => register.acknowledged = value,
                    Ok(other) => panic!("a write gave {other:?}"),
                    Err(_) => {
                        register.failed.insert(value);
                        self.failed += 1;
                    }
                }
            }
            (Doing::Delete { key, number }, result) => {
                let register = &mut self.registers[key as usize];
                register.busy = false;
                match result {
                    Ok(KvAnswer::Deleted(_)) => register.acknowledged = number,
                    Ok(other) => panic!("a delete gave {other:?}"),
                    Err(_) => self.failed += 1,
                }
            }
            (Doing::Read { key, at_least }, Ok(KvAnswer::Values(values))) => {
                assert!(values.len() <= 1, "the resolver leaves one");
                let found = values.first().map_or(0, |version| {
                    u64::from_le_bytes(version.value.as_slice().try_into().expect("eight bytes"))
                });
                let register = &self.registers[key as usize];
                let allowed = at_least..=register.tried;
                let deleted = found == 0 && register.deletes.range(allowed.clone()).next().is_some();
                // A write that failed may be there beside a delete, which removes only what it has seen.
                let beside_a_delete = register.failed.contains(&found) && !register.deletes.is_empty();
                if !allowed.contains(&found) && !deleted && !beside_a_delete {
                    self.wrong.push(format!("key {key} gave {found}, {at_least} was acknowledged before"));
                }
            }
            (Doing::Read { .. }, Ok(other)) => panic!("a read gave {other:?}"),
            (Doing::Read { .. }, Err(_)) => self.failed += 1,
        }
    }

    fn run(&mut self, operations: u64) {
        let mut token = 0;
        while token < operations || self.client.in_flight() > 0 {
            if token < operations && self.client.in_flight() < 6 {
                token += 1;
                self.start(token);
            }
            if self.one_in(self.weather.flap_one_in) {
                self.flap();
            }
            while let Some((to, bytes)) = self.client.poll_output() {
                self.send(CLIENT, to, bytes);
            }
            while let Some(outcome) = self.client.poll_outcome() {
                self.judge(outcome);
            }
            self.compare_replicas();
            // Half of the time passes without an arrival, so that operations start between them.
            let of_client = self.client.poll_timeout().map(|ns| ns.div_ceil(MS));
            let timeout = of_client.into_iter().chain(self.comparisons_due()).min();
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let Some(next) = timeout.into_iter().chain(arrival).min() else { continue };
            if token < operations && self.rng.random_range(0..2) == 0 {
                self.now_ms = next.min(self.now_ms + 1).max(self.now_ms);
                continue;
            }
            self.now_ms = self.now_ms.max(next);
            if timeout.is_some_and(|at| at <= self.now_ms) {
                self.client.handle_timeout(self.now());
            }
            if let Some((_, (to, arrival))) =
                self.wire.first_entry().filter(|e| e.key().0 <= self.now_ms).map(|e| e.remove_entry())
            {
                self.deliver(to, &arrival);
            }
        }
        while let Some(outcome) = self.client.poll_outcome() {
            self.judge(outcome);
        }
    }

    fn deliver(&mut self, to: Peer, arrival: &Arrival) {
        if to == CLIENT {
            self.client.handle(self.now(), arrival);
            return;
        }
        let now_ns = self.now().ns;
        let (replica, storage, up) = &mut self.nodes[to.0 as usize];
        if !*up {
            return;
        }
        let mut comparing = self.anti_entropy.get_mut(to.0 as usize);
        let (from, bytes) = match (arrival, &mut comparing) {
            (Arrival::Message { from, bytes }, _) => (from, bytes),
            (Arrival::Unreachable { peer }, Some(comparing)) => {
                let peer = NodeId(u16::try_from(peer.0).expect("a node or the client"));
                comparing.unreachable(now_ns, peer, replica.routing(), storage);
                return;
            }
            (Arrival::Unreachable { .. }, None) => return,
        };
        if let (Ok((id, response)), Some(comparing)) = (Response::decode(bytes), &mut comparing) {
            comparing.answered(now_ns, (*from, id), response, replica.routing(), storage);
            return;
        }
        let about_trees =
            matches!(Request::decode(bytes), Ok((_, Request::GetHashes { .. } | Request::GetLeaves { .. })));
        if let (true, Some(comparing)) = (about_trees, comparing) {
            comparing.asked(*from, bytes, replica.routing(), storage);
            return;
        }
        replica.handle(*from, bytes, storage);
        while let Some((to_client, bytes)) = self.nodes[to.0 as usize].0.poll_output() {
            self.send(to, to_client, bytes);
        }
    }
}

/// Replicas that compare what they hold.
impl World {
    /// From now on every node compares what it holds with the others', this often.
    fn compare_every(&mut self, config: AntiEntropyConfig) {
        let now_ns = self.now().ns;
        self.anti_entropy = (0..NODES).map(|id| AntiEntropy::new(now_ns, NodeId(id), config)).collect();
    }

    fn comparisons_due(&self) -> Option<u64> {
        self.anti_entropy.iter().filter_map(AntiEntropy::poll_timeout).min().map(|ns| ns.div_ceil(MS))
    }

    /// Lets each node that is there do what is due, and sends what it says.
    fn compare_replicas(&mut self) {
        let now_ns = self.now().ns;
        for node in 0..self.anti_entropy.len() {
            let (replica, storage, up) = &self.nodes[node];
            let comparing = &mut self.anti_entropy[node];
            // A node that is away keeps its place in time, as one whose process stands still.
            comparing.handle_timeout(now_ns, replica.routing(), storage);
            while *up && comparing.walk(now_ns, replica.routing(), storage) {}
            while let Some((to, bytes)) = self.anti_entropy[node].poll_output() {
                self.send(Peer(node as u32), to, bytes);
            }
        }
    }

    /// All nodes are there, nothing is lost any more, nobody asks for anything, and what is under way arrives.
    fn heal(&mut self) {
        self.weather = CALM;
        self.nodes.iter_mut().for_each(|(_, _, up)| *up = true);
        self.anti_entropy.clear();
        self.drain();
    }

    /// Then every node goes through one round.
    fn settle(&mut self, config: AntiEntropyConfig) -> Vec<AntiEntropyStats> {
        self.heal();
        self.compare_every(config);
        while self.anti_entropy.iter().any(|comparing| comparing.stats().rounds == 0) {
            self.compare_replicas();
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let next = arrival.into_iter().chain(self.comparisons_due()).min().expect("a round isn't over");
            self.now_ms = self.now_ms.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now_ms) {
                let (_, (to, arrival)) = entry.remove_entry();
                self.deliver(to, &arrival);
            }
        }
        self.drain();
        self.anti_entropy.iter().map(AntiEntropy::stats).collect()
    }

    /// The clocks of a key that no other replica's descends from.
    fn newest(&self, key: u64) -> BTreeSet<String> {
        let of_node = |(_, storage, _): &(Replica, MemoryStorage, bool)| {
            storage.get_versions(&key.to_le_bytes()).expect("in memory")
        };
        let all: Vec<VectorClock> = self.nodes.iter().flat_map(of_node).collect();
        let is_newest = |clock: &&VectorClock| {
            all.iter().all(|other| *clock == other || clock.compare(other) != Occurred::Before)
        };
        all.iter().filter(is_newest).map(ToString::to_string).collect()
    }

    /// How many keys there are of which a replica hasn't exactly the newest versions, after one round of everybody.
    fn astray_after_a_round(&mut self, keys: u64, config: AntiEntropyConfig) -> usize {
        self.heal();
        let newest: Vec<_> = (0..keys).map(|key| self.newest(key)).collect();
        self.settle(config);
        let differs = |(key, newest): &(u64, &BTreeSet<String>)| {
            (0..NODES.into()).any(|node| self.clocks(node, *key) != **newest)
        };
        (0..keys).zip(&newest).filter(differs).count()
    }

    /// Gives each replica by itself some of the keys from 0 to `keys`, some written twice or by two at once.
    fn scatter(&mut self, keys: u64) {
        for key in 0..keys {
            for clock in ["0:1", "0:1,2:1", "0:2", "1:1"] {
                let version = Versioned::new(clock.parse().expect("a clock"), key.to_le_bytes());
                for (_, storage, _) in &self.nodes {
                    if self.rng.random_range(0..8) == 0 {
                        // What is obsolete there isn't put.
                        let _ = storage.put(&key.to_le_bytes(), &version);
                    }
                }
            }
        }
    }
}

/// Nobody repairs but anti-entropy.
fn unrepaired() -> ClientConfig {
    let config = ClientConfig::new(Replication::new(NODES, 2, 2).expect("valid"));
    ClientConfig { read_repair: false, replica_tombstones: true, ..config }
}

/// Rounds while clients are at work: a walk through the keys each time.
const AT_WORK: u64 = 300;

#[test]
fn after_a_round_of_anti_entropy_replicas_are_equal_and_nothing_is_lost() {
    let (mut moved, mut broken_off) = (0, 0);
    for seed in seeds() {
        let mut world = World::with(seed, unrepaired(), ROUGH);
        if seed % 2 == 0 {
            world.compare_every(AntiEntropyConfig::new(AT_WORK));
        }
        world.run(400);
        assert_eq!(world.wrong, [""; 0], "seed {seed}");
        broken_off += world.anti_entropy.iter().map(|node| node.stats().broken_off).sum::<u64>();
        assert_eq!(world.astray_after_a_round(KEYS, AntiEntropyConfig::new(20)), 0, "seed {seed}");
        moved += world.anti_entropy.iter().map(|node| node.stats().fetched + node.stats().sent).sum::<u64>();
        let again = world.settle(AntiEntropyConfig::new(20));
        for stats in again {
            assert!(stats.comparisons >= u64::from(NODES) - 1, "a round at least: {stats:?}");
            assert_eq!(
                (stats.equal, stats.broken_off),
                (stats.comparisons, 0),
                "nothing is left; seed {seed}"
            );
        }
    }
    assert!(moved > 0 && broken_off > 0, "the weather was too good to show anything");
}

#[test]
fn one_round_gives_replicas_that_share_little_all_keys_of_all() {
    let mut world = World::with(1, unrepaired(), CALM);
    world.scatter(MANY_KEYS);
    assert_eq!(world.astray_after_a_round(MANY_KEYS, AntiEntropyConfig::new(20)), 0);
    let stats: Vec<_> = world.anti_entropy.iter().map(AntiEntropy::stats).collect();
    assert!(stats.iter().all(|stats| stats.broken_off == 0 && stats.failed == 0), "{stats:?}");
}

/// What is alike isn't told, and the way down to what isn't is short.
#[test]
fn one_key_among_many_is_found_with_two_kilobytes_a_peer() {
    let mut world = World::with(1, unrepaired(), CALM);
    for key in 0..MANY_KEYS {
        for (node, (_, storage, _)) in world.nodes.iter().enumerate() {
            if (node, key) != (1, 77) {
                let version = Versioned::new("0:1".parse().expect("a clock"), key.to_le_bytes());
                storage.put(&key.to_le_bytes(), &version).expect("fresh");
            }
        }
    }
    assert_eq!(world.astray_after_a_round(MANY_KEYS, AntiEntropyConfig::new(1000)), 0);
    let stats: Vec<_> = world.anti_entropy.iter().map(AntiEntropy::stats).collect();
    let moved: u64 = stats.iter().map(|stats| stats.fetched + stats.sent).sum();
    assert!((1..=3).contains(&moved), "several may find it at once: {stats:?}");
    assert!(world.sent_bytes < 6 * 2048, "{} bytes for six comparisons", world.sent_bytes);
}

/// Some lie in each tree's last leaf.
const MANY_KEYS: u64 = 5000;

#[test]
fn nodes_without_anti_entropy_refuse_and_are_left_alone() {
    let mut world = World::with(1, unrepaired(), CALM);
    world.scatter(100);
    // Only the first node has it.
    world.anti_entropy = vec![AntiEntropy::new(0, NodeId(0), AntiEntropyConfig::new(20))];
    while world.anti_entropy[0].stats().rounds == 0 {
        world.now_ms += 1;
        world.compare_replicas();
        world.drain();
    }
    let stats = world.anti_entropy[0].stats();
    assert_eq!((stats.broken_off, stats.comparisons), (u64::from(NODES) - 1, 0));
}

impl World {
    /// All nodes are there, nothing is lost, and every key is read once, from all replicas.
    fn read_everything(&mut self) {
        self.weather = CALM;
        self.nodes.iter_mut().for_each(|(_, _, up)| *up = true);
        // What is under way still arrives, before the reads begin.
        self.drain();
        while self.client.down().count() > 0 {
            self.now_ms += 50;
            self.client.handle_timeout(self.now());
            self.drain();
        }
        let failed = self.failed;
        for key in 0..KEYS {
            self.doing.insert(key, Doing::Read { key, at_least: self.registers[key as usize].acknowledged });
            self.client.get(self.now(), key, &key.to_le_bytes());
        }
        self.drain();
        assert_eq!(self.failed, failed);
    }

    fn drain(&mut self) {
        loop {
            self.run(0);
            while let Some((to, bytes)) = self.client.poll_output() {
                self.send(CLIENT, to, bytes);
            }
            let Some(((at, _), (to, arrival))) = self.wire.pop_first() else { break };
            self.now_ms = self.now_ms.max(at);
            self.deliver(to, &arrival);
        }
    }

    fn clocks(&self, node: usize, key: u64) -> BTreeSet<String> {
        let clocks = self.nodes[node].1.get_versions(&key.to_le_bytes()).expect("in memory");
        clocks.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn with_replica_tombstones_nothing_deleted_comes_back() {
    let (mut failed, mut deletes) = (0, 0);
    for seed in seeds() {
        for (r, w) in [(2, 2), (1, 3), (3, 1)] {
            let config = ClientConfig::new(Replication::new(NODES, r, w).expect("valid"));
            let mut world = World::with(seed, ClientConfig { replica_tombstones: true, ..config }, ROUGH);
            if seed % 2 == 0 {
                world.compare_every(AntiEntropyConfig::new(AT_WORK));
            }
            world.run(400);
            assert_eq!(world.wrong, [""; 0], "seed {seed}, R {r}, W {w}");
            failed += world.failed;
            deletes += world.registers.iter().map(|register| register.deletes.len()).sum::<usize>();
        }
    }
    assert!(failed > 0 && deletes > 0, "the weather was too good to show anything");
}

#[test]
fn a_read_of_all_replicas_leaves_them_equal() {
    let mut repairs = 0;
    for seed in seeds() {
        let mut world = run(seed, (3, 1), ROUGH);
        world.read_everything();
        let before = world.client.stats().repairs;
        for key in 0..KEYS {
            for node in 1..NODES.into() {
                assert_eq!(world.clocks(0, key), world.clocks(node, key), "seed {seed}, key {key}");
            }
        }
        world.read_everything();
        assert_eq!(world.client.stats().repairs, before, "equal replicas lack nothing; seed {seed}");
        repairs += before;
    }
    assert!(repairs > 0);
}

fn run(seed: u64, quorum: (u16, u16), weather: Weather) -> World {
    let mut world = World::new(seed, quorum, weather);
    world.run(400);
    world
}

const CALM: Weather = Weather { lose_one_in: 0, delay_ms_max: 5, flap_one_in: 0 };
const ROUGH: Weather = Weather { lose_one_in: 20, delay_ms_max: 30, flap_one_in: 60 };

fn seeds() -> std::ops::Range<u64> {
    let many = std::env::var("KV_CLUSTER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    0..many
}

#[test]
fn overlapping_quorums_never_read_older_than_acknowledged() {
    let mut failed = 0;
    for seed in seeds() {
        for quorum in [(2, 2), (1, 3), (3, 1)] {
            for weather in [CALM, ROUGH] {
                let world = run(seed, quorum, weather);
                assert_eq!(world.wrong, [""; 0], "seed {seed}, R and W {quorum:?}, {weather:?}");
                failed += world.failed;
            }
        }
    }
    assert!(failed > 0, "the weather was too good to show anything");
}

#[test]
fn quorums_that_miss_each_other_read_old_values() {
    let wrong: usize = seeds().map(|seed| run(seed, (1, 1), ROUGH).wrong.len()).sum();
    assert!(wrong > 0, "the judge sees no stale read where there must be some");
}

#[test]
fn in_calm_weather_everything_succeeds() {
    for seed in seeds() {
        let world = run(seed, (2, 2), CALM);
        assert_eq!((world.failed, world.wrong.len()), (0, 0), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    assert_eq!(run(7, (2, 2), ROUGH).trace, run(7, (2, 2), ROUGH).trace);
    assert_ne!(run(7, (2, 2), ROUGH).trace, run(8, (2, 2), ROUGH).trace);
}

/// The judge of `overlapping_quorums_never_read_older_than_acknowledged` finds mistakes that were put in on purpose.
#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use kv_engine::ClusterBug;

    fn check(bug: ClusterBug) {
        let wrong: usize = (0..60)
            .map(|seed| {
                let mut world = World::planted(seed, (2, 2), ROUGH, bug);
                world.run(400);
                world.wrong.len()
            })
            .sum();
        assert!(wrong > 0, "{bug:?} isn't caught");
    }

    #[test]
    fn a_quorum_of_one_too_few_is_caught() {
        check(ClusterBug::QuorumShort);
    }

    #[test]
    fn a_repair_that_loses_a_sibling_is_caught() {
        check(ClusterBug::RepairLosesSibling);
    }

    #[test]
    fn a_delete_without_its_tombstone_is_caught() {
        let wrong: usize = (0..60)
            .map(|seed| {
                let mut config = ClientConfig::new(Replication::new(NODES, 2, 2).expect("valid"));
                config.replica_tombstones = true;
                config.planted_bug = Some(ClusterBug::TombstoneNotKept);
                let mut world = World::with(seed, config, ROUGH);
                world.run(400);
                world.wrong.len()
            })
            .sum();
        assert!(wrong > 0, "what was deleted came back, and nobody noticed");
    }

    fn with_bug(bug: ClusterBug) -> AntiEntropyConfig {
        AntiEntropyConfig { planted_bug: Some(bug), ..AntiEntropyConfig::new(20) }
    }

    #[test]
    fn a_tree_that_skips_its_last_leaf_is_caught() {
        let mut world = World::with(1, unrepaired(), CALM);
        world.scatter(MANY_KEYS);
        let astray = world.astray_after_a_round(MANY_KEYS, with_bug(ClusterBug::TreeSkipsLastLeaf));
        assert!(astray > 0, "keys of the last leaf differ, and nobody noticed");
        assert!(astray < 50, "one leaf of 1024, not {astray} of {MANY_KEYS} keys");
    }

    #[test]
    fn anti_entropy_that_loses_a_sibling_is_caught() {
        let mut world = World::with(1, unrepaired(), CALM);
        world.scatter(100);
        let astray = world.astray_after_a_round(100, with_bug(ClusterBug::AntiEntropyLosesSibling));
        assert!(astray > 0, "siblings were lost, and nobody noticed");
    }
}
