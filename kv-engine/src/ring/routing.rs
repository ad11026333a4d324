//! Consistent routing: which nodes hold a key, in which order they are asked.
//!
//! From the key's partition clockwise (id + 1, modulo their number), each node once, until there are N of them or the
//! ring has been walked once: a short list is legal.

use super::partition::{NodeId, Ring};

impl Ring {
    /// The nodes that hold a key, its master first: at most `n`, fewer if fewer own a partition.
    #[must_use]
    pub fn preference_list(&self, key: &[u8], n: u16) -> Vec<NodeId> {
        self.replicas_of(self.master_partition(key), n)
    }

    /// The nodes that hold the keys of a partition.
    fn replicas_of(&self, partition: u32, n: u16) -> Vec<NodeId> {
        let mut list = Vec::with_capacity(n.into());
        for step in 0..self.partitions() {
            if list.len() >= usize::from(n) {
                break;
            }
            let owner = self.owner((partition + step) % self.partitions());
            if !list.contains(&owner) {
                list.push(owner);
            }
        }
        list
    }
}

/// The preference lists of all partitions for one N: made once, so that an operation computes nothing but a hash.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    lists: Box<[Box<[NodeId]>]>,
    ring: std::sync::Arc<Ring>,
}

impl Routing {
    pub(crate) fn new(ring: std::sync::Arc<Ring>, n: u16) -> Self {
        let lists = (0..ring.partitions()).map(|partition| ring.replicas_of(partition, n).into()).collect();
        Self { lists, ring }
    }

    /// The nodes that hold a key, its master first.
    pub(crate) fn replicas(&self, key: &[u8]) -> &[NodeId] {
        &self.lists[self.ring.master_partition(key) as usize]
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(nodes: &[(u16, &[u32])], partition: u32, n: u16, expected: &[u16]) {
        let ring = Ring::new(nodes.iter().map(|(node, parts)| (NodeId(*node), parts.to_vec())));
        let list = ring.expect("a ring").replicas_of(partition, n);
        assert_eq!(list, expected.iter().map(|n| NodeId(*n)).collect::<Vec<_>>());
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
    }

    proptest! {
        #[test]
        fn lists_hold_distinct_nodes_and_the_table_agrees(
            nodes in 1u16..9, partitions in 1u32..40, n in 1u16..9, key: Vec<u8>
        ) {
            let ring = std::sync::Arc::new(Ring::even(nodes, partitions).expect("a ring"));
            let list = ring.preference_list(&key, n);
            let mut distinct = list.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), list.len());
            prop_assert_eq!(list.len(), usize::from(n.min(nodes)).min(partitions as usize));
            prop_assert_eq!(list[0], ring.owner(ring.master_partition(&key)));
            let routing = Routing::new(ring, n);
            prop_assert_eq!(routing.replicas(&key), list.as_slice());
        }
    }
}
