//! [`Balance`]: how evenly a ring lays partitions and copies on nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::PlannedStore;
use crate::ring::{NodeId, Ring, ZoneId};

/// What lies on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLoad {
    /// The node.
    pub node: NodeId,
    /// Its zone.
    pub zone: ZoneId,
    /// Partitions that it owns.
    pub primaries: u32,
    /// Partitions that it holds, those of all stores together.
    pub copies: u64,
}

/// What lies on each node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance(Vec<NodeLoad>);

impl Balance {
    pub(super) fn of(ring: &Arc<Ring>, stores: &[PlannedStore]) -> Self {
        let mut primaries: BTreeMap<NodeId, u32> = BTreeMap::new();
        (0..ring.partitions())
            .for_each(|partition| *primaries.entry(ring.owner(partition)).or_default() += 1);
        let mut copies: BTreeMap<NodeId, u64> = BTreeMap::new();
        for store in stores {
            let routing = store.routing.on(Arc::clone(ring));
            for partition in 0..ring.partitions() {
                for node in routing.replicas_of(partition) {
                    *copies.entry(*node).or_default() += 1;
                }
            }
        }
        let load = |node: &NodeId| NodeLoad {
            node: *node,
            zone: ring.zone_of(*node).expect("it is a node of the ring"),
            primaries: primaries.get(node).copied().unwrap_or(0),
            copies: copies.get(node).copied().unwrap_or(0),
        };
        Self(ring.nodes().iter().map(load).collect())
    }

    /// The nodes in ascending order.
    #[must_use]
    pub fn nodes(&self) -> &[NodeLoad] {
        &self.0
    }

    /// What the fullest node holds, as a multiple of the mean: 1 is even. Nodes that hold nothing count too.
    #[must_use]
    pub fn copies_max_to_mean(&self) -> f64 {
        let sum: u64 = self.0.iter().map(|load| load.copies).sum();
        let most = self.0.iter().map(|load| load.copies).max().unwrap_or(0);
        if sum == 0 { 1.0 } else { most as f64 * self.0.len() as f64 / sum as f64 }
    }
}
