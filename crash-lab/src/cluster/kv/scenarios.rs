//! The scenarios of the store's clusters.

use std::sync::Arc;

use engine_env::Durability;
use engine_env::rng::{Rng, Seed};
use kv_engine::{
    AntiEntropyConfig, ClientConfig, Coordinator, DetectorConfig, DetectorKind, HandoffStrategy, KvConfig,
    NodeConfig, NodeId, RebalancerConfig, Replication, Resolve, Ring,
};
use rand::RngExt as _;

use super::client::{KvPeer, seen};
use super::mover::{self, Mover};
use super::node::{KvCluster, KvProcess};
use super::party::KvParty;
use super::registers::{Kind, Promise, Registers};
use crate::cluster::trouble::{Disorder, Trouble, Troubles, Weather, draw};
use crate::cluster::world::World;
use crate::simulated::life::Lived;
use crate::simulated::plan::{Plan, StepId};
use crate::simulated::subject::told;
use crate::stress::{Clock, clock_of};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
/// In bad weather a message of a slow machine takes 120 ms at most, and then its disk some.
const LATE_NS: u64 = 250 * MS;
/// Beside the one that looks at everything in the end.
const CLIENTS: usize = 2;
const READER: usize = CLIENTS;
/// Where partitions move.
const MOVER: usize = CLIENTS + 1;
/// One operation in so many steps is the mover's.
const MOVE_ONE_IN: u32 = 8;
/// One operation in so many steps is a trouble.
const TROUBLE_ONE_IN: u32 = 20;
/// A minute is more than every timeout there is.
const SETTLE_NS: u64 = 60 * S;
const LAST_TRIES: usize = 5;
/// After so long every node has compared all it holds with every peer, one that is given up on after half a minute included.
const COMPARED_NS: u64 = 40 * S;
/// How long hints may take: pushes come every 100 ms, and one that was lost is given up after five seconds.
const DELIVERY_NS: u64 = 120 * S;

type KvWorld<'a> = World<'a, KvProcess, KvParty>;

const NETWORK: Troubles = &[
    (Trouble::Split, 4),
    (Trouble::OneWay, 3),
    (Trouble::Slow, 2),
    (Trouble::Pause, 3),
    (Trouble::ClockJump, 2),
];
const POWER: Troubles = &[
    (Trouble::PowerCut, 5),
    (Trouble::PowerCutOfAll, 1),
    (Trouble::Kill, 2),
    (Trouble::FailingDisk, 2),
    (Trouble::Split, 1),
    (Trouble::Pause, 1),
    (Trouble::ClockJump, 1),
];
const MOVES: Troubles = &[
    (Trouble::Split, 2),
    (Trouble::OneWay, 2),
    (Trouble::Pause, 2),
    (Trouble::Kill, 2),
    (Trouble::PowerCut, 3),
    (Trouble::PowerCutOfAll, 1),
    (Trouble::FailingDisk, 2),
    (Trouble::ClockJump, 1),
];
const ALL: Troubles = &[
    (Trouble::Split, 2),
    (Trouble::OneWay, 2),
    (Trouble::Slow, 1),
    (Trouble::Pause, 2),
    (Trouble::Kill, 2),
    (Trouble::PowerCut, 3),
    (Trouble::ClockJump, 1),
];

/// What a cluster is like.
#[derive(Debug, Clone, Copy)]
struct Spec {
    name: &'static str,
    nodes: u16,
    quorums: (u16, u16, u16),
    promise: Promise,
    deletes: Option<Kind>,
    handoff: Option<HandoffStrategy>,
    read_repair: bool,
    /// How often replicas are compared, in milliseconds.
    anti_entropy_ms: Option<u64>,
    /// Whether partitions move meanwhile.
    moves: bool,
    troubles: Troubles,
}

/// What most clusters have: read repair, and nothing that is beyond the original.
const PLAIN: Spec = Spec {
    name: "",
    nodes: 3,
    quorums: (3, 2, 2),
    promise: Promise::Overlapping,
    deletes: None,
    handoff: None,
    read_repair: true,
    anti_entropy_ms: None,
    moves: false,
    troubles: ALL,
};

