//! [`Routing`]: which nodes hold a key. The walk and its variants are Voldemort's.
//!
//! Consistent: from the key's partition clockwise (id + 1, modulo their number), each node once, until there are N of
//! them or the ring has been walked once: a short list is legal. Zone: the same walk, with a quota for each zone; a
//! node whose zone has its share is passed over. All: every node, whatever the key.

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::partition::{NodeId, Ring};
use super::zone::ZoneId;

/// How a store's keys are dealt out to nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RoutingStrategy {
    /// `consistent-routing`: the first N nodes clockwise.
    #[default]
    Consistent,
    /// `zone-routing`: the first nodes clockwise that fill each zone's quota.
    Zone(ZoneQuotas),
    /// `all-routing`: every node holds every key.
    All {
        /// Shuffles the nodes, so that not all clients begin with the same one.
        seed: u64,
    },
    /// `local-pref-all-routing`: like all, but one node is asked first.
    LocalPrefAll {
        /// The node on the client's own machine, if there is one.
        local: Option<NodeId>,
        /// Shuffles the others.
        seed: u64,
    },
}

/// How many replicas of a key each zone has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneQuotas(BTreeMap<ZoneId, u16>);

/// Why quotas don't fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// They are more or fewer than N together.
    #[error("the zones' replicas are {sum} together, but there are {n} replicas; make them equal")]
    Sum {
        /// What they are together.
        sum: u32,
        /// The number of replicas.
        n: u16,
    },
}

impl ZoneQuotas {
    /// Quotas of a store with `n` replicas.
    ///
    /// # Errors
    /// Their sum isn't `n`.
    pub fn new(quotas: impl IntoIterator<Item = (ZoneId, u16)>, n: u16) -> Result<Self, QuotaError> {
        let quotas: BTreeMap<_, _> = quotas.into_iter().collect();
        let sum = quotas.values().map(|quota| u32::from(*quota)).sum();
        if sum != u32::from(n) {
            return Err(QuotaError::Sum { sum, n });
        }
        Ok(Self(quotas))
    }

    /// The zones that hold replicas.
    pub fn zones(&self) -> impl Iterator<Item = ZoneId> {
        self.0.iter().filter(|(_, quota)| **quota > 0).map(|(zone, _)| *zone)
    }

    fn of(&self, zone: ZoneId) -> u16 {
        self.0.get(&zone).copied().unwrap_or(0)
    }
}

/// A replica of a key: which of its partitions makes the node hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicated {
    /// The partition.
    pub partition: u32,
    /// Its owner.
    pub node: NodeId,
}

impl Ring {
    /// The nodes that hold a key by consistent routing, its master first: at most `n`, fewer if fewer own a partition.
    #[must_use]
    pub fn preference_list(&self, key: &[u8], n: u16) -> Vec<NodeId> {
        self.replicas_of(self.master_partition(key), n)
    }

    /// The nodes that hold the keys of a partition by consistent routing.
    pub(crate) fn replicas_of(&self, partition: u32, n: u16) -> Vec<NodeId> {
        let list = self.walk(partition, &RoutingStrategy::Consistent, n);
        list.into_iter().map(|replica| replica.node).collect()
    }

    /// The replicas of the keys of a partition, its owner first (unless its zone has no quota).
    fn walk(&self, partition: u32, strategy: &RoutingStrategy, n: u16) -> Vec<Replicated> {
        let (first, seed) = match strategy {
            RoutingStrategy::Consistent | RoutingStrategy::Zone(_) => {
                return self.walk_clockwise(partition, strategy, n);
            }
            RoutingStrategy::All { seed } => (None, seed),
            RoutingStrategy::LocalPrefAll { local, seed } => (*local, seed),
        };
        let mut nodes = self.nodes().to_vec();
        nodes.sort_by_key(|node| (Some(*node) != first, xxh3_64_with_seed(&node.0.to_le_bytes(), *seed)));
        nodes.into_iter().map(|node| Replicated { partition: 0, node }).collect()
    }

    fn walk_clockwise(&self, partition: u32, strategy: &RoutingStrategy, n: u16) -> Vec<Replicated> {
        let mut list: Vec<Replicated> = Vec::new();
        let mut taken: BTreeMap<ZoneId, u16> = BTreeMap::new();
        for step in 0..self.partitions() {
            if list.len() >= usize::from(n) {
                break;
            }
            let partition = (partition + step) % self.partitions();
            let node = self.owner(partition);
            if list.iter().any(|replica| replica.node == node) {
                continue;
            }
            if let RoutingStrategy::Zone(quotas) = strategy {
                let zone = self.zone_of(node).expect("an owner is a node of the ring");
                let taken = taken.entry(zone).or_default();
                if *taken >= quotas.of(zone) {
                    continue;
                }
                *taken += 1;
            }
            list.push(Replicated { partition, node });
        }
        list
    }
}

