//! Three nodes with their threads and folders, over real networks: one is killed while clients work, and returns.
//! No answer is wrong (R + W > N), and no acknowledged write is lost.

#![expect(clippy::disallowed_methods, reason = "these tests are about threads: they give up after a time")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_env::{Backend, Delay, Durability, LocalNet, Net, OsHome, Peer, TcpNet, Wait};
use kv_engine::{
    AntiEntropyConfig, ClientConfig, DetectorConfig, FollowConfig, Followed, HandoffStrategy, KvAnswer,
    KvClient, KvConfig, KvFollower, KvNode, KvOpError, KvOutcome, NodeChange, NodeConfig, NodeId, NodeStats,
    Replication, Ring, StartError,
};

const NODES: u16 = 3;
/// Longer than anything here takes, so that a lost answer fails a test instead of hanging it.
const LIMIT: Duration = Duration::from_secs(60);

struct Cluster<N> {
    net: N,
    ring: Arc<Ring>,
    folders: Vec<tempfile::TempDir>,
    /// Where hints are kept; empty: nobody keeps any.
    hints: Vec<tempfile::TempDir>,
    nodes: Vec<Option<KvNode>>,
    durability: Durability,
    /// Of nodes that are opened from now on.
    anti_entropy: Option<AntiEntropyConfig>,
}

impl<N: Net> Cluster<N> {
    fn start(net: N, durability: Durability) -> Self {
        Self::start_with(net, durability, Vec::new())
    }

    fn start_with_hints(net: N, durability: Durability) -> Self {
        let hints = (0..NODES).map(|_| tempfile::tempdir().expect("a temporary folder")).collect();
        Self::start_with(net, durability, hints)
    }

    fn start_with(net: N, durability: Durability, hints: Vec<tempfile::TempDir>) -> Self {
        let ring = Arc::new(Ring::even(NODES, 12).expect("a ring"));
        let folders = (0..NODES).map(|_| tempfile::tempdir().expect("a temporary folder")).collect();
        let nodes = Vec::new();
        let mut cluster = Self { net, ring, folders, hints, nodes, durability, anti_entropy: None };
        for node in 0..NODES {
            let started = cluster.open(node);
            cluster.nodes.push(Some(started));
        }
        cluster
    }

    fn open(&self, node: u16) -> KvNode {
        let home =
            OsHome::open(self.folders[usize::from(node)].path(), Backend::Auto).expect("a free folder");
        let storage = KvConfig { durability: self.durability, segment_bytes: 1 << 20, ..KvConfig::default() };
        let anti_entropy = self.anti_entropy;
        let config = NodeConfig { push_every_ms: 20, anti_entropy, ..NodeConfig::new(storage, NODES) };
        let ring = Arc::clone(&self.ring);
        let Some(hints) = self.hints.get(usize::from(node)) else {
            return KvNode::start(home, &self.net, NodeId(node), ring, config).expect("it starts");
        };
        let hints = OsHome::open(hints.path(), Backend::Auto).expect("a free folder");
        KvNode::start_with_hints(home, hints, &self.net, NodeId(node), ring, config).expect("it starts")
    }

    fn kill(&mut self, node: u16) {
        self.nodes[usize::from(node)].take().expect("it runs").kill();
    }

    fn restart(&mut self, node: u16) {
        self.nodes[usize::from(node)] = Some(self.open(node));
    }

    fn stats(&self) -> impl Iterator<Item = NodeStats> {
        self.nodes.iter().flatten().map(KvNode::stats)
    }

    fn client(&self, name: u32, (r, w): (u16, u16)) -> KvClient<N::Port> {
        self.client_with(name, (r, w), None)
    }

    fn client_with(
        &self,
        name: u32,
        (r, w): (u16, u16),
        hinted_handoff: Option<HandoffStrategy>,
    ) -> KvClient<N::Port> {
        let mut config = ClientConfig::new(Replication::new(NODES, r, w).expect("valid"));
        config.hinted_handoff = hinted_handoff;
        config.detector = DetectorConfig { probe_every_ms: 20, ..DetectorConfig::default() };
        let port = self.net.join(Peer(1000 + name)).expect("the name is free");
        KvClient::new(port, Arc::clone(&self.ring), config)
    }
}

/// The outcomes of all that is in flight.
fn finish<P: engine_env::Port>(client: &mut KvClient<P>) -> Vec<KvOutcome> {
    let begun = Instant::now();
    let mut outcomes = Vec::new();
    while client.in_flight() > 0 {
        client.poll(Wait::AtMost(LIMIT), &mut outcomes);
        assert!(begun.elapsed() < LIMIT, "{} operations never end", client.in_flight());
    }
    outcomes.sort_by_key(|outcome| outcome.token);
    outcomes
}