/// The network breaks in every way there is; quorums overlap. No read is stale, no delete comes back, and in the end
/// nothing is lost and replicas agree.
pub(crate) fn partitions(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster partitions", 0).rng();
    let spec = Spec {
        name: "kv cluster partitions",
        nodes: nodes(&mut rng, 3),
        quorums: overlapping(&mut rng),
        deletes: rng.random_bool(0.5).then_some(Kind::Bury),
        read_repair: rng.random_bool(0.8),
        troubles: NETWORK,
        ..PLAIN
    };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        live(world, seed, plan, spec, 0..STEPS, rng)?;
        ends(world, spec)
    })
}

/// Machines lose power, one, several or all at once, at any step, in recovery too; quorums overlap. The promises are those
/// of [`partitions`].
pub(crate) fn power_cut(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster power cut", 0).rng();
    let spec = Spec {
        name: "kv cluster power cut",
        nodes: nodes(&mut rng, 3),
        quorums: overlapping(&mut rng),
        deletes: rng.random_bool(0.3).then_some(Kind::Bury),
        troubles: POWER,
        ..PLAIN
    };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        world.cut_recoveries();
        live(world, seed, plan, spec, 0..STEPS, rng)?;
        ends(world, spec)
    })
}

/// A disk is lost with everything on it, again and again, one at a time: before the next one every key is read from all
/// replicas, and so repaired. Nothing that W replicas have acknowledged is lost to W - 1 lost disks; and no read is stale
/// where R + W - 1 > N, which is what this asks for. See [`two_of_three_and_a_lost_disk`] for what happens otherwise.
pub(crate) fn disk_lost(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster disk lost", 0).rng();
    let quorums = [(3, 2, 3), (3, 3, 2), (3, 3, 3), (5, 3, 4), (5, 4, 3)][rng.random_range(0..5)];
    let spec = Spec {
        name: "kv cluster disk lost",
        nodes: nodes(&mut rng, quorums.0),
        quorums,
        deletes: rng.random_bool(0.3).then_some(Kind::Bury),
        ..PLAIN
    };
    lives(seed, plan, &mut rng, spec, |world, rng| lose_disks(world, seed, plan, spec, rng))
}

/// [`disk_lost`] with R = W = 2 of N = 3: the quorums overlap, and no longer do once one of the two copies is gone. Until the
/// key is repaired a read may miss what was acknowledged; it is counted, and nothing is lost.
#[cfg(test)]
pub(super) fn two_of_three_and_a_lost_disk(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster two of three", 0).rng();
    let spec = Spec { name: "kv cluster two of three", promise: Promise::Partial, ..PLAIN };
    lives(seed, plan, &mut rng, spec, |world, rng| lose_disks(world, seed, plan, spec, rng))
}

fn lose_disks(
    world: &mut KvWorld<'_>,
    seed: u64,
    plan: &Plan<'_>,
    spec: Spec,
    rng: &mut Rng,
) -> Result<(), String> {
    let rounds = rng.random_range(2..4);
    let steps = STEPS / rounds;
    for round in 0..rounds {
        let (from, lost_at) = (round * steps, round * steps + rng.random_range(0..steps));
        live(world, seed, plan, spec, from..lost_at, rng)?;
        let unlucky = rng.random_range(0..spec.nodes);
        world.loses_disk(usize::from(unlucky));
        world.ledger.forgets(unlucky);
        live(world, seed, plan, spec, lost_at..from + steps, rng)?;
        ends(world, spec)?;
        world.turns(Weather::bad(rng, Disorder::Any));
    }
    Ok(())
}

/// A disk rots, its node reports damage and serves the rest, until its disk is replaced. What rotted is never served, and
/// never spread by repair (R6): every version that is read, or stands on a replica, is one that was written. A rotten disk
/// is a lost one as far as reads are concerned, so those that miss something are counted; in the end nothing is lost.
pub(crate) fn rot(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster rot", 0).rng();
    let spec = Spec { name: "kv cluster rot", nodes: nodes(&mut rng, 3), troubles: NETWORK, ..PLAIN };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        live(world, seed, plan, spec, 0..STEPS / 2, rng)?;
        ends(world, spec)?;
        world.turns(Weather::bad(rng, Disorder::Any));
        let unlucky = rng.random_range(0..spec.nodes);
        world.config.rotten = Some(unlucky);
        world.ledger.forgets(unlucky);
        world.ledger.promises(Promise::Partial);
        world.rots(usize::from(unlucky), |path| path != "FORMAT" && path != "mark", rng)?;
        live(world, seed, plan, spec, STEPS / 2..STEPS, rng)?;
        world.loses_disk(usize::from(unlucky));
        world.config.rotten = None;
        ends(world, spec)
    })
}

