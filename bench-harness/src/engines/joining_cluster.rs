//! [`JoiningCluster`]: nodes of the store, and one more that holds nothing yet and joins them while a client works.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_env::{Net, Peer, TcpNet};
use kv_engine::{
    ClientConfig, ControllerConfig, KvClient, KvConfig, KvNode, NodeConfig, NodeHomes, NodeId, PlanOptions,
    PlannedStore, RebalanceOutcome, RebalancePlan, RebalanceProgress, Replication, Resolve, Ring, Routing,
    RoutingStrategy, carry_out,
};

use super::cluster::{ClusterPlan, DRIVER, Members};
use super::kv_cluster::KvClusterSession;
use crate::engine::{EngineError, Place, Session};

/// Whoever has the nodes carry the plan out.
const CONTROLLER: Peer = Peer(3000);
/// Nodes before one joins.
pub(crate) const NODES: u16 = 3;
const PARTITIONS: u32 = 48;
/// Copies, answers to a read, acknowledgements of a write.
pub(crate) const N_R_W: (u16, u16, u16) = (3, 2, 2);
/// How often the controller asks how far the nodes are.
const POLL_MS: u64 = 20;

/// Three nodes over TCP on this machine, each with its folder and threads, and a fourth one that has been started with the ring
/// of the plan, in which it owns nothing.
pub(crate) struct JoiningCluster {
    /// The client of the cluster; all nodes end with it.
    pub(crate) session: Box<dyn Session>,
    /// To be used once, beside it.
    pub(crate) join: Join,
}

impl JoiningCluster {
    pub(crate) fn open(place: &Place) -> Result<Self, EngineError> {
        let mut place = place.clone();
        place.settings.insert("nodes".to_owned(), (NODES + 1).to_string());
        let cluster = ClusterPlan::of(&place)?;
        let net = TcpNet::loopback(&cluster.peers(), cluster.profile).map_err(EngineError::engine)?;
        let plan = plan()?;
        let storage = KvConfig { durability: place.durability, ..KvConfig::default() };
        let (homes, of_nodes) = (cluster.homes(), net.clone());
        let (current, interim) = (Arc::clone(&plan.current), Arc::clone(&plan.interim));
        let (n, r, w) = N_R_W;
        let start = move |number| {
            let home = |role| homes.open(role, number);
            let homes = NodeHomes { store: home("node")?, hints: None, metadata: Some(home("metadata")?) };
            let ring = if number < NODES { &current } else { &interim };
            let config = NodeConfig::new(storage.clone(), n);
            KvNode::start_in(homes, &of_nodes, NodeId(number), Arc::clone(ring), config)
                .map_err(EngineError::engine)
        };
        // Nobody is away here.
        let nodes = Members::start(&cluster, start, |_, _| true)?;
        let quorums = Replication::new(n, r, w).map_err(EngineError::engine)?;
        let config = ClientConfig { resolve: Resolve::ByClock, ..ClientConfig::new(quorums) };
        let port = net.join(DRIVER).map_err(EngineError::engine)?;
        let client = KvClient::new(port, Arc::clone(&plan.current), config);
        let port = net.join(CONTROLLER).map_err(EngineError::engine)?;
        Ok(Self { session: Box::new(KvClusterSession::new(client, nodes)), join: Join { port, plan } })
    }
}

/// Three nodes with even shares, and the same four: the fourth takes every fourth partition of each.
fn plan() -> Result<RebalancePlan, EngineError> {
    let current = Arc::new(Ring::even(NODES, PARTITIONS).map_err(EngineError::engine)?);
    let nodes = u32::from(NODES);
    let is_taken = |partition: u32| partition / nodes % (nodes + 1) == nodes;
    let owner = |partition| if is_taken(partition) { NodeId(NODES) } else { current.owner(partition) };
    let owned = |node| (0..PARTITIONS).filter(|partition| owner(*partition) == node).collect::<Vec<_>>();
    let target = Ring::new((0..=NODES).map(NodeId).map(|node| (node, owned(node))));
    let target = Arc::new(target.map_err(EngineError::engine)?);
    let routing = Routing::new(Arc::clone(&current), RoutingStrategy::Consistent, N_R_W.0);
    let stores = [PlannedStore { name: "store".to_owned(), routing }];
    RebalancePlan::new(&current, &target, &stores, PlanOptions::default()).map_err(EngineError::engine)
}

/// Has the nodes move what the fourth one is to hold.
pub(crate) struct Join {
    port: <TcpNet as Net>::Port,
    plan: RebalancePlan,
}

/// What was moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// From the first message to the end.
    pub(crate) took: Duration,
    /// Copies of keys.
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
    /// Copies of partitions, of so many.
    pub(crate) partitions: u64,
    pub(crate) partitions_before: u64,
}

impl Join {
    /// Until all is moved, on this thread. `stop` has everything go back.
    ///
    /// # Errors
    /// It didn't come to its end.
    pub(crate) fn carry_out(mut self, stop: &AtomicBool) -> Result<Moved, RebalanceOutcome> {
        let config = ControllerConfig { poll_ms: POLL_MS, ..ControllerConfig::default() };
        let mut progress = RebalanceProgress::default();
        let begun = Instant::now();
        let outcome = carry_out(&mut self.port, &self.plan, config, |controller| {
            progress = controller.progress();
            if stop.load(Ordering::Relaxed) {
                return ControlFlow::Break("stopped".to_owned());
            }
            ControlFlow::Continue(())
        });
        let took = begun.elapsed();
        if outcome != RebalanceOutcome::Finished {
            return Err(outcome);
        }
        Ok(Moved {
            took,
            keys: progress.keys_moved,
            bytes: progress.bytes_moved,
            partitions: self.plan.totals.moved(),
            partitions_before: self.plan.totals.copies_before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_gives_the_new_node_its_share_and_takes_alike_from_each() {
        let plan = plan().expect("a plan");
        let target = &plan.batches.last().expect("something moves").target;
        let owned =
            |node| (0..PARTITIONS).filter(|partition| target.owner(*partition) == NodeId(node)).count();
        assert_eq!([0, 1, 2, 3].map(owned), [12; 4]);
        assert_eq!(plan.totals.copies_before, u64::from(PARTITIONS) * u64::from(N_R_W.0));
    }
}