fn read(outcome: &KvOutcome) -> u64 {
    let Ok(KvAnswer::Values(values)) = &outcome.result else { panic!("{outcome:?}") };
    values.first().map_or(0, |version| u64::from_le_bytes(version.value[..8].try_into().expect("a number")))
}

const KEYS: u64 = 40;

fn key(key: u64) -> [u8; 8] {
    key.to_le_bytes()
}

fn value(number: u64) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(300, b'.');
    value
}

/// Rounds of a write and a read of every key, all at once; node 1 dies after a third of them and returns after two.
fn a_node_dies_and_returns<N: Net>(net: N, durability: Durability) {
    const ROUNDS: u64 = 60;
    let mut cluster = Cluster::start(net, durability);
    let mut client = cluster.client(0, (2, 2));
    let mut reader = cluster.client(1, (2, 2));
    let mut acknowledged = [0; KEYS as usize];
    let (mut failed, mut two_copies) = (0, 0);
    for round in 1..=ROUNDS {
        for i in 0..KEYS {
            reader.get(i, &key(i));
            client.write(i, &key(i), &value(round));
        }
        let before = acknowledged;
        let mut outcomes = Vec::new();
        match round {
            20 => {
                // Some are under way.
                client.poll(Wait::No, &mut outcomes);
                cluster.kill(1);
            }
            40 => cluster.restart(1),
            _ => {}
        }
        outcomes.append(&mut finish(&mut client));
        for outcome in outcomes {
            match &outcome.result {
                Ok(KvAnswer::Written(_)) => {
                    assert!(outcome.copies >= 2, "W replicas at least");
                    two_copies += u64::from(outcome.copies == 2);
                    acknowledged[outcome.token as usize] = round;
                }
                Ok(other) => panic!("a write gave {other:?}"),
                Err(KvOpError::InsufficientOperationalNodes { .. }) => failed += 1,
                Err(other) => panic!("a write failed: {other}"),
            }
        }
        for outcome in finish(&mut reader) {
            let found = read(&outcome);
            let at_least = before[outcome.token as usize];
            assert!(
                (at_least..=round).contains(&found),
                "{found} in round {round}, {at_least} was acknowledged"
            );
        }
    }
    assert_eq!(failed, 0, "two of three are enough");
    assert!(two_copies > 0);
    let begun = Instant::now();
    while client.down().count() > 0 {
        assert!(begun.elapsed() < LIMIT, "nobody probes node 1");
        client.poll(Wait::AtMost(Duration::from_millis(20)), &mut Vec::new());
    }
    // All came back: every pair of replicas has the last value, whatever node 1 missed.
    for i in 0..KEYS {
        client.get(i, &key(i));
    }
    for outcome in finish(&mut client) {
        assert_eq!(read(&outcome), ROUNDS);
    }
    for node in cluster.nodes.iter_mut().map(|node| node.take().expect("it runs")) {
        let stats = node.stats();
        assert!(stats.replica.puts > 0 && stats.port.messages > 0 && stats.store.keys == KEYS, "{stats:?}");
        assert_eq!(stats.replica.garbled, 0);
        node.stop().expect("it closes");
    }
    // What is acknowledged is on the disks: the cluster starts anew and knows it.
    drop((client, reader));
    (0..NODES).for_each(|node| cluster.restart(node));
    let mut client = cluster.client(2, (2, 2));
    (0..KEYS).for_each(|i| client.get(i, &key(i)));
    assert!(finish(&mut client).iter().all(|outcome| read(outcome) == ROUNDS));
}

#[test]
fn over_queues_in_memory_a_node_dies_and_returns() {
    for durability in [Durability::Os, Durability::Synced] {
        a_node_dies_and_returns(LocalNet::default(), durability);
    }
}

#[test]
fn over_tcp_a_node_dies_and_returns() {
    for durability in [Durability::Os, Durability::Synced] {
        a_node_dies_and_returns(tcp(), durability);
    }
}

