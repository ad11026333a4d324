//! Three brokers, a producer and a consumer without a thread, a clock or a socket: on simulated disks, over a network
//! that loses, delays and reorders, with brokers that go down and return. Everything from one seed.
//!
//! `PROPTEST_CASES` scales the number of runs (default 256).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, SimDisk, SimHome};
use engine_env::{Arrival, Disk, Home, OpId, Peer, Wait};

use super::config::BrokerConfig;
use super::stepped::SteppedBroker;
use crate::client::log_client::{Fetching, LogClientConfig};
use crate::client::numbering::ProducerIdentity;
use crate::client::session::Session;
use crate::{Acks, BrokerId, ClusterLayout, Durability, Interval, LogConfig, Offset, Record, TopicPartition};

const BROKERS: usize = 3;
const PARTITIONS: u32 = 2;
const PRODUCER: Peer = Peer(1000);
const CONSUMER: Peer = Peer(1001);
const MIN_ISR: u16 = 2;

type Verdict<T = ()> = Result<T, String>;

fn cases() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256)
}

#[derive(Debug)]
struct Dice {
    seed: Seed,
    drawn: u64,
}

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        self.seed.derive("draw", self.drawn).0 % n
    }
}

struct Node {
    broker: SteppedBroker<SimHome>,
    disk: SimDisk,
    in_flight: usize,
}

/// What goes down with a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    /// Only what `durability` promises to keep is kept.
    AsPromised,
    /// The power, though only a process kill was promised to be survived.
    PowerCut,
}

struct World {
    dice: Dice,
    now_ms: u64,
    layout: ClusterLayout,
    config: BrokerConfig,
    outage: Outage,
    homes: Vec<SimHome>,
    nodes: Vec<Option<Node>>,
    flying: Vec<(Peer, Peer, Vec<u8>)>,
    loses_messages: bool,
    producer: Session,
    consumer: Session,
    next_token: u64,
    values: BTreeMap<u64, (u32, Vec<u8>)>,
    /// Acknowledged values, by partition and offset.
    acked: Vec<BTreeMap<u64, Vec<u8>>>,
    seen: Vec<Vec<Vec<u8>>>,
    /// What a broker that is down has to bring back, at least.
    owed: Vec<Vec<Offset>>,
    truncations: u64,
}

