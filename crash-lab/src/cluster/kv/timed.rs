//! [`timed_kv`]: a cluster of the store with time.

use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{HardwareProfile, Quantity};
use engine_env::{Arrival, Durability, Peer};
use kv_engine::{
    ClientConfig, Coordinator, HandoffStrategy, KvAnswer, KvConfig, NodeConfig, Now, Occurred, Replication,
    Ring, Routing, RoutingStrategy, SealedReads, VectorClock,
};

use super::node::{KvCluster, KvProcess};
use crate::cluster::timed::{Answer, Asker, Ended, Figures, Holds, Load, TimedWorld, What, run};
use crate::simulated::subject::told;

/// Clients, each with as much under way as its load wants.
const CLIENTS: usize = 4;
/// What clocks show when the world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;
/// A full one has 64 MiB; the data is smaller by more.
const SEGMENT_BYTES: u64 = 4 << 20;
const PAGE_BYTES: f64 = 4096.0;

/// A cluster of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedKv {
    /// How many nodes.
    pub nodes: u16,
    /// N, R and W.
    pub replication: Replication,
    /// When a replica acknowledges.
    pub durability: Durability,
    /// How often nodes deliver the hints that they keep for one that was away, in milliseconds; any other node keeps them.
    /// `None`: nobody does.
    pub handoff_ms: Option<u64>,
    /// How many bytes of records a full-size node holds, in GiB. The page cache keeps the same share of the preload as it
    /// would keep of these.
    pub node_gib: f64,
    /// What everything follows from.
    pub seed: Seed,
}

/// Runs a load on a cluster of the store, on machines of that kind.
///
/// # Errors
/// The cluster can't be built, its preload failed, or it gave a wrong answer.
pub fn timed_kv(profile: &HardwareProfile, cluster: &TimedKv, load: &Load) -> Result<Figures, String> {
    let TimedKv { nodes, replication, durability, handoff_ms, node_gib, seed } = *cluster;
    let ring = Arc::new(Ring::even(nodes, 64 * u32::from(nodes)).map_err(|e| told(&e))?);
    let storage = KvConfig {
        durability,
        segment_bytes: SEGMENT_BYTES,
        sealed_reads: SealedReads::Called,
        ..KvConfig::default()
    };
    let node = NodeConfig::new(storage, replication.n());
    let push_every_ms = handoff_ms.unwrap_or(node.push_every_ms);
    let config = KvCluster {
        ring: Arc::clone(&ring),
        node: NodeConfig { push_every_ms, ..node },
        keeps_hints: handoff_ms.is_some(),
        moves: false,
        rotten: None,
    };
    let hinted_handoff = handoff_ms.map(|_| HandoffStrategy::Any);
    let client = || {
        let config = ClientConfig { hinted_handoff, ..ClientConfig::new(replication) };
        let routing = Routing::new(Arc::clone(&ring), RoutingStrategy::Consistent, replication.n());
        KvAsker { coordinator: Coordinator::new(Arc::clone(&ring), config), routing }
    };
    let clients = std::iter::repeat_with(client).take(CLIENTS).collect();
    let bytes: usize = load.preload.iter().map(|(key, value)| key.len() + value.len()).sum();
    let node_bytes = bytes as f64 * f64::from(replication.n()) / f64::from(nodes);
    let cached = profile.value(Quantity::PageCache) / node_gib;
    let pages = (node_bytes * cached / PAGE_BYTES).ceil().max(1.0) as usize;
    let mut world = TimedWorld::<KvProcess, _>::new(profile, seed, nodes, config, pages, clients)?;
    run(&mut world, load)
}

/// A client of the store.
struct KvAsker {
    coordinator: Coordinator,
    routing: Routing,
}

fn now(ns: u64) -> Now {
    let ms = i64::try_from(ns / 1_000_000).expect("the world is young");
    Now { ns, wall_ms: EPOCH_MS + ms }
}

impl Asker for KvAsker {
    const IS_FOLLOWED: bool = false;
    type Receipt = VectorClock;

    fn begin(&mut self, now_ns: u64, token: u64, key: &[u8], what: &What) {
        match what {
            What::Read => self.coordinator.get(now(now_ns), token, key),
            What::Write(value) => self.coordinator.write(now(now_ns), token, key, value),
            What::Delete => self.coordinator.delete(now(now_ns), token, key),
        }
    }

    fn handle(&mut self, now_ns: u64, arrival: Arrival) {
        self.coordinator.handle(now(now_ns), &arrival);
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        self.coordinator.poll_timeout()
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.coordinator.handle_timeout(now(now_ns));
    }

    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.coordinator.poll_output()
    }

    fn poll_ended(&mut self) -> Option<Ended<VectorClock>> {
        let outcome = self.coordinator.poll_outcome()?;
        let result = match outcome.result {
            // By time: at most one.
            Ok(KvAnswer::Values(values)) => {
                Ok(Answer::Found(values.into_iter().next().map(|version| version.value)))
            }
            Ok(KvAnswer::Written(clock)) => Ok(Answer::Done(Some(clock))),
            Ok(_) => Ok(Answer::Done(None)),
            Err(error) => Err(told(&error)),
        };
        Some((outcome.token, result))
    }

    fn poll_seen(&mut self) -> Option<u64> {
        None
    }

    fn replicas(&self, key: &[u8]) -> Vec<u16> {
        self.routing.replicas(key).iter().map(|node| node.0).collect()
    }
}

impl Holds<VectorClock> for KvProcess {
    fn holds(&self, key: &[u8], clock: &VectorClock) -> bool {
        self.store().get_versions(key).iter().any(|held| clock.compare(held) == Occurred::Before)
    }
}
