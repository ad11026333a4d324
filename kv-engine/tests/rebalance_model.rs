//! Partitions move while clients read and write, without a thread, a clock or a socket: messages are lost, delayed and
//! reordered, stealers and donors crash, the controller dies, or goes back. Every answer is judged by a register per key.
//!
//! What holds with R + W > N and one writer per key, however old the ring is that a client goes by: a read never gives
//! something older than the last write that was acknowledged before it began. In the end every acknowledged write is on as
//! many of its key's new replicas as any R of them meet, and nothing is where it doesn't belong. With Voldemort's rule for
//! donors it doesn't hold, and one case shows that the judge notices.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use engine_env::rng::{Rng, Seed};
use engine_env::{Arrival, Peer};
use kv_engine::{
    ClientConfig, ControllerConfig, Coordinator, DeleteError, DetectorConfig, DonorRule, EntriesPage,
    EntriesPosition, GetError, KeptMetadata, KvAnswer, KvOutcome, MemoryStorage, MetadataKey, NodeId, Now,
    PartitionStorage, PlanOptions, PlannedStore, PutError, RebalanceController, RebalanceOutcome,
    RebalancePlan, Rebalancer, RebalancerConfig, Replica, ReplicaStorage, Replication, Response, Ring,
    Routing, RoutingStrategy, Storage, Taken, VectorClock, Versioned,
};
use rand::RngExt;

const KEYS: u64 = 24;
const PARTITIONS: u32 = 12;
const CLIENTS: u32 = 3;
const MS: u64 = 1_000_000;
const CONTROLLER: Peer = Peer(5000);

/// What goes wrong; one in so many steps each, 0: never.
#[derive(Debug, Clone, Copy)]
struct Weather {
    lose_one_in: u32,
    delay_ms_max: u64,
    crash_one_in: u32,
    controller_dies_one_in: u32,
    abort_one_in: u32,
    /// Messages of a controller that come up to twenty times as late: the next one may have begun.
    late_order_one_in: u32,
}

const CALM: Weather = Weather {
    lose_one_in: 0,
    delay_ms_max: 4,
    crash_one_in: 0,
    controller_dies_one_in: 0,
    abort_one_in: 0,
    late_order_one_in: 0,
};
const ROUGH: Weather = Weather {
    lose_one_in: 20,
    delay_ms_max: 15,
    crash_one_in: 150,
    controller_dies_one_in: 300,
    abort_one_in: 700,
    late_order_one_in: 0,
};
/// Messages take so long, and controllers change their minds so often, that orders meet each other at a node's disk.
const SLOW: Weather = Weather { delay_ms_max: 40, abort_one_in: 40, ..ROUGH };
/// Controllers follow one another quickly, each with an intention of its own, and meet what the last one has ordered.
const FICKLE: Weather = Weather {
    controller_dies_one_in: 40,
    abort_one_in: 25,
    late_order_one_in: 3,
    crash_one_in: 400,
    ..ROUGH
};

#[derive(Debug, Clone, Copy)]
struct Setting {
    nodes: (u16, u16),
    replicas: (u16, u16, u16),
    donors: DonorRule,
    weather: Weather,
    tombstones: bool,
    #[cfg(feature = "planted-bugs")]
    bug: Option<kv_engine::ClusterBug>,
}

const GROW: Setting = Setting {
    nodes: (3, 4),
    replicas: (3, 2, 2),
    donors: DonorRule::Leaving,
    weather: ROUGH,
    tombstones: false,
    #[cfg(feature = "planted-bugs")]
    bug: None,
};

const LEAVE: Setting = Setting { nodes: (4, 3), replicas: (2, 2, 1), ..GROW };

/// A write that the disk hasn't taken yet: a crash loses it.
enum Staged {
    Put(Vec<u8>, Versioned),
    Delete(Vec<u8>, VectorClock),
    Keep(MetadataKey, Versioned),
}

/// A ticket, whether something was removed, and what became of the write.
type Completed = (u64, bool, Result<(), PutError>);