/// Writes that node 1 misses are kept by the others, outlive these, and are delivered when it is back: then it alone
/// knows all of them, though nobody has read anything that would repair it.
fn what_a_node_missed_is_delivered<N: Net>(net: N, durability: Durability) {
    let mut cluster = Cluster::start_with_hints(net, durability);
    // With W 3 nothing of the first round is under way when node 1 dies: it needs no hints.
    let mut all = cluster.client(2, (1, 3));
    (0..KEYS).for_each(|i| all.write(i, &key(i), &value(1)));
    assert!(finish(&mut all).iter().all(|outcome| outcome.result.is_ok()));
    let mut client = cluster.client_with(0, (2, 2), Some(HandoffStrategy::Consistent));
    cluster.kill(1);
    (0..KEYS).for_each(|i| client.write(i, &key(i), &value(2)));
    assert!(finish(&mut client).iter().all(|outcome| outcome.result.is_ok()));
    let begun = Instant::now();
    while client.stats().hints_kept < KEYS {
        assert!(begun.elapsed() < LIMIT, "{:?}", client.stats());
        client.poll(Wait::AtMost(Duration::from_millis(5)), &mut Vec::new());
    }
    assert_eq!(client.stats().hints_lost, 0);
    assert_eq!(cluster.stats().map(|stats| stats.hints).sum::<u64>(), KEYS);
    for node in [0, 2] {
        cluster.kill(node);
        cluster.restart(node);
    }
    assert_eq!(cluster.stats().map(|stats| stats.hints).sum::<u64>(), KEYS, "hints outlive their keepers");
    cluster.restart(1);
    while cluster.stats().any(|stats| stats.hints > 0) {
        assert!(begun.elapsed() < LIMIT, "{:?}", cluster.stats().collect::<Vec<_>>());
        std::thread::yield_now();
    }
    // One may be delivered twice, before its removal is durable: that changes nothing.
    assert!(cluster.stats().map(|stats| stats.hints_delivered).sum::<u64>() >= KEYS);
    for node in [0, 2] {
        cluster.kill(node);
    }
    let mut alone = cluster.client(1, (1, 1));
    (0..KEYS).for_each(|i| alone.get(i, &key(i)));
    assert!(finish(&mut alone).iter().all(|outcome| read(outcome) == 2));
}

#[test]
fn hints_are_delivered_in_memory_and_over_tcp() {
    for durability in [Durability::Os, Durability::Synced] {
        what_a_node_missed_is_delivered(LocalNet::default(), durability);
        what_a_node_missed_is_delivered(tcp(), durability);
    }
}

/// A node's disk is lost. Nobody reads, so nothing is repaired by reads; the others give it everything back.
fn a_lost_disk_is_filled_again<N: Net>(net: N, durability: Durability) {
    let mut cluster = Cluster::start(net, durability);
    let mut client = cluster.client(0, (1, 3));
    (0..KEYS).for_each(|i| client.write(i, &key(i), &value(i)));
    assert!(finish(&mut client).iter().all(|outcome| outcome.result.is_ok()));
    (0..NODES).for_each(|node| cluster.kill(node));
    cluster.folders[1] = tempfile::tempdir().expect("a temporary folder");
    cluster.anti_entropy = Some(AntiEntropyConfig::new(10));
    (0..NODES).for_each(|node| cluster.restart(node));
    let begun = Instant::now();
    let of_node_1 = |cluster: &Cluster<N>| cluster.nodes[1].as_ref().expect("it runs").stats();
    while of_node_1(&cluster).store.keys < KEYS {
        assert!(begun.elapsed() < LIMIT, "{:?}", of_node_1(&cluster));
        std::thread::sleep(Duration::from_millis(2));
    }
    // From now on there is nothing to be found.
    let before = of_node_1(&cluster).anti_entropy;
    while of_node_1(&cluster).anti_entropy.equal < before.equal + 2 {
        assert!(begun.elapsed() < LIMIT, "{:?}", of_node_1(&cluster));
        std::thread::sleep(Duration::from_millis(2));
    }
    for node in [0, 2] {
        cluster.kill(node);
    }
    let mut alone = cluster.client(1, (1, 1));
    (0..KEYS).for_each(|i| alone.get(i, &key(i)));
    let found: Vec<_> = finish(&mut alone).iter().map(read).collect();
    assert_eq!(found, (0..KEYS).collect::<Vec<_>>());
}

#[test]
fn a_lost_disk_is_filled_again_in_memory_and_over_tcp() {
    for durability in [Durability::Os, Durability::Synced] {
        a_lost_disk_is_filled_again(LocalNet::default(), durability);
        a_lost_disk_is_filled_again(tcp(), durability);
    }
}

