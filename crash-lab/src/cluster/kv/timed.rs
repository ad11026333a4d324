//! [`timed_kv`]: a cluster of the store with time.

use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{HardwareProfile, Quantity};
use engine_env::{Arrival, Durability, Peer};
use kv_engine::{
    ClientConfig, Coordinator, KvAnswer, KvConfig, NodeConfig, Now, Replication, Ring, SealedReads,
};

use super::node::{KvCluster, KvProcess};
use crate::cluster::timed::{Asker, Ended, Figures, Load, TimedWorld, What, run};
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
    let TimedKv { nodes, replication, durability, node_gib, seed } = *cluster;
    let ring = Arc::new(Ring::even(nodes, 64 * u32::from(nodes)).map_err(|e| told(&e))?);
    let storage = KvConfig {
        durability,
        segment_bytes: SEGMENT_BYTES,
        sealed_reads: SealedReads::Called,
        ..KvConfig::default()
    };
    let config = KvCluster {
        ring: Arc::clone(&ring),
        node: NodeConfig::new(storage, replication.n()),
        keeps_hints: false,
        rotten: None,
    };
    let client = || KvAsker(Coordinator::new(Arc::clone(&ring), ClientConfig::new(replication)));
    let clients = std::iter::repeat_with(client).take(CLIENTS).collect();
    let bytes: usize = load.preload.iter().map(|(key, value)| key.len() + value.len()).sum();
    let node_bytes = bytes as f64 * f64::from(replication.n()) / f64::from(nodes);
    let cached = profile.value(Quantity::PageCache) / node_gib;
    let pages = (node_bytes * cached / PAGE_BYTES).ceil().max(1.0) as usize;
    let mut world = TimedWorld::<KvProcess, _>::new(profile, seed, nodes, &config, pages, clients)?;
    run(&mut world, load)
}

/// A client of the store.
struct KvAsker(Coordinator);

fn now(ns: u64) -> Now {
    let ms = i64::try_from(ns / 1_000_000).expect("the world is young");
    Now { ns, wall_ms: EPOCH_MS + ms }
}

impl Asker for KvAsker {
    const IS_FOLLOWED: bool = false;

    fn begin(&mut self, now_ns: u64, token: u64, key: &[u8], what: &What) {
        match what {
            What::Read => self.0.get(now(now_ns), token, key),
            What::Write(value) => self.0.write(now(now_ns), token, key, value),
            What::Delete => self.0.delete(now(now_ns), token, key),
        }
    }

    fn handle(&mut self, now_ns: u64, arrival: Arrival) {
        self.0.handle(now(now_ns), &arrival);
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        self.0.poll_timeout()
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.0.handle_timeout(now(now_ns));
    }

    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.0.poll_output()
    }

    fn poll_ended(&mut self) -> Option<Ended> {
        let outcome = self.0.poll_outcome()?;
        let result = match outcome.result {
            // By time: at most one.
            Ok(KvAnswer::Values(values)) => Ok(values.into_iter().next().map(|version| version.value)),
            Ok(_) => Ok(None),
            Err(error) => Err(told(&error)),
        };
        Some((outcome.token, result))
    }

    fn poll_seen(&mut self) -> Option<u64> {
        None
    }
}