/// A store whose writes are seen, and survive, once the world has completed them.
#[derive(Default)]
struct Disk {
    store: MemoryStorage,
    kept: RefCell<KeptMetadata>,
    staged: RefCell<VecDeque<(u64, Staged)>>,
    /// Puts that a staged one makes obsolete, each with that one's ticket: a crash loses that, so they wait for it.
    obsolete: RefCell<Vec<(u64, u64, PutError)>>,
    started: RefCell<u32>,
}

impl Disk {
    fn stage(&self, ticket: u64, staged: Staged) -> Taken {
        self.staged.borrow_mut().push_back((ticket, staged));
        *self.started.borrow_mut() += 1;
        Taken::Later
    }

    /// Takes the oldest staged write, and tells of what it makes obsolete.
    fn complete(&self) -> Option<Vec<Completed>> {
        let (ticket, staged) = self.staged.borrow_mut().pop_front()?;
        let removed = match staged {
            Staged::Put(key, version) => {
                // Judged when it was staged; what stands there by now was staged before it.
                let _ = self.store.put(&key, &version);
                false
            }
            Staged::Delete(key, clock) => self.store.delete(&key, &clock).expect("in memory"),
            Staged::Keep(key, version) => {
                let mut kept = self.kept.borrow_mut();
                match key {
                    MetadataKey::Ring => kept.ring = Some(version),
                    MetadataKey::Steals => kept.steals = Some(version),
                }
                false
            }
        };
        let refused = self
            .obsolete
            .borrow_mut()
            .extract_if(.., |(_, rests_on, _)| *rests_on == ticket)
            .collect::<Vec<_>>();
        let refused = refused.into_iter().map(|(ticket, _, refusal)| (ticket, false, Err(refusal)));
        Some(std::iter::once((ticket, removed, Ok(()))).chain(refused).collect())
    }

    fn lose_staged(&self) {
        self.staged.borrow_mut().clear();
        self.obsolete.borrow_mut().clear();
        self.started.replace(0);
    }
}

impl ReplicaStorage for Disk {
    fn read(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        self.store.get(key)
    }

    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        self.store.get_versions(key)
    }

    fn start_put(&self, key: &[u8], version: &Versioned, ticket: u64) -> Result<Taken, PutError> {
        let is_newer = |stored: &VectorClock| version.clock.compare(stored) == kv_engine::Occurred::Before;
        let refusal = |stored| PutError::ObsoleteVersion { given: version.clock.clone(), stored };
        if let Some(stored) = self.store.get_versions(key).expect("in memory").into_iter().find(is_newer) {
            return Err(refusal(stored));
        }
        let newer = self.staged.borrow().iter().find_map(|(ticket, write)| match write {
            Staged::Put(other, staged) if other == key && is_newer(&staged.clock) => {
                Some((*ticket, staged.clock.clone()))
            }
            _ => None,
        });
        Ok(match newer {
            Some((rests_on, stored)) => {
                self.obsolete.borrow_mut().push((ticket, rests_on, refusal(stored)));
                Taken::Later
            }
            None => self.stage(ticket, Staged::Put(key.to_vec(), version.clone())),
        })
    }

    fn start_delete(&self, key: &[u8], clock: &VectorClock, ticket: u64) -> Result<Taken, DeleteError> {
        Ok(self.stage(ticket, Staged::Delete(key.to_vec(), clock.clone())))
    }
}

