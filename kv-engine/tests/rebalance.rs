//! Nodes with their threads and folders, over real networks: one joins while clients work, a stealer is killed in the middle
//! and returns, and one leaves. No answer is wrong (R + W > N), no acknowledged write is lost, and what was moved is
//! where it belongs.

#![expect(clippy::disallowed_methods, reason = "these tests are about threads: they give up after a time")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_env::{Backend, Delay, Durability, LocalNet, Net, OsHome, Peer, Port, TcpNet, Wait};
use kv_engine::{
    AntiEntropyConfig, ClientConfig, ControllerConfig, ControllerPhase, KvAnswer, KvClient, KvConfig, KvNode,
    KvStore, NodeConfig, NodeHomes, NodeId, PlanOptions, PlannedStore, RebalanceOutcome, RebalancePlan,
    RebalancerConfig, Replication, Ring, Routing, RoutingStrategy, Storage, VectorClock, Versioned,
    carry_out,
};

const N: u16 = 2;
const KEYS: u64 = 2000;
const LIMIT: Duration = Duration::from_secs(60);

/// So many nodes, of which the first ones own the partitions.
fn ring(nodes: u16, owners: u16) -> Arc<Ring> {
    let owned = |node: u16| (0..24).filter(|p| p % u32::from(owners) == u32::from(node)).collect();
    Arc::new(Ring::new((0..nodes).map(|node| (NodeId(node), owned(node)))).expect("a ring"))
}

fn plan(current: &Arc<Ring>, target: &Arc<Ring>) -> RebalancePlan {
    let routing = Routing::new(Arc::clone(current), RoutingStrategy::Consistent, N);
    let stores = [PlannedStore { name: "store".to_owned(), routing }];
    RebalancePlan::new(current, target, &stores, PlanOptions::default()).expect("a plan")
}

struct Cluster<N> {
    net: N,
    folder: tempfile::TempDir,
    nodes: Vec<Option<KvNode>>,
    durability: Durability,
    anti_entropy: Option<AntiEntropyConfig>,
}

impl<T: Net> Cluster<T> {
    fn home(&self, what: &str, node: u16) -> OsHome {
        let path = self.folder.path().join(format!("{what}-{node}"));
        OsHome::open(path, Backend::Auto).expect("a free folder")
    }

    fn storage(&self) -> KvConfig {
        KvConfig { durability: self.durability, segment_bytes: 1 << 20, ..KvConfig::default() }
    }

    fn open(&self, node: u16, ring: &Arc<Ring>) -> KvNode {
        let (store, metadata) = (self.home("store", node), self.home("metadata", node));
        let homes = NodeHomes { store, hints: None, metadata: Some(metadata) };
        let rebalancer = RebalancerConfig { page_bytes: 4096, ..RebalancerConfig::default() };
        let anti_entropy = self.anti_entropy;
        let config = NodeConfig { rebalancer, anti_entropy, ..NodeConfig::new(self.storage(), N) };
        KvNode::start_in(homes, &self.net, NodeId(node), Arc::clone(ring), config).expect("it starts")
    }

    fn client(&self, name: u32, ring: &Arc<Ring>) -> KvClient<T::Port> {
        let config = ClientConfig::new(Replication::new(N, 1, 2).expect("valid"));
        KvClient::new(self.net.join(Peer(1000 + name)).expect("a free name"), Arc::clone(ring), config)
    }
}