/// Each node tells what it took, so every acknowledged write comes from two nodes at least, those of a key in their order,
/// also where a node died and returned: its follower goes on where it was.
fn a_follower_is_told_of_every_write<N: Net>(net: N, durability: Durability) {
    const ROUNDS: u64 = 30;
    let mut cluster = Cluster::start(net, durability);
    let mut client = cluster.client(0, (2, 2));
    let port = cluster.net.join(Peer(2000)).expect("the name is free");
    let mut follower = KvFollower::new(port, &cluster.ring, FollowConfig::default());
    let mut told: BTreeMap<(Vec<u8>, u64), BTreeSet<NodeId>> = BTreeMap::new();
    let mut latest: BTreeMap<(NodeId, Vec<u8>), u64> = BTreeMap::new();
    let mut follow = |wait| {
        let mut changes = Vec::new();
        follower.poll(wait, &mut changes);
        for Followed { node, change } in changes {
            let Ok(NodeChange::Put { key, version }) = change else { panic!("{node}: {change:?}") };
            let round = u64::from_le_bytes(version.value[..8].try_into().expect("a number"));
            let before = latest.insert((node, key.clone()), round).unwrap_or(0);
            assert!(before < round, "{node} told {round} after {before}");
            told.entry((key, round)).or_default().insert(node);
        }
        told.values().filter(|nodes| nodes.len() >= 2).count() as u64
    };
    for round in 1..=ROUNDS {
        match round {
            10 => cluster.kill(1),
            20 => cluster.restart(1),
            _ => {}
        }
        (0..KEYS).for_each(|i| client.write(i, &key(i), &value(round)));
        assert!(finish(&mut client).iter().all(|outcome| outcome.result.is_ok()), "two of three are enough");
        follow(Wait::No);
    }
    let begun = Instant::now();
    while follow(Wait::AtMost(Duration::from_millis(20))) < KEYS * ROUNDS {
        assert!(begun.elapsed() < LIMIT, "not every write was told by two nodes");
    }
    // Its node is asked again and again while it is away; the others' answers don't wait for it.
    cluster.kill(2);
    // A client that never saw node 1 away: the other one may hold it for down until it asks it again.
    let mut client = cluster.client(1, (2, 2));
    client.write(0, &key(0), &value(ROUNDS + 1));
    let written = finish(&mut client);
    assert!(written[0].result.is_ok(), "{:?}", written[0].result);
    while follow(Wait::AtMost(Duration::from_millis(20))) < KEYS * ROUNDS + 1 {
        assert!(begun.elapsed() < LIMIT, "the last write was not told by two nodes");
    }
}

#[test]
fn followers_are_told_of_every_write_in_memory_and_over_tcp() {
    for durability in [Durability::Os, Durability::Synced] {
        a_follower_is_told_of_every_write(LocalNet::default(), durability);
        a_follower_is_told_of_every_write(tcp(), durability);
    }
}

fn tcp() -> TcpNet {
    let nodes: Vec<_> = (0..NODES).map(|node| Peer(node.into())).collect();
    TcpNet::loopback(&nodes, Delay::default()).expect("free ports")
}

#[test]
fn without_a_quorum_operations_fail_and_say_why() {
    let mut cluster = Cluster::start(LocalNet::default(), Durability::Os);
    let mut client = cluster.client(0, (2, 2));
    client.write(1, b"k", b"v");
    assert!(finish(&mut client)[0].result.is_ok());
    cluster.kill(0);
    cluster.kill(2);
    client.write(1, b"k", b"w");
    client.get(2, b"k");
    for outcome in finish(&mut client) {
        let error = outcome.result.expect_err("one of three is too few").to_string();
        assert!(error.contains("2 replicas are needed") && error.contains("unreachable"), "{error}");
    }
    let mut alone = cluster.client(1, (1, 1));
    alone.get(1, b"k");
    let Ok(KvAnswer::Values(values)) = &finish(&mut alone)[0].result else { panic!("R = 1 is enough") };
    assert!(values.len() == 1 && (values[0].value == b"v" || values[0].value == b"w"));
}

#[test]
fn writers_of_one_key_see_each_other() {
    let cluster = Cluster::start(LocalNet::default(), Durability::Os);
    let mut clients: Vec<_> = (0..3).map(|name| cluster.client(name, (2, 2))).collect();
    for round in 0..50u64 {
        for (client, name) in clients.iter_mut().zip(0..) {
            client.write(name, b"race", &value(round * 10 + name));
        }
        for client in &mut clients {
            for outcome in finish(client) {
                match outcome.result {
                    Ok(KvAnswer::Written(_)) | Err(KvOpError::ObsoleteVersion { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    // One that reads all and writes once leaves one version everywhere.
    clients[0].write(7, b"race", &value(777));
    assert!(finish(&mut clients[0])[0].result.is_ok());
    for (client, name) in clients.iter_mut().zip(0..) {
        client.get(name, b"race");
        assert_eq!(read(&finish(client)[0]), 777);
    }
}

#[test]
fn a_node_outside_of_the_ring_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = OsHome::open(folder.path(), Backend::Auto).expect("a free folder");
    let ring = Arc::new(Ring::even(3, 3).expect("a ring"));
    let config = NodeConfig::new(KvConfig::default(), 3);
    let started = KvNode::start(home, &LocalNet::default(), NodeId(3), ring, config);
    assert!(matches!(started, Err(StartError::NotInRing { node: NodeId(3) })));
}