impl PartitionStorage for Disk {
    fn page(
        &self,
        ring: &Ring,
        partitions: &[u32],
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError> {
        Ok(self.store.page(|key| partitions.contains(&ring.master_partition(key)), from, max_bytes))
    }

    fn keeps_metadata(&self) -> bool {
        true
    }

    fn start_keep(
        &self,
        key: MetadataKey,
        version: &Versioned,
        ticket: u64,
    ) -> Option<Result<Taken, PutError>> {
        Some(Ok(self.stage(ticket, Staged::Keep(key, version.clone()))))
    }
}

struct Node {
    disk: Disk,
    rebalancer: Rebalancer,
    replica: Replica,
    is_up: bool,
    life: u64,
}

#[derive(Debug, Default)]
struct Register {
    tried: u64,
    acknowledged: u64,
    deletes: std::collections::BTreeSet<u64>,
    failed: std::collections::BTreeSet<u64>,
    /// Of those that were acknowledged, under which clock.
    written: BTreeMap<u64, VectorClock>,
    busy: bool,
}

#[derive(Debug, Clone, Copy)]
enum Doing {
    Write { key: u64, value: u64 },
    Delete { key: u64, number: u64 },
    Read { key: u64, at_least: u64 },
}

/// What happens next.
enum Event {
    Arrival(Peer, Arrival),
    /// A node's disk has taken a write, if the node still has the life in which it began.
    Disk(u16, u64),
}

struct World {
    seed: u64,
    setting: Setting,
    rng: Rng,
    now_ms: u64,
    plan: RebalancePlan,
    nodes: Vec<Node>,
    clients: Vec<Coordinator>,
    controller: Option<RebalanceController>,
    lives: u64,
    events: BTreeMap<(u64, u64), Event>,
    sent: u64,
    /// How many events have come.
    come: u64,
    crash_at: Option<(u64, u16)>,
    restart_at_ms: Option<(u64, u16)>,
    registers: Vec<Register>,
    doing: HashMap<u64, Doing>,
    token: u64,
    failed: u64,
    wrong: Vec<String>,
    trace: Vec<String>,
    rolled_back: u64,
}

fn key(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

impl World {
    fn new(seed: u64, setting: Setting) -> Self {
        let (before, after) = setting.nodes;
        let ring = |nodes: u16, all: u16| {
            let owned =
                |node: u16| (0..PARTITIONS).filter(|p| p % u32::from(nodes) == u32::from(node)).collect();
            Arc::new(Ring::new((0..all).map(|node| (NodeId(node), owned(node)))).expect("a ring"))
        };
        let all = before.max(after);
        let (current, target) = (ring(before, before), ring(after, all));
        let (n, r, w) = setting.replicas;
        let routing = Routing::new(Arc::clone(&current), RoutingStrategy::Consistent, n);
        let stores = [PlannedStore { name: "store".to_owned(), routing }];
        let options =
            PlanOptions { donors: setting.donors, batch_primaries: seed.is_multiple_of(3).then_some(3) };
        let plan = RebalancePlan::new(&current, &target, &stores, options).expect("a plan");
        let mut config = ClientConfig::new(Replication::new(n, r, w).expect("valid"));
        config.timeout_ms = 80;
        config.node_timeout_ms = 40;
        config.replica_tombstones = setting.tombstones;
        config.detector = DetectorConfig { probe_every_ms: 50, ..DetectorConfig::default() };
        let clients = (0..CLIENTS).map(|_| Coordinator::new(Arc::clone(&current), config.clone())).collect();
        let mut world = Self {
            seed,
            setting,
            rng: Seed(seed).rng(),
            now_ms: 1,
            plan,
            nodes: Vec::new(),
            clients,
            controller: None,
            lives: 0,
            events: BTreeMap::new(),
            sent: 0,
            come: 0,
            crash_at: None,
            restart_at_ms: None,
            registers: (0..KEYS).map(|_| Register::default()).collect(),
            doing: HashMap::new(),
            token: 0,
            failed: 0,
            wrong: Vec::new(),
            trace: Vec::new(),
            rolled_back: 0,
        };
        for node in 0..all {
            let disk = Disk::default();
            // What is left of an earlier time: stale, and not to come up again.
            if node >= before {
                for number in 0..KEYS {
                    let clock = VectorClock::from_entries([(node, 1)], 0).expect("in range");
                    disk.store
                        .put(&key(number), &Versioned::new(clock, u64::MAX.to_le_bytes()))
                        .expect("fresh");
                }
            }
            let (rebalancer, replica) = world.open(node, &disk);
            world.nodes.push(Node { disk, rebalancer, replica, is_up: true, life: 0 });
        }
        world
    }

    fn open(&mut self, node: u16, disk: &Disk) -> (Rebalancer, Replica) {
        self.lives += 1;
        let ring = if self.plan.current.zone_of(NodeId(node)).is_some() {
            &self.plan.current
        } else {
            &self.plan.interim
        };
        let routing = Routing::new(Arc::clone(ring), RoutingStrategy::Consistent, self.setting.replicas.0);
        let config = RebalancerConfig {
            donor_timeout_ms: 30,
            page_bytes: 40,
            #[cfg(feature = "planted-bugs")]
            planted_bug: self.setting.bug,
            ..RebalancerConfig::default()
        };
        let kept = disk.kept.borrow().clone();
        Rebalancer::open(NodeId(node), routing, &kept, self.lives << 32, config).expect("what it has kept")
    }

    fn start_controller(&mut self) {
        self.lives += 1;
        let config = ControllerConfig {
            poll_ms: 10,
            answer_ms: 60,
            delete_moved: true,
            ..ControllerConfig::default()
        };
        let now_ns = self.now_ms * MS;
        self.controller = Some(RebalanceController::new(&self.plan, now_ns, self.lives << 32, config));
    }

    fn one_in(&mut self, many: u32) -> bool {
        many > 0 && self.rng.random_range(0..many) == 0
    }

    fn now(&self) -> Now {
        Now { ns: self.now_ms * MS, wall_ms: i64::try_from(self.now_ms).expect("short runs") }
    }

    fn send(&mut self, from: Peer, to: Peer, bytes: Vec<u8>) {
        let is_down = |peer: Peer| self.nodes.get(peer.0 as usize).is_some_and(|node| !node.is_up);
        let (to, arrival) = if is_down(to) {
            (from, Arrival::Unreachable { peer: to })
        } else if self.one_in(self.setting.weather.lose_one_in) {
            return;
        } else {
            (to, Arrival::Message { from, bytes })
        };
        let is_late = from == CONTROLLER && self.one_in(self.setting.weather.late_order_one_in);
        let delay_ms_max = self.setting.weather.delay_ms_max * if is_late { 20 } else { 1 };
        self.at(delay_ms_max, Event::Arrival(to, arrival));
    }

    fn at(&mut self, delay_ms_max: u64, event: Event) {
        let at = self.now_ms + self.rng.random_range(1..=delay_ms_max);
        self.sent += 1;
        self.events.insert((at, self.sent), event);
    }

    fn crash(&mut self, node: u16) {
        let node = &mut self.nodes[usize::from(node)];
        node.is_up = false;
        node.life += 1;
        node.disk.lose_staged();
    }

    fn restart(&mut self, node: u16) {
        let disk = std::mem::take(&mut self.nodes[usize::from(node)].disk);
        let (rebalancer, replica) = self.open(node, &disk);
        let life = self.nodes[usize::from(node)].life;
        self.nodes[usize::from(node)] = Node { disk, rebalancer, replica, is_up: true, life };
    }

    fn trouble(&mut self) {
        let weather = self.setting.weather;
        if self.one_in(weather.crash_one_in) {
            match self.nodes.iter().position(|node| !node.is_up) {
                Some(down) => self.restart(u16::try_from(down).expect("few")),
                None => {
                    let node = self.rng.random_range(0..self.nodes.len());
                    self.crash(u16::try_from(node).expect("few"));
                }
            }
        }
        if self.controller.is_some() && self.one_in(weather.controller_dies_one_in) {
            self.start_controller();
        }
        if self.one_in(weather.abort_one_in) {
            let now_ns = self.now_ms * MS;
            if let Some(controller) = &mut self.controller {
                controller.abort(now_ns, "the test wants it");
            }
        }
    }

    fn start(&mut self) {
        self.token += 1;
        let (token, now) = (self.token, self.now());
        let number = self.rng.random_range(0..KEYS);
        let client = self.rng.random_range(0..CLIENTS) as usize;
        let write = self.rng.random_range(0..2) == 0;
        let delete = self.setting.tombstones && self.rng.random_range(0..3) == 0;
        let register = &mut self.registers[number as usize];
        let client = &mut self.clients[client];
        if !write || register.busy {
            self.doing.insert(token, Doing::Read { key: number, at_least: register.acknowledged });
            client.get(now, token, &key(number));
            return;
        }
        register.busy = true;
        register.tried += 1;
        if delete {
            register.deletes.insert(register.tried);
            self.doing.insert(token, Doing::Delete { key: number, number: register.tried });
            client.delete(now, token, &key(number));
        } else {
            self.doing.insert(token, Doing::Write { key: number, value: register.tried });
            client.write(now, token, &key(number), &register.tried.to_le_bytes());
        }
    }

    fn judge(&mut self, outcome: KvOutcome) {
        let doing = self.doing.remove(&outcome.token).expect("one outcome each");
        self.trace.push(format!("{} {doing:?} {outcome:?}", self.now_ms));
        match (doing, outcome.result) {
            (Doing::Write { key, value }, result) => {
                let register = &mut self.registers[key as usize];
                register.busy = false;
                match result {
                    Ok(KvAnswer::Written(clock)) => {
                        register.acknowledged = value;
                        register.written.insert(value, clock);
                    }
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
                let found = values.first().map_or(0, number_of);
                let register = &self.registers[key as usize];
                let allowed = at_least..=register.tried;
                let deleted = found == 0 && register.deletes.range(allowed.clone()).next().is_some();
                // A write that failed, or that failed at a first master, may be there beside a delete, which removes only
                // what it has seen: then it has another clock than what was acknowledged.
                let clock = values.first().map(|version| &version.clock);
                let is_other = found > 0 && register.written.get(&found) != clock;
                let beside_a_delete = is_other && !register.deletes.is_empty();
                if !allowed.contains(&found) && !deleted && !beside_a_delete {
                    self.wrong.push(format!("key {key} gave {found}, {at_least} was acknowledged before"));
                }
            }
            (Doing::Read { .. }, Ok(other)) => panic!("a read gave {other:?}"),
            (Doing::Read { .. }, Err(_)) => self.failed += 1,
        }
    }

    /// Takes all messages and outcomes that there are.
    fn pump(&mut self) {
        for client in 0..self.clients.len() {
            while let Some(outcome) = self.clients[client].poll_outcome() {
                self.judge(outcome);
            }
            while let Some((to, bytes)) = self.clients[client].poll_output() {
                self.send(Peer(1000 + client as u32), to, bytes);
            }
        }
        for node in 0..self.nodes.len() {
            let me = Peer(node as u32);
            let Node { rebalancer, replica, .. } = &mut self.nodes[node];
            let mut outputs: Vec<_> = std::iter::from_fn(|| rebalancer.poll_output()).collect();
            outputs.extend(std::iter::from_fn(|| replica.poll_output()));
            outputs.into_iter().for_each(|(to, bytes)| self.send(me, to, bytes));
            for _ in 0..self.nodes[node].disk.started.replace(0) {
                let life = self.nodes[node].life;
                self.at(3, Event::Disk(u16::try_from(node).expect("few"), life));
            }
        }
        while let Some((to, bytes)) = self.controller.as_mut().and_then(RebalanceController::poll_output) {
            self.send(CONTROLLER, to, bytes);
        }
        match self.controller.as_ref().and_then(RebalanceController::outcome) {
            Some(RebalanceOutcome::RolledBack { .. }) => {
                self.rolled_back += 1;
                self.start_controller();
            }
            Some(RebalanceOutcome::Refused { why }) => panic!("refused: {why}"),
            Some(RebalanceOutcome::Finished) | None => {}
        }
    }

    fn is_finished(&self) -> bool {
        self.controller.as_ref().and_then(RebalanceController::outcome) == Some(&RebalanceOutcome::Finished)
    }

    /// The next timeout of anybody who is there, in milliseconds.
    fn timeout_ms(&mut self) -> Option<u64> {
        let clients = self.clients.iter_mut().filter_map(Coordinator::poll_timeout);
        let nodes = self.nodes.iter().filter(|node| node.is_up);
        let all = clients.chain(nodes.filter_map(|node| node.rebalancer.poll_timeout()));
        let all = all.chain(self.controller.as_ref().and_then(RebalanceController::poll_timeout));
        all.min().map(|ns| ns.div_ceil(MS))
    }

    /// Moves to the next thing that happens; `false` if nothing ever does.
    fn step(&mut self) -> bool {
        self.pump();
        let next = self.events.keys().next().map(|(at, _)| *at);
        let restart = self.restart_at_ms.map(|(at, _)| at);
        let Some(next) = self.timeout_ms().into_iter().chain(next).chain(restart).min() else { return false };
        self.now_ms = self.now_ms.max(next);
        let now = self.now();
        if let Some((_, node)) = self.restart_at_ms.take_if(|(at, _)| *at <= self.now_ms) {
            self.restart(node);
        }
        for client in &mut self.clients {
            if client.poll_timeout().is_some_and(|due| due <= now.ns) {
                client.handle_timeout(now);
            }
        }
        for Node { disk, rebalancer, replica, .. } in self.nodes.iter_mut().filter(|node| node.is_up) {
            if rebalancer.poll_timeout().is_some_and(|due| due <= now.ns) {
                rebalancer.handle_timeout(now.ns, replica, disk);
            }
        }
        if let Some(controller) = &mut self.controller
            && controller.poll_timeout().is_some_and(|due| due <= now.ns)
        {
            controller.handle_timeout(now.ns);
        }
        let is_due = |entry: &std::collections::btree_map::OccupiedEntry<'_, (u64, u64), Event>| {
            entry.key().0 <= self.now_ms
        };
        if let Some(entry) = self.events.first_entry().filter(is_due) {
            let event = entry.remove();
            self.come += 1;
            if let Some((_, node)) = self.crash_at.take_if(|(at, _)| *at == self.come) {
                self.crash(node);
                self.restart_at_ms = Some((self.now_ms + 70, node));
            }
            self.happen(event);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Disk(node, life) => {
                let Node { disk, rebalancer, replica, life: mine, .. } = &mut self.nodes[usize::from(node)];
                if *mine != life {
                    return;
                }
                for (ticket, removed, result) in disk.complete().expect("each is announced once") {
                    if rebalancer.has_ticket(ticket) {
                        rebalancer.completed(now.ns, ticket, removed, result, replica, disk);
                    } else {
                        replica.completed(ticket, removed, result);
                    }
                }
            }
            Event::Arrival(CONTROLLER, arrival) => {
                if let Some(controller) = &mut self.controller {
                    controller.handle(now.ns, &arrival);
                }
            }
            Event::Arrival(Peer(client @ 1000..), arrival) => {
                self.clients[client as usize - 1000].handle(now, &arrival);
            }
            Event::Arrival(Peer(node), arrival) => {
                let Node { disk, rebalancer, replica, is_up, .. } = &mut self.nodes[node as usize];
                if !*is_up {
                    return;
                }
                match arrival {
                    Arrival::Unreachable { peer } => rebalancer.unreachable(now.ns, peer, replica, disk),
                    Arrival::Message { from, bytes } => match Response::decode(&bytes) {
                        Ok((id, response)) => {
                            rebalancer.handle_answer(now.ns, from, id, response, replica, disk);
                        }
                        Err(_) => rebalancer.handle(now.ns, from, &bytes, replica, disk),
                    },
                }
            }
        }
    }

    /// So many operations, the rebalance begun after a quarter of them; then fair weather until everything has ended.
    fn run(&mut self, operations: u64) {
        let weather = self.setting.weather;
        while self.token < operations {
            if self.clients.iter().map(Coordinator::in_flight).sum::<usize>() < 6
                && self.rng.random_range(0..2) == 0
            {
                self.start();
            }
            if self.token >= operations / 4 && self.controller.is_none() {
                self.start_controller();
            }
            self.trouble();
            self.step();
        }
        self.setting.weather = CALM;
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_up {
                self.restart(u16::try_from(node).expect("few"));
            }
        }
        self.restart_at_ms = None;
        let until_ms = self.now_ms + 60_000;
        let busy = |world: &Self| {
            !world.is_finished()
                || !world.events.is_empty()
                || world.clients.iter().any(|client| client.in_flight() > 0)
                || world.nodes.iter().any(|node| node.rebalancer.progress().is_repairing)
        };
        while busy(self) {
            assert!(self.now_ms < until_ms, "seed {:?} never ends: {:?}", self.seed, self.controller);
            self.step();
        }
        self.setting.weather = weather;
    }

    /// What is wrong with where everything lies in the end.
    fn misplaced(&self) -> Vec<String> {
        let (n, r, _) = self.setting.replicas;
        let target = &self.plan.batches.last().expect("something moves").target;
        let routing = Routing::new(Arc::clone(target), RoutingStrategy::Consistent, n);
        let mut wrong = Vec::new();
        for (node, id) in self.nodes.iter().zip(0..) {
            let progress = node.rebalancer.progress();
            if progress.is_rebalancing || **node.replica.routing().ring() != **target {
                wrong.push(format!("node {id} doesn't go by the final ring: {progress:?}"));
            }
            node.disk.store.for_each(|key, _| {
                if !routing.replicas(key).contains(&NodeId(id)) {
                    wrong.push(format!("node {id} has key {key:?}, which isn't its own"));
                }
            });
        }
        for (register, number) in self.registers.iter().zip(0..) {
            let least = register.acknowledged;
            let has_it = |node: &&NodeId| {
                let versions =
                    self.nodes[usize::from(node.0)].disk.store.get(&key(number)).expect("in memory");
                let found = versions.iter().map(number_of).max().unwrap_or(0);
                // A tombstone has no number of its own: then only that something is there can be asked.
                let is_deleted = register.deletes.contains(&least);
                if is_deleted { !versions.is_empty() } else { found >= least }
            };
            let count = routing.replicas(&key(number)).iter().filter(has_it).count();
            if least > 0 && register.deletes.is_empty() && count < usize::from(n - r + 1) {
                wrong.push(format!("key {number}: {least} was acknowledged, and {count} of {n} have it"));
            }
        }
        wrong
    }
}

fn number_of(version: &Versioned) -> u64 {
    version.value.get(..8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

fn seeds() -> std::ops::Range<u64> {
    let many = std::env::var("KV_CLUSTER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    0..many
}

fn run(seed: u64, setting: Setting) -> World {
    let mut world = World::new(seed, setting);
    world.run(250);
    world
}

fn check(settings: impl IntoIterator<Item = Setting>) {
    let (mut failed, mut rolled_back) = (0, 0);
    for setting in settings {
        for seed in seeds() {
            let world = run(seed, setting);
            assert_eq!(world.wrong, [""; 0], "seed {seed}, {setting:?}");
            assert_eq!(world.misplaced(), [""; 0], "seed {seed}, {setting:?}");
            failed += world.failed;
            rolled_back += world.rolled_back;
        }
    }
    assert!(failed > 0 && rolled_back > 0, "the weather was too good to show anything");
}

#[test]
fn a_node_joins_and_nothing_acknowledged_is_lost() {
    check(
        [(3, 2, 2), (3, 1, 3), (3, 3, 1), (2, 2, 1), (2, 1, 2)].map(|replicas| Setting { replicas, ..GROW }),
    );
}

#[test]
fn a_node_leaves_and_nothing_acknowledged_is_lost() {
    check([(3, 2, 2), (2, 2, 1)].map(|replicas| Setting { replicas, ..LEAVE }));
}

/// A controller's order to finish came to a node while the next controller went back. That node had forgotten the ring before,
/// the others had stopped, and nobody could go on or back.
#[test]
fn orders_of_a_controller_that_died_bring_no_other_one_into_a_dead_end() {
    let settings = [GROW, LEAVE, Setting { nodes: (3, 5), tombstones: true, ..GROW }];
    for weather in [FICKLE, SLOW] {
        check(settings.map(|setting| Setting { weather, ..setting }));
    }
}

/// Seeds that have found something.
///
/// 123: a client went by a ring from before two moves. It asked a node that had left the key and was taking it again, and that
/// one's donor: one copy counted as two, and a write that only the third node had acknowledged wasn't found.
///
/// 549: a donor got a late order to finish from a controller before the one that was going back, forgot the ring before, and
/// refused to go back ever after.
///
/// 10,239: a controller went on where one had been that wanted to go back. A node answered it and crashed, and with that forgot
/// that the earlier one's orders count no more: it went back alone.
const FAILED_ONCE: &[(u64, Setting)] = &[
    (123, LEAVE),
    (549, Setting { weather: FICKLE, ..GROW }),
    (10_239, Setting { weather: FICKLE, ..GROW }),
];

#[test]
fn every_seed_that_ever_failed_holds() {
    for (seed, setting) in FAILED_ONCE {
        let world = run(*seed, *setting);
        assert_eq!(
            (world.wrong.len(), world.misplaced()),
            (0, vec![]),
            "seed {seed}, {setting:?}: {:?}",
            world.wrong
        );
    }
}

#[test]
fn two_nodes_join_and_deletes_stay_deleted() {
    let grow = Setting { nodes: (3, 5), tombstones: true, ..GROW };
    check([(3, 2, 2), (2, 1, 2)].map(|replicas| Setting { replicas, ..grow }));
}

#[test]
fn in_calm_weather_every_operation_succeeds() {
    for seed in seeds() {
        let world = run(seed, Setting { weather: CALM, ..GROW });
        assert_eq!((world.failed, world.wrong.len()), (0, 0), "seed {seed}");
        assert_eq!(world.misplaced(), [""; 0], "seed {seed}");
    }
}

/// One crash of each node at each event of a run; the node returns, and everything goes on.
#[test]
fn a_crash_at_any_step_is_gone_on_from() {
    let setting = Setting { weather: CALM, ..GROW };
    let mut calm = World::new(1, setting);
    calm.run(40);
    let steps = if std::env::var("KV_CLUSTER_SEEDS").is_ok() { 1 } else { 5 };
    for at in (1..calm.come).step_by(steps) {
        for node in 0..4 {
            let mut world = World::new(1, setting);
            world.crash_at = Some((at, node));
            world.run(40);
            assert_eq!(world.wrong, [""; 0], "node {node} crashed at event {at}");
            assert_eq!(world.misplaced(), [""; 0], "node {node} crashed at event {at}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    assert_eq!(run(7, GROW).trace, run(7, GROW).trace);
    assert_ne!(run(7, GROW).trace, run(8, GROW).trace);
}

/// Voldemort's donor has the stealer's place, and may stay a replica: then a write that the leaving node and a third one have
/// acknowledged isn't found by a read of the donor and the stealer.
#[test]
fn donors_by_place_lose_sight_of_acknowledged_writes() {
    let setting = Setting { donors: DonorRule::SamePlace, ..GROW };
    let wrong: usize = seeds()
        .map(|seed| {
            let world = run(seed, setting);
            world.wrong.len() + world.misplaced().len()
        })
        .sum();
    assert!(wrong > 0, "the judge sees nothing where there must be something");
}

/// Mistakes put in on purpose. `-- --nocapture` prints lines of the table in `docs/crash.md`.
#[cfg(feature = "planted-bugs")]
mod planted {
    use kv_engine::ClusterBug;

    use super::*;

    /// Over so many seeds it is counted how many find the bug.
    const COUNTED: u64 = 60;

    #[expect(clippy::print_stderr, reason = "the table is worth reading")]
    fn found(bug: ClusterBug, setting: Setting, seeds_max: u64) {
        let setting = Setting { bug: Some(bug), ..setting };
        let finds = |seed: &u64| {
            let world = run(*seed, setting);
            !world.wrong.is_empty() || !world.misplaced().is_empty()
        };
        let seed = (0..seeds_max).find(finds);
        let seed = seed.unwrap_or_else(|| panic!("{bug:?} isn't noticed in {seeds_max} seeds"));
        let finders = (0..COUNTED).filter(finds).count();
        eprintln!("| `{bug:?}` | rebalance_model | {} | {finders} |", seed + 1);
    }

    #[test]
    fn a_range_that_is_forgotten_is_noticed() {
        found(ClusterBug::RebalanceForgetsRange, GROW, 20);
    }
}