fn key(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// Writes and reads every key again and again; gives what was acknowledged, and how many operations there were.
fn work<P: Port>(mut client: KvClient<P>, stop: &AtomicBool) -> (Vec<u64>, u64) {
    let mut acknowledged = vec![0; KEYS as usize];
    let (mut round, mut count) = (0u64, 0);
    while !stop.load(Ordering::Relaxed) || round < 2 {
        round += 1;
        let before = acknowledged.clone();
        for number in 0..KEYS {
            client.get(number, &key(number));
            client.write(KEYS + number, &key(number), &[round.to_le_bytes(); 16].concat());
        }
        let begun = Instant::now();
        let mut outcomes = Vec::new();
        while client.in_flight() > 0 {
            client.poll(Wait::AtMost(LIMIT), &mut outcomes);
            assert!(begun.elapsed() < LIMIT, "{} operations never end", client.in_flight());
        }
        for outcome in outcomes {
            count += 1;
            match (outcome.token.checked_sub(KEYS), outcome.result) {
                (Some(number), Ok(KvAnswer::Written(_))) => acknowledged[number as usize] = round,
                (None, Ok(KvAnswer::Values(values))) => {
                    let found = values.first().map_or(0, |version| {
                        u64::from_le_bytes(version.value[..8].try_into().expect("a number"))
                    });
                    let least = before[outcome.token as usize];
                    assert!(
                        found >= least,
                        "{} gave {found}, {least} was acknowledged before",
                        outcome.token
                    );
                }
                // Refused while rings change, or a node was killed.
                (_, Err(_)) => {}
                (_, other) => panic!("{other:?}"),
            }
        }
    }
    (acknowledged, count)
}

/// Has the cluster carry out the plan under load; `meanwhile` is called with what the controller is at.
fn under_load<T: Net>(
    cluster: &mut Cluster<T>,
    name: u32,
    plan: &RebalancePlan,
    mut meanwhile: impl FnMut(&mut Cluster<T>, ControllerPhase),
) {
    let stop = AtomicBool::new(false);
    let client = cluster.client(name, &plan.current);
    let mut port = cluster.net.join(Peer(2000 + name)).expect("a free name");
    let (acknowledged, _) = std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(client, &stop));
        let begun = Instant::now();
        let config = ControllerConfig { poll_ms: 5, delete_moved: true, ..ControllerConfig::default() };
        let outcome = carry_out(&mut port, plan, config, |controller| {
            meanwhile(cluster, controller.phase());
            assert!(begun.elapsed() < LIMIT, "it never ends: {controller:?}");
            ControlFlow::Continue(())
        });
        stop.store(true, Ordering::Relaxed);
        assert_eq!(outcome, RebalanceOutcome::Finished);
        worker.join().expect("no answer is wrong")
    });
    let target = &plan.batches.last().expect("something moves").target;
    let mut client = cluster.client(100 + name, target);
    for number in 0..KEYS {
        client.get(number, &key(number));
    }
    let mut outcomes = Vec::new();
    while client.in_flight() > 0 {
        client.poll(Wait::AtMost(LIMIT), &mut outcomes);
    }
    assert_eq!(outcomes.len() as u64, KEYS);
    for outcome in outcomes {
        let Ok(KvAnswer::Values(values)) = &outcome.result else { panic!("{outcome:?}") };
        let found =
            values.first().map_or(0, |v| u64::from_le_bytes(v.value[..8].try_into().expect("a number")));
        assert!(found >= acknowledged[outcome.token as usize], "key {} is lost: {found}", outcome.token);
    }
}

fn a_node_joins_and_another_one_leaves<T: Net>(net: T, durability: Durability) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cluster = Cluster { net, folder, nodes: Vec::new(), durability, anti_entropy: None };
    let three = ring(3, 3);
    for node in 0..3 {
        let started = cluster.open(node, &three);
        cluster.nodes.push(Some(started));
    }
    let joins = plan(&three, &ring(4, 4));
    let started = cluster.open(3, &joins.interim);
    cluster.nodes.push(Some(started));
    // The joining node is killed while it takes, and goes on where it was.
    let mut was_killed = false;
    under_load(&mut cluster, 0, &joins, |cluster, phase| {
        if phase == ControllerPhase::Moving && !was_killed {
            cluster.nodes[3].take().expect("it runs").kill();
            let returned = cluster.open(3, &joins.interim);
            cluster.nodes[3] = Some(returned);
            was_killed = true;
        }
    });
    assert!(was_killed, "it was over before anybody could look");
    let four = Arc::clone(&joins.batches.last().expect("something moves").target);
    // Node 0 leaves: the others take what it owns.
    let owned = |node: u16| {
        if node == 0 { vec![] } else { (0..24).filter(|p| p % 3 == u32::from(node) - 1).collect() }
    };
    let without = Arc::new(Ring::new((0..4).map(|node| (NodeId(node), owned(node)))).expect("a ring"));
    under_load(&mut cluster, 1, &plan(&four, &without), |_, _| {});
    let begun = Instant::now();
    while cluster.nodes[0].as_ref().expect("it runs").stats().store.keys > 0 {
        assert!(begun.elapsed() < LIMIT, "what has left is never deleted");
        std::thread::sleep(Duration::from_millis(1));
    }
    let taken: u64 = cluster.nodes.iter().flatten().map(|node| node.stats().rebalancer.keys_moved).sum();
    assert!(taken > 0);
    for node in cluster.nodes.into_iter().flatten() {
        node.stop().expect("it closes");
    }
}

#[test]
fn nodes_join_and_leave_in_one_process() {
    a_node_joins_and_another_one_leaves(LocalNet::default(), Durability::Os);
}

#[test]
fn nodes_join_and_leave_with_durable_writes() {
    a_node_joins_and_another_one_leaves(LocalNet::default(), Durability::Synced);
}

#[test]
fn nodes_join_and_leave_over_tcp() {
    let nodes: Vec<_> = (0..4).map(Peer).collect();
    a_node_joins_and_another_one_leaves(
        TcpNet::loopback(&nodes, Delay::default()).expect("free ports"),
        Durability::Os,
    );
}