/// Hinted handoff without read repair: whatever a replica missed is kept by another node, durably, and delivered. In the end
/// each replica covers everything that was acknowledged, by hints alone.
pub(crate) fn sloppy(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster sloppy", 0).rng();
    let strategies = [HandoffStrategy::Any, HandoffStrategy::Consistent, HandoffStrategy::Proximity];
    let spec = Spec {
        name: "kv cluster sloppy",
        nodes: nodes(&mut rng, 5),
        quorums: [(3, 2, 2), (3, 3, 1), (2, 2, 1)][rng.random_range(0..3)],
        deletes: rng.random_bool(0.3).then_some(Kind::Bury),
        handoff: Some(strategies[rng.random_range(0..3)]),
        read_repair: false,
        ..PLAIN
    };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        live(world, seed, plan, spec, 0..STEPS, rng)?;
        world.calms()?;
        world.settles(SETTLE_NS)?;
        delivers(world)?;
        judge_replicas(world, spec)?;
        ends(world, spec)
    })
}

/// Nodes join and leave the ring while clients read and write, nodes die at any step, and whoever moves the partitions dies,
/// begins anew and goes back. Quorums overlap, and the promises are those of [`partitions`], by the ring that is in force in
/// the end.
pub(crate) fn moves(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster moves", 0).rng();
    let spec = Spec {
        name: "kv cluster moves",
        nodes: rng.random_range(4..=7),
        quorums: [(3, 2, 2), (3, 2, 2), (3, 1, 3), (3, 3, 1), (2, 2, 1), (2, 1, 2)][rng.random_range(0..6)],
        deletes: rng.random_bool(0.3).then_some(Kind::Bury),
        handoff: rng.random_bool(0.3).then_some(HandoffStrategy::Any),
        moves: true,
        troubles: MOVES,
        ..PLAIN
    };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        world.cut_recoveries();
        live(world, seed, plan, spec, 0..STEPS, rng)?;
        ends(world, spec)?;
        // Hints for nodes that their keys have left are given up.
        delivers(world)
    })
}

/// Anti-entropy alone, without read repair and hints: some time after the network has healed all replicas are equal, and have
/// everything that was acknowledged, siblings and tombstones included.
pub(crate) fn anti_entropy(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster anti-entropy", 0).rng();
    let spec = Spec {
        name: "kv cluster anti-entropy",
        // Each compares itself with all others, again and again: many more take too long.
        nodes: rng.random_range(3..=7),
        quorums: overlapping(&mut rng),
        deletes: rng.random_bool(0.3).then_some(Kind::Bury),
        read_repair: false,
        anti_entropy_ms: Some(500),
        ..PLAIN
    };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        live(world, seed, plan, spec, 0..STEPS, rng)?;
        world.calms()?;
        world.settles(SETTLE_NS)?;
        world.pass(COMPARED_NS)?;
        judge_replicas(world, spec)?;
        replicas_agree(world, spec)?;
        ends(world, spec)
    })
}

/// R + W <= N: reads may be stale, and are counted, and so are deletes that come back when they leave nothing behind. Even
/// so nothing is made up, and in the end, with all replicas read, no acknowledged write is lost where nothing is deleted.
pub(crate) fn partial_quorum(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("kv cluster partial quorum", 0).rng();
    let quorums = [(3, 1, 1), (3, 1, 2), (3, 2, 1), (5, 2, 3)][rng.random_range(0..4)];
    let spec = Spec {
        name: "kv cluster partial quorum",
        nodes: nodes(&mut rng, quorums.0),
        quorums,
        promise: Promise::Partial,
        deletes: rng.random_bool(0.3).then_some(Kind::Remove),
        read_repair: rng.random_bool(0.5),
        ..PLAIN
    };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        live(world, seed, plan, spec, 0..STEPS, rng)?;
        ends(world, spec)
    })
}

/// How many steps a schedule has.
const STEPS: u64 = 240;