fn tp(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn config(durability: Durability) -> BrokerConfig {
    #[allow(clippy::needless_update, reason = "the feature planted-bugs adds a field")]
    let log = LogConfig {
        durability,
        segment_bytes: 8192,
        index_interval_bytes: 1000,
        zero_fill_step_bytes: 4096,
        recent_bytes: 3000,
        ..LogConfig::default()
    };
    let (replica_lag_ms, follow_wait_ms, retry_ms, follow_bytes) = (100, 20, 5, 2000);
    BrokerConfig { log, min_isr: MIN_ISR, replica_lag_ms, follow_wait_ms, retry_ms, follow_bytes }
}

impl World {
    fn new(seed: Seed, config: BrokerConfig, outage: Outage) -> Self {
        let layout = ClusterLayout::even(BROKERS as u16, &[("t", PARTITIONS)], 3).expect("it fits");
        let client = LogClientConfig {
            acks: Acks::All,
            timeout_ms: 300,
            fetching: Fetching::LongPoll { wait_ms: 20 },
            fetch_bytes: 3000,
            retry_ms: 5,
            // Half of the runs send again what may be lost.
            identity: (seed.0 % 2 == 1).then_some(ProducerIdentity { id: 7, epoch: 0 }),
            ..LogClientConfig::default()
        };
        let mut consumer = Session::new(layout.clone(), client.clone());
        (0..PARTITIONS).for_each(|p| consumer.subscribe(&tp(p), Offset(0)));
        let mut world = Self {
            dice: Dice { seed, drawn: 0 },
            now_ms: 1000,
            producer: Session::new(layout.clone(), client),
            consumer,
            layout,
            config,
            outage,
            homes: (0..BROKERS as u64).map(|i| SimHome::new(seed.derive("home", i))).collect(),
            nodes: (0..BROKERS).map(|_| None).collect(),
            flying: Vec::new(),
            loses_messages: true,
            next_token: 0,
            values: BTreeMap::new(),
            acked: vec![BTreeMap::new(); PARTITIONS as usize],
            seen: vec![Vec::new(); PARTITIONS as usize],
            owed: vec![vec![Offset(0); PARTITIONS as usize]; BROKERS],
            truncations: 0,
        };
        for broker in 0..BROKERS {
            world.start(broker).expect("an empty folder opens");
        }
        world
    }

    fn start(&mut self, broker: usize) -> Verdict {
        let (home, layout) = (&self.homes[broker], Arc::new(self.layout.clone()));
        let opened =
            SteppedBroker::open(home, BrokerId(broker as u16), layout, self.config.clone(), self.now_ms);
        let (opened, report) = opened.map_err(|e| format!("broker {broker} doesn't start: {e}"))?;
        if let Some(p) = report.partitions.iter().find(|p| !p.damage.is_empty()) {
            return Err(format!("broker {broker} takes a crash for damage: {:?}", p.damage));
        }
        for partition in 0..PARTITIONS {
            let end = opened.log().ends(&tp(partition)).expect("it is hosted").end;
            let owed = self.owed[broker][partition as usize];
            if end < owed {
                return Err(format!("broker {broker} came back to {end} in {partition}, and owes {owed}"));
            }
        }
        let disk = home.disk().expect("powered");
        self.nodes[broker] = Some(Node { broker: opened, disk, in_flight: 0 });
        self.pump(broker);
        Ok(())
    }

    fn go_down(&mut self, broker: usize) {
        // What it holds below the high watermark, if it counts as in sync, has to come back.
        if self.outage == Outage::AsPromised {
            for (partition, mark, isr) in self.marks() {
                if isr.contains(&BrokerId(broker as u16)) {
                    let owed = &mut self.owed[broker][partition as usize];
                    *owed = mark.max(*owed);
                }
            }
        }
        let node = self.nodes[broker].take().expect("it is up");
        self.truncations += node.broker.stats().truncations;
        drop(node);
        let seed = self.dice.seed.derive("crash", self.dice.below(1 << 40));
        let crash = match (self.config.log.durability, self.outage, self.dice.below(4)) {
            (Durability::Synced, _, 0) => Crash::LoseUnsynced,
            (Durability::Synced, _, 1) => Crash::Subset(seed),
            (Durability::Synced, _, 2) | (_, Outage::PowerCut, _) => Crash::PowerCut(seed),
            _ => Crash::ProcessKill(seed),
        };
        self.homes[broker].reboot(crash);
    }

    /// Of partitions whose leader is up: high watermark and brokers in sync.
    fn marks(&self) -> Vec<(u32, Offset, Vec<BrokerId>)> {
        let mut marks = Vec::new();
        for (node, broker) in self.nodes.iter().zip(0..) {
            let Some(node) = node else { continue };
            for one in node.broker.stats().partitions {
                if one.leader == BrokerId(broker) {
                    marks.push((one.partition.partition, one.high_watermark, one.isr));
                }
            }
        }
        marks
    }

    /// Whoever is up and in sync holds everything below the high watermark.
    fn judge_marks(&self) -> Verdict {
        if self.outage == Outage::PowerCut {
            return Ok(());
        }
        for (partition, mark, isr) in self.marks() {
            for id in isr {
                let Some(node) = &self.nodes[usize::from(id.0)] else { continue };
                let ends = node.broker.log().ends(&tp(partition)).expect("it is hosted");
                let held =
                    if self.config.log.durability == Durability::Synced { ends.durable } else { ends.end };
                if held < mark {
                    return Err(format!(
                        "{id} holds {held} of partition {partition}, and the mark is {mark}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn pump(&mut self, broker: usize) {
        let Some(node) = &mut self.nodes[broker] else { return };
        node.broker.handle_storage(self.now_ms);
        node.broker.handle_timeout(self.now_ms);
        while let Some((to, bytes)) = node.broker.poll_output() {
            self.flying.push((Peer(broker as u32), to, bytes));
        }
    }

    fn pump_clients(&mut self) -> Verdict {
        for (me, session) in [(PRODUCER, &mut self.producer), (CONSUMER, &mut self.consumer)] {
            session.handle_timeout(self.now_ms);
            session.flush(self.now_ms);
            while let Some((to, bytes)) = session.poll_output() {
                self.flying.push((me, to, bytes));
            }
        }
        for outcome in std::mem::take(&mut self.producer.done) {
            let (partition, value) =
                self.values.remove(&outcome.token).ok_or("a token came back a second time")?;
            let Ok(offset) = outcome.result else { continue };
            let offset = offset.ok_or("an acknowledgement without an offset")?;
            if outcome.copies < MIN_ISR {
                return Err(format!("offset {offset} was acknowledged with {} copies", outcome.copies));
            }
            let is_again = self.acked[partition as usize].insert(offset.0, value).is_some();
            if is_again && self.outage == Outage::AsPromised {
                return Err(format!("offset {offset} of partition {partition} was given twice"));
            }
        }
        let fetches = std::mem::take(&mut self.consumer.fetches);
        for record in fetches.records() {
            let (from, record) = record.map_err(|e| e.to_string())?;
            let seen = &mut self.seen[from.partition as usize];
            if record.offset.0 != seen.len() as u64 {
                return Err(format!("the consumer saw offset {} after {}", record.offset, seen.len()));
            }
            seen.push(record.value.unwrap_or_default().to_vec());
        }
        match fetches.ended().first() {
            Some(ended) if self.outage == Outage::AsPromised => Err(ended.to_string()),
            _ => Ok(()),
        }
    }

    fn deliver(&mut self, at: usize) {
        let (from, to, bytes) = self.flying.swap_remove(at);
        let message = Arrival::Message { from, bytes };
        match to {
            PRODUCER => self.producer.handle(self.now_ms, message),
            CONSUMER => self.consumer.handle(self.now_ms, message),
            Peer(broker) => match &mut self.nodes[broker as usize] {
                Some(node) => {
                    node.broker.handle(self.now_ms, message);
                    self.pump(broker as usize);
                }
                None => self.tell_unreachable(from, to),
            },
        }
    }

    fn tell_unreachable(&mut self, who: Peer, peer: Peer) {
        let arrival = Arrival::Unreachable { peer };
        match who {
            PRODUCER => self.producer.handle(self.now_ms, arrival),
            CONSUMER => self.consumer.handle(self.now_ms, arrival),
            Peer(broker) => {
                if let Some(node) = &mut self.nodes[broker as usize] {
                    node.broker.handle(self.now_ms, arrival);
                    self.pump(broker as usize);
                }
            }
        }
    }

    fn storage(&mut self, broker: usize) {
        let Some(node) = &mut self.nodes[broker] else { return };
        let machine = node.broker.log().machine();
        let mut started = 0;
        machine.start(&mut |id: OpId, op| {
            started += 1;
            node.disk.submit(id, op);
        });
        node.in_flight += started;
        if node.in_flight > 0 {
            let mut done = Vec::new();
            node.disk.reap(Wait::Forever, &mut done);
            node.in_flight -= done.len();
            done.into_iter().for_each(|one| machine.on_done(one));
        }
        self.pump(broker);
    }

    fn upkeep(&mut self, broker: usize) {
        let Some(node) = &mut self.nodes[broker] else { return };
        let mut disk = self.homes[broker].disk().expect("powered");
        node.broker.log().upkeep(&mut disk, Interval::Running);
        self.pump(broker);
    }

    fn produce(&mut self) {
        for _ in 0..=self.dice.below(4) {
            let partition = self.dice.below(u64::from(PARTITIONS)) as u32;
            let token = self.next_token;
            self.next_token += 1;
            let text = format!("token {token} ");
            let len = [20, 300, 300, 900][self.dice.below(4) as usize];
            let value: Vec<u8> = text.bytes().cycle().take(len).collect();
            self.producer.produce(self.now_ms, 7, token, &tp(partition), &Record::of_value(&value));
            self.values.insert(token, (partition, value));
        }
    }

    fn step(&mut self) -> Verdict {
        let broker = self.dice.below(BROKERS as u64) as usize;
        match self.dice.below(100) {
            0..=44 if !self.flying.is_empty() => {
                let at = self.dice.below(self.flying.len().min(6) as u64) as usize;
                if self.loses_messages && self.dice.below(50) == 0 {
                    self.flying.swap_remove(at);
                } else {
                    self.deliver(at);
                }
            }
            0..=59 => self.storage(broker),
            60..=71 => self.upkeep(broker),
            72..=84 => self.produce(),
            85..=95 => {
                self.now_ms += 1 + self.dice.below(12) * self.dice.below(4);
                (0..BROKERS).for_each(|b| self.pump(b));
            }
            _ if self.nodes[broker].is_none() => self.start(broker)?,
            _ if self.dice.below(3) == 0 => self.go_down(broker),
            _ => {}
        }
        self.pump_clients()?;
        self.judge_marks()
    }

    /// Everybody is up, nothing is lost any more: what was under way comes to its end.
    fn settle(&mut self) -> Verdict {
        self.loses_messages = false;
        for broker in 0..BROKERS {
            if self.nodes[broker].is_none() {
                self.start(broker)?;
            }
        }
        self.go_on()
    }

    /// What is under way goes on, for long enough, with whoever is up.
    fn go_on(&mut self) -> Verdict {
        for _ in 0..400 {
            // A bug may keep them talking for ever.
            for _ in 0..200 {
                if !self.flying.is_empty() {
                    self.deliver(0);
                }
            }
            for broker in 0..BROKERS {
                self.storage(broker);
                self.upkeep(broker);
            }
            self.now_ms += 3;
            (0..BROKERS).for_each(|b| self.pump(b));
            self.pump_clients()?;
        }
        self.judge_marks()
    }

    /// The batches of a partition on a broker, byte for byte, and its values by offset.
    fn contents(&self, broker: usize, partition: u32) -> Verdict<(Vec<u8>, Vec<Vec<u8>>)> {
        let log = self.nodes[broker].as_ref().expect("it is up").broker.log();
        let ends = log.ends(&tp(partition)).expect("it is hosted");
        let (mut bytes, mut values, mut at) = (Vec::new(), Vec::new(), ends.start);
        let first = ends.start.0;
        while at < ends.end {
            let fetched = log.fetch(&tp(partition), at, 3000).map_err(|e| format!("broker {broker}: {e}"))?;
            if fetched.is_empty() {
                return Err(format!("broker {broker}: {ends:?}, and nothing at {at}"));
            }
            fetched.slices().for_each(|s| bytes.extend_from_slice(s));
            for record in fetched.records() {
                let record = record.map_err(|e| e.to_string())?;
                if record.offset.0 != first + values.len() as u64 {
                    return Err(format!("broker {broker}: offset {} after {}", record.offset, values.len()));
                }
                values.push(record.value.unwrap_or_default().to_vec());
            }
            at = fetched.next_offset();
        }
        Ok((bytes, values))
    }

    fn judge(&self) -> Verdict {
        if self.producer.pending() > 0 || !self.values.is_empty() {
            return Err(format!("{} records never came to an end", self.values.len()));
        }
        for partition in 0..PARTITIONS {
            let leader = usize::from(self.layout.leader(&tp(partition)).expect("it is there").0);
            let (bytes, values) = self.contents(leader, partition)?;
            for broker in 0..BROKERS {
                if self.contents(broker, partition)?.0 != bytes {
                    return Err(format!(
                        "broker {broker} has another log of partition {partition} than its leader"
                    ));
                }
            }
            if self.outage == Outage::PowerCut {
                continue;
            }
            let distinct: BTreeSet<_> = values.iter().collect();
            if distinct.len() < values.len() {
                return Err(format!(
                    "{} records of partition {partition} are there twice",
                    values.len() - distinct.len()
                ));
            }
            for (&offset, value) in &self.acked[partition as usize] {
                if values.get(offset as usize) != Some(value) {
                    return Err(format!(
                        "offset {offset} of partition {partition} was acknowledged and is gone"
                    ));
                }
            }
            if self.seen[partition as usize] != values {
                let seen = self.seen[partition as usize].len();
                return Err(format!("the consumer saw {seen} records of {}", values.len()));
            }
        }
        for (partition, mark, isr) in self.marks() {
            if isr.len() != BROKERS {
                return Err(format!("partition {partition} has {isr:?} in sync, and the mark at {mark}"));
            }
        }
        Ok(())
    }
}

/// What a run did.
#[derive(Debug, Default)]
struct Did {
    acked: usize,
    truncations: u64,
    sent_again: u64,
}

fn random_run(seed: Seed, config: &BrokerConfig, outage: Outage) -> Verdict<Did> {
    let mut world = World::new(seed, config.clone(), outage);
    let told = |why| format!("seed {}: {why}", seed.0);
    for _ in 0..400 + world.dice.below(400) {
        world.step().map_err(told)?;
    }
    world.settle().map_err(told)?;
    world.judge().map_err(told)?;
    let up: u64 = world.nodes.iter().flatten().map(|n| n.broker.stats().truncations).sum();
    let acked = world.acked.iter().map(BTreeMap::len).sum();
    Ok(Did { acked, truncations: world.truncations + up, sent_again: world.producer.sent_again })
}

fn many_runs(durability: Durability, outage: Outage) -> Did {
    let mut sum = Did::default();
    for seed in 0..cases() / 2 {
        let did = random_run(Seed(seed), &config(durability), outage)
            .unwrap_or_else(|why| panic!("{durability}, {outage:?}: {why}"));
        sum.acked += did.acked;
        sum.truncations += did.truncations;
        sum.sent_again += did.sent_again;
    }
    sum
}

#[test]
fn nothing_acknowledged_is_lost_to_power_cuts_with_synced() {
    let did = many_runs(Durability::Synced, Outage::AsPromised);
    assert!(did.acked as u64 > cases() * 10, "{did:?}");
    assert!(did.truncations > cases() / 64, "followers have to be ahead of a leader now and then: {did:?}");
    assert!(did.sent_again > cases(), "{did:?}");
}

#[test]
fn nothing_acknowledged_is_lost_to_kills_with_os() {
    let did = many_runs(Durability::Os, Outage::AsPromised);
    assert!(did.acked as u64 > cases() * 10, "{did:?}");
}

#[test]
fn logs_agree_again_after_power_cuts_that_os_does_not_survive() {
    let did = many_runs(Durability::Os, Outage::PowerCut);
    assert!(did.truncations > cases() / 20, "{did:?}");
}

/// A cluster whose broker 0 comes back with an empty folder, after so many terms; and what a follower had before.
fn with_a_lost_folder(terms: u64) -> (World, (Vec<u8>, Vec<Vec<u8>>)) {
    let mut world = World::new(Seed(1), config(Durability::Synced), Outage::AsPromised);
    world.loses_messages = false;
    for _ in 0..20 {
        world.produce();
        world.settle().expect("a good run");
    }
    for _ in 1..terms {
        world.go_down(0);
        world.settle().expect("a good run");
        world.produce();
        world.settle().expect("a good run");
    }
    let before = world.contents(1, 0).expect("readable");
    assert!(before.1.len() > 20);
    world.nodes[0] = None;
    world.homes[0] = SimHome::new(Seed(77));
    world.owed[0] = vec![Offset(0); PARTITIONS as usize];
    world.start(0).expect("an empty folder opens");
    for _ in 0..50 {
        for _ in 0..200 {
            if !world.flying.is_empty() {
                world.deliver(0);
            }
        }
        (0..BROKERS).for_each(|b| world.storage(b));
        (0..BROKERS).for_each(|b| world.upkeep(b));
        world.now_ms += 3;
        (0..BROKERS).for_each(|b| world.pump(b));
    }
    (world, before)
}

#[test]
fn followers_keep_what_they_have_when_a_leader_comes_back_empty() {
    let (world, before) = with_a_lost_folder(1);
    assert_eq!(world.contents(1, 0).expect("readable"), before);
    let stats = world.nodes[1].as_ref().expect("it is up").broker.stats();
    assert!(stats.truncations_refused > 0 && stats.truncations == 0, "{stats:?}");
}

#[test]
fn a_leader_that_lost_its_folder_takes_nothing_once_a_follower_tells_of_a_later_term() {
    let (mut world, before) = with_a_lost_folder(2);
    let record = Record::of_value(b"into a log that isn't there any more");
    world.producer.produce(world.now_ms, 7, u64::MAX, &tp(0), &record);
    world.producer.flush(world.now_ms);
    while let Some((to, bytes)) = world.producer.poll_output() {
        world.flying.push((PRODUCER, to, bytes));
    }
    while world.producer.done.is_empty() && !world.flying.is_empty() {
        world.deliver(0);
    }
    let refused = world.producer.done.remove(0).result.expect_err("the leader lost its log");
    assert!(matches!(refused, crate::ProduceError::LeaderLostLog { .. }), "{refused}");
    assert_eq!(world.contents(1, 0).expect("readable"), before, "the follower kept it");
}

#[test]
fn a_follower_that_lacks_what_retention_took_starts_anew() {
    for durability in [Durability::Os, Durability::Synced] {
        let mut world = World::new(Seed(1), config(durability), Outage::AsPromised);
        let produce = |world: &mut World, times| {
            for _ in 0..times {
                world.produce();
                world.go_on().expect("a good run");
            }
        };
        world.settle().expect("a good run");
        produce(&mut world, 5);
        world.go_down(2);
        produce(&mut world, 20);
        let mark = world.marks().into_iter().find(|&(p, ..)| p == 0).expect("its leader is up").1;
        assert_eq!(world.layout.leader(&tp(0)), Some(BrokerId(0)), "the test takes from the leader's log");
        let log = world.nodes[0].as_ref().expect("it is up").broker.log();
        let start = mark.min(log.ends(&tp(0)).expect("it is hosted").durable);
        log.delete_before(&tp(0), mark.plus(100)).expect("it is there");
        world.go_on().expect("a good run");
        world.settle().expect("a good run");
        let ends = |world: &World, broker: usize| {
            world.nodes[broker].as_ref().expect("it is up").broker.log().ends(&tp(0)).expect("it is hosted")
        };
        assert_eq!(ends(&world, 0).start, start, "only what is durable and below the high watermark goes");
        assert_eq!(ends(&world, 1).start, Offset(0), "each broker keeps its own");
        assert_eq!((ends(&world, 2).start, ends(&world, 2).end), (start, ends(&world, 0).end));
        produce(&mut world, 5);
        world.settle().expect("a good run");
        assert!(ends(&world, 0).end > mark);
        assert_eq!(world.contents(2, 0).expect("readable"), world.contents(0, 0).expect("readable"));
        assert!(world.marks().iter().all(|(_, _, isr)| isr.len() == BROKERS), "{:?}", world.marks());
        // The one that started anew comes back like any other.
        world.go_down(2);
        world.settle().expect("a good run");
        assert_eq!(world.contents(2, 0).expect("readable"), world.contents(0, 0).expect("readable"));
        assert_eq!(world.nodes[2].as_ref().expect("it is up").broker.stats().truncations, 0);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let mut world = World::new(Seed(seed), config(Durability::Synced), Outage::AsPromised);
        for _ in 0..300 {
            world.step().expect("a good run");
        }
        world.homes.iter().map(SimHome::trace_hash).collect::<Vec<_>>()
    };
    assert_eq!(trace(3), trace(3));
    assert_ne!(trace(3), trace(4));
}

#[cfg(feature = "planted-bugs")]
mod teeth {
    use super::*;
    use crate::PlantedBug;

    fn is_found(bug: PlantedBug) {
        let mut config = config(Durability::Synced);
        config.log.planted_bug = Some(bug);
        let found = (0..400).find_map(|seed| {
            // An invariant that panics found it, too.
            let run = || random_run(Seed(seed), &config, Outage::AsPromised);
            std::panic::catch_unwind(run).map_or(Some("a panic".to_owned()), Result::err)
        });
        assert!(found.is_some(), "{bug:?} is not found in 400 runs");
    }

    #[test]
    fn a_mark_that_does_not_wait_for_followers_is_found() {
        is_found(PlantedBug::HighWatermarkAhead);
    }

    #[test]
    fn a_batch_that_is_stored_as_often_as_it_is_sent_is_found() {
        is_found(PlantedBug::DuplicateStored);
    }

    #[test]
    fn a_broker_that_forgets_its_producers_when_it_restarts_is_found() {
        is_found(PlantedBug::ProducersForgotten);
    }

    #[test]
    fn an_acknowledgement_below_min_isr_is_found() {
        is_found(PlantedBug::MinIsrIgnored);
    }

    #[test]
    fn a_follower_that_acknowledges_what_it_has_not_synced_is_found() {
        is_found(PlantedBug::ReportUnsynced);
    }

    #[test]
    fn a_follower_that_keeps_what_its_leader_does_not_have_is_found() {
        is_found(PlantedBug::TruncationSkipped);
    }
}