#[test]
fn whoever_runs_it_can_have_it_go_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (net, durability) = (LocalNet::default(), Durability::Os);
    let mut cluster = Cluster { net, folder, nodes: Vec::new(), durability, anti_entropy: None };
    let three = ring(3, 3);
    let joins = plan(&three, &ring(4, 4));
    for node in 0..4 {
        let started = cluster.open(node, if node < 3 { &three } else { &joins.interim });
        cluster.nodes.push(Some(started));
    }
    let mut port = cluster.net.join(Peer(2000)).expect("a free name");
    let outcome =
        carry_out(&mut port, &joins, ControllerConfig::default(), |controller| match controller.phase() {
            ControllerPhase::Switching | ControllerPhase::Moving => ControlFlow::Break("enough".to_owned()),
            _ => ControlFlow::Continue(()),
        });
    assert_eq!(outcome, RebalanceOutcome::RolledBack { batch: 0, why: "enough".to_owned() });
    let stop = AtomicBool::new(true);
    let (acknowledged, _) = work(cluster.client(0, &three), &stop);
    assert!(acknowledged.iter().all(|round| *round == 2), "everything works by the ring before");
    // And from there the plan can be carried out.
    let outcome = carry_out(&mut port, &joins, ControllerConfig::default(), |_| ControlFlow::Continue(()));
    assert_eq!(outcome, RebalanceOutcome::Finished);
}

/// It can't switch durably, so neither could it go back: the others would, and leave it behind.
#[test]
fn nothing_is_begun_with_a_node_that_keeps_no_metadata() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (net, durability) = (LocalNet::default(), Durability::Os);
    let mut cluster = Cluster { net, folder, nodes: Vec::new(), durability, anti_entropy: None };
    let three = ring(3, 3);
    let joins = plan(&three, &ring(4, 4));
    for node in 0..3 {
        let started = cluster.open(node, &three);
        cluster.nodes.push(Some(started));
    }
    let config = NodeConfig::new(cluster.storage(), 3);
    let bare =
        KvNode::start(cluster.home("store", 3), &cluster.net, NodeId(3), Arc::clone(&joins.interim), config);
    cluster.nodes.push(Some(bare.expect("it starts")));
    let mut port = cluster.net.join(Peer(2000)).expect("a free name");
    let outcome = carry_out(&mut port, &joins, ControllerConfig::default(), |_| ControlFlow::Continue(()));
    let RebalanceOutcome::Refused { why } = outcome else { panic!("{outcome:?}") };
    assert!(why.starts_with("node 3 keeps no metadata"), "{why}");
}

/// A node came back with what it had held at an earlier time. Before it had made room for what it was to take, its anti-entropy
/// gave those leftovers to the other replicas, though they had been deleted there.
#[test]
fn what_is_left_of_an_earlier_time_is_not_compared_while_partitions_move() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (net, durability) = (LocalNet::default(), Durability::Os);
    let anti_entropy = Some(AntiEntropyConfig::new(2));
    let mut cluster = Cluster { net, folder, nodes: Vec::new(), durability, anti_entropy };
    let (left, _) = KvStore::open(cluster.home("store", 3), cluster.storage()).expect("an empty folder");
    for number in 0..200 {
        let clock = VectorClock::from_entries([(3, 1)], 0).expect("in range");
        left.put(&key(number), &Versioned::new(clock, b"deleted since")).expect("fresh");
    }
    left.close().expect("it closes");
    let three = ring(3, 3);
    let joins = plan(&three, &ring(4, 4));
    for node in 0..4 {
        let started = cluster.open(node, if node < 3 { &three } else { &joins.interim });
        cluster.nodes.push(Some(started));
    }
    let mut port = cluster.net.join(Peer(2000)).expect("a free name");
    let config =
        ControllerConfig { poll_ms: 5, answer_ms: 20, delete_moved: true, ..ControllerConfig::default() };
    let stats = |cluster: &Cluster<LocalNet>, node: usize| {
        cluster.nodes[node].as_ref().map(KvNode::stats).expect("it runs")
    };
    let (mut since, begun, mut was_killed) = (None, Instant::now(), false);
    let outcome = carry_out(&mut port, &joins, config, |controller| {
        assert!(begun.elapsed() < LIMIT, "it never ends: {controller:?}");
        let switches = controller.phase() == ControllerPhase::Switching;
        // It is told last. As long as it is away the others wait for what they take from it.
        if switches && !was_killed {
            cluster.nodes[2].take().expect("it runs").kill();
            was_killed = true;
        }
        let waits = switches && controller.waits_for().any(|n| n == NodeId(2));
        if waits && cluster.nodes[2].is_none() {
            let (since, rounds) =
                *since.get_or_insert_with(|| (Instant::now(), stats(&cluster, 3).anti_entropy.rounds));
            if since.elapsed() > Duration::from_millis(300) {
                assert_eq!([0, 1].map(|node| stats(&cluster, node).store.keys), [0, 0], "it came up again");
                assert_eq!(stats(&cluster, 3).anti_entropy.rounds, rounds);
                let returned = cluster.open(2, &three);
                cluster.nodes[2] = Some(returned);
            }
        }
        ControlFlow::Continue(())
    });
    assert_eq!(outcome, RebalanceOutcome::Finished);
    assert!(since.is_some(), "it was over before anybody could look");
    let compared = || (0..4).all(|node| stats(&cluster, node).anti_entropy.comparisons > 0);
    while !compared() {
        assert!(begun.elapsed() < LIMIT, "nobody compares anything any more");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!([0, 1, 2, 3].map(|node| stats(&cluster, node).store.keys), [0; 4]);
}