/// The preference lists of all partitions for one store: made once, so that an operation computes nothing but a hash.
#[derive(Debug, Clone)]
pub struct Routing {
    lists: Box<[Box<[NodeId]>]>,
    strategy: RoutingStrategy,
    n: u16,
    ring: Arc<Ring>,
}

impl Routing {
    /// The routing of a store with `n` replicas of each key.
    #[must_use]
    pub fn new(ring: Arc<Ring>, strategy: RoutingStrategy, n: u16) -> Self {
        let list = |partition| ring.walk(partition, &strategy, n).iter().map(|r| r.node).collect();
        let lists = match strategy {
            RoutingStrategy::Consistent | RoutingStrategy::Zone(_) => {
                (0..ring.partitions()).map(list).collect()
            }
            RoutingStrategy::All { .. } | RoutingStrategy::LocalPrefAll { .. } => [list(0)].into(),
        };
        Self { lists, strategy, n, ring }
    }

    /// The nodes that hold a key: its preference list.
    #[must_use]
    pub fn replicas(&self, key: &[u8]) -> &[NodeId] {
        self.replicas_of(self.ring.master_partition(key))
    }

    /// The nodes that hold the keys of a master partition: their preference list.
    ///
    /// # Panics
    /// If the ring has no such partition.
    #[must_use]
    pub fn replicas_of(&self, partition: u32) -> &[NodeId] {
        match &*self.lists {
            [only] => only,
            lists => &lists[partition as usize],
        }
    }

    /// The nodes that hold the keys of a partition; `None` if the ring has no such partition.
    pub(crate) fn replicas_in(&self, partition: u32) -> Option<&[NodeId]> {
        let lists = &self.lists;
        match &**lists {
            [only] => (partition < self.ring.partitions()).then_some(only),
            lists => lists.get(partition as usize).map(|list| &**list),
        }
    }