fn nodes(rng: &mut Rng, at_least: u16) -> u16 {
    match rng.random_range(0..24) {
        0 => rng.random_range(8..=32),
        _ => rng.random_range(at_least..=7),
    }
}

/// N, R and W with R + W > N.
fn overlapping(rng: &mut Rng) -> (u16, u16, u16) {
    [(3, 2, 2), (3, 2, 2), (3, 1, 3), (3, 3, 1), (3, 2, 3)][rng.random_range(0..5)]
}

fn lives(
    seed: u64,
    plan: &Plan<'_>,
    rng: &mut Rng,
    spec: Spec,
    act: impl FnOnce(&mut KvWorld<'_>, &mut Rng) -> Result<(), String>,
) -> Lived {
    let (n, r, w) = spec.quorums;
    let ring = Arc::new(match spec.moves {
        // Some nodes begin without any partition.
        true => mover::ring(spec.nodes, &(0..rng.random_range(n..=spec.nodes)).collect::<Vec<_>>())?,
        false => Ring::even(spec.nodes, 4 * u32::from(spec.nodes)).map_err(|e| told(&e))?,
    });
    let keys = rng.random_range(3..7);
    let replicas = (0..keys).map(|key| match spec.moves {
        // Any node may hold it one day, and count it up.
        true => (0..spec.nodes).collect(),
        false => replicas_by(&ring, key, n).map(|node| node.0).collect(),
    });
    let mut ledger = Registers::new(spec.promise, replicas);
    if spec.moves {
        // A node that left a key and takes it again may not get what it gave to a write that failed.
        (0..spec.nodes).for_each(|node| ledger.forgets(node));
    }
    let mut detector = DetectorConfig { probe_every_ms: 50, bannage_ms: 100, ..DetectorConfig::default() };
    detector.kind =
        [DetectorKind::Threshold, DetectorKind::Bannage, DetectorKind::AsyncRecovery][rng.random_range(0..3)];
    let replication = Replication::new(n, r, w).map_err(|e| told(&e))?;
    let mut config = ClientConfig {
        timeout_ms: 60,
        node_timeout_ms: 20,
        resolve: Resolve::ByClock,
        read_repair: spec.read_repair,
        hinted_handoff: spec.handoff,
        replica_tombstones: spec.deletes == Some(Kind::Bury),
        detector,
        ..ClientConfig::new(replication)
    };
    #[cfg(feature = "planted-bugs")]
    {
        config.planted_bug = plan.setup.cluster_bug;
    }
    let client = |config: &ClientConfig| {
        let coordinator = Coordinator::new(Arc::clone(&ring), config.clone());
        KvParty::Peer(Box::new(KvPeer::new(coordinator, spec.deletes)))
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| client(&config)).collect();
    // The one that looks at everything in the end asks all replicas, and repairs them.
    config.replication = Replication::new(n, n, w).map_err(|e| told(&e))?;
    (config.timeout_ms, config.node_timeout_ms, config.read_repair) = (2_000, 1_000, true);
    clients.push(client(&config));
    if spec.moves {
        let mover = Mover::new(config.store.clone(), n, spec.nodes, Arc::clone(&ring));
        clients.push(KvParty::Mover(Box::new(mover)));
    }
    let storage = KvConfig { durability: Durability::Synced, ..plan.setup.kv.clone() };
    let mut node = NodeConfig {
        push_every_ms: 100,
        rebalancer: RebalancerConfig {
            donor_timeout_ms: 30,
            page_bytes: 400,
            #[cfg(feature = "planted-bugs")]
            planted_bug: plan.setup.cluster_bug,
            ..RebalancerConfig::default()
        },
        anti_entropy: spec.anti_entropy_ms.map(|every_ms| AntiEntropyConfig {
            #[cfg(feature = "planted-bugs")]
            planted_bug: plan.setup.cluster_bug,
            ..AntiEntropyConfig::new(every_ms)
        }),
        ..NodeConfig::new(storage, n)
    };
    #[cfg(feature = "planted-bugs")]
    {
        node.planted_bug = plan.setup.cluster_bug;
    }
    node.store.clone_from(&config.store);
    let (keeps_hints, moves) = (spec.handoff.is_some(), spec.moves);
    let cluster = KvCluster { ring: Arc::clone(&ring), node, keeps_hints, moves, rotten: None };
    let seed = Seed(seed).derive(spec.name, 1);
    let mut world = World::new(plan, seed, spec.nodes, cluster, clients, ledger)?;
    world.note(format_args!("{} nodes, N {n} R {r} W {w}, {:?} deletes", spec.nodes, spec.deletes));
    world.turns(Weather::bad(rng, Disorder::Any));
    act(&mut world, rng)?;
    Ok(summed(world))
}

/// Steps of the schedule: clients begin operations, and troubles come.
fn live(
    world: &mut KvWorld<'_>,
    seed: u64,
    plan: &Plan<'_>,
    spec: Spec,
    steps: std::ops::Range<u64>,
    rng: &mut Rng,
) -> Result<(), String> {
    let pace_ns = rng.random_range(MS..8 * MS);
    for number in steps {
        let mut rng = Seed(seed).derive(spec.name, 2 + number).rng();
        world.pass(rng.random_range(0..pace_ns))?;
        if !plan.takes(StepId { life: 1, number }) {
            continue;
        }
        match rng.random_range(0..TROUBLE_ONE_IN) {
            0 => world.strikes(draw(spec.troubles, &mut rng), &mut rng),
            _ if spec.moves && rng.random_range(0..MOVE_ONE_IN) == 0 => world.begins(MOVER, &mut rng)?,
            _ => world.begins(rng.random_range(0..CLIENTS), &mut rng)?,
        }
    }
    Ok(())
}

/// All is well: every operation ends, every key is read from all replicas, nothing is lost, and the replicas agree.
fn ends(world: &mut KvWorld<'_>, spec: Spec) -> Result<(), String> {
    world.calms()?;
    world.settles(SETTLE_NS)?;
    // A put whose client went on to another master may still be on its way. What arrives behind the last read of its key
    // is repaired by the next one, which won't come here.
    world.pass(LATE_NS)?;
    // The second round finds what the first has repaired.
    for _ in 0..2 {
        read_all(world)?;
    }
    world.pass(100 * MS)?;
    replicas_agree(world, spec)
}

/// Reads every key from all replicas. A connection that broke while nobody used it costs a try.
fn read_all(world: &mut KvWorld<'_>) -> Result<(), String> {
    let mut keys: Vec<_> = (0..world.ledger.keys()).collect();
    for _ in 0..LAST_TRIES {
        for key in keys {
            world.asks(READER, |reader, now_ns, _, _| {
                if let Some(reader) = reader.peer_mut() {
                    reader.read_last(now_ns, key);
                }
            })?;
        }
        world.settles(SETTLE_NS)?;
        keys = world.clients[READER].peer_mut().map(KvPeer::take_unread).unwrap_or_default();
        if keys.is_empty() {
            return Ok(());
        }
    }
    Err(format!("all is well, and keys {keys:?} can't be read from all replicas, again and again"))
}

/// The versions of a key on a node, tombstones included.
fn held(world: &KvWorld<'_>, node: usize, key: usize) -> Result<Vec<Clock>, String> {
    let process = world.machines[node].running().ok_or_else(|| format!("node {node} isn't there"))?;
    let mut clocks: Vec<_> = process.store().get_versions(&KvPeer::key(key)).iter().map(clock_of).collect();
    clocks.sort();
    Ok(clocks)
}

fn replicas_by(ring: &Ring, key: usize, n: u16) -> impl Iterator<Item = NodeId> + use<> {
    ring.preference_list(&KvPeer::key(key), n).into_iter()
}

/// The ring that all nodes go by, when nothing moves.
fn ring_of(world: &KvWorld<'_>) -> Result<Arc<Ring>, String> {
    let mover = world.clients.iter().find_map(KvParty::mover);
    let ring = match mover {
        None => &world.config.ring,
        Some(mover) => mover.current().ok_or("partitions still move")?,
    };
    for (node, machine) in world.machines.iter().enumerate() {
        let process = machine.running().ok_or_else(|| format!("node {node} isn't there"))?;
        if process.ring() != ring {
            return Err(format!("node {node} goes by another ring than the last move's"));
        }
    }
    Ok(Arc::clone(ring))
}

/// Every version on every replica was attempted; after read repair of everything all have the same.
fn replicas_agree(world: &mut KvWorld<'_>, spec: Spec) -> Result<(), String> {
    let ring = ring_of(world)?;
    for key in 0..world.ledger.keys() {
        let mut first: Option<Vec<Clock>> = None;
        for node in replicas_by(&ring, key, spec.quorums.0).map(|node| usize::from(node.0)) {
            let clocks = held(world, node, key)?;
            if spec.deletes.is_none() {
                let process = world.machines[node].running().ok_or("a node isn't there")?;
                let values = process.store().get(&KvPeer::key(key)).map_err(|e| told(&e))?;
                world.ledger.judge_versions(key, &seen(values))?;
            }
            let others = first.get_or_insert_with(|| clocks.clone());
            if *others != clocks {
                return Err(format!(
                    "in the end key {key} is {others:?} on one node and {clocks:?} on node {node}"
                ));
            }
        }
    }
    Ok(())
}

/// Waits until no node keeps a hint.
fn delivers(world: &mut KvWorld<'_>) -> Result<(), String> {
    // The last hints are left when the last rounds are over, whatever was answered.
    world.pass(2 * S)?;
    let until_ns = world.now_ns + DELIVERY_NS;
    loop {
        let kept: u64 = world.machines.iter().filter_map(|m| m.running()).map(KvProcess::hints).sum();
        if kept == 0 {
            return Ok(());
        }
        if world.now_ns > until_ns {
            return Err(format!("all is well for two minutes, and {kept} hints are still kept"));
        }
        world.pass(250 * MS)?;
    }
}

/// Unless a hint found nobody to keep it, every replica has everything.
fn judge_replicas(world: &mut KvWorld<'_>, spec: Spec) -> Result<(), String> {
    if world.clients.iter().filter_map(KvParty::peer).any(|client| client.stats().hints_lost > 0) {
        return Ok(());
    }
    let ring = ring_of(world)?;
    for key in 0..world.ledger.keys() {
        for node in replicas_by(&ring, key, spec.quorums.0).map(|node| usize::from(node.0)) {
            let clocks = held(world, node, key)?;
            world.ledger.judge_replica(key, &clocks).map_err(|why| format!("node {node}: {why}"))?;
        }
    }
    world.ledger.replicas_judged += 1;
    Ok(())
}

fn summed(world: KvWorld<'_>) -> crate::simulated::summary::Summary {
    let stats: Vec<_> = world.clients.iter().filter_map(KvParty::peer).map(KvPeer::stats).collect();
    let (finished, gone_back) = world
        .clients
        .iter()
        .find_map(KvParty::mover)
        .map_or((0, 0), |mover| (mover.finished, mover.gone_back));
    let delivered: u64 =
        world.machines.iter().filter_map(|m| m.running()).map(KvProcess::hints_delivered).sum();
    let (moved, compared) = world
        .machines
        .iter()
        .filter_map(|m| m.running())
        .map(KvProcess::moved_and_compared)
        .fold((0, 0), |(moved, compared), one| (moved + one.0, compared + one.1));
    let ledger = &world.ledger;
    let sum = |count: fn(&kv_engine::CoordinatorStats) -> u64| stats.iter().map(count).sum::<u64>();
    let observed = [
        ("reads refused", ledger.reads_failed),
        ("stale reads", ledger.stale_reads),
        ("deletes undone", ledger.resurrected),
        ("writes overtaken unseen", ledger.overtaken()),
        ("clocks of two nodes", ledger.twins),
        ("clocks given again", ledger.reused_clocks),
        ("answers with siblings", ledger.siblings_seen),
        ("replicas given up on", sum(|s| s.timeouts)),
        ("versions repaired", sum(|s| s.repairs)),
        ("hints kept", sum(|s| s.hints_kept)),
        ("hints lost", sum(|s| s.hints_lost)),
        ("hints delivered", delivered),
        ("replicas judged unread", ledger.replicas_judged),
        ("keys moved", moved),
        ("versions compared away", compared),
        ("moves finished", finished),
        ("moves gone back", gone_back),
    ];
    let (attempted, acknowledged, failures) = (ledger.attempted(), ledger.acknowledged, ledger.failed);
    let mut summary = world.finish();
    summary.attempted = attempted;
    summary.acknowledged = acknowledged;
    summary.failures = failures;
    summary.observe(observed);
    summary
}