    /// The preference list of a key with the partition that brings each node into it.
    #[must_use]
    pub fn replicated(&self, key: &[u8]) -> Vec<Replicated> {
        self.ring.walk(self.ring.master_partition(key), &self.strategy, self.n)
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// How keys are dealt out.
    #[must_use]
    pub fn strategy(&self) -> &RoutingStrategy {
        &self.strategy
    }

    /// The same store on another ring.
    #[must_use]
    pub fn on(&self, ring: Arc<Ring>) -> Self {
        Self::new(ring, self.strategy.clone(), self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::super::zone::Zone;
    use super::*;
    use proptest::prelude::*;

    fn nodes(list: &[Replicated]) -> Vec<u16> {
        list.iter().map(|replica| replica.node.0).collect()
    }

    fn check(parts: &[(u16, &[u32])], partition: u32, n: u16, expected: &[u16]) {
        let ring = Ring::new(parts.iter().map(|(node, parts)| (NodeId(*node), parts.to_vec())));
        let list = ring.expect("a ring").walk(partition, &RoutingStrategy::Consistent, n);
        assert_eq!(nodes(&list), expected);
    }

    #[test]
    fn the_walk_goes_clockwise_and_takes_each_node_once() {
        let nodes: [(u16, &[u32]); 3] = [(0, &[0, 1]), (1, &[2, 3]), (2, &[4, 5])];
        check(&nodes, 0, 2, &[0, 1]);
        check(&nodes, 1, 3, &[0, 1, 2]);
        check(&nodes, 5, 3, &[2, 0, 1]);
        check(&nodes, 4, 1, &[2]);
        // One lap finds three nodes: the list is short.
        check(&nodes, 3, 5, &[1, 2, 0]);
        // A node without a partition holds nothing.
        check(&[(0, &[0, 2]), (1, &[1]), (2, &[])], 2, 3, &[0, 1]);
    }

    #[test]
    fn a_key_is_held_from_its_master_partition_on() {
        let ring = Ring::even(3, 8).expect("a ring");
        // 1080231576 mod 8 = 0.
        assert_eq!(ring.master_partition(b"foobar"), 0);
        assert_eq!(ring.preference_list(b"foobar", 2), [NodeId(0), NodeId(1)]);
        let routing = Routing::new(Arc::new(ring), RoutingStrategy::Consistent, 2);
        let second = Replicated { partition: 1, node: NodeId(1) };
        assert_eq!(routing.replicated(b"foobar")[1], second);
    }

    /// Nodes 0 and 1 in zone 0, 2 and 3 in zone 1, 4 and 5 in zone 2; partitions 0 to 5 on the node of their number.
    fn three_zones() -> Ring {
        let zone = |id: u16| Zone::new(ZoneId(id), (0..3).map(ZoneId));
        let node = |id: u16| (NodeId(id), ZoneId(id / 2), vec![u32::from(id)]);
        Ring::zoned((0..3).map(zone), (0..6).map(node)).expect("a ring")
    }

    fn check_zones(quotas: &[(u16, u16)], partition: u32, expected: &[u16]) {
        let n = quotas.iter().map(|(_, quota)| quota).sum();
        let quotas =
            ZoneQuotas::new(quotas.iter().map(|(zone, q)| (ZoneId(*zone), *q)), n).expect("they fit");
        let list = three_zones().walk(partition, &RoutingStrategy::Zone(quotas), n);
        assert_eq!(nodes(&list), expected);
    }

    #[test]
    fn a_node_whose_zone_has_its_share_is_passed_over() {
        check_zones(&[(0, 1), (1, 1), (2, 1)], 0, &[0, 2, 4]);
        check_zones(&[(0, 1), (1, 1), (2, 1)], 1, &[1, 2, 4]);
        check_zones(&[(0, 1), (1, 2)], 5, &[0, 2, 3]);
        check_zones(&[(0, 2), (2, 2)], 3, &[4, 5, 0, 1]);
        // Two nodes of zone 1 can't fill a quota of three: the list is short.
        check_zones(&[(1, 3)], 0, &[2, 3]);
    }

    #[test]
    fn the_zones_quotas_are_n_together() {
        let error = ZoneQuotas::new([(ZoneId(0), 2), (ZoneId(1), 1)], 2).expect_err("three aren't two");
        assert_eq!(error, QuotaError::Sum { sum: 3, n: 2 });
    }

    #[test]
    fn all_routing_gives_every_node_for_every_key_in_one_order() {
        let ring = Arc::new(Ring::new([(NodeId(7), vec![0, 1]), (NodeId(3), vec![])]).expect("a ring"));
        let all = Routing::new(Arc::clone(&ring), RoutingStrategy::All { seed: 1 }, 1);
        assert_eq!(all.replicas(b"a"), all.replicas(b"b"));
        assert_eq!(all.replicas(b"a").len(), 2, "also one without a partition");
        assert!(all.replicated(b"a").iter().all(|replica| replica.partition == 0));
        for local in [NodeId(3), NodeId(7)] {
            let strategy = RoutingStrategy::LocalPrefAll { local: Some(local), seed: 1 };
            assert_eq!(Routing::new(Arc::clone(&ring), strategy, 1).replicas(b"a")[0], local);
        }
        let firsts: std::collections::BTreeSet<_> = (0..20)
            .map(|seed| Routing::new(Arc::clone(&ring), RoutingStrategy::All { seed }, 1).replicas(b"a")[0])
            .collect();
        assert_eq!(firsts.len(), 2, "seeds shuffle");
    }

    proptest! {
        #[test]
        fn lists_hold_distinct_nodes_and_the_table_agrees(
            nodes in 1u16..9, partitions in 1u32..40, n in 1u16..9, key: Vec<u8>
        ) {
            let ring = Arc::new(Ring::even(nodes, partitions).expect("a ring"));
            let list = ring.preference_list(&key, n);
            let mut distinct = list.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), list.len());
            prop_assert_eq!(list.len(), usize::from(n.min(nodes)).min(partitions as usize));
            prop_assert_eq!(list[0], ring.owner(ring.master_partition(&key)));
            let routing = Routing::new(ring, RoutingStrategy::Consistent, n);
            prop_assert_eq!(routing.replicas(&key), list.as_slice());
        }

        #[test]
        fn zone_routing_never_exceeds_a_quota(quotas in prop::collection::vec(0u16..4, 3), key: Vec<u8>) {
            let n = quotas.iter().sum();
            let by_zone = quotas.iter().zip(0..).map(|(quota, zone)| (ZoneId(zone), *quota));
            let strategy = RoutingStrategy::Zone(ZoneQuotas::new(by_zone, n).expect("their sum is n"));
            let ring = Arc::new(three_zones());
            let routing = Routing::new(Arc::clone(&ring), strategy, n);
            for (quota, zone) in quotas.iter().zip(0..) {
                let there = |node: &&NodeId| ring.zone_of(**node) == Some(ZoneId(zone));
                let count = routing.replicas(&key).iter().filter(there).count();
                prop_assert_eq!(count, usize::from(*quota.min(&2)), "each zone has two nodes");
            }
        }
    }
}
